"""The schema text and the table of a feed's segment against the compiled records."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tickpath.engine.client.feed_segment import (
    SCHEMA,
    make_layout,
    read_instruments,
    write_instruments,
)
from tickpath.proto import records
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import Segment, SegmentWriter

if TYPE_CHECKING:
    from pathlib import Path


def dtype_of(text: str) -> Any:
    """Turn a type of the schema ("u32", "i64[4]", "char[16]", "level[20]") into numpy's."""
    match = re.fullmatch(r"([a-z]+)(\d*)(?:\[(\d+)\])?", text)
    assert match is not None
    kind, bits, count = match[1], match[2], match[3]
    if kind == "char":
        return np.dtype(f"S{count}")
    base = records.level_dtype() if kind == "level" else np.dtype(f"{kind}{int(bits) // 8}")
    return np.dtype((base, (int(count),))) if count else base


@pytest.mark.parametrize(
    ("record", "dtype"),
    [
        ("event", records.event_dtype),
        ("book", records.book_dtype),
        ("level", records.level_dtype),
        ("instrument", records.instrument_dtype),
    ],
)
def test_schema_names_every_field_where_the_compiler_put_it(record: str, dtype: Any) -> None:
    fields: dict[str, tuple[int, Any]] = {}
    for name, field in dtype().fields.items():
        inner = field[0].fields if name == "u" else {name: (field[0], 0)}
        for key, (kind, offset) in inner.items():
            parts = kind.fields.items() if kind.fields else [("", (kind, 0))]
            for part, (part_kind, part_offset) in parts:
                full = f"{key}.{part}" if part else key
                fields[full] = (field[1] + offset + part_offset, part_kind)
    told = {
        line.split()[1]: (int(line.split()[2]), dtype_of(line.split()[3]))
        for line in SCHEMA.splitlines()
        if line.split()[0] == record
    }
    assert told == {name: field for name, field in fields.items() if "reserved" not in name}


def test_schema_carries_the_version_of_the_records() -> None:
    assert SCHEMA.splitlines()[0] == f"records {records.RECORDS_VERSION}"
    assert records.book_dtype().itemsize == records.BOOK_WORDS * 8


def test_instruments_written_are_read_back(tmp_path: Path) -> None:
    instruments = (
        Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),
        Instrument(1, "fifteen-letters", "A" * 64, -18, 0, 10**18),
    )
    with SegmentWriter("unit", make_layout(instruments), directory=tmp_path) as writer:
        write_instruments(writer, instruments)
        writer.ready()
        with Segment("unit", schema=SCHEMA, directory=tmp_path) as segment:
            assert read_instruments(segment) == instruments
            data = b"".join(row for _, row in segment.rows())
            rows = np.frombuffer(data, dtype=records.instrument_dtype())
            assert rows["symbol"].tolist() == [b"BTCUSDT", b"A" * 64]


def test_instrument_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    for wrong in (
        Instrument(1, "mexc", "BTCUSDT", 0, 0),
        Instrument(0, "sixteen-letters-", "BTCUSDT", 0, 0),
        Instrument(0, "mexc", "A" * 65, 0, 0),
    ):
        with (
            SegmentWriter("unit", make_layout([wrong]), directory=tmp_path) as writer,
            pytest.raises(ValueError, match=r"expected index 0|leave this instrument out"),
        ):
            write_instruments(writer, [wrong])
