"""What Bybit's books do that others do not, in a whole deployment in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import lib
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venues.bybit.settings import BybitSettings
from tickpath.shm.reader import Result

from tests.sim.deployment import RECOVERY_S, SYNCING, Deployment, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Deployment]

SYMBOL = "BTCUSDT"


@pytest.fixture(params=["bybit", "bybit_linear"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(**fields: Any) -> Deployment:
        dialect = load_dialect(request.param)
        words: dict[str, Any] = {"seed": 1, "symbols": (SYMBOL,), "dialect": dialect} | fields
        made.append(Deployment(Setup(directory=tmp_path, **words)))
        assert made[-1].run(RECOVERY_S, made[-1].are_live)
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def states(deployment: Deployment, first: int) -> list[str]:
    return [line for line in deployment.story[first:] if " reason " in line]


def test_bybit_service_that_begins_anew_replaces_the_book_and_all_stays_live(make: Make) -> None:
    deployment = make()
    told, bases = len(deployment.story), deployment.counters.bases_applied
    deployment.order(f"renumber:{SYMBOL}")
    deployment.run(1.0)
    assert deployment.seen[0].version < 1000
    assert deployment.counters.bases_applied == bases + 1
    assert states(deployment, told) == []
    assert deployment.are_live()
    deployment.stop()


def test_bybit_book_whose_new_beginning_was_lost_is_built_anew(make: Make) -> None:
    deployment = make()
    deployment.order(f"gap:{SYMBOL}")
    deployment.order(f"renumber:{SYMBOL}")
    assert deployment.run(2.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    assert deployment.seen[0].version < 1000
    deployment.stop()


def test_bybit_gap_is_seen_by_one_number_and_heals_by_subscribing_anew(make: Make) -> None:
    deployment = make()
    told = len(deployment.story)
    deployment.order(f"gap:{SYMBOL}")
    assert deployment.run(1.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.counters.gaps == 1
    assert deployment.run(2.0, deployment.are_live)
    assert len(states(deployment, told)) == 2
    assert deployment.exchange.counters.connections == 1
    deployment.stop()


def test_bybit_quiet_book_is_proved_and_its_subscription_stands(make: Make) -> None:
    deployment = make(symbols=(SYMBOL, "ETHUSDT"), quiet_s=4.0)
    deployment.exchange._floor.active.remove(SYMBOL)  # the other one keeps the connection alive
    told = len(deployment.story)
    deployment.run(12.0)
    assert deployment.are_live()
    assert 4 <= deployment.checks == deployment.counters.verified
    assert states(deployment, told) == []
    deployment.stop()


def test_bybit_trades_and_best_prices_are_the_venues(make: Make) -> None:
    deployment = make(settings=BybitSettings(trades=True, best=True), rate=20.0)
    trades: list[tuple[int, ...]] = []
    bests: list[tuple[int, ...]] = []

    def take() -> bool:
        while deployment._memory.poll() == Result.EVENT:
            words = deployment._memory.event
            kind = words[1] >> 16 & 0xFF
            if kind in (lib.TP_EVENT_TRADE, lib.TP_EVENT_BEST):
                (trades if kind == lib.TP_EVENT_TRADE else bests).append(tuple(words[4:8]))
        return False

    deployment.run(5.0, take)
    truth = deployment.truth[SYMBOL]
    tops: list[tuple[int, ...]] = [(*one.bids[0], *one.asks[0]) for one in truth.values()]
    changed = [top for before, top in zip([None, *tops], tops, strict=False) if top != before]
    assert len(trades) > 50
    assert deployment.counters.trades == len(trades)
    assert len(bests) > 10
    at = changed.index(bests[0])
    assert bests == changed[at : at + len(bests)], "each change of the touch, and no other"
    assert deployment.counters.broken == deployment.counters.unknown_body == 0
    deployment.stop()


def test_bybit_best_price_is_told_again_after_three_seconds(make: Make) -> None:
    deployment = make(settings=BybitSettings(best=True), rate=0.0)
    before = deployment.counters.bests
    deployment.run(10.0)
    assert 2 <= deployment.counters.bests - before <= 3
    assert deployment.counters.broken == 0
    deployment.stop()
