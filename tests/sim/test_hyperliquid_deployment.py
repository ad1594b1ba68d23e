"""What Hyperliquid's books do that others do not, in a whole deployment in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.sim.venues import load_dialect
from tickpath.shm.reader import Result

from tests.sim.deployment import LIVE, STALE, SYNCING
from tests.sim.test_deployment import make
from tests.sim.test_deployment_quiet import rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture

SYMBOLS = ("BTC", "PURR/USDC")
QUIET_S = 3.0


def hyperliquid(make: Make, symbols: tuple[str, ...] = SYMBOLS, **settings: Any) -> Deployment:
    kind: Any = load_dialect("hyperliquid")
    own = msgspec.convert(settings, kind.venue.settings)
    deployment = make(dialect=kind, symbols=symbols, settings=own, rate=20.0, quiet_s=QUIET_S)
    assert deployment.run(5.0, deployment.are_live)
    return deployment


def test_whole_book_makes_a_lost_one_good(make: Make) -> None:
    deployment = hyperliquid(make)
    for _ in range(5):
        deployment.order("gap")
        deployment.run(0.5)
    assert deployment.run(0.5, deployment.are_live)
    assert deployment.counters.gaps == 0


@pytest.mark.parametrize(("fast", "levels"), [(False, 20), (True, 5)])
def test_book_has_the_levels_of_its_channel(make: Make, fast: bool, levels: int) -> None:
    deployment = hyperliquid(make, fast=fast)
    assert [len(one.bids) // 16 for one in deployment.seen] == [levels, levels]


def test_quiet_book_is_proved_by_what_its_channel_sends_again(make: Make) -> None:
    deployment = hyperliquid(make, fast=True)
    rest(deployment, "BTC")
    asked = deployment.exchange.counters.rest
    assert not deployment.run(9.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.exchange.counters.rest == asked, "nobody needed to ask"


def test_quiet_book_that_is_sent_too_seldom_is_compared_by_rest(make: Make) -> None:
    deployment = hyperliquid(make)
    rest(deployment, "BTC")
    asked, bases = deployment.exchange.counters.rest, deployment.counters.bases_applied
    assert not deployment.run(4.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.exchange.counters.rest - asked == 2
    assert deployment.counters.verified == 2
    assert deployment.counters.checks_different == 0
    still = deployment.exchange.counters.messages
    assert deployment.counters.bases_applied - bases <= still, "none of them replaced the book"


def test_quiet_book_that_cannot_be_compared_is_not_live_until_it_is_sent(make: Make) -> None:
    deployment = hyperliquid(make)
    rest(deployment, "BTC")
    deployment.order("rest-limit:60")
    assert deployment.run(4.0, lambda: deployment.seen[0].state == STALE)
    assert deployment.seen[0].reason == int(lib.TP_SYNC_REASON_UNVERIFIED)
    assert deployment.run(4.0, lambda: deployment.seen[0].state == LIVE), "five seconds later"


def test_muted_book_is_not_live_once_it_was_compared(make: Make) -> None:
    deployment = hyperliquid(make)
    deployment.lag_max_s = 6.0  # a check comes after 1.5 s, and 2 s are for messages on their way
    deployment.order("mute:BTC")
    silent = int(lib.TP_SYNC_REASON_SILENT)
    assert deployment.run(5.0, lambda: deployment.seen[0].reason == silent)
    assert deployment.seen[0].state == SYNCING
    deployment.order("unmute:BTC")
    assert deployment.run(20.0, deployment.are_live)


def test_trades_begin_with_new_ones_and_best_prices_come(make: Make) -> None:
    deployment = hyperliquid(make, SYMBOLS[:1], trades=True, best=True)
    trades: list[tuple[int, ...]] = []
    bests = 0

    def take() -> bool:
        nonlocal bests
        while deployment._memory.poll() == Result.EVENT:
            words = deployment._memory.event
            kind = words[1] >> 16 & 0xFF
            bests += kind == lib.TP_EVENT_BEST
            if kind == lib.TP_EVENT_TRADE:
                trades.append(tuple(words[4:8]))
        return False

    deployment.run(5.0, take)
    deployment.order("disconnect")
    deployment.run(5.0, take)
    assert len(trades) > 50
    assert bests > 50
    ids = [one for *_, one in trades]
    assert len(set(ids)) == len(ids), "what a subscription begins with was told before"
    versions = {version for truth in deployment.truth.values() for version in truth}
    assert set(ids) <= versions
