"""One venue of a feed handler: what it does by itself, without the others."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tickpath.engine.config.schema import Config, VenueConfig
from tickpath.engine.feed_handler import process, venue_feed
from tickpath.engine.feed_handler.instrument_list import Chosen
from tickpath.engine.feed_handler.process import FeedHandler
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import RestRefusal
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [Instrument(0, "mexc", "BTCUSDT", -2, -3), Instrument(1, "mexc", "ETHUSDT", -4, -3)]


def test_venue_feed_waits_as_long_as_a_limiting_venue_says_then_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To end and be restarted would be to ask on, against what the log promises."""
    lines: list[str] = []
    asked: list[float] = []

    def fetch(_: VenueConfig, *_rest: object) -> Chosen:
        asked.append(time.monotonic())
        if len(asked) == 1:
            raise RateLimitError(RestRefusal("status 429", False, 0.2))
        return Chosen(ROWS)

    monkeypatch.setattr(venue_feed, "fetch_instruments", fetch)
    one = FeedHandler(Config(venues=(VenueConfig(symbols=("BTCUSDT",)),)), lines.append)
    assert one._fetch_lists()
    assert asked[1] - asked[0] >= 0.2
    # From when it is said: less on a busy host.
    assert re.search(r"status 429, for 0\.2 s: asking again in 0(\.[12])? s, at 20", lines[0])

    asked.clear()
    one.stop()
    assert not one._fetch_lists()
    assert len(asked) == 1


def sections(*names: str) -> FeedHandler:
    venues = tuple(VenueConfig(name=name, symbols=("BTCUSDT", "ETHUSDT")) for name in names)
    return FeedHandler(Config(instance="several", venues=venues), lambda _: None)


def test_ban_of_one_venue_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes of both lists at first: the one is banned for an hour, the other times out."""
    asked: list[str] = []

    def fetch(config: VenueConfig, *_rest: object) -> Chosen:
        asked.append(config.name)
        if config.name == "binance":
            raise RateLimitError(RestRefusal("status 418", True, 3600.0))
        if asked.count("mexc") == 1:
            raise RemoteError("timed out")
        return Chosen(ROWS)

    monkeypatch.setattr(venue_feed, "fetch_instruments", fetch)
    monkeypatch.setattr(venue_feed, "RETRY_S", 0.05)
    handler = sections("mexc", "binance")
    assert handler._fetch_lists()
    assert asked == ["mexc", "binance", "mexc"]
    mexc, binance = handler.venues
    assert mexc.failure is None
    assert binance.pause_s > 3500.0


def test_link_is_that_of_the_first_venue_with_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts: list[str] = []

    def resolve(host: str, _overrides: object, _port: int) -> str:
        hosts.append(host)
        if len(hosts) == 1:
            raise RemoteError(f"cannot resolve {host!r}")
        return "192.0.2.7"

    monkeypatch.setattr(venue_feed, "fetch_instruments", lambda *_: Chosen(ROWS))
    monkeypatch.setattr(process, "resolve", resolve)
    handler = sections("mexc", "binance")
    assert handler._fetch_lists()
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
