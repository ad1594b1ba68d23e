"""HTX's decoder against msgspec and decimal: the same levels and numbers, or refused.

The oracle reads the same bytes into Decimal, which never becomes floating point; which message is
refused follows from the numbers alone. Frames of the venue are read where they lie beside the
project: they have no licence to be copied into it.
"""

from __future__ import annotations

import gzip
import json
import random
from decimal import Decimal  # noqa: TC003 - msgspec reads the annotations
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.inflate import Inflate
from tickpath.proto.venues.decoder import find_decoder

from tests.unit import decoding
from tests.unit.decoding import (
    INSTRUMENT,
    SCALE,
    decoded_levels,
    depth,
    expected_side,
    numbers,
    trades,
)
from tests.unit.feed.test_feed_rule import VENUES

SYMBOL = "btcusdt"
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
BASE, DELTA, TOP, TRADES = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("BASE", "DELTA", "TOP", "TRADES")
)
NO_MEANING, BROKEN = int(lib.TP_MEANING_UNKNOWN), int(lib.TP_MEANING_BROKEN)
MEANING = {"TOP": TOP, "TRADES": TRADES, "BASE": BASE, "DELTA": DELTA}
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "proto/venues/htx/samples.ndjson"
FRAMES = ROOT.parent / "shared/reference/data/venues/htx"
TOPIC = f"market.{SYMBOL}.mbp.150"

venue: Any = find_decoder("htx")

make_router = partial(decoding.make_router, venue)
ROUTER = make_router(TOPIC, "market.ltcusdt.mbp.refresh.20", "market.xrpusdt.mbp.5")


class Part(decoding.RoutedPart):
    """A message of these channels."""

    def __init__(self, data: bytes, router: Any = ROUTER) -> None:
        super().__init__(data, venue, router, opcode=2)


def sample(meaning: str, number: int = 0) -> bytes:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    return str([one["text"] for one in rows if one["meaning"] == meaning][number]).encode()


# ---- the oracle ----------------------------------------------------------------------------------


class Tick(msgspec.Struct, rename="camel"):
    seq_num: int
    prev_seq_num: int
    bids: list[list[Decimal]] = []
    asks: list[list[Decimal]] = []


class Message(msgspec.Struct):
    ch: str
    ts: int
    tick: Tick


oracle = msgspec.json.Decoder(Message)


def check_against_the_oracle(data: bytes, scale: tuple[int, int] = SCALE) -> int:
    """Hold a message to what the oracle makes of it."""
    part = Part(data)
    status = part.decode(scale) if part.meaning == DELTA else BROKEN
    try:
        tick = oracle.decode(data).tick
    except (msgspec.DecodeError, UnicodeDecodeError):
        return status  # such as a side that is an empty object
    if status == OK:
        assert decoded_levels() == (
            expected_side(tick.bids, scale),
            expected_side(tick.asks, scale),
        ), data
        first = min(tick.prev_seq_num + 1, tick.seq_num)
        assert numbers() == (first, tick.seq_num, tick.prev_seq_num), data
    return status


# ---- books ---------------------------------------------------------------------------------------

plain = st.builds(
    lambda whole, digits: f"{whole}" + (f".{digits}" if digits else ""),
    st.integers(0, 10**11),
    st.text("0123456789", max_size=9),
)
odd = st.sampled_from(
    [
        *("0", "0.0", "1e-08", "1.0E-8", "1e3", "1.3640078E7", "1e400", "1e-400", "9" * 40),
        *("0.000000000000", "1.500000000000", "92233720368547758.07", "92233720368547758.08"),
        *("0.000000001", "1e+2", "5.06E1", "12345678.12345678", "123456789.123456789"),
    ]
)
level = st.tuples(plain | odd, plain | odd)
sides = st.lists(level, max_size=6)
spaces = st.sampled_from(["", "", "", " ", "\n\t"])
counts = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20))


def write_side(side: Any, space: str) -> str:
    rows = [f"[{price},{space}{size}]" for price, size in side]
    return f"[{space}{','.join(rows)}{space}]"


def write(bids: Any, asks: Any, *, space: str = "", at: tuple[int, int] = (10, 11)) -> bytes:
    previous, number = at
    tick = (
        f'{{"seqNum":{number},{space}"prevSeqNum":{previous},"bids":{write_side(bids, space)},'
        f'{space}"asks":{write_side(asks, space)}}}'
    )
    return f'{{"ch":"{TOPIC}","ts":1790439595700,{space}"tick":{tick}}}'.encode()


@given(sides, sides, spaces, st.tuples(counts, counts), st.integers(-5, 0))
def test_change_has_the_oracles_levels_or_is_refused(
    bids: Any, asks: Any, space: str, at: tuple[int, int], exponent: int
) -> None:
    data = write(bids, asks, space=space, at=at)
    scale = (exponent, -8)
    status = check_against_the_oracle(data, scale)
    said = oracle.decode(data).tick
    fits = None not in (expected_side(said.bids, scale), expected_side(said.asks, scale))
    contradicts = at[0] == at[1] and bool(bids or asks)
    assert (status == OK) == (fits and not contradicts), data
    if status == OK:
        assert depth.exchange_ns == 1_790_439_595_700_000_000


def test_change_of_every_changed_byte_is_the_oracles_or_refused() -> None:
    rng = random.Random(20261130)  # not a secret
    data = write([("62802.5", "0.02987767"), ("62800.7", "0")], [("62802.6", "1.09074394")] * 3)
    accepted = 0
    for at in range(len(data)):
        for new in {ord(c) for c in '0159.,-+eE"{}[]: \\l'} | {rng.randrange(256)}:
            changed = data[:at] + bytes([new]) + data[at + 1 :]
            accepted += check_against_the_oracle(changed) == OK
        cut = data[:at]
        assert Part(cut).meaning == BROKEN or Part(cut).decode() != OK
    assert accepted > 500


def test_change_may_leave_out_a_side_or_have_a_blank_one() -> None:
    data = write([("5", "1")], [])
    for other in (b"[ ]", b"{}", b"{ }"):
        assert Part(data.replace(b"[]", other)).decode() == OK, other
        assert decoded_levels() == ([(500, 10**8)], [])
    assert Part(data.replace(b',"asks":[]', b"")).decode() == OK
    for other in (b'{"1":2}', b"5", b'""', b"[[]]", b"[{}]", b"[[1]]"):
        assert Part(data.replace(b"[]", other)).decode() != OK, other


@pytest.mark.parametrize("key", ["seqNum", "prevSeqNum"])
def test_change_without_its_numbers_is_none_that_the_venue_documents(key: str) -> None:
    data = write([("1", "1")], []).replace(f'"{key}"'.encode(), b'"x"')
    assert Part(data).decode() == UNKNOWN


def test_numbers_of_a_message_say_what_came_before_it() -> None:
    for at, expected in (
        *(((10, 15), (11, 15, 10)), ((15, 15), (15, 15, 15)), ((15, 3), (3, 3, 15))),
        *(((0, 1), (1, 1, 0)), ((2**64 - 2, 2**64 - 1), (2**64 - 1, 2**64 - 1, 2**64 - 2))),
    ):
        assert Part(write([], [], at=at)).decode() == OK
        assert (numbers(), depth.flags) == (expected, 0)
    assert Part(write([], [], at=(1, 2**64))).decode() == lib.TP_DECODE_BAD_NUMBER
    assert Part(write([("1", "1")], [], at=(5, 5))).decode() == UNKNOWN, "nothing changed"


def test_keys_may_come_in_any_order_and_more_of_them() -> None:
    data = write([("5", "1")], [("6", "2")])
    tick = data[data.index(b'{"seqNum') : -1]
    topic = f'"ch":"{TOPIC}"'.encode()
    for other in (
        b'{"tick":' + tick + b"," + topic + b"}",
        b'{"x":[1,{"tick":{}}],' + topic + b',"tick":' + tick + b',"ts":5}',
        data[:-1] + b',"more":{"tick":[1]}}',
        data[:-1] + b' , "data":{"bids":[]} } ',
    ):
        part = Part(other)
        assert (part.meaning, part.instrument, part.decode()) == (DELTA, INSTRUMENT, OK), other
        assert decoded_levels() == ([(500, 10**8)], [(600, 2 * 10**8)])


def test_answer_to_a_request_is_a_base() -> None:
    data = sample("BASE")
    part = Part(data)
    assert (part.meaning, part.instrument, part.decode()) == (BASE, INSTRUMENT, OK)
    assert (depth.flags, numbers()) == (lib.TP_DEPTH_BASE, (160000000010, 160000000010, 0))
    assert decoded_levels()[1][2] == (8409400, 41000)
    for key in ("seqNum", "bids", "asks"):
        assert Part(data.replace(f'"{key}"'.encode(), b'"x"')).decode() == UNKNOWN, key
    failed = data.replace(b'"ok"', b'"error"')
    assert Part(failed).meaning == lib.TP_MEANING_REFUSAL
    other = data.replace(b"mbp.150", b"mbp.20")
    assert Part(other).meaning == NO_MEANING, "it is no book's of ours"
    assert Part(data.replace(b'"data":{', b'"data":[{').replace(b"}}", b"}]}")).meaning != BASE


def test_whole_book_of_twenty_is_a_base() -> None:
    part = Part(sample("BASE", 1))
    assert (part.meaning, part.decode(), depth.flags) == (BASE, OK, lib.TP_DEPTH_BASE)
    assert (depth.bid_count, depth.ask_count, depth.last_version) == (5, 5, 160000000020)


def test_numbers_of_a_refused_change_are_read_where_they_are_sure() -> None:
    data = write([("1", "x")], [], at=(10, 11))
    part = Part(write([("1", "1")], []))
    part.body = data
    assert part.decode() != OK
    assert venue.read_versions(part.what(), depth)
    assert numbers() == (11, 11, 10)
    behind = data.index(b'"bids"')  # a key behind both: before it the last digit may not be all
    for size in range(len(data)):
        part.body = data[:size]
        assert venue.read_versions(part.what(), depth) == (size > behind + len('"bids":') - 1)
    part.body = data.replace(b'"seqNum":11', b'"seqNum":9')
    assert not venue.read_versions(part.what(), depth), "no number that a base could reach"


# ---- routing -------------------------------------------------------------------------------------


def test_symbols_and_topics_are_compared_whole() -> None:
    long = "a1" * 32
    router = make_router("market.ab.mbp.150", f"market.{long}.mbp.150")
    data = write([("1", "1")], [])
    for symbol, is_ours in (
        *(("ab", True), (long, True), (SYMBOL, False), ("", False), ("a", False)),
        *((long + "b", False), (long[:-1], False), ("AB", False), ("a\\u0062", False)),
    ):
        part = Part(data.replace(SYMBOL.encode(), symbol.encode()), router)
        assert (part.meaning == DELTA) == is_ours, symbol
    for kind in ("mbp.15", "mbp.1500", "mbp.400", "mbp.5", "mbp.refresh.20", "", "x" * 40):
        part = Part(data.replace(b"mbp.150", kind.encode()))
        assert part.meaning == NO_MEANING, kind


def test_router_has_one_book_a_symbol_and_a_limit() -> None:
    names = ("market.ab.mbp.150", "market.ab.bbo", "market.ab.trade.detail")
    router = make_router(*names, size=3)
    for name in (
        *("market.ab.mbp.150", "market.ab.mbp.5", "market.ab.mbp.refresh.20", "market..mbp.5"),
        *("market.ab.mbp.400", "market.AB.mbp.5", "ab.mbp.5", "market.ab", "market."),
    ):
        assert not venue.router_add(router, name.encode(), INSTRUMENT), name
    assert not venue.router_add(router, b"market.ab.bbo", INSTRUMENT + 1)
    assert not venue.router_add(router, b"market." + b"x" * 65 + b".mbp.5", INSTRUMENT)
    assert venue.router_add(router, b"market.cd.mbp.5", 1)
    assert venue.router_add(router, b"market.ef.mbp.20", 2)
    assert not venue.router_add(router, b"market.last.mbp.5", 3)


def test_router_knows_trades_and_best_prices_of_a_book() -> None:
    for meaning in ("TOP", "TRADES"):
        part = Part(sample(meaning))
        assert (part.meaning, part.instrument) == (MEANING[meaning], INSTRUMENT)


def test_rules_are_those_that_the_documents_were_read_for() -> None:
    row = VENUES["htx mbp"].rule
    fields = [name for name, _ in ffi.typeof("struct tp_sync_rule").fields]
    for levels in (5, 20, 150):
        rule = venue.describe(f"market.ab.mbp.{levels}".encode()).rule
        ours = {"depth": levels}
        assert {name: getattr(rule, name) for name in fields} == dict.fromkeys(fields, 0) | row | (
            ours
        )
    whole = venue.describe(b"market.ab.mbp.refresh.20").rule
    assert (whole.chain, whole.depth, whole.in_band_base) == (lib.TP_CHAIN_NONE, 20, True)
    assert whole.base == lib.TP_BASE_IN_BAND


# ---- best prices and trades ----------------------------------------------------------------------


def test_best_price_is_a_top_of_each_side_that_is_there() -> None:
    data = sample("TOP")
    part = Part(data)
    assert (part.meaning, part.decode(), depth.flags) == (TOP, OK, lib.TP_DEPTH_TOP)
    bid, ask = [(8409340, 56978000)], [(8409350, 66657000)]
    assert decoded_levels() == (bid, ask)
    assert depth.exchange_ns == 1_795_000_000_100_000_000
    for was, now, left in (
        (b'"ask":84093.5,"askSize":0.66657,', b"", (bid, [])),
        (b'"ask":84093.5,"askSize":0.66657', b'"ask":null,"askSize":null', (bid, [])),
        (b"0.66657", b"0.0", (bid, [])),
        (b'"bid":84093.4,"bidSize":0.56978,', b"", ([], ask)),
    ):
        assert Part(data.replace(was, now)).decode() == OK, now
        assert decoded_levels() == left
    for was, now in (
        (b'"bidSize":0.56978,', b""),
        (b'"bidSize":0.56978', b'"bid":84093.4'),
        (b'"bidSize":0.56978', b'"bid":84093.4,"bidSize":0.56978'),
        (b'"seqId":160000000021,', b""),
    ):
        assert Part(data.replace(was, now)).decode() == UNKNOWN, now


def test_trades_are_in_the_order_of_their_time() -> None:
    part = Part(sample("TRADES"))
    assert (part.meaning, part.decode(), trades.count) == (TRADES, OK, 2)
    first, second = trades.trades[0], trades.trades[1]
    assert (first.price, first.quantity, first.id) == (8409350, 19800, 102523573486)
    assert (second.price, second.quantity, second.id) == (8409340, 675500, 102523573487)
    assert first.flags == second.flags == lib.TP_TRADE_SELL
    assert first.exchange_ns == trades.exchange_ns == 1_795_000_000_102_000_000
    bought = sample("TRADES").replace(b'"sell"', b'"buy"')
    assert Part(bought).decode() == OK
    assert trades.trades[0].flags == 0


@pytest.mark.parametrize("key", ["price", "amount", "direction"])
def test_trade_that_lacks_what_a_trade_has_is_refused(key: str) -> None:
    assert Part(sample("TRADES").replace(f'"{key}"'.encode(), b'"x"', 1)).decode() == UNKNOWN
    assert Part(sample("TRADES").replace(b'"sell"', b'"hold"')).decode() == UNKNOWN


# ---- frames of the venue, where they are at hand -------------------------------------------------


def frames() -> list[bytes]:
    path = FRAMES / "gzip_frames_2021.hex"
    return [bytes.fromhex(one) for one in path.read_text().split()] if path.exists() else []


def test_frames_of_the_venue_are_inflated_and_mean_what_they_say() -> None:
    """110 members of 2021: answers, pings, trades, and books of a topic that is not read."""
    inflate, meanings = Inflate("htx"), set[int]()
    for member in frames():
        text = gzip.decompress(member)
        assert inflate.text(member) == text
        said = json.loads(text)
        topic = said.get("ch", "")
        symbol = topic.split(".")[1] if topic else SYMBOL
        part = Part(text, make_router(f"market.{symbol}.mbp.150"))
        meanings.add(part.meaning)
        if topic.endswith("trade.detail"):
            assert part.decode((-10, -10)) == OK
            expected = [one["tradeId"] for one in said["tick"]["data"]][::-1]
            assert [trades.trades[i].id for i in range(trades.count)] == expected
            assert expected == sorted(expected)
    acknowledgement, heartbeat = lib.TP_MEANING_ACKNOWLEDGEMENT, lib.TP_MEANING_HEARTBEAT
    assert meanings in (set(), {TRADES, NO_MEANING, acknowledgement, heartbeat})


def test_frames_of_others_are_read() -> None:
    path = FRAMES / "cmp_mbp_bbo_trade.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    router = make_router(f"market.{SYMBOL}.mbp.20")
    found = [(part.meaning, part.decode() if part.meaning in MEANING.values() else None)
             for part in (Part(line, router) for line in lines)]  # fmt: skip
    spot = [(TRADES, OK), (NO_MEANING, None), (NO_MEANING, None), (DELTA, OK), (DELTA, OK)]
    assert found in ([], [*spot, (TOP, OK), (NO_MEANING, None)])
