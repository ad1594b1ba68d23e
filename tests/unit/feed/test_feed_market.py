"""Trades and the venue's own best prices: events of their own, which touch no book."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.proto.venues import venue_names
from tickpath.proto.venues.decoder import find_decoder

from tests.unit.feed.conftest import DISCONNECTED, LIVE, NONE, STALE, WS_TEXT, Rig
from tests.unit.feed.test_feed_venues import IN_BAND_RULE, SampleVenue, base, delta
from tests.venues.test_decoders import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRADE, BEST = int(lib.TP_EVENT_TRADE), int(lib.TP_EVENT_BEST)
TRADES, TOP = int(lib.TP_MEANING_TRADES), int(lib.TP_MEANING_TOP)
SELL, SIDELESS, HASHED = 1, 2, 4
APPLIED, IGNORED, BROKEN = lib.TP_FEED_APPLIED, lib.TP_FEED_IGNORED, lib.TP_FEED_BROKEN


def trades(*rows: tuple[int, int, int, int, int], **more: int) -> bytes:
    return json.dumps({"m": TRADES, "trades": rows, **more}).encode()


def best(bids: dict[int, int], asks: dict[int, int], **more: int) -> bytes:
    return delta(7, bids, asks, **{"m": TOP, "flags": int(lib.TP_DEPTH_TOP), **more})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    one = Rig(tmp_path, instruments=2, venue=SampleVenue(IN_BAND_RULE).c)
    one.up()
    one.message(base(10))
    one.events()
    yield one
    one.close()


def test_feed_trades_are_events_in_their_order(rig: Rig) -> None:
    rows = [(100, 5, 1, 0, 70), (101, 6, 2, SELL, 71), (102, 7, 3, SIDELESS | HASHED, 72)]
    before = rig.record()
    assert rig.message(trades(*rows), opcode=WS_TEXT) == APPLIED
    flags = [0, int(lib.TP_EVENT_SELL), int(lib.TP_EVENT_SIDELESS) | int(lib.TP_EVENT_HASHED)]
    assert rig.events() == [
        (TRADE, flag, [price, quantity, time, number])
        for (price, quantity, number, _, time), flag in zip(rows, flags, strict=True)
    ]
    assert rig.counters.trades == 3
    assert rig.record() == before, "no book is made of trades"


def test_feed_event_has_the_instruments_scale_and_its_connection(rig: Rig) -> None:
    rig.up(1)
    rig.message(base(10, i=1))
    rig.events()
    rig.now += 5
    assert rig.message(trades((1, 2, 3, 0, 4), i=1)) == APPLIED
    rig.reader.poll()
    raw = memoryview(rig.reader.event)[1:8]
    event = ffi.cast("struct tp_event *", ffi.from_buffer(raw.cast("B")))
    assert (event.instrument, event.received_ns) == (1, rig.now)
    assert event.price_exponent < 0
    assert event.published_ns > 0


@pytest.mark.parametrize(
    ("bids", "asks", "values"),
    [
        ({100: 5}, {101: 6}, [100, 5, 101, 6]),
        ({}, {101: 6}, [0, 0, 101, 6]),
        ({100: 5}, {}, [100, 5, 0, 0]),
        ({500: 5}, {101: 6}, [500, 5, 101, 6]),  # crossed: what the venue says is published
    ],
)
def test_feed_best_prices_are_an_event_and_move_no_book(
    rig: Rig, bids: dict[int, int], asks: dict[int, int], values: list[int]
) -> None:
    before = rig.record(), rig.levels()
    assert rig.message(best(bids, asks)) == APPLIED
    assert rig.events() == [(BEST, 0, values)]
    assert (rig.record(), rig.levels()) == before
    assert rig.counters.bests == 1
    assert rig.message(delta(11, {100: 1})) == APPLIED, "the book's chain goes on"
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize(
    "data",
    [
        trades((1, 2, 3, 0, 4), bad=1),
        best({100: 1}, {101: 1}, bad=1),
        delta(7, {100: 1}, m=TOP),  # a change of a book under the ticker's name
    ],
)
def test_feed_broken_trades_or_prices_are_counted_and_the_book_stays(rig: Rig, data: bytes) -> None:
    assert rig.message(data) == BROKEN
    assert rig.counters.broken == 1
    assert (rig.state(), rig.events()) == ((LIVE, NONE), [])


def test_feed_trades_of_a_connection_that_is_down_do_not_count(rig: Rig) -> None:
    rig.down()
    rig.events()
    assert rig.message(trades((1, 2, 3, 0, 4))) == IGNORED
    assert rig.message(best({100: 1}, {101: 1})) == IGNORED
    assert rig.counters.inactive == 2
    assert (rig.state(), rig.events()) == ((STALE, DISCONNECTED), [])


def test_feed_trades_come_while_the_book_has_no_base(tmp_path: Path) -> None:
    one = Rig(tmp_path, venue=SampleVenue(IN_BAND_RULE).c)
    one.up()
    one.events()
    assert one.message(trades((1, 2, 3, 0, 4))) == APPLIED
    assert [kind for kind, _, _ in one.events()] == [TRADE]
    one.close()


def test_feed_venue_without_a_decoder_of_trades_has_none(tmp_path: Path) -> None:
    venue = SampleVenue(IN_BAND_RULE)
    venue.c.decode_trades = ffi.NULL
    one = Rig(tmp_path, venue=venue.c)
    one.up()
    assert one.message(trades((1, 2, 3, 0, 4))) == IGNORED
    assert one.counters.unpublished == 1
    one.close()


# ---- every venue, by its samples -----------------------------------------------------------------


def book_channels(name: str) -> dict[str, str]:
    """Return channels of books, by symbol or whatever else stands in their names."""
    c: Any = find_decoder(name)
    return {
        one.channel: one.channel
        for one in samples(name)
        if one.channel and c.describe(one.channel.encode()).rule != ffi.NULL
    }


@pytest.mark.parametrize("name", venue_names())
def test_feed_trades_and_prices_of_every_venue_come_with_the_books_channel(
    name: str, tmp_path: Path
) -> None:
    """Books alone are added: what else is streamed of their instruments finds its way."""
    books = book_channels(name)
    one = Rig(tmp_path, instruments=len(books), venue=find_decoder(name), added=0)
    for index, channel in enumerate(books):
        assert one.add(index, channel.encode(), price_exponent=-2, quantity_exponent=-8)
    one.up()
    one.events()
    wanted = [sample for sample in samples(name) if sample.meaning in ("TRADES", "TOP")]
    for sample in wanted:
        assert one.message(sample.data, opcode=sample.opcode) == APPLIED, sample
        kind = TRADE if sample.meaning == "TRADES" else BEST
        found = [event for event, _, _ in one.events()]
        assert found == [kind] * len(found) != [], sample
    one.close()
