"""Addresses of a raced name: the nearest ones, one each, measured beside the cold thread."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.loop.addresses import (
    AFTER_FAILURE_S,
    AGAIN_S,
    UNREACHED_S,
    Addresses,
    connect_s,
)
from tickpath.shm.clock import Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 20
TIMES = {"192.0.2.1": 0.003, "192.0.2.2": 0.001, "192.0.2.3": UNREACHED_S}


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ns = 0
        self.clock = Clock(lambda: self.ns, lambda: self.ns)


def made(hand: Hand, lines: list[str], times: dict[str, float] | None = None) -> Addresses:
    one = Addresses("venue.test", 443, log=lines.append, clock=hand.clock)
    known = TIMES if times is None else times
    one.look_up = lambda _host, _port: list(known)
    one.measure = lambda address, _port: known[address]
    return one


def answer(ask: Callable[[], str | None]) -> str:
    end = time.monotonic() + PATIENCE_S
    while (address := ask()) is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    return address


def settle(one: Addresses) -> None:
    end = time.monotonic() + PATIENCE_S
    while one._question is not None:
        assert time.monotonic() < end
        one.step()
        time.sleep(0.001)


def test_addresses_members_take_the_nearest_ones_one_each() -> None:
    hand, lines = Hand(), list[str]()
    one = made(hand, lines)
    assert one.ask(0) is None
    assert answer(lambda: one.ask(0)) == "192.0.2.2"
    assert [one.ask(place) for place in range(4)] == [
        "192.0.2.2",
        "192.0.2.1",
        "192.0.2.3",
        "192.0.2.2",
    ]
    assert lines == [
        "addresses of venue.test:443, the nearest first: 192.0.2.2 (1.000 ms), "
        "192.0.2.1 (3.000 ms), 192.0.2.3 (no answer)"
    ]


def test_addresses_are_measured_again_and_the_order_before_serves_meanwhile() -> None:
    hand, lines, times = Hand(), list[str](), dict(TIMES)
    one = made(hand, lines, times)
    answer(lambda: one.ask(0))
    times["192.0.2.1"] = 0.0005
    one.step()
    assert one.ask(0) == "192.0.2.2"
    hand.ns = int(AGAIN_S * 1e9)
    assert one.ask(0) in {"192.0.2.2", "192.0.2.1"}
    settle(one)
    assert one.ask(0) == "192.0.2.1"
    assert len(lines) == 2


def test_addresses_are_measured_again_soon_when_one_brings_no_connection() -> None:
    hand, lines, times = Hand(), list[str](), dict(TIMES)
    one = made(hand, lines, times)
    answer(lambda: one.ask(0))
    times["192.0.2.2"] = UNREACHED_S
    one.failed()
    settle(one)
    assert one.ask(0) == "192.0.2.2", "not at once, however many fail"
    hand.ns = int(AFTER_FAILURE_S * 1e9)
    one.step()
    settle(one)
    assert one.ask(0) == "192.0.2.1"


def test_addresses_failure_is_told_once_none_are_known_and_forgotten_else() -> None:
    hand, lines = Hand(), list[str]()
    one = made(hand, lines)

    def fail(_host: str, _port: int) -> list[str]:
        raise RemoteError("cannot resolve")

    good, one.look_up = one.look_up, fail
    with pytest.raises(RemoteError, match="cannot resolve"):
        answer(lambda: one.ask(0))
    one.look_up = good
    answer(lambda: one.ask(0))
    one.look_up = fail
    hand.ns = int(AGAIN_S * 1e9)
    one.step()
    settle(one)
    assert one.ask(0) == "192.0.2.2"


def test_addresses_that_are_named_are_not_looked_up() -> None:
    hand = Hand()
    one = Addresses("venue.test", 443, ["127.0.0.1", "127.0.0.2"], clock=hand.clock)
    one.measure = lambda address, _port: float(address[-1])
    assert answer(lambda: one.ask(1)) == "127.0.0.2"


def test_connect_is_measured_and_a_closed_port_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert 0 < connect_s("127.0.0.1", port) < PATIENCE_S
    assert connect_s("127.0.0.1", port) == UNREACHED_S
