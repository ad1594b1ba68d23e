"""Binance's SBE streams: C's reader against `struct`, and what differs from the JSON streams."""

from __future__ import annotations

import base64
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.message_shape import learn, shape_of
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venue import BaseSource, Verification
from tickpath.proto.venues.binance import requests as spot
from tickpath.proto.venues.binance_sbe.messages import BEST, DIFF, TRADES, WHOLE, pack, unpack
from tickpath.proto.venues.binance_sbe.settings import BinanceSbeSettings
from tickpath.proto.venues.binance_sbe.transcript import TRANSCRIPT
from tickpath.proto.venues.binance_sbe.venue import VENUE
from tickpath.proto.venues.decoder import find_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tickpath.proto.venues.binance_sbe.messages import Template

FRAMES = Path(__file__).resolve().parents[3] / "shared/reference/data/venues/binance_sbe"
INSTRUMENT = 7
SCALE = (-2, -8)
OK = int(lib.TP_DECODE_OK)
MEANINGS = {
    name: int(getattr(lib, f"TP_MEANING_{name}"))
    for name in ("UNKNOWN", "BROKEN", "BASE", "DELTA", "TOP", "TRADES", "NOTICE")
}
INT64_MAX = 2**63 - 1
T_US = 1_795_000_000_100_000

c: Any = find_decoder("binance_sbe")
depth = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")
Levels = list[tuple[int, int]]


def make_router(*channels: str) -> Any:
    memory = ffi.new("uint64_t[]", c.router_size(8, 1) // 8 + 1)
    c.router_init(memory, 8, 1)
    for name in channels:
        assert c.router_add(memory, name.encode(), INSTRUMENT), name
    return memory


ROUTER = make_router("btcusdt@depth", "ethusdt@depth20")


class Part:
    """A message at the very end of its memory, and what is decoded of it."""

    def __init__(self, data: bytes, scale: tuple[int, int] = SCALE, router: Any = ROUTER) -> None:
        self._data = ffi.new("uint8_t[]", data)
        message = {"data": self._data, "size": len(data), "opcode": 2}
        route = ffi.new("struct tp_route *")
        c.route(router, ffi.new("struct tp_venue_message *", message), 0, route)
        self.meaning = next(name for name, value in MEANINGS.items() if value == route.meaning)
        self.misfit = ffi.new("struct tp_misfit *")
        what = {"data": self._data, "size": len(data), "meaning": route.meaning}
        what |= {"scale": scale, "misfit": self.misfit}
        self.body = ffi.new("struct tp_body *", what)
        assert route.meaning <= 1 or (route.body_offset, route.body_size) == (0, len(data))

    def decode(self) -> int:
        if self.meaning == "TRADES":
            return int(c.decode_trades(self.body, trades))
        return int(c.decode_depth(self.body, depth))

    def number(self) -> str:
        """Return the number that did not fit."""
        space = ffi.new("uint8_t[]", int(lib.TP_DECIMAL_SPACE))
        text = lib.tp_misfit_text(self.misfit, space)
        return ffi.buffer(text.at, text.size)[:].decode()


def levels(some: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
    return [{"price": price, "qty": quantity} for price, quantity in some]


def diff(
    bids: Levels, asks: Levels, *, numbers: tuple[int, int] = (5, 7), at: tuple[int, int] = SCALE
) -> bytes:
    fields = {
        **{"eventTime": T_US, "firstBookUpdateId": numbers[0], "lastBookUpdateId": numbers[1]},
        **{"priceExponent": at[0], "qtyExponent": at[1]},
    }
    return pack(DIFF, fields, {"bids": levels(bids), "asks": levels(asks)}, "BTCUSDT")


def traded(*rows: tuple[int, int, int, int], at: tuple[int, int] = SCALE) -> bytes:
    entries = [dict(zip(("id", "price", "qty", "isBuyerMaker"), one, strict=True)) for one in rows]
    fields = {"eventTime": T_US + 9, "transactTime": T_US}
    fields |= {"priceExponent": at[0], "qtyExponent": at[1]}
    return pack(TRADES, fields, {"trades": entries}, "BTCUSDT")


def sides() -> tuple[Levels, Levels]:
    bids, asks = (
        [(side[i].price, side[i].quantity) for i in range(count)]
        for side, count in ((depth.bids, depth.bid_count), (depth.asks, depth.ask_count))
    )
    return bids, asks


def with_header(data: bytes, **fields: int) -> bytes:
    names = ("blockLength", "templateId", "schemaId", "version")
    header = dict(zip(names, struct.unpack_from("<HHHH", data), strict=True)) | fields
    return struct.pack("<HHHH", *header.values()) + data[8:]


def newer(data: bytes) -> bytes:
    """Write a message as a version to come might: longer blocks, and something behind."""
    (length,) = struct.unpack_from("<H", data)
    parts = [with_header(data, blockLength=length + 3, version=1)[: 8 + length], b"\xee" * 3]
    at = 8 + length
    for _ in range(2):
        stride, count = struct.unpack_from("<HH", data, at)
        at += 4
        parts.append(struct.pack("<HH", stride + 5, count))
        for _ in range(count):
            parts += [data[at : at + stride], b"\xff" * 5]
            at += stride
    return b"".join((*parts, data[at:], b"\x02hi"))


# ---- numbers -------------------------------------------------------------------------------------


def test_best_prices_of_the_schema_as_bytes() -> None:
    """Built from the published schema by somebody else's hand: 117145.48 x 31.21."""
    data = bytes.fromhex(
        "320011270100000040f82d8ded3b06007940e51700000000fef8f4bfb2000000000040ae06ba00000000"
        "f5bfb20000000000803c5af20000000007" + b"BTCUSDT".hex()
    )
    part = Part(data)
    assert (part.meaning, part.decode()) == ("TOP", OK)
    assert sides() == ([(11714548, 3121000000)], [(11714549, 4066000000)])
    assert (depth.last_version, depth.flags) == (400900217, lib.TP_DEPTH_TOP)


def test_change_is_read_to_the_instruments_scale() -> None:
    data = diff([(9287758000000, 350000000), (9287710000000, 0)], [(9287759000000, 1)], at=(-8, -8))
    part = Part(data)
    assert (part.meaning, part.decode()) == ("DELTA", OK)
    assert sides() == ([(9287758, 350000000), (9287710, 0)], [(9287759, 1)])
    assert (depth.first_version, depth.last_version, depth.previous_version) == (5, 7, 0)
    assert (depth.exchange_ns, depth.flags) == (T_US * 1000, 0)


exponents = st.one_of(st.integers(-10, 2), st.integers(-128, 127))
wild = st.one_of(
    st.integers(0, 10**6),
    st.builds(lambda n, power: n * 10**power, st.integers(0, 999), st.integers(0, 15)),
    st.integers(-1, INT64_MAX),
)
some_levels = st.lists(st.tuples(wild, wild), max_size=4)


def expected(rows: Levels, at: tuple[int, int], scale: tuple[int, int]) -> Levels | None:
    found = []
    for row in rows:
        values = [n * Fraction(10) ** (has - to) for n, has, to in zip(row, at, scale, strict=True)]
        if not all(one.denominator == 1 and 0 <= one <= INT64_MAX for one in values):
            return None
        found.append((int(values[0]), int(values[1])))
    return found


@given(some_levels, some_levels, st.tuples(exponents, exponents), st.booleans())
def test_change_is_what_struct_and_fractions_make_of_it(
    bids: Levels, asks: Levels, at: tuple[int, int], is_newer: bool
) -> None:
    data = diff(bids, asks, at=at)
    data = newer(data) if is_newer else data
    read = unpack(data)
    assert read is not None
    assert [(one["price"], one["qty"]) for one in read.groups["bids"]] == bids
    part = Part(data)
    wanted = [expected(one, at, SCALE) for one in (bids, asks)]
    status = part.decode()
    assert (status == OK) == (None not in wanted)
    if status == OK:
        assert list(sides()) == wanted
    assert c.read_versions(part.body, depth)
    assert (depth.first_version, depth.last_version) == (5, 7)


def limits(up: int) -> list[int]:
    """Return mantissas at which a number may or may not become one of `up` powers of ten more."""
    power = 10 ** abs(up)
    most = INT64_MAX // power if up >= 0 else INT64_MAX // power * power
    ones = (1 << most.bit_length() - 1) - 1 if most else 0
    near = (most, most + power, most + 1, ones // power * power, 7 * power, power // 2, -power)
    twos = (n << abs(up) for n in range(1, 6))  # of a power of ten divided by its twos alone
    return [one for one in (0, *near, *twos) if -(2**63) <= one <= INT64_MAX]


def hold_to_fractions(bids: Levels, asks: Levels, at: tuple[int, int]) -> None:
    """Decode a change, and compare it with what it must be."""
    scale = (-9, -9)
    wanted = [expected(one, at, scale) for one in (bids, asks)]
    part = Part(diff(bids, asks, at=at), scale)
    assert (part.decode() == OK) == (None not in wanted), (bids, asks, at)
    assert None in wanted or list(sides()) == wanted


def test_numbers_at_the_limits_of_each_pair_of_exponents() -> None:
    """Several at once are joined before they are judged: near a limit each counts by itself."""
    for up in range(-19, 20):
        for mantissa in limits(up):
            many = [(0, 1), (0, 2), (mantissa, 3)]
            for rows in (many[2:], many[1:], many):
                hold_to_fractions(rows, [], (-9 + up, -9))
                hold_to_fractions([], rows, (-9 + up, -9))
                hold_to_fractions(rows, [(0, 9)], (-9 + up, -9))
            hold_to_fractions([(1, mantissa), (2, 0)], [], (-9, -9 + up))


@pytest.mark.parametrize(
    ("level", "at", "status", "number"),
    [
        ((12345, 1), (-3, -8), "TOO_FINE", "12345e-3"),
        ((1, 5), (-2, -9), "TOO_FINE", "5e-9"),
        ((1, INT64_MAX), (-2, -7), "TOO_LARGE", f"{INT64_MAX}e-7"),
        ((-5, 1), (-2, -8), "BAD_NUMBER", "-5e-2"),
        ((1, 1), (-2, -19), "BAD_NUMBER", "1e-19"),
    ],
)
def test_number_that_does_not_fit_is_named(
    level: tuple[int, int], at: tuple[int, int], status: str, number: str
) -> None:
    zero = (0, 0)
    for data in (diff([zero, level], [], at=at), diff([], [zero, level], at=at)):
        part = Part(data)
        assert part.decode() == getattr(lib, f"TP_DECODE_{status}")
        assert part.number() == number
    part = Part(traded((1, *level, 0), at=at))
    assert part.decode() == getattr(lib, f"TP_DECODE_{status}")
    assert part.number() == number


@pytest.mark.parametrize(
    ("numbers", "is_sound"),
    [((7, 7), True), ((8, 7), False), ((-1, 7), False), ((0, INT64_MAX), True)],
)
def test_numbers_out_of_order_or_below_nothing_are_refused(
    numbers: tuple[int, int], is_sound: bool
) -> None:
    part = Part(diff([(1, 1)], [], numbers=numbers))
    assert (part.decode() == OK) == is_sound
    assert bool(c.read_versions(part.body, depth)) == is_sound


@pytest.mark.parametrize("time_us", [-1, INT64_MAX // 1000 + 1])
def test_times_that_no_clock_has_are_refused(time_us: int) -> None:
    for data, offsets in ((diff([(1, 1)], []), (8,)), (traded((1, 1, 1, 0)), (8, 16))):
        for at in offsets:
            changed = data[:at] + struct.pack("<q", time_us) + data[at + 8 :]
            assert Part(changed).decode() == lib.TP_DECODE_BAD_NUMBER


def test_as_many_levels_as_are_decoded_and_one_more() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    rows = [(n, n) for n in range(most)]
    assert Part(diff(rows, [])).decode() == OK
    assert sides()[0] == rows
    for data in (diff([*rows, (1, 1)], []), diff([], [*rows, (1, 1)])):
        assert Part(data).decode() == lib.TP_DECODE_TOO_MANY


def test_whole_book_is_a_base_of_its_number() -> None:
    fields = {"eventTime": T_US, "bookUpdateId": 160, "priceExponent": -2, "qtyExponent": -8}
    book = {"bids": levels([(11, 1), (10, 2)]), "asks": levels([(12, 3)])}
    part = Part(pack(WHOLE, fields, book, "ETHUSDT"))
    assert (part.meaning, part.decode()) == ("BASE", OK)
    assert sides() == ([(11, 1), (10, 2)], [(12, 3)])
    assert (depth.first_version, depth.last_version) == (160, 160)
    assert depth.flags == lib.TP_DEPTH_BASE
    assert not c.read_versions(part.body, depth)


def test_body_of_another_kind_than_its_channel_is_unknown() -> None:
    part = Part(diff([(1, 1)], []))
    for name in ("BASE", "TOP", "TRADES", "UNKNOWN"):
        part.body.meaning = MEANINGS[name]
        assert c.decode_depth(part.body, depth) == lib.TP_DECODE_UNKNOWN
    assert c.decode_trades(part.body, trades) == lib.TP_DECODE_UNKNOWN


def test_best_side_of_nothing_is_empty() -> None:
    names = ("bidPrice", "bidQty", "askPrice", "askQty")
    fields = {"eventTime": T_US, "bookUpdateId": 9, "priceExponent": -2, "qtyExponent": -8}
    part = Part(pack(BEST, fields | dict(zip(names, (0, 0, 12, 3), strict=True)), {}, "BTCUSDT"))
    assert part.decode() == OK
    assert sides() == ([], [(12, 3)])


def test_trades_of_a_message_are_all_there_with_who_took() -> None:
    part = Part(traded((41, 9287759, 1000000, 1), (42, 9287760, 5, 0), (43, 9287761, 6, 255)))
    assert (part.meaning, part.decode()) == ("TRADES", OK)
    assert (trades.count, trades.exchange_ns) == (3, (T_US + 9) * 1000)
    found = [(one.id, one.price, one.quantity, one.flags) for one in trades.trades[0:3]]
    sell, sideless = int(lib.TP_TRADE_SELL), int(lib.TP_TRADE_SIDELESS)
    assert found == [
        (41, 9287759, 1000000, sell),
        (42, 9287760, 5, 0),
        (43, 9287761, 6, sideless),
    ]
    assert {one.exchange_ns for one in trades.trades[0:3]} == {T_US * 1000}


def test_trades_that_are_none_are_refused() -> None:
    assert Part(traded((1, 1, 1, 2))).decode() == lib.TP_DECODE_BAD_NUMBER
    assert Part(traded((-1, 1, 1, 0))).decode() == lib.TP_DECODE_BAD_NUMBER
    most = int(lib.TP_TRADE_COUNT_MAX)
    assert Part(traded(*[(1, 1, 1, 0)] * most)).decode() == OK
    assert trades.count == most
    assert Part(traded(*[(1, 1, 1, 0)] * (most + 1))).decode() == lib.TP_DECODE_TOO_MANY


# ---- routing -------------------------------------------------------------------------------------


def test_message_of_another_schema_or_template_is_nobodys() -> None:
    data = diff([(1, 1)], [])
    for fields in ({"schemaId": 3}, {"templateId": 10004}, {"templateId": 9999}):
        assert Part(with_header(data, **fields)).meaning == "UNKNOWN"
    assert Part(data).meaning == "DELTA"


def test_newer_version_is_read_by_passing_over_what_is_new() -> None:
    data = diff([(1, 2), (3, 4)], [(5, 6)])
    part = Part(newer(data))
    assert (part.meaning, part.decode()) == ("DELTA", OK)
    assert sides() == ([(1, 2), (3, 4)], [(5, 6)])


def test_what_our_own_version_does_not_have_is_broken() -> None:
    data = diff([(1, 2)], [])
    assert Part(data + b"\0").meaning == "BROKEN"
    assert Part(with_header(data + b"\0", version=1)).meaning == "DELTA"
    assert Part(with_header(data, blockLength=25)).meaning == "BROKEN"
    short = data[:34] + struct.pack("<HH", 15, 1) + data[38:]
    assert Part(short).meaning == "BROKEN"
    for size in range(8, len(data)):
        assert Part(data[:size]).meaning == "BROKEN", size
        assert Part(with_header(data[:size], version=1)).meaning == "BROKEN", size


def test_group_of_more_than_its_message_is_broken() -> None:
    """Lengths that overflow where they are multiplied in 32 bits."""
    data = traded((1, 1, 1, 0))
    for stride, count in ((25, 2), (0xFFFF, 0xFFFFFFFF), (0x8000, 0x20000), (0, 0xFFFFFFFF)):
        for behind in (data[32:], data[57:]):
            changed = data[:26] + struct.pack("<HI", stride, count) + behind
            assert Part(changed).meaning == "BROKEN", (stride, count)


@given(st.integers(0, 200), st.integers(0, 255), some_levels)
def test_changed_byte_is_read_as_struct_reads_it(at: int, value: int, bids: Levels) -> None:
    data = bytearray(diff(bids, [(1, 1)]))
    data[at % len(data)] = value
    part, read = Part(bytes(data)), unpack(bytes(data))
    if read is None:
        assert part.meaning in ("BROKEN", "UNKNOWN")
    elif read.template is DIFF and read.symbol == "BTCUSDT":
        assert part.meaning == "DELTA"
        if part.decode() == OK:
            at_ = (read.fields["priceExponent"], read.fields["qtyExponent"])
            rows = [[(one["price"], one["qty"]) for one in side] for side in read.groups.values()]
            assert list(sides()) == [expected(side, at_, SCALE) for side in rows]


def test_streams_of_a_symbol_are_known_by_its_book() -> None:
    router = make_router("btcusdt@depth")
    assert Part(traded((1, 1, 1, 0)), router=router).meaning == "TRADES"
    other = make_router("ethusdt@depth")
    assert Part(traded((1, 1, 1, 0)), router=other).meaning == "UNKNOWN"
    assert Part(diff([], []), router=make_router("btcusdt@depth20")).meaning == "UNKNOWN"
    assert Part(diff([], []), router=make_router("btcusdt@trade")).meaning == "UNKNOWN"


def test_book_has_one_channel() -> None:
    router = make_router("btcusdt@depth")
    for name in ("btcusdt@depth20", "BTCUSDT@depth", "btcusdt@depth@100ms", "@depth", "a b@depth"):
        assert not c.router_add(router, name.encode(), INSTRUMENT), name
    assert c.router_add(router, b"btcusdt@bestBidAsk", INSTRUMENT)


# ---- Python's side -------------------------------------------------------------------------------


def test_instruments_are_spots_own_under_the_same_canonical_name() -> None:
    row = {
        **{"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"},
        **{"baseAssetPrecision": 8, "quotePrecision": 8},
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "stepSize": "0.00001"},
        ],
    }
    data = json.dumps({"symbols": [row, {"symbol": 5}]}).encode()
    mine, theirs = VENUE.parse_instruments(data), spot.parse_instruments(data)
    assert mine.left_out == theirs.left_out
    own, other = mine.instruments["BTCUSDT"], theirs.instruments["BTCUSDT"]
    assert (own.venue, other.venue) == ("binance_sbe", "binance")
    assert own.name == other.name == parse_symbol("BTC/USDT")
    assert (own.price_exponent, own.quantity_exponent) == (-2, -5)


def test_symbol_whose_capitals_a_streams_name_does_not_show_is_refused() -> None:
    VENUE.check_symbol("币安人生USDT")
    for symbol in ("ÄUSDT", "ΣUSDT"):
        with pytest.raises(ValueError, match="no capitals but A to Z"):
            VENUE.check_symbol(symbol)


def test_whole_books_come_in_band_and_are_proved_by_rest() -> None:
    whole = BinanceSbeSettings(book="depth20", trades=True, best=True)
    assert VENUE.base_from(BinanceSbeSettings()) is BaseSource.REST
    assert VENUE.base_from(whole) is BaseSource.IN_BAND
    assert VENUE.verification(whole) is Verification.REST
    assert VENUE.channels("BTCUSDT", whole) == (
        *("btcusdt@depth20", "btcusdt@trade", "btcusdt@bestBidAsk"),
    )


def test_key_is_named_by_its_place_and_never_by_itself() -> None:
    place = "file:/etc/tickpath/credentials/binance"
    settings = BinanceSbeSettings(api_key=place)
    settings.check()
    endpoint = VENUE.endpoint("btcusdt@depth", settings)
    assert endpoint.credentials == (("X-MBX-APIKEY", place),)
    assert endpoint.headers == ()
    assert VENUE.lacks(settings) == ""
    assert "Ed25519" in VENUE.lacks(BinanceSbeSettings())
    for text in ("0kEy" * 16, "file:key", "env:1", "credential:../x", "env:A B"):
        with pytest.raises(ValueError, match="api_key names no place") as raised:
            BinanceSbeSettings(api_key=text).check()
        assert text not in str(raised.value)


def test_canary_names_a_newer_version() -> None:
    data = diff([(1, 1)], [(2, 2)])
    contract = learn([data], VENUE.unpacked)
    assert contract is not None
    shape = shape_of(data, VENUE.unpacked)
    assert shape is not None
    assert contract.differences(shape) == []
    shape = shape_of(newer(data), VENUE.unpacked)
    assert shape is not None
    words = contract.differences(shape)
    assert "new field schema 1 version 1 (an object)" in words


def test_transcript_names_the_stream_of_each_message() -> None:
    assert TRANSCRIPT.channels_of(diff([], [])) == ("btcusdt@depth",)
    assert TRANSCRIPT.channels_of(traded()) == ("btcusdt@trade",)
    assert TRANSCRIPT.channels_of(b'{"stream":"btcusdt@depth","data":{}}') == ()
    assert TRANSCRIPT.symbol_of("btcusdt@depth20") == "BTCUSDT"


def constructed() -> list[bytes]:
    """Return messages that others built from the schema, where they are at hand."""
    files = sorted(FRAMES.glob("stream_*_constructed.hex"))
    return [bytes.fromhex(line) for one in files for line in one.read_text().split()]


def test_messages_that_others_built_of_real_numbers_are_read_as_struct_reads_them() -> None:
    names: dict[str, Template] = {}
    for data in constructed():
        read = unpack(data)
        assert read is not None
        names[read.template.name] = read.template
        book = "depth20" if read.template is WHOLE else "depth"
        router = make_router(f"{read.symbol.lower()}@{book}")
        at = (read.fields["priceExponent"], read.fields["qtyExponent"])
        part = Part(data, scale=at, router=router)
        assert part.decode() == OK
        if "bids" in read.groups:
            rows = [[(one["price"], one["qty"]) for one in side] for side in read.groups.values()]
            assert list(sides()) == rows
    assert len(names) in (0, 4)


def test_samples_are_of_our_version_or_odd() -> None:
    lines = Path(__file__).parents[2] / "proto/venues/binance_sbe/samples.ndjson"
    versions = set()
    for line in map(json.loads, lines.read_text().splitlines()):
        data = base64.b64decode(line.get("base64", ""))
        if len(data) >= 8 and not line.get("odd"):
            versions.add(struct.unpack_from("<HH", data, 4))
    assert versions == {(1, 0)}
