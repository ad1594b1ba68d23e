"""A connection loop whose TLS handshakes a worker does: it opens, it is woken, it ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.sim.loop_world import DOWN, MESSAGE, OPENED, LoopWorld
from tests.sim.virtual import Plan, certificate, contexts
from tests.unit.handshake_worker import new_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.virtual import Certificate

__all__ = ["certificate", "contexts"]  # fixtures

MESSAGES = [b"%d" % i for i in range(40)]
SECONDS_MAX = 20


def make_world(certificate: Certificate, context: Any, *plans: Plan) -> LoopWorld:
    return LoopWorld(*plans, certificate=certificate, context=context, worker=new_worker())


def test_loop_with_a_worker_says_the_same_of_its_connections(
    certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    plans = [Plan(seed=i, server_messages=MESSAGES, buffer_size=1 << 17) for i in range(3)]
    world = make_world(certificate, contexts(plans[0]), *plans)
    world.offer_all()
    world.run(lambda: world.count(DOWN) == len(plans))
    for number in range(len(plans)):
        kinds = [event.kind for event in world.heard if event.connection == number]
        assert kinds == [OPENED, *[MESSAGE] * (len(MESSAGES) + 1), DOWN]
        assert world.payloads(number) == MESSAGES


def test_loop_opens_plain_bytes_when_the_worker_is_done_without_more_input(
    certificate: Certificate, contexts: Callable[[Plan], Any]
) -> None:
    """In TLS 1.2 the server's last flight ends the handshake: nothing comes behind it."""
    plan = Plan(seed=1, tls="TLSv1.2", websocket=False, closer="nobody")
    world = make_world(certificate, contexts(plan), plan)
    world.offer_all()
    world.run(lambda: world.count(OPENED) == 1)
    assert world.loop.counters.connects == 1


@pytest.mark.parametrize("wakes", [True, False])
def test_loop_wakes_a_worker_that_sleeps(
    certificate: Certificate, contexts: Callable[[Plan], Any], *, wakes: bool
) -> None:
    plan = Plan(seed=1, closer="nobody")
    world = make_world(certificate, contexts(plan), plan)
    world.steps_worker = False
    if not wakes:
        world.loop.handshake_worker = ffi.NULL
    thread = threading.Thread(target=lib.tp_tls_handshake_worker_run, args=(world.worker,))
    thread.start()
    try:
        time.sleep(0.05)  # it has looked, found nothing, and sleeps
        world.offer_all()
        end = time.monotonic() + (SECONDS_MAX if wakes else 0.5)
        while world.count(OPENED) == 0 and time.monotonic() < end:
            world.turn()
            world.now_ns -= 90_000  # virtual time must not outrun the thread: 10 us a turn
    finally:
        lib.tp_tls_handshake_worker_stop(world.worker)
        thread.join()
    assert world.count(OPENED) == wakes
    assert (lib.tp_tls_handshake_worker_works(world.worker) > 0) == wakes
