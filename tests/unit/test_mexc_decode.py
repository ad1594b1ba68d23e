"""The C decoder against Google's protobuf, on well-formed, odd and damaged messages.

The oracle parses the same bytes with mexc.proto; `lenient` is the same schema with bytes for
strings, since our decoder does not check that text it never reads is UTF-8 (a documented
difference). Groups are the other one: we refuse them, protobuf skips them.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.proto.records import DEPTH_LEVEL_COUNT_MAX
from tickpath.proto.venues.mexc import mexc_pb2
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper

CHANNEL = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT"
PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
DEPTH_BODIES = {302: "publicIncreaseDepths", 303: "publicLimitDepths", 313: "publicAggreDepths"}
TICKER_BODIES = {305: "publicBookTicker", 315: "publicAggreBookTicker"}
DEPTHS_BATCH, TICKER_BATCH = 312, 311
OK = int(lib.TP_DECODE_OK)
NUMBERS = frozenset(
    int(getattr(lib, f"TP_DECODE_{name}")) for name in ("BAD_NUMBER", "TOO_FINE", "TOO_LARGE")
)
NOT_ROUTED = -1  # no status: the channel is not ours


class Update(NamedTuple):
    """What a depth message says, from either decoder."""

    first_version: int
    last_version: int
    exchange_ns: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


out = ffi.new("struct tp_depth_update *")


def _router() -> tuple[Any, Any]:
    memory = ffi.new("uint8_t[]", lib.tp_mexc_router_memory_size(4))
    router = lib.tp_mexc_router_init(memory, 4)
    assert lib.tp_mexc_router_add(router, CHANNEL.encode(), 7)
    return router, memory


def decode(
    message: bytes, price: int = PRICE_EXPONENT, quantity: int = QUANTITY_EXPONENT
) -> tuple[int, Update | None]:
    """Route and decode a whole message that stands at the very end of its memory."""
    router, _memory = _router()
    route = ffi.new("struct tp_route *")
    data = ffi.new("uint8_t[]", message) if message else ffi.new("uint8_t[1]")
    if not lib.tp_mexc_route(router, data, len(message), route):
        return NOT_ROUTED, None
    assert (route.instrument, route.meaning) == (7, lib.TP_MEANING_DELTA)
    assert route.body_offset + route.body_size == len(message)
    scale = ffi.new("struct tp_scale *", {"price_exponent": price, "quantity_exponent": quantity})
    body = data + route.body_offset
    status = lib.tp_mexc_decode_depth(body, route.body_size, scale, out)
    if status != OK:
        return int(status), None
    sides = [
        [(levels[i].price, levels[i].quantity) for i in range(count)]
        for levels, count in ((out.bids, out.bid_count), (out.asks, out.ask_count))
    ]
    return OK, Update(out.first_version, out.last_version, out.exchange_ns, *sides)


def _lenient_wrapper() -> Any:
    file = descriptor_pb2.FileDescriptorProto()
    mexc_pb2.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for field in message.field:
            if field.type == field.TYPE_STRING:
                field.type = field.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("PushDataV3ApiWrapper"))


LenientWrapper = _lenient_wrapper()


class RefusedError(Exception):
    """The oracle finds a number that is none, or no depth body."""


def _number(text: bytes, exponent: int) -> int:
    if not re.fullmatch(rb"[0-9]+(\.[0-9]+)?", text):
        raise RefusedError
    value = Fraction(text.decode()) * 10**-exponent
    if value.denominator != 1 or value >= 2**63:
        raise RefusedError
    return int(value)


def _version(text: bytes) -> int:
    if not re.fullmatch(rb"[0-9]+", text) or int(text) >= 2**64:
        raise RefusedError
    return int(text)


def _depth(body: Any, aggregated: bool) -> tuple[int, int, list[Any]]:
    first = _version(body.fromVersion if aggregated else body.version)
    last = _version(body.toVersion) if aggregated else first
    if first > last:
        raise RefusedError
    sides = [
        [(_number(i.price, PRICE_EXPONENT), _number(i.quantity, QUANTITY_EXPONENT)) for i in side]
        for side in (body.bids, body.asks)
    ]
    if any(len(side) > DEPTH_LEVEL_COUNT_MAX for side in sides):
        raise RefusedError
    return first, last, sides


def _depths_batch(body: Any) -> tuple[int, int, list[Any]]:
    """Each change has its place behind the one before; together they are one."""
    read = [_depth(one, False) for one in body.items]
    numbers = [version for version, _, _ in read]
    if not read or numbers != list(range(numbers[0], numbers[0] + len(read))):
        raise RefusedError
    bids, asks = ([level for _, _, of in read for level in of[side]] for side in (0, 1))
    return numbers[0], numbers[-1], [bids, asks]


def _ticker_batch(body: Any) -> tuple[int, int, list[Any]]:
    """The last one is the newest."""
    if not body.items:
        raise RefusedError
    _, _, sides = _ticker(body.items[-1], False)
    version = _version(body.version) if body.version else 0
    return version, version, sides


def _ticker(body: Any, aggregated: bool) -> tuple[int, int, list[Any]]:
    version = _version(body.version) if aggregated and body.version else 0
    sides = []
    for price, quantity in ((body.bidPrice, body.bidQuantity), (body.askPrice, body.askQuantity)):
        empty = not price and not quantity
        sides.append(
            []
            if empty
            else [(_number(price, PRICE_EXPONENT), _number(quantity, QUANTITY_EXPONENT))]
        )
    return version, version, sides


def oracle(message: bytes) -> Update:
    """Return what protobuf reads; raises DecodeError or RefusedError."""
    wrapper = LenientWrapper.FromString(message)
    name = wrapper.WhichOneof("body")
    number = wrapper.DESCRIPTOR.fields_by_name[name].number if name else 0
    if number in DEPTH_BODIES:
        values = _depth(getattr(wrapper, name), number == 313)
    elif number in TICKER_BODIES:
        values = _ticker(getattr(wrapper, name), number == 315)
    elif number == DEPTHS_BATCH:
        values = _depths_batch(wrapper.publicIncreaseDepthsBatch)
    elif number == TICKER_BATCH:
        values = _ticker_batch(wrapper.publicBookTickerBatch)
    else:
        raise RefusedError
    time_ms = wrapper.sendTime or wrapper.createTime
    if not 0 <= time_ms <= (2**64 - 1) // 10**6:
        raise RefusedError
    first, last, (bids, asks) = values
    return Update(first, last, time_ms * 10**6, bids, asks)


def has_group(message: Any) -> bool:
    """Whether any unknown field of the message or its parts is a group."""
    pending = [message]
    while pending:
        part = pending.pop()
        fields: Any = unknown_fields.UnknownFieldSet(part)
        if any(field.wire_type == 3 for field in fields):
            return True
        for field, value in part.ListFields():
            if field.message_type is not None:
                pending.extend(
                    value if isinstance(value, (list,)) or hasattr(value, "append") else [value]
                )
    return False


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] > 0x7F:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def body_kinds(message: bytes) -> set[int]:
    """Return the field numbers of all bodies of a well-formed wrapper, replaced ones too."""
    kinds, at = set(), 0
    while at < len(message):
        tag, at = _varint_at(message, at)
        value, behind = _varint_at(message, at)
        at = {0: behind, 1: at + 8, 2: behind + value, 5: at + 4}[tag & 7]
        if tag & 7 == 2 and 301 <= tag >> 3 <= 315:
            kinds.add(tag >> 3)
    return kinds


def check_same(message: bytes) -> None:
    """Assert that we accept what protobuf and the number rules accept, with the same values."""
    status, ours = decode(message)
    try:
        expected = oracle(message)
    except (DecodeError, RefusedError):
        assert status != OK, f"accepted what the oracle refuses: {message.hex()}"
        return
    if status != OK:
        if status in NUMBERS and len(body_kinds(message)) > 1:
            return  # in a body that another one replaced: protobuf forgets it, we do not
        assert has_group(LenientWrapper.FromString(message)), (
            f"refused ({ffi.string(lib.tp_decode_status_name(status))!r}) what the oracle reads: "
            f"{message.hex()}"
        )
        return
    assert ours == expected


# A writer of odd but legal protobuf: any order, padded varints, unknown fields.


def varint(value: int, padding: int = 0, size_max: int = 10) -> bytes:
    """Encode, with up to `padding` useless continuation bytes."""
    data = bytearray()
    value &= 2**64 - 1
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    for _ in range(min(padding, size_max - len(data))):
        data[-1] |= 0x80
        data.append(0)
    return bytes(data)


paddings = st.sampled_from([0, 0, 0, 0, 1, 2, 9])


@st.composite
def text_field(draw: Any, number: int, values: Any) -> bytes:
    """Draw one length-delimited field."""
    value = draw(values)
    value = value.encode() if isinstance(value, str) else value
    return (
        varint(number << 3 | 2, draw(paddings), 5) + varint(len(value), draw(paddings), 5) + value
    )


@st.composite
def integer_field(draw: Any, number: int, values: Any) -> bytes:
    """Draw one varint field."""
    return varint(number << 3, draw(paddings), 5) + varint(draw(values), draw(paddings))


unknown = st.one_of(
    text_field(60, st.binary(max_size=20)),
    integer_field(61, st.integers(0, 2**64 - 1)),
    st.binary(min_size=4, max_size=4).map(lambda b: varint(62 << 3 | 5) + b),
    st.binary(min_size=8, max_size=8).map(lambda b: varint((2**29 - 1) << 3 | 1) + b),
)
prices = st.integers(0, 10**9).map(lambda v: f"{v // 100}.{v % 100:02}")
quantities = st.one_of(
    st.integers(0, 10**12).map(lambda v: f"{v // 10**8}.{v % 10**8:08}"),
    st.sampled_from(["0", "0.00000000", "1", "12.5", "92233720368.54775807", "007.10"]),
)
odd_numbers = st.sampled_from(
    ["", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1 ", "1..2", "1.2.3", "0.123456789", "NaN",
     "99999999999.0", "92233720368.54775808", "1" * 40, "0." + "0" * 40, "12345678.123", "12345678",
     "123456789012345.6", "1:2", "1/2", "é"]
)  # fmt: skip
numbers = st.one_of(*[quantities] * 9, odd_numbers)
versions = st.one_of(
    *[st.integers(1, 2**63).map(str)] * 6,
    st.sampled_from(["0", "", "x", "-1", "18446744073709551615", "18446744073709551616", "1.5"]),
)
event = text_field(3, st.just("spot@public.aggre.depth.v3.api.pb@100ms"))
later_time = integer_field(6, st.integers(-(2**63), 2**63 - 1))  # what MEXC added in 2026


def joined(*parts: Any, extra: Any = unknown) -> Any:
    """Draw all parts and some extras in any order."""
    return st.tuples(*parts, st.lists(extra, max_size=2)).flatmap(
        lambda drawn: st.permutations([*drawn[:-1], *drawn[-1]]).map(b"".join)
    )


item = st.one_of(
    *[st.tuples(text_field(1, prices), text_field(2, quantities)).map(b"".join)] * 4,
    joined(text_field(1, numbers), text_field(2, numbers)),
)
levels = st.lists(st.one_of(text_field(1, item), text_field(2, item)), max_size=6).map(b"".join)
wrong_types = st.one_of(*[integer_field(n, st.integers(0, 99)) for n in range(1, 6)])
depth_body = st.one_of(
    joined(levels, event, text_field(4, versions), extra=st.one_of(unknown, wrong_types)),
    joined(levels, text_field(4, st.just("5")), text_field(5, versions), later_time),
    st.tuples(levels, event, text_field(4, st.just("1")), text_field(5, versions)).map(b"".join),
    joined(levels),
)
ticker_body = st.one_of(
    joined(*[text_field(n, numbers) for n in (1, 2, 3, 4)]),
    joined(*[text_field(n, prices) for n in (1, 2, 3, 4)], text_field(5, versions), later_time),
    joined(text_field(1, prices), text_field(2, quantities)),
)


@st.composite
def depths_batch_body(draw: Any) -> bytes:
    """Draw a batch whose items' versions mostly follow each other."""
    version, parts = draw(st.integers(1, 2**40)), []
    for _ in range(draw(st.integers(0, 4))):
        parts.append(draw(text_field(4, st.just(str(version)))) + draw(levels))
        version += draw(st.sampled_from([1] * 12 + [0, 2, -1]))
    items = [draw(text_field(1, st.just(part))) for part in parts]
    return b"".join([*items, draw(text_field(2, st.just("x"))), draw(st.just(b"") | unknown)])


ticker_batch_body = st.tuples(
    st.lists(text_field(1, ticker_body), max_size=3).map(b"".join),
    st.just(b"") | text_field(2, versions),
    st.just(b"") | integer_field(3, st.integers(-(2**63), 2**63 - 1)),
).map(b"".join)
deals_body = joined(text_field(1, st.just(b"")), text_field(2, st.just("x")))
body = st.one_of(
    *[text_field(n, depth_body) for n in DEPTH_BODIES],
    *[text_field(n, ticker_body) for n in TICKER_BODIES],
    *[text_field(DEPTHS_BATCH, depths_batch_body())] * 2,
    text_field(TICKER_BATCH, ticker_batch_body),
    text_field(314, deals_body),
)
times = st.one_of(
    st.integers(0, 2 * 10**12), st.sampled_from([-1, 2**63 - 1, 18446744073709, 18446744073710])
)
head = b"\x0a" + bytes([len(CHANNEL)]) + CHANNEL.encode()
wrapper_messages = joined(
    text_field(3, st.just("BTCUSDT")),
    integer_field(6, times),
    st.lists(body, min_size=1, max_size=3).map(b"".join),
    extra=st.one_of(unknown, integer_field(5, times)),
).map(lambda rest: head + rest)


@settings(max_examples=250, deadline=None)
@given(wrapper_messages)
def test_decode_generated_message_equals_protobuf(message: bytes) -> None:
    check_same(message)


def sample(levels_a_side: int, seed: int = 1, number: int = 313) -> bytes:
    """Serialize a message as MEXC's Java does, with the fields of 2026."""
    rng = random.Random(seed)
    wrapper = PushDataV3ApiWrapper(channel=CHANNEL, symbol="BTCUSDT", sendTime=1736411507002)
    if number in TICKER_BODIES:
        ticker = getattr(wrapper, TICKER_BODIES[number])
        ticker.bidPrice, ticker.bidQuantity = "93000.01", "0.50000000"
        ticker.askPrice, ticker.askQuantity = "93000.02", "1.25"
        return wrapper.SerializeToString()
    depth = getattr(wrapper, DEPTH_BODIES[number])
    for side in (depth.asks, depth.bids):
        for _ in range(levels_a_side):
            side.add(price=f"{rng.uniform(1, 99999):.2f}", quantity=f"{rng.uniform(0, 300):.8f}")
    depth.eventType = "spot@public.aggre.depth.v3.api.pb@100ms"
    if number == 313:
        depth.fromVersion, depth.toVersion = "10589632359", "10589632360"
        depth.lastOrderCreateTime = 1736411507001
    else:
        depth.version = "36913293511"
    return wrapper.SerializeToString()


ALL_SAMPLES = [
    sample(n, number=number) for number in (*DEPTH_BODIES, *TICKER_BODIES) for n in (0, 1, 3, 20)
]


@pytest.mark.parametrize("levels_a_side", [0, 1, 2, 10, 20, 500])
def test_decode_sample_is_accepted_and_equal(levels_a_side: int) -> None:
    message = sample(levels_a_side)
    status, ours = decode(message)
    assert status == OK
    assert ours == oracle(message)
    assert ours is not None
    assert len(ours.bids) == levels_a_side


def test_decode_document_example_gives_documented_values() -> None:
    # The example of MEXC's "Diff. Depth Stream" document: one bid removed.
    wrapper = PushDataV3ApiWrapper(channel=CHANNEL, symbol="BTCUSDT", sendTime=1736411507002)
    wrapper.publicAggreDepths.bids.add(price="92877.58", quantity="0.00000000")
    wrapper.publicAggreDepths.eventType = "spot@public.aggre.depth.v3.api.pb@100ms"
    wrapper.publicAggreDepths.fromVersion = "10589632359"
    wrapper.publicAggreDepths.toVersion = "10589632359"
    status, ours = decode(wrapper.SerializeToString())
    assert status == OK
    assert ours == Update(10589632359, 10589632359, 1736411507002000000, [(9287758, 0)], [])


@pytest.mark.parametrize("message", ALL_SAMPLES, ids=range(len(ALL_SAMPLES)))
def test_decode_message_cut_anywhere_agrees_with_protobuf(message: bytes) -> None:
    for size in range(len(message)):
        check_same(message[:size])


@settings(max_examples=800, deadline=None)
@given(
    st.sampled_from(ALL_SAMPLES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_decode_message_with_changed_bytes_agrees_with_protobuf(
    message: bytes, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(message)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    if damaged[: len(head)] == head:
        check_same(bytes(damaged))


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 10**17).map(str), st.integers(0, 17), st.integers(0, 17), st.integers(-18, 0))
def test_decode_number_shapes_equal_fraction(
    digits: str, point: int, zeros: int, exponent: int
) -> None:
    text = digits
    if 0 < point < len(digits):
        text = f"{digits[:-point]}.{digits[-point:]}{'0' * zeros}"
    wrapper = PushDataV3ApiWrapper(channel=CHANNEL)
    wrapper.publicLimitDepths.bids.add(price=text, quantity=text)
    wrapper.publicLimitDepths.version = "1"
    wrapper.publicLimitDepths.eventType = "padding so that sixteen bytes may be loaded"
    status, ours = decode(wrapper.SerializeToString(), exponent, exponent)
    scaled = Fraction(text) * 10**-exponent
    if scaled.denominator == 1 and scaled < 2**63:
        assert ours is not None
        assert ours.bids == [(int(scaled), int(scaled))]
    else:
        assert status in NUMBERS


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize(
    "padding", [b"", b"x" * 64]
)  # with it sixteen bytes may be loaded anywhere
def test_decode_level_limit_is_exact(side: int, padding: bytes) -> None:
    level = text(side, text(1, b"1") + text(2, b"1"))
    tail = text(4, b"1") + text(5, b"1") + text(3, padding)
    fits = head + text(313, level * DEPTH_LEVEL_COUNT_MAX + tail)
    status, ours = decode(fits)
    assert status == OK
    assert ours is not None
    assert len(ours.asks) + len(ours.bids) == DEPTH_LEVEL_COUNT_MAX
    status, _ = decode(head + text(313, level * (DEPTH_LEVEL_COUNT_MAX + 1) + tail))
    assert status == int(lib.TP_DECODE_TOO_MANY)


@pytest.mark.parametrize("number", [b"", b".", b"5.", b".5", b"5..0", b"-5", b"+5", b"5e1", b" 5"])
@pytest.mark.parametrize("padding", [b"", b"x" * 64])
def test_decode_text_that_is_no_decimal_is_refused(number: bytes, padding: bytes) -> None:
    for level in (text(1, number) + text(2, b"1"), text(1, b"1") + text(2, number)):
        tail = text(4, b"1") + text(5, b"1") + text(3, padding)
        status, _ = decode(head + text(313, text(1, level) + tail))
        assert status == int(lib.TP_DECODE_BAD_NUMBER)


def text(number: int, value: bytes) -> bytes:
    """Encode one length-delimited field canonically."""
    return varint(number << 3 | 2) + varint(len(value)) + value


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"", "TP_DECODE_UNKNOWN"),
        (text(314, b""), "TP_DECODE_UNKNOWN"),
        (text(313, b"\x0a"), "TP_DECODE_MALFORMED"),
        (b"\xca\x13\x05", "TP_DECODE_TRUNCATED"),
        (b"\xca\x13\x80", "TP_DECODE_TRUNCATED"),
        (b"\xca\x93\x80\x80\x80\x00\x00", "TP_DECODE_MALFORMED"),
        (b"\x30" + b"\xff" * 9 + b"\x02", "TP_DECODE_MALFORMED"),
        (b"\x02\x00", "TP_DECODE_MALFORMED"),
        (b"\x1b\x1c" + text(313, text(4, b"1") + text(5, b"1")), "TP_DECODE_MALFORMED"),
        (text(313, text(4, b"2") + text(5, b"1")), "TP_DECODE_BAD_NUMBER"),
        (text(313, text(4, b"1")), "TP_DECODE_BAD_NUMBER"),
        (text(313, text(4, b"1") + text(5, b"18446744073709551616")), "TP_DECODE_BAD_NUMBER"),
        (text(313, text(4, b"1") + text(5, b"99999999999999999999999")), "TP_DECODE_BAD_NUMBER"),
        (text(313, text(1, text(1, b"1")) + text(4, b"1") + text(5, b"1")), "TP_DECODE_BAD_NUMBER"),
    ],
)
def test_decode_broken_message_has_its_status(rest: bytes, status: str) -> None:
    assert decode(head + rest)[0] == int(getattr(lib, status))


def test_decode_level_that_ends_behind_its_body_is_refused() -> None:
    """What it shares with the message's next field is sound as either: the end alone decides."""
    level = text(1, text(1, b"1.00") + text(2, b"1.01"))  # 30 31: a number of field 6
    body = text(4, b"1") + text(5, b"1") + level
    for cut, status in ((0, OK), (2, int(lib.TP_DECODE_MALFORMED))):
        whole = varint(313 << 3 | 2) + varint(len(body) - cut) + body + text(3, b"B" * 20)
        assert decode(head + whole)[0] == status


def batch(*items: tuple[int, bytes]) -> bytes:
    """Write a push of changes, each with its version and its levels."""
    parts = [text(1, levels_ + text(4, str(version).encode())) for version, levels_ in items]
    return head + text(DEPTHS_BATCH, b"".join(parts) + text(2, b"x"))


def ask(price: bytes, quantity: bytes) -> bytes:
    return text(1, text(1, price) + text(2, quantity))


def read_versions(message: bytes) -> tuple[int, int] | None:
    """Return what is read of a message's numbers alone."""
    venue: Any = lib.tp_venue_find(b"mexc")
    data = ffi.from_buffer("uint8_t[]", message[len(head) :])
    body = ffi.new("struct tp_body *", {"data": data, "size": len(data)})
    if not venue.read_versions(body, out):
        return None
    return out.first_version, out.last_version


def test_decode_batch_is_one_change_over_the_range_of_its_items() -> None:
    """The documents' example has versions 39003145507 to 39003145511; levels stay in order."""
    first = 39003145507
    message = batch(
        (first, ask(b"2", b"1")), (first + 1, ask(b"2", b"0")), (first + 2, ask(b"2", b"3"))
    )
    status, ours = decode(message)
    assert status == OK
    assert ours == Update(first, first + 2, 0, [], [(200, 10**8), (200, 0), (200, 3 * 10**8)])
    assert read_versions(message) == (first, first + 2)


@pytest.mark.parametrize(
    ("versions_", "numbers_"),
    [
        ((7, 9), (7, 9)),  # what was between is missing: a base must have it, and the last
        ((7, 8, 10, 11), (7, 11)),
        ((7, 7), None),
        ((8, 7), None),
        ((7, 9, 8), None),
        ((2**64 - 1, 0), None),
    ],
)
def test_decode_batch_with_a_hole_is_refused_whole(
    versions_: tuple[int, ...], numbers_: tuple[int, int] | None
) -> None:
    message = batch(*[(version, ask(b"2", b"1")) for version in versions_])
    assert decode(message)[0] == int(lib.TP_DECODE_BAD_NUMBER)
    assert read_versions(message) == numbers_


@pytest.mark.parametrize("body_", [DEPTHS_BATCH, TICKER_BATCH])
def test_decode_batch_of_nothing_says_nothing(body_: int) -> None:
    message = head + text(body_, text(2, b"1"))
    assert decode(message)[0] == int(lib.TP_DECODE_UNKNOWN)
    assert read_versions(message) is None


def test_decode_batch_item_without_version_is_refused() -> None:
    """Not even where the item before has one."""
    whole = text(1, ask(b"2", b"1") + text(4, b"7"))
    message = head + text(DEPTHS_BATCH, whole + text(1, ask(b"2", b"2")))
    assert decode(message)[0] == int(lib.TP_DECODE_BAD_NUMBER)
    assert read_versions(message) is None


def test_decode_ticker_batch_takes_the_last_one_alone() -> None:
    """Of a last one without asks the asks of the one before are not kept."""
    one = text(1, b"1") + text(2, b"5") + text(3, b"2") + text(4, b"5")
    two = text(1, b"1.01") + text(2, b"6")
    message = head + text(TICKER_BATCH, text(1, one) + text(1, two) + text(2, b"77"))
    assert decode(message) == (OK, Update(77, 77, 0, [(101, 6 * 10**8)], []))


SIBLINGS = {
    "spot@public.aggre.deals.v3.api.pb@10ms@BTCUSDT": "TRADES",
    "spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT": "TRADES",
    "spot@public.deals.v3.api.pb@BTCUSDT": "TRADES",
    "spot@public.aggre.bookTicker.v3.api.pb@10ms@BTCUSDT": "TOP",
    "spot@public.aggre.bookTicker.v3.api.pb@100ms@BTCUSDT": "TOP",
    "spot@public.bookTicker.v3.api.pb@BTCUSDT": "TOP",
    "spot@public.bookTicker.batch.v3.api.pb@BTCUSDT": "TOP",
    "spot@public.aggre.deals.v3.api.pb@1000ms@BTCUSDT": "UNKNOWN",
    "spot@public.aggre.deals.v3.api.pb@100ms@ETHUSDT": "UNKNOWN",
    "spot@public.aggre.deals.v3.api.pb@100ms@": "UNKNOWN",
    "spot@public.bookTicker.batch.v3.api.pb@BTCUSDT@5": "UNKNOWN",
    "spot@public.kline.v3.api.pb@BTCUSDT@Min15": "UNKNOWN",
    "spot@public.miniTicker.v3.api.pb@BTCUSDT@UTC+8": "UNKNOWN",
    "spot@public.bookTicker.v3.api.pb@" + "B" * 62: "UNKNOWN",
}


@pytest.mark.parametrize(
    "book",
    [
        CHANNEL,
        CHANNEL.replace("100ms", "10ms"),
        "spot@public.increase.depth.v3.api.pb@BTCUSDT",
        "spot@public.increase.depth.batch.v3.api.pb@BTCUSDT",
        *(f"spot@public.limit.depth.v3.api.pb@BTCUSDT@{levels_}" for levels_ in (5, 10, 20)),
    ],
)
def test_route_trades_and_best_prices_belong_to_the_book_of_any_channel(book: str) -> None:
    memory = ffi.new("uint8_t[]", lib.tp_mexc_router_memory_size(4))
    router = lib.tp_mexc_router_init(memory, 4)
    assert lib.tp_mexc_router_add(router, book.encode(), 9)
    assert lib.tp_mexc_router_add(router, b"spot@public.limit.depth.v3.api.pb@XUSDT@20", 8)
    venue: Any = lib.tp_venue_find(b"mexc")
    route = ffi.new("struct tp_route *")
    found = {}
    for name in SIBLINGS:
        data = ffi.from_buffer("uint8_t[]", text(1, name.encode()) + b"\x1a\x01B")
        what = {"data": data, "size": len(data), "opcode": 2}
        venue.route(router, ffi.new("struct tp_venue_message *", what), 0, route)
        kinds = ("UNKNOWN", "TOP", "TRADES")
        found[name] = next(k for k in kinds if route.meaning == getattr(lib, f"TP_MEANING_{k}"))
        if found[name] != "UNKNOWN":
            assert (route.instrument, route.body_offset, route.body_size) == (9, 2 + len(name), 3)
    assert found == SIBLINGS


@pytest.mark.parametrize(
    ("channel", "depth"),
    [("@5", 5), ("@10", 10), ("@20", 20), ("@50", None), ("", None), ("5", None)],
)
def test_describe_limit_depth_keeps_what_it_names(channel: str, depth: int | None) -> None:
    kind = lib.tp_mexc_describe(f"spot@public.limit.depth.v3.api.pb@BTCUSDT{channel}".encode())
    assert (None if kind == ffi.NULL else kind.rule.depth) == depth


def test_decode_length_like_a_body_tag_is_not_a_body() -> None:
    # ca 13 ae 02: an aggregated body of 302 bytes, whose length reads like field number 302.
    wrapper = PushDataV3ApiWrapper.FromString(sample(3))
    wrapper.publicAggreDepths.eventType = ""
    size = wrapper.publicAggreDepths.ByteSize()
    wrapper.publicAggreDepths.eventType = "x" * (302 - size - 2)
    message = wrapper.SerializeToString()
    assert b"\xca\x13\xae\x02" in message
    assert decode(message) == (OK, oracle(message))


def test_route_only_whole_channels_match() -> None:
    router, _memory = _router()
    route = ffi.new("struct tp_route *")
    cases = {
        CHANNEL: True,
        CHANNEL[:-1]: False,
        CHANNEL + "X": False,
        CHANNEL.replace("100ms", "10ms"): False,
        CHANNEL.replace("depth", "deals"): False,
        "": False,
    }
    for channel, expected in cases.items():
        data = b"\x0a" + bytes([len(channel)]) + channel.encode() + b"\x1a\x01B"
        assert lib.tp_mexc_route(router, data, len(data), route) == expected, channel
    assert (route.body_offset, route.body_size) == (2 + len(CHANNEL), 3)


def test_route_thousand_channels_are_told_apart() -> None:
    count = 1000
    memory = ffi.new("uint8_t[]", lib.tp_mexc_router_memory_size(count))
    router = lib.tp_mexc_router_init(memory, count)
    prefix = "spot@public.aggre.depth.v3.api.pb@100ms@"
    channels = [f"{prefix}SYM{i:04}USDT".encode() for i in range(count)]
    for index, channel in enumerate(channels):
        assert lib.tp_mexc_router_add(router, channel, index)
    assert not lib.tp_mexc_router_add(router, f"{prefix}ONE".encode(), 1)
    route = ffi.new("struct tp_route *")
    for index, channel in enumerate(channels):
        data = b"\x0a" + bytes([len(channel)]) + channel
        assert lib.tp_mexc_route(router, data, len(data), route)
        assert route.instrument == index
        assert not lib.tp_mexc_route(router, data, len(data) - 1, route)


def test_router_add_long_empty_or_known_channel_is_refused() -> None:
    router, _memory = _router()
    assert not lib.tp_mexc_router_add(router, CHANNEL.encode(), 8)
    assert not lib.tp_mexc_router_add(router, b"", 8)
    assert not lib.tp_mexc_router_add(router, b"x" * 40, 8)
    assert not lib.tp_mexc_router_add(router, CHANNEL.encode().ljust(97, b"X"), 8)
    assert lib.tp_mexc_router_add(router, CHANNEL.encode().ljust(96, b"X"), 8)


def test_stub_matches_schema(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "proto" / "venues" / "mexc"
    subprocess.run(
        [sys.executable, "-P", "-m", "grpc_tools.protoc", "-I", folder, f"--pyi_out={tmp_path}",
         folder / "mexc.proto"],
        check=True,
    )  # fmt: skip
    committed = (folder / "mexc_pb2.pyi").read_text()
    assert committed.split("\n", 4)[4] == (tmp_path / "mexc_pb2.pyi").read_text(), (
        "mexc_pb2.pyi is out of date: make it again as its first line says, keep four lines"
    )
