"""When the cold thread has to look after its connections again."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.loop import connections as module
from tickpath.engine.loop.connections import Connections, Endpoint, Reconnect, _Slot
from tickpath.netstack.session import Target


def connections(*slots: _Slot) -> Connections:
    none = cast("Any", None)
    return Connections(none, none, none, Reconnect(), lambda _: None, slots=list(slots))


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


def test_try_prepares_and_sends_the_headers_of_its_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a connection says is set before the hot thread gets its session, each time anew."""
    order: list[str] = []
    said: list[bytes] = []

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

    loop = lib.tp_loop_new()
    try:
        monkeypatch.setattr(module, "lib", Library())
        none = cast("Any", None)
        one = Connections(loop, cast("Any", Transport()), none, Reconnect(), lambda _: None)
        one.add(
            Endpoint(
                target=Target("ws", "venue.test", 80, "/ws"),
                server_name="venue.test",
                addresses={"venue.test:80": "192.0.2.1"},
                headers=(("X-KEY", "k"), ("X-Two", "2")),
                prepare=lambda: order.append("prepared"),
            )
        )
        one.step()
    finally:
        monkeypatch.undo()
        lib.tp_loop_free(loop)
    assert order == ["prepared", "offered"]
    assert said == [b"X-KEY: k\r\nX-Two: 2\r\n"]


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 0, 0), (1, 0, 0), (2, 0.05, 0.1), (4, 0.2, 0.4), (40, 15, 30)],
)
def test_delay_s_doubles_with_jitter_up_to_its_limit(
    failures: int, least: float, most: float
) -> None:
    assert Reconnect().delay_s(failures, 0.0) == pytest.approx(least)
    assert Reconnect().delay_s(failures, 1.0) == pytest.approx(most)
