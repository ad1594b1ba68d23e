"""`tickpath export --format hftbacktest`: one npz an instrument, as hftbacktest 2 reads it.

Rows are DEPTH, TRADE, CLEAR and SNAPSHOT events with the flags EXCH, LOCAL, BUY and SELL. A book
that becomes LIVE is cleared and written whole; one that is LIVE no longer is cleared: hftbacktest
has no other word for it. Rows are in the order of both times: what reached us in another order than
it happened stands twice, once a flag. Times of depth never go back, so that the exchange's book is
ours in either order.
Source: hftbacktest 2.4.4, docs/data.rst and py-hftbacktest/hftbacktest/types.py, read 2026-11-30.
Called by: export_command.py. Calls: inputs.py, replayer.py.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import RECORD, give_names, unwritable
from tickpath.engine.recording.inputs import check_inputs, output_name, played
from tickpath.engine.recording.left_out import LeftOut
from tickpath.engine.recording.replayer import Replayer
from tickpath.proto.records import EVENT_ASK, EVENT_SELL, EVENT_SIDELESS, BookState, EventType
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from tickpath.engine.recording.format import Meta

DTYPE: Final = np.dtype(
    [
        *(("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8")),
        *(("order_id", "u8"), ("ival", "i8"), ("fval", "f8")),
    ],
    align=True,
)
DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
KIND_MASK: Final = 0xFF
CHUNK: Final = 1 << 16
NAN: Final = float("nan")
SHOWN: Final = (BookState.LIVE, BookState.CROSSED)
WORD: Final = 8
SYMBOL: Final = re.compile(r"[^\w.-]")
_Row = tuple[int, int, int, float, float]
_Scale = tuple[int, int]


def _exact(mantissa: int, exponent: int) -> float:
    """Return the double nearest to a decimal: both operands are exact below 2^53."""
    return float(mantissa / 10**-exponent)


@dataclass(slots=True)
class Events:
    """Rows of one instrument, in the order in which they were received."""

    venue: str
    symbol: str
    is_shown: bool = False
    """Its book stands in the rows."""
    _rows: list[_Row] = field(default_factory=list)
    _chunks: list[NDArray[Any]] = field(default_factory=list)

    def add(self, kind: int, times: tuple[int, int], price: float, quantity: float) -> None:
        """Append a row; times: the exchange's, 0 where it is not known, and ours."""
        self._rows.append((kind, *times, price, quantity))
        if len(self._rows) == CHUNK:
            self._pack()

    def _pack(self) -> None:
        chunk = np.zeros(len(self._rows), DTYPE)
        if self._rows:
            columns = zip(*self._rows, strict=True)
            for name, column in zip(DTYPE.names or (), columns, strict=False):
                chunk[name] = column
        self._chunks.append(chunk)
        self._rows = []

    def clear(self, local_ns: int) -> None:
        """Forget the book."""
        for side in (BUY, SELL):
            self.add(CLEAR | side, (0, local_ns), NAN, 0.0)
        self.is_shown = False

    def take(self) -> NDArray[Any]:
        """Return all rows: twice in memory until it returns."""
        self._pack()
        rows, self._chunks = np.concatenate(self._chunks), []
        return rows


# ---- what was received ---------------------------------------------------------------------------


class Collector:
    """One feed's events and books as rows."""

    def __init__(self, meta: Meta, known: dict[tuple[str, str], Events]) -> None:
        """Make the feed of a run; known: rows of earlier runs, by venue and symbol."""
        self.replayer = Replayer(meta, on_events=self._collect)
        self.replayer.on_meta.append(self._follow)
        self._known, self.found = known, list[Events]()
        self._events: list[NDArray[Any]] = []
        self._is_begun = False
        self._levels = ffi.new("struct tp_level[]", 2 * int(lib.TP_DEPTH_LEVEL_COUNT_MAX))
        self._follow(meta)

    def _follow(self, meta: Meta) -> None:
        """Take the header of a file that goes on: instruments may have come."""
        for row in meta.instruments[len(self.found) :]:
            events = Events(row.venue, row.symbol)
            self.found.append(self._known.setdefault((row.venue, row.symbol), events))

    def _collect(self, events: NDArray[Any]) -> None:
        self._events.append(events.copy())

    def play(self, batch: bytes) -> None:
        """Play record after record: a book is read right behind the one that replaced it."""
        offset, begin_ns = 0, self.replayer.meta.begin_ns
        while offset < len(batch):
            size, _, _, _, t_ns = RECORD.unpack_from(batch, offset)
            end = offset + RECORD.size + (size + WORD - 1) // WORD * WORD
            self.replayer.play(batch[offset:end])
            if t_ns >= begin_ns:
                self._take(t_ns)
            self._events.clear()
            offset = end

    def finish(self) -> None:
        """Take what the end of the run published: its books are STALE."""
        self._take(int(self.replayer.c.now_ns))
        self._events.clear()

    def _local(self, t_ns: int) -> int:
        return t_ns + self.replayer.meta.realtime_offset_ns

    def _take(self, t_ns: int) -> None:
        replaced: dict[int, int] = {}
        if not self._is_begun:
            self._is_begun = True
            replaced = dict.fromkeys(range(len(self.found)), t_ns)
        for events in self._events:
            changes: dict[int, list[tuple[int, _Row]]] = {}
            for one in _rows(events):
                self._take_event(one, replaced, changes)
            self._apply(changes, replaced)
        for index, received_ns in replaced.items():
            self._show(index, received_ns)

    def _take_event(
        self, one: _Event, replaced: dict[int, int], changes: dict[int, list[tuple[int, _Row]]]
    ) -> None:
        """Take one event; levels wait for those of the same message."""
        events = self.found[one.instrument]
        match one.kind:
            case EventType.LEVEL:
                side = SELL if one.flags & EVENT_ASK else BUY
                times = (one.value[2], self._local(one.t_ns))
                row = (DEPTH | side, *times, one.price, one.quantity)
                changes.setdefault(one.instrument, []).append((one.value[1], row))
            case EventType.TRADE:
                side = SELL if one.flags & EVENT_SELL else BUY
                side = 0 if one.flags & EVENT_SIDELESS else side
                times = (one.value[2], self._local(one.t_ns))
                events.add(TRADE | side, times, one.price, one.quantity)
            case EventType.CLEAR:
                replaced[one.instrument] = one.t_ns
            case EventType.STATE if one.value[0] not in SHOWN:
                if events.is_shown:
                    events.clear(self._local(one.t_ns))
            case EventType.STATE if not events.is_shown:
                replaced[one.instrument] = one.t_ns

    def _apply(self, changes: dict[int, list[tuple[int, _Row]]], replaced: dict[int, int]) -> None:
        """Write the levels of messages, removals first: no book is crossed meanwhile."""
        for index, levels in changes.items():
            events = self.found[index]
            if not events.is_shown or index in replaced:
                continue
            for _, (kind, exch_ns, local_ns, price, quantity) in sorted(
                levels, key=lambda one: one[0] != 0
            ):
                events.add(kind, (exch_ns, local_ns), price, quantity)

    def _show(self, index: int, received_ns: int) -> None:
        """Write a LIVE book whole."""
        replayer, events = self.replayer, self.found[index]
        if int(lib.tp_feed_state(replayer.feed, index)) not in SHOWN:
            return
        local_ns = self._local(received_ns)
        events.clear(local_ns)
        events.is_shown = True
        scale = lib.tp_feed_scale(replayer.feed, index)
        book = lib.tp_feed_book(replayer.feed, index)
        for side, flag in ((lib.TP_SIDE_BID, BUY), (lib.TP_SIDE_ASK, SELL)):
            count = int(lib.tp_book_level_count(book, side))
            if count > len(self._levels):
                self._levels = ffi.new("struct tp_level[]", count)
            count = int(lib.tp_book_top(book, side, self._levels, count))
            for level in ffi.unpack(self._levels, count):
                price = _exact(level.price, scale.price_exponent)
                quantity = _exact(level.quantity, scale.quantity_exponent)
                events.add(SNAPSHOT | flag, (0, local_ns), price, quantity)


@dataclass(frozen=True, slots=True)
class _Event:
    instrument: int
    kind: int
    flags: int
    t_ns: int
    scale: _Scale
    value: list[int]

    @property
    def price(self) -> float:
        return _exact(self.value[0], self.scale[0])

    @property
    def quantity(self) -> float:
        return _exact(self.value[1], self.scale[1])


def _rows(events: NDArray[Any]) -> Iterator[_Event]:
    columns = (
        *(events[name].tolist() for name in ("instrument", "type", "flags", "received_ns")),
        events["price_exponent"].tolist(),
        events["quantity_exponent"].tolist(),
        events["u"]["value"].tolist(),
    )
    for instrument, kind, flags, t_ns, price, quantity, value in zip(*columns, strict=True):
        yield _Event(instrument, kind, flags, t_ns, (price, quantity), value)


# ---- times and order -----------------------------------------------------------------------------


def fill_times(rows: NDArray[Any]) -> None:
    """Give depth that has none the exchange's time, and let times of depth never go back.

    A book that was fetched has the time of the next change, and no later one than our own.
    """
    is_depth = (rows["ev"] & np.uint64(KIND_MASK)) != TRADE
    exch, local = rows["exch_ts"], rows["local_ts"]
    no_trade_time = ~is_depth & (exch == 0)
    exch[no_trade_time] = local[no_trade_time]
    depth = exch[is_depth]
    unknown = depth == 0
    depth[unknown] = local[is_depth][unknown]
    # From behind: no unknown time is after that of the next change.
    ahead = np.minimum.accumulate(np.where(unknown, np.iinfo(np.int64).max, depth)[::-1])[::-1]
    depth = np.where(unknown, np.minimum(depth, ahead), depth)
    exch[is_depth] = np.maximum.accumulate(depth)


def in_order(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows flagged EXCH, LOCAL or both, each flag's in the order of its time.

    rows are in the order of local_ts.
    """
    exch = rows["exch_ts"]
    if len(rows) < 2 or (np.diff(exch) >= 0).all():
        rows["ev"] |= np.uint64(EXCH | LOCAL)
        return rows
    by_exch = np.argsort(exch, kind="stable")
    # Where both orders have had the same rows, a piece ends; in most pieces stands one row.
    ends = np.flatnonzero(np.maximum.accumulate(by_exch) == np.arange(len(rows))) + 1
    starts = np.concatenate(([0], ends[:-1]))
    places, flags = [], []
    at = 0
    for piece in np.flatnonzero(ends - starts > 1).tolist():
        start, end = int(starts[piece]), int(ends[piece])
        places.append(np.arange(at, start))
        flags.append(np.full(start - at, EXCH | LOCAL, dtype=np.uint64))
        merged = _merged(by_exch[start:end].tolist(), exch[start:end].tolist(), start)
        places.append(np.array([place for place, _ in merged]))
        flags.append(np.array([flag for _, flag in merged], dtype=np.uint64))
        at = end
    places.append(np.arange(at, len(rows)))
    flags.append(np.full(len(rows) - at, EXCH | LOCAL, dtype=np.uint64))
    ordered: NDArray[Any] = rows[np.concatenate(places)]
    ordered["ev"] |= np.concatenate(flags)
    return ordered


def _merged(by_exch: list[int], times: list[int], start: int) -> list[tuple[int, int]]:
    """Merge one piece: places from `start` on in the exchange's order, and its times in ours."""
    merged = []
    at, local, count = 0, 0, len(times)
    while at < count or local < count:
        first = by_exch[at] - start if at < count else -1
        if first == local:
            merged.append((start + local, EXCH | LOCAL))
            at, local = at + 1, local + 1
        elif local == count or (first >= 0 and times[first] <= times[local]):
            merged.append((start + first, EXCH))
            at += 1
        else:
            merged.append((start + local, LOCAL))
            local += 1
    return merged


# ---- files ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Export:
    """Write a file for each instrument; each gets its name when all are whole."""

    folder: Path
    name: str
    left_out: LeftOut = field(default_factory=LeftOut)
    shifted: dict[str, int] = field(default_factory=dict)
    """Nanoseconds by which our clock was behind a venue's, by venue."""
    written: list[tuple[Path, int, bool]] = field(default_factory=list)
    """Path, rows, and whether an earlier one was replaced."""
    _known: dict[tuple[str, str], Events] = field(default_factory=dict)

    def collect(self, args: argparse.Namespace) -> None:
        """Play all; raises LocalError at a fault, after all before it."""
        made: list[Collector] = []

        def make(meta: Meta) -> Replayer:
            for before in made:
                before.finish()
            made[:] = [Collector(meta, self._known)]
            return made[0].replayer

        for _, batches in played(args, self.left_out, make):
            for batch in batches:
                made[0].play(batch)

    def write(self) -> None:
        """Write all; raises OSError, and leaves nothing then."""
        arrays = [(one, one.take()) for one in self._known.values()]
        for _, rows in arrays:
            fill_times(rows)
        self._shift(arrays)
        parts: list[tuple[Path, Path, int]] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, rows in zip(self._paths(), (rows for _, rows in arrays), strict=True):
                if not len(rows):
                    continue
                aside = path.with_name(f"{path.name}.part")
                ordered = in_order(rows)
                with aside.open("wb") as file:
                    parts.append((aside, path, len(ordered)))
                    np.savez_compressed(file, data=ordered)
        except OSError:
            for aside, _, _ in parts:
                aside.unlink(missing_ok=True)
            raise
        were = give_names([(aside, path) for aside, path, _ in parts])
        for (_, path, count), is_replaced in zip(parts, were, strict=True):
            self.written.append((path, count, is_replaced))

    def _shift(self, arrays: list[tuple[Events, NDArray[Any]]]) -> None:
        """Let no latency be below zero: our clock was behind the venue's."""
        for venue in {one.venue for one, _ in arrays}:
            own = [rows for one, rows in arrays if one.venue == venue and len(rows)]
            least = min((int((x["local_ts"] - x["exch_ts"]).min()) for x in own), default=0)
            if least < 0:
                self.shifted[venue] = -least
                for rows in own:
                    rows["local_ts"] -= least

    def _paths(self) -> list[Path]:
        paths: list[Path] = []
        for one in self._known.values():
            symbol = SYMBOL.sub("_", one.symbol)
            path = self.folder / f"{self.name}.{one.venue}.{symbol}.npz"
            if path in paths:
                path = self.folder / f"{self.name}.{one.venue}.{symbol}.{len(paths)}.npz"
            paths.append(path)
        return paths

    def tell(self, *, as_json: bool) -> None:
        """Say what was written."""
        for path, count, is_replaced in self.written:
            if as_json:
                told = {"path": str(path), "rows": count, "replaced": is_replaced}
                print(json.dumps(told))
            else:
                more = " (replaced)" if is_replaced else ""
                print(f"{path}: {count:,} rows{more}", file=sys.stderr)
        for venue, ns in sorted(self.shifted.items()):
            print(
                f"tickpath: local_ts of {venue} is {ns:,} ns later than recorded: our clock was "
                "behind the venue's, and hftbacktest takes no latency below zero",
                file=sys.stderr,
            )


def run(args: argparse.Namespace) -> int:
    """Export; a fault is reported after all before it was written."""
    check_inputs(args)
    export = Export(args.out, output_name(args))
    fault: LocalError | None = None
    try:
        export.collect(args)
    except LocalError as error:
        fault = error
    try:
        export.write()
    except OSError as error:
        raise unwritable(args.out, error, "nothing was left there") from error
    export.tell(as_json=args.json)
    left_out = export.left_out.all_words()
    if left_out:
        print(f"tickpath: left out: {'; '.join(left_out)}", file=sys.stderr)
    if fault is not None:
        raise fault
    return export.left_out.status
