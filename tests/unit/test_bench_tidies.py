"""A bench ended by SIGTERM leaves nothing; a table that goes into a pipe is not cut."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout

import msgspec
import pytest
from tickpath.engine.bench.checked import Feed
from tickpath.engine.bench.measure import Report, Row
from tickpath.engine.bench.venues import checked_venues
from tickpath.engine.recording.tap import Subscription, TapOptions, TapWriter
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.proto.instrument import Instrument
from tickpath.proto.venues import resolve_symbol
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import DIRECTORY

WAIT_S = 30.0


def test_bench_ended_by_sigterm_leaves_no_segment() -> None:
    words = ["bench", "book", "--count", "100000"]
    child = spawn(
        [sys.executable, "-P", "-m", "tickpath.engine.cli", *words], stdout=subprocess.DEVNULL
    )
    name = f"tickpath.bench-{child.pid}"
    try:
        end = time.monotonic() + WAIT_S
        while not (DIRECTORY / name).exists():
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        assert child.wait(WAIT_S) == 128 + signal.SIGTERM
        assert not list(DIRECTORY.glob(f"{name}*"))
    finally:
        stop(child)


def test_bench_of_checksums_leaves_no_segment_where_an_instrument_is_refused() -> None:
    own = next(iter(checked_venues()))
    (row, *_), _ = own.messages([resolve_symbol(own.venue, "BTC/USDT")], 1)
    wrong = msgspec.structs.replace(row, price_exponent=5)
    with pytest.raises(SystemSetupError, match=f"the feed refused {row.symbol}"):
        Feed(own, [wrong])
    assert not list(DIRECTORY.glob(f"tickpath.bench-checked-{os.getpid()}*"))


def test_tap_and_rehearsal_leave_no_segment_where_a_row_does_not_fit() -> None:
    name = f"unit-tidies-{os.getpid()}"
    options = TapOptions(ring_capacity=1 << 16, checkpoint_every_s=1.0, silent_after_ns=1)
    wrong = Subscription(
        venue="mexc",
        symbol="S" * 300,
        price_exponent=-2,
        quantity_exponent=-2,
        channel="channel",
    )
    with pytest.raises(IndexError, match="too long"):
        TapWriter(name, [wrong], options)
    with pytest.raises(ValueError, match="S"):
        RehearsalFeed(name, [Instrument(0, "mexc", "S" * 300, -2, -2)])
    assert not list(DIRECTORY.glob(f"tickpath.{name}*"))


def test_bench_table_in_a_pipe_shows_whole_numbers() -> None:
    figures = (123456789.0, 223456789.0, 323456789.0, 423456789.0, 523456789.0)
    report = Report("unit")
    long = "a contender with a name of fifty characters or so"
    report.rows.append(Row("unit", long, "a case with a long name too", "ns", 987654321, *figures))
    with redirect_stdout(io.StringIO()) as said:
        report.print(as_json=False)
    for number in (987654321, *figures):
        assert f"{number:,.0f}" in said.getvalue()
