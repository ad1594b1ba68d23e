"""OKX's decoder against msgspec and decimal: the same levels and numbers, or refused.

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

SYMBOL = "BTC-USDT"
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
BASE, DELTA, TOP, TRADES = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("BASE", "DELTA", "TOP", "TRADES")
)
NO_MEANING, BROKEN = int(lib.TP_MEANING_UNKNOWN), int(lib.TP_MEANING_BROKEN)
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "proto/venues/okx/samples.ndjson"
FRAMES = ROOT.parent / "shared/reference/data/venues/okx"

venue: Any = find_decoder("okx")

make_router = partial(decoding.make_router, venue)
ROUTER = make_router(f"books:{SYMBOL}", "books5:ETH-USDT", "books:BTC-USDT-SWAP")


class Part(decoding.RoutedPart):
    """A message of these channels."""

    def __init__(self, data: bytes, router: Any = ROUTER) -> None:
        super().__init__(data, venue, router)


# ---- the oracle ----------------------------------------------------------------------------------


class Book(msgspec.Struct, rename="camel"):
    asks: list[list[Decimal]]
    bids: list[list[Decimal]]
    seq_id: int
    prev_seq_id: int
    ts: str = "0"


class Arg(msgspec.Struct, rename="camel"):
    channel: str
    inst_id: str


class Message(msgspec.Struct):
    arg: Arg
    data: list[Book]
    action: str = ""


oracle = msgspec.json.Decoder(Message)


def expected_numbers(book: Book, *, is_base: bool) -> tuple[int, int, int]:
    if is_base:
        return book.seq_id, book.seq_id, 0
    return min(book.prev_seq_id + 1, book.seq_id), book.seq_id, book.prev_seq_id


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
    sides = (expected_side(book.bids, scale), expected_side(book.asks, scale))
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
    rows = [f'["{price}",{space}"{size}","0",{space}"3"]' for price, size in side]
    return f"[{space}{','.join(rows)}{space}]"


def write(
    bids: Any, asks: Any, *, space: str = "", action: str = "update", at: tuple[int, int] = (10, 11)
) -> bytes:
    previous, number = at
    item = (
        f'{{"asks":{write_side(asks, space)},{space}"bids":{write_side(bids, space)},'
        f'"ts":"1790439595700","checksum":0,"seqId":{number},{space}"prevSeqId":{previous}}}'
    )
    head = f'{{"arg":{{"channel":"books","instId":"{SYMBOL}"}},"action":"{action}"'
    return f'{head},{space}"data":{space}[{item}]}}'.encode()


@given(sides, sides, spaces, st.tuples(counts, counts), st.integers(-5, 0))
def test_book_has_the_oracles_levels_or_is_refused(
    bids: Any, asks: Any, space: str, at: tuple[int, int], exponent: int
) -> None:
    data = write(bids, asks, space=space, at=at)
    scale = (exponent, -8)
    status = check_against_the_oracle(data, scale)
    (said,) = oracle.decode(data).data
    fits = None not in (expected_side(said.bids, scale), expected_side(said.asks, scale))
    contradicts = at[0] == at[1] and bool(bids or asks)
    assert (status == OK) == (fits and not contradicts), data
    if status == OK:
        assert depth.exchange_ns == 1_790_439_595_700_000_000


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


@pytest.mark.parametrize("number", ["1.", ".5", "+1", "-1", "1e", "0x1", "NaN", "", " 1"])
def test_book_with_what_is_no_plain_number_is_refused(number: str) -> None:
    for one in ((number, "1"), ("1", number)):
        for many in (1, 5):  # read in one go, and near the end
            part = Part(write([one] + [("1", "1")] * many, []))
            assert (part.meaning, part.decode()) != (DELTA, OK), one


def test_numbers_of_a_message_say_what_came_before_it() -> None:
    for at, expected in (
        *(((10, 15), (11, 15, 10)), ((15, 15), (15, 15, 15)), ((15, 3), (3, 3, 15))),
        *(((0, 1), (1, 1, 0)), ((2**64 - 2, 2**64 - 1), (2**64 - 1, 2**64 - 1, 2**64 - 2))),
    ):
        assert Part(write([], [], at=at)).decode() == OK
        assert (numbers(), depth.flags) == (expected, 0)
    assert Part(write([], [], at=(1, 2**64))).decode() == lib.TP_DECODE_BAD_NUMBER
    assert Part(write([], [], at=(-2, 5))).decode() == lib.TP_DECODE_BAD_NUMBER


def test_levels_under_a_number_that_nothing_changed_are_refused() -> None:
    assert Part(write([("1", "1")], [], at=(5, 5))).decode() == UNKNOWN
    assert Part(write([], [("1", "0")], at=(5, 5))).decode() == UNKNOWN


def test_snapshot_is_one_by_its_action() -> None:
    by_action = write([("1", "1")], [], action="snapshot", at=(-1, 9))
    for data in (
        by_action,
        by_action.replace(b"-1", b"8"),
        by_action.replace(b',"prevSeqId":-1', b""),
    ):
        part = Part(data)
        assert part.meaning in (BASE, DELTA)
        assert part.decode() == OK
        assert (depth.flags, numbers()) == (lib.TP_DEPTH_BASE, (9, 9, 0)), data
    assert Part(by_action).meaning == BASE
    for data in (
        by_action.replace(b'"snapshot"', b'"update"'),
        by_action.replace(b',"action":"snapshot"', b""),
    ):
        assert Part(data).decode() == UNKNOWN, "a few levels would be all of the book"


@pytest.mark.parametrize("key", ["asks", "bids", "seqId", "prevSeqId"])
def test_book_that_lacks_a_key_is_none_that_the_venue_documents(key: str) -> None:
    data = write([("1", "1")], []).replace(f'"{key}"'.encode(), b'"x"')
    assert Part(data).decode() == UNKNOWN


def test_message_of_two_books_is_refused() -> None:
    data = write([("1", "1")], [])
    item = data[data.index(b"[{") + 1 : -2]
    assert Part(data[:-2] + b"," + item + b"]}").decode() == UNKNOWN
    assert Part(data.replace(item, b"")).decode() == UNKNOWN


def test_keys_may_come_in_any_order_and_more_of_them() -> None:
    data = write([("5", "1")], [("6", "2")])
    array = data[data.index(b"[{") : -1]
    arg = b'"arg":{"instId":"BTC-USDT","x":1,"channel":"books"}'
    for other in (
        b'{"data":' + array + b',"action":"update",' + arg + b"}",
        b'{"x":[1,{"data":[]}],' + arg + b',"data":' + array + b',"action":"update"}',
        data[:-1] + b',"more":{"data":[1]}}',
        data[:-1] + b' , "asks":[] } ',
    ):
        part = Part(other)
        assert (part.meaning, part.instrument, part.decode()) == (DELTA, INSTRUMENT, OK), other
        assert decoded_levels() == ([(500, 10**8)], [(600, 2 * 10**8)])
    whole = b'{"data":' + array + b"," + arg + b',"action":"snapshot"}'
    assert Part(whole).meaning == BASE


def test_of_a_side_that_stands_twice_the_last_counts() -> None:
    data = write([("5", "1")], [("6", "2"), ("7", "2")])
    side = b'"asks":[["8","3","0","1"]],"bids":[["4","1","0","1"]],'
    assert Part(data.replace(b'"ts"', side + b'"ts"')).decode() == OK
    assert decoded_levels() == ([(400, 10**8)], [(800, 3 * 10**8)])


@pytest.mark.parametrize("tail", ["", ",", "]", "]}}", "]} ]", "],5}", ']"a":1}', "],}"])
def test_book_whose_message_does_not_end_is_refused(tail: str) -> None:
    data = write([("1", "1")] * 5, [])
    part = Part(data[:-2] + tail.encode())
    assert part.meaning == BROKEN or part.decode() != OK


def test_book_of_too_many_levels_is_refused() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    assert Part(write([("1", "1")] * most, [])).decode() == OK
    assert Part(write([("1", "1")] * (most + 1), [])).decode() == lib.TP_DECODE_TOO_MANY


# ---- routing -------------------------------------------------------------------------------------


def test_symbols_and_channels_are_compared_whole() -> None:
    long = "A" * 31 + "-" + "B" * 32
    assert len(long) == 64
    router = make_router("books:A-B", f"books:{long}", "books:BTC-USDT-SWAP")
    data = write([("1", "1")], [])
    for symbol, is_ours in (
        *(("A-B", True), (long, True), ("BTC-USDT-SWAP", True), ("BTC-USDT", False), ("", False)),
        *((long + "B", False), (long[:-1], False), ("a-b", False), ("A\\u002dB", False)),
    ):
        part = Part(data.replace(SYMBOL.encode(), symbol.encode()), router)
        assert (part.meaning == DELTA) == is_ours, symbol
    for channel in ("books5", "book", "bookss", "books50-l2-tbt", "books-l2-tbt", "", "x" * 40):
        part = Part(data.replace(b'"books"', f'"{channel}"'.encode()))
        assert part.meaning == NO_MEANING, channel


def test_other_book_of_our_symbol_is_nobodys() -> None:
    five, whole = sample("BASE", 1), sample("BASE")
    for data, ours, other in (
        (five, "books5:ETH-USDT", "books:ETH-USDT"),
        (whole, f"books:{SYMBOL}", f"books5:{SYMBOL}"),
    ):
        assert Part(data, make_router(ours)).meaning == BASE, data
        assert Part(data, make_router(other)).meaning == NO_MEANING, data


def test_router_has_one_book_a_symbol_and_a_limit() -> None:
    router = make_router("books:A-B", "bbo-tbt:A-B", "trades:A-B", "trades:A-B", size=3)
    for name in ("books:A-B", "books5:A-B", "books:", "books", "tickers:A-B", "books:A B", ":A-B"):
        assert not venue.router_add(router, name.encode(), INSTRUMENT), name
    assert not venue.router_add(router, b"trades:A-B", INSTRUMENT + 1)
    assert not venue.router_add(router, b"books:" + b"x" * 65, INSTRUMENT)
    assert venue.router_add(router, b"books5:C-D", 1)
    assert venue.router_add(router, b"books5:E-F", 2)
    assert not venue.router_add(router, b"books:LAST-ONE", 3)


def test_router_knows_trades_and_best_prices_of_a_book() -> None:
    for meaning in ("TOP", "TRADES"):
        part = Part(sample(meaning))
        assert (part.meaning, part.instrument) == (MEANING[meaning], INSTRUMENT)


def test_rules_are_those_that_the_documents_were_read_for() -> None:
    row = VENUES["okx books"].rule
    rule = venue.describe(b"books:BTC-USDT").rule
    fields = [name for name, _ in ffi.typeof("struct tp_sync_rule").fields]
    assert {name: getattr(rule, name) for name in fields} == dict.fromkeys(fields, 0) | row
    five = venue.describe(b"books5:BTC-USDT").rule
    assert (five.chain, five.depth, five.in_band_base) == (lib.TP_CHAIN_NONE, 5, True)


# ---- best prices and trades ----------------------------------------------------------------------

MEANING = {"TOP": TOP, "TRADES": TRADES, "BASE": BASE}


def sample(meaning: str, number: int = 0) -> bytes:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    return str([one["text"] for one in rows if one["meaning"] == meaning][number]).encode()


def test_whole_book_of_five_is_a_base() -> None:
    part = Part(sample("BASE", 1))
    assert (part.meaning, part.decode(), depth.flags) == (BASE, OK, lib.TP_DEPTH_BASE)
    assert (depth.bid_count, depth.ask_count, depth.last_version) == (5, 5, 4826378794)
    assert decoded_levels()[1][4] == (330100, 2715000000)


def test_best_price_is_a_top_of_each_side_that_is_there() -> None:
    data = sample("TOP")
    part = Part(data)
    assert (part.meaning, part.decode(), depth.flags) == (TOP, OK, lib.TP_DEPTH_TOP)
    assert decoded_levels() == ([(8409340, 56978000)], [(8409350, 66657000)])
    assert depth.exchange_ns == 1_795_000_000_110_000_000
    empty = data.replace(b'[["84093.5","0.66657","0","70"]]', b"[]")
    assert Part(empty).decode() == OK
    assert decoded_levels() == ([(8409340, 56978000)], [])
    assert Part(data.replace(b',"seqId":80000000011', b"")).decode() == OK
    bid, ask = [(8409340, 56978000)], [(8409350, 66657000)]
    for quantity, left in (("0.66657", (bid, [])), ("0.56978", ([], ask))):
        assert Part(data.replace(f'"{quantity}"'.encode(), b'"0"')).decode() == OK
        assert decoded_levels() == left  # a level that is gone is no best price
    two = data.replace(b'"70"]]', b'"70"],["84093.6","1","0","1"]]')
    assert Part(two).decode() == UNKNOWN
    assert Part(data.replace(b'"asks"', b'"x"')).decode() == UNKNOWN


def test_trades_of_a_message_are_all_of_it() -> None:
    assert Part(sample("TRADES", 1)).decode() == OK
    assert trades.count == 2
    rows = [(one.price, one.quantity, one.id, one.flags) for one in trades.trades[0:2]]
    assert rows == [(8409350, 242000000, 953620212, 0), (8409360, 1, 953620213, 0)]
    data = sample("TRADES")
    assert Part(data).decode() == OK
    (one,) = trades.trades[0 : trades.count]
    assert (one.flags, one.exchange_ns) == (lib.TP_TRADE_SELL, 1_795_000_000_124_000_000)
    for key in (b'"px"', b'"sz"', b'"side"'):
        assert Part(data.replace(key, b'"x"')).decode() == UNKNOWN
    assert Part(data.replace(b'"sell"', b'"both"')).decode() == UNKNOWN
    assert Part(data.replace(data[data.index(b"[{") :], b"[]}")).decode() == UNKNOWN


# ---- the venue's own frames ----------------------------------------------------------------------

if FRAMES.is_dir():  # beside the project; no test may be skipped in CI

    def frames(name: str) -> list[bytes]:
        lines = (FRAMES / name).read_bytes().splitlines()
        return [line for line in lines if b'"data":[{' in line]

    def test_real_stream_of_a_swap_chains_and_has_the_oracles_levels() -> None:
        """Nine updates of 2026-09-26, each naming the number before it, between other channels."""
        before, meanings = None, []
        for data in frames("swap_stream_seqid_20260926.jsonl"):
            part = Part(data)
            assert part.instrument == INSTRUMENT
            meanings.append(part.meaning)
            assert part.decode((-1, -2)) == OK, data
            if part.meaning != DELTA:
                continue
            assert check_against_the_oracle(data, (-1, -2)) == OK
            assert before in (None, depth.previous_version)
            before = depth.last_version
        assert meanings.count(DELTA) == 9
        assert {TOP, TRADES} < set(meanings)

    def test_real_books_of_2022_have_no_number_and_are_refused() -> None:
        found = [
            Part(data).decode()
            for data in frames("books_btc_usdt_2022.jsonl")
            if b'"channel":"books"' in data
        ]
        assert len(found) == 51
        assert set(found) == {UNKNOWN}

    def test_real_books_say_which_levels_leave_the_400() -> None:
        """So that nothing needs to be cut here: not one message leaves more on a side."""
        book: dict[str, dict[str, str]] = {}
        sizes = []
        for data in frames("books_btc_usdt_2022.jsonl"):
            message = json.loads(data)
            if message["arg"]["channel"] != "books":
                continue
            (item,) = message["data"]
            for side in ("bids", "asks"):
                old = {} if message["action"] == "snapshot" else book[side]
                new = old | {price: size for price, size, *_ in item[side]}
                book[side] = {price: size for price, size in new.items() if size != "0"}
                sizes.append(len(book[side]))
        assert len(sizes) == 102
        assert set(sizes) == {400}
