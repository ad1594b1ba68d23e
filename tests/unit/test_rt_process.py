"""Setting this process up, each in a child so that pytest itself stays as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.rt import process

if TYPE_CHECKING:
    from pathlib import Path


def in_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import os\nfrom tickpath.rt import process\n{program}"],
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


@pytest.mark.parametrize("priority", [0, 41, -1])
def test_set_fifo_priority_out_of_range_is_refused(priority: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 40"):
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


def test_prefault_stack_has_the_reserve_in_memory() -> None:
    said = in_child(
        "def stack():\n"
        "    return int(open('/proc/self/status').read().split('VmStk:')[1].split()[0])\n"
        "before = stack()\nprint(process.prefault_stack(1 << 20), stack() - before)"
    )
    done, grown_kib = said.split()
    assert done == "True"
    assert int(grown_kib) >= 1024


@pytest.mark.parametrize(
    "limit", ["RLIMIT_STACK, (1 << 20, 1 << 20)", "RLIMIT_AS, (1 << 34, 1 << 34)"]
)
def test_prefault_stack_over_a_limit_does_nothing(limit: str) -> None:
    said = in_child(
        f"import resource\nresource.setrlimit(resource.{limit})\n"
        "print(process.prefault_stack(2 << 20))"
    )
    assert said == "False"


def test_prefault_stack_in_another_thread_does_nothing() -> None:
    said = in_child(
        "import threading\n"
        "one = threading.Thread(target=lambda: print(process.prefault_stack()))\n"
        "one.start()\none.join()"
    )
    assert said == "False"


def test_map_memory_without_huge_pages_is_zeroed_whole_pages() -> None:
    memory, are_huge = process.map_memory(5000, huge_pages=False)
    assert not are_huge
    assert bytes(memory) == bytes(8192)


def test_map_memory_huge_pages_are_taken_only_where_there_are_some() -> None:
    pool = process.read_huge_pages()
    before = process.huge_page_bytes()
    memory, are_huge = process.map_memory(3 << 20, huge_pages=True)
    assert len(memory) == (4 << 20 if are_huge else 3 << 20)
    assert are_huge == (pool.free >= 2)
    assert process.huge_page_bytes() - before == (4 << 20 if are_huge else 0)


def test_map_memory_small_is_not_worth_a_huge_page() -> None:
    assert not process.map_memory(4096, huge_pages=True)[1]


def test_read_huge_pages_what_was_promised_is_not_free(tmp_path: Path) -> None:
    folder = tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB"
    folder.mkdir(parents=True)
    for name, number in (("nr", 10), ("free", 6), ("resv", 2)):
        (folder / f"{name}_hugepages").write_text(f"{number}\n")
    pool = process.read_huge_pages(tmp_path)
    assert (pool.reserved, pool.free) == (10, 4)
    assert process.read_huge_pages(tmp_path / "elsewhere") == process.HugePages(0, 0)
    said = process.describe_huge_pages(9 << 20, pool)
    assert "5 of 2 MiB are needed, 4 of 10 are free" in said
    assert said.endswith("vm.nr_hugepages=11")


def test_garbage_collector_off_is_as_before_afterwards() -> None:
    assert gc.isenabled()
    with process.garbage_collector_off():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
