"""Several addresses of one name: which is tried when (RFC 8305), and which one is taken."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.netstack.eyeballs import RoundTrips, Schedule, connect_first
from tickpath.netstack.session import ConnectOptions, Session
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
TIMEOUT_S = 10.0


def test_schedule_begins_with_the_next_address_after_a_quarter_of_a_second() -> None:
    schedule = Schedule([A, B, C])
    assert [schedule.due(now_s) for now_s in (0.0, 0.0, 0.249, 0.25, 0.499, 0.5, 0.75)] == [
        *(A, None, None, B, None, C, None)
    ]


def test_schedule_begins_with_the_next_address_at_once_when_one_failed() -> None:
    schedule = Schedule([A, B])
    assert schedule.due(0.0) == A
    schedule.failed(A, "refused")
    assert not schedule.is_over
    assert schedule.wait_s(0.01, 1.0) == 0.0
    assert schedule.due(0.01) == B
    schedule.failed(B, "refused too")
    assert schedule.is_over
    assert schedule.text == f"{A} (refused), {B} (refused too)"


def test_schedule_begins_with_none_when_one_is_connected() -> None:
    schedule = Schedule([A, B, C])
    schedule.due(0.0)
    schedule.due(0.25)
    schedule.connected(A, 0.3)
    assert schedule.due(1.0) is None
    assert schedule.text == f"{A} (300.000 ms), {B} (no answer)"


def test_round_trips_put_the_nearest_first_and_what_failed_last() -> None:
    known, schedule = RoundTrips(), Schedule([A, B])
    schedule.due(0.0)
    schedule.failed(A, "refused")
    schedule.due(0.0)
    schedule.connected(B, 0.001)
    known.note(schedule, 443, 0.001)
    assert known.order([A, C, B], 443, 1.0) == [B, C, A]
    assert known.order([A, C, B], 80, 1.0) == [A, C, B]  # of another port nothing is known
    assert known.order([A, C, B], 443, 1000.0) == [B, A, C]  # forgiven


def test_round_trips_give_failed_addresses_their_turn() -> None:
    known = RoundTrips()
    for now_s, address in enumerate((B, A, C)):
        known.failed(address, 443, float(now_s))
    assert known.order([A, B, C], 443, 3.0) == [B, A, C]


@contextlib.contextmanager
def listener(address: str, port: int = 0) -> Iterator[int]:
    with socket.create_server((address, port)) as one:
        yield one.getsockname()[1]


@contextlib.contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """An address whose SYNs are dropped, as Linux does where the queue of a listener is full."""
    with contextlib.ExitStack() as kept, socket.socket() as full:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((address, port))
        full.listen(0)
        for _ in range(4):
            filler = kept.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        yield


def test_connect_first_leaves_a_silent_address_after_a_quarter_of_a_second() -> None:
    with listener("127.0.0.1") as port, silent("127.0.0.2", port):
        schedule, began_s = Schedule(["127.0.0.2", "127.0.0.1"]), time.monotonic()
        connected, address = connect_first(schedule, port, TIMEOUT_S)
        took_s = time.monotonic() - began_s
        with connected:
            assert (address, connected.getpeername()[0]) == ("127.0.0.1", "127.0.0.1")
    assert 0.25 <= took_s < TIMEOUT_S / 2
    assert schedule.tried[0].seconds is None
    assert schedule.tried[1].seconds is not None


def test_connect_first_names_all_that_failed() -> None:
    with listener("127.0.0.1") as port:
        pass
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.2 \(Connection refused\), 127\.0\.0\.1"):
        connect_first(Schedule(["127.0.0.2", "127.0.0.1"]), port, TIMEOUT_S)


def test_connect_first_gives_up_in_time() -> None:
    with listener("127.0.0.1") as port, silent("127.0.0.2", port):
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            connect_first(Schedule(["127.0.0.2"]), port, 0.5)
        assert 0.5 <= time.monotonic() - began_s < TIMEOUT_S


def open_session(port: int, *addresses: str, timeout_s: float = TIMEOUT_S) -> Session:
    options = ConnectOptions(
        backend="kernel",
        timeout_s=timeout_s,
        resolve={f"exchange.test:{port}": ",".join(addresses)},
    )
    return Session(f"http://exchange.test:{port}/", options, websocket=False)


@pytest.mark.parametrize("is_silent", [True, False])
def test_session_goes_to_the_second_address_when_the_first_is_dead(is_silent: bool) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listener("127.0.0.1"))
        if is_silent:
            stack.enter_context(silent("127.0.0.2", port))
        began_s = time.monotonic()
        session = stack.enter_context(open_session(port, "127.0.0.2", "127.0.0.1"))
        session.connect()
        assert time.monotonic() - began_s < TIMEOUT_S / 2
        assert session.address == "127.0.0.1"
        dead, alive = session.tried
        assert (dead.address, dead.seconds, bool(dead.failure)) == (
            *("127.0.0.2", None),
            not is_silent,
        )
        assert alive.seconds is not None


def test_session_stays_with_the_first_address_that_answers() -> None:
    with listener("127.0.0.1") as port, open_session(port, "127.0.0.1", "127.0.0.2") as session:
        session.connect()  # a host that stands still for 0.25 s begins with the second, too
        assert session.address == "127.0.0.1"
        assert session.tried[0].seconds is not None


def test_session_of_dead_addresses_names_them_all() -> None:
    with (
        listener("127.0.0.1") as port,
        silent("127.0.0.2", port),
        open_session(port, "127.0.0.3", "127.0.0.2", timeout_s=0.6) as session,
        pytest.raises(
            RemoteError,
            match=r"no address can be reached: 127\.0\.0\.3 \(.*refused.*\), 127\.0\.0\.2 "
            r"\(timeout: no TCP connection within 600 ms\)",
        ),
    ):
        session.connect()


def test_session_finished_while_it_tries_gives_everything_back() -> None:
    with listener("127.0.0.1") as port, silent("127.0.0.2", port), silent("127.0.0.3", port):
        session = open_session(port, "127.0.0.2", "127.0.0.3")
        session.wait(0.3)
        session.finish(0.0)
        with pytest.raises(ValueError, match="finished"):
            session.connect()
