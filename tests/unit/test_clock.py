"""Who takes time as an argument reads none by itself: a deployment can run in virtual time."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from tickpath.shm.clock import SYSTEM

ROOT = Path(__file__).resolve().parents[2]
READS = frozenset({"monotonic", "monotonic_ns", "time", "time_ns", "perf_counter", "now", "utcnow"})
WHOSE = frozenset({"time", "datetime"})
TAKES_A_CLOCK = [
    *(
        "engine/supervisor/command.py",
        "engine/feed_handler/process.py",
        "engine/supervisor/feed_handler_watch.py",
        "engine/feed_handler/bases.py",
    ),
    *(f"engine/sim/{name}.py" for name in ("connection", "dialect", "exchange", "market")),
    *sorted(
        str(path.relative_to(ROOT))
        for folder in ("engine/feed_handler", "engine/loop", "engine/sim/venues")
        for path in (ROOT / folder).glob("*.py")
    ),
]


def readings(source: str) -> list[int]:
    """List the lines that read a clock of the time or the datetime module."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in WHOSE
        and node.attr in READS
    ]


@pytest.mark.parametrize("path", TAKES_A_CLOCK)
def test_clock_is_an_argument(path: str) -> None:
    assert readings((ROOT / path).read_text()) == [], f"{path}: take a shm.clock.Clock"


def test_clock_reading_is_found() -> None:
    assert readings("import time\nx = time.monotonic()\ny = f(time.time_ns)") == [2, 3]


def test_clock_of_the_system_is_the_systems() -> None:
    before = time.monotonic_ns(), time.time_ns()
    now = SYSTEM.now_ns(), SYSTEM.unix_ns()
    after = time.monotonic_ns(), time.time_ns()
    assert before <= now <= after
    assert before[0] <= SYSTEM.now_s() * 1e9 + 1000
