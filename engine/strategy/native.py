"""Strategies that are machine code: loading them, their states, and the set that is called.

A source is `library.so:symbol` (library.py) or `file.py:function` (compiled.py). Called by: the
feed handler (inline), `tickpath strategy` (split), `tickpath replay`. Calls: native.c.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.compiled import RAISED, NativeFunction, compile_function
from tickpath.engine.strategy.from_file import import_file
from tickpath.engine.strategy.library import check_writers, open_library
from tickpath.rt import process
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tickpath.shm.segment import SegmentWriter

COUNT_MAX = int(lib.TP_NATIVE_COUNT_MAX)
COUNTERS = ("in_call", "places", "cancels", "refused", "stopped")
"""Of a strategy that is called by native.c, beside those of every strategy."""
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """A native strategy that is ready to be given a state; `kept` holds its code."""

    source: str
    strategy: Any
    """A `const struct tp_strategy *`."""
    kept: Any = field(repr=False)
    initial: bytes = b""
    """What its state begins as; empty: zeroes."""

    @property
    def is_compiled(self) -> bool:
        """Say whether it is a Python function that was compiled here."""
        return self.source.rpartition(":")[0].endswith(".py")

    def fields(self) -> dict[str, tuple[int, int]]:
        """Return the parameters that it takes: kind and offset of each."""
        rows = (self.strategy.fields[i] for i in range(self.strategy.field_count))
        return {ffi.string(row.name).decode(): (int(row.kind), int(row.offset)) for row in rows}


def load_native(source: str) -> Loaded:
    """Load and compile a strategy; raises LocalError that names the source and the remedy."""
    name, colon, symbol = source.rpartition(":")
    if not colon or not symbol or not name.endswith((".so", ".py")):
        raise LocalError(
            f"strategy {source}: expected library.so:symbol or file.py:function, such as "
            "examples/crossing.so:crossing"
        )
    if name.endswith(".so"):
        library, strategy = open_library(Path(name), symbol)
        return Loaded(source, strategy, library)
    return compiled(source, find_function(source))


def find_function(source: str) -> NativeFunction:
    """Import `file.py:function`; raises LocalError where it is no native function."""
    name, _, function = source.rpartition(":")
    # Once: what is imported is what was looked at, whatever a link on the way points to by then.
    path = Path(name).resolve()
    if not path.is_file():
        raise LocalError(f"strategy {source}: no such file: expected a .py file")
    check_writers(path)
    try:
        found = getattr(import_file(path), function, None)
    except Exception as error:  # whatever the user's code raises is told as its own
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise LocalError(
            f"strategy {source}: {place.filename} line {place.lineno}: {type(error).__name__}: "
            f"{error}"
        ) from error
    if isinstance(found, NativeFunction):
        return found
    if isinstance(found, type) and issubclass(found, Strategy):
        raise LocalError(
            f"strategy {source}: a class, which runs split only: expected a function under "
            "@tickpath.native, see docs/strategies.md"
        )
    what = "not there" if found is None else "no function under @tickpath.native"
    raise LocalError(f"strategy {source}: {function} is {what}: docs/strategies.md shows one")


def compiled(source: str, function: NativeFunction) -> Loaded:
    """Compile a declared function; raises LocalError with the line that cannot be."""
    made = compile_function(source, function)
    return Loaded(source, made.strategy, made.kept, made.initial)


def make_state(loaded: Loaded, parameters: Mapping[str, int | float]) -> Any:
    """Return a state's memory: zeroes, then the parameters, then what its `init` does.

    Raises LocalError for a parameter that it does not have or that does not fit, and where its
    `init` refuses.
    """
    size = max(int(loaded.strategy.state_size), 1)
    memory, _ = process.map_memory(size, huge_pages=False)
    state = ffi.from_buffer("uint8_t[]", memory)
    ffi.memmove(state, loaded.initial, len(loaded.initial))
    known = loaded.fields()
    for name, value in parameters.items():
        if name not in known:
            there = f"known are {', '.join(known)}" if known else "it takes none"
            raise LocalError(f"strategy {loaded.source}: parameter {name}: {there}")
        kind, offset = known[name]
        _store(loaded, name, ffi.addressof(state, offset), kind, value)
    if loaded.strategy.init != ffi.NULL:
        status = loaded.strategy.init(state)
        if status != 0:
            raise LocalError(
                f"strategy {loaded.source}: its init refused to start: it returned {status}, "
                "expected 0: look at its parameters"
            )
    return state


def _store(loaded: Loaded, name: str, at: Any, kind: int, value: float) -> None:
    if kind == lib.TP_STRATEGY_FLOAT64:
        try:
            ffi.cast("double *", at)[0] = float(value)
        except OverflowError:  # an int may have any number of digits
            raise LocalError(
                f"strategy {loaded.source}: parameter {name} is too large, expected a number of 64 "
                "bits floating point"
            ) from None
        return
    if not isinstance(value, int) or not INT64_MIN <= value <= INT64_MAX:
        raise LocalError(
            f"strategy {loaded.source}: parameter {name} is {value}, expected a whole number of "
            "64 bits"
        )
    ffi.cast("int64_t *", at)[0] = value


class NativeSet:
    """The strategies that one thread calls; all that they are given must outlive it."""

    def __init__(self, instrument_count: int) -> None:
        """Begin with none; `handle` is the `struct tp_native_set *`."""
        self.handle = ffi.gc(lib.tp_native_new(), lib.tp_native_free)
        self.handle.instrument_count = instrument_count
        self.count = 0
        self._kept: list[Any] = []

    def inline(self, ring: Any, snapshots: Any, clock: Any) -> None:
        """Follow this ring, in the thread that writes it."""
        self.handle.ring, self.handle.snapshots, self.handle.clock = ring, snapshots, clock

    def add(self, loaded: Loaded, state: Any, instruments: Sequence[int] | None) -> Any:
        """Add a strategy; None: of all instruments, also of those to come. Return its struct."""
        if self.count == COUNT_MAX:
            raise LocalError(f"more than {COUNT_MAX} inline strategies")
        total = int(self.handle.instrument_count)
        chosen = range(total) if instruments is None else instruments
        wants = ffi.new("uint8_t[]", total)
        for index in chosen:
            wants[index] = 1
        row = self.handle.strategies[self.count]
        row.on_event, row.events = loaded.strategy.on_event, loaded.strategy.events
        row.state, row.wants = state, wants
        self._kept += [loaded, state, wants]
        self.count += 1
        self.handle.count = self.count
        return row

    def measure(self, row: Any, stats: SegmentWriter, in_call: int) -> None:
        """Have its hops recorded, and marked in `stats` whether it is being called."""
        row.received_to_seen, row.published_to_seen = stats.histogram(0), stats.histogram(1)
        row.stats, row.in_call_counter = stats.pointer, in_call
        self._kept.append(stats)

    def keep_intents(self, rows: Any, count: int) -> Any:
        """Have intents written to an array of `struct tp_native_intent`; return its log."""
        log = ffi.new("struct tp_native_log *")
        log.rows, log.capacity = rows, count
        self.handle.log = log
        self._kept += [log, rows]
        return log

    def begin(self) -> None:
        """Call them for what is published from now on."""
        lib.tp_native_begin(self.handle)


def parse_parameters(words: Sequence[str]) -> dict[str, int | float]:
    """Return the numbers of NAME=VALUE words; raises LocalError for one that is none."""
    parsed: dict[str, int | float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            parsed[name] = int(text)
        except ValueError:
            try:
                parsed[name] = float(text)
            except ValueError:
                raise LocalError(
                    f"--parameter {word}: expected NAME=VALUE with a number, such as quantity=1000"
                ) from None
    return parsed


def figures(handle: Any, row: Any) -> dict[str, int]:
    """Return what a strategy did, by the names of its counters: COUNTERS, and every strategy's."""
    told = {name: int(getattr(row, name)) for name in ("tops", "places", "cancels", "refused")}
    told |= {"events": int(row.calls), "lost": int(handle.lapped)}
    return told | {"stopped": int(row.stopped_by != 0)}


def why_stopped(status: int, *, is_compiled: bool) -> str:
    """Say in words what a strategy's number means."""
    if is_compiled and status == RAISED:
        return "it raised an exception"
    return f"its on_event returned {status}, expected 0"
