"""Bitget's decoder against msgspec and decimal: the same levels and numbers, or refused.

The oracle reads the same bytes into Decimal, which never becomes floating point; which message is
refused follows from the numbers alone. Frames of the venue are read where they lie beside the
project: they have no licence to be copied into it.
"""

from __future__ import annotations

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

SYMBOL = "BTCUSDT"
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
BASE, DELTA, TOP, TRADES = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("BASE", "DELTA", "TOP", "TRADES")
)
NO_MEANING, BROKEN = int(lib.TP_MEANING_UNKNOWN), int(lib.TP_MEANING_BROKEN)
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "proto/venues/bitget/samples.ndjson"
FRAMES = ROOT.parent / "shared/reference/data/venues/bitget"

spot: Any = find_decoder("bitget")
usdt: Any = find_decoder("bitget_usdt")

make_router = partial(decoding.make_router, spot)
ROUTER = make_router(
    *(f"books:{SYMBOL}", f"uta.publicTrade:{SYMBOL}", "books5:ETHUSDT", "books15:XRPUSDT"),
    *("uta.books:SOLUSDT", "uta.books50:DOGEUSDT", "books:MAVUSDT"),
)


class Part(decoding.RoutedPart):
    """A message of these channels."""

    def __init__(self, data: bytes, router: Any = ROUTER, venue: Any = spot) -> None:
        super().__init__(data, venue, router)


# ---- the oracle ----------------------------------------------------------------------------------


class Book(msgspec.Struct):
    seq: int
    pseq: int = 0
    asks: list[list[Decimal]] = []
    bids: list[list[Decimal]] = []
    a: list[list[Decimal]] = []
    b: list[list[Decimal]] = []


class Message(msgspec.Struct):
    data: list[Book]
    action: str = ""


oracle = msgspec.json.Decoder(Message, strict=False)


def expected_numbers(book: Book, *, is_base: bool) -> tuple[int, int, int]:
    if is_base:
        return book.seq, book.seq, 0
    return min(book.pseq + 1, book.seq), book.seq, book.pseq


def check_against_the_oracle(data: bytes, scale: tuple[int, int] = SCALE) -> int:
    """Hold a message to what the oracle makes of it."""
    part = Part(data)
    status = part.decode(scale) if part.meaning in (BASE, DELTA) else BROKEN
    try:
        said = oracle.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # That it is UTF-8, and that what stands behind the book is its own kind, is not looked at.
        return status
    if status != OK or len(said.data) != 1:
        return status
    (book,) = said.data
    sides = (expected_side(book.bids or book.b, scale), expected_side(book.asks or book.a, scale))
    is_base = said.action == "snapshot"
    assert decoded_levels() == sides, data
    assert numbers() == expected_numbers(book, is_base=is_base), data
    assert depth.flags == (lib.TP_DEPTH_BASE if is_base else 0), data
    return status


# ---- books ---------------------------------------------------------------------------------------

plain = st.builds(
    lambda whole, digits: f"{whole}" + (f".{digits}" if digits else ""),
    st.integers(0, 10**11),
    st.text("0123456789", max_size=9),
)
odd = st.sampled_from(
    [
        *("0", "0.0", "1e-08", "1E-8", "1e3", "2.2e3", "1e400", "1e-400", "9" * 40),
        *("0.000000000000", "1.500000000000", "92233720368547758.07", "92233720368547758.08"),
        *("0.000000001", "1e+2", "5.06E1", "12345678.12345678", "123456789.123456789"),
    ]
)
level = st.tuples(plain | odd, plain | odd)
sides = st.lists(level, max_size=6)
spaces = st.sampled_from(["", "", "", " ", "\n\t"])
counts = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20))


def write_side(side: Any, space: str) -> str:
    rows = [f'["{price}",{space}"{size}"]' for price, size in side]
    return f"[{space}{','.join(rows)}{space}]"


def write(
    bids: Any,
    asks: Any,
    *,
    space: str = "",
    action: str = "update",
    at: tuple[int, int] = (10, 11),
) -> bytes:
    """Write a message of the classic WebSocket."""
    previous, number = at
    item = (
        f'{{"asks":{write_side(asks, space)},{space}"bids":{write_side(bids, space)},'
        f'"ts":"1790358811400","seq":{number},{space}"pseq":{previous}}}'
    )
    arg = f'"arg":{{"instType":"SPOT","channel":"books","instId":"{SYMBOL}"}}'
    return f'{{"action":"{action}",{arg},"data":{space}[{item}],"ts":1790358811401}}'.encode()


def write_uta(bids: Any, asks: Any, *, space: str = "", at: tuple[int, int] = (10, 11)) -> bytes:
    """Write one of the unified WebSocket."""
    previous, number = at
    item = (
        f'{{"a":{write_side(asks, space)},{space}"b":{write_side(bids, space)},'
        f'"seq":{number},{space}"pseq":{previous},"ts":"1790358811400","maxdepth":"1000"}}'
    )
    arg = '"arg":{"instType":"spot","topic":"books","symbol":"SOLUSDT"}'
    return f'{{"action":"update",{arg},"data":{space}[{item}],"ts":1790358811401}}'.encode()


forms = st.tuples(st.booleans(), spaces)


@given(sides, sides, forms, st.tuples(counts, counts), st.integers(-5, 0))
def test_book_has_the_oracles_levels_or_is_refused(
    bids: Any, asks: Any, form: tuple[bool, str], at: tuple[int, int], exponent: int
) -> None:
    is_uta, space = form
    data = (write_uta if is_uta else write)(bids, asks, space=space, at=at)
    scale = (exponent, -8)
    status = check_against_the_oracle(data, scale)
    (said,) = oracle.decode(data).data
    read = (expected_side(one, scale) for one in (said.bids, said.asks, said.a, said.b))
    assert (status == OK) == (None not in read), data
    if status == OK:
        assert depth.exchange_ns == 1_790_358_811_400_000_000


@pytest.mark.parametrize("make", [write, write_uta])
def test_book_of_every_changed_byte_is_the_oracles_or_refused(make: Any) -> None:
    rng = random.Random(20261130)  # not a secret
    data = make([("62802.5", "0.02987767"), ("62800.7", "0")], [("62802.6", "1.09074394")] * 3)
    accepted = 0
    for at in range(len(data)):
        for new in {ord(c) for c in '0159.,-+eE"{}[]: \\l'} | {rng.randrange(256)}:
            changed = data[:at] + bytes([new]) + data[at + 1 :]
            accepted += check_against_the_oracle(changed) == OK
        cut = data[:at]
        assert Part(cut).meaning == BROKEN or Part(cut).decode() != OK
    assert accepted > 400


@pytest.mark.parametrize("number", ["1.", ".5", "+1", "-1", "1e", "0x1", "NaN", "", " 1"])
def test_book_with_what_is_no_plain_number_is_refused(number: str) -> None:
    for one in ((number, "1"), ("1", number)):
        for many in (1, 5):  # read in one go, and near the end
            part = Part(write([one] + [("1", "1")] * many, []))
            assert (part.meaning, part.decode()) != (DELTA, OK), one


def test_numbers_of_a_message_say_what_came_before_it() -> None:
    for make in (write, write_uta):
        for at, expected in (
            *(((10, 15), (11, 15, 10)), ((15, 15), (15, 15, 15)), ((15, 3), (3, 3, 15))),
            *(((0, 1), (1, 1, 0)), ((2**64 - 2, 2**64 - 1), (2**64 - 1, 2**64 - 1, 2**64 - 2))),
            (  # beyond 2^53, as contracts' were seen
                (1483653649371725838, 1483653649791156272),
                (1483653649371725839, 1483653649791156272, 1483653649371725838),
            ),
        ):
            assert Part(make([], [], at=at)).decode() == OK
            assert (numbers(), depth.flags) == (expected, 0)
        assert Part(make([], [], at=(1, 2**64))).decode() == lib.TP_DECODE_BAD_NUMBER
        assert Part(make([], [], at=(-2, 5))).decode() == lib.TP_DECODE_BAD_NUMBER


def test_numbers_and_times_may_be_texts_or_not() -> None:
    """The unified documents call numbers texts; captures have them bare."""
    data = write([("5", "1")], [])
    for old, new in ((b'"seq":11', b'"seq":"11"'), (b'"pseq":10', b'"pseq":"10"')):
        assert Part(data.replace(old, new)).decode() == OK
        assert numbers() == (11, 11, 10)
    assert Part(data.replace(b'"1790358811400"', b"1790358811400")).decode() == OK
    assert depth.exchange_ns == 1_790_358_811_400_000_000
    far = data.replace(b'"1790358811400"', b'"18446744073710"')
    assert Part(far).decode() == lib.TP_DECODE_BAD_NUMBER, "it has no nanoseconds of 64 bits"
    # Longer than is read at a glance, whichever way.
    for time in (b'"17903588114000001"', b'""', b'"x"'):
        assert Part(data.replace(b'"1790358811400"', time)).decode() != OK, time


def test_snapshot_is_one_by_its_action() -> None:
    by_action = write([("1", "1")], [], action="snapshot", at=(0, 9))
    for data in (by_action, by_action.replace(b'"pseq":0', b'"pseq":8')):
        part = Part(data)
        assert (part.meaning, part.decode()) == (BASE, OK)
        assert (depth.flags, numbers()) == (lib.TP_DEPTH_BASE, (9, 9, 0)), data
    assert Part(by_action.replace(b',"pseq":0', b"")).decode() == OK
    other = Part(by_action.replace(b'"snapshot"', b'"partial"'))
    assert other.meaning == NO_MEANING, "neither all of a book nor a change"
    assert Part(by_action.replace(b'"action":"snapshot",', b"")).meaning == NO_MEANING


@pytest.mark.parametrize("key", ["asks", "bids", "seq", "pseq"])
def test_change_that_lacks_a_key_is_none_that_the_venue_documents(key: str) -> None:
    """Until 2026 a checksum stood where the number before it is: nothing would be followed."""
    data = write([("1", "1")], []).replace(f'"{key}"'.encode(), b'"checksum"')
    assert Part(data).decode() == UNKNOWN


def test_message_of_two_books_is_refused() -> None:
    data = write([("1", "1")], [])
    end = data.index(b'],"ts":17')
    item = data[data.index(b"[{") + 1 : end]
    assert Part(data[:end] + b"," + item + data[end:]).decode() == UNKNOWN
    assert Part(data.replace(item, b"")).decode() == UNKNOWN


def test_keys_may_come_in_any_order_and_more_of_them() -> None:
    data = write([("5", "1")], [("6", "2")])
    array = data[data.index(b"[{") : data.index(b',"ts":17')]
    arg = b'"arg":{"instId":"BTCUSDT","x":1,"channel":"books","instType":"SPOT"}'
    for other in (
        b'{"data":' + array + b',"action":"update",' + arg + b"}",
        b'{"x":[1,{"data":[]}],' + arg + b',"data":' + array + b',"action":"update"}',
        data[:-1] + b',"more":{"data":[1]}}',
        data[:-1] + b' , "asks":[] } ',
        data.replace(b'"pseq":10', b'"pseq":10,"checksum":0'),
        data.replace(b'"pseq":10', b'"pseq":10,"maxDepth":"50"'),
    ):
        part = Part(other)
        assert (part.meaning, part.instrument, part.decode()) == (DELTA, INSTRUMENT, OK), other
        assert decoded_levels() == ([(500, 10**8)], [(600, 2 * 10**8)])
        assert numbers() == (11, 11, 10)


@pytest.mark.parametrize("make", [write, write_uta])
def test_message_with_something_behind_it_or_a_text_without_its_end_is_refused(make: Any) -> None:
    data = make([("5", "1")], [("6", "2")])
    assert Part(data + b" \n").decode() == OK
    for tail in (b"x", b"}", b",", b"1", b'{"data":[]}'):
        assert Part(data + tail).decode() == lib.TP_DECODE_MALFORMED, tail
    for character in (b"x", b"1", b" ", b","):
        cut = data.replace(b'1790358811400"', b"1790358811400" + character)
        assert Part(cut).decode() != OK, cut


def test_side_that_stands_twice_is_the_last_one() -> None:
    data = write([("5", "1")], []).replace(b'"asks":[]', b'"bids":[["4","9"]],"asks":[]')
    assert Part(data).decode() == OK
    assert decoded_levels() == ([(500, 10**8)], [])


def test_key_with_an_escape_is_refused() -> None:
    data = write([("5", "1")], [])
    assert Part(data.replace(b'"seq"', b'"\\u0073eq"')).decode() == lib.TP_DECODE_MALFORMED


def test_more_levels_than_a_message_can_have_are_refused() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    assert Part(write([("1", "1")] * most, [])).decode() == OK
    assert Part(write([("1", "1")] * (most + 1), [])).decode() == lib.TP_DECODE_TOO_MANY


# ---- routing -------------------------------------------------------------------------------------


def test_symbols_and_channels_are_compared_whole() -> None:
    long = "A" * 31 + "B" * 33
    assert len(long) == 64
    router = make_router("books:AB", f"books:{long}", "books:牛来USDT")
    data = write([("1", "1")], [])
    for symbol, is_ours in (
        *(("AB", True), (long, True), ("牛来USDT", True), ("BTCUSDT", False), ("", False)),
        *((long + "B", False), (long[:-1], False), ("ab", False), ("A\\u0042", False)),
    ):
        part = Part(data.replace(SYMBOL.encode(), symbol.encode()), router)
        assert (part.meaning == DELTA) == is_ours, symbol
    for channel in ("books5", "book", "bookss", "books50", "uta.books", "", "x" * 40):
        part = Part(data.replace(b'"books"', f'"{channel}"'.encode()))
        assert part.meaning == NO_MEANING, channel


def test_message_of_another_market_or_generation_is_nobodys() -> None:
    """One WebSocket has all markets, and each lists BTCUSDT."""
    for data, ours in ((write([("1", "1")], []), SYMBOL), (write_uta([("1", "1")], []), "SOLUSDT")):
        for shifted in (b"", b" "):  # at a glance, and key by key
            own = Part(shifted + data)
            assert (own.meaning, own.instrument) == (DELTA, INSTRUMENT), ours
            for old, new in (
                *((b'"SPOT"', b'"USDT-FUTURES"'), (b'"spot"', b'"usdt-futures"')),
                *((b'"SPOT"', b'"spot"'), (b'"spot"', b'"SPOT"'), (b'"instType"', b'"x"')),
                *((b'"channel"', b'"topic"'), (b'"topic"', b'"channel"')),
            ):
                if old in data:
                    part = Part(shifted + data.replace(old, new))
                    assert part.meaning == NO_MEANING, (old, new)
            assert Part(shifted + data, venue=usdt).meaning == NO_MEANING
    futures = write([("1", "1")], []).replace(b'"SPOT"', b'"USDT-FUTURES"')
    assert Part(futures, venue=usdt).meaning == DELTA


def test_other_book_of_our_symbol_is_nobodys() -> None:
    five, whole, uta = sample("BASE", 1), sample("BASE"), sample("BASE", 3)
    for data, ours, other in (
        (five, "books5:ETHUSDT", "books:ETHUSDT"),
        (whole, f"books:{SYMBOL}", f"books5:{SYMBOL}"),
        (whole, f"books:{SYMBOL}", f"uta.books:{SYMBOL}"),
        (uta, "uta.books:SOLUSDT", "books:SOLUSDT"),
    ):
        assert Part(data, make_router(ours)).meaning == BASE, data
        assert Part(data, make_router(other)).meaning == NO_MEANING, data


def test_channel_of_whole_books_has_no_changes() -> None:
    for number in (1, 2, 4):
        data = sample("BASE", number)
        assert Part(data).meaning == BASE
        assert Part(data.replace(b'"snapshot"', b'"update"')).meaning == NO_MEANING
    assert Part(sample("TOP").replace(b'"snapshot"', b'"update"')).meaning == NO_MEANING


def test_router_has_one_book_a_symbol_and_a_limit() -> None:
    router = make_router("books:AB", "books1:AB", "trade:AB", "trade:AB", size=3)
    for name in (
        *("books:AB", "books5:AB", "uta.books:AB", "books:", "books", "ticker:AB", "books:A B"),
        *(":AB", "uta.:AB", "uta.books15:AB", "books50:AB", "uta.trade:AB", "publicTrade:AB"),
    ):
        assert not spot.router_add(router, name.encode(), INSTRUMENT), name
    assert not spot.router_add(router, b"trade:AB", INSTRUMENT + 1)
    assert not spot.router_add(router, b"books:" + b"x" * 65, INSTRUMENT)
    assert spot.router_add(router, b"books5:CD", 1)
    assert spot.router_add(router, b"uta.books50:EF", 2)
    assert not spot.router_add(router, b"books:LASTONE", 3)


def test_router_knows_trades_and_best_prices_of_a_book() -> None:
    router = make_router(f"books:{SYMBOL}", "uta.books:SOLUSDT")
    for meaning in ("TOP", "TRADES"):
        for number in range(2):
            part = Part(sample(meaning, number), router)
            assert (part.meaning, part.instrument) == (MEANING[meaning], INSTRUMENT)


def test_rules_are_those_that_the_documents_were_read_for() -> None:
    fields = [name for name, _ in ffi.typeof("struct tp_sync_rule").fields]
    for channel, row in (
        (b"books:BTCUSDT", VENUES["bitget"]),
        (b"uta.books:BTCUSDT", VENUES["bitget uta"]),
    ):
        rule = spot.describe(channel).rule
        assert {name: getattr(rule, name) for name in fields} == dict.fromkeys(fields, 0) | row.rule
    for channel, levels in ((b"books5:A", 5), (b"books15:A", 15), (b"uta.books50:A", 50)):
        whole = spot.describe(channel).rule
        found = (whole.chain, whole.depth, whole.in_band_base, whole.base)
        assert found == (lib.TP_CHAIN_NONE, levels, True, lib.TP_BASE_IN_BAND)


# ---- best prices and trades ----------------------------------------------------------------------

MEANING = {"TOP": TOP, "TRADES": TRADES, "BASE": BASE}


def sample(meaning: str, number: int = 0) -> bytes:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    return str([one["text"] for one in rows if one["meaning"] == meaning][number]).encode()


def test_whole_book_of_five_is_a_base() -> None:
    part = Part(sample("BASE", 1))
    assert (part.meaning, part.decode(), depth.flags) == (BASE, OK, lib.TP_DEPTH_BASE)
    assert (depth.bid_count, depth.ask_count, depth.last_version) == (5, 5, 850167842345)
    assert decoded_levels()[1][4] == (330100, 2715000000)


def test_best_price_is_a_top_of_each_side_that_is_there() -> None:
    data = sample("TOP")
    part = Part(data)
    assert (part.meaning, part.decode(), depth.flags) == (TOP, OK, lib.TP_DEPTH_TOP)
    assert decoded_levels() == ([(8409340, 56970000)], [(8409350, 66650000)])
    assert numbers() == (850169289126, 850169289126, 0)
    assert depth.exchange_ns == 1_795_000_000_100_000_000
    empty = data.replace(b'[["84093.5","0.6665"]]', b"[]")
    assert Part(empty).decode() == OK
    assert decoded_levels() == ([(8409340, 56970000)], [])
    assert Part(sample("TOP", 1)).decode() == OK
    assert decoded_levels() == ([], [(19051, 3170000000)])
    bid, ask = [(8409340, 56970000)], [(8409350, 66650000)]
    for quantity, left in (("0.6665", (bid, [])), ("0.5697", ([], ask))):
        assert Part(data.replace(f'"{quantity}"'.encode(), b'"0"')).decode() == OK
        assert decoded_levels() == left  # a level that is gone is no best price
    two = data.replace(b'"0.6665"]]', b'"0.6665"],["84093.6","1"]]')
    assert Part(two).decode() == UNKNOWN
    assert Part(data.replace(b'"asks"', b'"x"')).decode() == UNKNOWN


def test_trades_come_out_oldest_first() -> None:
    data = sample("TRADES")
    assert Part(data).decode() == OK
    rows = [(one.price, one.quantity, one.id, one.flags) for one in trades.trades[0 : trades.count]]
    in_time = [
        (8409350, 5540000, 1487438024184414208, 0),
        (8409350, 1050000, 1487438024184414210, 0),
        (8409340, 280000, 1487438024184414212, lib.TP_TRADE_SELL),
    ]
    assert rows == in_time
    assert [one.exchange_ns for one in trades.trades[0:3]] == [
        *(1_795_000_000_123_000_000, 1_795_000_000_124_000_000, 1_795_000_000_124_000_000),
    ]
    assert trades.exchange_ns == 1_795_000_000_124_000_000
    message = json.loads(data)
    message["data"].reverse()  # whichever end it begins with
    assert Part(json.dumps(message, separators=(",", ":")).encode()).decode() == OK
    again = [(one.price, one.quantity, one.id, one.flags) for one in trades.trades[0:3]]
    assert again == in_time


def test_trade_of_the_unified_websocket_has_other_keys() -> None:
    assert Part(sample("TRADES", 1)).decode() == OK
    (one,) = trades.trades[0 : trades.count]
    assert (one.price, one.quantity, one.id) == (19050, 250000000, 1352182127218896905)
    assert (one.flags, one.exchange_ns) == (lib.TP_TRADE_SELL, 1_795_000_000_130_000_000)


def test_trades_that_lack_something_are_refused() -> None:
    data = sample("TRADES")
    for key in (b'"price"', b'"size"', b'"side"'):
        assert Part(data.replace(key, b'"x"', 1)).decode() == UNKNOWN
    assert Part(data.replace(b'"sell"', b'"both"')).decode() == UNKNOWN
    begin, end = data.index(b"[{"), data.index(b',"ts":17950000001')
    assert Part(data[:begin] + b"[]" + data[end:]).decode() == UNKNOWN
    one = data[begin + 1 : data.index(b"}", begin) + 1]
    for count, status in ((1024, OK), (1025, int(lib.TP_DECODE_TOO_MANY))):
        many = data[:begin] + b"[" + b",".join([one] * count) + b"]" + data[end:]
        assert Part(many).decode() == status


def test_history_of_trades_is_no_news() -> None:
    data = sample("TRADES")
    assert Part(data.replace(b'"update"', b'"snapshot"')).meaning == NO_MEANING
    assert Part(b" " + data.replace(b'"update"', b'"snapshot"')).meaning == NO_MEANING


# ---- the venue's own frames ----------------------------------------------------------------------

if FRAMES.is_dir():  # beside the project; no test may be skipped in CI

    def frames(name: str) -> list[bytes]:
        lines = (FRAMES / name).read_bytes().splitlines()
        return [line for line in lines if b'"data":[{' in line]

    def test_real_book_of_a_contract_chains_and_has_the_oracles_levels() -> None:
        """A snapshot and two updates of 2026-09-15."""
        found = frames("books_v2_mavusdt_20260915.jsonl")
        assert len(found) == 3
        before = 0
        for data in found:
            part = Part(data, venue=usdt)
            assert part.meaning == (DELTA if before else BASE)
            as_spot = data.replace(b"USDT-FUTURES", b"SPOT")
            assert check_against_the_oracle(as_spot, (-5, -2)) == OK
            assert depth.previous_version == before
            before = depth.last_version
        assert before == 427583480664

    def test_real_books_of_2022_name_no_number_and_are_refused() -> None:
        books = [
            data.replace(b'"instType":"sp"', b'"instType":"SPOT"').replace(b"GOGUSDT", b"BTCUSDT")
            for data in frames("books_gogusdt_2022_v1.jsonl")
            if b'"channel":"books"' in data
        ]
        assert len(books) > 50
        assert {Part(data).decode((-4, -4)) for data in books} == {UNKNOWN}
