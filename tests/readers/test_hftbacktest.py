"""Exports for hftbacktest, read by itself, in an environment of its own: its books are ours."""

from __future__ import annotations

import json
import os
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.engine.recording.hftbacktest import (
    BUY,
    CLEAR,
    DEPTH,
    DTYPE,
    EXCH,
    KIND_MASK,
    LOCAL,
    SELL,
    SNAPSHOT,
    TRADE,
    Events,
    fill_times,
    in_order,
)

from tests.readers import environment
from tests.venues.sessions import Session, make_session, written
from tests.venues.test_tardis import tickpath

SCRIPT = Path(__file__).with_name("hftbacktest_books.py")
TICK, LOT = "0.01", "0.00000001"
Levels = dict[tuple[str, float], float]


def exported(tmp_path: Path, session: Session, lines: list[dict[str, Any]]) -> dict[str, Path]:
    """Export a session; return the files by symbol."""
    path = tmp_path / "a.ndjson"
    path.write_text(written(lines))
    done = tickpath(
        "export", "--ndjson", path, "--format", "hftbacktest", "--out", tmp_path / "out", "--json"
    )
    assert done.returncode in (0, 6), done.stderr
    names = [Path(json.loads(line)["path"]) for line in done.stdout.splitlines()]
    assert len(names) == len(session.symbols)
    return dict(zip(session.symbols, names, strict=True))


def read_by_hftbacktest(path: Path) -> list[Any]:
    command = [str(environment.interpreter()), str(SCRIPT), str(path), TICK, LOT]
    done = subprocess.run(
        command,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_levels(book: Any) -> Levels:
    found: Levels = {}
    for side, rows in zip(("bid", "ask"), book, strict=True):
        found |= {(side, float(price)): float(quantity) for price, quantity in rows}
    return found


@pytest.mark.needs("readers")
@pytest.mark.parametrize("name", ["binance", "okx", "bybit", "gate"])
def test_books_of_hftbacktest_are_those_that_were_at_every_message(
    tmp_path: Path, name: str
) -> None:
    session = make_session(name)
    files = exported(tmp_path, session, session.lines())
    for symbol, path in files.items():
        compared = 0
        read = read_by_hftbacktest(path)
        last = max(t_ns for of, t_ns in session.books if of == symbol)
        for t_ns, is_end, best, rows in read:
            if not rows:
                continue
            then = (
                last if is_end else max(t for of, t in session.books if of == symbol and t <= t_ns)
            )
            book = session.books[symbol, then]
            wanted = as_levels(book)
            found = {(side, round(price, 2)): quantity for side, price, quantity in rows}
            assert found == wanted, (name, symbol, t_ns)
            ticks = [round(float(side[0][0]) / float(TICK)) for side in book]
            assert best == ticks, (name, symbol, t_ns)
            compared += 1
        assert compared > 10
        kinds = np.load(path)["data"]["ev"] & np.uint64(KIND_MASK)
        assert bool((kinds == TRADE).sum() > 5) == session.traded


@pytest.mark.needs("readers")
def test_book_that_is_live_no_longer_is_cleared_until_it_is_again(tmp_path: Path) -> None:
    """A message is lost, and a second connection brings the first bases again at the end."""
    session = make_session("okx")
    lines, symbol = session.lines(), session.symbols[0]
    begin_ns, again_ns = lines[0]["t_ns"], lines[-1]["t_ns"] + 10**9
    books = f'{{"arg":{{"channel":"books","instId":"{symbol}"'
    own = [one for one in lines if one["dir"] == "in" and one["text"].startswith(books)]
    lost, gap_ns = own[8], own[9]["t_ns"]
    again = [one | {"t_ns": again_ns, "conn": 1} for one in lines if one["t_ns"] == begin_ns]
    files = exported(tmp_path, session, [*(one for one in lines if one is not lost), *again])
    data = np.load(files[symbol])["data"]
    cleared = (data["ev"] & np.uint64(KIND_MASK)) == CLEAR
    assert sorted(set(data["local_ts"][cleared].tolist())) == [begin_ns, gap_ns, again_ns]
    read = read_by_hftbacktest(files[symbol])
    assert any(rows for t_ns, *_, rows in read if t_ns < gap_ns)
    meanwhile = [rows for t_ns, is_end, _, rows in read if gap_ns <= t_ns < again_ns and not is_end]
    assert len(meanwhile) > 5
    assert not any(meanwhile)
    found = {(side, round(price, 2)): quantity for side, price, quantity in read[-1][3]}
    assert found == as_levels(session.books[symbol, begin_ns])


# ---- order ---------------------------------------------------------------------------------------


def applied(rows: np.ndarray[Any, Any], flag: int) -> list[Levels]:
    """Apply a file's rows of one flag in their order; return the book after each."""
    book: Levels = {}
    found = []
    for row in rows:
        event = int(row["ev"])
        if not event & flag:
            continue
        side = "bid" if event & BUY else "ask"
        if event & KIND_MASK == CLEAR:
            book = {key: value for key, value in book.items() if key[0] != side}
        elif event & KIND_MASK in (DEPTH, SNAPSHOT):
            book[side, float(row["px"])] = float(row["qty"])
            if row["qty"] == 0:
                del book[side, float(row["px"])]
        found.append(dict(book))
    return found


events = st.lists(
    st.tuples(
        st.sampled_from([DEPTH, TRADE, SNAPSHOT, CLEAR]),
        st.sampled_from([BUY, SELL]),
        st.integers(0, 60),  # exchange's time, 0: not known
        st.integers(0, 5),  # later than the one before
        st.integers(1, 5),
        st.integers(0, 3),
    ),
    max_size=40,
)


def made(drawn: list[tuple[int, ...]]) -> np.ndarray[Any, Any]:
    rows = np.zeros(len(drawn), DTYPE)
    local = 50
    for row, (kind, side, exch, later, price, quantity) in zip(rows, drawn, strict=True):
        local += later
        row["ev"] = kind | side
        row["exch_ts"], row["local_ts"] = min(exch, local), local
        row["px"], row["qty"] = price, quantity
    return rows


def test_row_that_came_later_than_what_happened_after_it_stands_twice() -> None:
    """The example of hftbacktest's own document: a change of depth behind a later trade."""
    rows = made(
        [(TRADE, SELL, 11, 10, 1, 3), (DEPTH, BUY, 8, 1, 2, 1), (TRADE, SELL, 60, 20, 1, 1)]
    )
    ordered = in_order(rows)
    flags = [int(one) & (EXCH | LOCAL) for one in ordered["ev"]]
    kinds = [int(one) & KIND_MASK for one in ordered["ev"]]
    assert kinds == [DEPTH, TRADE, DEPTH, TRADE]
    assert flags == [EXCH, EXCH | LOCAL, LOCAL, EXCH | LOCAL]


@given(events)
def test_rows_are_in_the_order_of_both_times_and_none_is_lost(drawn: list[tuple[int, ...]]) -> None:
    rows = made(drawn)
    before = rows.copy()
    fill_times(rows)
    ordered = in_order(rows.copy())
    for flag, name in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        own = ordered[(ordered["ev"] & np.uint64(flag)) != 0]
        assert (np.diff(own[name]) >= 0).all()
        stripped = [(int(one["ev"]) & 0x300000FF, one["px"], one["qty"]) for one in own]
        wanted = [(int(one["ev"]) & 0x300000FF, one["px"], one["qty"]) for one in before]
        assert sorted(stripped) == sorted(wanted)
    assert (ordered["ev"] & np.uint64(EXCH | LOCAL) != 0).all()
    assert (rows["exch_ts"] <= rows["local_ts"]).all()


@given(events)
def test_exchange_and_local_see_the_same_books_one_after_another(
    drawn: list[tuple[int, ...]],
) -> None:
    drawn = [(kind, *more) for kind, *more in drawn if kind != TRADE]
    rows = made([(one[0], one[1], one[2], one[3], one[4], one[5]) for one in drawn])
    rows["qty"] = np.maximum(rows["qty"], 1)
    fill_times(rows)
    ordered = in_order(rows)
    assert applied(ordered, EXCH) == applied(ordered, LOCAL)


def test_book_that_was_fetched_is_before_all_changes_after_it() -> None:
    rows = made(
        [(SNAPSHOT, BUY, 0, 10, 1, 1), (DEPTH, BUY, 40, 1, 1, 2), (DEPTH, BUY, 39, 1, 1, 3)]
    )
    fill_times(rows)
    assert rows["exch_ts"].tolist() == [39, 40, 40]
    rows = made([(SNAPSHOT, BUY, 0, 10, 1, 1), (TRADE, BUY, 0, 1, 1, 2)])
    fill_times(rows)
    assert rows["exch_ts"].tolist() == [60, 61]


# ---- the command ---------------------------------------------------------------------------------


def test_numbers_are_the_nearest_doubles_and_every_field_is_there(tmp_path: Path) -> None:
    session = make_session("binance")
    for symbol, path in exported(tmp_path, session, session.lines()).items():
        data = np.load(path)["data"]
        assert data.dtype.names == (
            "ev", "exch_ts", "local_ts", "px", "qty", "order_id", "ival", "fval",
        )  # fmt: skip
        (*_, last) = (book for (of, _), book in session.books.items() if of == symbol)
        assert applied(data, LOCAL)[-1] == as_levels(last)  # float() of a Decimal is the nearest
        kinds = set((data["ev"] & np.uint64(KIND_MASK)).tolist())
        assert kinds == {DEPTH, TRADE, CLEAR, SNAPSHOT}


@pytest.mark.parametrize("form", ["hftbacktest", "csv", "parquet"])
def test_folder_in_the_way_of_the_last_file_leaves_nothing(tmp_path: Path, form: str) -> None:
    session = make_session("okx")
    path, out = tmp_path / "a.ndjson", tmp_path / "out"
    path.write_text(written(session.lines()))
    words = ("export", "--ndjson", path, "--format", form, "--out", out)
    assert tickpath(*words).returncode == 0
    *first, last = sorted(out.iterdir(), reverse=form != "hftbacktest")  # in their order
    assert first
    for one in (*first, last):
        one.unlink()
    last.mkdir()
    done = tickpath(*words)
    assert done.returncode == 2
    assert f"--out {out}: {last.name} is a folder: nothing was left there" in done.stderr
    assert list(out.iterdir()) == [last]


def test_rows_are_in_memory_twice_at_most_while_they_are_joined() -> None:
    """As docs/recording.md says."""
    rows = Events("okx", "BTC-USDT", _chunks=[np.zeros(1 << 16, DTYPE) for _ in range(4)])
    held = 4 * (1 << 16) * DTYPE.itemsize
    tracemalloc.start()
    assert rows.take().nbytes == held
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert DTYPE.itemsize == 64
    assert held <= peak < 1.05 * held


def test_clock_behind_the_venues_is_shifted_and_said(tmp_path: Path) -> None:
    session = make_session("okx")
    path = tmp_path / "a.ndjson"
    lines = [one | {"t_ns": one["t_ns"] - 5_000_000_000} for one in session.lines()]
    path.write_text(written(lines))
    done = tickpath("export", "--ndjson", path, "--format", "hftbacktest", "--out", tmp_path)
    assert "local_ts of okx is 5,000,000,000 ns later than recorded" in done.stderr
    for one in tmp_path.glob("*.npz"):
        data = np.load(one)["data"]
        assert (data["local_ts"] >= data["exch_ts"]).all()


def test_recording_of_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text("{}\n")
    done = tickpath("export", "--ndjson", path, "--format", "hftbacktest", "--out", tmp_path / "o")
    assert done.returncode == 2
    assert not list((tmp_path / "o").glob("*"))
