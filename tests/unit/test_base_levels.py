"""Levels of a base by REST: read in C where they have the usual form, and the same otherwise."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi
from tickpath.proto import base_levels
from tickpath.proto.records import DEPTH_LEVEL_COUNT_MAX, ScaleError

PRICE, QUANTITY = -2, -5
Level = tuple[str, str]


def read(data: str | bytes) -> list[tuple[int, int]]:
    text = data.encode() if isinstance(data, str) else data
    found = base_levels.read_levels(msgspec.Raw(text), PRICE, QUANTITY)
    return [(level.price, level.quantity) for level in found]


def expected(levels: list[Level]) -> list[tuple[int, int]]:
    return [
        (int(Decimal(price).scaleb(-PRICE)), int(Decimal(quantity).scaleb(-QUANTITY)))
        for price, quantity in levels
    ]


def decimals(digits: int) -> st.SearchStrategy[str]:
    """Return numbers as venues write them, with zeros behind them too."""
    fraction = st.builds(
        lambda part, zeros: f".{part:0{digits}}{zeros}",
        st.integers(0, 10**digits - 1),
        st.sampled_from(["", "0", "000000"]),
    )
    return st.builds("{}{}".format, st.integers(0, 10**9), st.one_of(st.just(""), fraction))


LEVELS = st.lists(st.tuples(decimals(-PRICE), decimals(-QUANTITY)), max_size=80)


@given(LEVELS, st.sampled_from([(",", ":"), (", ", ": ")]))
def test_levels_are_read_exactly(levels: list[Level], separators: tuple[str, str]) -> None:
    assert read(json.dumps(levels, separators=separators)) == expected(levels)


@given(LEVELS)
def test_usual_form_is_read_as_one_level_after_the_other(levels: list[Level]) -> None:
    data = json.dumps(levels, separators=(",", ":")).encode()
    usual: Any = base_levels._usual(data, PRICE, QUANTITY)
    rows = [[msgspec.Raw(json.dumps(text).encode()) for text in level] for level in levels]
    slowly = base_levels._one_by_one(rows, PRICE, QUANTITY)
    if usual is not None:  # this CPU reads so
        assert bytes(ffi.buffer(usual)) == bytes(ffi.buffer(slowly))


def test_usual_form_is_read_quickly_where_the_cpu_can() -> None:
    """Else the test before compared one reading with itself."""
    words = Path("/proc/cpuinfo").read_text().split()
    usual: Any = base_levels._usual(b'[["92877.59","0.5"],["92877.6","12"]]', PRICE, QUANTITY)
    assert (usual is not None) == ("avx2" in words and "bmi2" in words)


def test_more_than_price_and_quantity_is_left_out() -> None:
    assert read('[["1.5","2",[]],["1.25","3","0","4"]]') == [(150, 200000), (125, 300000)]


def test_numbers_are_as_good_as_strings() -> None:
    assert read("[[1.5,2],[1.25, 3]]") == [(150, 200000), (125, 300000)]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ('[["1.5"]]', r"expected price and quantity"),
        ('[["1.5","x"]]', r"quantity"),
        ('[["x","1"]]', r"price"),
        ('[["","1"]]', r"price"),
        ('[["1e400","1"]]', r"price"),
        ('{"1.5":"2"}', r"expected arrays"),
        ("null", r"expected arrays"),
        ('"1.5"', r"expected arrays"),
        ('["1.5","2"]', r"expected arrays"),
        (b'[["1.5","\xff"]]', r"expected arrays"),
        ('[["1.5",null]]', r"quantity 'null'"),
        ('[["1.5",[2]]]', r"quantity"),
        ('[["-1.5","1"]]', r"price"),
    ],
)
def test_what_is_no_level_is_refused(data: str | bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read(data)


def test_digit_that_the_scale_does_not_keep_is_said() -> None:
    levels = [["1.5", "2"]] * 40 + [["1.501", "2"]]
    with pytest.raises(ScaleError, match=r"1\.501"):
        read(json.dumps(levels, separators=(",", ":")))


def test_as_many_levels_as_a_base_has_and_one_more() -> None:
    levels = [[f"{number}.25", "1"] for number in range(DEPTH_LEVEL_COUNT_MAX + 1)]
    most = levels[:-1]
    assert len(read(json.dumps(most, separators=(",", ":")))) == DEPTH_LEVEL_COUNT_MAX
    with pytest.raises(ValueError, match=r"ask for fewer"):
        read(json.dumps(levels, separators=(",", ":")))
