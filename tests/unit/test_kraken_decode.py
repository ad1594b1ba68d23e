"""Kraken's decoder against msgspec and decimal: the same levels, or refused.

The oracle reads the same bytes into Decimal, which never becomes floating point, and a message has
what its items say; which message is refused follows from the numbers alone.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal  # noqa: TC003 - msgspec reads the annotations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.proto.venues.decoder import find_decoder

SCALE = (-2, -8)
SYMBOL, INSTRUMENT = "BTC/USD", 7
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
BASE, DELTA, TOP, TRADES = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("BASE", "DELTA", "TOP", "TRADES")
)
NO_MEANING, BROKEN = int(lib.TP_MEANING_UNKNOWN), int(lib.TP_MEANING_BROKEN)
SAMPLES = Path(__file__).resolve().parents[2] / "proto/venues/kraken/samples.ndjson"
Levels = list[tuple[int, int]]

venue: Any = find_decoder("kraken")
depth = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")


def make_router(*channels: str) -> Any:
    memory = ffi.new("uint64_t[]", venue.router_size(8, 1) // 8 + 1)
    venue.router_init(memory, 8, 1)
    for name in channels:
        assert venue.router_add(memory, name.encode(), INSTRUMENT)
    return memory


ROUTER = make_router(f"book-10:{SYMBOL}", f"ticker:{SYMBOL}", f"trade:{SYMBOL}")


class Part:
    """One part of a message, at the very end of its memory, and what is decoded of it."""

    def __init__(self, data: bytes, start: int = 0, router: Any = ROUTER) -> None:
        self._data = ffi.new("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
        message = ffi.new(
            "struct tp_venue_message *", {"data": self._data, "size": len(data), "opcode": 1}
        )
        route = ffi.new("struct tp_route *")
        venue.route(router, message, start, route)
        self.meaning, self.next = int(route.meaning), int(route.next_offset)
        self.instrument = int(route.instrument)
        self.body = data[route.body_offset : route.body_offset + route.body_size]

    def decode(self, scale: tuple[int, int] = SCALE) -> int:
        body = ffi.new("uint8_t[]", self.body)
        what = ffi.new(
            "struct tp_body *",
            {"data": body, "size": len(self.body), "meaning": self.meaning, "scale": scale},
        )
        if self.meaning == TRADES:
            return int(venue.decode_trades(what, trades))
        return int(venue.decode_depth(what, depth))


def decoded_levels() -> tuple[Levels, Levels]:
    bids, asks = (
        [(levels[i].price, levels[i].quantity) for i in range(count)]
        for levels, count in ((depth.bids, depth.bid_count), (depth.asks, depth.ask_count))
    )
    return bids, asks


# ---- the oracle ----------------------------------------------------------------------------------


class Level(msgspec.Struct):
    price: Decimal
    qty: Decimal


class Item(msgspec.Struct):
    symbol: str
    checksum: int
    bids: list[Level] = []
    asks: list[Level] = []
    timestamp: str = ""


class Message(msgspec.Struct):
    channel: str
    type: str
    data: list[Item]


oracle = msgspec.json.Decoder(Message)


def mantissa(value: Decimal, exponent: int) -> int | None:
    """Return the exact mantissa; None: it has none that fits 64 bits."""
    scaled = value.scaleb(-exponent, context=None) if abs(value.adjusted()) < 40 else None
    if value == 0:
        return 0
    if scaled is None or scaled != scaled.to_integral_value() or not 0 <= scaled < 2**63:
        return None
    return int(scaled)


def expected_side(side: list[Level], scale: tuple[int, int]) -> Levels | None:
    rows = [(mantissa(one.price, scale[0]), mantissa(one.qty, scale[1])) for one in side]
    whole = [(price, qty) for price, qty in rows if price is not None and qty is not None]
    return whole if len(whole) == len(rows) else None


def check_against_the_oracle(data: bytes, scale: tuple[int, int] = SCALE) -> int:
    """Hold a message of one item to what the oracle makes of it."""
    part = Part(data)
    status = part.decode(scale) if part.meaning in (BASE, DELTA) else BROKEN
    try:
        said = oracle.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        assert status != OK or not data.isascii(), data  # that it is UTF-8 is not looked at here
        return status
    if part.next != 0 or len(said.data) != 1 or part.meaning not in (BASE, DELTA):
        return status
    sides = [expected_side(side, scale) for side in (said.data[0].bids, said.data[0].asks)]
    if None in sides or not 0 <= said.data[0].checksum < 2**32:
        assert status != OK, data
    elif status == OK:
        assert list(decoded_levels()) == sides, data
        assert depth.checksum == said.data[0].checksum
    return status


# ---- books ---------------------------------------------------------------------------------------

plain = st.builds(
    lambda whole, digits: f"{whole}" + (f".{digits}" if digits else ""),
    st.integers(0, 10**11),
    st.text("0123456789", max_size=9),
)
odd = st.sampled_from(
    [
        *("0", "0.0", "-1", "1e-08", "1E-8", "1e3", "2.2e3", "1e400", "1e-400", "9" * 40),
        *("0.000000000000", "1.500000000000", "92233720368547758.07", "92233720368547758.08"),
        *("0.000000001", "1e+2", "5.06E1", "12345678.12345678", "123456789.123456789"),
    ]
)
numbers = plain | odd
levels = st.lists(st.tuples(numbers, numbers), max_size=6)
spaces = st.sampled_from(["", "", "", " ", "\n\t"])


def write_level(price: str, qty: str, space: str, *, swap: bool) -> str:
    keys = [f'"price":{space}{price}', f'{space}"qty":{qty}{space}']
    return "{" + ",".join(keys[::-1] if swap else keys) + "}"


def write(bids: Any, asks: Any, space: str = "", *, swap: bool = False, checksum: int = 1) -> bytes:
    sides = [
        ",".join(write_level(price, qty, space, swap=swap) for price, qty in side)
        for side in (bids, asks)
    ]
    item = (
        f'{{"symbol":"{SYMBOL}","bids":[{sides[0]}],{space}"asks":[{sides[1]}],'
        f'"checksum":{checksum},"timestamp":"2026-08-16T23:37:05.376419Z"}}'
    )
    return f'{{"channel":"book","type":"update","data":[{space}{item}]}}'.encode()


@given(levels, levels, st.tuples(spaces, st.booleans()), st.integers(0, 2**33), st.integers(-5, 0))
def test_book_has_the_oracles_levels_or_is_refused(
    bids: Any, asks: Any, how: tuple[str, bool], checksum: int, exponent: int
) -> None:
    data = write(bids, asks, how[0], swap=how[1], checksum=checksum)
    scale = (exponent, -8)
    status = check_against_the_oracle(data, scale)
    said = oracle.decode(data).data[0]
    fits = all(expected_side(side, scale) is not None for side in (said.bids, said.asks))
    assert (status == OK) == (fits and checksum < 2**32), data
    if status == OK:
        assert depth.exchange_ns == 1_786_923_425_376_419_000
        assert depth.flags == lib.TP_DEPTH_CHECKSUM


def test_book_of_every_changed_byte_is_the_oracles_or_refused() -> None:
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


@pytest.mark.parametrize(
    "number", ["007.5", "1.", ".5", "+1", "1e", "0x1", "NaN", '"1"', "null", "-0"]
)
def test_book_with_what_is_no_plain_number_is_refused(number: str) -> None:
    for level in ((number, "1"), ("1", number)):
        for many in (1, 5):  # read in one go, and near the end
            part = Part(write([level] + [("1", "1")] * many, []))
            assert (part.meaning, part.decode()) != (DELTA, OK), level


def test_book_without_a_checksum_is_none_that_the_venue_documents() -> None:
    data = write([("1", "1")], []).replace(b'"checksum":1,', b"")
    assert Part(data).decode() == UNKNOWN
    assert Part(data.replace(b'"bids":[{"price":1,"qty":1}],"asks":[],', b"")).decode() == UNKNOWN


def test_book_snapshot_is_a_base_and_may_lack_its_time() -> None:
    data = write([("1", "1")], []).replace(b'"update"', b'"snapshot"')
    data = data.replace(b',"timestamp":"2026-08-16T23:37:05.376419Z"', b"")
    part = Part(data)
    assert (part.meaning, part.decode()) == (BASE, OK)
    assert depth.flags == lib.TP_DEPTH_CHECKSUM | lib.TP_DEPTH_BASE
    assert (depth.exchange_ns, decoded_levels()) == (0, ([(100, 10**8)], []))


def test_book_of_too_many_levels_is_refused() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    assert Part(write([("1", "1")] * most, [])).decode() == OK
    assert Part(write([("1", "1")] * (most + 1), [])).decode() == lib.TP_DECODE_TOO_MANY


@pytest.mark.parametrize("tail", ["", ",", "]", "]}}", "]} ]", "],5}", ']"a":1}'])
def test_book_whose_message_does_not_end_is_refused(tail: str) -> None:
    data = write([("1", "1")] * 5, [])
    assert Part(data[:-2] + tail.encode()).decode() != OK
    assert Part(data[:-2] + b' ] , "more" : [1] } ').decode() == OK


# ---- routing -------------------------------------------------------------------------------------


def test_items_of_a_message_are_parts_that_decode_alone() -> None:
    first = write([("5", "1")], [])
    item = first[first.index(b"[") + 1 : -2]
    other = item.replace(b"BTC/USD", b"ETH/USD")
    data = first[:-2] + b", " + other + b" ,\n" + item.replace(b":5,", b":6,") + b"]}"
    found: list[tuple[int, Levels]] = []
    start = 0
    for _ in range(3):
        part = Part(data, start)
        assert part.meaning == (DELTA if len(found) != 1 else NO_MEANING)
        assert part.decode() == OK if part.meaning == DELTA else True
        found.append((part.meaning, decoded_levels()[0]))
        start = part.next
    assert start == 0
    assert [bids for meaning, bids in found if meaning == DELTA] == [
        [(500, 10**8)],
        [(600, 10**8)],
    ]


def test_items_behind_their_head_in_another_order() -> None:
    first = write([("5", "1")], [])
    item = first[first.index(b"[") + 1 : -2]
    for data in (
        b'{"type":"update","channel":"book","data":[' + item + b"]}",
        b'{"data":[' + item + b'],"type":"update","channel":"book"}',
        b'{"x":[1],"channel":"book","req_id":5,"type":"update","data":[' + item + b"]}",
    ):
        part = Part(data)
        assert (part.meaning, part.instrument, part.decode(), part.next) == (
            *(DELTA, INSTRUMENT, OK, 0),
        )
    two = b'{"data":[' + item + b"," + item + b'],"type":"update","channel":"book"}'
    assert Part(two).meaning == BROKEN  # each part would read all of it again


def test_symbols_are_compared_whole() -> None:
    long = "A" * 27 + "/" + "B" * 28
    assert len(long) == 56
    router = make_router("book-25:A/B", f"book-10:{long}", "book-1000:BTC/USDT")
    data = write([("1", "1")], [])
    for symbol, is_ours in (
        *(("A/B", True), (long, True), ("BTC/USDT", True), ("BTC/USD", False), ("", False)),
        *((long + "B", False), (long[:-1], False), ("a/b", False), ("A\\u002fB", False)),
    ):
        part = Part(data.replace(SYMBOL.encode(), symbol.encode()), 0, router)
        assert (part.meaning == DELTA) == is_ours, symbol


def test_router_has_one_book_a_symbol_and_a_limit() -> None:
    router = make_router("book-10:A/B", "ticker:A/B", "trade:A/B")
    for name in ("book-10:A/B", "book-25:A/B", "trade:A/B", "book-11:C/D", "book-10:", "ohlc:A/B"):
        assert not venue.router_add(router, name.encode(), 1), name
    assert not venue.router_add(router, b"book-10:" + b"x" * 57, 1)
    for number in range(5):
        assert venue.router_add(router, f"book-10:X{number}/Y".encode(), 1)
    assert not venue.router_add(router, b"book-10:LAST/Y", 1)


@pytest.mark.parametrize(
    "data",
    [
        b'{"channel":"book","type":"update","data":[]}',
        b'{"channel":"book","type":"update","data":[5]}',
        b'{"channel":"book","type":"update","data":[{"bids":[]}]}',
        b'{"channel":"book","type":"update","data":[{"symbol":5}]}',
        b'{"channel":"book","type":"update","data":{"symbol":"BTC/USD"}}',
        b'{"channel":"book","type":"update","data":',
    ],
)
def test_items_that_are_none_are_broken(data: bytes) -> None:
    assert Part(data).meaning == BROKEN


# ---- tickers and trades --------------------------------------------------------------------------


def sample(meaning: str, number: int = 0) -> bytes:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    return str([one["text"] for one in rows if one["meaning"] == meaning][number]).encode()


def test_ticker_is_a_top_of_each_side_that_is_there() -> None:
    data = sample("TOP")
    part = Part(data)
    assert (part.meaning, part.decode()) == (TOP, OK)
    assert decoded_levels() == ([(6280250, 2987767)], [(6280260, 109074394)])
    assert depth.flags == lib.TP_DEPTH_TOP
    for empty in (b'"ask":null,"ask_qty":0', b'"ask_qty":0.0', b'"ask":62802.6'):
        changed = data.replace(b'"ask":62802.6,"ask_qty":1.09074394', empty)
        assert Part(changed).decode() == OK
        assert decoded_levels() == ([(6280250, 2987767)], [])
    assert Part(data.replace(b'"bid', b'"x').replace(b'"ask', b'"x')).decode() == UNKNOWN
    assert Part(data.replace(b"62802.6,", b"62802.601,")).decode() != OK


def test_trades_are_a_part_each() -> None:
    data = sample("TRADES")
    first = Part(data)
    assert (first.meaning, first.decode()) == (TRADES, OK)
    one = trades.trades[0]
    assert (trades.count, one.price, one.quantity, one.id, one.flags) == (
        *(1, 6280260, 27625, 10218208, 0),
    )
    assert one.exchange_ns == trades.exchange_ns > 0
    second = Part(data, first.next)
    assert (second.meaning, second.decode(), second.next) == (TRADES, OK, 0)
    assert (one.price, one.quantity, one.id) == (6280250, 12460, 10218209)
    assert one.flags == lib.TP_TRADE_SELL
    for word in (b'"side"', b'"price"', b'"qty"'):
        assert Part(data.replace(word, b'"x"')).decode() == UNKNOWN
    assert Part(data.replace(b'"buy"', b'"both"')).decode() == UNKNOWN


def test_trades_of_a_snapshot_are_history() -> None:
    assert Part(sample("TRADES").replace(b'"update"', b'"snapshot"')).meaning == NO_MEANING
