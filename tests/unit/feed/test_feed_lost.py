"""A message that was refused, or is not kept, may have been the next change: a base must show it.

A cache behind a venue's REST may answer with any book that it had. Each venue whose messages are
numbered is asked, by messages in its own bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    ASK,
    BID,
    BROKEN,
    LIVE,
    NONE,
    PRICE_EXPONENT,
    QUANTITY_EXPONENT,
    SETTLE,
    STALE,
    SYNCING,
    Rig,
    Update,
    Venue,
    assert_book,
    channel,
    decimal,
    message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCALE_REASON, HALTED = 12, int(lib.TP_SYNC_REASON_HALTED)
STREAM = b"coin0usdt@depth@100ms"
BROKEN_RESULT, BUFFERED = int(lib.TP_FEED_BROKEN), int(lib.TP_FEED_BUFFERED)
Message = Any  # Callable[[int, int, Update], bytes]


def binance(first: int, last: int, update: Update) -> bytes:
    def side(of: int) -> list[list[str]]:
        return [
            [decimal(price, PRICE_EXPONENT).decode(), decimal(size, QUANTITY_EXPONENT).decode()]
            for one, price, size in update
            if one == of
        ]

    data = {
        "e": "depthUpdate",
        "E": 1_700_000_000_000 + last,
        "s": "COIN0USDT",
        "U": first,
        "u": last,
        "b": side(BID),
        "a": side(ASK),
    }
    return json.dumps({"stream": STREAM.decode(), "data": data}, separators=(",", ":")).encode()


VENUES = {"mexc": (channel(0), message), "binance": (STREAM, binance)}
"""Its channel, and how it writes a change."""
UPDATE: Update = [(BID, 49_990, 7), (ASK, 50_010, 0)]
PRICE = decimal(49_990, PRICE_EXPONENT)


def garbage(data: bytes) -> bytes:
    assert data.count(PRICE) == 1
    return data.replace(PRICE, b"4x9.90")


def too_fine(data: bytes) -> bytes:
    """A digit more than the scale keeps, in as many bytes."""
    assert data.count(PRICE) == 1
    return data.replace(PRICE, b"99.901")


@pytest.fixture(params=sorted(VENUES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(tmp_path: Path, name: str) -> Iterator[Rig]:
    of = lib.tp_venue_find(name.encode())
    # What a message of ten thousand levels outgrows.
    rig = Rig(tmp_path, venue=of, added=0, moves_scale=True, buffered_bytes_max=1 << 16)
    assert rig.add(0, VENUES[name][0])
    yield rig
    rig.close()


@pytest.fixture
def write(name: str) -> Callable[[int, int, Update], bytes]:
    return VENUES[name][1]


def step(venue: Venue, write: Message, update: Update | None = None, versions: int = 1) -> bytes:
    """Move the venue's book on; the message says so in the bytes of the venue that is asked."""
    update = [(BID, venue.middle - 1, 100 + venue.version)] if update is None else update
    first = venue.version + 1
    venue.step(update, versions)
    return bytes(write(first, venue.version, update))


def live(rig: Rig, venue: Venue, write: Message) -> None:
    rig.up()
    assert rig.message(step(venue, write)) == BUFFERED
    rig.tick(SETTLE)
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


def offer(rig: Rig, venue: Venue, version: int | None = None, exponent: int = 0) -> None:
    """Answer with the book of a version, now the newest: of a scale that many digits finer."""
    version = venue.version if version is None else version
    assert rig.wanted() == [0]
    bids, asks = (
        {price * 10**exponent: quantity for price, quantity in side.items()}
        for side in venue.history[version]
    )
    assert rig.offer(version, bids, asks)
    rig.tick()


def test_base_from_before_a_refused_message_or_from_its_midst_is_not_live(
    rig: Rig, write: Message
) -> None:
    venue = Venue()
    live(rig, venue, write)
    before = venue.version
    assert rig.message(garbage(step(venue, write, UPDATE, versions=5))) == BROKEN_RESULT
    for version in range(before, venue.version):
        venue.history[version] = venue.history[before]
        offer(rig, venue, version)
        assert rig.state() == (SYNCING, BROKEN), f"{version} of {venue.version}"
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)
    rig.events()
    assert_book(rig, venue)


def test_base_must_show_each_of_several_refused_messages(rig: Rig, write: Message) -> None:
    venue = Venue()
    live(rig, venue, write)
    rig.message(garbage(step(venue, write, UPDATE, versions=3)))
    middle = venue.version
    rig.message(garbage(step(venue, write, UPDATE, versions=3)))
    offer(rig, venue, middle)
    assert rig.state() == (SYNCING, BROKEN)
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


def cut(data: bytes) -> bytes:
    """Leave nothing of the message's numbers."""
    at = data.find(b'"u":')
    return data[: at + 6] if at >= 0 else data[:-12]


def whole(data: bytes) -> bytes:
    """Close what was cut in the envelope: it is routed, and its body is none."""
    if not data.startswith(b"{"):
        return data
    head, body = data.split(b'"data":')
    return head + b'"data":[' + str(len(body)).encode() + b"]}"


def test_message_whose_number_is_not_read_is_waited_out_for_the_next(
    rig: Rig, write: Message
) -> None:
    venue = Venue()
    live(rig, venue, write)
    before = venue.version
    assert rig.message(whole(cut(step(venue, write, UPDATE, versions=4)))) == BROKEN_RESULT
    lost = venue.version
    assert rig.state() == (SYNCING, BROKEN)
    rig.tick(20 * SETTLE)
    assert rig.wanted() == [], "whatever is fetched now may be from before it"
    rig.message(step(venue, write))
    for version in (before, lost - 1):
        venue.history.setdefault(version, venue.history[before])
        offer(rig, venue, version)
        assert rig.state() == (SYNCING, BROKEN)
    offer(rig, venue, lost)
    assert rig.state() == (LIVE, NONE)
    rig.events()
    assert_book(rig, venue)


def test_kept_message_whose_number_is_not_read_is_waited_out(rig: Rig, write: Message) -> None:
    venue = Venue()
    live(rig, venue, write)
    rig.message(garbage(step(venue, write, UPDATE)))
    assert rig.wanted() == [0]
    known = venue.version
    rig.message(whole(cut(step(venue, write, UPDATE))))
    assert rig.offer(known, *venue.history[known])
    rig.tick()
    assert (rig.state(), rig.wanted()) == ((SYNCING, BROKEN), [])
    rig.message(step(venue, write))
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


def test_refused_message_among_the_kept_ones_must_be_shown(rig: Rig, write: Message) -> None:
    venue = Venue()
    rig.up()
    rig.message(step(venue, write))
    before = venue.version
    rig.message(garbage(step(venue, write, UPDATE, versions=5)))
    offer(rig, venue, before)
    assert rig.state() == (SYNCING, BROKEN)
    offer(rig, venue, before)
    assert rig.state() == (SYNCING, BROKEN), "it is gone from what is kept, and not forgotten"
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


def test_refused_message_that_the_base_shows_does_no_harm(rig: Rig, write: Message) -> None:
    venue = Venue()
    rig.up()
    rig.message(garbage(step(venue, write, UPDATE, versions=5)))
    rig.message(step(venue, write))
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)
    assert rig.counters.broken == 0


def test_message_that_is_too_large_to_keep_must_be_shown(rig: Rig, write: Message) -> None:
    venue = Venue()
    rig.up()
    before = venue.version
    many = [(BID, 100 + i, 1) for i in range(4000)]
    large = step(venue, write, many, versions=5)
    assert len(large) > 1 << 16
    rig.message(large)
    offer(rig, venue, before)
    assert rig.state()[0] == SYNCING
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


def test_messages_of_a_halt_must_be_shown_after_it(rig: Rig, write: Message) -> None:
    venue = Venue()
    live(rig, venue, write)
    before = venue.version
    for status, state in ((3, (STALE, HALTED)), (1, None)):
        listing = ffi.new("struct tp_feed_listing *", (0, status, 2))
        assert lib.tp_feed_list_status(rig.feed, listing, rig.now)
        assert state in (None, rig.state())
        if state is not None:
            rig.message(step(venue, write, UPDATE, versions=2))
    rig.tick(SETTLE)
    offer(rig, venue, before)
    assert rig.state()[0] == SYNCING
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize("way", ["refused", "reconnected", "halted"])
@pytest.mark.parametrize("count", [1, 40])
def test_messages_that_were_kept_must_be_shown_once_they_are_forgotten(
    rig: Rig, write: Message, way: str, count: int
) -> None:
    """The sync began anew before its base came: what came before it was heard all the same."""
    venue = Venue()
    rig.up()
    rig.message(step(venue, write))
    before = venue.version - 1
    for _ in range(count):
        rig.message(step(venue, write))
    if way == "refused":
        lib.tp_feed_refused(rig.feed, 0, rig.now)
        lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    elif way == "reconnected":
        rig.down()
        rig.up()
    else:
        for status in (3, 1):
            listing = ffi.new("struct tp_feed_listing *", (0, status, 2))
            assert lib.tp_feed_list_status(rig.feed, listing, rig.now)
    rig.tick(SETTLE)
    for version in (before, venue.version - 1):
        offer(rig, venue, version)
        assert rig.state()[0] == SYNCING
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize("way", ["refused", "halted"])
def test_kept_message_whose_number_is_not_read_is_waited_out_once_it_is_forgotten(
    rig: Rig, write: Message, way: str
) -> None:
    """The newest that was kept; those before it have their numbers."""
    venue = Venue()
    rig.up()
    rig.message(step(venue, write))
    before = venue.version
    rig.message(whole(cut(step(venue, write, UPDATE))))
    if way == "refused":
        lib.tp_feed_refused(rig.feed, 0, rig.now)
        lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    else:
        for status in (3, 1):
            listing = ffi.new("struct tp_feed_listing *", (0, status, 2))
            assert lib.tp_feed_list_status(rig.feed, listing, rig.now)
    rig.tick(20 * SETTLE)
    assert rig.wanted() == [], "whatever is fetched now may be from before it"
    assert rig.offer(before, *venue.history[before])
    rig.tick()
    assert rig.state()[0] == SYNCING
    rig.message(step(venue, write))
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)


def rescale(rig: Rig) -> None:
    scale = {"price_exponent": -3, "quantity_exponent": -8, "tick_size": 1, "generation": 2}
    made = ffi.new("struct tp_feed_scale *", scale)
    assert lib.tp_feed_rescale(rig.feed, 0, made, rig.now)


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_messages_of_another_scale_are_kept_and_one_base_is_enough(
    rig: Rig, write: Message, kept: int
) -> None:
    """The base may be as old as the first of them: what they change is in the book."""
    venue = Venue()
    live(rig, venue, write)
    before = venue.version
    assert rig.message(too_fine(step(venue, write, UPDATE, versions=3))) == BROKEN_RESULT
    assert rig.state() == (SYNCING, SCALE_REASON)
    for _ in range(kept - 1):
        assert rig.message(step(venue, write)) == BUFFERED
    rescale(rig)
    offer(rig, venue, before, exponent=1)
    assert rig.state() == (LIVE, NONE)
    assert rig.record()["version"] == venue.version
    bids, asks = rig.levels()
    assert bids.pop(99_901) == 7, "as it was written: 99.901"
    expected = {price * 10: quantity for price, quantity in venue.book[BID].items()}
    expected[499_900] = 5
    assert (bids, asks) == (expected, {p * 10: q for p, q in venue.book[ASK].items()})
    assert rig.wanted() == []


def test_base_from_before_the_messages_of_another_scale_is_not_live(
    rig: Rig, write: Message
) -> None:
    venue = Venue()
    live(rig, venue, write)
    step(venue, write, versions=2)  # lost on the way: a gap that no one could see yet
    before = venue.version - 1
    venue.history[before] = venue.history[venue.version]
    rig.message(too_fine(step(venue, write, UPDATE, versions=3)))
    rescale(rig)
    offer(rig, venue, before, exponent=1)
    assert rig.state() == (SYNCING, SCALE_REASON)
    offer(rig, venue, exponent=1)
    assert rig.state() == (LIVE, NONE)


def test_second_misfit_among_what_is_kept_moves_the_scale_again_and_loses_nothing(
    rig: Rig, write: Message
) -> None:
    venue = Venue()
    live(rig, venue, write)
    before = venue.version
    rig.message(too_fine(step(venue, write, UPDATE)))
    finer = step(venue, write, UPDATE).replace(PRICE, b"9.9013")
    rig.message(finer)
    last = step(venue, write, [(BID, 49_980, 3)])
    rig.message(last)
    rescale(rig)
    offer(rig, venue, before, exponent=1)
    assert rig.state() == (SYNCING, SCALE_REASON)
    scale = {"price_exponent": -4, "quantity_exponent": -8, "tick_size": 1, "generation": 3}
    assert lib.tp_feed_rescale(rig.feed, 0, ffi.new("struct tp_feed_scale *", scale), rig.now)
    offer(rig, venue, before + 1, exponent=2)
    assert rig.state() == (LIVE, NONE)
    bids = rig.levels()[BID]
    assert (bids[99_013], bids[4_998_000]) == (7, 3)


def test_field_order_of_a_refused_message_does_not_matter(tmp_path: Path) -> None:
    """JSON has no order: the numbers are read behind the levels as well."""
    rig = Rig(tmp_path, venue=lib.tp_venue_find(b"binance"), added=0)
    assert rig.add(0, STREAM)
    venue = Venue()
    live(rig, venue, binance)
    before = venue.version
    data = json.loads(step(venue, binance, UPDATE, versions=3))
    body = data["data"]
    body["b"][0][0] = "4x9.90"
    data["data"] = {"b": body.pop("b"), **body}
    rig.message(json.dumps(data).encode())
    offer(rig, venue, before)
    assert rig.state() == (SYNCING, BROKEN)
    offer(rig, venue)
    assert rig.state() == (LIVE, NONE)
    rig.close()


@pytest.mark.parametrize("name", sorted(VENUES))
def test_numbers_of_a_body_are_those_that_the_decoder_reads(name: str) -> None:
    venue = lib.tp_venue_find(name.encode())
    data = VENUES[name][1](123_456_789_012, 123_456_789_020, UPDATE)
    body = data.split(b'"data":' if name == "binance" else channel(0), 1)[1]
    read, whole = ffi.new("struct tp_depth_update *"), ffi.new("struct tp_depth_update *")
    for end in range(len(body) + 1):
        kept = ffi.new("uint8_t[]", body[:end] or b"\0")
        what = {"data": kept, "size": end, "meaning": int(lib.TP_MEANING_DELTA)}
        what["scale"] = (PRICE_EXPONENT, QUANTITY_EXPONENT)
        made = ffi.new("struct tp_body *", what)
        is_read = venue.read_versions(made, read)
        is_whole = venue.decode_depth(made, whole) == lib.TP_DECODE_OK
        assert not is_whole or is_read
        assert not is_read or read.last_version == 123_456_789_020
        assert not is_read or read.first_version == 123_456_789_012
    assert is_whole
