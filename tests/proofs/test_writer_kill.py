"""Kill the writer at every store of the publish path, and at every call of the hand-over.

writer_kill.c does the work; here it is compiled, run, and shown to see a broken protocol.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SNAPSHOT_STORES = 4 + 20  # odd mark, ring index, sequence, version; words
ROW_STORES = 3 + 15  # odd mark, sequence, changes; words
EVENT_STORES = 3 + 7  # odd mark, sequence, head; words
BREAKAGES = {
    "an event marked whole before it is": (
        "broadcast_ring.h",
        "&slot->sequence, 2 * index + 1,",
        "&slot->sequence, 2 * index + 2,",
    ),
    "a row marked whole before it is": (
        "segment_rows.c",
        "&target->sequence, 2 * generation - 1,",
        "&target->sequence, 2 * generation,",
    ),
    "a version told before its cell is whole": (
        "snapshot_table.c",
        "atomic_thread_fence(memory_order_release);",
        "atomic_store_explicit(&table->index[slot], version, memory_order_release);",
    ),
    "a segment named before it is ready": (
        "segment_create.c",
        "atomic_store_explicit(&segment->live->state, TP_SEGMENT_READY, memory_order_release);",
        "renameat(segment->directory, new_name, segment->directory, name);"
        "atomic_store_explicit(&segment->live->state, TP_SEGMENT_READY, memory_order_release);",
    ),
}


def build(sources: Path, folder: Path) -> Path:
    """Compile the killer with the shm of a source tree."""
    program = folder / "writer_kill"
    own = sorted((sources / "shm").glob("*.c"))
    words: list[str | Path] = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{sources}"]
    files = [HERE / "writer_kill.c", *own]
    subprocess.run([*words, "-o", program, *files, "-lm", "-lpthread"], check=True)
    return program


def run(program: Path, folder: Path, mode: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    return subprocess.run(
        [program, os.fspath(folder), mode], capture_output=True, text=True, check=False
    )


def test_writer_killed_at_every_store_leaves_old_or_new_state(tmp_path: Path) -> None:
    done = run(build(ROOT, tmp_path), tmp_path / "shm", "publish")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{ROW_STORES + SNAPSHOT_STORES + EVENT_STORES} kills\n"


def test_writer_killed_at_every_call_of_building_hurts_nobody(tmp_path: Path) -> None:
    done = run(build(ROOT, tmp_path), tmp_path / "shm", "build")
    assert done.returncode == 0, done.stderr
    kills = re.fullmatch(r"(\d+) kills\n", done.stdout)
    assert kills
    assert int(kills[1]) > 20  # open, lock, allocate, map, rename and more, entry and exit


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_writer_kill_sees_a_broken_protocol(breakage: str, tmp_path: Path) -> None:
    name, part, instead = BREAKAGES[breakage]
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "shm", tree / "shm")
    file = tree / "shm" / name
    text = file.read_text()
    assert part in text
    file.write_text(text.replace(part, instead, 1))
    program = build(tree, tmp_path)
    modes = ("publish", "build")
    assert any(run(program, tmp_path / mode, mode).returncode == 1 for mode in modes)
