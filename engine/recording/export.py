"""`tickpath export`: events and books of a recording as columns, for pandas, polars and DuckDB.

Books are made by a replay. Events are those that were published live, with their clock readings,
where the recording has them; else the replay's. Called by: engine/cli.py. Calls: pyarrow (optional:
tickpath[export]), format.py, replayer.py.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from tickpath.engine.recording.format import (
    EVENT_SIZE,
    EVENTS,
    Meta,
    RecordingFault,
    RecordingFile,
    give_names,
    recording_paths,
    unwritable,
)
from tickpath.engine.recording.inputs import check_inputs, output_name, played
from tickpath.engine.recording.left_out import LEFT_OUT, LeftOut
from tickpath.engine.recording.old_events import from_layout_1
from tickpath.engine.recording.replayer import Replayer, replay_event_dtype
from tickpath.proto.records import (
    EVENT_ASK,
    EVENT_SELL,
    EVENT_SIDELESS,
    BookState,
    EventType,
    SyncReason,
    format_fixed,
)
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DECIMAL = pa.decimal128(38, 18)  # any int64 at any exponent from -18 to 0
NAME = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("ns")  # UTC; without a zone, since readers want more packages for one
_IDENTITY = [("venue", NAME), ("symbol", NAME)]
_TOP = ["bid", "bid_quantity", "ask", "ask_quantity"]
_TRADED = ["price", "quantity"]


# ---- columns -------------------------------------------------------------------------------------


class Columns:
    """Turn rows of numpy, which name the scale of their numbers, into a record batch."""

    def __init__(self, meta: Meta, *, as_text: bool) -> None:
        """as_text: numbers as plain decimals, for csv; names without dictionaries."""
        self._as_text, self._offset = as_text, meta.realtime_offset_ns
        self.number = pa.string() if as_text else DECIMAL
        self.name = pa.string() if as_text else NAME
        self.follow(meta)

    def follow(self, meta: Meta) -> None:
        """Take the header of a file that goes on: instruments may have come."""
        rows = meta.instruments
        self._venues = [row.venue for row in rows]
        self._symbols = [row.symbol for row in rows]

    def exact(
        self, rows: list[tuple[NDArray[Any], NDArray[Any]]], scales: tuple[NDArray[Any], ...]
    ) -> list[pa.Array]:
        """Return what csv has besides decimals, which many readers make floats: nothing of parquet.

        rows: numbers and where they are absent, which is 0 there; scales: of prices and quantities.
        """
        if not self._as_text:
            return []
        whole = [pa.array(np.where(absent, 0, numbers)) for numbers, absent in rows]
        return [*whole, *(pa.array(one) for one in scales)]

    def exact_fields(self, names: list[str]) -> list[tuple[str, pa.DataType]]:
        """Return the fields of `exact`."""
        if not self._as_text:
            return []
        scales = [("price_exponent", pa.int8()), ("quantity_exponent", pa.int8())]
        return [*((f"{name}_mantissa", pa.int64()) for name in names), *scales]

    def whole(self, numbers: NDArray[Any], absent: NDArray[Any]) -> pa.Array:
        """Return numbers from 0; absent ones are null, in csv 0: an empty cell makes floats."""
        numbers = numbers.astype(np.uint64)
        if self._as_text:
            return pa.array(np.where(absent, np.uint64(0), numbers))
        return pa.array(numbers, mask=absent)

    def names(self, codes: NDArray[Any], words: list[str]) -> pa.Array:
        """Return a word for each code; null for one that has none."""
        unknown = (codes < 0) | (codes >= len(words))
        known = np.where(unknown, 0, codes).astype(np.int32)
        array = pa.DictionaryArray.from_arrays(pa.array(known, mask=unknown), words)
        return array.cast(self.name)

    def identity(self, instruments: NDArray[Any]) -> list[pa.Array]:
        """Return venue and symbol."""
        codes = instruments.astype(np.int32)
        return [self.names(codes, self._venues), self.names(codes, self._symbols)]

    def time(self, t_ns: NDArray[Any]) -> pa.Array:
        """Return wall-clock time, UTC."""
        moved = t_ns.astype(np.uint64) + np.uint64(self._offset)
        return pa.array(moved.astype(np.int64), type=pa.int64()).cast(TIME)

    def numbers(
        self, mantissas: NDArray[Any], exponents: NDArray[Any], absent: NDArray[Any]
    ) -> pa.Array:
        """Return exact numbers, null where absent."""
        if self._as_text:
            rows = zip(mantissas.tolist(), exponents.tolist(), absent.tolist(), strict=True)
            told = [None if null else format_fixed(value, scale) for value, scale, null in rows]
            return pa.array(told, type=pa.string())
        order: list[NDArray[Any]] = []
        parts: list[pa.Array] = []
        for exponent in np.unique(exponents):
            chosen = np.flatnonzero(exponents == exponent)
            order.append(chosen)
            parts.append(_decimals(mantissas[chosen], int(exponent)))
        if not parts:
            return pa.array([], type=DECIMAL)
        places = np.argsort(np.concatenate(order), kind="stable")
        taken = pa.array(places, type=pa.int64(), mask=absent)
        return pa.concat_arrays(parts).take(taken)


def _decimals(mantissas: NDArray[Any], exponent: int) -> pa.Array:
    """Return mantissas * 10**exponent as decimal(38, 18), exact: 128-bit words made from 64."""
    words = np.empty((len(mantissas), 2), dtype=np.int64)
    words[:, 0], words[:, 1] = mantissas, mantissas >> 63
    kind = pa.decimal128(19, -exponent)
    buffer = pa.py_buffer(words.tobytes())
    return pa.Array.from_buffers(kind, len(mantissas), [None, buffer]).cast(DECIMAL)


_TYPES = {int(one): one.name for one in EventType}
_TYPE_WORDS = [_TYPES.get(code, "") for code in range(max(_TYPES) + 1)]
_STATE_WORDS = [BookState(code).name for code in range(len(BookState))]
_REASON_WORDS = [SyncReason(code).name for code in range(len(SyncReason))]


def _where(condition: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    return np.where(condition, codes, -1)


def event_batch(columns: Columns, events: NDArray[Any]) -> pa.RecordBatch:
    """Return a row an event."""
    kind, instruments, value = events["type"], events["instrument"], events["u"]["value"]
    is_level, is_trade = kind == EventType.LEVEL, kind == EventType.TRADE
    is_top, has_price = (kind == EventType.TOP) | (kind == EventType.BEST), is_level | is_trade
    prices, quantities = events["price_exponent"], events["quantity_exponent"]
    is_state = kind == EventType.STATE
    side = _where(is_level, (events["flags"] & EVENT_ASK) != 0)
    is_told = is_trade & ((events["flags"] & EVENT_SIDELESS) == 0)
    taker = _where(is_told, (events["flags"] & EVENT_SELL) != 0)
    no_bid, no_ask = ~is_top | (value[:, 1] == 0), ~is_top | (value[:, 3] == 0)
    arrays = [
        pa.array(events["index"]),
        pa.array(events["received_ns"]),
        columns.time(events["received_ns"]),
        pa.array(events["published_ns"]),
        *columns.identity(instruments),
        columns.names(kind.astype(np.int32), _TYPE_WORDS),
        columns.names(side, ["bid", "ask"]),
        columns.numbers(value[:, 0], prices, ~has_price),
        columns.numbers(value[:, 1], quantities, ~has_price),
        columns.whole(value[:, 2], ~has_price),
        columns.whole(value[:, 3], ~is_level),
        columns.names(taker, ["buy", "sell"]),
        columns.whole(value[:, 3], ~is_trade),
        columns.numbers(value[:, 0], prices, no_bid),
        columns.numbers(value[:, 1], quantities, no_bid),
        columns.numbers(value[:, 2], prices, no_ask),
        columns.numbers(value[:, 3], quantities, no_ask),
        columns.names(_where(is_state, value[:, 0]), _STATE_WORDS),
        columns.names(_where(is_state, value[:, 1]), _REASON_WORDS),
        *columns.exact(
            [
                *((value[:, 0], ~has_price), (value[:, 1], ~has_price)),
                *((value[:, 0], no_bid), (value[:, 1], no_bid)),
                *((value[:, 2], no_ask), (value[:, 3], no_ask)),
            ],
            (prices, quantities),
        ),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=event_schema(columns))


def event_schema(columns: Columns) -> pa.Schema:
    """Return the columns of the events file."""
    number, name = columns.number, columns.name
    return pa.schema(
        [("index", pa.uint64()), ("t_ns", pa.uint64()), ("time", TIME)]
        + [("published_ns", pa.uint64()), ("venue", name), ("symbol", name), ("type", name)]
        + [("side", name), ("price", number), ("quantity", number)]
        + [("exchange_ns", pa.uint64()), ("sequence", pa.uint64())]
        + [("taker", name), ("trade_id", pa.uint64())]
        + [(one, number) for one in _TOP]
        + [("state", name), ("reason", name)]
        + columns.exact_fields([*_TRADED, *_TOP])
    )


def book_batch(columns: Columns, tops: NDArray[Any]) -> pa.RecordBatch:
    """Return a row a changed book."""
    instruments = tops["instrument"]
    prices, quantities = tops["price_exponent"], tops["quantity_exponent"]
    no_bid, no_ask = tops["bid_quantity"] == 0, tops["ask_quantity"] == 0
    arrays = [
        pa.array(tops["t_ns"]),
        columns.time(tops["t_ns"]),
        *columns.identity(instruments),
        columns.names(tops["state"].astype(np.int32), _STATE_WORDS),
        columns.numbers(tops["bid"], prices, no_bid),
        columns.numbers(tops["bid_quantity"], quantities, no_bid),
        columns.numbers(tops["ask"], prices, no_ask),
        columns.numbers(tops["ask_quantity"], quantities, no_ask),
        *columns.exact(
            [
                *((tops["bid"], no_bid), (tops["bid_quantity"], no_bid)),
                *((tops["ask"], no_ask), (tops["ask_quantity"], no_ask)),
            ],
            (prices, quantities),
        ),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=book_schema(columns))


def book_schema(columns: Columns) -> pa.Schema:
    """Return the columns of the books file."""
    return pa.schema(
        [("t_ns", pa.uint64()), ("time", TIME), ("venue", columns.name), ("symbol", columns.name)]
        + [("state", columns.name)]
        + [(one, columns.number) for one in _TOP]
        + columns.exact_fields(_TOP)
    )


# ---- files ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Table:
    """One output file, opened with its first schema; it has its name once it is whole."""

    path: Path
    rows: int = 0
    is_replaced: bool = False
    _writer: Any = None
    _groups: list[pa.RecordBatch] = field(default_factory=list)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append; small batches are gathered into row groups."""
        self.open(batch.schema)
        self._groups.append(batch)
        self.rows += batch.num_rows
        if sum(one.num_rows for one in self._groups) >= 1 << 17:
            self._flush()

    def open(self, schema: pa.Schema) -> None:
        """Create the file, which may stay without a row."""
        if self._writer is not None:
            return
        make = (
            pyarrow.csv.CSVWriter if self.path.suffix == ".csv" else pyarrow.parquet.ParquetWriter
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = make(self.aside, schema)

    @property
    def aside(self) -> Path:
        """Return what it is called until it is whole."""
        return self.path.with_name(f"{self.path.name}.part")

    def _flush(self) -> None:
        if self._groups:
            self._writer.write_table(pa.Table.from_batches(self._groups).combine_chunks())
        self._groups = []

    def finish(self) -> None:
        """Write the file's end; it has no name yet."""
        if self._writer is not None:
            self._flush()
            self._writer.close()

    def abandon(self) -> None:
        """Remove what was not finished, as it would be of no use."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # the disk is full: it was told already
                self._writer.close()
            self.aside.unlink(missing_ok=True)

    def summary(self) -> dict[str, str | int | bool]:
        """Say what was written, for programs."""
        return {"path": str(self.path), "rows": self.rows, "replaced": self.is_replaced}

    def told(self) -> str:
        """Say what was written."""
        return f"{self.path}: {self.rows:,} rows" + (" (replaced)" if self.is_replaced else "")

    @property
    def is_open(self) -> bool:
        """Say whether anything asked for the file."""
        return self._writer is not None


def _recorded_events(file: RecordingFile) -> Iterator[NDArray[Any]]:
    for block in file.blocks():
        if block.kind == EVENTS:
            try:
                payload = block.payload()
            except ValueError as error:
                raise RecordingFault(file.path, block.offset, str(error)) from error
            if len(payload) % EVENT_SIZE:
                raise RecordingFault(file.path, block.offset, "a piece of an event")
            if file.version == 1:
                yield _converted(file, payload, block.offset)
                continue
            events = np.frombuffer(payload, dtype=replay_event_dtype())
            if (events["instrument"] >= len(file.meta.instruments)).any():
                raise RecordingFault(file.path, block.offset, "an event of no instrument")
            yield events


def _converted(file: RecordingFile, payload: bytes, offset: int) -> NDArray[Any]:
    try:
        return from_layout_1(payload, file.meta)
    except ValueError as error:
        raise RecordingFault(file.path, offset, str(error)) from error


@dataclass(slots=True)
class Export:
    """Write both tables of one recording."""

    events: Table
    books: Table
    as_text: bool
    left_out: LeftOut = field(default_factory=LeftOut)

    def export(self, args: argparse.Namespace) -> None:
        """Export what the command was given; raises LocalError at a fault, after all before it."""
        is_foreign = args.ndjson or args.tardis
        has_events, fault = (False, None) if is_foreign else self._recorded_events(args.file)

        def make(meta: Meta) -> Replayer:
            return self._replayer(meta, with_events=not has_events)

        for replayer, batches in played(args, self.left_out, make):
            for batch in batches:
                replayer.play(batch)
        if fault is not None:  # of events alone: the replay did not meet it
            raise fault

    def _recorded_events(self, paths: Sequence[Path]) -> tuple[bool, RecordingFault | None]:
        found, fault = False, None
        for one in (one for path in paths for one in recording_paths(path)):
            try:
                with RecordingFile(one) as file:
                    columns = Columns(file.meta, as_text=self.as_text)
                    for events in _recorded_events(file):
                        found = True
                        self.events.write(event_batch(columns, events))
            except RecordingFault as error:
                fault = fault or error
        return found, fault

    def _replayer(self, meta: Meta, *, with_events: bool) -> Replayer:
        columns = Columns(meta, as_text=self.as_text)
        self.events.open(event_schema(columns))
        self.books.open(book_schema(columns))

        def books(tops: NDArray[Any]) -> None:
            self.books.write(book_batch(columns, tops[tops["t_ns"] >= meta.begin_ns]))

        def events(rows: NDArray[Any]) -> None:
            begun = rows["received_ns"] >= meta.begin_ns
            self.events.write(event_batch(columns, rows[begun]))

        wanted: Callable[[NDArray[Any]], None] | None = events if with_events else None
        replayer = Replayer(meta, on_tops=books, on_events=wanted)
        replayer.on_meta.append(columns.follow)
        return replayer

    def close(self) -> None:
        """Finish both files and give them their names, which earlier ones may have had."""
        tables = [one for one in (self.events, self.books) if one.is_open]
        for one in tables:
            one.finish()
        were = give_names([(one.aside, one.path) for one in tables])
        for one, was in zip(tables, were, strict=True):
            one.is_replaced = was

    def abandon(self) -> None:
        """Leave neither."""
        self.events.abandon()
        self.books.abandon()


def run(args: argparse.Namespace) -> int:
    """Export; a fault is reported after all before it was written."""
    check_inputs(args)
    name = output_name(args)
    paths = [args.out / f"{name}.{what}.{args.format}" for what in ("events", "books")]
    export = Export(Table(paths[0]), Table(paths[1]), as_text=args.format == "csv")
    fault: LocalError | None = None
    try:
        try:
            export.export(args)
        except LocalError as error:
            fault = error
        export.close()
    except OSError as error:
        export.abandon()
        raise unwritable(args.out, error, "nothing was left there") from error
    for table in (export.events, export.books):
        if table.is_open:
            if args.json:
                print(json.dumps(table.summary()))
            else:
                print(table.told(), file=sys.stderr)
    left_out = export.left_out.all_words()
    if left_out:
        print(f"tickpath: left out: {'; '.join(left_out)}", file=sys.stderr)
    if fault is not None:
        raise fault
    return LEFT_OUT if left_out else 0
