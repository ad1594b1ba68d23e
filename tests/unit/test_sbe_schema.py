"""Accessors that are made of a schema of Simple Binary Encoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "proto/venues/binance_sbe/stream_1_0.xml"
PUBLISHED = ROOT.parent / "shared/reference/data"


def make(schema: Path, tmp_path: Path) -> tuple[int, str, str]:
    """Return status, what was said, and the header."""
    header = tmp_path / "schema.h"
    words = [sys.executable, str(ROOT / "sbe_build.py"), str(schema), "any", str(header)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, header.read_text() if header.exists() else ""


def test_accessors_are_at_the_places_that_the_documents_give(tmp_path: Path) -> None:
    status, said, header = make(SCHEMA, tmp_path)
    assert (status, said) == (0, "")
    numbers = dict(
        line.strip(" ,").split(" = ") for line in header.splitlines() if line.startswith("    TP_")
    )
    assert {
        name.removeprefix("TP_ANY_"): int(value) for name, value in numbers.items()
    }.items() >= {
        **{"SCHEMA_ID": 1, "SCHEMA_VERSION": 0, "TRADES_ID": 10000, "TRADES_SIZE": 18},
        **{"TRADES_TRADES_SIZE": 25, "TRADES_TRADES_COUNT_SIZE": 4},
        **{"TRADES_TRADES_IS_BUYER_MAKER_AT": 24, "BEST_BID_ASK_ID": 10001},
        **{"BEST_BID_ASK_SIZE": 50, "BEST_BID_ASK_ASK_QTY_AT": 42, "DEPTH_SNAPSHOT_ID": 10002},
        **{"DEPTH_SNAPSHOT_SIZE": 18, "DEPTH_DIFF_ID": 10003, "DEPTH_DIFF_SIZE": 26},
        **{"DEPTH_DIFF_LAST_BOOK_UPDATE_ID_AT": 16, "DEPTH_DIFF_QTY_EXPONENT_AT": 25},
        **{"DEPTH_DIFF_BIDS_SIZE": 16, "DEPTH_DIFF_ASKS_COUNT_SIZE": 2},
    }.items()
    assert "int8_t tp_any_depth_diff_qty_exponent(const uint8_t *block)" in header
    assert "return tp_sbe_i8(block + 25);" in header
    assert "best_match" not in header


def test_accessors_of_the_published_schema_are_those_of_ours(tmp_path: Path) -> None:
    """Where a copy of it is at hand: it is not the project's to pass on."""
    ours = make(SCHEMA, tmp_path)[2].splitlines()[1:]
    for path in PUBLISHED.glob("binance_stream_1_0.xml"):
        assert make(path, tmp_path)[2].splitlines()[1:] == ours


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('byteOrder="littleEndian"', 'byteOrder="bigEndian"', "byteOrder: expected littleEndian"),
        (
            'name="schemaId" primitiveType="uint16"',
            'name="schemaId" primitiveType="uint32"',
            "mess",
        ),
        (
            'name="mantissa64" primitiveType="int64"',
            'name="mantissa64" primitiveType="float"',
            "fl",
        ),
        ('type="tradeId"', 'type="nobodys"', "type 'nobodys': expected one of"),
        (
            'name="numInGroup" primitiveType="uint32"',
            'name="numInGroup" primitiveType="uint8"',
            "gr",
        ),
        ('name="length" primitiveType="uint8"', 'name="length" primitiveType="uint16"', "data of"),
        (
            '<group id="100" name="trades">',
            '<other id="100"/><group name="trades">',
            "other of tra",
        ),
        (' id="10003"', "", "no id"),
        ("</sbe:messageSchema>", "", "no element found"),
    ],
)
def test_schema_that_is_not_read_is_refused_by_name(
    tmp_path: Path, was: str, now: str, said: str
) -> None:
    text = SCHEMA.read_text()
    assert was in text
    path = tmp_path / "other.xml"
    path.write_text(text.replace(was, now))
    status, words, header = make(path, tmp_path)
    assert (status, header) == (1, "")
    assert f"{path}: " in words
    assert said in words


def test_schema_field_with_a_place_of_its_own_is_read_there(tmp_path: Path) -> None:
    path = tmp_path / "other.xml"
    was = '<field id="3" name="lastBookUpdateId" type="updateId"/>'
    text = SCHEMA.read_text()
    assert was in text
    path.write_text(text.replace(was, was.replace("/>", ' offset="24"/>')))
    header = make(path, tmp_path)[2]
    assert "TP_ANY_DEPTH_DIFF_LAST_BOOK_UPDATE_ID_AT = 24," in header
    assert "TP_ANY_DEPTH_DIFF_PRICE_EXPONENT_AT = 32," in header
    assert "TP_ANY_DEPTH_DIFF_SIZE = 34," in header
