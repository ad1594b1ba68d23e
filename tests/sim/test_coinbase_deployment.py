"""What Coinbase's connections do that others do not, in a whole deployment in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import lib
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.shm.reader import Result

from tests.sim.deployment import LIVE, SYNCING
from tests.sim.test_deployment import make
from tests.sim.test_deployment_quiet import rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture

SYMBOLS = ("BTC-USD", "ETH-USD")
GAP = int(lib.TP_SYNC_REASON_GAP)


def coinbase(make: Make, symbols: tuple[str, ...] = SYMBOLS, **settings: Any) -> Deployment:
    kind: Any = load_dialect("coinbase")
    own = msgspec.convert(settings, kind.venue.settings)
    deployment = make(dialect=kind, symbols=symbols, settings=own, rate=20.0, quiet_s=3.0)
    assert deployment.run(5.0, deployment.are_live)
    return deployment


def test_hole_costs_every_book_of_the_connection_its_place(make: Make) -> None:
    deployment = coinbase(make)
    deployment.order("gap:BTC-USD")
    assert deployment.run(2.0, lambda: {one.state for one in deployment.seen} == {SYNCING})
    assert {one.reason for one in deployment.seen} == {GAP}
    assert deployment.counters.gaps == 1
    assert deployment.run(5.0, deployment.are_live)


def test_hole_before_a_quiet_spell_is_seen_by_the_next_heartbeat(make: Make) -> None:
    deployment = coinbase(make)
    deployment.order("gap:BTC-USD")
    deployment.run(0.1)
    deployment.order("pause")
    assert deployment.run(1.5, lambda: {one.state for one in deployment.seen} == {SYNCING})
    deployment.order("resume")
    assert deployment.run(5.0, deployment.are_live)


def test_error_without_a_number_is_no_hole(make: Make) -> None:
    deployment = coinbase(make)
    error = Message(b'{"type":"error","message":"authentication failure"}', is_text=True)
    for connection in deployment.exchange._websockets.values():
        connection.send(error)
    assert not deployment.run(2.0, lambda: LIVE not in {one.state for one in deployment.seen})
    assert deployment.counters.gaps == 0
    assert deployment.are_live()


def test_quiet_book_is_compared_by_rest_and_its_connections_heartbeat_proves_nothing(
    make: Make,
) -> None:
    deployment = coinbase(make)
    rest(deployment, "BTC-USD")
    asked, bases = deployment.exchange.counters.rest, deployment.counters.bases_applied
    assert not deployment.run(8.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.exchange.counters.rest - asked == deployment.counters.verified > 3
    assert deployment.counters.bases_applied == bases


def test_muted_book_is_known_by_its_hole(make: Make) -> None:
    deployment = coinbase(make)
    deployment.order("mute:BTC-USD")
    assert deployment.run(2.0, lambda: deployment.seen[0].reason == GAP)
    deployment.order("unmute:BTC-USD")
    assert deployment.run(20.0, deployment.are_live)


def test_trades_and_best_prices_come_and_old_trades_do_not(make: Make) -> None:
    deployment = coinbase(make, SYMBOLS[:1], trades=True, best=True)
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
    assert bests > 50
    assert deployment.counters.unknown_channel == 0
    versions = {version for truth in deployment.truth.values() for version in truth}
    assert {one for *_, one in trades} <= versions
