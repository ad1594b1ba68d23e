"""Simple Binary Encoding: mantissas between exponents, exactly or refused by the right name."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

mantissas = st.one_of(
    st.integers(INT64_MIN, INT64_MAX),
    st.builds(lambda whole, power: whole * 10**power, st.integers(0, 9), st.integers(0, 18)),
    st.builds(lambda n, power: INT64_MAX // 10**power + n, st.integers(-2, 2), st.integers(0, 18)),
    st.integers(-2, 10**6),
).filter(lambda number: INT64_MIN <= number <= INT64_MAX)


def scaled(mantissa: int, from_: int, to: int) -> int | None:
    """Ask C; None: refused."""
    out = ffi.new("int64_t *")
    is_one = lib.tp_sbe_scaled(lib.tp_sbe_scale(from_, to), mantissa, out)
    return int(out[0]) if is_one else None


def exact(mantissa: int, from_: int, to: int) -> int | None:
    value = mantissa * Fraction(10) ** (from_ - to)
    return int(value) if value.denominator == 1 and 0 <= value <= INT64_MAX else None


@given(mantissas, st.integers(-128, 127), st.integers(-18, 0))
def test_mantissa_is_the_same_number_at_the_other_exponent_or_refused(
    mantissa: int, from_: int, to: int
) -> None:
    assert scaled(mantissa, from_, to) == exact(mantissa, from_, to)


def test_mantissa_at_each_pair_of_exponents_up_to_its_last_one_that_fits() -> None:
    """The tables of powers and inverses, each entry."""
    for up in range(-20, 21):
        power = 10 ** abs(up)
        most = INT64_MAX // power if up >= 0 else INT64_MAX // power * power
        for mantissa in (0, power, most, most + power, most + 1, 7 * power, 1):
            if mantissa <= INT64_MAX:
                found = scaled(mantissa, -9 + up, -9)
                assert found == exact(mantissa, -9 + up, -9), (up, mantissa)


def test_negative_mantissa_that_would_be_divisible_without_its_sign_is_refused() -> None:
    for power in range(1, 19):
        mantissa = -((1 << 64) % 10**power or 10**power)
        assert (mantissa % (1 << 64)) % 10**power == 0
        assert scaled(mantissa, -18, power - 18) is None


@given(mantissas.filter(lambda number: number != 0), st.integers(-40, 40), st.integers(-18, 0))
def test_refusal_says_whether_another_scale_would_hold_it(
    mantissa: int, from_: int, to: int
) -> None:
    if exact(mantissa, from_, to) is not None:
        return
    status = lib.tp_sbe_refusal(mantissa, from_, to)
    others = [one for one in range(-18, 1) if exact(mantissa, from_, one) is not None]
    if not others:
        assert status == lib.TP_DECODE_BAD_NUMBER
    else:
        is_finer = max(others) < to
        assert status == (lib.TP_DECODE_TOO_FINE if is_finer else lib.TP_DECODE_TOO_LARGE)


@given(st.integers(INT64_MIN, INT64_MAX), st.integers(-128, 127))
def test_number_is_written_as_it_is(mantissa: int, exponent: int) -> None:
    space = ffi.new("uint8_t[]", int(lib.TP_DECIMAL_SPACE))
    text = lib.tp_decimal_write(mantissa, exponent, space)
    assert ffi.buffer(text.at, text.size)[:].decode() == f"{mantissa}e{exponent}"
    bytes_of = ffi.new("uint8_t[]", mantissa.to_bytes(8, "little", signed=True))
    what = {"text": {"at": bytes_of, "size": 8}, "is_mantissa": True, "exponent": exponent}
    other = ffi.new("uint8_t[]", int(lib.TP_DECIMAL_SPACE))
    again = lib.tp_misfit_text(ffi.new("struct tp_misfit *", what), other)
    assert ffi.buffer(again.at, again.size)[:] == ffi.buffer(text.at, text.size)[:]
