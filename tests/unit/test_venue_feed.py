"""One venue of a feed handler: what it does by itself, without the others."""

from __future__ import annotations

import re
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tickpath.engine.config.schema import Config, VenueConfig
from tickpath.engine.feed_handler import list_reader, process, venue_feed
from tickpath.engine.feed_handler.process import FeedHandler
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.engine.feed_handler.venue_feed import VenueFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import InstrumentList, RestRefusal
from tickpath.shm.clock import SYSTEM
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [Instrument(0, "mexc", "BTCUSDT", -2, -3), Instrument(1, "mexc", "ETHUSDT", -4, -3)]
LISTED = InstrumentList({row.symbol: row for row in ROWS}, {})
PATIENCE_S = 20


def test_venue_feed_waits_as_long_as_a_limiting_venue_says_then_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To end and be restarted would be to ask on, against what the log promises."""
    lines: list[str] = []
    asked: list[float] = []

    def fetch(*_: object, **__: object) -> InstrumentList:
        asked.append(time.monotonic())
        if len(asked) == 1:
            raise RateLimitError(RestRefusal("status 429", False, 0.2))
        return LISTED

    monkeypatch.setattr(list_reader, "fetch_list", fetch)
    one = FeedHandler(Config(venues=(VenueConfig(symbols=("BTCUSDT",)),)), lines.append)
    assert one._await_lists()
    assert asked[1] - asked[0] >= 0.2
    # From when it is said: less on a busy host.
    assert re.search(r"status 429, for 0\.2 s: reading it again in 0(\.[12])? s, at 20", lines[0])

    asked.clear()
    two = FeedHandler(Config(venues=(VenueConfig(symbols=("BTCUSDT",)),)), lines.append)
    two.stop()
    assert not two._await_lists()
    assert asked == []


def sections(*names: str, tell: Callable[[str], None] = lambda _: None) -> FeedHandler:
    venues = tuple(VenueConfig(name=name, symbols=("BTCUSDT", "ETHUSDT")) for name in names)
    return FeedHandler(Config(instance="several", venues=venues), tell)


def test_ban_of_one_venue_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes of both lists at first: the one is banned for an hour, the other times out."""
    asked: list[str] = []

    def fetch(config: VenueConfig, *_: object, **__: object) -> InstrumentList:
        asked.append(config.name)
        if config.name == "binance":
            raise RateLimitError(RestRefusal("status 418", True, 3600.0))
        if asked.count("mexc") == 1:
            raise RemoteError("timed out")
        return LISTED

    monkeypatch.setattr(list_reader, "fetch_list", fetch)
    monkeypatch.setattr(list_reader, "RETRY_FIRST_S", 0.05)
    handler = sections("mexc", "binance")
    assert handler._await_lists()
    assert sorted(asked) == ["binance", "mexc", "mexc"]
    mexc, binance = handler.venues
    assert mexc.has_list
    assert binance.list_reader.again_s - SYSTEM.now_s() > 3500.0


def test_lists_of_all_venues_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and where symbols come and go: none answers before all were asked."""
    names = ("mexc", "binance", "bybit")
    all_asked = threading.Barrier(len(names))

    def fetch(*_: object, **__: object) -> InstrumentList:
        all_asked.wait(PATIENCE_S)
        return LISTED

    monkeypatch.setattr(list_reader, "fetch_list", fetch)
    handler = sections(*names)
    assert handler._await_lists()
    assert [venue.failure for venue in handler.venues] == [None] * 3
    handler._place_venues()
    for venue in handler.venues:
        venue.reload(("BTCUSDT",))
    end, came = time.monotonic() + PATIENCE_S, 0
    while came < 3:
        assert time.monotonic() < end
        came += sum(venue.list_reader.step() is not None for venue in handler.venues)


def test_slow_list_of_one_venue_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others start; its instruments come with it, and it is not asked for twice."""
    lines: list[str] = []
    slow, asked = threading.Event(), []

    def fetch(config: VenueConfig, *_: object, **__: object) -> InstrumentList:
        asked.append(config.name)
        if config.name == "mexc":
            assert slow.wait(PATIENCE_S)
        return LISTED

    monkeypatch.setattr(list_reader, "fetch_list", fetch)
    monkeypatch.setattr(process, "OTHERS_WITHIN_S", 0.05)
    handler = sections("mexc", "binance", tell=lines.append)
    assert handler._await_lists()
    assert not slow.is_set()
    mexc, binance = handler.venues
    assert binance.has_list
    assert not mexc.has_list
    (line,) = [line for line in lines if line.startswith("mexc")]
    assert line == f"mexc: instrument list: {venue_feed.NOT_YET}"
    handler._place_venues()
    assert (mexc.books, len(mexc.indexes)) == (2, 0), "its places are kept"
    slow.set()
    end = time.monotonic() + PATIENCE_S
    while mexc.list_reader.step() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert sorted(asked) == ["binance", "mexc"]


def test_lists_that_come_while_another_venue_is_limited_are_awaited_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    looks, slow = [], threading.Event()

    def fetch(config: VenueConfig, *_: object, **__: object) -> InstrumentList:
        if config.name == "binance":
            raise RateLimitError(RestRefusal("status 418", True, 3600.0))
        assert slow.wait(PATIENCE_S)
        return LISTED

    def look(venue: VenueFeed) -> None:
        looks.append(1)
        if len(looks) > 20:
            slow.set()
        look_once(venue)

    look_once = VenueFeed.look
    monkeypatch.setattr(VenueFeed, "look", look)
    monkeypatch.setattr(list_reader, "fetch_list", fetch)
    handler = sections("mexc", "binance", tell=lines.append)
    assert handler._await_lists()
    assert [venue.has_list for venue in handler.venues] == [True, False]
    assert len(lines) == 1, "of the limit, once"
    assert "status 418" in lines[0]


def test_error_of_one_venues_folder_at_its_list_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(config: VenueConfig, *_: object, **__: object) -> InstrumentList:
        if config.name == "mexc":
            raise KeyError("symbols")
        return LISTED

    monkeypatch.setattr(list_reader, "fetch_list", fetch)
    handler = sections("mexc", "binance")
    assert handler._await_lists()
    assert [venue.has_list for venue in handler.venues] == [False, True]
    alone = sections("mexc")
    with pytest.raises(RemoteError, match="instrument list: KeyError: 'symbols'"):
        alone._await_lists()


def test_link_is_that_of_the_first_venue_with_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts: list[str] = []

    def resolve(host: str, _overrides: object, _port: int) -> str:
        hosts.append(host)
        if len(hosts) == 1:
            raise RemoteError(f"cannot resolve {host!r}")
        return "192.0.2.7"

    monkeypatch.setattr(list_reader, "fetch_list", lambda *_, **__: LISTED)
    monkeypatch.setattr(process, "resolve", resolve)
    handler = sections("mexc", "binance")
    assert handler._await_lists()
    handler._place_venues()
    assert handler._first_address() == "192.0.2.7"
    assert len(set(hosts)) == 2

    def nowhere(host: str, _overrides: object, _port: int) -> str:
        raise RemoteError(f"cannot resolve {host!r}")

    monkeypatch.setattr(process, "resolve", nowhere)
    with pytest.raises(RemoteError, match=hosts[0]):
        handler._first_address()


def test_stop_ends_all_before_it_waits_for_any() -> None:
    """Each may wait out a connect of five seconds, the supervisor waits for eight."""
    done: list[str] = []

    def say(word: str) -> Callable[[], None]:
        return lambda: done.append(word)

    handler = sections("mexc", "binance")
    handler.venues[:] = [
        cast("Any", SimpleNamespace(bases=SimpleNamespace(end=say("end"), stop=say("stop"))))
        for _ in range(3)
    ]
    handler._stop_bases()
    assert done == ["end"] * 3 + ["stop"] * 3
