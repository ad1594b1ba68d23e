"""Names are looked up beside the cold thread, which must see a lost link meanwhile."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from tickpath.engine.loop.connections import Connections, Endpoint, Reconnect
from tickpath.engine.loop.resolver import Resolver
from tickpath.netstack.session import Target
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.netstack.eyeballs import Schedule

PATIENCE_S = 20
HOST, PORT = "exchange.test", 443


def answer_of(resolver: Resolver) -> str:
    end = time.monotonic() + PATIENCE_S
    while (address := resolver.ask(HOST, {}, PORT)) is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    return address


def test_resolver_answers_when_it_knows_and_asks_anew_each_time() -> None:
    go, asked = threading.Event(), []

    def look_up(host: str, port: int) -> list[str]:
        asked.append((host, port))
        assert go.wait(PATIENCE_S)
        return [f"192.0.2.{len(asked)}"]

    resolver = Resolver(look_up)
    assert [resolver.ask(HOST, {}, PORT) for _ in range(3)] == [None] * 3
    go.set()
    assert answer_of(resolver) == "192.0.2.1"
    assert answer_of(resolver) == "192.0.2.2"
    assert asked == [(HOST, PORT)] * 2


@pytest.mark.parametrize("error", [RemoteError("cannot resolve"), OSError("no more files")])
def test_resolver_gives_a_failure_on_and_asks_anew(error: Exception) -> None:
    def fail(*_: object) -> list[str]:
        raise error

    resolver = Resolver(fail)
    for _ in range(2):
        with pytest.raises(RemoteError, match=str(error)):
            answer_of(resolver)


def test_resolver_that_can_start_no_thread_fails_that_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host bears no more of them now: the cold thread, which asks, must go on."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver = Resolver(lambda *_: ["192.0.2.1"])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RemoteError, match="can't start new thread"):
            resolver.ask(HOST, {}, PORT)
    assert answer_of(resolver) == "192.0.2.1"


@pytest.mark.parametrize(
    ("host", "overrides", "address"),
    [(HOST, {f"{HOST}:{PORT}": "192.0.2.9"}, "192.0.2.9"), ("127.0.0.1", {}, "127.0.0.1")],
)
def test_resolver_knows_what_needs_no_look_up(
    host: str, overrides: dict[str, str], address: str
) -> None:
    assert Resolver().ask(host, overrides, PORT) == address


def test_step_waits_for_no_name() -> None:
    """In an outage of DNS each look-up takes seconds; a lost link must be seen in between."""
    go = threading.Event()
    looked: list[Callable[[], None]] = []

    def look_up(*_: object) -> list[str]:
        looked.append(go.set)
        assert go.wait(PATIENCE_S)
        raise RemoteError("cannot resolve")

    lines: list[str] = []
    loop = type("Loop", (), {"connection_count": 0})()
    none = cast("Any", None)
    cold = Connections(loop, none, Reconnect(), lines.append, resolver=Resolver(look_up))
    cold.add(Endpoint(target=Target("ws", HOST, PORT, "/"), server_name=HOST, addresses={}))
    cold.step()  # would not come back before
    assert lines == []
    assert cold.wait_s(0.1) < 0.1  # it looks again soon
    go.set()
    end = time.monotonic() + PATIENCE_S
    while not lines:
        assert time.monotonic() < end
        time.sleep(cold.wait_s(0.01))
        cold.step()
    assert "cannot resolve; trying again" in lines[0]
    assert len(looked) == 1


class Net:
    """Addresses that answer, by their round trip."""

    def __init__(self, **seconds: float) -> None:
        self.alive = {f"192.0.2.{name[1:]}": value for name, value in seconds.items()}
        self.orders: list[list[str]] = []

    def connect(self, schedule: Schedule, _port: int) -> None:
        now_s, order = 0.0, []
        while (address := schedule.due(now_s)) is not None:
            order.append(address)
            if address in self.alive:
                schedule.connected(address, self.alive[address])
            else:
                now_s += schedule.wait_s(now_s, 1.0)
                schedule.failed(address, "no answer within 5 s")
        self.orders.append(order)


def test_resolver_of_several_addresses_returns_one_that_answers() -> None:
    net = Net(n3=0.002)
    resolver = Resolver(lambda *_: ["192.0.2.1", "192.0.2.2", "192.0.2.3"], net.connect)
    assert answer_of(resolver) == "192.0.2.3"
    assert answer_of(resolver) == "192.0.2.3"
    assert net.orders == [["192.0.2.1", "192.0.2.2", "192.0.2.3"], ["192.0.2.3"]]  # known by now


def test_resolver_goes_elsewhere_when_no_session_came_of_an_address_that_answers() -> None:
    """A balancer accepts connections for a server behind it that is gone."""
    net = Net(n1=0.001, n2=0.002)
    resolver = Resolver(lambda *_: ["192.0.2.1", "192.0.2.2"], net.connect)
    assert answer_of(resolver) == "192.0.2.1"
    resolver.failed("192.0.2.1", PORT)
    assert answer_of(resolver) == "192.0.2.2"


def test_resolver_names_every_address_where_none_answers() -> None:
    resolver = Resolver(lambda *_: ["192.0.2.1", "192.0.2.2"], Net().connect)
    with pytest.raises(
        RemoteError, match=r"192\.0\.2\.1 \(no answer within 5 s\), 192\.0\.2\.2 \(no"
    ):
        answer_of(resolver)


def test_resolver_tries_the_addresses_of_the_configuration_too() -> None:
    overrides = {f"{HOST}:{PORT}": "192.0.2.1,192.0.2.2"}
    resolver = Resolver(lambda *_: ["192.0.2.9"], Net(n2=0.001).connect)
    end = time.monotonic() + PATIENCE_S
    while (address := resolver.ask(HOST, overrides, PORT)) is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert address == "192.0.2.2"


def test_resolver_connects_nowhere_while_the_venue_wants_nobody() -> None:
    net, asked = Net(n2=0.001), []
    resolver = Resolver(lambda *_: ["192.0.2.1", "192.0.2.2"], net.connect)

    def is_held(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1

    def answer() -> str:
        end = time.monotonic() + PATIENCE_S
        while (address := resolver.ask(HOST, {}, PORT, is_held)) is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        return address

    assert answer() == "192.0.2.1"
    assert net.orders == []
    assert answer() == "192.0.2.2"
    assert asked == ["192.0.2.1", "192.0.2.1"]
