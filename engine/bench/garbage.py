"""How much longer is a turn of the loop when a venue sends garbage?

A turn takes a burst of 64 frames at most. Its share that depends on what they say is timed for each
venue that has a simulator: messages routed, decoded, judged, applied and published by the real
feed, all in memory, CPU time of the thread. `quiet`: changes of books that are LIVE, one a frame,
as large as the simulated venue's become in a frame. The others: as many bytes of each kind of bad
input, in as many messages, or in one that fills all frames. What is judged is the worst kind's
median against that of quiet: a pause of the host is nobody's garbage. Called by: command.py.
"""

from __future__ import annotations

import gc
import random
import re
import time
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.checked import Feed
from tickpath.engine.bench.measure import (
    OURS,
    Report,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.venues import gap_venues
from tickpath.engine.feed_handler.feed_books import FeedBooks
from tickpath.engine.sim.dialect import Client, Floor, HttpRequest, Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venue import BaseSource
from tickpath.proto.venues import resolve_symbol
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.venues import GapVenue

BURST: Final = 64
FRAME_SIZE: Final = 1400
NAMES: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT")
COUNT: Final = 50
LEVELS_MAX: Final = 40
TEXT, BINARY = 1, 2  # RFC 6455 section 5.2
LONGEST_MAX: Final = 2.0
SEED: Final = 20261130
NS_PER_S: Final = 1_000_000_000
NUMBER: Final = re.compile(rb"\d+\.\d+")


class _Side:
    """One venue's simulator and a feed of it, its books LIVE."""

    def __init__(self, own: GapVenue) -> None:
        self.venue, self.settings = own.venue, own.settings
        self.symbols = [resolve_symbol(own.venue, name) for name in NAMES]
        self._floor = Floor(own.venue, self.symbols, depth=200, seed=1)
        self._dialect = load_dialect(own.venue.name)(self._floor)
        self._turn, self._opcode = 0, TEXT
        self.rows = [
            msgspec.structs.replace(
                self._floor.listings[one].book.instrument, index=index, venue=own.venue.name
            )
            for index, one in enumerate(self.symbols)
        ]
        self.feed = Feed(own, self.rows)
        self._books = FeedBooks(self.feed.feed, 0)
        try:
            self._subscribe()
            self.make_live()
        except BaseException:
            self.feed.segment.close()
            raise

    def give(self, batch: Sequence[bytes]) -> int:
        """Give messages to the feed; return nanoseconds of CPU."""
        data = ffi.from_buffer("uint8_t[]", b"".join(batch) + bytes(64))
        offsets = np.cumsum([0, *map(len, batch)], dtype=np.uint64)
        offset = ffi.from_buffer("uint64_t[]", offsets)
        fields = {"data": data, "offset": offset, "count": len(batch), "opcode": self._opcode}
        messages = ffi.new("struct tp_bench_messages *", fields)
        return int(lib.tp_bench_garbage(self.feed.feed, messages))

    def sound(self) -> bytes:
        """Return the next change of the next book, as large as a frame holds if it becomes so."""
        symbol = self.symbols[self._turn % len(self.symbols)]
        self._turn += 1
        while True:
            delta = self._floor.listings[symbol].book.step(LEVELS_MAX // 2)
            for _, message in self._dialect.pushes(symbol, delta, time.time_ns()):
                self._opcode = TEXT if message.is_text else BINARY
                return message.data

    def _subscribe(self) -> None:
        client = Client()
        for request, symbol in enumerate(self.symbols):
            channels = self.venue.channels(symbol, self.settings)[:1]
            for data in self.venue.subscribe(channels, request=request, time_s=0):
                said = Message(data, is_text=True)
                answers = self._dialect.received(client, said, time.time_ns())
                self.give([one.data for one in answers])

    def _base(self, index: int) -> None:
        request = self.venue.base_request(self.symbols[index], self.settings)
        answer = self._dialect.http(HttpRequest("GET", request.target, {}), time.time_ns())
        if answer is None:
            raise SystemSetupError(f"garbage, {self.venue.name}: no base at {request.target}")
        while not self._books.offer(index, self.venue.parse_base(answer.body, self.rows[index])):
            self._tick()

    def _tick(self) -> None:
        lib.tp_feed_tick(self.feed.feed, time.monotonic_ns() + NS_PER_S)

    def are_live(self) -> bool:
        """Say whether all books are."""
        states = (lib.tp_feed_state(self.feed.feed, one.index) for one in self.rows)
        return all(state == lib.TP_BOOK_LIVE for state in states)

    def make_live(self) -> None:
        """Have all books LIVE; raises SystemSetupError."""
        for _ in range(20):
            if self.are_live():
                return
            if self.venue.base_source is not BaseSource.REST:
                self._subscribe()
            self.give([self.sound() for _ in self.symbols])
            self._tick()
            if self.venue.base_source is BaseSource.REST:
                for index in self._books.wanted():
                    self._base(index)
            self._tick()
        states = [lib.tp_feed_state(self.feed.feed, one.index) for one in self.rows]
        raise SystemSetupError(f"garbage, {self.venue.name}: the books are not LIVE: {states}")


def _flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]


def _head(data: bytes) -> bytes:
    """Return what stands in front of the first levels, by which a message is routed."""
    found = re.search(rb'\[\[|\[\{"p', data)
    return data[: found.start()] if found else data[:60]


def _closing(head: bytes) -> bytes:
    """Return the brackets that end what is open, last first."""
    marks = re.sub(rb'"[^"]*"', b"", head)
    opened: list[bytes] = []
    for mark in re.findall(rb"[\[\]{}]", marks):
        if mark in b"[{":
            opened.append(b"]" if mark == b"[" else b"}")
        elif opened:
            opened.pop()
    return b"".join(reversed(opened))


def _long(fill: bytes, *, is_whole: bool = True) -> Callable[[bytes, int], bytes]:
    """Make a message that goes on with this. is_whole: sound JSON, of a key that nobody knows.

    It is read to its end before it is found to lack what it must have.
    """

    def make(data: bytes, size: int) -> bytes:
        head = _head(data)
        if not is_whole:
            return (head + fill * (size // len(fill) + 1))[:size]
        head = re.sub(rb'"\w+":$', b'"zz":', head)
        end = b"0]" + _closing(head)
        count = (size - len(head) - len(end) - 1) // len(fill)
        return head + b"[" + fill * count + end

    return make


def kinds(seed: int = SEED) -> dict[str, Callable[[bytes, int], bytes]]:
    """Return what makes a bad message of a sound one and a size; one that fills all has "long"."""
    rng = random.Random(seed)  # noqa: S311 # bytes, not secrets
    digits = b"9" * 40

    return {
        "cut off": lambda data, _: data[: rng.randrange(1, len(data))],
        "a bit flipped": lambda data, _: _flipped(data, rng),
        "of 40 digits": lambda data, size: NUMBER.sub(digits + b"." + digits, data)[:size],
        "negative": lambda data, _: NUMBER.sub(rb"-\g<0>", data),
        "NaN": lambda data, _: NUMBER.sub(b"NaN", data),
        "too fine": lambda data, size: NUMBER.sub(rb"\g<0>000000000000001", data)[:size],
        "of zero bytes": lambda _, size: bytes(size),
        "not UTF-8": lambda data, _: data.replace(b'"', b"\xff"),
        "without quotes": lambda data, _: data.replace(b'"', b""),
        "twice": lambda data, _: data + data,
        "long: open brackets": _long(b"[", is_whole=False),
        "long: open braces": _long(b'{"a":', is_whole=False),
        "long: digits": _long(b"1", is_whole=False),
        "long: an open string": _long(b'"' + b"a" * 200, is_whole=False),
        "long: no levels": _long(b"[],", is_whole=False),
        "long: spaces": _long(b" "),
        "long: numbers": _long(b"1,"),
        "long: strings": _long(b'"' + b"a" * 200 + b'",'),
        "long: escapes": _long(b'"' + b"\\n" * 100 + b'",'),
        "long: deep": _long(b"[" * 50 + b"]" * 50 + b","),
        "long: objects": _long(b'{"k":[null,true]},'),
    }


def _live(side: _Side, own: GapVenue) -> _Side:
    """Return it with all books LIVE, or another one: what was garbage may have been believed."""
    try:
        side.make_live()
    except SystemSetupError:
        side.feed.segment.close()
        return _Side(own)
    return side


def _bursts(report: Report, own: GapVenue, count: int, took: dict[str, list[float]]) -> None:
    """Add so many bursts of quiet, then of each kind of garbage."""
    name, side = own.venue.name, _Side(own)
    gc.collect()
    try:
        for _ in range(count):
            batch = [side.sound() for _ in range(BURST)]
            took.setdefault("quiet", []).append(side.give(batch))
        if not side.are_live():
            raise SystemSetupError(f"garbage, {name}: the books of quiet are not LIVE")
        size = sum(map(len, batch))
        for kind, make in kinds().items():
            for _ in range(count):
                side = _live(side, own)
                if kind.startswith("long"):
                    bad = [make(batch[0], max(size, BURST * FRAME_SIZE))]
                else:
                    bad = [make(one, len(one)) for one in batch]
                part = size / max(size, sum(map(len, bad)))
                took.setdefault(kind, []).append(side.give(bad) * part)
    finally:
        side.feed.segment.close()
    note = f"{name}: {size / BURST:.0f} bytes a message"
    if note not in report.notes:
        report.notes.append(note)


def measure(count: int, rounds: int) -> Report:
    """Return CPU nanoseconds of a burst; `count` bursts of each kind, in all rounds together."""
    report = Report("garbage")
    report.notes = [
        f"nanoseconds of CPU for a burst of {BURST} messages, through the feed to shared memory",
        "larger bursts of garbage count for as many bytes as quiet's have",
    ]
    all_venues = gap_venues()
    took: dict[str, dict[str, list[float]]] = {one.venue.name: {} for one in all_venues}
    for number in range(rounds):
        for own in all_venues:
            progress(f"garbage: round {number + 1} of {rounds}: {own.venue.name}")
            _bursts(report, own, max(1, (count or COUNT) // rounds), took[own.venue.name])
    progress_end()
    for venue, found in took.items():
        for kind, samples in found.items():
            report.rows.append(row("garbage", OURS, f"{venue} {kind}", np.array(samples)))
        p50 = {kind: float(np.median(samples)) for kind, samples in found.items()}
        quiet = p50.pop("quiet")
        worst = max(p50, key=lambda kind: p50[kind])
        name = f"p50 of the worst ({worst}) / quiet"
        report.ratios.append(at_most("garbage", venue, name, p50[worst] / quiet, LONGEST_MAX))
    return report
