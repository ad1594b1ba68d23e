"""Exports as csv, read by pandas' default reader in an environment of its own, exactly."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from tickpath.engine.recording.format import EVENTS, FileWriter, Meta
from tickpath.engine.recording.replayer import replay_event_dtype
from tickpath.engine.recording.tap import Subscription

from tests.readers import environment
from tests.venues.sessions import make_session, written
from tests.venues.test_tardis import tickpath

SCRIPT = Path(__file__).with_name("pandas_rows.py")
LARGE = 2**53 + 1
DECIMALS = ("price", "quantity", "bid", "bid_quantity", "ask", "ask_quantity")
pytestmark = pytest.mark.needs("readers")


def read_by_pandas(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return types by column, and rows of what each cell's repr is."""
    command = [str(environment.interpreter()), str(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, *rows = [json.loads(line) for line in done.stdout.splitlines()]
    return first, [dict(zip(first, row, strict=True)) for row in rows]


def exported(path: Path, out: Path, *words: str) -> None:
    for kind in ("csv", "parquet"):
        done = tickpath("export", path, "--format", kind, "--out", out, *words)
        assert done.returncode == 0, done.stderr


def exact_rows(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Decimal | None]]:
    """Return the decimals that mantissas and exponents make; None where there is none."""
    found = []
    for row in rows:
        said = {}
        for name in names:
            what = "quantity" if "q" in name else "price"
            number = Decimal(row[f"{name}_mantissa"]).scaleb(int(row[f"{what}_exponent"]))
            said[name] = None if row[name] is None else number
        found.append(said)
    return found


def test_events_of_any_numbers_are_exact_for_pandas(tmp_path: Path) -> None:
    """Numbers beyond 2^53, some absent, 18 digits: floats would keep none of them."""
    events = np.zeros(6, dtype=replay_event_dtype())
    events["index"] = [LARGE + i for i in range(6)]
    events["type"] = [1, 2, 3, 5, 6, 1]  # LEVEL, TOP, STATE, TRADE, BEST, LEVEL
    events["received_ns"] = [1_795_000_000_000_000_001 + i for i in range(6)]
    events["published_ns"] = events["received_ns"] + 7
    value = events["u"]["value"]
    value[0] = [123_456_789_012_345_678, 1, 1_795_000_000_000_000_003, LARGE]
    value[1] = [123_456_789_012_345_679, 3, 0, 0]  # no ask
    value[2] = [2, 3, 0, 0]
    value[3] = [2**62 + 1, 2**61 + 1, 1_795_000_000_000_000_005, -1]  # an id of 2^64 - 1
    value[4] = [5, 0, 7, 8]  # no bid
    value[5] = [1, 0, 0, 0]
    events["price_exponent"], events["quantity_exponent"] = -18, -8
    row = Subscription(
        venue="okx", symbol="X-Y", price_exponent=-2, quantity_exponent=0, channel="books:X-Y"
    )
    meta = Meta(instruments=(row,), realtime_offset_ns=3)
    writer = FileWriter(tmp_path / "a.tpr", meta)
    writer.append(EVENTS, events.tobytes(), 6, (1, 1))
    writer.close()
    exported(tmp_path / "a.tpr", tmp_path)
    kinds, rows = read_by_pandas(tmp_path / "a.events.csv")
    whole = [name for name in kinds if name.endswith(("_ns", "_mantissa", "_exponent", "_id"))]
    assert {kinds[name] for name in ("index", "sequence", *whole)} <= {"int64", "uint64"}
    wanted = pyarrow.parquet.read_table(tmp_path / "a.events.parquet")
    plain = wanted.drop_columns(["time"]).to_pylist()
    for one, exact in zip(rows, plain, strict=True):
        for name in ("index", "t_ns", "published_ns", "exchange_ns", "sequence", "trade_id"):
            assert int(one[name]) == (exact[name] or 0), name
        assert (one["taker"] or "None").strip("'") == str(exact["taker"])
    assert exact_rows(rows, list(DECIMALS)) == [{k: one[k] for k in DECIMALS} for one in plain]


@pytest.mark.parametrize("name", ["binance", "hyperliquid"])
def test_session_is_exact_for_pandas(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text(written(make_session(name).lines()))
    exported(path, tmp_path, "--ndjson")
    for what, names in (("events", DECIMALS), ("books", DECIMALS[2:])):
        kinds, rows = read_by_pandas(tmp_path / f"a.{what}.csv")
        floats = {
            column
            for column, kind in kinds.items()
            if kind.startswith("float") and any(row[column] is not None for row in rows)
        }
        assert floats <= set(names), "beside each of those stand its mantissa and exponent"
        table = pyarrow.parquet.read_table(tmp_path / f"a.{what}.parquet")
        plain = table.drop_columns(["time"]).to_pylist()
        assert len(rows) == len(plain) > 20
        assert exact_rows(rows, list(names)) == [{k: one[k] for k in names} for one in plain]
        assert [int(one["t_ns"]) for one in rows] == [one["t_ns"] for one in plain]
