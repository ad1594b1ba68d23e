"""Exports read back by DuckDB and pyarrow, against the lines that a replay prints."""

from __future__ import annotations

import base64
import csv
import json
import re
import struct
import subprocess
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.engine.recording.export import Columns
from tickpath.engine.recording.format import EVENTS, RAW, FileWriter, Meta, pack_record
from tickpath.engine.recording.replayer import replay_event_dtype
from tickpath.engine.recording.tap import Subscription

from tests.unit.feed.conftest import Venue, channel
from tests.unit.recording.test_replay import TICKPATH, replay, rest_body, session, symbol, write

DOCS = Path(__file__).resolve().parents[3] / "docs" / "recording.md"
CHANNEL = channel(0).decode()
NUMBERS = ("bid", "bid_quantity", "ask", "ask_quantity", "price", "quantity")


def export(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*TICKPATH, "export", str(path), "--out", str(path.parent / "out"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read with pyarrow; time as nanoseconds, which a datetime cannot hold."""
    table = pyarrow.parquet.read_table(path)
    place = table.schema.get_field_index("time")
    times = table.column("time").cast(pyarrow.int64())
    rows: list[dict[str, Any]] = table.set_column(place, "time", times).to_pylist()
    return rows


def exact(row: dict[str, Any]) -> dict[str, Any]:
    """Turn the numbers of a printed line into Decimals."""
    return {
        key: Decimal(value) if key in NUMBERS and value is not None else value
        for key, value in row.items()
    }


def test_export_parquet_has_the_replays_books_for_duckdb(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session()[0])
    done = export(path, "--ndjson")
    assert done.returncode == 0, done.stderr
    printed, _ = replay(path, "--ndjson", "--print", "books")
    table = duckdb.read_parquet(f"{tmp_path}/out/a.books.parquet")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
    found = [{key: row[key] for key in row if key != "time"} for row in rows]
    assert len(found) > 100
    assert found == [exact(row) for row in printed]


def test_export_json_names_each_file_its_rows_and_what_it_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session()[0])
    for is_again in (False, True):
        done = export(path, "--ndjson", "--json")
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        names = [f"{tmp_path}/out/a.{what}.parquet" for what in ("events", "books")]
        assert [one["path"] for one in told] == names
        assert [one["rows"] for one in told] == [len(read_rows(Path(name))) for name in names]
        assert [one["replaced"] for one in told] == [is_again, is_again]


def test_export_parquet_has_the_replays_events_for_pyarrow(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session()[0])
    assert export(path, "--ndjson").returncode == 0
    printed, _ = replay(path, "--ndjson", "--print", "events")
    rows = read_rows(tmp_path / "out" / "a.events.parquet")
    assert len(rows) == len(printed) > 500
    for row, line in zip(rows, printed, strict=True):
        told = exact(line)
        assert {key: row[key] for key in told} == told
        assert all(row[key] is None for key in row.keys() - told.keys() - {"time", "published_ns"})


def test_export_csv_has_the_printed_decimals_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session()[0])
    assert export(path, "--ndjson", "--format", "csv").returncode == 0
    printed, _ = replay(path, "--ndjson", "--print", "books")
    with (tmp_path / "out" / "a.books.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    keys = ("symbol", "state", "bid", "bid_quantity", "ask", "ask_quantity")
    assert [[row[key] for key in keys] for row in found] == [
        ["" if row[key] is None else row[key] for key in keys] for row in printed
    ]


@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2)), max_size=30),
    st.lists(st.integers(-18, 0), min_size=3, max_size=3),
)
def test_export_numbers_are_exact_at_any_scale(
    rows: list[tuple[int, int]], scales: list[int]
) -> None:
    instruments = tuple(
        Subscription(
            venue="mexc", symbol=str(i), price_exponent=e, quantity_exponent=0, channel=str(i)
        )
        for i, e in enumerate(scales)
    )
    mantissas = np.array([row[0] for row in rows], dtype=np.int64)
    exponents = np.array([scales[i] for _, i in rows], dtype=np.int8)
    absent = np.zeros(len(rows), dtype=bool)
    expected = [Decimal(m).scaleb(scales[i]) for m, i in rows]
    for as_text in (False, True):
        columns = Columns(Meta(instruments=instruments), as_text=as_text)
        found = columns.numbers(mantissas, exponents, absent).to_pylist()
        assert [Decimal(one) for one in found] == expected


def test_export_of_a_recording_takes_the_events_as_they_were_published(tmp_path: Path) -> None:
    events = np.zeros(4, dtype=replay_event_dtype())
    events["index"], events["type"] = [5, 6, 7, 8], [2, 3, 99, 1]  # 99: of a later version
    events["received_ns"], events["published_ns"] = 10, 17
    events["u"]["value"][0] = [6712345, 3, 6712346, 4]
    events["u"]["value"][1] = [2, 3, 0, 0]
    events["u"]["value"][3] = [1, 1, 0, 0]
    events["price_exponent"] = -2
    events["price_exponent"][2:] = -3  # its own, not the header's
    meta = Meta(
        instruments=(
            Subscription(
                venue="mexc", symbol="X", price_exponent=-2, quantity_exponent=0, channel=CHANNEL
            ),
        ),
        realtime_offset_ns=1_700_000_000_000_000_000,
    )
    writer = FileWriter(tmp_path / "a.tpr", meta)
    writer.append(EVENTS, events.tobytes(), 4, (10, 10))
    writer.close()
    done = export(tmp_path / "a.tpr")
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "out" / "a.events.parquet")
    assert [row["type"] for row in rows] == ["TOP", "STATE", None, "LEVEL"]
    assert rows[3]["price"] == Decimal("0.001")
    assert (rows[0]["bid"], rows[0]["ask"]) == (Decimal("67123.45"), Decimal("67123.46"))
    assert (rows[1]["state"], rows[1]["reason"]) == ("STALE", "DISCONNECTED")
    assert rows[0]["published_ns"] == 17
    assert rows[0]["time"] == 1_700_000_000_000_000_010


def test_export_of_a_recording_of_version_1_has_the_same_events(tmp_path: Path) -> None:
    # Built by hand as docs/recording.md of version 1 had it: u64 index, then the event of layout 1.
    row = {
        "venue": "mexc",
        "symbol": "X",
        "price_exponent": -2,
        "quantity_exponent": -1,
        "channel": CHANNEL,
    }
    text = json.dumps({"instruments": [row]}).encode()
    head = struct.pack("<8sII", b"TICKPREC", 1, len(text)) + text
    events = [
        struct.pack("<QIHHQQ4q", 5, 0, 1, 1, 10, 17, 6712345, 30, 99, 12),  # LEVEL, ask side
        struct.pack("<QIHHQQ4q", 6, 0, 2, 0, 11, 18, 6712345, 3, 6712346, 4),  # TOP
        struct.pack("<QIHHQQ4q", 7, 0, 3, 0, 12, 19, 2, 3, 0, 0),  # STATE
    ]

    def block(payload: bytes, count: int, number: int = 0) -> bytes:
        size = len(payload)
        told = struct.pack("<4sBBHIIIQQQ", b"BLK1", 2, 0, 0, size, size, count, 10, 12, number)
        return told + struct.pack("<I", zlib.crc32(told + payload)) + payload

    whole = head + struct.pack("<I", zlib.crc32(head)) + block(b"".join(events), 3)
    path = tmp_path / "a.tpr"
    path.write_bytes(whole)
    done = export(path)
    assert done.returncode == 0, done.stderr
    level, top, state = read_rows(tmp_path / "out" / "a.events.parquet")
    assert (level["type"], level["side"], level["index"]) == ("LEVEL", "ask", 5)
    assert (level["price"], level["quantity"]) == (Decimal("67123.45"), Decimal(3))
    assert (level["exchange_ns"], level["sequence"]) == (99, 12)
    assert (top["bid"], top["ask_quantity"]) == (Decimal("67123.45"), Decimal("0.4"))
    assert (state["state"], state["reason"], state["published_ns"]) == ("STALE", "DISCONNECTED", 19)
    stranger = struct.pack("<QIHHQQ4q", 8, 1, 2, 0, 13, 20, 0, 0, 0, 0)  # of no instrument
    path.write_bytes(whole + block(stranger, 1, 1))
    assert "an event of no instrument" in export(path).stderr


def test_export_of_a_cut_recording_writes_what_is_before_and_tells(tmp_path: Path) -> None:
    whole = tmp_path / "a.tpr"
    write_from_docs(whole)
    whole.write_bytes(whole.read_bytes()[:-1])
    done = export(whole)
    assert done.returncode == 2
    assert "a block is cut" in done.stderr


def test_export_of_an_absent_file_leaves_nothing(tmp_path: Path) -> None:
    done = export(tmp_path / "nope")
    assert done.returncode == 2
    assert "No such file" in done.stderr
    assert "rows" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_export_that_outgrows_its_disk_keeps_what_was_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session(3000)[0])
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.events.parquet").write_text("of yesterday")
    command = [*TICKPATH, "export", str(path), "--ndjson", "--out", str(out)]
    limited = ["prlimit", "--fsize=4096", *command]  # a write beyond it fails, as on a full disk
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert str(out) in done.stderr
    assert [one.name for one in out.iterdir()] == ["a.events.parquet"]
    assert (out / "a.events.parquet").read_text() == "of yesterday"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a.events.parquet: " in done.stderr
    assert done.stderr.count("(replaced)") == 1


# ---- the documentation's own program -------------------------------------------------------------


def write_from_docs(path: Path, count: int = 50) -> list[dict[str, Any]]:
    """Run the ten lines of docs/recording.md; return the same session as NDJSON lines."""
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert sum(bool(line) for line in program.splitlines()) == 10
    venue = Venue()
    snapshot = rest_body(venue, venue.version)
    messages = [(10 + i, venue.step(versions=1)) for i in range(count)]
    given_names = {
        "symbol": symbol(0),
        "channel": CHANNEL,
        "records": [
            (10, 4, 0, f"{symbol(0)}\n{snapshot}".encode()),
            *((t_ns, 1, 2, data) for t_ns, data in messages),
        ],
        "path": path,
    }
    exec(program, given_names)  # noqa: S102 - the documentation's program is what is tested
    lines = [{"t_ns": 10, "dir": "base", "text": snapshot, "symbol": symbol(0)}]
    lines += [
        {"t_ns": t_ns, "dir": "in", "base64": base64.b64encode(data).decode()}
        for t_ns, data in messages
    ]
    return [{"venue": "mexc", "conn": 0, **line} for line in lines]


@pytest.mark.parametrize("what", ["books", "events"])
def test_ten_lines_of_the_documentation_write_a_recording_that_replays(
    tmp_path: Path, what: str
) -> None:
    lines = write_from_docs(tmp_path / "a.tpr")
    as_lines = write(tmp_path / "a.ndjson", lines)
    printed, done = replay(tmp_path / "a.tpr", "--print", what)
    assert done.returncode == 0, done.stderr
    assert len(printed) > 20
    assert printed == replay(as_lines, "--ndjson", "--print", what)[0]


def test_record_layouts_of_the_documentation_are_those_of_the_code(tmp_path: Path) -> None:
    """What the page says of a book: written by hand from it, taken by the replay."""
    levels = struct.pack("<qqqq", 100, 7, 101, 8)
    book = struct.pack("<IIQQQII", 0, 0, 55, 0, 0, 1, 1) + levels
    instrument = Subscription(
        venue="mexc", symbol="X", price_exponent=-1, quantity_exponent=0, channel=CHANNEL
    )
    for kind in (3, 9):
        path = tmp_path / f"{kind}.tpr"
        writer = FileWriter(path, Meta(instruments=(instrument,)))
        writer.append(RAW, pack_record(kind, 0, 0, 5, book), 1, (5, 5))
        writer.close()
        (line,), _ = replay(path, "--print", "books")
        assert (line["state"], line["bid"], line["bid_quantity"]) == ("LIVE", "10.0", "7")
        assert (line["ask"], line["ask_quantity"]) == ("10.1", "8")
        assert line["t_ns"] == 5
