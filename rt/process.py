"""Make this process fit for the hot path: one CPU, SCHED_FIFO, locked memory, a silent collector.

Each function changes the calling thread or process only, never the host. Called by: engine
(strategy runtime, reader) once, before the loop starts. Calls: nothing of ours. Order: pin,
lock_memory, set_fifo last, so that setting up does not starve others. Source: sched(7),
mlockall(2), mallopt(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# sys/mman.h and malloc.h of glibc and musl on Linux
MCL_CURRENT = 1
MCL_FUTURE = 2
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
# The kernel runs threaded interrupts at 50: a spinning task above that would starve its own NIC.
FIFO_PRIORITY_MAX = 49


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
