"""Venues of every kind behind the seam: bases in-band and asked for, checksums, counted numbers.

The venue is written here, in Python, behind the C structure that every venue fills: the feed cannot
tell the difference. Its messages are JSON of our own; what the feed must do with them is what
proto/sync_rule.h says in words.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    BROKEN,
    CLEAR,
    DISCONNECTED,
    GAP,
    LEVEL,
    LIVE,
    NONE,
    RESET,
    SECOND,
    STALE,
    STARTING,
    SYNCING,
    TOP,
    WS_TEXT,
    Levels,
    Rig,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RANGE, PLUS_ONE, PREVIOUS = int(lib.TP_CHAIN_RANGE), int(lib.TP_CHAIN_PLUS_ONE), 3
REST, IN_BAND, REQUEST = (int(lib.TP_BASE_REST), int(lib.TP_BASE_IN_BAND), 2)
BASE, CHECKSUM = int(lib.TP_DEPTH_BASE), int(lib.TP_DEPTH_CHECKSUM)
APPLIED, BUFFERED, IGNORED = lib.TP_FEED_APPLIED, lib.TP_FEED_BUFFERED, lib.TP_FEED_IGNORED
UNKNOWN, NOTE = lib.TP_FEED_UNKNOWN, lib.TP_FEED_NOTE
BASE_TIMEOUT = 10 * SECOND
BIDS, ASKS = {100: 5, 99: 5, 98: 5}, {101: 5, 102: 5, 103: 5}
# A feed calls the functions of its venue for as long as it lives: no venue of a test ends before.
ALIVE: list[SampleVenue] = []


@dataclass
class SampleVenue:
    """One struct tp_venue whose functions are Python's; every channel has the one rule."""

    rule: dict[str, Any]
    compression: int = 0
    facts: dict[str, int] = field(default_factory=dict)
    resets: list[int] = field(default_factory=list)
    _kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows: list[str] = []
        self.heard: list[int] = []  # connections, of the messages that were routed
        rule = ffi.new("struct tp_sync_rule *", self.rule)
        channel = ffi.new(
            "struct tp_channel *", {"meaning": int(lib.TP_MEANING_DELTA), "rule": rule}
        )
        name = ffi.new("char[]", b"sample")
        callbacks = {
            "describe": ("const struct tp_channel *(*)(const char *)", self._describe),
            "router_size": ("size_t(*)(uint32_t, uint32_t)", lambda _c, _n: 64),
            "router_init": ("void(*)(void *, uint32_t, uint32_t)", lambda _r, _c, _n: None),
            "router_add": ("bool(*)(void *, const char *, uint32_t)", self._add),
            "router_reset": ("void(*)(void *, uint32_t)", lambda _r, n: self.resets.append(n)),
            "route": (
                "void(*)(void *, const struct tp_venue_message *, uint32_t, struct tp_route *)",
                self._route,
            ),
            "decode_depth": (
                "enum tp_decode_status(*)(const struct tp_body *, struct tp_depth_update *)",
                self._decode,
            ),
            "read_versions": (
                "bool(*)(const struct tp_body *, struct tp_depth_update *)",
                self._read_versions,
            ),
            "decode_trades": (
                "enum tp_decode_status(*)(const struct tp_body *, struct tp_trade_update *)",
                self._decode_trades,
            ),
            "decode_status": (
                "enum tp_decode_status(*)(const struct tp_body *, struct tp_status_update *)",
                self._decode_status,
            ),
        }
        foreign: Any = ffi  # its stub has no callbacks: the product makes none
        made = {
            key: foreign.callback(kind, function) for key, (kind, function) in callbacks.items()
        }
        facts = {"compression": self.compression, **self.facts}
        self.c = ffi.new("struct tp_venue *", {"name": name, "facts": facts, **made})
        self._channel = channel
        self._kept += [rule, channel, name, made]
        ALIVE.append(self)

    def _describe(self, name: Any) -> Any:
        return self._channel if ffi.string(name).startswith(b"spot") else ffi.NULL

    def _add(self, _router: Any, _name: Any, instrument: int) -> bool:
        self.rows.append(str(instrument))
        return True

    def _route(self, _router: Any, message: Any, start: int, out: Any) -> None:
        """A message is lines; each is a part: {"i":instrument,"m":meaning,"n":sequence,…}."""
        self.heard.append(message.connection)
        data = bytes(ffi.buffer(message.data, message.size))
        end = data.find(b"\n", start)
        out.next_offset = 0 if end < 0 else end + 1
        part = json.loads(data[start : end if end >= 0 else len(data)])
        out.meaning = part.get("m", int(lib.TP_MEANING_DELTA))
        out.instrument, out.sequence = part.get("i", 0), part.get("n", 0)
        out.body_offset = start
        out.body_size = (end if end >= 0 else len(data)) - start

    @staticmethod
    def _decode(body: Any, out: Any) -> int:
        part = json.loads(bytes(ffi.buffer(body.data, body.size)))
        out.first_version, out.last_version = part.get("f", 0), part.get("l", 0)
        out.previous_version, out.flags = part.get("p", 0), part.get("flags", 0)
        out.checksum, out.exchange_ns = part.get("crc", 0), part.get("t", 0)
        for name, levels in (("bid", out.bids), ("ask", out.asks)):
            rows = part.get(f"{name}s", [])
            setattr(out, f"{name}_count", len(rows))
            for at, (price, quantity) in enumerate(rows):
                levels[at].price, levels[at].quantity = price, quantity
        return int(lib.TP_DECODE_MALFORMED if part.get("bad") else lib.TP_DECODE_OK)

    @staticmethod
    def _read_versions(body: Any, out: Any) -> bool:
        """Read the numbers of a message that is "bad", unless it is so by more than its levels."""
        part = json.loads(bytes(ffi.buffer(body.data, body.size)))
        out.first_version, out.last_version = part.get("f", 0), part.get("l", 0)
        out.previous_version = part.get("p", 0)
        return bool(part.get("bad") == 1)

    @staticmethod
    def _decode_trades(body: Any, out: Any) -> int:
        """Read {"trades":[[price,quantity,id,flags,exchange_ns],…]}."""
        part = json.loads(bytes(ffi.buffer(body.data, body.size)))
        out.count = len(part["trades"])
        for at, row in enumerate(part["trades"]):
            one = out.trades[at]
            one.price, one.quantity, one.id, one.flags, one.exchange_ns = row
        return int(lib.TP_DECODE_MALFORMED if part.get("bad") else lib.TP_DECODE_OK)

    @staticmethod
    def _decode_status(body: Any, out: Any) -> int:
        part = json.loads(bytes(ffi.buffer(body.data, body.size)))
        out.trading, out.exchange_ns = part["trading"], part.get("t", 0)
        return int(lib.TP_DECODE_MALFORMED if part.get("bad") else lib.TP_DECODE_OK)


def delta(
    last: int = 0, bids: Levels | None = None, asks: Levels | None = None, **more: int
) -> bytes:
    part = {
        **{"l": last, "f": more.pop("f", last)},
        **{"bids": list((bids or {}).items()), "asks": list((asks or {}).items()), **more},
    }
    return json.dumps(part).encode()


def base(
    last: int = 0, bids: Levels | None = None, asks: Levels | None = None, **more: int
) -> bytes:
    flags = BASE | more.pop("flags", 0)
    return delta(last, BIDS if bids is None else bids, ASKS if asks is None else asks,
                 flags=flags, **more)  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[Rig, SampleVenue]]]:
    rigs: list[Rig] = []

    def made(instruments: int = 1, **rule: Any) -> tuple[Rig, SampleVenue]:
        venue = SampleVenue(rule)
        rigs.append(Rig(tmp_path, instruments, venue=venue.c))
        return rigs[-1], venue

    yield made
    for rig in rigs:
        rig.close()


IN_BAND_RULE = {"chain": RANGE, "base": IN_BAND, "in_band_base": True}


def kinds(rig: Rig) -> list[int]:
    return [kind for kind, _, _ in rig.events()]


# ---- bases in-band -------------------------------------------------------------------------------


def test_in_band_base_makes_the_book_live_without_anybody_being_asked(make: Any) -> None:
    rig, venue = make(**IN_BAND_RULE)
    rig.up()
    assert venue.resets == [0]
    assert rig.message(delta(7, {100: 1})) == IGNORED
    assert (rig.counters.baseless, rig.counters.buffered, rig.wanted()) == (1, 0, [])
    assert rig.message(base(10)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == (BIDS, ASKS)
    assert rig.message(delta(11, {100: 0, 97: 2})) == APPLIED
    assert rig.levels() == ({99: 5, 98: 5, 97: 2}, ASKS)
    assert rig.record()["version"] == 11
    assert rig.wanted() == []


def test_in_band_base_that_does_not_come_is_asked_for_after_its_time(make: Any) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    rig.tick(BASE_TIMEOUT - 1)
    rig.message(delta(7, {100: 1}))  # an acknowledgement, or data, are no base
    assert rig.wanted() == []
    rig.tick(1)
    assert rig.wanted() == [0]
    assert rig.state() == (SYNCING, STARTING)


def test_in_band_gap_waits_for_a_base_and_keeps_nothing(make: Any) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    rig.message(base(10))
    assert rig.message(delta(12, {100: 1})) == BUFFERED
    assert rig.state() == (SYNCING, GAP)
    assert rig.wanted() == [0]
    assert rig.message(delta(13, {99: 1})) == IGNORED
    assert rig.counters.buffered == 0
    assert rig.message(base(20, {90: 1}, {91: 1})) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == ({90: 1}, {91: 1})
    # Whoever was asked need not answer any more.
    assert rig.offer(15, BIDS, ASKS)
    rig.tick()
    assert rig.levels() == ({90: 1}, {91: 1})


def test_in_band_base_behind_newer_changes_is_not_believed(make: Any) -> None:
    """A late answer: the book would be LIVE as it was, until the next change shows the gap."""
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    assert rig.message(delta(12, {100: 1})) == IGNORED
    assert rig.message(base(11)) == BUFFERED
    assert rig.state() == (SYNCING, GAP)
    assert (rig.counters.bases_too_old, rig.wanted()) == (1, [0])
    assert rig.message(base(3)) == APPLIED  # subscribed anew: whatever its number, it is the newest
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize(
    ("number", "late_ns", "state"),
    [
        (5, 12 * SECOND, SYNCING),  # held back, and of before: a newer one stands there
        (5, SECOND, SYNCING),
        (5, 1_000_000, SYNCING),  # LIVE with it, a book that falls quiet would stay wrong
        (5, 0, SYNCING),  # asked for once more: a base is believed where no book is followed
        (5, -1_000_000, LIVE),  # the venue numbers anew
        (11, 12 * SECOND, LIVE),
    ],
)
def test_in_band_base_of_before_replaces_no_book_that_is_followed(
    make: Any, number: int, late_ns: int, state: int
) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    now = 100 * SECOND
    rig.message(base(10, t=now))
    rig.message(base(number, {90: 1}, {91: 1}, t=now - late_ns))
    assert rig.state()[0] == state
    assert rig.counters.bases_too_old == (state != LIVE)
    if state != LIVE:
        assert rig.state() == (SYNCING, GAP)
        assert rig.wanted() == [0]
        assert rig.message(base(number, {90: 1}, {91: 1}, t=now + SECOND)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == ({90: 1}, {91: 1})


@pytest.mark.parametrize(
    ("late_ns", "state"), [(-1, LIVE), (0, LIVE), (1_000_000, SYNCING), (12 * SECOND, SYNCING)]
)
def test_whole_book_of_before_replaces_no_newer_one(make: Any, late_ns: int, state: int) -> None:
    """Hyperliquid names the block's time alone; its next book may be five seconds away."""
    rig, _ = make(chain=int(lib.TP_CHAIN_NONE), base=IN_BAND, in_band_base=True)
    rig.up()
    now = 100 * SECOND
    rig.message(base(t=now))
    rig.message(base(0, {90: 1}, {91: 1}, t=now - late_ns))
    assert rig.state()[0] == state
    if state != LIVE:
        assert rig.wanted() == [0]
        assert rig.message(base(0, {90: 1}, {91: 1}, t=now - late_ns)) == BUFFERED  # once more
        assert rig.state() == (SYNCING, GAP)
        rig.now += SECOND  # nothing newer for as long: the venue's clock went back
        assert rig.message(base(0, {90: 1}, {91: 1}, t=now - late_ns)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == ({90: 1}, {91: 1})


def test_in_band_base_of_before_replaces_no_book_of_rest(make: Any) -> None:
    """It has no time; numbers that begin anew are asked for once more."""
    rig, _ = make(chain=RANGE, base=REST, in_band_base=True)
    rig.up()
    rig.message(delta(10, {1: 1}))
    rig.wanted()
    rig.offer(10, BIDS, ASKS)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert rig.message(base(5, {90: 1}, {91: 1}, t=100 * SECOND)) == BUFFERED
    assert rig.state() == (SYNCING, GAP)


@pytest.mark.parametrize(("late_s", "state"), [(0, LIVE), (1, LIVE), (2, SYNCING), (12, SYNCING)])
def test_unnumbered_base_behind_newer_changes_is_not_believed(
    make: Any, late_s: int, state: int
) -> None:
    rig, _ = make(chain=int(lib.TP_CHAIN_NONE), base=IN_BAND, in_band_base=True)
    rig.up()
    assert rig.message(delta(0, {100: 1}, t=1_000 * SECOND)) == IGNORED
    rig.message(base(t=(1_000 - late_s) * SECOND))
    assert rig.state()[0] == state
    rig.message(base(t=1_001 * SECOND))
    assert rig.state() == (LIVE, NONE)


def test_unnumbered_base_with_the_time_of_an_old_change_is_believed_in_the_end(make: Any) -> None:
    """Answers of before are few; a venue whose bases name such a time would never be LIVE."""
    rig, _ = make(chain=int(lib.TP_CHAIN_NONE), base=IN_BAND, in_band_base=True)
    rig.up()
    for turn in range(2):  # counted anew once it was LIVE
        for _ in range(3):
            rig.message(delta(0, {100: 1}, t=(1_000 + turn) * SECOND))
            assert rig.message(base(t=10 * SECOND)) == BUFFERED
            assert rig.state() == (SYNCING, GAP)
        rig.message(delta(0, {100: 1}, t=(1_000 + turn) * SECOND))
        assert rig.message(base(t=10 * SECOND)) == APPLIED
        assert rig.state() == (LIVE, NONE)
        rig.now += SECOND
        rig.down()
        rig.up()


def test_in_band_base_that_comes_by_itself_is_asked_of_nobody(make: Any) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    rig.message(base(10))
    rig.message(delta(12, {100: 1}))
    rig.message(base(20))  # before anybody looked who wants one
    assert rig.wanted() == []


@pytest.mark.parametrize("number", [25, 3])
def test_in_band_base_replaces_a_live_book_whatever_its_number(make: Any, number: int) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    rig.message(base(10))
    rig.events()
    assert rig.message(base(number, {90: 1}, {91: 1})) == APPLIED
    assert kinds(rig) == [CLEAR, TOP]
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == ({90: 1}, {91: 1})
    assert rig.message(delta(number + 1, {90: 2})) == APPLIED


def test_in_band_base_in_any_order_with_a_price_twice_is_taken_last_wins(make: Any) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    part = json.loads(base(10))
    part["bids"] = [[98, 1], [100, 1], [99, 1], [100, 7], [97, 0]]
    assert rig.message(json.dumps(part).encode()) == APPLIED
    assert rig.levels() == ({100: 7, 99: 1, 98: 1}, ASKS)
    rig.tick()
    assert rig.counters.doubled == 1
    part |= {"l": 11, "bids": [[100, 1], [99, 1], [99, 0]]}  # as the last of them, it is gone
    assert rig.message(json.dumps(part).encode()) == APPLIED
    assert rig.levels() == ({100: 1}, ASKS)
    rig.tick()
    assert rig.counters.doubled == 2


def test_in_band_base_out_of_range_is_refused_whole(make: Any) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    assert rig.message(base(10, {0: 1}, {101: 1})) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.wanted() == [0]


def test_in_band_broken_messages_ask_for_one_base_not_for_one_each(make: Any) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    rig.message(base(10))
    for last in (11, 12, 13):
        assert rig.message(delta(last, bad=1)) == lib.TP_FEED_BROKEN
        assert rig.wanted() == ([0] if last == 11 else [])
        assert rig.state() == (SYNCING, BROKEN)
    lib.tp_feed_base_failed(rig.feed, 0, 0)  # the asker gave up: asked for again
    assert rig.wanted() == [0]
    assert rig.message(base(20)) == APPLIED
    assert rig.state() == (LIVE, NONE)


def test_in_band_base_where_the_rule_knows_none_is_not_applied(make: Any) -> None:
    rig, _ = make(chain=RANGE, base=REST, meeting=1)
    rig.up()
    rig.message(delta(10, {1: 1}))
    rig.wanted()
    rig.offer(10, BIDS, ASKS)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert rig.message(base(11)) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, BROKEN)


def test_in_band_book_ends_with_its_connection_and_begins_anew(make: Any) -> None:
    rig, venue = make(**IN_BAND_RULE)
    rig.up()
    rig.message(base(10))
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    assert rig.message(base(11)) == IGNORED
    rig.up()
    assert venue.resets == [0, 0]
    assert rig.message(delta(4, {100: 1})) == IGNORED
    assert rig.message(base(5)) == APPLIED
    assert rig.state() == (LIVE, NONE)


# ---- bases by request on the socket, and by REST with bases in between ---------------------------


def test_requested_base_is_met_by_what_was_kept(make: Any) -> None:
    rig, _ = make(chain=PREVIOUS, base=REQUEST, in_band_base=True)
    rig.up()
    for last in (8, 9, 10, 12):
        assert rig.message(delta(last, {100: last}, p=last - 1, f=last)) == BUFFERED
        assert rig.wanted() == ([0] if last == 8 else [])
    # 12 names 11: it does not follow 10.
    assert rig.message(base(9)) == BUFFERED
    assert rig.state() == (SYNCING, GAP)
    assert rig.wanted() == [0]
    assert rig.message(base(11)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.levels()[0][100] == 12
    assert rig.record()["version"] == 12


def test_rest_venue_with_in_band_bases_takes_whichever_comes_first(make: Any) -> None:
    rig, _ = make(chain=RANGE, base=REST, meeting=1, may_overlap=True, in_band_base=True)
    rig.up()
    assert rig.message(delta(10, {100: 1})) == BUFFERED
    assert rig.wanted() == [0]
    assert rig.message(base(20)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.message(delta(23, {100: 3}, f=19)) == APPLIED  # overlap
    assert rig.message(delta(25, {100: 3}, f=25)) == BUFFERED
    assert rig.state() == (SYNCING, GAP)
    assert rig.wanted() == [0]
    rig.offer(24, BIDS, ASKS)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert rig.record()["version"] == 25


# ---- numbers -------------------------------------------------------------------------------------


def test_unchanged_message_is_counted_and_proves_the_book(make: Any) -> None:
    rig, _ = make(chain=PREVIOUS, base=IN_BAND, in_band_base=True, unchanged=True, restart=1)
    rig.up()
    rig.message(base(15))
    rig.events()
    assert rig.message(delta(15, p=15)) == IGNORED
    assert (rig.counters.unchanged, rig.counters.duplicates) == (1, 0)
    assert kinds(rig) == [int(lib.TP_EVENT_VERIFIED)]
    # The numbers go back, the chain holds.
    assert rig.message(delta(3, {100: 9}, p=15, f=3)) == APPLIED
    assert rig.message(delta(5, {99: 9}, p=3, f=4)) == APPLIED
    assert rig.levels()[0] == {100: 9, 99: 9, 98: 5}


def test_previous_zero_asks_for_a_base(make: Any) -> None:
    rig, _ = make(chain=PREVIOUS, base=IN_BAND, in_band_base=True, restart=2)
    rig.up()
    rig.message(base(500))
    assert rig.message(delta(2, {100: 9}, p=0, f=1)) == BUFFERED
    assert rig.state() == (SYNCING, RESET)
    assert rig.wanted() == [0]
    assert rig.message(base(2)) == APPLIED


def test_hole_in_a_counted_connection_ends_all_its_books_and_no_others(make: Any) -> None:
    rig, _ = make(chain=0, base=IN_BAND, in_band_base=True, counts_connection=True)
    assert not rig.add(0, b"spot", connection=1)  # it is there
    rig.up()
    note = int(lib.TP_MEANING_ACKNOWLEDGEMENT)
    assert rig.message(delta(n=0, m=note), opcode=WS_TEXT) == NOTE
    assert rig.message(base(n=1)) == APPLIED
    assert rig.message(delta(bids={100: 6}, n=2)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.message(delta(n=4, m=note)) == NOTE  # 3 was lost, whatever it was
    assert rig.state() == (SYNCING, GAP)
    assert (rig.counters.gaps, rig.wanted()) == (1, [0])
    assert rig.message(base(n=5)) == APPLIED
    rig.up()  # the next connection counts from where it likes
    assert rig.message(base(n=0)) == APPLIED
    assert rig.counters.gaps == 1


def test_counted_connection_takes_no_number_of_a_broken_message(make: Any) -> None:
    rig, _ = make(chain=0, base=IN_BAND, in_band_base=True, counts_connection=True)
    rig.up()
    assert rig.message(base(n=1)) == APPLIED
    broken = int(lib.TP_MEANING_BROKEN)
    assert rig.message(delta(n=0x5A5A5A5A, m=broken)) == NOTE  # it may have none: whatever is there
    assert (rig.state(), rig.counters.gaps) == ((LIVE, NONE), 0)
    assert rig.message(delta(bids={100: 6}, n=3)) == IGNORED  # 2 was the broken one
    assert (rig.state(), rig.counters.gaps) == ((SYNCING, GAP), 1)


def test_broken_part_of_a_counted_message_shows_with_the_next_number(make: Any) -> None:
    """It may have been any book's change, as a message that is broken as a whole."""
    rig, _ = make(chain=0, base=IN_BAND, in_band_base=True, counts_connection=True)
    rig.up()
    assert rig.message(base(n=1)) == APPLIED
    two = delta(bids={100: 6}, n=2) + b"\n" + delta(m=int(lib.TP_MEANING_BROKEN))
    assert rig.message(two) == NOTE
    assert rig.state() == (LIVE, NONE)
    assert rig.message(delta(bids={100: 7}, n=3)) == IGNORED
    assert (rig.state(), rig.counters.gaps) == ((SYNCING, GAP), 1)
    assert rig.message(base(n=4)) == APPLIED
    assert rig.state() == (LIVE, NONE)


def test_message_whose_number_was_passed_is_no_base_either(make: Any) -> None:
    """A snapshot that comes again, or late, is older than what was told since."""
    rig, _ = make(chain=0, base=IN_BAND, in_band_base=True, counts_connection=True)
    rig.up()
    assert rig.message(base(n=1)) == APPLIED
    assert rig.message(delta(bids={100: 6}, n=2)) == APPLIED
    assert rig.message(base(n=1)) == IGNORED
    assert (rig.state(), rig.counters.gaps) == ((SYNCING, GAP), 1)
    assert rig.message(delta(bids={100: 7}, n=2)) == IGNORED  # no base since
    assert rig.message(base(n=3)) == APPLIED  # counted anew from there
    assert (rig.state(), rig.counters.gaps) == ((LIVE, NONE), 1)


def test_message_that_the_venue_does_not_count_is_no_hole(make: Any) -> None:
    rig, _ = make(chain=0, base=IN_BAND, in_band_base=True, counts_connection=True)
    rig.up()
    refusal, none = int(lib.TP_MEANING_REFUSAL), int(lib.TP_SEQUENCE_NONE)
    assert rig.message(delta(n=none, m=refusal)) == NOTE  # also as the first of all
    assert rig.message(base(n=1)) == APPLIED
    assert rig.message(delta(n=none, m=refusal)) == NOTE
    assert rig.message(delta(bids={100: 6}, n=2)) == APPLIED
    assert (rig.state(), rig.counters.gaps) == ((LIVE, NONE), 0)


@pytest.mark.parametrize(
    ("flag", "cut"),
    [
        *((0, (False, False)), (int(lib.TP_DEPTH_TRUNCATED), (True, True))),
        *((int(lib.TP_DEPTH_BIDS_CUT), (True, False)), (int(lib.TP_DEPTH_ASKS_CUT), (False, True))),
    ],
)
def test_base_that_was_cut_is_known_to_its_last_level_on_that_side(
    make: Any, flag: int, cut: tuple[bool, bool]
) -> None:
    rig, _ = make(chain=0, base=IN_BAND, in_band_base=True)
    rig.up()
    assert rig.message(base(flags=flag)) == APPLIED
    assert rig.message(delta(bids={97: 7}, asks={104: 7})) == APPLIED
    record = rig.record()
    found = [(97, 7) not in record["bids"], (104, 7) not in record["asks"]]
    assert (tuple(found), rig.state()) == (cut, (LIVE, NONE))


def test_counted_connections_do_not_touch_each_other(tmp_path: Path) -> None:
    venue = SampleVenue(
        {"chain": 0, "base": IN_BAND, "in_band_base": True, "counts_connection": True}
    )
    rig = Rig(tmp_path, 2, venue=venue.c, added=1)
    assert rig.add(1, b"spot@second", connection=1)
    for connection in (0, 1):
        rig.up(connection)
        assert rig.message(base(n=7, i=connection), connection) == APPLIED
    assert rig.message(delta(bids={100: 1}, n=9, i=0), 0) == IGNORED
    assert (rig.state(0), rig.state(1)) == ((SYNCING, GAP), (LIVE, NONE))
    assert rig.message(delta(bids={100: 1}, n=8, i=1), 1) == APPLIED
    rig.close()


# ---- depth and checksum --------------------------------------------------------------------------

# Kraken's worked example of its book checksum (guide "book-checksum-v2").
EXAMPLE_ASKS = {
    "45285.2": "0.00100000", "45286.4": "1.54571953", "45286.6": "1.54571109",
    "45289.6": "1.54560911", "45290.2": "0.15890660", "45291.8": "1.54553491",
    "45294.7": "0.04454749", "45296.1": "0.35380000", "45297.5": "0.09945542",
    "45299.5": "0.18772827",
}  # fmt: skip
EXAMPLE_BIDS = {
    "45283.5": "0.10000000", "45283.4": "1.54582015", "45282.1": "0.10000000",
    "45281.0": "0.10000000", "45280.3": "1.54592586", "45279.0": "0.07990000",
    "45277.6": "0.03310103", "45277.5": "0.30000000", "45277.3": "1.54602737",
    "45276.6": "0.15445238",
}  # fmt: skip
EXAMPLE_CRC = 3310070434
CHECKED = {
    **{"chain": 0, "base": IN_BAND, "in_band_base": True},
    **{"checksum": 1, "must_truncate": True, "depth": 10},
}


def mantissas(levels: dict[str, str]) -> Levels:
    return {int(p.replace(".", "")): int(q.replace(".", "")) for p, q in levels.items()}


def crc(bids: Levels, asks: Levels) -> int:
    """The checksum of the document, from its words: asks rising, bids falling, digits only."""
    rows = [*sorted(asks.items())[:10], *sorted(bids.items(), reverse=True)[:10]]
    return zlib.crc32("".join(f"{price}{quantity}" for price, quantity in rows).encode())


def test_checksum_of_the_documents_example_holds(make: Any) -> None:
    rig, _ = make(**CHECKED)
    rig.up()
    bids, asks = mantissas(EXAMPLE_BIDS), mantissas(EXAMPLE_ASKS)
    assert crc(bids, asks) == EXAMPLE_CRC
    assert rig.message(base(0, bids, asks, flags=CHECKSUM, crc=EXAMPLE_CRC)) == APPLIED
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize("where", ["base", "delta"])
def test_checksum_that_does_not_hold_ends_the_book(make: Any, where: str) -> None:
    rig, _ = make(**CHECKED)
    rig.up()
    good = crc(BIDS, ASKS)
    if where == "base":
        rig.message(base(flags=CHECKSUM, crc=good ^ 1))
    else:
        assert rig.message(base(flags=CHECKSUM, crc=good)) == APPLIED
        rig.message(delta(bids={100: 6}, flags=CHECKSUM, crc=good))
    assert rig.counters.checksums == 1
    assert rig.state()[0] == SYNCING
    assert rig.wanted() == [0]
    assert rig.message(base(flags=CHECKSUM, crc=good)) == APPLIED
    assert rig.state() == (LIVE, NONE)


def test_checksum_that_fails_again_has_a_base_asked_for_again(make: Any) -> None:
    """A base that comes while another is asked for, and is bad too, must not end the asking."""
    rig, _ = make(**CHECKED)
    rig.up()
    good = crc(BIDS, ASKS)
    assert rig.message(base(flags=CHECKSUM, crc=good)) == APPLIED
    rig.message(delta(bids={100: 6}, flags=CHECKSUM, crc=good))
    assert rig.wanted() == [0]
    rig.message(base(flags=CHECKSUM, crc=good ^ 1))
    assert rig.state()[0] == SYNCING
    assert rig.wanted() == [0]
    assert rig.message(base(flags=CHECKSUM, crc=good)) == APPLIED
    assert rig.state() == (LIVE, NONE)


def test_message_that_cannot_be_read_ends_the_books_that_nothing_else_would(make: Any) -> None:
    """Where nothing is numbered, no later message shows that one was lost."""
    rig, _ = make(**CHECKED)
    rig.up()
    good = crc(BIDS, ASKS)
    assert rig.message(base(flags=CHECKSUM, crc=good)) == APPLIED
    assert rig.message(delta(m=int(lib.TP_MEANING_BROKEN))) == NOTE
    assert rig.state() == (SYNCING, int(lib.TP_SYNC_REASON_BROKEN_MESSAGE))
    assert rig.wanted() == [0]


def test_message_without_a_checksum_is_not_judged_by_one(make: Any) -> None:
    rig, _ = make(**CHECKED)
    rig.up()
    rig.message(base(flags=CHECKSUM, crc=crc(BIDS, ASKS)))
    assert rig.message(delta(bids={100: 6})) == APPLIED


def test_levels_that_fall_out_of_the_venues_depth_are_removed_and_said(make: Any) -> None:
    rig, _ = make(**CHECKED)
    rig.up()
    bids, asks = {100 - i: 5 for i in range(10)}, {200 + i: 5 for i in range(10)}
    rig.message(base(0, bids, asks))
    rig.events()
    assert rig.message(delta(bids={101: 1, 102: 1}, asks={199: 1})) == APPLIED
    kept = sorted({**bids, 101: 1, 102: 1}.items(), reverse=True)[:10]
    assert rig.levels() == (dict(kept), dict(sorted({**asks, 199: 1}.items())[:10]))
    said = [tuple(values[:2]) for kind, _, values in rig.events() if kind == LEVEL]
    assert sorted(said) == sorted([(101, 1), (102, 1), (199, 1), (91, 0), (92, 0), (209, 0)])


# ---- what is no book -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meaning", "result", "counter"),
    [
        ("OWN", IGNORED, "unpublished"),
        ("ACKNOWLEDGEMENT", NOTE, "control"),
        ("REFUSAL", NOTE, "control"),
        ("HEARTBEAT", NOTE, "control"),
        ("NOTICE", NOTE, "control"),
        ("BROKEN", NOTE, "unreadable"),
        ("UNKNOWN", UNKNOWN, "unknown_channel"),
    ],
)
def test_every_meaning_goes_where_it_belongs_and_touches_no_book(
    make: Any, meaning: str, result: int, counter: str
) -> None:
    rig, _ = make(**IN_BAND_RULE)
    rig.up()
    rig.message(base(10))
    rig.events()
    data = delta(m=int(getattr(lib, f"TP_MEANING_{meaning}")))
    assert rig.message(data, opcode=WS_TEXT) == result
    assert getattr(rig.counters, counter) == 1
    assert (rig.state(), rig.events()) == ((LIVE, NONE), [])


def test_every_part_of_a_message_counts(make: Any) -> None:
    rig, _ = make(2, **IN_BAND_RULE)
    rig.up()
    note = delta(m=int(lib.TP_MEANING_NOTICE))
    assert rig.message(b"\n".join([base(10), base(20, i=1), note])) == NOTE
    assert (rig.state(0), rig.state(1)) == ((LIVE, NONE), (LIVE, NONE))
    assert rig.message(b"\n".join([delta(11, {100: 1}), delta(22, {100: 1}, i=1)])) == BUFFERED
    assert (rig.state(0), rig.state(1)) == ((LIVE, NONE), (SYNCING, GAP))
    assert rig.counters.messages == 2


def test_feed_of_a_venue_that_packs_takes_its_texts(tmp_path: Path) -> None:
    """Whoever calls it inflates them."""
    venue = SampleVenue(IN_BAND_RULE, compression=int(lib.TP_COMPRESSION_GZIP))
    rig = Rig(tmp_path, venue=venue.c, added=0)
    assert rig.add(0, b"spot@packed")
    rig.up(0)
    assert rig.message(base(10)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_feed_that_could_not_vouch_for_a_book_is_refused(tmp_path: Path) -> None:
    config = ffi.new("struct tp_feed_config *", {"instrument_count": 1, "connection_count": 1})
    assert lib.tp_feed_memory_size(config) == 0  # no venue
    unverified = SampleVenue({**IN_BAND_RULE, "checksum": int(lib.TP_CHECKSUM_TWENTY_FIVE)})
    rig = Rig(tmp_path, venue=unverified.c, added=0)
    assert not rig.add(0, b"spot@checked")
    rig.close()
    venue = SampleVenue(IN_BAND_RULE)
    rig = Rig(tmp_path, venue=venue.c, added=0)
    assert not rig.add(0, b"unknown channel")
    assert rig.add(0, b"spot@known")
    rig.close()
