"""Setting this process up, each in a child so that pytest itself stays as it was."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from tickpath.rt import process


def in_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import os\nfrom tickpath.rt import process\n{program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pin_allowed_cpu_is_the_only_one() -> None:
    said = in_child(
        "cpu = max(os.sched_getaffinity(0))\nprocess.pin(cpu)\n"
        "print(os.sched_getaffinity(0) == {cpu})"
    )
    assert said == "True"


@pytest.mark.needs("two_cpus")
def test_pin_twice_moves() -> None:
    said = in_child(
        "a, b = sorted(os.sched_getaffinity(0))[:2]\n"
        "process.pin(a)\nprocess.pin(b)\nprint(os.sched_getaffinity(0) == {b})"
    )
    assert said == "True"


@pytest.mark.parametrize("cpu", [-1, 8000, 2**40])
def test_pin_impossible_cpu_is_refused_with_the_possible(cpu: int) -> None:
    with pytest.raises(ValueError, match=rf"CPU {cpu}: this process runs on \[0"):
        process.pin(cpu)


@pytest.mark.needs("root")
def test_set_fifo_holds_for_this_thread_and_not_for_children() -> None:
    said = in_child(
        "import subprocess\n"
        "process.set_fifo(7)\n"
        "print(os.sched_getscheduler(0) & 7, os.sched_getparam(0).sched_priority)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    os._exit(os.sched_getscheduler(0))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "process.set_ordinary()\nprint(os.sched_getscheduler(0))"
    )
    assert said.split() == ["1", "7", "0", "0"]  # SCHED_FIFO is 1, SCHED_OTHER 0


@pytest.mark.parametrize("priority", [0, 50, -1])
def test_set_fifo_priority_out_of_range_is_refused(priority: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 49"):
        process.set_fifo(priority)


@pytest.mark.needs("root")
def test_set_fifo_without_privilege_names_the_remedy() -> None:
    said = in_child(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "os.setuid(65534)\n"
        "try:\n    process.set_fifo(5)\nexcept PermissionError as error:\n    print(error)"
    )
    assert "CAP_SYS_NICE" in said


@pytest.mark.needs("root")
def test_lock_memory_locks_what_comes_later_too() -> None:
    said = in_child(
        "process.lock_memory(heap_reserve_bytes=1 << 20)\n"
        "def locked():\n"
        "    return int(open('/proc/self/status').read().split('VmLck:')[1].split()[0])\n"
        "before = locked()\n"
        "import mmap\nlater = mmap.mmap(-1, 1 << 22)\n"
        "print(before > 0, locked() - before >= 4096)\n"
        "process.unlock_memory()\nprint(locked())"
    )
    assert said.split() == ["True", "True", "0"]


@pytest.mark.needs("root")
def test_lock_memory_over_the_limit_names_the_remedy() -> None:
    said = in_child(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "os.setuid(65534)\n"
        "try:\n    process.lock_memory()\nexcept PermissionError as error:\n    print(error)"
    )
    assert "ulimit -l" in said


def test_garbage_collector_off_is_as_before_afterwards() -> None:
    assert gc.isenabled()
    with process.garbage_collector_off():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
