"""Instruments by their two names, and the row that shared memory knows them by.

The canonical forms are those of ccxt's manual, "Contract Naming Conventions".
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.proto.instrument import (
    ROW_SIZE,
    Instrument,
    Kind,
    Symbol,
    find_instrument,
    is_canonical,
    pack_row,
    parse_symbol,
    unpack_rows,
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
    assert {name: field[1] for name, field in (instrument_dtype().fields or {}).items()} == {
        "venue": 0,
        "symbol": 16,
        "price_exponent": 48,
        "quantity_exponent": 52,
        "tick_size": 56,
    }


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=31),
    st.integers(-18, 0),
    st.integers(1, 2**63 - 1),
)
def test_row_read_back_is_the_instrument(symbol: str, exponent: int, tick: int) -> None:
    instrument = Instrument(0, "v", symbol, exponent, exponent, tick)
    if len(symbol.encode()) <= 31:
        assert unpack_rows(pack_row(instrument)) == (instrument,)
    else:
        with pytest.raises(ValueError, match=r"up to 31 bytes .* leave this instrument out"):
            pack_row(instrument)


def test_row_of_any_bytes_is_read() -> None:
    (row,) = unpack_rows(b"\xff" * ROW_SIZE)
    assert row.symbol == "�" * 32
    with pytest.raises(struct.error):
        unpack_rows(b"\0" * (ROW_SIZE + 1))


# ---- by either name ------------------------------------------------------------------------------

NAMED = [
    Instrument(0, "mexc", "BTCUSDT", -2, -6, name=Symbol("BTC", "USDT")),
    Instrument(1, "mexc", "ETHUSDT", -2, -6, name=Symbol("ETH", "USDT")),
]
BARE = list(unpack_rows(b"".join(map(pack_row, NAMED))))


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
    with pytest.raises(ValueError, match=r"several have it \(mexc, other\)"):
        find_instrument(rows, "BTC/USDT")
