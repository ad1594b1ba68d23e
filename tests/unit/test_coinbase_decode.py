"""Coinbase Advanced Trade's decoder against msgspec and decimal: the same levels, or refused.

The oracle reads the same bytes into Decimal, which never becomes floating point. Frames of the
venue are read where they lie beside the project: they have no licence to be copied into it.
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

SCALE = (-2, -8)
PRODUCT, INSTRUMENT = "BTC-USD", 7
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
BASE, DELTA, TOP, TRADES = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("BASE", "DELTA", "TOP", "TRADES")
)
NO_MEANING, BROKEN, REFUSAL = (
    int(getattr(lib, f"TP_MEANING_{name}")) for name in ("UNKNOWN", "BROKEN", "REFUSAL")
)
NO_NUMBER = int(lib.TP_SEQUENCE_NONE)
MOST = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "proto/venues/coinbase/samples.ndjson"
FRAMES = ROOT.parent / "shared/reference/data/venues/coinbase_advanced"
TIME, TIME_NS = "2026-09-30T02:39:59.477963Z", 1_790_735_999_477_963_000
Levels = list[tuple[int, int]]

venue: Any = find_decoder("coinbase")
depth = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")


def make_router(*channels: str, size: int = 8) -> Any:
    memory = ffi.new("uint64_t[]", venue.router_size(size, 1) // 8 + 1)
    venue.router_init(memory, size, 1)
    for name in channels:
        assert venue.router_add(memory, name.encode(), INSTRUMENT), name
    return memory


ROUTER = make_router(f"level2:{PRODUCT}", "level2:ETH-USD")


class Part:
    """One part of a message at the very end of its memory, and what is decoded of it."""

    def __init__(self, data: bytes, router: Any = ROUTER, start: int = 0) -> None:
        self._data = ffi.new("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
        message = ffi.new(
            "struct tp_venue_message *", {"data": self._data, "size": len(data), "opcode": 1}
        )
        route = ffi.new("struct tp_route *")
        venue.route(router, message, start, route)
        self.meaning, self.instrument = int(route.meaning), int(route.instrument)
        self.sequence, self.next_offset = int(route.sequence), int(route.next_offset)
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


class Update(msgspec.Struct):
    side: str
    price_level: Decimal
    new_quantity: Decimal


class Event(msgspec.Struct):
    type: str
    product_id: str
    updates: list[Update]


class Message(msgspec.Struct):
    channel: str
    sequence_num: int
    events: list[Event]


oracle = msgspec.json.Decoder(Message)


def expected_side(event: Event, side: str, scale: tuple[int, int]) -> Levels | None:
    rows = [
        (mantissa(one.price_level, scale[0]), mantissa(one.new_quantity, scale[1]))
        for one in event.updates
        if one.side == side
    ]
    whole = [(price, size) for price, size in rows if price is not None and size is not None]
    return whole if len(whole) == len(rows) else None


def check_against_the_oracle(data: bytes, scale: tuple[int, int] = SCALE) -> int:
    """Hold a message of one event to what the oracle makes of it."""
    part = Part(data)
    status = part.decode(scale) if part.meaning in (BASE, DELTA) else BROKEN
    try:
        said = oracle.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # That it is UTF-8, and that what nobody reads is of its own kind, is not looked at.
        return status
    if status != OK or len(said.events) != 1:
        return status
    (event,) = said.events
    sides = tuple(expected_side(event, side, scale) for side in ("bid", "offer"))
    assert decoded_levels() == sides, data
    assert part.sequence == said.sequence_num, data
    assert depth.flags == (lib.TP_DEPTH_BASE if event.type == "snapshot" else 0), data
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
update = st.tuples(st.sampled_from(["bid", "offer"]), plain | odd, plain | odd)
spaces = st.sampled_from(["", "", "", " ", "\n\t"])
orders = st.sampled_from([(0, 1, 2, 3), (0, 1, 2, 3), (3, 1, 0, 2), (1, 2, 3, 0)])
counts = st.one_of(st.integers(0, 2**64 - 2), st.integers(0, 300))


def write_update(row: Any, space: str, order: tuple[int, ...], time: str = TIME) -> str:
    side, price, size = row
    keys = (
        *(f'"side":{space}"{side}"', f'"event_time":"{time}"'),
        *(f'"price_level":"{price}"', f'"new_quantity":"{size}"'),
    )
    return "{" + f",{space}".join(keys[i] for i in order) + "}"


def write_event(
    updates: Any,
    *,
    space: str = "",
    order: tuple[int, ...] = (0, 1, 2, 3),
    type_: str = "update",
    product: str = PRODUCT,
) -> str:
    rows = ",".join(write_update(one, space, order) for one in updates)
    return f'{{"type":"{type_}",{space}"product_id":"{product}","updates":{space}[{rows}]}}'


def write(
    updates: Any, *, number: int = 246, head: str = "", space: str = "", **more: Any
) -> bytes:
    event = write_event(updates, space=space, **more)
    return (
        f'{{"channel":"l2_data",{space}{head}"timestamp":"2026-09-30T02:39:59.516466608Z",'
        f'"sequence_num":{number},"events":{space}[{event}{space}]}}'
    ).encode()


FIVE = [
    *(("bid", "2667.24", "2.246"), ("bid", "2667.1", "0"), ("offer", "2667.3", "4.12534")),
    *(("offer", "2668", "0.00000001"), ("bid", "2666.9", "3.37459083")),
]


@given(
    st.lists(update, max_size=6),
    spaces,
    orders,
    counts,
    st.tuples(st.integers(-5, 0), st.sampled_from(["", '"client_id":"",'])),
)
def test_book_has_the_oracles_levels_or_is_refused(
    updates: Any, space: str, order: tuple[int, ...], number: int, more: tuple[int, str]
) -> None:
    exponent, head = more
    data = write(updates, space=space, order=order, number=number, head=head)
    scale = (exponent, -8)
    status = check_against_the_oracle(data, scale)
    (event,) = oracle.decode(data).events
    sides = [expected_side(event, side, scale) for side in ("bid", "offer")]
    assert (status == OK) == (None not in sides), data
    if status == OK and updates:
        assert depth.exchange_ns == TIME_NS


def test_book_of_every_changed_byte_is_the_oracles_or_refused() -> None:
    rng = random.Random(20261130)  # not a secret
    data = write(FIVE[:3])
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
    for one in (("bid", number, "1"), ("bid", "1", number)):
        for behind in (0, 4):  # at the end of memory, and before it
            part = Part(write([one, *FIVE[:behind]]))
            assert (part.meaning, part.decode()) != (DELTA, OK), one


@pytest.mark.parametrize("side", ["ask", "Bid", "", "bids", "offers"])
def test_side_that_the_venue_does_not_have_is_refused(side: str) -> None:
    assert Part(write([*FIVE, (side, "1", "1")])).decode() == UNKNOWN


@pytest.mark.parametrize("key", ["side", "price_level", "new_quantity"])
def test_update_that_lacks_a_key_is_refused(key: str) -> None:
    data = write(FIVE).replace(f'"{key}"'.encode(), b'"x"', 1)
    assert Part(data).decode() == lib.TP_DECODE_MALFORMED


@pytest.mark.parametrize("key", ["type", "updates"])
def test_event_that_lacks_a_key_is_none_of_a_book(key: str) -> None:
    data = write(FIVE).replace(f'"{key}":'.encode(), b'"x":')
    part = Part(data)
    assert part.meaning == NO_MEANING or part.decode() == UNKNOWN


def test_event_of_an_unknown_type_is_a_change_that_is_refused() -> None:
    """No number of the book's own would show it: the book is not LIVE without it."""
    for type_ in (b'"l2update"', b"null", b'""'):
        part = Part(write(FIVE).replace(b'"update"', type_))
        assert (part.meaning, part.instrument) == (DELTA, INSTRUMENT)
        assert part.decode() != OK


def test_event_without_a_product_may_be_any_books() -> None:
    """Its message counts for none, so that the next number shows a hole."""
    assert Part(write(FIVE).replace(b'"product_id"', b'"product"')).meaning == BROKEN


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b'"channel":"l2_data"', b'"channel":"ticker","channel":"l2_data"'),
        (b'"sequence_num":', b'"sequence_num":1,"sequence_num":'),
        (b'"events":[{', b'"events":[{}],"events":[{'),
        (b'"product_id":', b'"product_id":"ETH-USD","product_id":'),
        (b"]}]}", b'],"product_id":"ETH-USD"}]}'),
        (b"]}]}", b']}],"channel":"ticker"}'),
    ],
)
def test_message_that_says_twice_what_it_is_of_counts_for_none(was: bytes, now: bytes) -> None:
    data = write(FIVE)
    assert Part(data).meaning == DELTA
    assert Part(data.replace(was, now)).meaning == BROKEN


def test_time_that_is_none_is_refused_where_it_is_the_first() -> None:
    bad = write(FIVE).replace(TIME.encode(), b"2026-13-30T02:39:59Z", 1)
    assert Part(bad).decode() == lib.TP_DECODE_BAD_NUMBER


@pytest.mark.parametrize("tail", ["", ",", "]", "]}}", "]} ]", "],5}", ']"a":1}', "],}"])
def test_book_whose_message_does_not_end_is_refused(tail: str) -> None:
    part = Part(write(FIVE)[:-2] + tail.encode())
    assert part.meaning == BROKEN or part.decode() != OK


# ---- snapshots of more levels than fit -----------------------------------------------------------


def prices(count: int, order: str) -> list[int]:
    found = list(range(1, count + 1))
    if order == "shuffled":
        random.Random(1).shuffle(found)  # not a secret
    return found if order != "falling" else found[::-1]


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
@pytest.mark.parametrize("side", ["bid", "offer"])
def test_snapshot_of_too_many_levels_keeps_the_best(side: str, order: str) -> None:
    count = MOST + 700
    rows = [(side, str(price), "1") for price in prices(count, order)]
    other = ("offer" if side == "bid" else "bid", "9", "2")
    part = Part(write([*rows, other], type_="snapshot"))
    assert (part.meaning, part.decode()) == (BASE, OK)
    cut = lib.TP_DEPTH_BIDS_CUT if side == "bid" else lib.TP_DEPTH_ASKS_CUT
    assert depth.flags == lib.TP_DEPTH_BASE | cut
    kept, rest = decoded_levels() if side == "bid" else decoded_levels()[::-1]
    first = count - MOST + 1 if side == "bid" else 1
    assert sorted(price for price, _ in kept) == [100 * one for one in range(first, first + MOST)]
    assert rest == [(900, 200_000_000)]
    is_best_first = order == ("falling" if side == "bid" else "rising")
    assert (kept == sorted(kept, reverse=side == "bid")) == is_best_first


def test_snapshot_of_as_many_levels_as_fit_is_whole() -> None:
    rows = [("bid", str(price), "1") for price in prices(MOST, "falling")]
    assert Part(write(rows, type_="snapshot")).decode() == OK
    assert (depth.bid_count, depth.flags) == (MOST, lib.TP_DEPTH_BASE)


def test_update_of_too_many_levels_is_refused() -> None:
    rows = [("bid", str(price), "1") for price in prices(MOST + 1, "falling")]
    assert Part(write(rows)).decode() == lib.TP_DECODE_TOO_MANY
    assert Part(write(rows[:-1])).decode() == OK


# ---- routing -------------------------------------------------------------------------------------


def test_number_is_of_the_message_whatever_it_carries() -> None:
    for data in (
        write(FIVE, number=0),
        write(FIVE, number=2**63),
        write(FIVE, number=17, space=" "),
        write(FIVE, number=17, product="XRP-USD"),
        b'{"channel":"heartbeats","sequence_num":17,"events":[{}]}',
        b'{"channel":"subscriptions","events":[{"subscriptions":{}}],"sequence_num":17}',
        b'{"channel":"candles","sequence_num":17,"events":[]}',
    ):
        part = Part(data)
        assert part.meaning != BROKEN
        assert part.sequence == json.loads(data)["sequence_num"], data


def test_error_has_no_number_and_data_must_have_one() -> None:
    error = Part(b'{"type":"error","message":"authentication failure"}')
    assert (error.meaning, error.sequence) == (REFUSAL, NO_NUMBER)
    for bad in (b"", b'"sequence_num":null,', b'"sequence_num":-1,', b'"sequence_num":1.5,'):
        assert Part(write(FIVE).replace(b'"sequence_num":246,', bad)).meaning == BROKEN, bad


def test_events_of_a_message_are_parts_of_it() -> None:
    events = [
        write_event(FIVE),
        write_event(FIVE[:1], product="XRP-USD"),
        write_event(FIVE[2:3], product="ETH-USD", type_="snapshot"),
    ]
    for comma in (",", " , "):
        head = write([], number=9).partition(b'"events":')[0]
        data = head + b'"events":[' + comma.join(events).encode() + b"]}"
        found, start = [], 0
        for _ in range(3):
            part = Part(data, start=start)
            found.append(part)
            start = part.next_offset
        assert start == 0
        assert [one.meaning for one in found] == [DELTA, NO_MEANING, BASE]
        assert found[0].sequence == 9
        assert found[0].decode() == OK
        assert depth.bid_count + depth.ask_count == 5
        assert found[2].decode() == OK
        assert decoded_levels() == ([], [(266730, 412534000)])


def test_events_in_front_of_what_they_are_of_are_one_at_most() -> None:
    """Else the whole message would be read again for each of them."""
    event = write_event(FIVE)
    one = b'{"events":[' + event.encode() + b'],"channel":"l2_data","sequence_num":3}'
    part = Part(one)
    assert (part.meaning, part.sequence, part.decode()) == (DELTA, 3, OK)
    two = one.replace(b'],"channel"', b"," + event.encode() + b'],"channel"')
    assert (Part(two).meaning, Part(two).next_offset) == (BROKEN, 0)


def test_products_and_channels_are_compared_whole() -> None:
    long = "A" * 31 + "-" + "B" * 32
    router = make_router("level2:A-B", f"level2:{long}")
    for product, is_ours in (
        *(("A-B", True), (long, True), (long + "B", False), (long[:-1], False), ("a-b", False)),
        *(("", False), ("A\\u002dB", False)),
    ):
        part = Part(write(FIVE, product=product), router)
        assert (part.meaning == DELTA) == is_ours, product
    for name in ("level2", "l2_dat", "l2_data2", ""):
        data = write(FIVE).replace(b'"l2_data"', f'"{name}"'.encode())
        assert Part(data).meaning == NO_MEANING, name


def test_router_has_one_book_a_product_and_a_limit() -> None:
    router = make_router("level2:A-B", "ticker:A-B", "market_trades:A-B", size=3)
    for name in ("level2:A-B", "level2:", "level2", "candles:A-B", "level2:A B", ":A-B"):
        assert not venue.router_add(router, name.encode(), INSTRUMENT), name
    assert not venue.router_add(router, b"ticker:A-B", INSTRUMENT + 1)
    assert not venue.router_add(router, b"level2:" + b"x" * 65, INSTRUMENT)
    assert venue.router_add(router, b"level2:C-D", 1)
    assert venue.router_add(router, b"level2:E-F", 2)
    assert not venue.router_add(router, b"level2:LAST-ONE", 3)


def test_rule_is_that_the_documents_were_read_for() -> None:
    fields = [name for name, _ in ffi.typeof("struct tp_sync_rule").fields]
    rule = venue.describe(b"level2:BTC-USD").rule
    expected = dict.fromkeys(fields, 0) | VENUES["coinbase level2"].rule
    assert {name: getattr(rule, name) for name in fields} == expected


# ---- best prices and trades ----------------------------------------------------------------------


def sample(meaning: str, number: int = 0) -> bytes:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    return str([one["text"] for one in rows if one["meaning"] == meaning][number]).encode()


def test_best_price_is_a_top_of_each_side_that_is_there() -> None:
    data = sample("TOP")
    part = Part(data)
    assert (part.meaning, part.decode(), depth.flags) == (TOP, OK, lib.TP_DEPTH_TOP)
    assert decoded_levels() == ([(8332060, 150_000_000)], [(8332067, 50_000_000)])
    assert Part(sample("TOP", 1)).decode() == OK
    assert decoded_levels() == ([(8332060, 150_000_000)], [])
    two = data.replace(b'"tickers":[', b'"tickers":[{"product_id":"BTC-USD"},')
    assert Part(two).decode() == UNKNOWN
    assert Part(data.replace(b"best_", b"worst_")).decode() == UNKNOWN


def test_trades_of_an_event_are_all_of_it_oldest_first() -> None:
    data = sample("TRADES")
    part = Part(data)
    assert (part.meaning, part.decode()) == (TRADES, OK)
    rows = [(one.price, one.quantity, one.id) for one in trades.trades[0 : trades.count]]
    assert rows == [(266724, 1, 846155167), (266720, 84275842, 846155168)]
    assert {one.flags for one in trades.trades[0:2]} == {lib.TP_TRADE_SIDELESS}
    assert trades.exchange_ns == trades.trades[1].exchange_ns
    for key in (b'"price"', b'"size"', b'"product_id"'):
        changed = Part(data.replace(key, b'"x"'))
        assert changed.meaning == NO_MEANING or changed.decode() == UNKNOWN, key
    second = data.rindex(b'"product_id":"ETH-USD"')
    mixed = data[:second] + data[second:].replace(b"ETH-USD", b"BTC-USD", 1)
    assert Part(mixed).decode() == UNKNOWN
    assert Part(data.replace(b'"type":"update"', b'"type":"snapshot"')).meaning == NO_MEANING


# ---- the venue's own frames ----------------------------------------------------------------------

if FRAMES.is_dir():  # beside the project; no test may be skipped in CI

    def test_real_frames_are_counted_over_channels_and_products() -> None:
        """Four of 2026-09-30 in a row: 246 to 249."""
        numbers, meanings = [], []
        for data in (FRAMES / "l2_trades_seq246_20260930.jsonl").read_bytes().splitlines():
            part = Part(data)
            numbers.append(part.sequence)
            meanings.append(part.meaning)
            assert part.decode() == OK, data
            if part.meaning == DELTA:
                assert check_against_the_oracle(data) == OK
        assert numbers == [246, 247, 248, 249]
        assert meanings == [DELTA, TRADES, DELTA, TRADES]

    def test_real_first_frames_of_a_connection_are_counted_from_zero() -> None:
        router = make_router("level2:BTC-PERP-INTX")
        found = []
        for data in (FRAMES / "l2_ack_heartbeat_20260907.jsonl").read_bytes().splitlines()[2:]:
            part = Part(data, router)
            found.append((part.meaning, part.sequence))
            if part.meaning == BASE:
                assert part.decode((-1, -4)) == OK
                assert (depth.bid_count, depth.ask_count) == (2, 2)
        answer, beat = lib.TP_MEANING_ACKNOWLEDGEMENT, lib.TP_MEANING_HEARTBEAT
        assert found == [(BASE, 0), (answer, 1), (answer, 2), (beat, 3), (REFUSAL, NO_NUMBER)]
