"""OKX in a whole deployment in virtual time: what is its own beside the campaign's seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.shm.reader import Result

from tests.sim.deployment import LIVE, STALE
from tests.sim.test_deployment import make
from tests.sim.test_deployment_quiet import rest
from tests.sim.virtual import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.sim.dialect import Client

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture

Okx: Any = load_dialect("okx")
SYMBOLS = ("BTC-USDT", "ETH-USDT-SWAP")


UNCHANGED_S, QUIET_S = 2, 3.0


class Quick(Okx):  # type: ignore[misc] # a class that is loaded
    """Says sooner that nothing changed, so that a test of it takes seconds."""

    unchanged_ns = UNCHANGED_S * SECOND


class Silent(Okx):  # type: ignore[misc] # a class that is loaded
    """Never says that nothing changed."""

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Say nothing by itself."""
        return []


def okx(make: Make, dialect: Any = Quick, **settings: Any) -> Deployment:
    own = msgspec.convert(settings | {"unchanged_s": float(UNCHANGED_S)}, Okx.venue.settings)
    deployment = make(dialect=dialect, symbols=SYMBOLS, settings=own, rate=20.0, quiet_s=QUIET_S)
    assert deployment.run(5.0, deployment.are_live)
    return deployment


@pytest.mark.parametrize("depth", [5, 400])
def test_quiet_book_is_proved_by_its_own_channel_and_nobody_asks(make: Make, depth: int) -> None:
    deployment = okx(make, depth=depth)
    rest(deployment, "BTC-USDT")
    assert not deployment.run(9.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.checks == 0
    if depth == 400:
        assert deployment.counters.verified == deployment.counters.unchanged == 9 // UNCHANGED_S


def test_quiet_book_whose_channel_does_not_say_so_is_compared_beside(make: Make) -> None:
    deployment = okx(make, Silent)
    rest(deployment, "BTC-USDT")
    assert not deployment.run(9.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.checks == deployment.counters.verified == 3  # each 1.25 * UNCHANGED_S
    assert deployment.counters.bases_applied == len(SYMBOLS)


def test_muted_book_is_not_live_once_it_was_compared(make: Make) -> None:
    deployment = okx(make)
    deployment.lag_max_s = 6.0  # a check comes after 2.5 s, and 2 s are for messages on their way
    deployment.order("mute:BTC-USDT")
    assert deployment.run(6.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.seen[0].reason == int(lib.TP_SYNC_REASON_SILENT)
    deployment.order("unmute:BTC-USDT")
    assert deployment.run(20.0, deployment.are_live)


@pytest.mark.parametrize("depth", [5, 400])
def test_numbering_that_begins_anew_leaves_books_live(make: Make, depth: int) -> None:
    """Without a base: the first message of the new numbers names the last of the old ones."""
    deployment = okx(make, depth=depth)
    for _ in range(3):
        deployment.order("renumber")
        assert not deployment.run(1.5, lambda: LIVE not in {one.state for one in deployment.seen})
    deployment.run(1.0)
    assert deployment.are_live()
    assert deployment.counters.bases_applied == len(SYMBOLS) or depth == 5
    if depth == 400:
        assert max(one.version for one in deployment.seen) < 10_000


def test_numbering_that_begins_anew_unheard_is_noticed(make: Make) -> None:
    deployment = okx(make)
    deployment.order("gap:BTC-USDT")
    deployment.order("renumber:BTC-USDT")
    deployment.run(2.0)
    assert deployment.run(10.0, deployment.are_live)
    assert deployment.seen[0].version < 10_000


def test_trades_and_best_prices_are_the_venues(make: Make) -> None:
    deployment = okx(make, trades=True, best=True)
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
    assert len(trades) > 50
    assert bests > 5
    assert deployment.counters.unknown_channel == 0
    versions = {version for truth in deployment.truth.values() for version in truth}
    assert {trade_id for *_, trade_id in trades} <= versions


def test_upgrade_that_was_announced_ends_in_a_new_connection(make: Make) -> None:
    deployment = okx(make)
    words = "The connection will soon be closed for a service upgrade. Please reconnect."
    notice = msgspec.json.encode({"event": "notice", "code": "64008", "msg": words})
    for connection in deployment.exchange._websockets.values():
        connection.send(Message(notice, is_text=True))
    deployment.run(1.0)
    assert any(f"64008: {words}" in line for line in deployment.story)
    deployment.order("close:1001")
    assert deployment.run(1.0, lambda: {one.state for one in deployment.seen} == {STALE})
    assert deployment.run(10.0, deployment.are_live)
