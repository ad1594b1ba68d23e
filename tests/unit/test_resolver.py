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

    def look_up(host: str, _: dict[str, str], port: int) -> str:
        asked.append((host, port))
        assert go.wait(PATIENCE_S)
        return f"192.0.2.{len(asked)}"

    resolver = Resolver(look_up)
    assert [resolver.ask(HOST, {}, PORT) for _ in range(3)] == [None] * 3
    go.set()
    assert answer_of(resolver) == "192.0.2.1"
    assert answer_of(resolver) == "192.0.2.2"
    assert asked == [(HOST, PORT)] * 2


@pytest.mark.parametrize("error", [RemoteError("cannot resolve"), OSError("no more files")])
def test_resolver_gives_a_failure_on_and_asks_anew(error: Exception) -> None:
    def fail(*_: object) -> str:
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

    resolver = Resolver(lambda *_: "192.0.2.1")
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

    def look_up(*_: object) -> str:
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
