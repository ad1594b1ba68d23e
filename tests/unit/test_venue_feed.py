"""One venue of a feed handler: what it does by itself, without the others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tickpath.engine.config.schema import Config, VenueConfig
from tickpath.engine.feed_handler import venue_feed
from tickpath.engine.feed_handler.bases import RateLimitError
from tickpath.engine.feed_handler.instrument_list import Chosen
from tickpath.engine.feed_handler.process import FeedHandler
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import RestRefusal

if TYPE_CHECKING:
    import pytest

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
    assert "status 429, for 0 s: asking again in 0 s, at 20" in lines[0]

    asked.clear()
    one.stop()
    assert not one._fetch_lists()
    assert len(asked) == 1
