"""Hyperliquid's decoder against msgspec and decimal: the same levels and numbers, or refused.

The oracle reads the same bytes into Decimal, which never becomes floating point. Frames of the
venue are read where they lie beside the project: not all have a licence to be copied into it.
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

from tests.unit.decoding import mantissa
from tests.unit.feed.test_feed_rule import VENUES

SCALE = (-2, -5)
COIN, INSTRUMENT = "BTC", 7
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
BASE, TOP, TRADES = (int(getattr(lib, f"TP_MEANING_{one}")) for one in ("BASE", "TOP", "TRADES"))
NO_MEANING, BROKEN, ANSWER = (
    int(getattr(lib, f"TP_MEANING_{one}")) for one in ("UNKNOWN", "BROKEN", "ACKNOWLEDGEMENT")
)
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "proto/venues/hyperliquid/samples.ndjson"
FRAMES = ROOT.parent / "shared/reference/data/venues/hyperliquid"
TIME_MS = 1_790_232_236_546
Levels = list[tuple[int, int]]

venue: Any = find_decoder("hyperliquid")
depth = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")


def make_router(*channels: str, size: int = 8) -> Any:
    memory = ffi.new("uint64_t[]", venue.router_size(size, 1) // 8 + 1)
    venue.router_init(memory, size, 1)
    for name in channels:
        assert venue.router_add(memory, name.encode(), INSTRUMENT), name
    return memory


ROUTER = make_router(f"l2Book:{COIN}", "l2Book-fast:ETH", "l2Book:@107", "l2Book:kPEPE")


class Part:
    """A message at the very end of its memory, and what is decoded of it."""

    def __init__(self, data: bytes, router: Any = ROUTER) -> None:
        self._data = ffi.new("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
        message = ffi.new(
            "struct tp_venue_message *", {"data": self._data, "size": len(data), "opcode": 1}
        )
        route = ffi.new("struct tp_route *")
        venue.route(router, message, 0, route)
        self.meaning, self.instrument = int(route.meaning), int(route.instrument)
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
    px: Decimal
    sz: Decimal


class Book(msgspec.Struct):
    coin: str
    time: int
    levels: tuple[list[Level], list[Level]]


class Message(msgspec.Struct):
    data: Book


oracle = msgspec.json.Decoder(Message)


def expected_side(side: list[Level], scale: tuple[int, int]) -> Levels | None:
    rows = [(mantissa(one.px, scale[0]), mantissa(one.sz, scale[1])) for one in side]
    whole = [(price, size) for price, size in rows if price is not None and size is not None]
    return whole if len(whole) == len(rows) else None


def check_against_the_oracle(data: bytes, scale: tuple[int, int] = SCALE) -> int:
    """Hold a book to what the oracle makes of it."""
    part = Part(data)
    status = part.decode(scale) if part.meaning == BASE else BROKEN
    try:
        said = oracle.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # That it is UTF-8, and that what nobody reads is of its own kind, is not looked at.
        return status
    if status != OK:
        return status
    assert decoded_levels() == tuple(expected_side(one, scale) for one in said.data.levels), data
    assert depth.exchange_ns == said.data.time * 1_000_000, data
    assert (depth.flags, depth.last_version) == (lib.TP_DEPTH_BASE, 0), data
    return status


# ---- books ---------------------------------------------------------------------------------------

plain = st.builds(
    lambda whole, digits: f"{whole}.{digits}",
    st.integers(0, 10**11),
    st.text("0123456789", min_size=1, max_size=7),
)
odd = st.sampled_from(
    [
        *("0", "0.0", "1e-05", "1E-8", "1e3", "2.2e3", "1e400", "1e-400", "9" * 40, "2058973.0"),
        *("0.000000000000", "1.500000000000", "92233720368547758.07", "92233720368547758.08"),
        *("0.000000001", "1e+2", "5.06E1", "12345678.12345678", "123456789.123456789"),
    ]
)
count = st.one_of(st.integers(1, 60), st.sampled_from([0, 9_999_999, 10_000_000, 2**40]))
level = st.tuples(plain | odd, plain | odd, count)
sides = st.lists(level, max_size=6)
spaces = st.sampled_from(["", "", "", " ", "\n\t"])
orders = st.sampled_from([(0, 1, 2), (0, 1, 2), (2, 0, 1), (1, 0, 2), (0, 2, 1)])


def write_level(row: Any, space: str, order: tuple[int, ...]) -> str:
    price, size, orders_there = row
    keys = (f'"px":{space}"{price}"', f'"sz":"{size}"', f'"n":{orders_there}')
    return "{" + f",{space}".join(keys[i] for i in order) + "}"


def write_side(side: Any, space: str, order: tuple[int, ...]) -> str:
    return f"[{space}{','.join(write_level(one, space, order) for one in side)}{space}]"


def write(
    bids: Any,
    asks: Any,
    *,
    space: str = "",
    order: tuple[int, ...] = (0, 1, 2),
    coin: str = COIN,
) -> bytes:
    levels = f"[{write_side(bids, space, order)},{space}{write_side(asks, space, order)}]"
    data = f'{{"coin":"{coin}","time":{TIME_MS},{space}"levels":{levels}}}'
    return f'{{"channel":"l2Book",{space}"data":{space}{data}}}'.encode()


@given(sides, sides, spaces, orders, st.integers(-6, 0))
def test_book_has_the_oracles_levels_or_is_refused(
    bids: Any, asks: Any, space: str, order: tuple[int, ...], exponent: int
) -> None:
    data = write(bids, asks, space=space, order=order)
    scale = (exponent, -5)
    status = check_against_the_oracle(data, scale)
    said = oracle.decode(data).data
    assert (status == OK) == (None not in [expected_side(one, scale) for one in said.levels]), data


TEN = [(f"8414{i}.0", f"{i}.0071", 1 + 7 * i) for i in range(10)]


def test_book_of_every_changed_byte_is_the_oracles_or_refused() -> None:
    rng = random.Random(20261130)  # not a secret
    data = write(TEN[:3], [*TEN[:1], ("84151.0", "0.01782", 123)])
    accepted = 0
    for at in range(len(data)):
        for new in {ord(c) for c in '0159.,-+eE"{}[]: \\n'} | {rng.randrange(256)}:
            changed = data[:at] + bytes([new]) + data[at + 1 :]
            accepted += check_against_the_oracle(changed) == OK
        cut = data[:at]
        assert Part(cut).meaning == BROKEN or Part(cut).decode() != OK
    assert accepted > 500


@pytest.mark.parametrize("number", ["1.", ".5", "+1", "-1", "1e", "0x1", "NaN", "", " 1"])
def test_book_with_what_is_no_plain_number_is_refused(number: str) -> None:
    for one in ((number, "1.0", 1), ("1.0", number, 1)):
        for many in (0, 5):  # near the end, and read in one go
            part = Part(write([one], TEN[:many]))
            assert (part.meaning, part.decode()) != (BASE, OK), one


@pytest.mark.parametrize("orders_there", ["", "-1", "01", "1.5", "1,2", '"1', "[1", "1]"])
def test_level_whose_count_is_no_number_is_not_taken_in_one_go(orders_there: str) -> None:
    """The quick way leaves it; the slow way takes what is JSON, and no other level with it."""
    for place in (0, 4):
        rows: list[Any] = list(TEN[:5])
        rows[place] = ("84143.0", "1.5", orders_there)
        data = write(rows, TEN)
        try:
            sound = msgspec.json.decode(data) is not None
        except msgspec.DecodeError:
            sound = False
        part = Part(data)
        status = part.decode() if part.meaning == BASE else BROKEN
        assert (status == OK) == sound, data


def test_key_behind_the_count_may_be_the_price() -> None:
    """The last one counts, as with other readers: the level is not done where its count ends."""
    data = write(TEN[:5], TEN[:5]).replace(b'"n":1}', b'"n":1,"px":"7.0"}')
    assert Part(data).decode() == OK
    assert [side[0][0] for side in decoded_levels()] == [700, 700]


@pytest.mark.parametrize("key", ["levels", "time"])
def test_book_that_lacks_a_key_is_none_that_the_venue_documents(key: str) -> None:
    data = write(TEN, TEN).replace(f'"{key}"'.encode(), b'"x"')
    assert Part(data).decode() == UNKNOWN


@pytest.mark.parametrize("key", ["px", "sz"])
def test_level_that_lacks_a_number_is_refused(key: str) -> None:
    data = write(TEN, TEN).replace(f'"{key}"'.encode(), b'"x"', 1)
    assert Part(data).decode() == lib.TP_DECODE_MALFORMED


def test_book_has_two_sides_which_may_be_empty() -> None:
    assert Part(write([], [])).decode() == OK
    assert decoded_levels() == ([], [])
    for levels in (b"[]", b"[[]]", b"[[],[],[]]", b"[[],null]", b"{}", b"null"):
        data = write([], []).replace(b"[[],[]]", levels)
        assert Part(data).decode() != OK, levels


def test_keys_may_come_in_any_order_and_more_of_them() -> None:
    levels = b'[[{"n":3,"sz":"1.0","px":"5.0","x":[1]}],[{"sz":"2.0","px":"6.0","n":1}]]'
    for data in (
        b'{"data":{"levels":' + levels + b',"time":5,"coin":"BTC"},"channel":"l2Book"}',
        b'{"x":[{"data":1}],"channel":"l2Book","data":{"x":{"coin":"ETH"},"coin":"BTC","time":5,'
        b'"levels":' + levels + b'},"more":{"data":[1]}}',
        b' { "channel" : "l2Book" , "data" : { "coin" : "BTC" , "levels" : '
        + levels
        + b' , "time" : 5 } } ',
    ):
        part = Part(data)
        assert (part.meaning, part.instrument, part.decode()) == (BASE, INSTRUMENT, OK), data
        assert decoded_levels() == ([(500, 100_000)], [(600, 200_000)])


@pytest.mark.parametrize("tail", ["", ",", "}", "}}}", "} }x", '},"a"}'])
def test_book_whose_message_does_not_end_is_refused(tail: str) -> None:
    part = Part(write(TEN, TEN)[:-2] + tail.encode())
    assert part.meaning == BROKEN or part.decode() != OK


def test_book_of_too_many_levels_is_refused() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    one = ("1.0", "1.0", 1)
    assert Part(write([one] * most, [])).decode() == OK
    assert Part(write([one] * (most + 1), [])).decode() == lib.TP_DECODE_TOO_MANY


def test_time_beyond_what_nanoseconds_hold_is_refused() -> None:
    data = write(TEN, TEN).replace(str(TIME_MS).encode(), str(2**64 - 1).encode())
    assert Part(data).decode() == lib.TP_DECODE_BAD_NUMBER


# ---- routing -------------------------------------------------------------------------------------


def test_coins_and_channels_are_compared_whole() -> None:
    long = "A" * 64
    coins = ("A", long, "kPEPE", "xyz:SP500", "PURR/USDC", "@107")
    router = make_router(*(f"l2Book:{one}" for one in coins))
    for coin, is_ours in (
        *((one, True) for one in coins),
        *((long + "A", False), (long[:-1], False), ("a", False), ("KPEPE", False), ("", False)),
        *(("SP500", False), ("@10", False), ("A\\u0041", False)),
    ):
        part = Part(write(TEN, TEN, coin=coin), router)
        assert (part.meaning == BASE) == is_ours, coin
    for name in ("l2", "l2Book2", "candle", ""):
        data = write(TEN, TEN).replace(b'"l2Book"', f'"{name}"'.encode())
        assert Part(data).meaning == NO_MEANING, name


def test_router_has_one_book_a_coin_and_a_limit() -> None:
    router = make_router("l2Book:A", "bbo:A", "trades:A", "trades:A", size=3)
    for name in ("l2Book:A", "l2Book-fast:A", "l2Book:", "l2Book", "candle:A", "l2Book:A B", ":A"):
        assert not venue.router_add(router, name.encode(), INSTRUMENT), name
    assert not venue.router_add(router, b"trades:A", INSTRUMENT + 1)
    assert not venue.router_add(router, b"l2Book:" + b"x" * 65, INSTRUMENT)
    assert venue.router_add(router, b"l2Book-fast:C", 1)
    assert venue.router_add(router, b"l2Book:E", 2)
    assert not venue.router_add(router, b"l2Book:LAST", 3)


def test_data_of_another_kind_than_the_channels_is_broken() -> None:
    for data in (
        b'{"channel":"l2Book","data":[{"coin":"BTC"}]}',
        b'{"channel":"trades","data":{"coin":"BTC"}}',
    ):
        assert Part(data).meaning == BROKEN, data


def test_rules_are_those_that_the_documents_were_read_for() -> None:
    fields = [name for name, _ in ffi.typeof("struct tp_sync_rule").fields]
    for channel, row in (("l2Book", "l2Book"), ("l2Book-fast", "l2Book fast")):
        rule = venue.describe(f"{channel}:BTC".encode()).rule
        expected = dict.fromkeys(fields, 0) | VENUES[f"hyperliquid {row}"].rule
        assert {name: getattr(rule, name) for name in fields} == expected


# ---- best prices and trades ----------------------------------------------------------------------


def sample(meaning: str, number: int = 0) -> bytes:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    return str([one["text"] for one in rows if one["meaning"] == meaning][number]).encode()


def test_best_price_is_a_top_of_each_side_that_is_there() -> None:
    data = sample("TOP")
    part = Part(data)
    assert (part.meaning, part.decode(), depth.flags) == (TOP, OK, lib.TP_DEPTH_TOP)
    assert decoded_levels() == ([(8414300, 1025923)], [(8414400, 5066422)])
    assert depth.exchange_ns == 1_795_000_000_145_000_000
    assert Part(sample("TOP", 1)).decode() == OK
    assert decoded_levels() == ([], [(2376, 147306000)])
    assert Part(data.replace(b'"50.66422"', b'"0.0"')).decode() == OK
    assert decoded_levels() == ([(8414300, 1025923)], [])
    for bad in (b'"bbo":[null],"x":[', b'"bbo":[null,null,', b'"x":['):
        assert Part(data.replace(b'"bbo":[', bad)).decode() != OK, bad


def test_trades_of_a_message_are_all_of_it() -> None:
    data = sample("TRADES", 1)
    assert Part(data).decode() == OK
    rows = [(one.price, one.quantity, one.id, one.flags) for one in trades.trades[0:2]]
    assert trades.count == 2
    assert rows == [(8414400, 242000, 85392298469503, 0), (8415000, 1, 199015583806854, 0)]
    sold = sample("TRADES")
    assert Part(sold).decode() == OK
    (one,) = trades.trades[0 : trades.count]
    assert (one.flags, one.exchange_ns) == (lib.TP_TRADE_SELL, 1_795_000_000_100_000_000)
    for key in (b'"px"', b'"sz"', b'"side"', b'"time"'):
        assert Part(sold.replace(key, b'"x"')).decode() == UNKNOWN, key
    assert Part(sold.replace(b'"A"', b'"C"')).decode() == UNKNOWN
    second = data.rindex(b'"coin":"BTC"')
    assert Part(data[:second] + b'"coin":"ETH"' + data[second + 12 :]).decode() == UNKNOWN
    assert Part(b'{"channel":"trades","data":[]}').meaning == NO_MEANING


def answer(kind: str, method: str = "subscribe") -> bytes:
    said = {"method": method, "subscription": {"type": kind, "coin": COIN}}
    return json.dumps({"channel": "subscriptionResponse", "data": said}).encode()


def test_trades_that_a_subscription_begins_with_are_old_ones() -> None:
    router, data = make_router(f"l2Book:{COIN}"), sample("TRADES")
    assert Part(data, router).meaning == TRADES
    for said, is_history in (
        *((answer("trades"), True), (answer("trades", "unsubscribe"), False)),
        *((answer("bbo"), False), (answer("trades").replace(b"BTC", b"ETH"), False)),
    ):
        assert Part(said, router).meaning == ANSWER
        found = [Part(data, router).meaning for _ in range(3)]
        assert found == [NO_MEANING if is_history else TRADES, TRADES, TRADES], said


# ---- the venue's own frames ----------------------------------------------------------------------

if FRAMES.is_dir():  # beside the project; no test may be skipped in CI

    def test_real_books_of_2025_have_the_oracles_levels() -> None:
        """Thirty consecutive messages of BTC of 2025-01-26, their keys in the recorder's order."""
        router = make_router(f"l2Book:{COIN}")
        found = []
        for data in (FRAMES / "ws_btc_20250126_a.jsonl").read_bytes().splitlines():
            part = Part(data, router)
            found.append(part.meaning)
            assert part.decode((-1, -5)) == OK, data
            if part.meaning == BASE:
                assert check_against_the_oracle(data, (-1, -5)) == OK
                assert (depth.bid_count, depth.ask_count) == (20, 20)
        assert set(found) == {BASE, TRADES}
        assert len(found) == 30

    def test_real_frames_of_2026_are_read_at_the_scale_of_their_coin() -> None:
        """Prices have six digits behind the point, less those of sizes (szDecimals)."""
        scales = {"BTC": (-1, -5), "kPEPE": (-6, 0), "xyz:SP500": (-3, -3), "MATIC": (-5, -1)}
        router = make_router(*(f"l2Book:{coin}" for coin in scales))
        meanings = []
        for data in (FRAMES / "ws_mainnet_20260924.jsonl").read_bytes().splitlines():
            part = Part(data, router)
            meanings.append(part.meaning)
            if part.meaning not in (BASE, TOP, TRADES):
                continue
            said = json.loads(data)["data"]
            coin = (said[0] if isinstance(said, list) else said)["coin"]
            assert part.decode(scales[coin]) == OK, data
        assert meanings.count(BASE) == 4
        assert {TOP, TRADES, ANSWER} < set(meanings)
