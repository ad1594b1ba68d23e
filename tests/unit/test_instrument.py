"""Instruments by their two names, and the row that shared memory knows them by.

The canonical forms are those of ccxt's manual, "Contract Naming Conventions".
"""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.proto.instrument import (
    ROW_SIZE,
    Instrument,
    Kind,
    Status,
    Symbol,
    find_instrument,
    is_canonical,
    pack_row,
    parse_symbol,
    unpack_row,
)
from tickpath.proto.records import instrument_dtype
from tickpath.proto.venues import find_symbol

ASSETS = st.from_regex(r"[A-Z0-9\u4e00-\u4e20]{1,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "symbol", "kind"),
    [
        ("BTC/USDT", Symbol("BTC", "USDT"), Kind.SPOT),
        ("BTC/USDT:USDT", Symbol("BTC", "USDT", "USDT"), Kind.LINEAR),
        ("BTC/USDT:BTC", Symbol("BTC", "USDT", "BTC"), Kind.INVERSE),
        ("BTC/USD:BTC", Symbol("BTC", "USD", "BTC"), Kind.INVERSE),
        ("BTC/USDT:BTC-211225", Symbol("BTC", "USDT", "BTC", "211225"), Kind.INVERSE),
        ("BTC/USDT:USDT-210625", Symbol("BTC", "USDT", "USDT", "210625"), Kind.LINEAR),
        (
            "BTC/USDT:BTC-211225-60000-P",
            Symbol("BTC", "USDT", "BTC", "211225", "60000", "P"),
            Kind.INVERSE,
        ),
        (
            "ETH/USDT:USDT-211225-40000-C",
            Symbol("ETH", "USDT", "USDT", "211225", "40000", "C"),
            Kind.LINEAR,
        ),
        ("ETH/USD:BTC", Symbol("ETH", "USD", "BTC"), Kind.QUANTO),
        ("币安人生/USDT", Symbol("币安人生", "USDT"), Kind.SPOT),
        ("kPEPE/USDC:USDC", Symbol("kPEPE", "USDC", "USDC"), Kind.LINEAR),
    ],
)
def test_symbol_documented_form_is_parsed_and_printed(
    text: str, symbol: Symbol, kind: Kind
) -> None:
    assert is_canonical(text)
    parsed = parse_symbol(text)
    assert (parsed, parsed.kind, str(parsed)) == (symbol, kind, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "BTCUSDT", "BTC-USDT", "BTC/", "/USDT", "BTC/USDT:", "BTC/USDT/X", "BTC/US DT"),
        *("BTC/USDT-211225", "BTC/USDT:USDT-2112", "BTC/USDT:USDT-211225-60000"),
        *("BTC/USDT:USDT-211225-60000-X", "BTC/USDT:USDT-211225-6.-C", "BTC/USDT:USDT:USDT"),
    ],
)
def test_symbol_other_text_is_refused(text: str) -> None:
    assert not is_canonical(text)
    with pytest.raises(ValueError, match=r"expected a form such as BTC/USDT \(spot\)"):
        parse_symbol(text)


@pytest.mark.parametrize("expiry", ["211325", "210025", "211200", "211232"])
def test_symbol_no_date_is_refused(expiry: str) -> None:
    with pytest.raises(ValueError, match="is no date: expected YYMMDD"):
        parse_symbol(f"BTC/USDT:USDT-{expiry}")


@given(ASSETS, ASSETS, st.one_of(st.just(""), ASSETS), st.sampled_from(["", "211225"]))
def test_symbol_printed_is_parsed_back(base: str, quote: str, settle: str, expiry: str) -> None:
    symbol = Symbol(base, quote, settle, expiry if settle else "")
    assert parse_symbol(str(symbol)) == symbol


# ---- rows ----------------------------------------------------------------------------------------


def test_row_is_the_c_structs() -> None:
    assert instrument_dtype().itemsize == ROW_SIZE
    full = Instrument(
        0,
        "deribit",
        "BTC_USDC-29MAR30-50000-C",
        -1,
        -3,
        5,
        name=Symbol("BTC", "USD", "USDC", "300329", "50000", "C"),
        lot_size=2,
        quantity_min=7,
        notional_min=Decimal("10.5"),
        multiplier=Decimal("0.01"),
        status=Status.CANCEL_ONLY,
    )
    (row,) = np.frombuffer(pack_row(full), dtype=instrument_dtype())
    found = dict(zip(row.dtype.names, row.tolist(), strict=True))
    assert found.pop("expiry_ns") == 1_900_972_800 * 10**9  # date -u -d 2030-03-29 +%s
    assert found == {
        "venue": b"deribit",
        "symbol": b"BTC_USDC-29MAR30-50000-C",
        "base": b"BTC",
        "quote": b"USD",
        "settle": b"USDC",
        "kind": 3,
        "status": 2,
        "price_exponent": -1,
        "quantity_exponent": -3,
        "multiplier_exponent": -2,
        "notional_exponent": -1,
        "connection": 0,
        "tick_size": 5,
        "lot_size": 2,
        "quantity_min": 7,
        "notional_min": 105,
        "multiplier": 1,
        "listed_ns": 0,
        "strike": b"50000",
        "right": b"C",
        "reserved": 0,
    }
    assert unpack_row(0, pack_row(full)) == full


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
    st.integers(-18, 0),
    st.integers(1, 2**63 - 1),
)
def test_row_read_back_is_the_instrument(symbol: str, exponent: int, tick: int) -> None:
    instrument = Instrument(0, "v", symbol, exponent, exponent, tick)
    if symbol and symbol.isprintable() and len(symbol.encode()) <= 64:
        assert unpack_row(0, pack_row(instrument)) == instrument
    else:
        with pytest.raises(
            ValueError, match=r"up to 64|printable text.*; leave this instrument out"
        ):
            pack_row(instrument)


GOOD = pack_row(Instrument(0, "v", "S", -2, -6, 1))


@pytest.mark.parametrize(
    ("offset", "data", "named"),
    [
        (0, b"\xff" * 16, "venue"),  # no NUL, no UTF-8
        (0, b"\0", "no venue"),
        (16, b"\xc3(", "symbol"),  # broken UTF-8
        (16, b"\x1b[2J", "symbol"),  # what a terminal would obey
        (16, b"A\0B", "symbol"),  # something behind the NUL
        (16, b"A" * 72, "symbol"),
        (88, b"\n", "base"),
        (152, b"\4", "kind 4"),
        (153, b"\6", "status 6"),
        (154, b"\1", "exponents 1 and"),
        (154, b"\xed", "exponents -19 and"),
        (155, b"\x7f", "and 127"),
        (160, bytes(8), "tick 0"),
        (168, b"\xff" * 8, "lot -1"),
        (208, b"\xff" * 8, "expiry"),
    ],
)
def test_row_that_cannot_be_is_refused_by_name(offset: int, data: bytes, named: str) -> None:
    row = GOOD[:offset] + data + GOOD[offset + len(data) :]
    with pytest.raises(ValueError, match=f"row 4.*{named}"):
        unpack_row(4, row)


@given(st.binary(min_size=ROW_SIZE, max_size=ROW_SIZE))
def test_row_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    for row in (data, GOOD[:152] + data[152:]):
        with contextlib.suppress(ValueError):
            assert unpack_row(0, row).price_exponent in range(-18, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"multiplier": Decimal("1." + "1" * 19)},
        {"multiplier": Decimal("-1")},
        {"notional_min": Decimal("NaN")},
        {"tick_size": 1 << 63},
        {"name": Symbol("B" * 32, "USDT")},
        {"price_exponent": -200},
    ],
)
def test_instrument_that_no_row_holds_is_refused(wrong: dict[str, Any]) -> None:
    one = Instrument(0, "v", "S", -2, -6, 1)
    with pytest.raises(ValueError, match="leave this instrument out"):
        pack_row(msgspec.structs.replace(one, **wrong))


@pytest.mark.parametrize(
    ("scale", "expected"), [((-2, -6), (25, 100)), ((-4, -8), (2500, 10_000)), ((0, -3), (1, 1))]
)
def test_instrument_in_another_scale_has_the_same_steps_or_one(
    scale: tuple[int, int], expected: tuple[int, int]
) -> None:
    moved = Instrument(0, "v", "S", -2, -6, 25, lot_size=100).in_scale(*scale)
    assert (moved.price_exponent, moved.quantity_exponent) == scale
    assert (moved.tick_size, moved.lot_size) == expected


# ---- by either name ------------------------------------------------------------------------------

NAMED = [
    Instrument(0, "mexc", "BTCUSDT", -2, -6, name=Symbol("BTC", "USDT")),
    Instrument(1, "mexc", "ETHUSDT", -2, -6, name=Symbol("ETH", "USDT")),
]
BARE = [unpack_row(i, pack_row(one)) for i, one in enumerate(NAMED)]


@pytest.mark.parametrize("rows", [NAMED, BARE], ids=["named", "from shared memory"])
@pytest.mark.parametrize("text", ["ETHUSDT", "ETH/USDT"])
def test_find_either_name_gives_the_instrument(rows: list[Instrument], text: str) -> None:
    assert find_symbol(rows, text).index == 1


@pytest.mark.parametrize("text", ["ETH/USDT:USDT", "EHTUSDT", "ETH/USDC", ""])
def test_find_other_name_is_refused_with_the_nearest(text: str) -> None:
    with pytest.raises(ValueError, match=r"did you mean ETH|expected one of BTCUSDT"):
        find_symbol(NAMED, text)


def test_find_name_of_an_unknown_venue_is_refused() -> None:
    row = Instrument(0, "other", "ETHUSDT", -2, -6)
    assert find_symbol([row], "ETHUSDT") == row
    with pytest.raises(ValueError, match="did you mean ETHUSDT"):
        find_symbol([row], "ETH/USDT")


def test_find_name_of_several_names_the_venues() -> None:
    rows = [*NAMED, Instrument(2, "other", "BTC_USDT", -2, -6, name=Symbol("BTC", "USDT"))]
    assert find_instrument(rows, "BTC_USDT").index == 2
    with pytest.raises(ValueError, match="2 have it: write one of mexc:BTC/USDT, other:BTC/USDT"):
        find_instrument(rows, "BTC/USDT")


def test_find_name_that_is_one_venues_symbol_and_anothers_canonical_name_is_of_both() -> None:
    """The first was taken, in silence: prices of a venue that was not meant."""
    rows = [
        Instrument(0, "slash", "BTC/USDT", -2, -6, name=Symbol("BTC", "USDT")),
        *(msgspec.structs.replace(one, index=1 + one.index) for one in NAMED),
    ]
    with pytest.raises(ValueError, match="write one of slash:BTC/USDT, mexc:BTC/USDT"):
        find_symbol(rows, "BTC/USDT")
    assert find_symbol(rows, "mexc:BTC/USDT").index == 1
    assert find_symbol(rows, "slash:BTC/USDT").index == 0


def test_find_name_that_one_venue_has_twice_names_its_own_symbols() -> None:
    twice = Symbol("BTC", "USDT")
    rows = [Instrument(i, "mexc", f"BTCUSDT{i}", -2, -6, name=twice) for i in range(2)]
    with pytest.raises(ValueError, match="write one of BTCUSDT0, BTCUSDT1"):
        find_symbol(rows, "BTC/USDT")


def test_find_symbol_counts_before_a_canonical_name_at_the_same_venue() -> None:
    rows = [
        Instrument(0, "slash", "BTC/USDT", -2, -6, name=Symbol("XBT", "USDT")),
        Instrument(1, "slash", "ABC/USDT", -2, -6, name=Symbol("BTC", "USDT")),
    ]
    assert find_symbol(rows, "BTC/USDT").index == 0


@pytest.mark.parametrize("text", ["ethusdt", "eth/usdt", "ETH-USDT", "mexc:ethusdt"])
def test_find_name_in_other_letters_is_refused_with_the_right_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r"did you mean ETH/?USDT\?"):
        find_symbol(NAMED, text)


@pytest.mark.parametrize(
    ("text", "index"),
    [("other:BTCUSDT", 2), ("mexc:BTC/USDT", 0), ("other:BTC/USDT:USDT", 3), ("BTC/USDT:USDT", 3)],
)
def test_find_name_behind_its_venues_is_that_venues(text: str, index: int) -> None:
    future = Symbol("BTC", "USDT", "USDT")
    rows = [
        *NAMED,
        Instrument(2, "other", "BTCUSDT", -2, -6, name=Symbol("BTC", "USDT")),
        Instrument(3, "other", "BTCUSDT-PERP", -2, -6, name=future),
    ]
    assert find_instrument(rows, text).index == index
    with pytest.raises(ValueError, match="write one of mexc:BTCUSDT, other:BTCUSDT"):
        find_instrument(rows, "BTCUSDT")
    with pytest.raises(ValueError, match="symbol 'ETHUSDT': did you mean BTCUSDT"):
        find_instrument(rows, "other:ETHUSDT")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("BTCUSDC", "did you mean mexc:BTCUSDT or other:BTCUSDT?"),
        ("ETHUSDC", "did you mean ETHUSDT?"),
        ("mecx:BTCUSDT", "did you mean mexc:BTCUSDT?"),
        ("\u00e9", "expected one of mexc:BTCUSDT, other:BTCUSDT, mexc:BTC/USDT, other:BTC/USDT, "),
    ],
)
def test_find_name_that_is_offered_is_one_rows(text: str, said: str) -> None:
    """BTCUSDT was offered, listed twice; and refused, for two have it."""
    rows = [*NAMED, Instrument(2, "other", "BTCUSDT", -2, -6, name=Symbol("BTC", "USDT"))]
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        find_instrument(rows, text)
    offered = str(refused.value).partition("mean ")[2] or str(refused.value).partition("one of ")[2]
    for name in offered.removesuffix("?").replace(" or ", ", ").split(", "):
        assert find_instrument(rows, name) in rows
