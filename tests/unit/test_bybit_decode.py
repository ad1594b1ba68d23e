"""The decoder of Bybit's JSON against msgspec and Decimal: the same levels, or refused."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.proto.venues.decoder import find_decoder

CAPTURES = Path(__file__).resolve().parents[3] / "shared/reference/data/venues/bybit"
VENUE: Any = find_decoder("bybit")
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
PRICE, QUANTITY = -4, -8
DEPTH, TOP, TRADES = (
    int(one) for one in (lib.TP_MEANING_DELTA, lib.TP_MEANING_TOP, lib.TP_MEANING_TRADES)
)
BASE = int(lib.TP_DEPTH_BASE)
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
out = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")
exact = msgspec.json.Decoder(float_hook=Decimal)

Levels = list[tuple[int, int]]
Update = tuple[int, int, int, Levels, Levels]
"""Number, flags, time, bids, asks."""


def body_of(data: bytes, meaning: int = DEPTH, price: int = PRICE) -> tuple[Any, Any]:
    """Return a body that stands at the very end of its memory, and that memory."""
    memory = ffi.new("uint8_t[]", data or b"\0")
    scale = {"price_exponent": price, "quantity_exponent": QUANTITY}
    what = {"data": memory, "size": len(data), "meaning": meaning, "scale": scale}
    return ffi.new("struct tp_body *", what), memory


def decode(data: bytes, meaning: int = DEPTH) -> Update | None:
    """Decode; None: refused."""
    body, _memory = body_of(data, meaning)
    if VENUE.decode_depth(body, out) != OK:
        return None
    assert out.first_version == out.last_version
    assert out.previous_version == out.checksum == 0
    bids, asks = (
        [(levels[i].price, levels[i].quantity) for i in range(count)]
        for levels, count in ((out.bids, out.bid_count), (out.asks, out.ask_count))
    )
    return out.last_version, out.flags, out.exchange_ns, bids, asks


class RefusedError(Exception):
    """The oracle finds no depth message."""


def mantissa(value: object, exponent: int) -> int:
    if isinstance(value, str):
        if not NUMBER.fullmatch(value):
            raise RefusedError
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise RefusedError
    scaled = Decimal(value).scaleb(-exponent)
    if not 0 <= scaled < 2**63 or scaled != int(scaled):
        raise RefusedError
    return int(scaled)


def whole(value: object) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]+", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**64:
        raise RefusedError
    return number


def expected(data: bytes) -> Update:
    try:
        said = exact.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError from error
    try:
        if said["type"] not in ("snapshot", "delta"):
            raise RefusedError
        of = said["data"]
        number = whole(of["u"])
        bids, asks = (
            [(mantissa(row[0], PRICE), mantissa(row[1], QUANTITY)) for row in of[side]]
            for side in ("b", "a")
        )
    except (LookupError, TypeError) as error:
        raise RefusedError from error
    time_ms = whole(said.get("cts", 0)) or whole(said.get("ts", 0))
    is_base = said["type"] == "snapshot" or number == 1
    return number, BASE if is_base else 0, time_ms * 1_000_000, bids, asks


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def check(data: bytes) -> None:
    """Hold what was read to the oracle; what the oracle refuses must be refused."""
    got = decode(data)
    try:
        want = expected(data)
    except RefusedError:
        if is_text(data):  # a WebSocket text message is UTF-8, RFC 6455 8.1: not checked again
            assert got is None, data
        return
    assert got in (want, None), data


numbers = st.one_of(
    st.integers(0, 10**9).map(lambda n: f"{n // 10**4}.{n % 10**4:04}"),
    st.integers(0, 10**14).map(lambda n: f"{n // 10**8}.{n % 10**8:08}"),
    st.sampled_from(["0", "1", "12", "0.5", "0.0", "12.3400", "123456789.12", "1234567890123.4"]),
    st.sampled_from(["1e2", "1.2E-3", "0E-8", "0e0", "5e-9"]),
)
levels = st.lists(st.tuples(numbers, numbers), max_size=12)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Write a depth message as either market does, or as any JSON writer might."""
    topic = {"topic": "orderbook.50.BTCUSDT"}
    type_ = {"type": draw(st.sampled_from(["snapshot", "delta", "delta"]))}
    sent = {"ts": draw(st.integers(0, 2**43))}
    data: dict[str, Any] = {
        "s": draw(st.sampled_from(["BTCUSDT", "1000PEPEUSDT", ""])),
        "b": draw(levels),
        "a": draw(levels),
        "u": draw(st.one_of(st.just(1), st.integers(0, 2**63))),
        "seq": draw(st.integers(0, 2**63)),
    }
    matched = draw(st.sampled_from([{}, {"cts": sent["ts"]}]))
    inner = {"data": data}
    shape = draw(st.integers(0, 2))
    if shape == 0:
        frame = {**topic, **sent, **type_, **inner, **matched}
    elif shape == 1:
        frame = {**topic, **type_, **sent, **inner, **matched}
    else:
        frame = {**inner, **matched, **topic, **sent, "more": {"x": [1, None]}, **type_}
        frame["data"] = {name: data[name] for name in draw(st.permutations(list(data)))}
        return json.dumps(frame, indent=draw(st.sampled_from([None, 1]))).encode()
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()


@given(messages())
def test_bybit_message_is_read_as_msgspec_reads_it(data: bytes) -> None:
    check(data)
    try:
        want = expected(data)
    except RefusedError:
        return
    assert decode(data) == want


@given(messages(), st.data())
def test_bybit_changed_message_is_read_alike_or_refused(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        piece = draw.draw(st.sampled_from([b"", b"0", b"9", b'"', b".", b"e", b",", b"]", b" "]))
        changed[at : at + draw.draw(st.integers(0, 2))] = piece
    check(bytes(changed))


HEAD = '{"topic":"orderbook.50.BTCUSDT","ts":1795000000100,"type":"delta",'


@pytest.mark.parametrize(
    ("tail", "bids"),
    [
        ('"data":{"b":[["1.2e-3","1"]],"a":[],"u":2}}', [(12, 10**8)]),
        ('"data":{"b":[["1","0.0"]],"a":[],"u":2}}', [(10**4, 0)]),
        ('"data":{"b":[["1","2","0.5"]],"a":[],"u":2}}', [(10**4, 2 * 10**8)]),
        ('"data":{"b":[["7","7"]],"b":[["1","2"]],"a":[],"u":2}}', [(10**4, 2 * 10**8)]),
        (
            '"data":{"b":[["7","7"]],"a":[],"u":2},"data":{"b":[["1","2"]],"a":[],"u":3}}',
            [(10**4, 2 * 10**8)],
        ),
        ('"data":{"b":[["7","7"]],"a":[],"u":2},"data":{"b":[],"u":3}}', None),
        ('"data":{"b":[["7","7"]],"a":[],"u":2},"data":{}}', None),
        ('"data":{"b":[["1","-0"]],"a":[],"u":2}}', None),
        ('"data":{"b":[["1.00001","1"]],"a":[],"u":2}}', None),
        ('"data":{"b":[["1"]],"a":[],"u":2}}', None),
        ('"data":{"b":[],"a":null,"u":2}}', None),
        ('"data":{"a":[],"u":2}}', None),
        ('"data":{"b":[],"u":2}}', None),
        ('"data":{"b":[],"a":[]}}', None),
        ('"data":{"b":[],"a":[],"u":-1}}', None),
        ('"data":{"b":[],"a":[],"u":18446744073709551616}}', None),
        ('"data":{"\\u0062":[["1","1"]],"b":[],"a":[],"u":2}}', None),
        ('"data":{"b":[],"a":[],"u":2},"\\u0064ata":{"b":[],"a":[],"u":3}}', None),
        ('"data":{"b":[],"a":[],"u":2},"type":"update"}', None),
        ('"data":{"b":[],"a":[],"u":2},"type":1}', None),
        ('"data":[{"b":[],"a":[],"u":2}]}', None),
        ('"data":{"b":[],"a":[],"u":2}}x', None),
        ('"data":{"b":[],"a":[],"u":2}', None),
    ],
)
def test_bybit_corner_of_json(tail: str, bids: Levels | None) -> None:
    got = decode((HEAD + tail).encode())
    assert (None if got is None else got[3]) == bids


def test_bybit_message_without_its_type_is_unknown() -> None:
    data = (HEAD + '"data":{"b":[],"a":[],"u":2}}').replace('"type":"delta",', "").encode()
    body, _memory = body_of(data)
    assert VENUE.decode_depth(body, out) == UNKNOWN


@pytest.mark.parametrize(
    ("type_", "number", "flags"),
    [("snapshot", 7, BASE), ("delta", 7, 0), ("snapshot", 1, BASE), ("delta", 1, BASE)],
)
def test_bybit_snapshot_and_number_one_are_bases(type_: str, number: int, flags: int) -> None:
    data = f'{{"type":"{type_}","data":{{"b":[],"a":[],"u":{number}}}}}'.encode()
    got = decode(data)
    assert got is not None
    assert got[:2] == (number, flags)


def test_bybit_time_is_the_matching_engines_where_it_is_said() -> None:
    text = '{"type":"delta","ts":1795000000345,"data":{"b":[],"a":[],"u":2}%s}'
    for more, time_ms in (("", 1795000000345), (',"cts":1795000000342', 1795000000342)):
        got = decode((text % more).encode())
        assert got is not None
        assert got[2] == time_ms * 10**6
    late = str(2**64 // 10**6 + 1)
    assert decode((text % f',"cts":{late}').encode()) is None


def test_bybit_as_many_levels_as_are_decoded_and_one_more() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    side = [[f"{n}.0001", "1.5"] for n in range(most)]
    for count in (most - 1, most):
        data = {"b": [], "a": side[:count], "u": 2}
        got = decode(json.dumps({"type": "snapshot", "data": data}).encode())
        assert got is not None
        assert got[4] == [(n * 10**4 + 1, 15 * 10**7) for n in range(count)]
    data = {"b": [], "a": [*side, side[0]], "u": 2}
    assert decode(json.dumps({"type": "snapshot", "data": data}).encode()) is None


@pytest.mark.parametrize(
    ("type_", "bids", "asks", "want"),
    [
        ("snapshot", [["1.5", "2"]], [["1.6", "3"]], ([(15000, 2 * 10**8)], [(16000, 3 * 10**8)])),
        ("snapshot", [["1.5", "2"]], [], ([(15000, 2 * 10**8)], [])),
        ("snapshot", [["1.5", "0"]], [["1.6", "3"]], ([], [(16000, 3 * 10**8)])),
        ("delta", [["1.5", "2"]], [], None),
        ("snapshot", [["1.5", "2"], ["1.4", "2"]], [], None),
    ],
)
def test_bybit_best_prices_are_of_whole_books_of_one_level(
    type_: str, bids: list[list[str]], asks: list[list[str]], want: tuple[Levels, Levels] | None
) -> None:
    data = json.dumps({"type": type_, "ts": 5, "data": {"b": bids, "a": asks, "u": 7}}).encode()
    got = decode(data, TOP)
    assert (None if got is None else (got[3], got[4])) == want
    if got is not None:
        assert got[:3] == (7, int(lib.TP_DEPTH_TOP), 5_000_000)


# ---- trades --------------------------------------------------------------------------------------

TRADE = '{"i":"%s","T":1795000000840,"p":"75848.75","v":"0.06","S":"%s","s":"BTCUSDT","BT":false}'


def read_trades(rows: list[str]) -> int:
    data = f'{{"topic":"x","ts":1795000000841,"type":"snapshot","data":[{",".join(rows)}]}}'
    body, _memory = body_of(data.encode(), TRADES)
    return int(VENUE.decode_trades(body, trades))


def fnv(text: bytes) -> int:
    """FNV-1a, 64 bits, as its authors define it."""
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def test_bybit_trades_of_a_message_say_who_took_and_have_their_ids() -> None:
    sell, sideless, hashed = (
        int(one) for one in (lib.TP_TRADE_SELL, lib.TP_TRADE_SIDELESS, lib.TP_TRADE_HASHED)
    )
    name = "8c931d9a-b703-5c34-9aeb-860867cf1f66"
    rows = [TRADE % ("2290000001211680903", "Sell"), TRADE % (name, "Buy"), TRADE % ("", "Unknown")]
    assert read_trades(rows) == OK
    assert (trades.count, trades.exchange_ns) == (3, 1795000000841 * 10**6)
    found = [(trades.trades[i].id, trades.trades[i].flags) for i in range(3)]
    assert found == [(2290000001211680903, sell), (fnv(name.encode()), hashed), (0, sideless)]
    one = trades.trades[0]
    assert (one.price, one.quantity) == (758487500, 6 * 10**6)
    assert one.exchange_ns == 1795000000840 * 10**6


@pytest.mark.parametrize(
    "missing", ['"T":1795000000840', '"p":"75848.75"', '"v":"0.06"', '"S":"Buy"']
)
def test_bybit_trade_that_lacks_something_is_refused_with_its_message(missing: str) -> None:
    whole_one = TRADE % ("1", "Buy")
    assert read_trades([whole_one]) == OK
    assert read_trades([whole_one, whole_one.replace(missing, '"x":1')]) == UNKNOWN
    assert read_trades([whole_one.replace(missing, '"x":1'), whole_one]) == UNKNOWN


def test_bybit_trades_as_many_as_are_read_and_one_more() -> None:
    most, one = int(lib.TP_TRADE_COUNT_MAX), TRADE % ("1", "Buy")
    assert read_trades([one] * most) == OK
    assert trades.count == most
    assert read_trades([one] * (most + 1)) == lib.TP_DECODE_TOO_MANY
    assert read_trades([]) == UNKNOWN


# ---- which subscription a message is of ----------------------------------------------------------


class Routes:
    """A router with a book of each of two symbols."""

    def __init__(self) -> None:
        self.memory = ffi.new("uint64_t[]", VENUE.router_size(4, 1) // 8 + 1)
        self.router = ffi.cast("void *", self.memory)
        VENUE.router_init(self.router, 4, 1)
        assert self.add("orderbook.50.BTCUSDT", 3)
        assert self.add("orderbook.1000.1000PEPEUSDT", 4)

    def add(self, channel: str, instrument: int) -> bool:
        return bool(VENUE.router_add(self.router, channel.encode(), instrument))

    def __call__(self, data: bytes) -> tuple[int, int | None]:
        memory = ffi.new("uint8_t[]", data)
        what = {"data": memory, "size": len(data), "opcode": 1}
        route = ffi.new("struct tp_route *")
        VENUE.route(self.router, ffi.new("struct tp_venue_message *", what), 0, route)
        assert route.next_offset == 0
        is_ours = route.meaning in (DEPTH, TOP, TRADES)
        return route.meaning, route.instrument if is_ours else None


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("orderbook.50.BTCUSDT", (DEPTH, 3)),
        ("orderbook.1000.1000PEPEUSDT", (DEPTH, 4)),
        ("publicTrade.BTCUSDT", (TRADES, 3)),
        ("orderbook.1.BTCUSDT", (TOP, 3)),
        ("orderbook.1.1000PEPEUSDT", (TOP, 4)),
        ("orderbook.200.BTCUSDT", (int(lib.TP_MEANING_UNKNOWN), None)),  # another depth than asked
        ("orderbook.50.1000PEPEUSDT", (int(lib.TP_MEANING_UNKNOWN), None)),
        ("orderbook.50.BTCUSDT.x", (int(lib.TP_MEANING_UNKNOWN), None)),
        ("orderbook.50.", (int(lib.TP_MEANING_UNKNOWN), None)),
        ("publicTrade.", (int(lib.TP_MEANING_UNKNOWN), None)),
        ("orderbook.rpi.BTCUSDT", (int(lib.TP_MEANING_UNKNOWN), None)),
        ("tickers.BTCUSDT", (int(lib.TP_MEANING_UNKNOWN), None)),
    ],
)
def test_bybit_topic_is_found_however_it_is_written(
    topic: str, space: str, found: tuple[int, int | None]
) -> None:
    routes = Routes()
    assert routes(f'{{{space}"topic":"{topic}","data":{{}}}}'.encode()) == found
    assert routes(f'{{"data":{{}},"topic":{space}"{topic}"}}'.encode()) == found


def test_bybit_two_depths_of_a_symbol_are_no_two_books() -> None:
    routes = Routes()
    assert not routes.add("orderbook.200.BTCUSDT", 3)
    assert not routes.add("orderbook.50.BTCUSDT", 3)
    assert not routes.add("publicTrade.BTCUSDT", 5)  # of another instrument
    assert routes.add("publicTrade.BTCUSDT", 3)
    assert routes.add("orderbook.50.ETHUSDT", 5)
    assert routes.add("orderbook.50.XRPUSDT", 6)
    assert not routes.add("orderbook.50.SOLUSDT", 7)  # full


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('{"success":true,"ret_msg":"","req_id":"1","op":"subscribe"}', "ACKNOWLEDGEMENT"),
        ('{"success":false,"ret_msg":"no","op":"subscribe"}', "REFUSAL"),
        ('{"success":false,"conn_id":"","op":""}', "REFUSAL"),
        ('{"success":false,"ret_msg":"no","op":"unsubscribe"}', "NOTICE"),
        ('{"success":false,"ret_msg":"pong","op":"ping"}', "NOTICE"),
        ('{"success":true,"ret_msg":"pong","op":"ping"}', "HEARTBEAT"),
        ('{"op":"pong","args":["1795000000127"]}', "HEARTBEAT"),
        ('{"success":true,"ret_msg":"pong","op":"pong"}', "HEARTBEAT"),
        ('{"success":true,"ret_msg":"","op":"auth"}', "UNKNOWN"),
        ('{"success":null,"op":"subscribe"}', "UNKNOWN"),
        ('{"topic":5,"op":5,"ret_msg":5}', "UNKNOWN"),
        ("{}", "UNKNOWN"),
        ("[]", "BROKEN"),
        ('{"topic":"orderbook.50.XRPUSDT","data":{', "BROKEN"),
    ],
)
def test_bybit_answer_means(text: str, meaning: str) -> None:
    assert Routes()(text.encode())[0] == getattr(lib, f"TP_MEANING_{meaning}")


# ---- what others recorded ------------------------------------------------------------------------


def recorded() -> list[bytes]:
    """Read the messages that somebody recorded; [] where they do not lie beside the project."""
    names = ("gct_push_data", "linear_book50_btcusdt_20260313", "spot_ws_20260920")
    found = [CAPTURES / f"{name}.jsonl" for name in names]
    lines = [line for path in found if path.exists() for line in path.read_bytes().splitlines()]
    return [line for line in lines if line.startswith(b'{"topic":"orderbook.50.')]


def test_bybit_recorded_books_follow_each_other_and_read_as_msgspec_reads_them() -> None:
    """Each pair of a recorded snapshot and change: one more, and 50 levels a side afterwards."""
    books: dict[str, tuple[int, dict[int, int], dict[int, int]]] = {}
    followed = 0
    for line in recorded():
        got, topic = decode(line), json.loads(line)["topic"]
        assert got == expected(line)
        assert got is not None
        number, flags, _, bids, asks = got
        if flags & BASE:
            books[topic] = number, dict(bids), dict(asks)
            continue
        last, *sides = books.get(topic, (number - 1, {}, {}))
        if number != last + 1:
            continue  # of another recording
        was = [len(side) for side in sides]
        for side, changed in zip(sides, (bids, asks), strict=True):
            for price, quantity in changed:
                side.pop(price, None)
                if quantity:
                    side[price] = quantity
        followed += was == [50, 50]
        assert was != [50, 50] or [len(side) for side in sides] == was
        books[topic] = number, sides[0], sides[1]
    assert followed == (2 if recorded() else 0)
