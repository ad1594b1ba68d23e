"""ThreadSanitizer sees no data race while readers of ring and snapshots are lapped.

It does not model fences (the model checks do); it does see a payload that is not atomic.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVENTS = 300_000

pytestmark = pytest.mark.needs("clang")


def run(folder: Path, header: str) -> subprocess.CompletedProcess[str]:
    """Compile the stress test with this broadcast_ring.h under the sanitizer, and run it."""
    shm = folder / "shm"
    shm.mkdir()
    (shm / "broadcast_ring.h").write_text(header)
    program = folder / "shm_stress"
    sources = [ROOT / "tests/stress/shm_stress.c", ROOT / "shm/snapshot_table.c"]
    words = ["clang-14", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fsanitize=thread"]
    include = [f"-I{folder}", f"-I{ROOT}"]
    subprocess.run([*words, *include, "-o", program, *sources, "-lpthread"], check=True)
    return subprocess.run(
        [program, str(EVENTS)], capture_output=True, text=True, check=False, timeout=300
    )


def test_ring_and_snapshots_under_lapping_have_no_data_race(tmp_path: Path) -> None:
    done = run(tmp_path, (ROOT / "shm/broadcast_ring.h").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data race" not in done.stderr


def test_thread_sanitizer_sees_a_payload_that_is_not_atomic(tmp_path: Path) -> None:
    text = (ROOT / "shm/broadcast_ring.h").read_text()
    part = "atomic_store_explicit(&slot->word[i], event[i], memory_order_relaxed);"
    assert part in text
    plain = text.replace(part, "((volatile uint64_t *)slot->word)[i] = event[i];")
    assert "data race" in run(tmp_path, plain).stderr
