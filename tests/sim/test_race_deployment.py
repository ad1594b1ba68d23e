"""A deployment whose connections race: what one of them suffers costs no book its LIVE."""

from __future__ import annotations

import random
import ssl
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.venue_feed import VenueFeed
from tickpath.engine.loop.addresses import UNREACHED_S
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venues import pair_symbol
from tickpath.shm.clock import Clock
from tickpath.shm.segment import Segment

from tests.sim import members
from tests.sim.deployment import RECOVERY_S, Deployment, Setup
from tests.sim.virtual import certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sim.virtual import Certificate

    Make = Callable[..., Deployment]


NAMES = ("BTC/USDT", "ETH/USDT")
__all__ = ["certificate"]  # a fixture
VENUES = ("mexc", "binance", "binance_sbe", "okx", "bybit", "gate", "bitget")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(venue: str = "mexc", **fields: Any) -> Deployment:
        dialect = load_dialect(venue)
        symbols = tuple(pair_symbol(dialect.venue, parse_symbol(name)) for name in NAMES)
        words: dict[str, Any] = {"seed": 1, "directory": tmp_path, "race": 2} | fields
        made.append(Deployment(Setup(dialect=dialect, symbols=symbols, **words)))
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def left_live(deployment: Deployment, begin: int) -> list[str]:
    """Return what the story says of books that left LIVE since."""
    words = (" STALE reason", " SYNCING reason", " CROSSED reason")
    return [one for one in deployment.story[begin:] if any(word in one for word in words)]


def settled(deployment: Deployment) -> int:
    """Have all members LIVE and met; return where the story goes on from there."""
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.run(2.0)
    assert all(slot.open for slot in deployment.feed_handler.connections.slots)
    return len(deployment.story)


@pytest.mark.parametrize("venue", VENUES)
def test_race_member_that_ends_costs_no_book_its_live(make: Make, venue: str) -> None:
    deployment = make(venue)
    begin = settled(deployment)
    for _ in range(4):
        members.harm(deployment.exchange, "disconnect", random.Random(1))
        deployment.run(1.5)
    assert left_live(deployment, begin) == []
    assert deployment.are_live()
    assert deployment.counters.relieved > 0
    deployment.stop()


@pytest.mark.parametrize("venue", VENUES)
def test_race_message_that_one_member_loses_is_filled_by_another(make: Make, venue: str) -> None:
    deployment = make(venue, rate=120.0)
    begin = settled(deployment)
    for turn in range(6):
        members.harm(deployment.exchange, "lose", random.Random(turn))
        deployment.run(0.5)
    assert left_live(deployment, begin) == []
    assert deployment.counters.copies > 100
    deployment.stop()


def test_race_scheduled_reconnects_overlap(make: Make) -> None:
    """One member is replaced while the others go on: no book leaves LIVE, and it says so."""
    deployment = make(rate=10.0)
    begin = settled(deployment)
    connections = deployment.feed_handler.connections
    deployment.run(connections.reconnect.stable_after_s)
    for number in (0, 1):
        connections.slots[number].replace_at = 0.0
        deployment.run(connections.reconnect.stable_after_s + 3.0)
    lines = [one for one in deployment.story[begin:] if "planned reconnect" in one]
    assert len(lines) == 2
    assert all("its books go on by the others of its race" in one for one in lines)
    assert left_live(deployment, begin) == []
    deployment.stop()


def test_race_takes_only_records_that_are_authentic(make: Make, certificate: Certificate) -> None:
    """One member's bytes are altered on their way: nothing of them is seen, and its stream ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    deployment = make(tls=context, ca_file=certificate.certificate)
    begin = settled(deployment)
    broken, messages = deployment.counters.broken, deployment.counters.messages
    end = next(iter(deployment.transport.ends.values()))
    write = end.write

    def alter(data: bytes) -> None:
        write(data)
        end._unsent[-1] ^= 1  # of the tag

    end.write = alter  # type: ignore[method-assign,assignment] # this one end alone
    deployment.run(1.0)
    assert any("bad_record_mac" in one for one in deployment.story[begin:])
    assert left_live(deployment, begin) == []
    assert deployment.counters.broken == broken
    assert deployment.counters.messages > messages
    deployment.stop()


def test_race_counts_what_each_connection_won(make: Make) -> None:
    deployment = make(rate=120.0)
    settled(deployment)
    deployment.run(3.0)
    handler = deployment.feed_handler
    values = handler.race.values(handler.feed)
    won, copies = values[::2], values[1::2]
    assert len(won) == len(handler.race.connections) >= 2
    assert sum(won) > 100
    assert sum(copies) > 100
    assert set(handler.race.counters()) >= {"race.0.won", "race.1.copies"}
    with Segment(handler.config.instance, directory=deployment.setup.directory) as segment:
        hops, counters = segment.histograms(), segment.counters()
    behind = [hops[f"race_{number}_behind"] for number in (0, 1)]
    assert sum(one.n for one in behind) > 100
    assert all(one.max < 2 * members.LAG_MAX_S * 1e9 for one in behind)
    assert 0 < counters["race.0.won"] + counters["race.1.won"] <= sum(won)
    deployment.stop()


def test_race_symbols_that_come_are_raced_too(make: Make) -> None:
    deployment = make(listed=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    settled(deployment)
    config = deployment.feed_handler.config
    venues = (msgspec.structs.replace(config.venues[0], symbols=("ETHUSDT", "SOLUSDT")),)
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=venues))
    assert deployment.run(RECOVERY_S, lambda: deployment.is_live_by_name("SOLUSDT"))
    deployment.run(1.0)
    begin = len(deployment.story)
    members.harm(deployment.exchange, "disconnect", random.Random(1))
    deployment.run(1.0)
    assert [one for one in left_live(deployment, begin) if "BTCUSDT" not in one] == []
    assert deployment.is_live_by_name("SOLUSDT")
    deployment.stop()


def test_race_member_that_is_not_served_is_asked_for_again_while_the_book_is_live(
    make: Make,
) -> None:
    """The book is LIVE by another: that proves nothing of this member's subscription."""
    deployment = make()
    settled(deployment)
    deployment.order("refuse:BTCUSDT")
    members.harm(deployment.exchange, "disconnect", random.Random(1))
    deployment.run(1.0)
    refused = [one for one in deployment.story if "refused" in one and "asking again" in one]
    assert refused
    assert deployment.are_live()
    deployment.order("accept:BTCUSDT")
    deployment.run(70.0, lambda: any("accepted now" in one for one in deployment.story))
    assert any("accepted now" in one for one in deployment.story)
    assert deployment.are_live()
    deployment.stop()


def test_race_takes_addresses_of_its_own_for_each_member() -> None:
    config = VenueConfig(symbols=("BTCUSDT",), race=2, addresses=("192.0.2.1", "192.0.2.2"))
    feed = VenueFeed.__new__(VenueFeed)
    feed.config, feed._addresses = config, {}
    feed.shared, feed._is_named = _Shared(), False  # type: ignore[assignment] # two fields of it
    near = feed._near("venue.test", 443)
    assert near is feed._near("venue.test", 443), "all connections of a host share what is measured"
    assert near is not None
    near.measure = lambda _address, _port: UNREACHED_S
    while near.ask(0) is None:
        pass
    assert [near.ask(place) for place in (0, 1, 2)] == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    feed.config = VenueConfig(symbols=("BTCUSDT",))
    assert feed._near("venue.test", 443) is None


class _Shared:
    clock = Clock(lambda: 0, lambda: 0)

    @staticmethod
    def log(_: str) -> None:
        pass
