"""ThreadSanitizer sees no data race while readers are lapped, gated, woken, come and go.

It does not model fences (the model checks do); it does see a payload that is not atomic.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVENTS = 300_000
ROUNDS = 1000

pytestmark = pytest.mark.needs("clang")


def run(folder: Path, sources: list[Path], events: int) -> subprocess.CompletedProcess[str]:
    """Compile a stress test under the sanitizer, headers in `folder` first, and run it."""
    program = folder / "stress"
    words = ["clang-14", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fsanitize=thread"]
    include = [f"-I{folder}", f"-I{ROOT}"]
    subprocess.run([*words, *include, "-o", program, *sources, "-lpthread"], check=True)
    # At once: after its first race a program may do anything, such as wait for ever.
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    words = ["timeout", "--signal=ABRT", "290", str(program), str(events)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def run_rings(folder: Path, header: str) -> subprocess.CompletedProcess[str]:
    """Run the rings' stress test with this broadcast_ring.h."""
    shm = folder / "shm"
    shm.mkdir()
    (shm / "broadcast_ring.h").write_text(header)
    sources = [ROOT / "tests/stress/shm_stress.c", ROOT / "shm/snapshot_table.c"]
    return run(folder, sources, EVENTS)


def test_ring_and_snapshots_under_lapping_have_no_data_race(tmp_path: Path) -> None:
    done = run_rings(tmp_path, (ROOT / "shm/broadcast_ring.h").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data race" not in done.stderr


def test_gate_waker_and_registration_have_no_data_race(tmp_path: Path) -> None:
    own = sorted((ROOT / "shm").glob("*.c"))
    done = run(tmp_path, [ROOT / "tests/stress/control_stress.c", *own], EVENTS // 10)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data race" not in done.stderr


def run_closing(folder: Path, lease: str) -> subprocess.CompletedProcess[str]:
    """Close readers under those who wait in them, with this lease.c."""
    (folder / "lease.c").write_text(lease)
    own = [path for path in sorted((ROOT / "shm").glob("*.c")) if path.name != "lease.c"]
    return run(folder, [ROOT / "tests/stress/close_stress.c", folder / "lease.c", *own], ROUNDS)


def test_readers_that_are_closed_under_their_waiters_have_no_data_race(tmp_path: Path) -> None:
    done = run_closing(tmp_path, (ROOT / "shm/lease.c").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data race" not in done.stderr


def test_thread_sanitizer_sees_a_reader_that_does_not_wait_for_its_leases(tmp_path: Path) -> None:
    text = (ROOT / "shm/lease.c").read_text()
    part = "    leases_await(lease, wake, context);\n"
    assert part in text
    done = run_closing(tmp_path, text.replace(part, "    (void)leases_await;\n"))
    assert done.returncode != 0
    assert "data race" in done.stderr or "SEGV" in done.stderr


def run_handover(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run the hand-over's stress test with this handover.c."""
    (folder / "handover.c").write_text(code)
    sources = [ROOT / "tests/stress/handover_stress.c", folder / "handover.c"]
    return run(folder, sources, EVENTS // 3)


def test_handover_between_hot_and_cold_thread_has_no_data_race(tmp_path: Path) -> None:
    done = run_handover(tmp_path, (ROOT / "engine/loop/handover.c").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data race" not in done.stderr


def test_thread_sanitizer_sees_a_handover_without_its_acquires(tmp_path: Path) -> None:
    text = (ROOT / "engine/loop/handover.c").read_text()
    assert text.count("memory_order_acquire") == 2
    relaxed = text.replace("memory_order_acquire", "memory_order_relaxed")
    assert "data race" in run_handover(tmp_path, relaxed).stderr


def test_thread_sanitizer_sees_a_payload_that_is_not_atomic(tmp_path: Path) -> None:
    text = (ROOT / "shm/broadcast_ring.h").read_text()
    part = "atomic_store_explicit(&slot->word[i], event[i], memory_order_relaxed);"
    assert part in text
    plain = text.replace(part, "((volatile uint64_t *)slot->word)[i] = event[i];")
    assert "data race" in run_rings(tmp_path, plain).stderr


def run_session_memory(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run the stress test of shared message buffers with this session_memory.c."""
    (folder / "session_memory.c").write_text(code)
    sources = [ROOT / "tests/stress/session_memory_stress.c", folder / "session_memory.c"]
    return run(folder, sources, EVENTS)


def test_message_buffers_of_several_threads_have_no_data_race(tmp_path: Path) -> None:
    done = run_session_memory(tmp_path, (ROOT / "netstack/session_memory.c").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data race" not in done.stderr


@pytest.mark.parametrize("order", ["acquire", "release"])
def test_thread_sanitizer_sees_a_buffer_handed_on_without_an_order(
    tmp_path: Path, order: str
) -> None:
    text = (ROOT / "netstack/session_memory.c").read_text()
    assert text.count(f"memory_order_{order}") == 1
    code = text.replace(f"memory_order_{order}", "memory_order_relaxed")
    assert "data race" in run_session_memory(tmp_path, code).stderr
