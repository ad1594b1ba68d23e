"""A session over our own TCP whose TLS handshake a worker does that has not looked yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tickpath._core import lib

from tests.sim.virtual import SECOND, Certificate, Plan, World, certificate, contexts
from tests.unit.test_session_handover import HANDSHAKE_FAILURE, PIPE_SIZE, side

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["certificate", "contexts", "side"]  # fixtures

NEVER_NS = 1 << 62
TURN_NS = 200_000


def held_world(side: str, certificate: Certificate, contexts: Callable[[Plan], Any]) -> World:
    """A session in its handshake, the ServerHello not sent, and a worker that never looks again."""
    plan = Plan(seed=2, handshake_delay_ns=NEVER_NS if side == "worker" else None)
    world = World(plan, certificate, contexts(plan))
    # It says what the test says; a method of one object is replaced.
    world.server.__dict__["_bytes"] = lambda data: None
    world.run(lambda: world.client.phase == lib.TP_SESSION_TLS_HANDSHAKE, limit_ns=SECOND)
    return world


def deafen(world: World) -> None:
    """Let the server take no notice of what arrives."""
    world.server.__dict__["segment"] = lambda segment, now_ns: None


def turns(world: World, count: int) -> None:
    for _ in range(count):
        world.turn()
        world.now_ns += TURN_NS


def test_session_alert_before_a_reset_is_named(
    side: str, certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    world = held_world(side, certificate, contexts)
    world.server.to_send += HANDSHAKE_FAILURE
    turns(world, 3)
    deafen(world)
    lib.tp_tcp_abort(world.server.station.tcp)
    turns(world, 3)
    world.client.work_at_ns = 0
    turns(world, 2)
    assert world.client.phase == lib.TP_SESSION_CLOSED
    assert world.client.error_text().startswith("tls: alert_received: ")


def test_session_reset_in_the_handshake_is_named(
    side: str, certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    world = held_world(side, certificate, contexts)
    world.server.to_send += bytes([22, 3, 3, 0, 100, 2])  # a handshake record that never ends
    turns(world, 3)
    deafen(world)
    lib.tp_tcp_abort(world.server.station.tcp)
    turns(world, 3)
    world.client.work_at_ns = 0
    turns(world, 2)
    assert world.client.error_text() == "tcp: connection reset by peer"


def test_session_window_is_what_the_handover_holds(
    certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    world = held_world("worker", certificate, contexts)
    world.server.to_send += bytes([23, 3, 3, 64, 0]) * PIPE_SIZE  # no handshake, five pipes full
    turns(world, 2000)
    counters = lib.tp_session_counters(world.client.session)
    assert counters.bytes_in == PIPE_SIZE
    assert world.client.phase == lib.TP_SESSION_TLS_HANDSHAKE  # not an overflow: a full window
    world.client.work_at_ns = 0
    turns(world, 2)
    assert world.client.error_text().startswith("tls: handshake: ")
