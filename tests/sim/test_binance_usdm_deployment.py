"""What books of Binance's USD-M contracts do that spot's do not, in a whole deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.sim.venues import load_dialect
from tickpath.shm.reader import Result

from tests.sim.deployment import RECOVERY_S, SYNCING, Deployment, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Deployment]

SYMBOL = "BTCUSDT"
Usdm: Any = load_dialect("binance_usdm")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(dialect: Any = Usdm, **settings: Any) -> Deployment:
        own = msgspec.convert(settings, Usdm.venue.settings)
        setup = Setup(
            seed=1, directory=tmp_path, dialect=dialect, symbols=(SYMBOL,), settings=own, rate=40.0
        )
        made.append(Deployment(setup))
        assert made[-1].run(RECOVERY_S, made[-1].are_live)
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


@pytest.mark.parametrize("speed", ["0ms", "100ms", "250ms", "500ms"])
def test_usdm_book_whose_numbers_leave_some_out_stays_live(make: Make, speed: str) -> None:
    deployment = make(speed=speed)
    deployment.run(5.0)
    assert deployment.are_live()
    assert deployment.counters.gaps == 0
    deployment.order(f"gap:{SYMBOL}")
    assert deployment.run(1.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.counters.gaps == 1
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.stop()


class NoTrades(Usdm):  # type: ignore[misc] # a class that is loaded
    """Of every fourth trade it says that there was none."""

    def trade(self, book: Any, delta: Any, time_ms: int) -> dict[str, object]:
        """Write a trade, or what is none."""
        own: dict[str, object] = super().trade(book, delta, time_ms)
        is_none = delta.last_version % 4 == 0
        return own | {"p": "0", "q": "0", "X": "NA"} if is_none else own


def test_usdm_what_is_no_trade_is_no_event(make: Make) -> None:
    deployment = make(NoTrades, trades=True)
    ids: list[int] = []
    deployment.run(1.0)

    def take() -> bool:
        while deployment._memory.poll() == Result.EVENT:
            words = deployment._memory.event
            if words[1] >> 16 & 0xFF == lib.TP_EVENT_TRADE:
                assert words[4] > 0, "a price of 0"
                ids.append(words[7])
        return False

    deployment.run(5.0, take)
    assert len(ids) > 50
    assert all(one % 4 for one in ids)
    counters = deployment.counters
    assert counters.broken == counters.unknown_body == counters.unknown_channel == 0
    assert deployment.are_live()
    deployment.stop()
