"""Make this process fit for the hot path: one CPU, SCHED_FIFO, locked memory, a silent collector.

Each function changes the calling thread or process only, never the host. Called by: engine
(strategy runtime, feed handler) once, before the loop starts. Calls: limits. Order: pin,
prefault_stack,
lock_memory, set_fifo last, so that setting up does not starve others. Source: sched(7),
mlockall(2), mallopt(3), mmap(2), prctl(2), Documentation/admin-guide/mm/hugetlbpage.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import resource
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_NAME = 15  # linux/prctl.h
# sys/mman.h and malloc.h of glibc and musl on Linux
MCL_CURRENT = 1
MCL_FUTURE = 2
MLOCK_ONFAULT = 1
MADV_DONTNEED = 4
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
M_ARENA_MAX = -8
# The kernel runs threaded interrupts at 50: a spinning task above that would starve its own NIC.
# The room between is for what must come before us but not before interrupts.
FIFO_PRIORITY_MAX = 40
MAP_HUGETLB = 0x40000  # asm-generic/mman-common.h; Python has no name for it before 3.13
HUGE_PAGE_BYTES = 2 << 20
STACK_RESERVE_BYTES = 512 << 10
STACK_MARGIN_BYTES = 64 << 10  # left between the reserve and RLIMIT_STACK
# Python's own calls need no C stack. getaddrinfo, OpenSSL and a regular expression do: none of them
# 64 KiB, of which this leaves eight times as much.
THREAD_STACK_BYTES = 512 << 10
PAGE_BYTES = mmap.PAGESIZE


def command_line(pid: int) -> str:
    """Return the command line of a process; "" where it cannot be read."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return data.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")


def name_thread(name: str) -> None:
    """Name the calling thread for `top -H` and `ps -L`: Python does not, before 3.14.

    By prctl: /proc may be that of another PID namespace, or absent.
    """
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode("ascii"), 0, 0, 0)


def pin(cpu: int) -> None:
    """Run the calling thread on one CPU only.

    Raises ValueError where this process may not run on it.
    """
    try:
        os.sched_setaffinity(0, {cpu})
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"CPU {cpu}: this process runs on {sorted(os.sched_getaffinity(0))}; choose one of "
            "those, or widen its cpuset (systemd AllowedCPUs, docker --cpuset-cpus)"
        ) from error


def set_fifo(priority: int) -> None:
    """Schedule the calling thread as SCHED_FIFO; threads and children that it starts are not.

    Raises ValueError for a priority out of range, PermissionError where the host forbids it.
    """
    if not 1 <= priority <= FIFO_PRIORITY_MAX:
        raise ValueError(
            f"SCHED_FIFO priority {priority}: expected 1 to {FIFO_PRIORITY_MAX}, below the "
            "kernel's threaded interrupts at 50"
        )
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"SCHED_FIFO priority {priority} is not permitted: run as root, or with CAP_SYS_NICE, "
            f"or with RLIMIT_RTPRIO of at least {priority} (ulimit -r); in a container also give "
            "its cpu cgroup a real-time runtime",
        ) from error


def set_ordinary() -> None:
    """Schedule the calling thread as an ordinary task again."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def lock_memory(heap_reserve_bytes: int = 0) -> None:
    """Keep all pages of this process in memory, those of the future too, so that none faults.

    With a reserve, the heap is grown by so many bytes beforehand and never given back. Raises
    PermissionError where RLIMIT_MEMLOCK forbids it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if heap_reserve_bytes < 0:
        raise ValueError(f"heap reserve {heap_reserve_bytes}: expected 0 or more bytes")
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        number = ctypes.get_errno()
        raise PermissionError(
            number,
            f"locking memory failed ({os.strerror(number)}): run as root, or with CAP_IPC_LOCK, "
            "or raise RLIMIT_MEMLOCK (ulimit -l unlimited)",
        )
    if heap_reserve_bytes:
        libc.mallopt(M_TRIM_THRESHOLD, -1)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.malloc.restype = ctypes.c_void_p
        libc.free.argtypes = [ctypes.c_void_p]
        block = libc.malloc(ctypes.c_size_t(heap_reserve_bytes))
        if block is None:
            raise MemoryError(f"no {heap_reserve_bytes} bytes of heap to reserve")
        libc.free(block)


def keep_small(thread_stack_bytes: int = THREAD_STACK_BYTES) -> None:
    """Have this process ask for little memory: all of it is resident once it is locked.

    Threads that start from now on get stacks of this size instead of RLIMIT_STACK's 8 MiB, and
    share one heap instead of one each. Call it before they start.
    """
    threading.stack_size(thread_stack_bytes)
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Give back what setting up left free, before `lock_memory` keeps it for good."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def lock_as_used(library: str) -> int:
    """Keep of a library's code only what runs from now on in memory; return how many bytes it has.

    For code most of which this CPU never runs. After `lock_memory`. What was used once stays
    locked; a page's first use is a minor fault. Raises OSError where the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    total = 0
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        words = line.split(maxsplit=5)
        # Never what was written to: it would be as in the file again.
        if words[1] != "r-xp" or not Path(words[-1]).name.startswith(library):
            continue
        low, _, high = words[0].partition("-")
        start, size = ctypes.c_void_p(int(low, 16)), int(high, 16) - int(low, 16)
        length = ctypes.c_size_t(size)
        for result in (
            libc.munlock(start, length),
            libc.madvise(start, length, MADV_DONTNEED),
            libc.mlock2(start, length, MLOCK_ONFAULT),
        ):
            if result != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"{library}: {os.strerror(number)}")
        total += size
    return total


def prefault_stack(size: int = STACK_RESERVE_BYTES) -> bool:
    """Have so many bytes of the main thread's stack in memory below what it uses now.

    Other threads' stacks are mapped whole and need nothing but `lock_memory` before they start.
    Call it before lock_memory, so that a limit on locked memory cannot end the process here.
    Returns False, having done nothing, in another thread or where RLIMIT_STACK or RLIMIT_AS forbids
    the growth.
    """
    bounds = _stack_bounds()
    if threading.get_native_id() != os.getpid() or bounds is None or size <= 0:
        return False
    low, high = bounds
    limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
    wanted = high - low + size + STACK_MARGIN_BYTES
    if limit != resource.RLIM_INFINITY and wanted > limit:
        return False
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False  # a stack that may not grow ends the process by SIGSEGV
    # All below `low` is unused: the kernel grows the stack down to the lowest byte touched.
    ctypes.memset(low - size, 0, size)
    return True


def _stack_bounds() -> tuple[int, int] | None:
    for line in (limits.read_text(Path("/"), "proc/self/maps") or "").splitlines():
        if line.endswith("[stack]"):
            low, _, high = line.split()[0].partition("-")
            return int(low, 16), int(high, 16)
    return None


@dataclass(frozen=True, slots=True)
class HugePages:
    """How many 2 MiB pages the host has set aside, and how many nobody uses or was promised."""

    reserved: int
    free: int


def read_huge_pages(root: Path = limits.HOST) -> HugePages:
    """Read the pool of 2 MiB pages; zeros where the kernel has none."""
    folder = "sys/kernel/mm/hugepages/hugepages-2048kB"
    total, free, promised = (
        limits.read_integer(root, f"{folder}/{name}") or 0
        for name in ("nr_hugepages", "free_hugepages", "resv_hugepages")
    )
    return HugePages(total, max(0, free - promised))


def describe_huge_pages(size: int, pool: HugePages) -> str:
    """Say why `size` bytes got no huge pages, and what to do."""
    count = -(-size // HUGE_PAGE_BYTES)
    return (
        f"4 KiB pages: {count} of 2 MiB are needed, {pool.free} of {pool.reserved} are free; "
        f"reserve them: sysctl -w vm.nr_hugepages={pool.reserved - pool.free + count}"
    )


def map_memory(size: int, *, huge_pages: bool) -> tuple[mmap.mmap, bool]:
    """Map `size` zeroed bytes, present from the start; say whether they stand in huge pages.

    Page-aligned. Huge pages are taken where asked for, where free, and where `size` fills at least
    half of one; else ordinary pages.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    if huge_pages and size * 2 >= HUGE_PAGE_BYTES:
        rounded = -(-size // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        with contextlib.suppress(OSError):
            return mmap.mmap(-1, rounded, flags=flags | MAP_HUGETLB), True
    rounded = -(-size // PAGE_BYTES) * PAGE_BYTES
    return mmap.mmap(-1, rounded, flags=flags), False


def huge_page_bytes(pid: int | str = "self", root: Path = limits.HOST) -> int:
    """Read how many bytes of a process stand in huge pages; 0 where it is gone."""
    for line in (limits.read_text(root, f"proc/{pid}/status") or "").splitlines():
        if line.startswith("HugetlbPages:"):
            return int(line.split()[1]) << 10
    return 0


def unlock_memory() -> None:
    """Let the kernel page this process out again."""
    ctypes.CDLL(None).munlockall()


@contextlib.contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Keep the cyclic collector out of the hot path; reference counting goes on.

    What lives now is moved out of its sight, so that a collection asked for later (`gc.collect(0)`
    in a quiet moment) looks at young objects only. The collector is as before at the end.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
