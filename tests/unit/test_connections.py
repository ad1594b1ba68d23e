"""When the cold thread has to look after its connections again."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.loop import connections as module
from tickpath.engine.loop.connections import Connections, Endpoint, Reconnect, _Slot
from tickpath.engine.loop.pauses import Pauses, own_address
from tickpath.engine.loop.resolver import Resolver
from tickpath.netstack.session import Target
from tickpath.netstack.transport import KernelTransport
from tickpath.proto.venue import Rate
from tickpath.shm.clock import Clock
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tickpath.netstack.eyeballs import Schedule


def connections(*slots: _Slot) -> Connections:
    none = cast("Any", None)
    return Connections(none, none, Reconnect(), lambda _: None, slots=list(slots))


def slot(*, session: object = None, retry_in_s: float = 0.0) -> _Slot:
    retry_at = time.monotonic() + retry_in_s
    return _Slot(cast("Any", None), session=session, retry_at=retry_at)


def test_wait_s_of_connections_that_are_up_is_the_longest() -> None:
    assert connections().wait_s(0.1) == pytest.approx(0.1)
    up = connections(slot(session=object()), slot(session=object(), retry_in_s=-5))
    assert up.wait_s(0.1) == pytest.approx(0.1)


def test_wait_s_is_until_the_earliest_try() -> None:
    assert connections(slot(session=object()), slot(retry_in_s=-1)).wait_s(0.1) == 0
    assert 40 < connections(slot(retry_in_s=60), slot(retry_in_s=50)).wait_s(1000) <= 50
    assert connections(slot(retry_in_s=50)).wait_s(0.1) == pytest.approx(0.1)


def test_put_leaves_the_numbers_below_to_those_who_come_later() -> None:
    one = connections()
    one.loop = SimpleNamespace(connection_count=0)
    to = {
        name: Endpoint(target=Target("ws", name, 80, "/"), server_name=name, addresses={})
        for name in ("a", "b", "c")
    }
    one.put(2, to["c"])
    assert one.loop.connection_count == 3
    assert [slot.is_retired for slot in one.slots] == [True, True, False]
    one.put(0, to["a"])
    assert [slot.endpoint for slot in one.slots if not slot.is_retired] == [to["a"], to["c"]]
    one.retire(2)
    one.slots[2].failures, one.slots[2].retry_at = 9, 99.0
    one.put(2, to["b"])
    assert (one.slots[2].endpoint, one.slots[2].is_retired) == (to["b"], False)
    assert (one.slots[2].failures, one.slots[2].retry_at) == (0, 0.0)
    most = int(lib.TP_LOOP_CONNECTION_MAX)
    with pytest.raises(LocalError, match=f"{most + 1} connections: expected at most {most}"):
        one.put(most, to["a"])
    assert len(one.slots) == 3


def test_try_prepares_and_sends_the_headers_of_its_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a connection says is set before the hot thread gets its session, each time anew."""
    order: list[str] = []
    said: list[bytes] = []
    monkeypatch.setenv("TICKPATH_TEST_SECRET", "s3cret")

    class Library:
        """Stands in for the C core: notes what is asked of it."""

        TP_LOOP_CONNECTION_MAX = lib.TP_LOOP_CONNECTION_MAX
        TP_COMMAND_CONNECT = lib.TP_COMMAND_CONNECT

        def tp_session_new(self, config: Any, *_: object) -> object:
            said.append(ffi.string(config.extra_headers))
            return ffi.cast("struct tp_session *", 1)

        def tp_handover_command(self, *_: object) -> bool:
            order.append("offered")
            return True

    class Transport:
        """Gives streams of nothing."""

        def open_stream(self, *_: object) -> Any:
            return SimpleNamespace(handle=ffi.NULL, tcp=ffi.NULL)

    loop = lib.tp_loop_new(64)
    try:
        monkeypatch.setattr(module, "lib", Library())
        one = Connections(loop, cast("Any", Transport()), Reconnect(), lambda _: None)
        one.add(
            Endpoint(
                target=Target("ws", "venue.test", 80, "/ws"),
                server_name="venue.test",
                addresses={"venue.test:80": "192.0.2.1"},
                headers=(("X-KEY", "k"), ("X-Two", "2"), ("User-Agent", "u")),
                credentials=(("X-Secret", "env:TICKPATH_TEST_SECRET"),),
                prepare=lambda: order.append("prepared"),
            )
        )
        one.step()
    finally:
        monkeypatch.undo()
        lib.tp_loop_free(loop)
    assert order == ["prepared", "offered"]
    assert said == [b"X-KEY: k\r\nX-Two: 2\r\nUser-Agent: u\r\nX-Secret: s3cret\r\n"]


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 0, 0), (1, 0, 0), (2, 0.05, 0.1), (4, 0.2, 0.4), (40, 15, 30)],
)
def test_delay_s_doubles_with_jitter_up_to_its_limit(
    failures: int, least: float, most: float
) -> None:
    assert Reconnect().delay_s(failures, 0.0) == pytest.approx(least)
    assert Reconnect().delay_s(failures, 1.0) == pytest.approx(most)


class Steps:
    """Connections to a port that no stream can be opened to, in a time that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.said: list[str] = []
        self.streams: list[str] = []
        self.connections = Connections(
            SimpleNamespace(connection_count=0),
            cast("Any", SimpleNamespace(open_stream=self._open)),
            Reconnect(),
            self.said.append,
            random=cast("Any", SimpleNamespace(random=lambda: 1.0)),
            clock=Clock(now_ns=lambda: int(self.now_s * 1e9)),
        )
        to = Target("ws", "peer.test", 80, "/")
        self.connections.add(
            Endpoint(target=to, server_name="", addresses={"peer.test:80": "192.0.2.1"})
        )

    def _open(self, address: str, _port: int) -> object:
        self.streams.append(address)
        raise LocalError("no port is free")

    def wait_s(self) -> float:
        """Try, and return how long the pause after it is."""
        count = len(self.streams)
        self.connections.step()
        assert len(self.streams) == count + 1
        return self.connections.slots[0].retry_at - self.now_s


def test_connection_without_its_credential_waits_and_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a port nor a turn of those that the venue bears; what is missing is named."""
    steps = Steps()
    one = steps.connections.slots[0]
    one.endpoint = replace(one.endpoint, credentials=(("X-Key", "env:TICKPATH_TEST_SECRET"),))
    monkeypatch.delenv("TICKPATH_TEST_SECRET", raising=False)
    for _ in range(3):
        steps.connections.step()
        steps.now_s = one.retry_at + 1e-6
    assert (steps.streams, one.failures) == ([], 3)
    assert "env:TICKPATH_TEST_SECRET: not set" in steps.said[-1]
    monkeypatch.setenv("TICKPATH_TEST_SECRET", "s3cret")
    steps.connections.step()
    assert steps.streams == ["192.0.2.1"]
    assert not any("s3cret" in line for line in steps.said)


def test_connection_that_fails_again_and_again_is_tried_less_and_less() -> None:
    steps = Steps()
    waits = []
    for _ in range(13):
        waits.append(steps.wait_s())
        steps.now_s = steps.connections.slots[0].retry_at + 1e-6
    assert waits == pytest.approx([0, *(0.1 * 2**i for i in range(9)), 30, 30, 30])


@pytest.mark.parametrize(("open_s", "failures"), [(30.0, 4), (30.001, 0)])
def test_connection_that_was_open_for_long_forgets_its_failures(
    open_s: float, failures: int
) -> None:
    steps = Steps()
    one = steps.connections.slots[0]
    one.session, one.open, one.offered_at, one.failures = object(), True, steps.now_s, 4
    steps.now_s += open_s
    steps.connections.step()
    assert one.failures == failures


def test_connection_is_not_tried_while_all_are_held() -> None:
    steps = Steps()
    steps.connections.hold("eth0 is down")
    steps.now_s += 1000
    steps.connections.step()
    assert steps.streams == []
    steps.connections.resume()
    steps.connections.step()
    assert steps.streams == ["192.0.2.1"]


class Beside:
    """A loop on kernel sockets and its connections; both threads' work is done by the test."""

    def __init__(self, scheme: str, port: int) -> None:
        self.said: list[str] = []
        self.loop = ffi.gc(lib.tp_loop_new(64), lib.tp_loop_free)
        self.handover = ffi.addressof(self.loop, "handover")
        self.connections = Connections(self.loop, KernelTransport(), Reconnect(), self.said.append)
        target = Target(scheme, "peer.test", port, "/")
        self.connections.add(
            Endpoint(target=target, server_name="", addresses={f"peer.test:{port}": "127.0.0.1"})
        )
        self._event = ffi.new("struct tp_loop_event *")

    def turn(self) -> list[int]:
        """Take a turn of the loop; returns the kinds of its events but TICK and TURN."""
        kinds = []
        assert lib.tp_loop_begin(self.loop, time.monotonic_ns())
        while lib.tp_loop_next(self.loop, self._event):
            kinds.append(int(self._event.kind))
        return [kind for kind in kinds if kind not in (lib.TP_LOOP_TICK, lib.TP_LOOP_TURN)]

    def take_note(self) -> int | None:
        note = lib.tp_handover_note(self.handover)
        if note == ffi.NULL:
            return None
        kind = int(note.kind)
        lib.tp_handover_note_release(self.handover)
        if kind == lib.TP_NOTE_OPENED:
            self.connections.opened(0)
        elif kind == lib.TP_NOTE_ENDED:
            self.connections.ended(0)
        return kind

    def until_note(self) -> int:
        """Take turns until there is a note; a quarter of a millisecond each, so that all tick."""
        for _ in range(20_000):
            self.turn()
            if (kind := self.take_note()) is not None:
                return kind
            time.sleep(0.00025)
        raise AssertionError(f"no note: {self.said}")

    def close(self) -> None:
        lib.tp_loop_stop(self.loop)
        time.sleep(0.001)
        self.turn()
        self.connections.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def beside(listener: socket.socket) -> Iterator[Beside]:
    made = Beside("http", listener.getsockname()[1])
    yield made
    made.close()


def test_connection_of_plain_http_opens_ends_and_is_tried_again(
    beside: Beside, listener: socket.socket
) -> None:
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_OPENED
    peer, _ = listener.accept()
    assert beside.said[-1].startswith("connection 0: open to peer.test:")
    peer.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    peer.close()
    assert beside.until_note() == lib.TP_NOTE_ENDED
    assert beside.said[-1].endswith("; trying again now")
    assert beside.connections.wait_s(1.0) == 0
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_OPENED
    assert len(beside.said) == 3


def test_connection_that_is_dropped_ends_and_is_tried_again(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_OPENED
    stream = beside.connections.slots[0].stream
    assert stream is not None
    released: list[object] = []
    monkeypatch.setattr(beside.connections.transport, "release", released.append)
    assert beside.connections.drop(0)
    assert beside.until_note() == lib.TP_NOTE_ENDED
    assert released == [stream], "its port serves the next one"
    monkeypatch.undo()
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_OPENED


def test_connection_without_memory_for_its_session_is_tried_again(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection's lack of a buffer must not end all the others."""

    def none_is_free(*_: object) -> object:
        raise LocalError("no message buffer is free")

    released: list[object] = []
    monkeypatch.setattr(Connections, "_new_session", none_is_free)
    monkeypatch.setattr(beside.connections.transport, "release", released.append)
    beside.connections.step()
    assert len(released) == 1
    assert beside.connections.slots[0].session is None
    assert beside.said[-1].endswith(": no message buffer is free; trying again now")
    monkeypatch.undo()
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_OPENED


def test_connection_that_nobody_answers_says_why(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    beside = Beside("ws", port)
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_ENDED
    assert "connect: Connection refused" in beside.said[-1]
    beside.close()


def test_connection_that_never_came_to_be_open_has_another_address_go_first(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = Beside("ws", listener.getsockname()[1])
    failed: list[tuple[str, int]] = []
    monkeypatch.setattr(beside.connections.resolver, "failed", lambda *one: failed.append(one))
    beside.connections.step()
    peer, _ = listener.accept()  # a balancer, whose server is gone
    peer.close()
    assert beside.until_note() == lib.TP_NOTE_ENDED
    assert failed == [("127.0.0.1", listener.getsockname()[1])]
    beside.close()


def test_connection_whose_offer_finds_no_room_is_tried_again_later(beside: Beside) -> None:
    command = ffi.new("struct tp_command *", {"kind": lib.TP_COMMAND_CALLER})
    while lib.tp_handover_command(beside.handover, command):
        pass
    beside.connections.step()
    assert "the hot thread is behind with its commands" in beside.said[-1]
    assert not beside.connections.drop(0)
    for _ in range(100):
        beside.turn()
        time.sleep(0.00025)
    beside.connections.step()
    assert beside.until_note() == lib.TP_NOTE_OPENED


# ---- what the venue bears of our address ---------------------------------------------------------


class Paced:
    """Connections whose tries are counted, in a time of their own, of one budget."""

    def __init__(self, count: int, directory: Path, **limits: Any) -> None:
        self.now_s, self.tried, self.lines = 1_000.0, list[float](), list[str]()
        clock = Clock(lambda: int(self.now_s * 1e9), lambda: 0)
        slots = [
            _Slot(
                Endpoint(
                    target=Target("ws", "venue.test", 80, "/"),
                    server_name="venue.test",
                    addresses={"venue.test:80": "192.0.2.1"},
                    venue="a venue",
                    **limits,
                )
            )
            for _ in range(count)
        ]
        self.connections = Connections(
            cast("Any", None),
            cast("Any", self),
            Reconnect(first_s=1e6, max_s=1e6),
            self.lines.append,
            slots=slots,
            clock=clock,
            pauses=Pauses(clock, directory, "boot"),
        )

    def open_stream(self, *_: object) -> Any:
        self.tried.append(self.now_s)
        raise LocalError("no stream here")

    def run(self, seconds: float) -> None:
        ends_s = self.now_s + seconds
        while self.now_s < ends_s:
            self.connections.step()
            for slot in self.connections.slots:
                if slot.failures:
                    slot.is_retired = True  # each is tried once
            self.now_s += 0.01


def test_connections_open_at_the_pace_that_the_venue_bears_of_our_address(tmp_path: Path) -> None:
    one = Paced(7, tmp_path, connects=Rate(3, 1.0, 1))
    one.run(4.0)
    assert [round(at - 1_000, 1) for at in one.tried] == [0.5 * number for number in range(7)]
    assert sum("waiting for its turn" in line for line in one.lines) == 6  # each said it once


def test_connections_of_two_processes_share_what_the_venue_bears(tmp_path: Path) -> None:
    one, other = (Paced(4, tmp_path, connects=Rate(4, 1.0, 2)) for _ in range(2))
    one.run(0.1)
    other.run(0.1)
    assert (len(one.tried), len(other.tried)) == (2, 0)


def test_connections_wait_where_what_they_open_with_is_too_much_for_now(tmp_path: Path) -> None:
    one = Paced(2, tmp_path, messages=Rate(8, 1.0, 4), opens_with=lambda: 4)
    one.run(2.0)
    assert [round(at - 1_000, 1) for at in one.tried] == [0.0, 1.0]


def test_connections_without_limits_open_at_once(tmp_path: Path) -> None:
    one = Paced(5, tmp_path)
    one.run(0.05)
    assert one.tried == [1_000.0] * 5


@pytest.mark.parametrize("is_paused", [True, False])
def test_connections_knock_at_no_address_while_the_venue_wants_nobody(
    tmp_path: Path, is_paused: bool
) -> None:
    """Of a name with two addresses the nearer one is found by connecting to both."""
    knocked: list[str] = []

    def connect(schedule: Schedule, _port: int) -> None:
        knocked.append(schedule.due(0.0) or "")
        schedule.connected(knocked[-1], 0.001)

    one = Paced(1, tmp_path)
    one.connections.slots[0].endpoint.addresses["venue.test:80"] = "192.0.2.1,192.0.2.2"
    one.connections.resolver = Resolver(connect=connect)
    if is_paused:
        one.connections.pauses.note(
            "venue.test:80", own_address("192.0.2.1", 80), 300.0, "status 418"
        )
    for _ in range(2000):
        one.connections.step()
        if one.lines:
            break
        one.now_s += 0.01
        time.sleep(0.001)
    assert knocked == ([] if is_paused else ["192.0.2.1"])
    assert ("status 418, not long ago" in one.lines[0]) == is_paused
