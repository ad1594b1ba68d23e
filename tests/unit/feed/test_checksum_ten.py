"""The checksum of ten levels a side against zlib over their digits, and its constants."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib

SOURCE = Path(__file__).resolve().parents[3] / "engine/feed/checksum.c"
LEVELS, LARGEST = 10, 2**63 - 1
Levels = list[tuple[int, int]]

# Every count of digits as often as any other.
numbers = st.integers(0, 19).flatmap(
    lambda digits: st.integers(10**digits // 10, min(10**digits - 1, LARGEST))
)
sides = st.lists(st.tuples(numbers, numbers), max_size=LEVELS)


def ours(asks: Levels, bids: Levels) -> int:
    def array(levels: Levels) -> Any:
        return ffi.new("struct tp_level[]", [{"price": p, "quantity": q} for p, q in levels] or 1)

    return int(lib.tp_checksum_ten(array(asks), len(asks), array(bids), len(bids)))


def text(levels: Levels) -> str:
    return "".join(str(number).lstrip("0") for level in levels for number in level)


@given(sides, sides)
def test_checksum_is_zlibs(asks: Levels, bids: Levels) -> None:
    assert ours(asks, bids) == zlib.crc32(text(asks + bids).encode())


@pytest.mark.parametrize("size", range(64))
def test_checksum_of_every_length_is_zlibs(size: int) -> None:
    """So many digits, in numbers of up to 19."""
    numbers = [int("8765432101234567890"[: min(19, size - at)]) for at in range(0, size, 19)]
    levels = list(zip(numbers[::2], [*numbers[1::2], 0], strict=False))
    assert ours(levels, []) == ours([], levels) == zlib.crc32(text(levels).encode())


@pytest.mark.parametrize("number", sorted({10**n + d for n in range(19) for d in (-1, 0, 1)}))
def test_checksum_at_every_change_of_digits(number: int) -> None:
    level = [(number, LARGEST)]
    assert ours(level, level) == zlib.crc32(text(level + level).encode())


@given(st.binary(max_size=100))
def test_checksum_by_the_table_is_zlibs(data: bytes) -> None:
    assert lib.tp_crc32_by_table(data, len(data)) == zlib.crc32(data)


# ---- the constants, from the polynomial alone ----------------------------------------------------

POLYNOMIAL = 0x104C11DB7


def remainder(power: int) -> int:
    value = 1
    for _ in range(power):
        value <<= 1
        value ^= POLYNOMIAL if value >> 32 else 0
    return value


def reflected(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)


def quotient(power: int) -> int:
    value, result = 1 << power, 0
    for bit in range(power, 31, -1):
        if value >> bit & 1:
            value ^= POLYNOMIAL << (bit - 32)
            result |= 1 << (bit - 32)
    return result


def test_checksum_constants_are_those_of_the_polynomial() -> None:
    found = dict(re.findall(r"\b([A-Z]+(?:_[A-Z0-9]+)?) = (0x[0-9a-f]{9})", SOURCE.read_text()))
    expected = {
        "FOLD_LOW": reflected(remainder(128 + 32), 32) << 1,
        "FOLD_HIGH": reflected(remainder(128 - 32), 32) << 1,
        "FOLD_64": reflected(remainder(64), 32) << 1,
        "POLYNOMIAL": reflected(POLYNOMIAL, 33),
        "QUOTIENT": reflected(quotient(64), 33),
    }
    assert {name: int(value, 16) for name, value in found.items()} == expected
