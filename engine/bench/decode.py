"""How long does it take to turn a depth message into numbers?

Ours: routed by its channel and decoded to fixed point through the venue seam, timed in C. The
contender is what a good Python program reads the venue's messages with (protobuf: upb where it says
so; JSON: msgspec, whose numbers never are Python strings): parsed, book found by channel, versions
to int, all prices and quantities to float, timed in Python, which is where its user is. Where the
venue's messages are gzip members, both inflate them first. The same
messages in turn, a batch a sample. One thread, no I/O; the messages lie in the cache, as they do
behind the TLS layer.
"""

from __future__ import annotations

import gc
import gzip
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.checked import measure_checked
from tickpath.engine.bench.measure import OURS, Report, at_least, progress, progress_end, row
from tickpath.engine.bench.messages import Market, markets, round_robin
from tickpath.engine.bench.venues import bench_venue, decoded_venues
from tickpath.engine.feed_handler.inflate import new_inflate, text_size_max
from tickpath.proto.venues.decoder import is_packed
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from tickpath.engine.bench.venues import DecodeCase, DecodedVenue

MARKETS = 30  # what one connection carries
BATCH = 256  # messages a sample
COUNT = 400  # samples a contender


class _Ours:
    """The C decoder with a router of MARKETS channels."""

    def __init__(
        self, all_markets: list[Market], batch: list[bytes], own: DecodedVenue | None = None
    ) -> None:
        own = own or bench_venue()
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
            {"data": self._data, "offset": self._offset, "count": len(batch), "opcode": own.opcode},
        )
        if is_packed(own.venue.name):
            self._inflate = new_inflate(text_size_max(own.venue.name))
            self._messages.inflate = self._inflate
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

    def __init__(self, all_markets: list[Market], batch: list[bytes], own: DecodedVenue) -> None:
        books = {market.channel: index for index, market in enumerate(all_markets)}
        self._read = own.contender(books)
        self._batch = batch
        self.update: tuple[Any, ...] = ()

    def __call__(self) -> int:
        """Decode the batch; return nanoseconds."""
        read = self._read
        start = time.perf_counter_ns()
        for data in self._batch:
            self.update = read(data)
        return time.perf_counter_ns() - start


def _check_equal(own: DecodedVenue, ours: _Ours, theirs: _Theirs) -> None:
    """Compare what both made of the last message. Raises SystemSetupError."""
    update = ours.update
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
    report = Report("decode")
    report.notes = [
        f"nanoseconds a message, each sample the mean of {BATCH} messages of {MARKETS} instruments",
        "ours timed in C, routing and the venue seam included; the others timed in Python",
        "one thread, in turn, nobody spins",
    ]
    per_round = max(1, (count or COUNT) // rounds)
    for own in decoded_venues():
        for case in own.cases:
            _measure_case(report, own, case, (per_round, rounds))
    measure_checked(report, per_round, rounds)
    progress_end()
    return report


def _measure_case(
    report: Report, own: DecodedVenue, case: DecodeCase, samples: tuple[int, int]
) -> None:
    """Add a row a contender, and their ratio. samples: of a round, and rounds."""
    all_markets = markets(MARKETS, own)
    batch = list(round_robin(all_markets, BATCH, case.levels))
    if is_packed(own.venue.name):
        batch = [gzip.compress(text, mtime=0) for text in batch]
    ours, theirs = _Ours(all_markets, batch, own), _Theirs(all_markets, batch, own)
    report.notes.append(
        f"{case.name}: {case.levels}+{case.levels} levels, {sum(map(len, batch)) / BATCH:.0f} "
        "bytes a message"
    )
    report.rows += _take_turns(case.name, ((OURS, ours), (own.implementation, theirs)), *samples)
    _check_equal(own, ours, theirs)
    ratio = report.find(own.implementation, case.name).p50 / report.find(OURS, case.name).p50
    name = f"p50 {own.implementation} / ours"
    report.ratios.append(at_least("decode", case.name, name, ratio, case.goal))


def _take_turns(
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
