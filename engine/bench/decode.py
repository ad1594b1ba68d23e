"""How long does it take to turn a depth message into numbers?

Ours: routed by its channel and decoded to fixed point through the venue seam, timed in C. The
contender is what a good Python program reads the venue's messages with (protobuf: upb where it says
so): parsed, book found by channel, versions to int, all prices and quantities to float, timed in
Python, which is where its user is. The same messages in turn, a batch a sample. One thread, no I/O;
the messages lie in the cache, as they do behind the TLS layer.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.checked import measure_checked
from tickpath.engine.bench.measure import OURS, Report, at_least, progress, progress_end, row
from tickpath.engine.bench.messages import Market, markets, round_robin
from tickpath.engine.bench.venues import bench_venue
from tickpath.shm.errors import SystemSetupError

CASES = {"1+1": (1, 50), "10+10": (10, 40), "20+20": (20, 45)}  # levels a side, goal
MARKETS = 30  # what one connection carries
BATCH = 256  # messages a sample
COUNT = 400  # samples a contender
BINARY = 2  # RFC 6455 section 5.2


class _Ours:
    """The C decoder with a router of MARKETS channels."""

    def __init__(self, all_markets: list[Market], batch: list[bytes]) -> None:
        own = bench_venue()
        self._venue = lib.tp_venue_find(own.venue.name.encode())
        size = self._venue.router_size(len(all_markets), 1)
        self._router = ffi.new("uint64_t[]", (size + 7) // 8)
        self._venue.router_init(self._router, len(all_markets), 1)
        for index, market in enumerate(all_markets):
            if not self._venue.router_add(self._router, market.channel.encode(), index):
                raise SystemSetupError(f"channel {market.channel} was refused by the router")
        self._data = ffi.from_buffer("uint8_t[]", b"".join(batch) + bytes(64))
        offsets = np.cumsum([0, *map(len, batch)], dtype=np.uint64)
        self._offset = ffi.from_buffer("uint64_t[]", offsets)
        self._messages = ffi.new(
            "struct tp_bench_messages *",
            {"data": self._data, "offset": self._offset, "count": len(batch), "opcode": BINARY},
        )
        self._scale = ffi.new("struct tp_scale *", [own.price_exponent, own.quantity_exponent])
        self.update = ffi.new("struct tp_depth_update *")

    def __call__(self) -> int:
        """Decode the batch; return nanoseconds."""
        took = lib.tp_bench_decode(
            self._venue, self._router, self._messages, self._scale, self.update
        )
        if took == 0:
            raise SystemSetupError("our decoder refused a message of the benchmark")
        return int(took)


class _Theirs:
    """What a Python program would use."""

    def __init__(self, all_markets: list[Market], batch: list[bytes]) -> None:
        books = {market.channel: index for index, market in enumerate(all_markets)}
        self._read = bench_venue().contender(books)
        self._batch = batch
        self.update: tuple[Any, ...] = ()

    def __call__(self) -> int:
        """Decode the batch; return nanoseconds."""
        read = self._read
        start = time.perf_counter_ns()
        for data in self._batch:
            self.update = read(data)
        return time.perf_counter_ns() - start


def _check_equal(ours: _Ours, theirs: _Theirs) -> None:
    """Compare what both made of the last message. Raises SystemSetupError."""
    update, own = ours.update, bench_venue()
    price, quantity = 10.0**own.price_exponent, 10.0**own.quantity_exponent
    levels = [
        [(side[i].price * price, side[i].quantity * quantity) for i in range(count)]
        for side, count in ((update.bids, update.bid_count), (update.asks, update.ask_count))
    ]
    _, first, last, *expected = theirs.update
    same = (update.first_version, update.last_version) == (first, last) and all(
        np.allclose(mine, other, rtol=1e-12) for mine, other in zip(levels, expected, strict=True)
    )
    if not same:
        raise SystemSetupError(f"the decoders differ: ours {levels}, theirs {expected}")


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds a message; `count` samples a contender, each the mean of a batch."""
    implementation = bench_venue().implementation
    report = Report("decode")
    report.notes = [
        f"nanoseconds a message, each sample the mean of {BATCH} messages of {MARKETS} instruments",
        f"ours timed in C, routing and the venue seam included; {implementation} timed in Python",
        "one thread, in turn, nobody spins",
    ]
    per_round = max(1, (count or COUNT) // rounds)
    for case, (levels, _) in CASES.items():
        all_markets = markets(MARKETS)
        batch = list(round_robin(all_markets, BATCH, levels))
        contenders = (
            (OURS, _Ours(all_markets, batch)),
            (implementation, _Theirs(all_markets, batch)),
        )
        report.notes.append(f"{case}: {sum(map(len, batch)) / BATCH:.0f} bytes a message")
        report.rows += _measure_case(case, contenders, per_round, rounds)
        _check_equal(contenders[0][1], contenders[1][1])
    measure_checked(report, per_round, rounds)
    progress_end()
    for case, (_, goal) in CASES.items():
        ours, theirs = report.find(OURS, case), report.find(implementation, case)
        name = f"p50 {implementation} / ours"
        report.ratios.append(at_least("decode", case, name, theirs.p50 / ours.p50, goal))
    return report


def _measure_case(
    case: str, contenders: tuple[tuple[str, Any], ...], per_round: int, rounds: int
) -> list[Any]:
    took: dict[str, list[float]] = {name: [] for name, _ in contenders}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for name, decode in contenders:
                progress(f"decode {case}: round {turn + 1} of {rounds}: {name}")
                decode()  # warm-up, left out
                took[name] += [decode() / BATCH for _ in range(per_round)]
    finally:
        gc.enable()
    return [row("decode", name, case, np.array(samples)) for name, samples in took.items()]
