"""Gate's decoder against msgspec and Decimal: the same levels and numbers, or refused.

The oracle reads the same bytes into Decimal, which never becomes floating point. Frames of the
venue are read where they lie beside the project: most have no licence to be copied into it.
"""

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

SCALE = PRICE, QUANTITY = (-4, -8)
SYMBOL, INSTRUMENT = "BTC_USDT", 7
OK, UNKNOWN = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_UNKNOWN)
DELTA, TOP, TRADES = (int(getattr(lib, f"TP_MEANING_{one}")) for one in ("DELTA", "TOP", "TRADES"))
NO_MEANING, BROKEN = int(lib.TP_MEANING_UNKNOWN), int(lib.TP_MEANING_BROKEN)
BASE, TRUNCATED = int(lib.TP_DEPTH_BASE), int(lib.TP_DEPTH_TRUNCATED)
FRAMES = Path(__file__).resolve().parents[3] / "shared/reference/data/venues"
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
MS = 1_000_000

Levels = list[tuple[int, int]]
Update = tuple[int, int, int, int, Levels, Levels]
"""First and last number, flags, time, bids, asks."""

VENUE: Any = find_decoder("gate")
out = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")
exact = msgspec.json.Decoder(float_hook=Decimal)
KINDS = ("obu.50", "order_book_update.100", "trades", "book_ticker")


def make_router(market: str, symbol: str, kind: str = "obu.50") -> Any:
    memory = ffi.new("uint64_t[]", VENUE.router_size(8, 1) // 8 + 1)
    VENUE.router_init(memory, 8, 1)
    assert VENUE.router_add(memory, f"{market}.{kind}:{symbol}".encode(), INSTRUMENT)
    return memory


ROUTERS = {
    f"{market}.{kind.partition('.')[0]}": make_router(market, SYMBOL, kind)
    for market in ("spot", "futures")
    for kind in ("obu.50", "order_book_update.100")
}


class Part:
    """A part of a message that stands at the very end of its memory, and what is decoded of it."""

    def __init__(self, data: bytes, router: Any, start: int = 0) -> None:
        self._data = ffi.new("uint8_t[]", data or b"\0")
        what = {"data": self._data, "size": len(data), "opcode": 1}
        route = ffi.new("struct tp_route *")
        VENUE.route(router, ffi.new("struct tp_venue_message *", what), start, route)
        self.meaning, self.instrument = int(route.meaning), int(route.instrument)
        self.next_offset = int(route.next_offset)
        self.body = data[route.body_offset : route.body_offset + route.body_size]

    def decode(self, scale: tuple[int, int] = SCALE) -> int:
        body = ffi.new("uint8_t[]", self.body)
        fields = {"data": body, "size": len(self.body), "meaning": self.meaning, "scale": scale}
        self.what = ffi.new("struct tp_body *", fields)
        self._body = body
        if self.meaning == TRADES:
            return int(VENUE.decode_trades(self.what, trades))
        return int(VENUE.decode_depth(self.what, out))


def read(data: bytes, channel: str = "spot.obu") -> Update | None:
    """Route and decode; None: of nobody, or refused."""
    part = Part(data, ROUTERS[channel])
    if part.meaning != DELTA or part.decode() != OK:
        return None
    assert part.instrument == INSTRUMENT
    bids, asks = (
        [(levels[i].price, levels[i].quantity) for i in range(count)]
        for levels, count in ((out.bids, out.bid_count), (out.asks, out.ask_count))
    )
    found = out.first_version, out.last_version, out.flags, out.exchange_ns, bids, asks
    assert out.previous_version == out.checksum == 0
    assert VENUE.read_versions(part.what, out)
    assert (out.first_version, out.last_version) == found[:2]
    return found


# ---- the oracle ----------------------------------------------------------------------------------


class RefusedError(Exception):
    """The oracle finds no book's message of this channel."""


def mantissa(value: object, exponent: int) -> int:
    if isinstance(value, str):
        if not NUMBER.fullmatch(value):
            raise RefusedError
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise RefusedError
    if Decimal(value) and abs(Decimal(value).adjusted()) > 40:
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


def level(row: Any) -> tuple[int, int]:
    price, quantity = (row["p"], row["s"]) if isinstance(row, dict) else row[:2]
    return mantissa(price, PRICE), mantissa(quantity, QUANTITY)


def expected(data: bytes, channel: str) -> Update:
    try:
        said = exact.decode(data)
        if said["channel"] != channel or said.get("event", "") not in ("", "update"):
            raise RefusedError
        of = said["result"]
        is_obu = channel.endswith("obu")
        if of["s"] != (f"ob.{SYMBOL}.50" if is_obu else SYMBOL) or said.get("error") is not None:
            raise RefusedError
        last, full = whole(of["u"]), of.get("full", False)
        bids, asks = ([level(row) for row in of.get(side, [])] for side in ("b", "a"))
        if not isinstance(full, bool) or (full and not {"a", "b"} & of.keys()):
            raise RefusedError
        first = last if full else whole(of["U"])
        if full:
            whole(of.get("U", 0))
        time_ms = whole(of.get("t", 0))
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, ValueError) as error:
        raise RefusedError from error
    if first > last or time_ms * MS >= 2**64:
        raise RefusedError
    flags = (BASE | (0 if is_obu else TRUNCATED)) if full else 0
    return first, last, flags, time_ms * MS, bids, asks


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def check(data: bytes, channel: str) -> None:
    """Hold what was read to the oracle; what the oracle refuses must be refused."""
    got = read(data, channel)
    try:
        want = expected(data, channel)
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
pairs = st.lists(st.tuples(numbers, numbers), max_size=12)
objects = st.lists(
    st.one_of(
        st.fixed_dictionaries({"p": numbers, "s": numbers}),
        st.fixed_dictionaries({"s": st.integers(0, 10**6), "p": numbers}),
    ),
    max_size=12,
)


@st.composite
def messages(draw: st.DrawFn, channel: str) -> bytes:
    """Write a book's message as a market does, as the documents do, or as any writer might."""
    is_obu = channel.endswith("obu")
    full = {"full": True} if draw(st.integers(0, 3)) == 0 else {}
    last = draw(st.integers(0, 2**63))
    versions: dict[str, int] = {"u": last}
    if not full or draw(st.booleans()):
        versions = {"U": max(0, last - draw(st.integers(-1, 9)))} | versions
    levels = objects if channel == "futures.order_book_update" else pairs
    sides = {side: draw(levels) for side in ("b", "a") if draw(st.integers(0, 3))}
    name = f"ob.{SYMBOL}.50" if is_obu else SYMBOL
    time = {"t": draw(st.integers(0, 2**44))}
    event = {} if is_obu else {"e": "depthUpdate", "E": 1795000000}
    result: dict[str, Any] = {**time, **full, **event, "s": name, **versions, **sides}
    head = {"time": 1795000000, "time_ms": 1795000000326}
    shape = draw(st.integers(0, 3))
    if shape == 0:
        frame: dict[str, Any] = {**head, "channel": channel, "event": "update", "result": result}
    elif shape == 1:
        frame = {"channel": channel, "result": result, "time_ms": 1795000000326}
    elif shape == 2:
        more = {"error": None, "more": {"x": [1, None]}}
        frame = {**head, "channel": channel, "event": "update", "result": result, **more}
    else:
        frame = {"result": {key: result[key] for key in draw(st.permutations(list(result)))}}
        frame |= {"id": None, "channel": channel, "error": None, "event": "update"}
        return json.dumps(frame, indent=draw(st.sampled_from([None, 1]))).encode()
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()


of_a_channel = st.sampled_from(sorted(ROUTERS)).flatmap(
    lambda channel: st.tuples(messages(channel), st.just(channel))
)


@given(of_a_channel)
def test_gate_message_is_read_as_msgspec_reads_it(message: tuple[bytes, str]) -> None:
    check(*message)
    try:
        want = expected(*message)
    except RefusedError:
        return
    assert read(*message) == want


@given(of_a_channel, st.data())
def test_gate_changed_message_is_read_alike_or_refused(
    message: tuple[bytes, str], draw: st.DataObject
) -> None:
    data, channel = message
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        piece = draw.draw(st.sampled_from([b"", b"0", b"9", b'"', b".", b"e", b",", b"]", b" "]))
        changed[at : at + draw.draw(st.integers(0, 2))] = piece
    check(bytes(changed), channel)


HEAD = '{"time":1795000000,"time_ms":1795000000326,"channel":"spot.obu","event":"update","result":'
NAME = '"s":"ob.BTC_USDT.50"'
USUAL = f'{{"t":1,{NAME},"U":1,"u":2}}}}'


@pytest.mark.parametrize(
    ("tail", "bids"),
    [
        ('{"t":1,%s,"U":1,"u":2,"b":[["1.2e-3","1"]]}}', [(12, 10**8)]),
        ('{"t":1,%s,"U":1,"u":2,"b":[["1","2","0.5"]]}}', [(10**4, 2 * 10**8)]),
        ('{"t":1,%s,"U":1,"u":2,"b":[[1,2]]}}', [(10**4, 2 * 10**8)]),
        ('{"t":1,%s,"U":1,"u":2,"b":[{"p":"1","s":2,"x":1}]}}', [(10**4, 2 * 10**8)]),
        ('{"t":1,%s,"U":1,"u":2,"b":[["7","7"]],"b":[["1","2"]]}}', [(10**4, 2 * 10**8)]),
        ('{"t":1,%s,"U":1,"u":2}}', []),
        ('{"t":1,%s,"U":2,"u":2}}', []),
        ('{"t":1,%s,"U":1,"u":2},"id":null}', []),
        ('{"t":1,%s,"U":3,"u":2}}', None),
        ('{"t":1,%s,"u":2}}', None),
        ('{"t":1,%s,"U":1}}', None),
        ('{"t":1,"full":true,%s,"u":2}}', None),
        ('{"t":1,"full":true,%s,"U":1,"b":[]}}', None),
        ('{"t":1,"full":1,%s,"u":2,"b":[]}}', None),
        ('{"t":1,%s,"U":1,"u":2,"b":null}}', None),
        ('{"t":1,%s,"U":1,"u":2,"b":[["1"]]}}', None),
        ('{"t":1,%s,"U":1,"u":2,"b":[{"p":"1"}]}}', None),
        ('{"t":1,%s,"U":1,"u":2,"b":[["1","-0"]]}}', None),
        ('{"t":1,%s,"U":1,"u":2,"b":[["1.00001","1"]]}}', None),
        ('{"t":1,%s,"U":1,"u":-2}}', None),
        ('{"t":1,%s,"U":1,"u":18446744073709551616}}', None),
        ('{"t":1,%s,"U":1,"u":2,"\\u0062":[["1","1"]]}}', None),
        ('{"t":1,%s,"U":1,"u":2},"result":{}}', None),
        ('{"t":1,%s,"U":1,"u":2},"event":"update"}', None),
        ('{"t":1,%s,"U":1,"u":2,"s":"ob.BTC_USDT.400"}}', None),
        ('{"t":1,%s,"U":1,"u":2}}x', None),
        ('{"t":1,%s,"U":1,"u":2}', None),
        ('{"t":18446744073710,%s,"U":1,"u":2}}', None),
    ],
)
def test_gate_corner_of_json(tail: str, bids: Levels | None) -> None:
    got = read((HEAD + tail % NAME).encode())
    assert (None if got is None else got[4]) == bids


@pytest.mark.parametrize(
    ("was", "now", "is_json"),
    [
        *(("1795000000,", f"{now},", True) for now in ("1", '"17950000"', "1795000000.5")),
        *(("1795000000,", f"{now},", False) for now in ("0179500000", "17950000-1", "179500000.")),
        *(("1795000000326", now, True) for now in ("1", '"17950000003"', "1795000000.32")),
        *(("1795000000326", now, False) for now in ("0179500000032", "17950000-0326")),
    ],
)
def test_gate_head_that_is_no_time_is_read_the_long_way(was: str, now: str, is_json: bool) -> None:
    text = HEAD.replace(was, now, 1) + USUAL
    assert (read(text.encode()) is not None) == is_json


def test_gate_as_many_levels_as_are_decoded_and_one_more() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    for form in (lambda n: [f"{n}.0001", "1.5"], lambda n: {"p": f"{n}.0001", "s": "1.5"}):
        for count, is_read in ((most, True), (most + 1, False)):
            side = json.dumps([form(n % most) for n in range(count)], separators=(",", ":"))
            got = read((HEAD + f'{{"t":1,"full":true,{NAME},"u":2,"a":{side}}}}}').encode())
            assert (got is not None) == is_read
            if got is not None:
                assert got[5] == [(n * 10**4 + 1, 15 * 10**7) for n in range(count)]


def test_gate_versions_of_a_message_whose_levels_are_refused() -> None:
    text = HEAD + f'{{"t":1,{NAME},"U":5,"u":17,"b":[["1.00001","1"]]}}}}'
    for size, is_sure in ((len(text), True), (text.index(',"b"') + 8, True)):
        part = Part(text[:size].encode(), ROUTERS["spot.obu"])
        part.meaning = DELTA
        part.body = text[len(HEAD) : size].encode()
        assert part.decode() != OK
        assert bool(VENUE.read_versions(part.what, out)) is is_sure
        assert (out.first_version, out.last_version) == (5, 17)
    part.body = text[len(HEAD) : text.index('7,"b"') + 1].encode()  # the number could go on
    part.decode()
    assert not VENUE.read_versions(part.what, out)


# ---- best prices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "want"),
    [
        ('"b":"1.5","B":"2","a":"1.6","A":"3"', ([(15000, 2 * 10**8)], [(16000, 3 * 10**8)])),
        ('"b":"1.5","B":2,"a":"1.6","A":3', ([(15000, 2 * 10**8)], [(16000, 3 * 10**8)])),
        ('"A":"3","a":"1.6","b":"","B":"0"', ([], [(16000, 3 * 10**8)])),
        ('"b":"1.5","B":"0","a":"","A":"3"', ([], [])),
        ('"b":"1.5","B":"2","a":"1.6"', None),
        ('"b":"x","B":"2","a":"1.6","A":"3"', None),
    ],
)
def test_gate_best_prices_are_read(sides: str, want: tuple[Levels, Levels] | None) -> None:
    head = HEAD.replace("spot.obu", "spot.book_ticker")
    part = Part(
        (head + f'{{"t":1795000000123,"u":7,"s":"BTC_USDT",{sides}}}}}').encode(),
        ROUTERS["spot.obu"],
    )
    assert part.meaning == TOP
    status = part.decode()
    assert (status == OK) == (want is not None)
    if want is not None:
        bids, asks = (
            [(levels[i].price, levels[i].quantity) for i in range(count)]
            for levels, count in ((out.bids, out.bid_count), (out.asks, out.ask_count))
        )
        assert (bids, asks) == want
        assert (out.last_version, out.flags) == (7, int(lib.TP_DEPTH_TOP))
        assert out.exchange_ns == 1795000000123 * MS


# ---- trades --------------------------------------------------------------------------------------

SPOT_TRADE = (
    '{"id":309143071,"create_time":1795000000,"create_time_ms":"1795000000213.4578",'
    '"side":"sell","currency_pair":"BTC_USDT","amount":"16.47","price":"0.4705"}}'
)
SELL = int(lib.TP_TRADE_SELL)


def spot_trade(body: str) -> int:
    part = Part((HEAD.replace("spot.obu", "spot.trades") + body).encode(), ROUTERS["spot.obu"])
    assert part.meaning == TRADES
    return part.decode()


def test_gate_trade_of_spot_says_who_took_and_when() -> None:
    assert spot_trade(SPOT_TRADE) == OK
    one = trades.trades[0]
    assert (trades.count, one.id, one.price, one.quantity) == (1, 309143071, 4705, 1647000000)
    assert (one.flags, one.exchange_ns) == (SELL, 1795000000213457800)
    assert spot_trade(SPOT_TRADE.replace("sell", "buy")) == OK
    assert trades.trades[0].flags == 0


@pytest.mark.parametrize(
    ("was", "now", "time_ns"),
    [
        ('"1795000000213.4578"', '"1795000000213.45780019"', 1795000000213457800),
        ('"1795000000213.4578"', "1795000000213", 1795000000213000000),
        ('"create_time_ms"', '"x"', 1795000000000000000),
        ('"1795000000213.4578"', '"later"', None),
        ('"1795000000213.4578"', "-1", None),
    ],
)
def test_gate_time_of_a_trade(was: str, now: str, time_ns: int | None) -> None:
    assert (spot_trade(SPOT_TRADE.replace(was, now)) == OK) == (time_ns is not None)
    if time_ns is not None:
        assert trades.trades[0].exchange_ns == time_ns


@pytest.mark.parametrize("missing", ['"side"', '"amount"', '"price"'])
def test_gate_trade_that_lacks_something_is_unknown(missing: str) -> None:
    assert spot_trade(SPOT_TRADE.replace(missing, '"x"')) == UNKNOWN
    assert spot_trade(SPOT_TRADE.replace('"sell"', '"both"')) == UNKNOWN


def contract(size: str, symbol: str = SYMBOL, number: int = 5) -> str:
    times = '"create_time":1795000000,"create_time_ms":1795000000123'
    return f'{{"size":{size},"id":{number},{times},"price":"96.4","contract":"{symbol}"}}'


def contract_parts(*trades_: str) -> list[Part]:
    head = HEAD.replace("spot.obu", "futures.trades")
    data, router = f"{head}[{','.join(trades_)}]}}".encode(), ROUTERS["futures.obu"]
    found = [Part(data, router)]
    while found[-1].next_offset:
        assert len(found) < len(data)
        found.append(Part(data, router, found[-1].next_offset))
    return found


@pytest.mark.parametrize(
    ("size", "quantity", "flags"),
    [
        ("-108", 108 * 10**8, SELL),
        ("7", 7 * 10**8, 0),
        ('"-108.5"', 1085 * 10**7, SELL),
        ('"0.25"', 25 * 10**6, 0),
        ("0", 0, 0),
        ('"-"', None, 0),
        ('"--1"', None, 0),
        ("null", None, 0),
    ],
)
def test_gate_size_of_contracts_says_who_took(size: str, quantity: int | None, flags: int) -> None:
    (part,) = contract_parts(contract(size))
    assert part.meaning == TRADES
    assert (part.decode() == OK) == (quantity is not None)
    if quantity is not None:
        one = trades.trades[0]
        assert (one.quantity, one.flags, one.price, one.id) == (quantity, flags, 964000, 5)
        assert one.exchange_ns == 1795000000123 * MS


def test_gate_trades_of_a_message_go_each_to_its_own_contract() -> None:
    parts = contract_parts(contract("1"), contract("2", "ETH_USDT"), contract("3", number=6))
    assert [part.meaning for part in parts] == [TRADES, NO_MEANING, TRADES]
    assert parts[2].decode() == OK
    assert (trades.trades[0].quantity, trades.trades[0].id) == (3 * 10**8, 6)
    (nothing,) = contract_parts()
    assert nothing.meaning == NO_MEANING
    first, odd = contract_parts(contract("1"), "5")
    assert (first.meaning, odd.meaning) == (TRADES, NO_MEANING)


def test_gate_size_that_is_finer_than_the_scale_is_named() -> None:
    for size in ('"-1.5"', "1.5"):
        (part,) = contract_parts(contract(size))
        assert part.decode((-2, 0)) == lib.TP_DECODE_TOO_FINE
        misfit = ffi.new("struct tp_misfit *")
        part.what.misfit = misfit
        assert VENUE.decode_trades(part.what, trades) == lib.TP_DECODE_TOO_FINE
        assert ffi.buffer(misfit.text.at, misfit.text.size)[:] == b"1.5"
        assert misfit.kind == lib.TP_NUMBER_QUANTITY


# ---- which subscription a message is of ----------------------------------------------------------


def described(name: str) -> Any:
    return VENUE.describe(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        *("obu.50:BTC_USDT", "spot.obu:BTC_USDT", "spot.obu.20:BTC_USDT", "spot.obu.50:"),
        *("spot.obu.50", "options.obu.50:BTC_USDT", "spot.trades.5:BTC_USDT", 'spot.trades:A"'),
        *("spot.order_book_update.50:BTC_USDT", "spot.trades:A:B", "spot.", "futures"),
    ],
)
def test_gate_channel_of_nobody_is_not_described(name: str) -> None:
    assert described(name) == ffi.NULL
    assert not VENUE.router_add(make_router("spot", "X_Y"), name.encode(), 1)


def test_gate_channels_of_books_have_their_rules() -> None:
    for market in ("spot", "futures"):
        for levels in (50, 400):
            rule = described(f"{market}.obu.{levels}:BTC_USDT").rule
            assert (rule.depth, rule.base) == (levels, lib.TP_BASE_IN_BAND)
        for levels in (20, 100):
            rule = described(f"{market}.order_book_update.{levels}:BTC_USDT").rule
            assert (rule.depth, rule.base) == (0, lib.TP_BASE_REST)
        for kind in ("trades", "book_ticker"):
            assert described(f"{market}.{kind}:BTC_USDT").rule == ffi.NULL


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("ob.BTC_USDT.50", "ob.BTC_USDT.400"),
        ("ob.BTC_USDT.50", "ob.ETH_USDT.50"),
        ("ob.BTC_USDT.50", "BTC_USDT"),
        ("ob.BTC_USDT.50", "ob..50"),
        ("ob.BTC_USDT.50", "ob.50"),
        ("spot.obu", "futures.obu"),
        ("spot.obu", "spot.order_book_update"),
        ("spot.obu", "spot.obu_v2"),
    ],
)
def test_gate_message_of_nobody_is_unknown(was: str, now: str) -> None:
    text = HEAD + USUAL
    assert Part(text.encode(), ROUTERS["spot.obu"]).meaning == DELTA
    assert Part(text.replace(was, now).encode(), ROUTERS["spot.obu"]).meaning == NO_MEANING


def test_gate_symbol_has_one_book_and_its_markets_others() -> None:
    router = make_router("futures", SYMBOL, "order_book_update.20")
    assert not VENUE.router_add(router, f"futures.obu.50:{SYMBOL}".encode(), INSTRUMENT)
    assert not VENUE.router_add(router, f"futures.trades:{SYMBOL}".encode(), INSTRUMENT + 1)
    (part,) = (
        Part(
            (HEAD.replace("spot.obu", "futures.trades") + f"[{contract('1')}]}}").encode(), router
        ),
    )
    assert part.meaning == TRADES
    spot = (HEAD.replace("spot.obu", "spot.trades") + SPOT_TRADE).encode()
    assert Part(spot, router).meaning == NO_MEANING


# ---- what the venue sent -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channel", "symbol"),
    [
        ("gate_spot/book_update_fast_usdt_2021.jsonl", "spot.order_book_update.100", "FAST_USDT"),
        ("gate_spot/book_update_omg_usdt_2021.jsonl", "spot.order_book_update.100", "OMG_USDT"),
        (
            "gate_usdt_futures/book_update_woo_usdt_2023.jsonl",
            "futures.order_book_update.100",
            "WOO_USDT",
        ),
        ("gate_usdt_futures/obu_seq_btc_20260915.jsonl", "futures.obu.50", "BTC_USDT"),
    ],
)
def test_gate_captures_are_a_chain(name: str, channel: str, symbol: str) -> None:
    if not FRAMES.exists():
        pytest.skip("the captures are not here")
    market, _, kind = channel.partition(".")
    router, last, count = make_router(market, symbol, kind), None, 0
    for line in (FRAMES / name).read_text().splitlines():
        part = Part(line.encode(), router)
        if part.meaning != DELTA:
            continue
        assert part.decode((-4, -10)) == OK, line
        said = json.loads(line)["result"]
        first = said.get("U", said["u"])
        assert (out.first_version, out.last_version) == (first, said["u"])
        assert (out.bid_count, out.ask_count) == tuple(len(said.get(side, [])) for side in "ba")
        assert last is None or out.first_version == last + 1
        last, count = out.last_version, count + 1
    assert count >= 3
