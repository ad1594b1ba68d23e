"""Every event checked while readers are lapped on purpose: none torn, none silently missing.

tests/stress/shm_stress.c does the work. STRESS_EVENTS sets how many events: .ci/run asks for 10^9.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVENTS = int(os.environ.get("STRESS_EVENTS", "20000000"))
TIMEOUT_S = 1200


def build(folder: Path, table: str) -> Path:
    """Compile the stress test with this text of snapshot_table.c."""
    program, source = folder / "shm_stress", folder / "snapshot_table.c"
    source.write_text(table)
    words: list[str | Path] = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{ROOT}"]
    sources = [ROOT / "tests/stress/shm_stress.c", source]
    subprocess.run([*words, "-o", program, *sources, "-lpthread"], check=True)
    return program


def test_readers_lapped_on_purpose_get_every_event_whole_or_told(tmp_path: Path) -> None:
    program = build(tmp_path, (ROOT / "shm/snapshot_table.c").read_text())
    done = subprocess.run(
        [program, str(EVENTS)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    readers = re.findall(r"(\d+) received, (\d+) lost in (\d+) laps", done.stdout)
    assert len(readers) == 2
    for received, lost, laps in readers:
        assert int(received) + int(lost) == EVENTS
        assert int(laps) > 10  # it was forced
        assert int(received) > 0


def test_lapping_test_sees_a_reader_without_the_second_check(tmp_path: Path) -> None:
    text = (ROOT / "shm/snapshot_table.c").read_text()
    check = "if (atomic_load_explicit(&cell->sequence, memory_order_relaxed) == 2 * version)"
    assert check in text
    # Also looser before the copy, so that a cell in the midst of a rewrite is taken.
    equal = "memory_order_acquire) == 2 * version) {"
    assert equal in text
    program = build(tmp_path, text.replace(check, "").replace(equal, "memory_order_acquire)) {"))
    done = subprocess.run(
        [program, "50000000"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 1, done.stdout
    assert "snapshot" in done.stdout
