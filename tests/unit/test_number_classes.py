"""Numbers that a scale does not hold: finer than it, larger than it, or no number of any scale."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from tickpath._core import ffi, lib
from tickpath.proto.records import ScaleError, parse_fixed

BAD, FINE, LARGE = (
    int(lib.TP_DECODE_BAD_NUMBER),
    int(lib.TP_DECODE_TOO_FINE),
    int(lib.TP_DECODE_TOO_LARGE),
)
INT64_MAX = 2**63 - 1
SEED = 20261130


def refusal(text: str, exponent: int, *, has_power: bool = True) -> int:
    data = ffi.new("uint8_t[]", text.encode() or b"\0")  # exactly its size: sanitizers see beyond
    return int(lib.tp_decimal_refusal((data, len(text)), exponent, has_power))


def expected_of(value: Decimal, exponent: int) -> int | None:
    """Judge by Python's decimal; None: the scale holds it."""

    def holds(at: int) -> bool:
        scaled = value.scaleb(-at)
        return scaled == scaled.to_integral_value() and scaled <= INT64_MAX

    if holds(exponent):
        return None
    if not any(holds(at) for at in range(-18, 1)):
        return BAD
    scaled = value.scaleb(-exponent)
    return FINE if scaled != scaled.to_integral_value() else LARGE


@pytest.mark.parametrize(
    ("text", "exponent", "status"),
    [
        ("1.501", -2, FINE),
        ("1.5", 0, FINE),
        ("0.000000000000000001", -17, FINE),
        ("92233720368547758.1", -2, LARGE),
        ("92233720368547758.08", -2, BAD),
        ("10", -18, LARGE),
        ("9223372036854775807", -1, LARGE),
        ("9223372036854775808", 0, BAD),  # no scale has 64 bits for it
        ("1234567890.1234567891", -2, BAD),  # nor for all its digits
        ("0.0000000000000000001", -18, BAD),
        ("1" * 40, 0, BAD),
        ("0." + "1" * 40, -18, BAD),
        ("1e400", -2, BAD),
        ("1e-400", -2, BAD),
        ("1e999999999999", -2, BAD),
        ("1e-7", -6, FINE),
        ("1e18", -1, LARGE),
        ("-1", -2, BAD),
        ("", -2, BAD),
        ("nan", -2, BAD),
        ("1.2.3", -2, BAD),
        ("1.", -2, BAD),
        ("0e", -2, BAD),
        ("0", -2, BAD),  # each scale holds it: whoever refused it did so for another reason
    ],
)
def test_refusal_says_what_another_scale_would_do(text: str, exponent: int, status: int) -> None:
    assert refusal(text, exponent) == status


def test_refusal_of_a_parser_without_powers_calls_them_garbage() -> None:
    assert refusal("1e-7", -6) == FINE
    assert refusal("1e-7", -6, has_power=False) == BAD


def test_refusal_agrees_with_python_decimal() -> None:
    rng = random.Random(SEED)  # not a secret
    for _ in range(20_000):
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 22)))
        at = rng.randrange(1, len(digits) + 1)
        text = digits[:at] + ("." + digits[at:] if at < len(digits) else "")
        power = rng.choice(("", "", f"e{rng.randrange(-20, 20)}"))
        exponent = -rng.randrange(19)
        expected = expected_of(Decimal(text + power), exponent)
        out = ffi.new("int64_t *")
        data = (text + power).encode()
        parsed = lib.tp_decimal_parse_scientific(data, len(data), exponent, out)
        assert parsed == (expected is None), (text + power, exponent)
        if expected is not None:
            assert refusal(text + power, exponent) == expected, (text + power, exponent)


@pytest.mark.parametrize(("text", "what"), [("1.501", "price"), ("92233720368547758.1", "")])
def test_parse_fixed_names_what_does_not_fit(text: str, what: str) -> None:
    with pytest.raises(ScaleError, match="at most 2 digits after the point") as raised:
        parse_fixed(text, -2, what)
    error = raised.value
    assert (error.text, error.exponent, error.what) == (text, -2, what)
    assert text in str(error)
    assert str(error).startswith(what)


def test_parse_fixed_padding_zeros_are_no_digits() -> None:
    assert parse_fixed("1.500000", -1) == 15
    assert parse_fixed("0.000", 0) == 0


@pytest.mark.parametrize("text", ["1" * 40, "9223372036854775808", "x", "1e5", "-1"])
def test_parse_fixed_garbage_is_no_matter_of_scale(text: str) -> None:
    with pytest.raises(ValueError, match="fits 64 bits") as raised:
        parse_fixed(text, -2)
    assert not isinstance(raised.value, ScaleError)
