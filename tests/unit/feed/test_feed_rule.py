"""The sync rule by itself: every relation of numbers, and every venue that we know of.

A row of VENUES is a venue's rule as data, the sentences of its documents that say so, and a story:
a base's number, then messages and what must become of each. What is expected was read off the
sentences, not off the code. Sources are named as in the notes on the venues (docs of the venues and
captures up to 2026-10); none of this was tried against a live venue from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from tickpath._core import ffi, lib
from tickpath.proto.venues import load_venue

BUFFERING, FIRST, FOLLOWING = range(3)
APPLY, BUFFER, DROP, GAP, UNCHANGED, RESTART = range(6)
LARGEST = (1 << 64) - 1

NO_CHAIN, RANGE, PLUS_ONE, PREVIOUS = range(4)
REST, IN_BAND, REQUEST = range(3)
CHAINS, COVERS = range(2)
NEVER, CHAINED, ZERO = range(3)
BY_NUMBER = 1

_update = ffi.new("struct tp_depth_update *")


def judge(rule: dict[str, Any], phase: int, version: int, numbers: tuple[int, int, int]) -> int:
    """numbers: first, last, previous."""
    _update.first_version, _update.last_version, _update.previous_version = numbers
    return int(lib.tp_sync_judge(ffi.new("struct tp_sync_rule *", rule), phase, version, _update))


@dataclass(frozen=True)
class Row:
    """A venue's rule and a story of messages (first, last, previous) with what becomes of each."""

    rule: dict[str, Any]
    source: str
    base: int
    story: list[tuple[tuple[int, int, int], int]] = field(default_factory=list)


VENUES: dict[str, Row] = {
    "mexc spot": Row(
        {"chain": RANGE, "base": REST, "meeting": COVERS, "copies": BY_NUMBER},
        "fromVersion == prev.toVersion+1, else resync; drop toVersion < snapshot; accept from <= "
        "version+1 (rule 6 read literally would refuse the contiguous case)",
        100,
        [
            ((90, 100, 0), DROP),
            ((96, 105, 0), APPLY),  # the snapshot lies inside a push
            ((106, 106, 0), APPLY),
            ((106, 106, 0), DROP),
            ((106, 110, 0), GAP),  # an overlap is not the documented chain
            ((108, 110, 0), GAP),
        ],
    ),
    "mexc increase depth": Row(
        {"chain": PLUS_ONE, "base": REST, "meeting": COVERS, "copies": BY_NUMBER},
        "Diff.Depth Stream: each push has one version, the last one's + 1; older than the REST "
        "book's: dropped",
        100,
        [
            ((100, 100, 0), DROP),
            ((101, 101, 0), APPLY),
            ((103, 103, 0), GAP),
        ],
    ),
    "mexc increase depth batch": Row(
        {
            **{"chain": RANGE, "base": REST, "meeting": COVERS},
            **{"may_overlap": True, "copies": BY_NUMBER},
        },
        "Diff.Depth Stream (Batch Aggregation): the example has items of five versions in a row",
        100,
        [
            ((96, 100, 0), DROP),
            ((98, 103, 0), APPLY),
            ((104, 104, 0), APPLY),
            ((103, 107, 0), APPLY),  # another connection's batch is cut otherwise
            ((109, 111, 0), GAP),
        ],
    ),
    "gate order_book_update": Row(
        {
            **{"chain": RANGE, "base": REST, "meeting": COVERS},
            **{"may_overlap": True, "copies": BY_NUMBER, "in_band_base": True},
        },
        "first usable U <= baseID+1 <= u; drop u < baseID+1; later U > baseID+1 -> resync; "
        "full:true -> replace book; empty updates still advance id",
        100,
        [
            ((95, 100, 0), DROP),
            ((98, 103, 0), APPLY),
            ((104, 104, 0), APPLY),
            ((103, 107, 0), APPLY),
            ((109, 110, 0), GAP),
        ],
    ),
    "gate obu": Row(
        {
            **{
                "chain": RANGE,
                "base": IN_BAND,
                "meeting": CHAINS,
                "in_band_base": True,
                "copies": BY_NUMBER,
            },
            "depth": 50,
        },
        "first message full:true with u; then U == local+1 or unsubscribe and resubscribe; may "
        "re-push full at any time",
        100,
        [((101, 103, 0), APPLY), ((104, 104, 0), APPLY), ((104, 106, 0), GAP)],
    ),
    "gate_usdt obu": Row(
        {
            **{
                "chain": RANGE,
                "base": IN_BAND,
                "meeting": CHAINS,
                "in_band_base": True,
                "copies": BY_NUMBER,
            },
            "depth": 50,
        },
        "as spot; U == u + 1 in 51 of 51 captured messages, the window kept by size 0",
        125033675974,
        [
            ((125033675975, 125033676003, 0), APPLY),
            ((125033676004, 125033676011, 0), APPLY),
            ((125033676013, 125033676014, 0), GAP),
        ],
    ),
    "binance spot": Row(
        {"chain": RANGE, "base": REST, "meeting": COVERS, "may_overlap": True, "copies": BY_NUMBER},
        "drop u <= lastUpdateId; then ignore u < id, gap if U > id+1",
        160,
        [
            ((150, 160, 0), DROP),
            ((157, 161, 0), APPLY),
            ((162, 165, 0), APPLY),
            ((160, 164, 0), DROP),
            ((164, 167, 0), APPLY),
            ((169, 170, 0), GAP),
        ],
    ),
    "binance_sbe": Row(
        {"chain": RANGE, "base": REST, "meeting": COVERS, "may_overlap": True, "copies": BY_NUMBER},
        "How to manage a local order book: the page of JSON's streams",
        160,
        [((150, 160, 0), DROP), ((157, 161, 0), APPLY), ((163, 165, 0), GAP)],
    ),
    "binance_usdm": Row(
        {"chain": PREVIOUS, "base": REST, "meeting": COVERS},
        "drop u < lastUpdateId; first U <= lastUpdateId <= u; then pu == previous u (ids are "
        "global, not +1)",
        1000,
        [
            ((900, 990, 880), DROP),
            ((995, 1010, 990), APPLY),
            ((1050, 1090, 1010), APPLY),
            ((1200, 1300, 1190), GAP),
        ],
    ),
    "okx books": Row(
        {
            **{"chain": PREVIOUS, "base": IN_BAND, "meeting": CHAINS, "restart": CHAINED},
            **{"unchanged": True, "in_band_base": True, "depth": 400, "copies": BY_NUMBER},
        },
        "snapshot prevSeqId -1; update.prevSeqId == last seqId; no-change heartbeat prevSeqId == "
        "seqId; reset at maintenance seqId < prevSeqId, then regular: 10>15>15>3>5; checksum "
        "always 0 since 2026-06-23",
        10,
        [
            ((11, 15, 10), APPLY),
            ((15, 15, 15), UNCHANGED),
            ((0, 3, 15), APPLY),
            ((4, 5, 3), APPLY),
            ((8, 9, 7), GAP),
        ],
    ),
    "bybit": Row(
        {
            **{
                "chain": PLUS_ONE,
                "base": IN_BAND,
                "meeting": CHAINS,
                "in_band_base": True,
                "copies": BY_NUMBER,
            },
            "depth": 50,
        },
        "first = snapshot; any later snapshot or u == 1 replaces (the decoder says base); treat a "
        "jump of u as a gap",
        177400507,
        [
            ((177400508, 177400508, 0), APPLY),
            ((177400509, 177400509, 0), APPLY),
            ((177400511, 177400511, 0), GAP),
        ],
    ),
    "bybit_linear": Row(
        {
            **{
                "chain": PLUS_ONE,
                "base": IN_BAND,
                "meeting": CHAINS,
                "in_band_base": True,
                "copies": BY_NUMBER,
            },
            "depth": 50,
        },
        "as spot",
        10132540,
        [
            ((10132541, 10132541, 0), APPLY),
            ((10132542, 10132542, 0), APPLY),
            ((10132544, 10132544, 0), GAP),
        ],
    ),
    "kraken v2 book": Row(
        {
            **{"chain": NO_CHAIN, "base": IN_BAND, "in_band_base": True},
            **{"checksum": 1, "must_truncate": True, "depth": 10},
        },
        "no sequence numbers: CRC32 is the only check; truncate to depth, no delete is sent",
        0,
        [((0, 0, 0), APPLY), ((0, 0, 0), APPLY)],
    ),
    "coinbase level2": Row(
        {
            **{"chain": NO_CHAIN, "base": IN_BAND, "in_band_base": True},
            "counts_connection": True,
        },
        "sequence_num counts every message of the connection from 0; gap = lost message",
        0,
        [((0, 0, 0), APPLY)],
    ),
    "kucoin level2": Row(
        {"chain": RANGE, "base": REST, "meeting": COVERS, "may_overlap": True},
        "sequenceStart(new) <= sequenceEnd(old)+1; per-change seq <= snapshot -> skip",
        100,
        [((101, 101, 0), APPLY), ((101, 104, 0), APPLY), ((106, 106, 0), GAP)],
    ),
    "bitget": Row(
        {
            **{"chain": PREVIOUS, "base": IN_BAND, "meeting": CHAINS, "depth": 500},
            **{"restart": ZERO, "in_band_base": True, "copies": BY_NUMBER},
        },
        "snapshot pseq 0; chain pseq == last seq, of the first update too; pseq 0 on an update = "
        "reset; no checksum",
        500,
        [
            ((501, 510, 500), APPLY),
            ((511, 513, 510), APPLY),
            ((515, 520, 514), GAP),
            ((1, 2, 0), RESTART),
        ],
    ),
    "bitget uta": Row(
        {
            **{"chain": PREVIOUS, "base": IN_BAND, "meeting": COVERS, "depth": 1000},
            **{"restart": ZERO, "in_band_base": True, "copies": BY_NUMBER},
        },
        "the seq of the snapshot should fall within the range [pseq, seq] of the first update; "
        "then as the classic WebSocket",
        500,
        [
            ((480, 490, 479), DROP),
            ((491, 510, 490), APPLY),
            ((511, 513, 510), APPLY),
            ((512, 515, 511), GAP),
            ((515, 520, 514), GAP),
            ((1, 2, 0), RESTART),
        ],
    ),
    "bitget_usdt": Row(
        {
            **{"chain": PREVIOUS, "base": IN_BAND, "meeting": CHAINS, "depth": 500},
            **{"restart": ZERO, "in_band_base": True, "copies": BY_NUMBER},
        },
        "as spot; 73,474 updates over 150 contracts without a gap",
        427583461144,
        [
            ((427583461145, 427583480559, 427583461144), APPLY),
            ((427583480560, 427583480664, 427583480559), APPLY),
            ((427583480670, 427583480671, 427583480669), GAP),
        ],
    ),
    "htx mbp": Row(
        {
            **{"chain": PREVIOUS, "base": REQUEST, "meeting": CHAINS, "in_band_base": True},
            **{"unchanged": True, "must_truncate": True, "depth": 150},
        },
        "buffer, req on the same socket, align prevSeqNum == snapshot.seqNum, then prevSeqNum == "
        "last seqNum; while there is nothing change, 150 still sends two blank objects",
        100020146794,
        [
            ((100020146790, 100020146791, 100020146789), DROP),
            ((100020146795, 100020146795, 100020146794), APPLY),
            ((100020146796, 100020146799, 100020146795), APPLY),
            ((100020146801, 100020146802, 100020146800), GAP),
        ],
    ),
    "deribit": Row(
        {"chain": PREVIOUS, "base": IN_BAND, "meeting": CHAINS, "in_band_base": True},
        "snapshot has no prev_change_id; prev_change_id == last change_id else resubscribe",
        123456789,
        [
            ((123456790, 123456790, 123456789), APPLY),
            ((123456793, 123456795, 123456792), GAP),
        ],
    ),
    "hyperliquid l2Book": Row(
        {"chain": NO_CHAIN, "base": IN_BAND, "in_band_base": True, "depth": 20},
        "every frame is a whole book, no sequence, no checksum, newest wins (all are bases)",
        0,
    ),
    "hyperliquid l2Book fast": Row(
        {"chain": NO_CHAIN, "base": IN_BAND, "in_band_base": True, "depth": 5},
        "fast:true = 5 levels, every 0.54 s",
        0,
    ),
}


@pytest.mark.parametrize("name", VENUES)
def test_sync_venue_is_judged_by_its_documents(name: str) -> None:
    row = VENUES[name]
    phase, version = FIRST, row.base
    for step, (numbers, expected) in enumerate(row.story):
        assert judge(row.rule, phase, version, numbers) == expected, (name, step, numbers)
        if expected == APPLY:
            phase, version = FOLLOWING, numbers[1]
    assert judge(row.rule, BUFFERING, 0, (1, 1, 0)) == BUFFER


@pytest.mark.parametrize("index", range(lib.tp_venue_count()))
def test_sync_rules_of_this_build_are_those_of_the_table(index: int) -> None:
    venue = lib.tp_venue_at(index)
    known = [
        ffi.new("struct tp_sync_rule *", row.rule)
        for name, row in VENUES.items()
        if name.startswith(ffi.string(venue.name).decode())
    ]
    describe: Any = venue.describe
    own = load_venue(ffi.string(venue.name).decode())
    (channel, *_) = own.channels(own.example_symbol, own.settings())
    depth = describe(channel.encode())
    found = bytes(ffi.buffer(depth.rule))
    assert found in [bytes(ffi.buffer(rule)) for rule in known]


# ---- every relation of numbers -------------------------------------------------------------------

RANGE_RULE = {"chain": RANGE, "base": REST, "meeting": COVERS}


def in_words(phase: int, version: int, first: int, last: int) -> int:
    """Absolute levels: a message helps if it ends after the book and leaves no version out."""
    if phase == BUFFERING:
        return BUFFER
    if last <= version:
        return DROP
    if phase == FIRST:
        return APPLY if first <= version + 1 else GAP
    return APPLY if first == version + 1 else GAP


@pytest.mark.parametrize("base", [0, 1000, LARGEST - 8])
def test_sync_every_relation_of_ranges_is_judged_in_words(base: int) -> None:
    for phase, version, first, size in product(range(3), range(7), range(7), range(3)):
        last = min(first + size, 8)
        found = judge(RANGE_RULE, phase, base + version, (base + first, base + last, 0))
        assert found == in_words(phase, base + version, base + first, base + last)


def previous_in_words(
    rule: dict[str, Any], phase: int, version: int, numbers: tuple[int, int, int]
) -> int:
    first, last, previous = numbers
    if phase == BUFFERING:
        return BUFFER
    if previous == version:  # it follows
        if last == version:
            return UNCHANGED if rule.get("unchanged") else DROP
        return APPLY if last > version or rule.get("restart") == CHAINED else GAP
    if previous == 0 and rule.get("restart") == ZERO:
        return RESTART
    if last <= version:
        return DROP
    covers = rule.get("meeting") == COVERS and phase == FIRST
    return APPLY if covers and first <= version else GAP


@pytest.mark.parametrize("meeting", [CHAINS, COVERS])
@pytest.mark.parametrize("restart", [NEVER, CHAINED, ZERO])
@pytest.mark.parametrize("unchanged", [False, True])
def test_sync_every_relation_of_previous_numbers_is_judged_in_words(
    meeting: int, restart: int, unchanged: bool
) -> None:
    rule = {"chain": PREVIOUS, "meeting": meeting, "restart": restart, "unchanged": unchanged}
    for phase, version, previous, last in product(range(3), range(1, 6), range(6), range(6)):
        numbers = (min(previous + 1, last), last, previous)
        expected = previous_in_words(rule, phase, version, numbers)
        assert judge(rule, phase, version, numbers) == expected, (phase, version, numbers)


def test_sync_last_version_of_all_has_no_successor() -> None:
    assert judge(RANGE_RULE, FOLLOWING, LARGEST, (0, LARGEST, 0)) == DROP
    assert judge(RANGE_RULE, FOLLOWING, LARGEST - 1, (LARGEST, LARGEST, 0)) == APPLY


def test_sync_contiguous_message_after_the_base_is_no_reason_to_start_again() -> None:
    assert judge(RANGE_RULE, FIRST, 100, (101, 105, 0)) == APPLY
    assert judge(RANGE_RULE, FIRST, 100, (102, 105, 0)) == GAP
