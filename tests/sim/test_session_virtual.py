"""Whole sessions in virtual time: our TCP + TLS + WebSocket against OpenSSL and `websockets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.sim.virtual import (
    SECOND,
    Certificate,
    Plan,
    World,
    certificate,
    check_end,
    contexts,
    cut_the_wire,
    opened,
    random_plan,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["certificate", "contexts"]  # fixtures


@pytest.mark.parametrize("block", range(10))
def test_session_faulty_wire_messages_arrive_whole_and_in_order(
    block: int, certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    for seed in range(block * 20, block * 20 + 20):
        plan = random_plan(seed)
        world = World(plan, certificate, contexts(plan))
        world.run(world.ended, limit_ns=300 * SECOND)
        check_end(world)


@pytest.mark.parametrize("tls", ["TLSv1.3", ""])
def test_session_application_that_reads_seldom_is_promised_no_more_than_its_buffer(
    tls: str, certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    """Acknowledgements between two reads must not open the window for what the buffer lacks."""
    messages = [bytes([i]) * 8000 for i in range(200)]  # many times the buffer
    plan = Plan(
        seed=1,
        tls=tls,
        server_messages=messages,
        read_every_ns=SECOND // 2,
        buffer_size=1 << 16,
        message_size_max=1 << 14,
    )
    world = World(plan, certificate, contexts(plan))
    world.run(world.ended, limit_ns=300 * SECOND)
    check_end(world)


@pytest.mark.parametrize("unacknowledged", [False, True])
def test_session_peer_vanishes_session_ends_by_its_own_deadline(
    *, unacknowledged: bool, certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    plan = Plan(seed=1, closer="nobody")
    world = opened(plan, certificate, contexts(plan))
    world.server.station.flow = ffi.NULL  # gone: its timers say nothing either
    cut_the_wire(world)
    if unacknowledged:
        world.client._unsent.append(b"order")
        world.client.output(world.now_ns, input_came=True)

    now_ns = world.now_ns
    for _ in range(1000):
        now_ns = max(now_ns, world.client.next_ns())
        if now_ns > world.started_ns + 60 * SECOND or world.client.phase == lib.TP_SESSION_CLOSED:
            break
        lib.tp_fault_injector_advance(world.injector, now_ns)
        world.client.output(now_ns, input_came=False)
    # TCP's own limits: keep-alive 15 s and three probes, or 30 s without an acknowledgement.
    assert world.client.phase == lib.TP_SESSION_CLOSED
    assert world.client.error_text() == "tcp: connection timed out"


def test_session_whose_peer_says_close_and_never_ends_is_closed_after_two_seconds(
    certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    plan = Plan(seed=1, closer="nobody")
    world = opened(plan, certificate, contexts(plan))
    client, server = world.client, world.server
    server.may_end = False
    server.protocol.send_close(1000, "done")
    server._collect()
    world.run(lambda: client.phase == lib.TP_SESSION_CLOSING, limit_ns=SECOND)
    closing_ns = world.now_ns
    world.run(lambda: client.phase == lib.TP_SESSION_CLOSED, limit_ns=30 * SECOND)
    assert 2 * SECOND <= world.now_ns - closing_ns < 2 * SECOND + SECOND // 10


def test_session_end_with_a_full_send_buffer_has_its_close_notify(
    certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    plan = Plan(seed=1, closer="nobody")
    world = opened(plan, certificate, contexts(plan))
    session, memory = world.client.session, ffi.new("uint8_t[4096]")
    for size in (4096, 1):
        span = ffi.new("struct tp_span *", {"data": memory, "size": size})
        taken = ffi.new("size_t *")
        while lib.tp_session_send(session, lib.TP_WS_BINARY, span[0], taken) == lib.TP_OK:
            taken[0] = 0
    lib.tp_session_close(session, 1000, world.now_ns)
    lib.tp_session_close(session, 1000, world.now_ns)  # and now: no waiting for the peer's frame
    assert world.client.phase == lib.TP_SESSION_CLOSED
    world.run(lambda: world.server.peer_ended, limit_ns=SECOND)
    assert world.server.close_notify
