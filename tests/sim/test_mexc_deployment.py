"""What MEXC's channels of a book do, in a whole deployment in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import lib
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues.mexc import MexcDialect
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.shm.reader import Result

from tests.sim.deployment import RECOVERY_S, SYNCING, Deployment, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.sim.market import Delta

    Make = Callable[..., Deployment]

SYMBOL = "BTCUSDT"
BOOKS: dict[str, dict[str, Any]] = {
    "aggregated 10 ms": {"speed": "10ms"},
    "increase": {"book": "increase"},
    "increase batch": {"book": "increase_batch"},
    **{f"limit {count}": {"book": "limit", "levels": count} for count in (5, 10, 20)},
}


class HoleInBatch(MexcDialect):
    """Leaves an inner item of a batch out, once."""

    is_on = left_out = False

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        pushed = super().pushes(symbol, delta, now_ns)
        ((channel, message),) = pushed
        push = PushDataV3ApiWrapper.FromString(message.data)
        if not self.is_on or self.left_out or len(push.publicIncreaseDepthsBatch.items) < 3:
            return pushed
        type(self).left_out = True
        del push.publicIncreaseDepthsBatch.items[1]
        return [(channel, Message(push.SerializeToString(), is_text=False))]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(
        dialect: type[MexcDialect] = MexcDialect, symbols: tuple[str, ...] = (SYMBOL,), **own: Any
    ) -> Deployment:
        words: dict[str, Any] = {"seed": 1, "directory": tmp_path, "rate": 60.0}
        settings = MexcSettings(**own)
        made.append(Deployment(Setup(**words, symbols=symbols, dialect=dialect, settings=settings)))
        assert made[-1].run(RECOVERY_S, made[-1].are_live)
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


@pytest.mark.parametrize("book", BOOKS)
def test_mexc_book_of_each_channel_is_the_venues(make: Make, book: str) -> None:
    """Every LIVE book is compared with the venue's own; whole books have no gap."""
    deployment = make(**BOOKS[book])
    for fault in ("gap:", "duplicate:", "old:", "disconnect"):
        deployment.order(f"{fault}{SYMBOL}" if fault.endswith(":") else fault)
        deployment.run(2.0)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    assert (deployment.counters.gaps == 1) == (BOOKS[book].get("book") != "limit")
    assert deployment.counters.broken == deployment.counters.unknown_body == 0
    deployment.order(f"garbage:{SYMBOL}")
    assert deployment.run(2.0, lambda: deployment.counters.broken == 1)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.stop()


def test_mexc_hole_in_a_batch_costs_the_book_its_place(make: Make) -> None:
    """A base must reach the last of its numbers, since what was between is nowhere else."""
    deployment = make(HoleInBatch, book="increase_batch")
    deployment.run(1.0)
    HoleInBatch.is_on = True
    assert deployment.run(5.0, lambda: HoleInBatch.left_out and deployment.seen[0].state == SYNCING)
    assert deployment.seen[0].reason == int(lib.TP_SYNC_REASON_BROKEN_MESSAGE)
    assert deployment.counters.broken == 1
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.stop()


@pytest.mark.parametrize("is_batch", [False, True])
@pytest.mark.parametrize("book", ["aggregated", "limit"])
def test_mexc_best_price_is_the_newest_of_its_message(
    make: Make, book: str, is_batch: bool
) -> None:
    """The dialect's batches begin with quantities that were never true."""
    deployment = make(book=book, trades=True, best=True, best_batch=is_batch)
    found: dict[int, list[tuple[int, ...]]] = {lib.TP_EVENT_TRADE: [], lib.TP_EVENT_BEST: []}

    def take() -> bool:
        while deployment._memory.poll() == Result.EVENT:
            words = deployment._memory.event
            found.get(words[1] >> 16 & 0xFF, []).append(tuple(words[4:8]))
        return False

    deployment.run(3.0, take)
    trades, bests = found.values()
    assert len(trades) == len(bests) > 50
    for (*_, version), best in zip(trades, bests, strict=True):
        true = deployment.truth[SYMBOL][version]
        assert best == (*true.bids[0], *true.asks[0])
    assert deployment.counters.broken == deployment.counters.unknown_channel == 0
    deployment.stop()


@pytest.mark.parametrize("book", ["increase_batch", "limit"])
def test_mexc_quiet_book_is_proved_by_rest(make: Make, book: str) -> None:
    deployment = make(symbols=(SYMBOL, "ETHUSDT"), book=book)
    deployment.lag_max_s = 70.0  # verify_quiet_after_s is 60
    deployment.exchange._floor.active.remove(SYMBOL)
    deployment.run(70.0, lambda: not deployment.are_live())
    assert deployment.are_live()
    assert deployment.counters.verified == 70 // 30
    deployment.stop()
