"""The JSON scanner against Python's json: what it accepts, and what it reads."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from typing import Any

import pytest
from tickpath._core import ffi, lib

OK, MALFORMED = int(lib.TP_DECODE_OK), int(lib.TP_DECODE_MALFORMED)
BAD_NUMBER, TOO_MANY = int(lib.TP_DECODE_BAD_NUMBER), int(lib.TP_DECODE_TOO_MANY)
TOO_FINE, TOO_LARGE = int(lib.TP_DECODE_TOO_FINE), int(lib.TP_DECODE_TOO_LARGE)
DEPTH_MAX = int(lib.TP_JSON_DEPTH_MAX)
SEED = 20261130

# Shapes of the venues' messages (shared facts: the venues' documents), and corners of RFC 8259.
DOCUMENTS = [
    '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":'
    '[["8476.98","415","0","13"]],"bids":[],"ts":"1597026383085","checksum":0,"prevSeqId":-1}]}',
    '{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1687940967466,"data":{"s":"BTCUSDT",'
    '"b":[["30247.20","30.028"],["30240.00","0"]],"a":[],"u":177400507,"seq":66544703342}}',
    '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":45283.5,'
    '"qty":0.10000000}],"asks":[],"checksum":2114181697}]}',
    '{"ch":"market.btcusdt.mbp.5","tick":{"seqNum":100020146795,"asks":[[645.14,26.75597395914065],'
    "[1.3640078E7,3.6E-4]]}}",
    '{"id":0,"code":0,"msg":"Not Subscribed successfully! [spot@…].  Reason： Blocked! "}',  # noqa: RUF001 - the venue sends a full-width colon
    " [ ] ",
    "{}",
    '""',
    "0",
    "-0.0e-0",
    "1E+2",
    "true",
    "null",
    '"\\u0041\\"\\\\\\/\\b\\f\\n\\r\\t"',
    '{"a":{"a":[[[]],{"b":[1,2,{"c":null}]}]},"a":false}',
    '"币安人生USDT"',
    "\t\r\n 12.50 \n",
]
REFUSED = [
    "",
    " ",
    "[",
    "]",
    "[1,]",
    "[,1]",
    "[1 2]",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    "{a:1}",
    '{"a":1 "b":2}',
    "{1:2}",
    "[1}",
    '{"a":1]',
    "01",
    "-",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "+1",
    "0x10",
    "tru",
    "trueish",
    "nul",
    '"a',
    '"\\',
    '"\\x41"',
    '"\\u12g4"',
    '"\\u123"',
    '"\x1f"',
    '"\n"',
    "[1]]",
    "1 2",
    "'a'",
    "\x00",
    '"a"\x00',
    "NaN",
    "-Infinity",
    "﻿1",
]


def scanner(text: str) -> tuple[Any, Any]:
    """Place the text at the very end of its memory, so that a sanitizer sees reads beyond it."""
    raw = text.encode("utf-8", "surrogatepass")
    data = ffi.new("uint8_t[]", raw) if raw else ffi.new("uint8_t[1]")
    scan = ffi.new("struct tp_json *")
    lib.tp_json_init(scan, data, len(raw))
    return scan, data


def skip(text: str) -> int:
    scan, _data = scanner(text)
    lib.tp_json_skip(scan)
    return int(lib.tp_json_finish(scan))


def text_of(text: Any) -> str:
    return bytes(ffi.buffer(text.at, text.size)).decode("utf-8", "surrogatepass")


class ScanError(Exception):
    """The scanner stopped."""


def read(scan: Any) -> Any:
    """Build the value that the scanner shows, by the calls that a decoder makes."""
    text = ffi.new("struct tp_text *")
    kind = lib.tp_json_peek(scan)
    if kind == lib.TP_JSON_OBJECT:
        lib.tp_json_object(scan)
        found = {}
        while lib.tp_json_key(scan, text):
            key = json.loads(f'"{text_of(text)}"')
            found[key] = read(scan)
        return require(scan, found)
    if kind == lib.TP_JSON_ARRAY:
        lib.tp_json_array(scan)
        items = []
        while lib.tp_json_item(scan):
            items.append(read(scan))
        return require(scan, items)
    if kind == lib.TP_JSON_STRING:
        lib.tp_json_string(scan, text)
        return json.loads(f'"{text_of(require(scan, text))}"')
    if kind == lib.TP_JSON_NUMBER:
        lib.tp_json_number(scan, text)
        return Decimal(text_of(require(scan, text)))
    if kind in (lib.TP_JSON_TRUE, lib.TP_JSON_FALSE):
        out = ffi.new("bool *")
        lib.tp_json_bool(scan, out)
        return require(scan, bool(out[0]))
    lib.tp_json_skip(scan)
    return require(scan, None)


def require(scan: Any, value: Any) -> Any:
    if scan.status != OK:
        raise ScanError
    return value


def scan_value(text: str) -> Any:
    scan, _data = scanner(text)
    value = read(scan)
    if lib.tp_json_finish(scan) != OK:
        raise ScanError
    return value


def no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity: Python reads them, RFC 8259 does not


def python_value(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=no_constant)


def assert_agrees(text: str) -> bool:
    """Both readers refuse, or both read the same; return whether they read."""
    try:
        expected = python_value(text)
    except ValueError:
        assert skip(text) != OK, f"accepted {text!r}, which Python refuses"
        with pytest.raises(ScanError):
            scan_value(text)
        return False
    assert skip(text) == OK, f"refused {text!r}, which Python reads"
    assert scan_value(text) == expected, text
    return True


@pytest.mark.parametrize("text", DOCUMENTS)
def test_json_sound_document_is_read_as_python_reads_it(text: str) -> None:
    assert assert_agrees(text)


@pytest.mark.parametrize("text", REFUSED)
def test_json_broken_document_is_refused_as_python_refuses_it(text: str) -> None:
    assert not assert_agrees(text)


def test_json_every_truncation_agrees_with_python() -> None:
    for text in DOCUMENTS:
        for size in range(len(text)):
            assert_agrees(text[:size])


def test_json_random_changes_agree_with_python() -> None:
    alphabet = '{}[]",:.-+eE0123456789 \t\n\\untrfalsx/\x00\x1f\x7f币'
    rng = random.Random(SEED)  # not a secret
    accepted = 0
    for _ in range(6000):
        text = list(rng.choice(DOCUMENTS))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text) + 1)
            match rng.randrange(3):
                case 0:
                    text.insert(at, rng.choice(alphabet))
                case 1 if at < len(text):
                    del text[at]
                case _ if at < len(text):
                    text[at] = rng.choice(alphabet)
        accepted += assert_agrees("".join(text))
    assert 500 < accepted < 5500, f"seed {SEED}: the changes must leave some sound, some not"


def test_json_nesting_beyond_the_limit_is_refused() -> None:
    assert skip("[" * DEPTH_MAX + "]" * DEPTH_MAX) == OK
    assert skip("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)) == TOO_MANY


def levels(text: str, price: int = -2, quantity: int = -8) -> tuple[int, list[tuple[int, int]]]:
    scan, _data = scanner(text)
    scale = ffi.new("struct tp_scale *", [price, quantity])
    out = ffi.new("struct tp_level[]", int(lib.TP_DEPTH_LEVEL_COUNT_MAX))
    count = ffi.new("uint32_t *")
    lib.tp_json_levels(scan, scale, out, count)
    status = int(lib.tp_json_finish(scan))
    return status, [(out[i].price, out[i].quantity) for i in range(count[0])]


def test_json_levels_of_strings_numbers_and_more_members_are_read() -> None:
    text = '[["8476.98","415","0","13"],[645.14,26.75597395],[ 1.5E1 , 3.6E-4 , {"x":[1]} ]]'
    assert levels(text) == (
        OK,
        [(847698, 41500000000), (64514, 2675597395), (1500, 36000)],
    )
    assert levels("[]") == (OK, [])


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('[["8476.981","1"]]', TOO_FINE),
        ('[["8476.98","92233720369"]]', TOO_LARGE),
        ('[["-1","1"]]', BAD_NUMBER),
        ('[["","1"]]', BAD_NUMBER),
        ("[[1e30,1]]", BAD_NUMBER),
        ('[["1"]]', MALFORMED),
        ("[[]]", MALFORMED),
        ("[1]", MALFORMED),
        ('[["1",null]]', MALFORMED),
        ("[[0645.14,26.7],[645.15,26.75597395],[645.16,26.75597395],[645.17,1.5]]", MALFORMED),
        ("[[645.14,026.7],[645.15,26.75597395],[645.16,26.75597395],[645.17,1.5]]", MALFORMED),
        ('{"a":1}', MALFORMED),
        ('[["1","1"]', MALFORMED),
    ],
)
def test_json_levels_with_a_fault_are_refused(text: str, status: int) -> None:
    assert levels(text)[0] == status


def test_json_levels_beyond_the_limit_are_refused() -> None:
    most = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
    assert levels("[" + ",".join(["[1,1]"] * most) + "]")[0] == OK
    assert levels("[" + ",".join(["[1,1]"] * (most + 1)) + "]")[0] == TOO_MANY


def mantissa(text: str, exponent: int) -> int | None:
    """Return a number's exact value by Python; None: it has none at this exponent."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return None
    value = Decimal(text).as_tuple()
    assert isinstance(value.exponent, int)
    power = value.exponent - exponent
    digits = int("".join(map(str, value.digits)))
    exact, rest = divmod(digits * 10 ** max(power, 0), 10 ** max(-power, 0))
    return exact if rest == 0 and exact < 2**63 else None


def number(rng: random.Random) -> str:
    """Write a number of any length that venues use, and some that they do not."""
    whole = str(rng.randrange(10 ** rng.randrange(1, 14)))
    fraction = "".join(rng.choice("0000123456789") for _ in range(rng.randrange(10)))
    text = f"{whole}.{fraction}" if fraction else whole
    if rng.random() < 0.02:
        text = rng.choice(
            [f"0{text}", f"{text}.", f".{text}", f"{text}x", f"{text}/1", "", "1.2.3"]
        )
    return text


@pytest.mark.parametrize(
    "form", ['["%s","%s"]', "[%s,%s]", '["%s","%s","0","13"]', '["%s","%s",{"x":[1]}]', "[%s,%s,7]"]
)
def test_json_levels_of_any_shape_are_exact_or_refused(form: str) -> None:
    rng = random.Random(SEED)  # not a secret
    refused = 0
    for _ in range(3000):
        rows = [(number(rng), number(rng)) for _ in range(rng.randrange(1, 7))]
        price, quantity = -rng.randrange(19), -rng.randrange(19)
        text = "[" + ",".join(form % row for row in rows) + "]"
        text = " " * rng.choice([0, 70]) + text + " " * rng.choice([0, 0, 70])
        want = [(mantissa(p, price), mantissa(q, quantity)) for p, q in rows]
        is_bare = '"%s"' not in form
        if is_bare and any(re.match("0[0-9]", one) for row in rows for one in row):
            want = [(None, None)]
        status, got = levels(text, price, quantity)
        if any(None in pair for pair in want):
            assert status != OK, (text, price, quantity)
            refused += 1
        else:
            assert (status, got) == (OK, want), (text, price, quantity)
    assert 500 < refused < 2900, "some must be sound, some not"


def test_json_levels_of_eighteen_characters_are_read() -> None:
    """As Binance writes quantities of small coins: zeros behind what a register holds."""
    rows = '["0.00001234","123456789.00000000"],["0.00001235","9.00000000"]'
    for end in ("]", ',["0.00001236","99999999999.00000000"]]'):
        status, got = levels(f"[{rows}{end}", -8, -2)
        assert (status, got[0]) == (OK, (1234, 12345678900))
    assert levels(f'[{rows},["1","123456789.00000001"]]', -8, -2)[0] == TOO_FINE


def scientific(text: str, exponent: int) -> int | None:
    out = ffi.new("int64_t *")
    raw = text.encode()
    data = ffi.new("uint8_t[]", raw) if raw else ffi.new("uint8_t[1]")
    return int(out[0]) if lib.tp_decimal_parse_scientific(data, len(raw), exponent, out) else None


@pytest.mark.parametrize(
    ("text", "exponent", "expected"),
    [
        ("1.3640078E7", -2, 1364007800),
        ("3.6E-4", -8, 36000),
        ("1e-08", -8, 1),
        ("2.2e3", 0, 2200),
        ("9223372036854775807", 0, 2**63 - 1),
        ("9223372036854775808", 0, None),
        ("92233720368547758070e-1", 0, 2**63 - 1),
        ("1e-9", -8, None),
        ("0e999999999999999999999", 0, 0),
        ("0.000e-5", -2, 0),
        ("1e999999999999999999999", 0, None),
        ("1.0e+2", 0, 100),
        ("1e", 0, None),
        ("e5", 0, None),
        ("1e+", 0, None),
        ("1e5.0", 0, None),
        ("1.", 0, None),
        (".5", -1, None),
        ("1.2.3", -2, None),
        ("-1", 0, None),
        ("", 0, None),
    ],
)
def test_decimal_scientific_is_exact_or_refused(
    text: str, exponent: int, expected: int | None
) -> None:
    assert scientific(text, exponent) == expected


def test_decimal_scientific_agrees_with_python_decimal() -> None:
    rng = random.Random(SEED)  # not a secret
    for _ in range(20_000):
        digits = "".join(rng.choice("0001579") for _ in range(rng.randrange(1, 22)))
        at = rng.randrange(len(digits) + 1)
        text = digits[:at] + "." + digits[at:] if 0 < at < len(digits) else digits
        if rng.random() < 0.6:
            text += f"{rng.choice('eE')}{rng.choice(['', '+', '-'])}{rng.randrange(25)}"
        exponent = -rng.randrange(19)
        # Built from the text without rounding, whatever the context's precision is.
        value = Decimal(text).as_tuple()
        assert isinstance(value.exponent, int)
        mantissa = int("".join(map(str, value.digits)))
        power = value.exponent - exponent
        exact, rest = divmod(mantissa * 10 ** max(power, 0), 10 ** max(-power, 0))
        expected = exact if rest == 0 and exact < 2**63 else None
        assert scientific(text, exponent) == expected, (text, exponent)
