"""How long from the exchange's send call until a strategy process holds the book?

Far end: peer_exchange.c, exchange and strategy in one spinning process on the first CPU, so that
one clock times both: TLS 1.3, depth messages of 1+1 levels, one in flight, over a veth pair.
Contenders in turn, alone on the second CPU: the real feed handler over AF_XDP, spinning, and
picows on uvloop with protobuf and the same book in Python, which sleeps in epoll and publishes to
the same kind of segment. The far end checks that each book it times is the message's. The demo has
the feed handler alone timed, over AF_XDP and over kernel sockets (`compare_paths`).
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tickpath.engine.bench.measure import (
    OURS,
    Report,
    at_least,
    interleave,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.messages import Market
from tickpath.engine.bench.peers import PRIORITY, Bench, cpus, executable, module, pinned
from tickpath.engine.bench.venues import bench_venue
from tickpath.engine.supervisor.child_process import stop
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import remove_dead

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from tickpath.engine.bench.measure import Row

SYMBOL, SEED = "BTCUSDT", 1
PORT = 8443
COUNT, WARM_UP = 20_000, 500
TURN_TIMEOUT_S = 120.0
DEMO_COUNT, DEMO_TIMEOUT_S = 2_000, 20.0
PAUSE_NS = 40_000
OTHER, KERNEL = "picows", "kernel"
CASE = "tls 1+1"


def write_inputs(bench: Bench, count: int) -> None:
    """Write what peer_exchange.c serves: instrument list, base, messages."""
    market = Market(SYMBOL, SEED)
    own = bench_venue()
    (bench.path / "exchange_info.json").write_bytes(own.instrument_list([SYMBOL]))
    (bench.path / "depth.json").write_bytes(own.base(market))
    with (bench.path / "messages.bin").open("wb") as file:
        for _ in range(count):
            message = market.message(1, 1)
            file.write(struct.pack("<QQ", market.version, len(message)) + message)


def ours(bench: Bench, instance: str, backend: str = "af_xdp", more: str = "") -> list[str]:
    """Return the command of our feed handler; more: lines of its [feed_handler]."""
    config = bench.path / "wire.toml"
    config.write_text(
        f"""\
instance = "{instance}"
[feed_handler]
cpu = {cpus()[1]}
priority = {PRIORITY}
{more}
[health]
silent_after_ms = 3600000 # the far end answers no pings
[network]
backend = "{backend}"
[[venue]]
name = "{bench_venue().venue.name}"
host = "exchange.test"
port = {PORT}
symbols = ["{SYMBOL}"]
{bench_venue().settings_toml}
ca_file = "{bench.path / "ca.pem"}"
[venue.resolve]
"exchange.test:{PORT}" = "{EXCHANGE_ADDRESS}"
"""
    )
    return [sys.executable, "-P", "-m", "tickpath.engine.feed_handler.process", str(config)]


def theirs(bench: Bench, instance: str) -> list[str]:
    """Return the command of picows with protobuf and a book in Python."""
    arguments = [f"{EXCHANGE_ADDRESS}:{PORT}", str(bench.path / "ca.pem"), instance, SYMBOL]
    return pinned(
        cpus()[1], module(f"venues.{bench_venue().venue.name}.wire_contender", *arguments)
    )


def _over_kernel(bench: Bench, instance: str) -> list[str]:
    return ours(bench, instance, "kernel")


_CONTENDERS = {OURS: ours, OTHER: theirs, KERNEL: _over_kernel}


def _turn(
    bench: Bench, contender: str, count: int, prefix: str, timeout_s: float = TURN_TIMEOUT_S
) -> NDArray[np.uint64]:
    """Run one contender against a fresh far end; return nanoseconds, warm-up left out."""
    instance = f"{prefix}-{contender}"
    command = _CONTENDERS[contender](bench, instance)
    return one_way(bench, Turn(instance, command, count, PAUSE_NS, timeout_s))[WARM_UP:]


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender against a fresh far end."""

    instance: str
    command: list[str]
    count: int
    pause_ns: int
    """Between two messages at least; on average half as much again."""
    timeout_s: float = TURN_TIMEOUT_S
    look: Callable[[str], None] = lambda _instance: None
    """Called with the instance's name at the end, while it is still there."""


def one_way(bench: Bench, turn: Turn) -> NDArray[np.uint64]:
    """Return the nanoseconds that each message took from send call to strategy."""
    files = [str(bench.path / name) for name in ("server.pem", "server.key")]
    arguments = [EXCHANGE_ADDRESS, str(PORT), *files, turn.instance, str(turn.count)]
    arguments += [str(bench.path), str(turn.pause_ns)]
    # Not at SCHED_FIFO until the book is LIVE: the contender starts on both CPUs.
    server = bench.start_server([executable("peer_exchange"), *arguments], fifo=False)
    errors = (bench.path / "errors.txt").open("w+")
    child = bench.pair.spawn(bench.pair.feed_handler, turn.command, stderr=errors)
    try:
        status = server.wait(turn.timeout_s)
        turn.look(turn.instance)
    except subprocess.TimeoutExpired:
        status = -1
    finally:
        stop(child)
        stop(server)
        remove_dead(turn.instance)
    if status != 0:
        errors.seek(0)
        raise SystemSetupError(f"{turn.instance}: status {status}: {errors.read()[-800:]}")
    return np.fromfile(bench.path / "took.bin", dtype=np.uint64)


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds from just before the send call to the consistent copy of the book."""
    report = Report("wire")
    report.notes = [
        "one way: SSL_write of the exchange to book in the strategy, one clock, one in flight",
        "far end and tickpath spin, each on its CPU; picows sleeps in epoll; all SCHED_FIFO",
        "a veth pair, not a NIC: the far end's kernel TCP is part of it",
    ]
    per_round, prefix = max(1, (count or COUNT) // rounds), f"bench-wire-{os.getpid()}"
    taken: dict[str, list[NDArray[np.uint64]]] = {OURS: [], OTHER: []}
    bench = Bench.open()
    try:
        write_inputs(bench, WARM_UP + per_round)
        for turn in range(rounds):
            for contender, samples in taken.items():
                progress(f"wire: round {turn + 1} of {rounds}: {contender}")
                samples.append(_turn(bench, contender, WARM_UP + per_round, prefix))
    finally:
        progress_end()
        bench.close()
    report.rows = [row("wire", name, CASE, interleave(all_)) for name, all_ in taken.items()]
    ours, theirs = report.rows
    report.ratios = [
        at_least("wire", CASE, "p50 picows / ours", theirs.p50 / ours.p50, 6),
        at_least("wire", CASE, "p99 picows / ours", theirs.p99 / ours.p99, 6),
    ]
    return report


def compare_paths(directory: Path, prefix: str) -> list[Row]:
    """Time our feed handler over AF_XDP and over kernel sockets, one message in flight, alone.

    Segments begin with `prefix` and files are in `directory`, for whoever tidies up after us.
    Raises SystemSetupError where it cannot be done here, or takes too long.
    """
    bench = Bench.open(directory)
    try:
        write_inputs(bench, WARM_UP + DEMO_COUNT)
        return [
            row(
                "wire",
                contender,
                CASE,
                _turn(bench, contender, WARM_UP + DEMO_COUNT, prefix, DEMO_TIMEOUT_S),
            )
            for contender in (OURS, KERNEL)
        ]
    finally:
        bench.close()
