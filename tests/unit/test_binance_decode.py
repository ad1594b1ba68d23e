"""The decoder of Binance's JSON against msgspec and Decimal: the same levels, or refused."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.proto.venues.binance import requests
from tickpath.proto.venues.decoder import find_decoder

CAPTURES = Path(__file__).resolve().parents[3] / "shared/reference/data/venues/binance_spot"
VENUE: Any = find_decoder("binance")
OK = int(lib.TP_DECODE_OK)
PRICE, QUANTITY = -4, -8
DEPTH = int(lib.TP_MEANING_DELTA)
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
out = ffi.new("struct tp_depth_update *")
other = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")
exact = msgspec.json.Decoder(float_hook=Decimal)

Update = tuple[int, int, int, list[tuple[int, int]], list[tuple[int, int]]]


def body_of(data: bytes, meaning: int = DEPTH) -> tuple[Any, Any]:
    """Return a body that stands at the very end of its memory, as its message does."""
    data += b"}"
    memory = ffi.new("uint8_t[]", data)
    scale = {"price_exponent": PRICE, "quantity_exponent": QUANTITY}
    what = {"data": memory, "size": len(data), "meaning": meaning, "scale": scale}
    return ffi.new("struct tp_body *", what), memory


def update_of(of: Any) -> Update:
    sides = [
        [(levels[i].price, levels[i].quantity) for i in range(count)]
        for levels, count in ((of.bids, of.bid_count), (of.asks, of.ask_count))
    ]
    return of.first_version, of.last_version, of.exchange_ns, sides[0], sides[1]


def spaced(data: bytes) -> bytes:
    """Put a space behind each mark outside strings: it leads round all that is read quickly."""
    return re.sub(
        rb'"(?:[^"\\]|\\.)*"?|[\[{,:]',
        lambda found: found[0] + b" " * (len(found[0]) == 1 and found[0] != b'"'),
        data,
        flags=re.DOTALL,
    )


def is_read_quickly(levels: bytes) -> bool:
    """Say whether an array of levels is read without the scanner."""
    memory = ffi.new("uint8_t[]", levels + bytes(64))
    end = memory + len(levels) + 64
    place = ffi.new("struct tp_json_place *", {"begin": memory, "at": memory, "end": end})
    scale = ffi.new("struct tp_scale *", [PRICE, QUANTITY])
    found = ffi.new("struct tp_level[]", int(lib.TP_DEPTH_LEVEL_COUNT_MAX))
    return bool(lib.tp_json_levels_usual(place, scale, found, ffi.new("uint32_t *")) != ffi.NULL)


@pytest.mark.parametrize("level", [b'["92877.59","0.5"]', b"[92877.59,0.5]"])
def test_binance_levels_with_spaces_are_left_to_the_scanner(level: bytes) -> None:
    """Else decode() compared the quick reading with itself."""
    words = Path("/proc/cpuinfo").read_text().split()
    assert is_read_quickly(b"[" + level + b"]") == ("avx2" in words and "bmi2" in words)
    assert not is_read_quickly(spaced(b"[" + level + b"]"))
    assert not is_read_quickly(b"[" + spaced(level) + b"]")


def decode(data: bytes, meaning: int = DEPTH) -> Update | None:
    """Decode it, and the same with spaces; None: refused."""
    body, _memory = body_of(data, meaning)
    status = int(VENUE.decode_depth(body, out))
    slow, _memory = body_of(spaced(data), meaning)
    assert status == VENUE.decode_depth(slow, other)
    if status != OK:
        return None
    assert update_of(out) == update_of(other)
    assert out.flags == other.flags
    return update_of(out)


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
    if not isinstance(said, dict) or said.get("e", "depthUpdate") != "depthUpdate":
        raise RefusedError
    try:
        first, last = whole(said["U"]), whole(said["u"])
        sides = [
            [(mantissa(row[0], PRICE), mantissa(row[1], QUANTITY)) for row in said[side]]
            for side in ("b", "a")
        ]
    except (LookupError, TypeError) as error:
        raise RefusedError from error
    return first, last, whole(said.get("E", 0)) * 1_000_000, sides[0], sides[1]


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
        if not is_text(data):
            return  # a WebSocket text message is UTF-8, RFC 6455 8.1: not checked again
        assert got is None, data
        return
    assert got in (want, None), data


prices = st.integers(0, 10**9).map(lambda n: f"{n // 10**4}.{n % 10**4:04}0000")
quantities = st.integers(0, 10**14).map(lambda n: f"{n // 10**8}.{n % 10**8:08}")
numbers = st.one_of(
    prices,
    quantities,
    st.sampled_from(["0", "1", "12", "0.5", "12.3400", "123456789.12", "1234567890123.4"]),
    st.sampled_from(["1e2", "1.2E-3", "0E-8", "0e0", "5e-9"]),
)
levels = st.lists(st.tuples(numbers, numbers), max_size=12)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Write a depth message as the venue does, or as any JSON writer might."""
    first = draw(st.integers(0, 2**63))
    fields: dict[str, Any] = {
        "e": "depthUpdate",
        "E": draw(st.integers(0, 2**43)),
        "s": draw(st.sampled_from(["BTCUSDT", "币安人生USDT", ""])),
        "U": first,
        "u": first + draw(st.integers(0, 50)),
        "b": draw(levels),
        "a": draw(levels),
    }
    if draw(st.booleans()):
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    fields["more"] = {"x": [1, None, True]}
    order = draw(st.permutations(list(fields)))
    spaced = {name: fields[name] for name in order}
    return json.dumps(spaced, indent=draw(st.sampled_from([None, 1]))).encode()


@given(messages())
def test_binance_message_is_read_as_msgspec_reads_it(data: bytes) -> None:
    check(data)
    try:
        want = expected(data)
    except RefusedError:
        return
    assert decode(data) == want


@given(messages(), st.data())
def test_binance_changed_message_is_read_alike_or_refused(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        piece = draw.draw(st.sampled_from([b"", b"0", b"9", b'"', b".", b"e", b",", b"]", b" "]))
        changed[at : at + draw.draw(st.integers(0, 2))] = piece
    check(bytes(changed))


HEAD = '{"e":"depthUpdate","E":1795000000100,"s":"BTCUSDT",'


@pytest.mark.parametrize(
    ("tail", "bids"),
    [
        ('"U":1,"u":2,"b":[["1.2e-3","1"]],"a":[]}', [(12, 10**8)]),
        ('"U":1,"u":2,"b":[["1","1.2e-7"]],"a":[]}', [(10**4, 12)]),
        ('"U":1,"u":2,"b":[["1","0E-8"]],"a":[]}', [(10**4, 0)]),
        ('"U":1,"u":2,"b":[[1.5,2]],"a":[]}', [(15000, 2 * 10**8)]),
        ('"U":1,"u":2,"b":[["1","2","3",[4]]],"a":[]}', [(10**4, 2 * 10**8)]),
        ('"U":1,"u":2,"b":[["7","7"]],"b":[["1","2"]],"a":[]}', [(10**4, 2 * 10**8)]),
        ('"U":1,"u":2,"b":[["1.00000000000000000000","2"]],"a":[]}', [(10**4, 2 * 10**8)]),
        ('"U":1,"u":2,"b":[["922337203685477.5807","2"]],"a":[]}', [(2**63 - 1, 2 * 10**8)]),
        ('"U":"1","u":"2","b":[],"a":[]}', []),
        ('"U":1,"u":2,"b":[["1","-0"]],"a":[]}', None),
        ('"U":1,"u":2,"b":[["-1","1"]],"a":[]}', None),
        ('"U":1,"u":2,"b":[["1.00001","1"]],"a":[]}', None),
        ('"U":1,"u":2,"b":[["922337203685477.5808","2"]],"a":[]}', None),
        ('"U":1,"u":2,"b":[["1"]],"a":[]}', None),
        ('"U":1,"u":2,"b":[["\\u0031","1"]],"a":[]}', None),
        ('"U":1,"u":2,"\\u0062":[["1","1"]],"b":[],"a":[]}', None),
        ('"U":1,"u":2,"b":[],"a":[]} ', []),
        ('"U":1,"u":2,"b":[],"a":[]}x', None),
        ('"U":2,"u":1,"b":[],"a":[]}', None),
        ('"U":1e0,"u":2,"b":[],"a":[]}', None),
        ('"U":-0,"u":2,"b":[],"a":[]}', None),
        ('"U":01,"u":2,"b":[],"a":[]}', None),
        ('"u":2,"b":[],"a":[]}', None),
        ('"U":1,"u":2,"b":[]}', None),
        ('"U":1,"u":2,"b":[],"a":null}', None),
        ('"U":1,"u":18446744073709551616,"b":[],"a":[]}', None),
        ('"e":"kline","U":1,"u":2,"b":[],"a":[]}', None),
    ],
)
def test_binance_corner_of_json(tail: str, bids: list[tuple[int, int]] | None) -> None:
    got = decode((HEAD + tail).encode())
    assert (None if got is None else got[3]) == bids


def routed(message: bytes) -> Update | None:
    """Route a message as the feed does, and decode it."""
    size = int(VENUE.router_size(1, 1))
    router, memory = ffi.new("uint64_t[]", size // 8 + 1), ffi.new("uint8_t[]", message)
    VENUE.router_init(router, 1, 1)
    assert VENUE.router_add(router, b"btcusdt@depth@100ms", 0)
    row = {"data": memory, "size": len(message), "opcode": 1}
    route = ffi.new("struct tp_route *")
    VENUE.route(router, ffi.new("struct tp_venue_message *", row), 0, route)
    if route.meaning != DEPTH:
        return None
    scale = {"price_exponent": PRICE, "quantity_exponent": QUANTITY}
    body = {"data": memory + route.body_offset, "size": route.body_size, "meaning": DEPTH}
    decoded = VENUE.decode_depth(ffi.new("struct tp_body *", {**body, "scale": scale}), out)
    return update_of(out) if decoded == OK else None


@pytest.mark.parametrize(
    ("behind", "is_read"),
    [
        ("}", True),
        (',"id":7}', True),
        (',"x":{"data":[1,{}]}}', True),
        (' , "x" : null } ', True),
        (',"data":{"U":1,"u":3,"b":[],"a":[]}}', None),
        (',"stream":"ethusdt@depth@100ms"}', False),
        (',"x":1', False),
        ("", False),
        ("}}", False),
    ],
)
@pytest.mark.parametrize("head", ['{"stream":"btcusdt@depth@100ms","data":', '{ "data":'])
def test_binance_what_stands_behind_the_data_says_nothing_of_them(
    head: str, behind: str, is_read: bool | None
) -> None:
    """A key more at the end left a book without a message for ever."""
    name = "" if "stream" in head else ',"stream":"btcusdt@depth@100ms"'
    got = routed(f'{head}{HEAD}"U":1,"u":2,"b":[],"a":[]}}{name}{behind}'.encode())
    if is_read is None:  # which of two would hold is not for us to say; a scanner takes the last
        assert got is None or got[1] == 3
    elif is_read or "stream" in head:
        assert (got is not None) == is_read


def test_binance_as_many_levels_as_are_decoded_and_one_more() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    rows = [[f"{n}.0001", "1.5"] for n in range(most)]
    for count in (most - 1, most):
        tail = json.dumps({"U": 1, "u": 2, "b": rows[:count], "a": []}, separators=(",", ":"))
        got = decode((HEAD + tail[1:]).encode())
        assert got is not None
        assert got[3] == [(n * 10**4 + 1, 15 * 10**7) for n in range(count)]
    tail = json.dumps({"U": 1, "u": 2, "b": [*rows, rows[0]], "a": []}, separators=(",", ":"))
    assert decode((HEAD + tail[1:]).encode()) is None


def test_binance_trade_says_who_took() -> None:
    text = (
        '{"e":"trade","E":1795000000101,"s":"BTCUSDT","t":12345,"p":"92877.59000000",'
        '"q":"0.01000000","T":1795000000100,"m":%s,"M":true}'
    )
    for maker, flags in (("true", int(lib.TP_TRADE_SELL)), ("false", 0)):
        body, _memory = body_of((text % maker).encode(), int(lib.TP_MEANING_TRADES))
        assert VENUE.decode_trades(body, trades) == OK
        one = trades.trades[0]
        assert (trades.count, one.id, one.flags) == (1, 12345, flags)
        assert (one.price, one.quantity) == (928775900, 10**6)
        assert (one.exchange_ns, trades.exchange_ns) == (
            1795000000100 * 10**6,
            1795000000101 * 10**6,
        )
    for missing in ('"m":true', '"t":12345', '"q":"0.01000000"'):
        data = (text % "true").replace(missing, '"x":1').encode()
        body, _memory = body_of(data, int(lib.TP_MEANING_TRADES))
        assert VENUE.decode_trades(body, trades) == lib.TP_DECODE_UNKNOWN


def test_binance_ticker_side_of_zeros_is_empty() -> None:
    text = '{"u":7,"s":"BTCUSDT","b":"0.00000000","B":"0.00000000","a":"2.5","A":"1"}'
    assert decode(text.encode(), int(lib.TP_MEANING_TOP)) == (7, 7, 0, [], [(25000, 10**8)])
    assert out.flags == lib.TP_DEPTH_TOP
    assert decode(text.replace('"A"', '"X"').encode(), int(lib.TP_MEANING_TOP)) is None


# ---- whole books ---------------------------------------------------------------------------------


def constructed() -> list[bytes]:
    """Write a chain of messages as wide as the recorded ones are."""
    rng, version, lines = random.Random(20261130), 50_093_421_585, []
    for _ in range(60):
        first, version = version, version + rng.randrange(1, 40)
        rows = [
            [
                [f"{rng.randrange(61000, 62000)}.{rng.randrange(100):02}000000", quantity]
                for quantity in (f"{rng.randrange(3)}.{rng.randrange(10**8):08}",)
                * rng.randrange(9)
            ]
            for _ in range(2)
        ]
        fields = {"U": first, "u": version - 1, "b": rows[0], "a": rows[1]}
        lines.append((HEAD + json.dumps(fields, separators=(",", ":"))[1:]).encode())
    return lines


def recorded(path: Path) -> list[bytes]:
    """Read the bodies of depth messages that somebody recorded."""
    found = []
    for line in path.read_bytes().splitlines():
        said = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        if b"@depth" in bytes(said.get("stream", b"")):
            found.append(bytes(said["data"]))
    return found


STREAMS = sorted(CAPTURES.glob("book_*.jsonl")) + sorted(CAPTURES.glob("depth_*.jsonl"))


@pytest.mark.parametrize("path", [None, *STREAMS], ids=lambda path: path and path.stem)
def test_binance_stream_chains_and_reads_as_msgspec_reads_it(path: Path | None) -> None:
    """The recorded ones run where they lie beside the project."""
    bodies = constructed() if path is None else recorded(path)
    assert len(bodies) > 5
    last = 0
    for data in bodies:
        body, _memory = body_of(data)
        body.scale.price_exponent = -8
        assert VENUE.decode_depth(body, out) == OK
        got, said = update_of(out), exact.decode(data)
        for side, key in ((got[3], "b"), (got[4], "a")):
            want = [(int(Decimal(p).scaleb(8)), int(Decimal(q).scaleb(8))) for p, q in said[key]]
            assert side == want
        assert last in (0, got[0] - 1), "the venue's numbers follow each other"
        last = got[1]


BASES = sorted(CAPTURES.glob("rest_depth_*.json"))


def test_binance_recorded_bases_meet_their_streams() -> None:
    """Each recorded book, where there are any: its base is met by a message of its stream."""
    for path in BASES:
        name = path.name.removeprefix("rest_depth_").removesuffix(".json")
        base = requests.parse_base(path.read_bytes(), -8, -8)
        chain = []
        for data in recorded(CAPTURES / f"book_{name}.jsonl"):
            body, _memory = body_of(data)
            body.scale.price_exponent = -8
            assert VENUE.decode_depth(body, out) == OK
            chain.append((out.first_version, out.last_version))
        after = [(first, last) for first, last in chain if last > base.version]
        assert after[0][0] <= base.version + 1 <= after[0][1]
