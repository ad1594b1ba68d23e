"""Two CPUs and what lies between them, for the benchmarks of shared memory: lanes.h from Python."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.peers import PRIORITY, cpus
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.proto.instrument import Instrument
from tickpath.rt.process import pin, set_fifo, set_ordinary
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.reader import Reader
from tickpath.shm.segment import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

# Spinning at SCHED_FIFO for longer runs into the kernel's limit of 950 ms a second.
TURN_S_MAX = 0.5
REST_S = 0.6


def instruments(count: int) -> list[Instrument]:
    """Return made-up instruments."""
    return [Instrument(i, "bench", f"S{i}USDT", -2, -6) for i in range(count)]


@contextlib.contextmanager
def segment(slots: int = 1, ring_capacity: int = 16384) -> Iterator[tuple[SegmentWriter, Reader]]:
    """Make a segment of a feed's layout and a reader of it; both are gone afterwards."""
    all_of_them = instruments(slots)
    instance = f"bench-{os.getpid()}"
    layout = make_layout(all_of_them, ring_capacity=ring_capacity)
    with SegmentWriter(instance, layout) as writer:
        write_instruments(writer, all_of_them)
        writer.ready()
        with Reader(instance) as reader:
            yield writer, reader


@contextlib.contextmanager
def line() -> Iterator[Any]:
    """Make the bare cache line."""
    bare = lib.tp_bench_line_new()
    if bare == ffi.NULL:
        raise MemoryError("no memory for a cache line")
    try:
        yield bare
    finally:
        lib.tp_bench_line_free(bare)


def may_use_fifo() -> bool:
    """Say whether both sides can spin at SCHED_FIFO here."""
    try:
        set_fifo(PRIORITY)
    except PermissionError:
        return False
    set_ordinary()
    return True


@contextlib.contextmanager
def on_readers_cpu(*, fifo: bool) -> Iterator[None]:
    """Pin the calling thread to the reader's CPU for a turn; as before afterwards."""
    before = os.sched_getaffinity(0)
    pin(cpus()[1])
    if fifo:
        set_fifo(PRIORITY)
    try:
        yield
    finally:
        if fifo:
            set_ordinary()
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def writing(*, fifo: bool, **fields: Any) -> Iterator[Callable[[], None]]:
    """Start a writer thread (struct tp_bench_writing) on its CPU; yield what lets it go.

    Raises SystemSetupError where the thread is refused.
    """
    settings = ffi.new("struct tp_bench_writing *", {"burst": 1, **fields})
    settings.cpu, settings.priority = cpus()[0], PRIORITY if fifo else 0
    writer = lib.tp_bench_writer_start(settings)
    if writer == ffi.NULL:
        raise SystemSetupError(f"the writer thread was refused: {os.strerror(ffi.errno)}")
    try:
        yield lambda: lib.tp_bench_writer_go(writer)
    finally:
        lib.tp_bench_writer_join(writer)


def turns(count: int, pace_ns: int, rounds: int) -> Iterator[int]:
    """Split `count` samples into turns short enough for the real-time limit, resting between."""
    most = max(1, int(TURN_S_MAX * 1e9 / max(pace_ns, 1)))
    per_turn = min(most, max(1, count // rounds))
    for _ in range(-(-count // per_turn)):
        yield per_turn
        time.sleep(REST_S)


def room(count: int) -> tuple[Any, NDArray[np.uint32]]:
    """Return memory for `count` samples, as C and as numpy sees it; touched beforehand."""
    samples = np.full(count, 1, dtype=np.uint32)
    return ffi.from_buffer("uint32_t[]", samples), samples
