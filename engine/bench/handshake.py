"""How long is the longest turn of the loop while 64 connections do their TLS handshakes at once?

As after a loss of the network: one connection is open and its messages keep coming, 32 a burst,
while all others connect. In memory: frames of a script, the real loop, feed and segment; real
handshakes of TLS 1.3. Each turn's CPU time is taken, not the wall clock's: what else runs on the
machine is not counted. The contender does what the loop did before: its own thread runs OpenSSL.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.burst_feed_handler import TIMEOUT_S, BurstFeedHandler
from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.peers import cpus
from tickpath.engine.bench.tls_server import server_context
from tickpath.engine.loop.handshakes import Handshakes
from tickpath.rt import process
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from numpy.typing import NDArray

CONNECTIONS = 64
INSTRUMENTS = 30  # all of the connection that is open
MESSAGES_A_BURST = 32
BURSTS = 1000
PACE_S = 0.0005
SAMPLES_MAX = 1 << 16
HOT = "hot thread"
QUIET, BUSY = "quiet", f"{CONNECTIONS - 1} handshakes"
LONGEST_MAX = 2.0


class _Reader(BurstFeedHandler):
    """A reader whose loop counts the CPU time of its turns."""

    connection_count_min = CONNECTIONS

    def __init__(self, context: ssl.SSLContext, handshakes: Handshakes | None) -> None:
        """Open one connection. handshakes: who does them; None: the hot thread."""
        self._handshakes = handshakes
        self._opens_all = False
        self._turns: Any = ffi.NULL
        super().__init__(INSTRUMENTS, context, cpus()[1])

    def _start(self) -> None:
        if self._handshakes is not None:
            self._handshake_worker = self._handshakes.worker
            self.hot.loop.handshake_worker = self._handshakes.worker
            self._handshakes.start()
        self._begin()

    def _begin(self) -> None:
        self._memory = np.zeros(SAMPLES_MAX, dtype=np.uint64)
        self._turns = ffi.new("struct tp_bench_turns *")
        self._turns.took_ns = ffi.from_buffer("uint64_t[]", self._memory)
        self._turns.capacity = SAMPLES_MAX
        self._thread = threading.Thread(target=self._run, name="hot", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {self._cpu})
        lib.tp_bench_turns_run(self._turns, self.hot.handle)

    def _end(self) -> NDArray[np.uint64]:
        lib.tp_bench_turns_stop(self._turns)
        self._thread.join()
        return self._memory[: self._turns.count].copy()

    def _offer(self, number: int) -> None:
        if number == 0 or self._opens_all:
            super()._offer(number)

    def _is_open(self) -> bool:
        return all(one.upgraded for one in self._connections[: None if self._opens_all else 1])

    def _speak(self) -> None:
        frames = [self._frame(index % INSTRUMENTS) for index in range(MESSAGES_A_BURST)]
        for frame in frames:
            self._exchange.send(frame)
        time.sleep(PACE_S)

    def quiet(self, bursts: int) -> NDArray[np.uint64]:
        """Return the CPU nanoseconds of the turns with messages only."""
        self._end()
        self._begin()
        for _ in range(bursts):
            self._speak()
            self._exchange.step()
        return self._end()

    def busy(self) -> NDArray[np.uint64]:
        """Return the same while all other connections open, as fast as this thread asks for it."""
        self._opens_all = True
        self._begin()
        end = time.monotonic() + TIMEOUT_S
        number = 1
        while not self._is_open():
            if number < CONNECTIONS:
                self._offer(number)
                number += 1
            self._speak()
            self._exchange.step()
            if time.monotonic() > end:
                raise SystemSetupError(f"not all connections are open: {self._trouble()}")
        return self._end()

    def close(self) -> None:
        """End the loop, free the sessions, then what did their handshakes."""
        self._end()
        self.hot.stop()
        while lib.tp_hot_path_turn(self.hot.handle, time.monotonic_ns()):
            pass
        self._kept.clear()
        self.segment.close()


@contextlib.contextmanager
def _locked_memory(report: Report) -> Iterator[None]:
    """Lock memory as the feed handler does: a page's first use is no part of a handshake."""
    try:
        process.lock_memory()
    except PermissionError as error:
        report.notes.append(f"memory is not locked, turns fault pages in: {error.strerror}")
    try:
        yield
    finally:
        ctypes.CDLL(None).munlockall()


def _measure_one(
    context: ssl.SSLContext, handshakes: Handshakes | None, bursts: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    reader = _Reader(context, handshakes)
    try:
        return reader.quiet(bursts), reader.busy()
    finally:
        reader.close()
        if handshakes is not None:
            handshakes.close()


def measure(count: int, rounds: int) -> Report:
    """Return CPU nanoseconds a turn; count: bursts of quiet a round."""
    report = Report("handshake")
    report.notes = [
        f"bursts of {MESSAGES_A_BURST} messages on one connection all the time; CPU time of turns "
        "that had something to do, not wall clock",
    ]
    context = server_context()
    samples: dict[tuple[str, str], list[NDArray[np.uint64]]] = {}
    ratios: dict[str, list[float]] = {OURS: [], HOT: []}
    with _locked_memory(report):
        for number in range(rounds):
            for contender, longest in ratios.items():
                progress(f"handshake: round {number + 1} of {rounds}: {contender}")
                handshakes = Handshakes() if contender == OURS else None
                quiet, busy = _measure_one(context, handshakes, count or BURSTS)
                samples.setdefault((contender, QUIET), []).append(quiet)
                samples.setdefault((contender, BUSY), []).append(busy)
                longest.append(float(busy.max() / quiet.max()))
    progress_end()
    for (contender, case), parts in samples.items():
        report.rows.append(row("handshake", contender, case, np.concatenate(parts)))
    report.ratios = [
        at_most("handshake", BUSY, "longest turn / quiet", float(np.median(found)), LONGEST_MAX)
        if contender == OURS
        else Ratio("handshake", BUSY, f"{HOT}: longest turn / quiet", round(np.median(found), 1))
        for contender, found in ratios.items()
    ]
    return report
