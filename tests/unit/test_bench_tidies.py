"""A bench ended by SIGTERM leaves nothing; a table that goes into a pipe is not cut."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout

from tickpath.engine.bench.measure import Report, Row
from tickpath.engine.supervisor.child_process import spawn, stop
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


def test_bench_table_in_a_pipe_shows_whole_numbers() -> None:
    figures = (123456789.0, 223456789.0, 323456789.0, 423456789.0, 523456789.0)
    report = Report("unit")
    long = "a contender with a name of fifty characters or so"
    report.rows.append(Row("unit", long, "a case with a long name too", "ns", 987654321, *figures))
    with redirect_stdout(io.StringIO()) as said:
        report.print(as_json=False)
    for number in (987654321, *figures):
        assert f"{number:,.0f}" in said.getvalue()
