"""What do four connections bring over the best of them, and what does a copy cost?

The default venue's messages in the feed's own code, in virtual time: each connection brings every
message after a lag of its own, drawn anew for each message (exponential, MEAN_NS on average, never
out of order), as addresses of one name do. `merged` is when the feed applied a change, the others
when each connection alone would have. Then one connection ends in the middle of the run: no book
may leave LIVE. What a message costs is measured in real time, copies beside what was applied.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.measure import OURS, Report, at_most, progress, progress_end, row
from tickpath.engine.bench.messages import markets
from tickpath.engine.bench.venues import bench_venue
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.proto.instrument import Instrument
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import SegmentWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONNECTIONS = 4
BOOKS = 10
LEVELS = (1, 10)  # of each side of a message
MESSAGES = 20_000
PACE_NS = 1_000_000  # between messages of the venue
MEAN_NS, LEAST_NS = 150_000, 200_000
NEVER_NS = 1 << 60
BEGIN_NS = 1_000_000_000
ARRIVAL = np.dtype(
    [("now_ns", "<u8"), ("offset", "<u8"), ("size", "<u4"), ("connection", "<u4")], align=True
)


class _Feed:
    """A feed of the default venue whose connections race."""

    def __init__(self) -> None:
        self.own = own = bench_venue()
        self.markets = markets(BOOKS)
        scale = own.price_exponent, own.quantity_exponent
        rows = [
            Instrument(index, own.venue.name, market.symbol, *scale)
            for index, market in enumerate(self.markets)
        ]
        self.segment = SegmentWriter(f"bench-race-{os.getpid()}", make_layout(rows))
        write_instruments(self.segment, rows)
        pointer = self.segment.pointer
        config = ffi.new("struct tp_feed_config *")
        config.venues[0].venue = lib.tp_venue_find(own.venue.name.encode())
        config.instrument_count, config.connection_count = BOOKS, CONNECTIONS
        config.silent_after_ns, config.settle_ns, config.races = NEVER_NS, 1, True
        config.ring = lib.tp_segment_ring_writer(pointer)
        config.snapshots = lib.tp_segment_snapshot_writer(pointer)
        self.clock = config.clock = ffi.addressof(pointer.header, "clock")
        self._memory = np.zeros(lib.tp_feed_memory_size(config), dtype=np.uint8)
        self.feed = lib.tp_feed_init(ffi.cast("void *", self._memory.ctypes.data), config)
        self._config = config
        if not lib.tp_feed_race(self.feed, 0, CONNECTIONS):
            raise SystemSetupError("the feed refused the race")
        record = ffi.new("struct tp_instrument_record *", {"tick_size": 1})
        record.price_exponent, record.quantity_exponent = scale
        for index, market in enumerate(self.markets):
            if not lib.tp_feed_instrument_add(self.feed, index, record, market.channel.encode(), 0):
                raise SystemSetupError(f"the feed refused {market.symbol}")
        for number in range(CONNECTIONS):
            lib.tp_feed_connection_up(self.feed, number, 1)

    def go_live(self) -> None:
        """Give each book its base."""
        wanted = ffi.new("uint32_t[]", BOOKS)
        lib.tp_feed_tick(self.feed, BEGIN_NS // 2)
        lib.tp_feed_base_wanted(self.feed, 0, wanted, BOOKS)
        for index, market in enumerate(self.markets):
            base = ffi.new("struct tp_feed_base *", {"instrument": index})
            base.version = market.version
            sides = [sorted(side.items()) for side in (market.bids, market.asks)]
            rows = [ffi.new("struct tp_level[]", side) for side in sides]
            base.bids, base.asks = rows
            base.bid_count, base.ask_count = map(len, sides)
            while not lib.tp_feed_base_offer(self.feed, 0, base):
                lib.tp_feed_tick(self.feed, BEGIN_NS // 2)
        for _ in range(BOOKS):
            lib.tp_feed_tick(self.feed, BEGIN_NS // 2)
        self.check_live()

    def check_live(self) -> None:
        """Raise where a book is not LIVE."""
        states = [int(lib.tp_feed_state(self.feed, index)) for index in range(BOOKS)]
        if states != [int(lib.TP_BOOK_LIVE)] * BOOKS:
            raise SystemSetupError(f"books of the race are in states {states}, expected LIVE")


def _lags(count: int, random: np.random.Generator) -> NDArray[Any]:
    """Return when each message comes by each connection: later ones overtake none."""
    sent = BEGIN_NS + np.arange(count, dtype=np.int64) * PACE_NS
    drawn = random.exponential(MEAN_NS, (CONNECTIONS, count)).astype(np.int64)
    return np.maximum.accumulate(sent + LEAST_NS + drawn, axis=1)


def _play(feed: _Feed, count: int, levels: int, seed: int) -> dict[str, NDArray[Any]]:
    """Play so many messages; return lags by contender and costs by kind."""
    bodies = [feed.markets[i % BOOKS].message(levels, levels) for i in range(count)]
    ends = np.cumsum([0, *map(len, bodies)])
    came = _lags(count, np.random.default_rng(seed))
    half = count // 2
    came[1, half:] = NEVER_NS  # it ends, in the middle of all
    order = np.argsort(came, axis=None, kind="stable")
    order = order[came.ravel()[order] < NEVER_NS]
    connection, message = np.unravel_index(order, came.shape)
    arrivals = np.zeros(len(order), dtype=ARRIVAL)
    arrivals["now_ns"], arrivals["connection"] = came.ravel()[order], connection
    arrivals["offset"], arrivals["size"] = ends[message], np.diff(ends)[message]
    results = np.zeros(len(order), dtype=np.uint8)
    took = np.zeros(len(order), dtype=np.uint32)
    cut = int(np.searchsorted(arrivals["now_ns"], came[1, half - 1], side="right"))
    data = b"".join(bodies) + bytes(64)
    for part in (slice(0, cut), slice(cut, None)):
        _give(feed, data, arrivals[part], results[part], took[part])
        if part.start == 0:
            lib.tp_feed_connection_down(feed.feed, 1, int(came[1, half - 1]) + 1)
            feed.check_live()
    feed.check_live()
    won = results == lib.TP_FEED_APPLIED
    sent = BEGIN_NS + message * PACE_NS
    alone = came - (BEGIN_NS + np.arange(count) * PACE_NS)
    found = {f"connection {i}": alone[i] for i in range(CONNECTIONS) if i != 1}
    lag = arrivals["now_ns"].astype(np.int64) - sent
    return found | {OURS: lag[won], "applied": took[won], "copy": took[~won]}


def _give(
    feed: _Feed, data: bytes, arrivals: NDArray[Any], results: NDArray[Any], took: NDArray[Any]
) -> None:
    one = ffi.new("struct tp_bench_race *")
    kept = ffi.from_buffer("uint8_t[]", data)
    one.data, one.count, one.opcode = kept, len(arrivals), feed.own.opcode
    one.arrivals = ffi.cast("struct tp_bench_arrival *", arrivals.ctypes.data)
    one.results = ffi.cast("uint8_t *", results.ctypes.data)
    one.took_ns = ffi.cast("uint32_t *", took.ctypes.data)
    lib.tp_bench_race_play(feed.feed, feed.clock, one)


def measure(count: int, rounds: int) -> Report:
    """Return lags of the merged stream and of each connection alone, and costs."""
    report = Report("race")
    report.notes = [
        f"{CONNECTIONS} connections, {BOOKS} books, a message a millisecond in virtual time; lags "
        f"{LEAST_NS / 1e3:.0f} us and exponential ones of {MEAN_NS / 1e3:.0f} us on average; "
        "connection 1 ends half-way, and no book leaves LIVE; costs in real time, back to back, "
        "the clock's 10 ns included",
    ]
    for levels in LEVELS:
        taken: dict[str, list[NDArray[Any]]] = {}
        for turn in range(rounds):
            progress(f"race {levels}+{levels}: round {turn + 1} of {rounds}")
            feed = _Feed()
            try:
                feed.go_live()
                played = _play(feed, count or MESSAGES, levels, turn)
            finally:
                feed.segment.close()
            for name, samples in played.items():
                taken.setdefault(name, []).append(samples)
        _report(report, levels, {name: np.concatenate(parts) for name, parts in taken.items()})
    progress_end()
    return report


def _report(report: Report, levels: int, found: dict[str, NDArray[Any]]) -> None:
    case, cost = f"lag {levels}+{levels}", f"cost {levels}+{levels}"
    alone = [name for name in found if name.startswith("connection")]
    report.rows += [row("race", name, case, found[name]) for name in (OURS, *alone)]
    report.rows += [row("race", name, cost, found[name]) for name in ("applied", "copy")]
    ours = report.find(OURS, case)
    best = min((report.find(name, case) for name in alone), key=lambda one: one.p50)
    for word in ("p50", "p99"):
        value = getattr(ours, word) / getattr(best, word)
        report.ratios.append(at_most("race", case, f"{word} merged / best single", value, 1.0))
    value = report.find("copy", cost).p50 / report.find("applied", cost).p50
    report.ratios.append(at_most("race", cost, "p50 copy / applied", value, 0.4))
