"""Our own sampler, for hosts without the tools of others: spin on the clock, note each long gap.

One process a CPU, made by fork: pinned, memory locked, collector off. It is Python: a turn of the
loop costs some 50 to 100 ns, told as `floor_ns`, and the interpreter adds now and then what a loop
in C would not, so that gaps below GAP_NS_MIN are counted as none. What keeps a task from its CPU
for microseconds is seen as well as by oslat. Called by: rt.measure.run. Calls: rt.process.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import signal
import time
from array import array
from typing import TYPE_CHECKING

from tickpath.rt import process
from tickpath.rt.measure.histogram import Histogram, from_json

if TYPE_CHECKING:
    from tickpath.rt.measure.tools import Task

GAP_NS_MIN = 2_000
GAPS_MAX = 1 << 17  # room for one each 10 µs of a second and more; what has no room is counted
FLOOR_TURNS = 20_001
CHUNK = 65_536


def sample(task: Task) -> tuple[dict[str, Histogram], int]:
    """Spin on all CPUs of the task at once; return the histogram of gaps, and the floor in ns.

    Raises ValueError or PermissionError where a CPU or the priority is not to be had.
    """
    children = [(cpu, *_start(task, cpu)) for cpu in task.cpus]
    merged, floors, errors = Histogram(), [], []
    for cpu, pid, pipe in children:
        with open(pipe, encoding="utf-8") as file:  # noqa: PTH123 # a descriptor, not a path
            text = file.read()
        os.waitpid(pid, 0)
        answer = json.loads(text) if text else {"error": "it was killed"}
        if "error" in answer:
            errors.append(f"CPU {cpu}: {answer['error']}")
            continue
        merged.merge(from_json(answer["histogram"]))
        floors.append(int(answer["floor_ns"]))
    if errors:
        raise PermissionError(0, "; ".join(errors))
    return {"spin": merged}, max(floors)


def _start(task: Task, cpu: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.close(reading)
        answer = _sample_here(task, cpu, parent)
        with open(writing, "w", encoding="utf-8") as file:  # noqa: PTH123 # a descriptor
            json.dump(answer, file)
        status = 0
    finally:
        os._exit(status)  # the parent's buffers and handlers are not ours to run


def _sample_here(task: Task, cpu: int, parent: int) -> dict[str, object]:
    try:
        process.pin(cpu)
        with contextlib.suppress(OSError):  # then a page fault may show as a gap
            process.lock_memory()
        gc.disable()
        floor = measure_floor()
        if task.priority:
            process.set_fifo(task.priority)
    except (OSError, ValueError) as error:
        return {"error": str(error.strerror if isinstance(error, OSError) else error)}
    gaps, turns, lost = array("Q", bytes(8 * GAPS_MAX)), 0, 0
    used = 0
    end = time.perf_counter_ns() + task.seconds * 1_000_000_000
    # In chunks: a parent that was killed is noticed, and nobody spins on for ever.
    while time.perf_counter_ns() < end and os.getppid() == parent:
        turns += CHUNK
        used, missed = spin(gaps, used, CHUNK)
        lost += missed
    process.set_ordinary()
    histogram = Histogram({floor: turns - used - lost}, lost)
    histogram.stretch(floor, floor)
    for gap in gaps[:used]:
        histogram.add(gap // 1000 * 1000)
        histogram.stretch(None, gap)
    return {"histogram": histogram.as_json(), "floor_ns": floor}


def spin(gaps: array[int], used: int, turns: int) -> tuple[int, int]:
    """Look at the clock so many times; note each gap; return how many are noted, how many not."""
    clock, limit, missed = time.perf_counter_ns, GAP_NS_MIN, 0
    last = clock()
    for _ in range(turns):
        now = clock()
        if now - last >= limit:
            if used < GAPS_MAX:
                gaps[used] = now - last
                used += 1
            else:
                missed += 1
            now = clock()
        last = now
    return used, missed


def measure_floor() -> int:
    """Return the median of what one turn costs here: nothing shorter can be seen."""
    clock = time.perf_counter_ns
    stamps = [clock() for _ in range(FLOOR_TURNS)]
    turns = sorted(after - before for before, after in itertools.pairwise(stamps))
    return turns[len(turns) // 2]
