"""How fast does a recording go through the feed's code?

Depth messages as engine/bench/messages.py makes them, raw records in zstd blocks of a real
recording file, instruments in turn. Timed: from the first byte of the file to the last event, flat
out, into a ring and snapshots that nobody reads; reading ahead and decompressing take a second
thread. Checked: every message applied, every book equal to the sender's.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tickpath._core import ffi, lib
from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    at_least,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.messages import Market, markets, round_robin
from tickpath.engine.bench.venues import bench_plan, bench_venue
from tickpath.engine.recording.format import RAW, FileWriter, Meta, pack_record
from tickpath.engine.recording.recorded import recorded_runs
from tickpath.engine.recording.recorder import BLOCK_SIZE
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.recording.tap import Subscription
from tickpath.proto.records import level_dtype
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# name: instruments, levels a side in each message
CASES = {"1x1+1": (1, 1), "100x1+1": (100, 1), "100x10+10": (100, 10)}
COUNT = 200_000  # messages of 1+1 levels; a tenth of it where they have 10+10
STEP_NS = 1_000
GOAL_PER_S = 5_000_000


def _rows(all_markets: list[Market]) -> tuple[Subscription, ...]:
    own = bench_venue()
    planned = bench_plan([market.symbol for market in all_markets]).book_channels()
    return tuple(
        Subscription(
            venue=own.venue.name,
            symbol=market.symbol,
            price_exponent=own.price_exponent,
            quantity_exponent=own.quantity_exponent,
            channel=channel.name,
            connection=channel.connection,
        )
        for market, channel in zip(all_markets, planned, strict=True)
    )


def _levels(side: dict[int, int]) -> bytes:
    return np.array(list(side.items()), dtype=level_dtype()).tobytes()


def _base(index: int, market: Market) -> bytes:
    book = ffi.new("struct tp_record_book *")
    book.instrument, book.version = index, market.version
    book.bid_count, book.ask_count = len(market.bids), len(market.asks)
    return bytes(ffi.buffer(book)) + _levels(market.bids) + _levels(market.asks)


def _records(all_markets: list[Market], count: int, levels: int) -> Iterator[bytes]:
    rows = _rows(all_markets)
    t_ns = STEP_NS
    for index, market in enumerate(all_markets):
        base = _base(index, market)
        yield pack_record(lib.TP_RECORD_BASE, 0, rows[index].connection, t_ns, base)
    for number, message in enumerate(round_robin(all_markets, count, levels)):
        t_ns += STEP_NS
        connection = rows[number % len(rows)].connection
        yield pack_record(lib.TP_RECORD_IN, 2, connection, t_ns, message)


def write_recording(path: Path, all_markets: list[Market], count: int, levels: int) -> Meta:
    """Write a recording of so many messages; the markets are moved to its end."""
    meta = Meta(instruments=_rows(all_markets), instance="bench", ticks=True)
    writer = FileWriter(path, meta)
    parts: list[bytes] = []
    size = 0
    for record in _records(all_markets, count, levels):
        parts.append(record)
        size += len(record)
        if size >= BLOCK_SIZE:
            writer.append(RAW, b"".join(parts), len(parts), (0, 0))
            parts, size = [], 0
    if parts:
        writer.append(RAW, b"".join(parts), len(parts), (0, 0))
    writer.close()
    return meta


def _check(replayer: Replayer, all_markets: list[Market], count: int) -> None:
    applied, messages = int(replayer.counters.messages), int(replayer.c.messages)
    if applied != count or messages != count or replayer.counters.gaps:
        raise SystemSetupError(f"{applied} of {count} messages were applied: a bug")
    for index, market in enumerate(all_markets):
        book = lib.tp_feed_book(replayer.feed, index)
        for side, best, known in (
            (lib.TP_SIDE_BID, max(market.bids), market.bids),
            (lib.TP_SIDE_ASK, min(market.asks), market.asks),
        ):
            found = lib.tp_book_best(book, side)
            if (found.price, found.quantity) != (best, known[best]):
                raise SystemSetupError(f"book {index} differs from the sender's: a bug")


def _play(path: Path, all_markets: list[Market], count: int) -> tuple[float, int]:
    """Return seconds and events of one replay."""
    for meta, batches in recorded_runs(path):
        replayer = Replayer(meta)  # its memory is not the question
        start = time.perf_counter()
        for batch in batches:
            replayer.play(batch)
        took = time.perf_counter() - start
        _check(replayer, all_markets, count)
        return took, replayer.event_count
    raise SystemSetupError(f"{path}: empty")


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds an event, a sample a replay of the whole file."""
    report = Report("replay")
    report.notes = [
        "nanoseconds an event, each sample the mean of one replay of the file, flat out",
        "a message of n+n levels is 2n LEVEL events and a TOP; books and snapshots as live",
        "one thread replays, one reads ahead; not pinned; nobody reads the ring",
        "checked: every message applied, every book equal to the sender's",
    ]
    try:
        for case, (instruments, levels) in CASES.items():
            _measure_case(report, case, instruments, levels, (count or COUNT, rounds))
    finally:
        progress_end()
    return report


def _measure_case(
    report: Report, case: str, instruments: int, levels: int, effort: tuple[int, int]
) -> None:
    count, rounds = effort
    count = max(1, count // levels)
    all_markets = markets(instruments)
    samples: list[float] = []
    events = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.tpr"
        progress(f"replay: writing {count} messages of {case}")
        write_recording(path, all_markets, count, levels)
        for turn in range(rounds):
            progress(f"replay: {case}: round {turn + 1} of {rounds}")
            took, events = _play(path, all_markets, count)
            samples.append(took * 1e9 / events)
    taken: NDArray[np.float64] = np.array(samples)
    report.rows.append(row("replay", OURS, case, taken))
    p50 = float(np.percentile(taken, 50))
    rate = at_least("replay", case, "events a second", 1e9 / p50, GOAL_PER_S)
    report.ratios.append(rate)
    per_message = count / (events * p50 / 1e9)
    report.ratios.append(Ratio("replay", case, "messages a second", round(per_message)))
