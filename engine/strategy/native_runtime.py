"""A native strategy in a process of its own: the loop of runtime.py, its hot part in native.c.

Called by: command.py. Calls: runtime.py, native.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import INSTRUMENTS_MAX
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.native import (
    COUNTERS,
    Loaded,
    NativeSet,
    figures,
    make_state,
    why_stopped,
)
from tickpath.engine.strategy.runtime import HOUSEKEEPING_EVENTS, Runtime
from tickpath.engine.strategy.stats import IN_CALL
from tickpath.shm.reader import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN = tuple(name for name in COUNTERS if name != IN_CALL)
_EVENT = int(Result.EVENT)


class NativeStoppedError(Exception):
    """Raised where a native strategy returned something else than 0, or raised."""


class NativeStrategy(Strategy):
    """What the loop knows of a native strategy; `native_class` makes one of each."""

    loaded: ClassVar[Loaded]
    parameters: ClassVar[Mapping[str, int | float]]

    def __init__(self) -> None:
        """Make its state; raises LocalError where a parameter does not fit."""
        self.state = make_state(self.loaded, self.parameters)

    def counter_names(self) -> Sequence[str]:
        """Name what becomes of its intents."""
        return OWN


def native_class(loaded: Loaded, parameters: Mapping[str, int | float]) -> type[NativeStrategy]:
    """Return a class, named after the function or symbol, of which a Runtime can be made."""
    fields = {"loaded": loaded, "parameters": dict(parameters)}
    return type(loaded.source.rpartition(":")[2], (NativeStrategy,), fields)


class NativeRuntime(Runtime):
    """Run a native strategy: many events in one call of C, without the GIL."""

    strategy: NativeStrategy

    def _loop(self, end_ns: int) -> None:
        called = NativeSet(INSTRUMENTS_MAX)
        row = called.add(self.strategy.loaded, self.strategy.state, None)
        if not self._is_replay():
            row.received_to_seen, row.published_to_seen = (self.stats.histogram(i) for i in (0, 1))
        called.begin()
        reader, enough = self.reader.shm.pointer, 1 if self._is_clocked else HOUSEKEEPING_EVENTS
        came = ffi.new("uint64_t *")
        while not self.is_stopping:
            came[0] = 0
            result = lib.tp_native_spin(called.handle, reader, enough, came)
            self._take(called.handle, row, int(came[0]))
            if result != _EVENT:
                self._handle_rare(self.reader.follow_writer(result))
            self._keep_house(is_idle=came[0] == 0)
            if end_ns and time.monotonic_ns() >= end_ns:
                return

    def _take(self, handle: Any, row: Any, came: int) -> None:
        """Bring the figures up to date; raises NativeStoppedError where it has stopped."""
        self.counts.events += came
        if came == 0:
            return
        told = figures(handle, row)
        self.counts.tops = told["tops"]
        self.strategy.counters.update({name: told[name] for name in OWN})
        if row.stopped_by != 0:
            raise NativeStoppedError(
                why_stopped(int(row.stopped_by), is_compiled=self.strategy.loaded.is_compiled)
            )
