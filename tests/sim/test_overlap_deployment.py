"""Scheduled reconnects that overlap without a race: a successor has the books, then the old ends.

A member's lag, losses and ends: members.py. The deployment itself holds the ten lines of LIVE.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venues import pair_symbol

from tests.sim import members
from tests.sim.deployment import RECOVERY_S, Deployment, Setup
from tests.sim.test_race_deployment import NAMES, VENUES, left_live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Deployment]

OLD, SUCCESSOR = 0, 1


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(venue: str, **fields: Any) -> Deployment:
        dialect = load_dialect(venue)
        symbols = tuple(pair_symbol(dialect.venue, parse_symbol(name)) for name in NAMES)
        words: dict[str, Any] = {"seed": 1, "directory": tmp_path, "overlap": True} | fields
        made.append(Deployment(Setup(dialect=dialect, symbols=symbols, **words)))
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def is_open(deployment: Deployment) -> list[bool]:
    return [slot.open for slot in deployment.feed_handler.connections.slots]


def settled(deployment: Deployment) -> int:
    """Have all books LIVE by the one connection that is open."""
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.run(deployment.feed_handler.connections.reconnect.stable_after_s + 1.0)
    assert is_open(deployment) == [True, False]
    return len(deployment.story)


def carriers(deployment: Deployment) -> set[int]:
    feed = deployment.feed_handler.feed
    return {lib.tp_feed_carrier(feed, index) for index in range(len(NAMES))}


@pytest.mark.parametrize("rate", [0.5, 20.0])
@pytest.mark.parametrize("venue", VENUES)
def test_scheduled_reconnect_costs_no_book_its_live(make: Make, venue: str, rate: float) -> None:
    """There and back; busy and quiet: what no change shows, a proof of the book does."""
    deployment = make(venue, rate=rate)
    begin = settled(deployment)
    connections = deployment.feed_handler.connections
    for old in (OLD, SUCCESSOR):
        connections.slots[old].replace_at = 0.0
        gone = [True, True]
        gone[old] = False
        assert deployment.run(120.0, lambda gone=gone: is_open(deployment) == gone)  # type: ignore[misc] # the loop's
        assert carriers(deployment) == {1 - old}
        deployment.run(connections.reconnect.stable_after_s + 1.0)
        assert is_open(deployment) == gone, "it is not tried again"
        assert deployment.are_live()
    lines = [one for one in deployment.story[begin:] if "planned reconnect" in one]
    assert len(lines) == 2
    assert "its books go on by its successor, connection 1" in lines[0]
    assert "its books go on by its successor, connection 0" in lines[1]
    assert left_live(deployment, begin) == []
    deployment.stop()


@pytest.mark.parametrize("venue", ["mexc", "okx"])
def test_old_connection_stays_while_its_successor_lacks_a_book(make: Make, venue: str) -> None:
    """A successor that the venue serves one channel only is not enough, however long it takes."""
    deployment = make(venue, rate=20.0)
    begin = settled(deployment)
    connections = deployment.feed_handler.connections
    name = deployment.setup.symbols[0]
    deployment.order(f"refuse:{name}")
    connections.slots[OLD].replace_at = 0.0
    deployment.run(8.0)
    assert is_open(deployment) == [True, True]
    assert left_live(deployment, begin) == []
    deployment.order(f"accept:{name}")
    assert deployment.run(120.0, lambda: is_open(deployment) == [False, True])
    assert left_live(deployment, begin) == []
    deployment.stop()


def test_successor_that_ends_first_is_opened_again_and_then_takes_over(make: Make) -> None:
    deployment = make("binance", rate=20.0)
    begin = settled(deployment)
    connections = deployment.feed_handler.connections
    deployment.order("refuse:BTCUSDT")
    connections.slots[OLD].replace_at = 0.0
    assert deployment.run(5.0, lambda: is_open(deployment) == [True, True])
    assert connections.drop(SUCCESSOR)
    deployment.order("accept:BTCUSDT")
    assert deployment.run(120.0, lambda: is_open(deployment) == [False, True])
    assert left_live(deployment, begin) == []
    deployment.stop()


def test_venue_that_ends_the_old_one_meanwhile_leaves_the_successor(make: Make) -> None:
    """It was both: the books that the successor has go on, and nobody opens the old one again."""
    deployment = make("mexc", rate=20.0)
    settled(deployment)
    connections = deployment.feed_handler.connections
    deployment.order("refuse:BTCUSDT")
    connections.slots[OLD].replace_at = 0.0
    assert deployment.run(5.0, lambda: is_open(deployment) == [True, True])
    deployment.order("accept:BTCUSDT")
    deployment.run(0.1)
    members.harm(deployment.exchange, "disconnect", random.Random(3))
    assert deployment.run(60.0, deployment.are_live)
    deployment.run(60.0)
    assert is_open(deployment).count(True) == 1
    assert deployment.are_live()
    deployment.stop()


@pytest.mark.parametrize(
    ("venue", "notice"),
    [
        ("binance", b'{"e":"serverShutdown","E":1770123456789}'),
        ("okx", b'{"event":"notice","code":"64008","msg":"Please reconnect.","connId":"a4"}'),
    ],
)
def test_notice_of_the_end_is_followed_before_the_end(
    make: Make, venue: str, notice: bytes
) -> None:
    """The venue says that it will close the connection: its successor has the books by then."""
    deployment = make(venue, rate=20.0)
    begin = settled(deployment)
    for connection in deployment.exchange._websockets.values():
        connection.send(Message(notice, is_text=True))
    assert deployment.run(10.0, lambda: is_open(deployment) == [False, True])
    assert left_live(deployment, begin) == []
    deployment.stop()


def test_symbol_that_comes_in_a_hand_over_is_read_by_the_successor(make: Make) -> None:
    deployment = make("mexc", rate=20.0, listed=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    begin = settled(deployment)
    connections = deployment.feed_handler.connections
    connections.slots[OLD].replace_at = 0.0
    config = deployment.feed_handler.config
    venues = (msgspec.structs.replace(config.venues[0], symbols=(*NAMES_OF_MEXC, "SOLUSDT")),)
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=venues))
    assert deployment.run(RECOVERY_S, lambda: deployment.is_live_by_name("SOLUSDT"))
    assert deployment.run(120.0, lambda: is_open(deployment) == [False, True])
    assert [one for one in left_live(deployment, begin) if "SOLUSDT" not in one] == []
    assert deployment.is_live_by_name("SOLUSDT")
    deployment.stop()


NAMES_OF_MEXC = ("BTCUSDT", "ETHUSDT")
