"""Strategies that run in the feed handler's hot thread: loaded, attached, looked after.

One for each [[strategy]] whose placement is "inline-native". Each has the segment of figures that
a split one has, `<instance>.strategy.<name>`, so that every report shows both alike; one counter of
it says whether the strategy is being called, also once this process has died of it. Called by:
process.py and, to check a configuration, engine/supervisor/command.py. Calls:
engine/strategy/native.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi
from tickpath.engine.config.schema import INLINE_NATIVE
from tickpath.engine.strategy.native import (
    COUNTERS,
    NativeSet,
    figures,
    load_native,
    make_state,
    why_stopped,
)
from tickpath.engine.strategy.stats import COUNTERS as ALL_HAVE
from tickpath.engine.strategy.stats import create_stats
from tickpath.proto.venues import load_venue, resolve_symbol
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.config.schema import Config, StrategyConfig
    from tickpath.engine.feed_handler.hot_path import HotPath
    from tickpath.engine.strategy.native import Loaded
    from tickpath.proto.instrument import Instrument
    from tickpath.shm.segment import SegmentWriter

IN_CALL = len(ALL_HAVE) + COUNTERS.index("in_call")


class InlineStrategies:
    """Those of one feed handler; all but their calls is the cold thread's."""

    def __init__(self, config: Config, log: Callable[[str], None]) -> None:
        """Take the configuration; nothing is loaded yet."""
        self._config, self._log = config, log
        self._loaded: list[tuple[StrategyConfig, Loaded, Any]] = []
        self._stats: list[SegmentWriter] = []
        self._rows: list[Any] = []
        self._told: set[str] = set()
        self._set: NativeSet | None = None

    def load(self) -> None:
        """Load and compile all of them; raises LocalError for one that cannot be."""
        for one in self._config.strategies:
            if one.placement == INLINE_NATIVE:
                loaded = load_native(one.source)
                self._loaded.append((one, loaded, make_state(loaded, one.parameters)))

    def attach(
        self, hot: HotPath, segment: SegmentWriter, rows: Sequence[Instrument], directory: Path
    ) -> None:
        """Let the hot thread call them, before it runs; raises SegmentError for their figures."""
        if not self._loaded:
            return
        places = int(segment.header.table.count)
        self._set = called = NativeSet(places)
        called.inline(
            segment.ring, segment.snapshots, ffi.addressof(segment.pointer.header, "clock")
        )
        for one, loaded, state in self._loaded:
            chosen = self._chosen(one, rows)
            row = called.add(loaded, state, chosen)
            stats = create_stats(self._config.instance, one.name, COUNTERS, directory=directory)
            self._stats.append(stats)
            called.measure(row, stats, IN_CALL)
            self._rows.append(row)
            of = "all instruments" if chosen is None else f"{len(chosen)} instruments"
            self._log(f"strategy {one.name}: inline native, {loaded.source}, {of}")
        called.begin()
        hot.handle.strategies = called.handle

    def _chosen(self, one: StrategyConfig, rows: Sequence[Instrument]) -> list[int] | None:
        if not one.instruments:
            return None
        found: list[int] = []
        for name in one.instruments:
            indexes = [row.index for row in rows if is_named(name, row)]
            found += [index for index in indexes if index not in found]
            if not indexes:
                self._log(
                    f"strategy {one.name}: {name} is not read yet: the strategy sees it as soon as "
                    "the venue's list has it; tickpath run --check --lists says why it has not"
                )
        return found

    def take_row(self, row: Instrument) -> None:
        """Have a row that is new at its place called for by those who name it; any time."""
        for (one, _, _), native in zip(self._loaded, self._rows, strict=False):
            if not one.instruments:
                continue  # all, also those to come
            is_wanted = any(is_named(name, row) for name in one.instruments)
            if is_wanted and not native.wants[row.index]:
                self._log(f"strategy {one.name}: {row.venue}:{row.symbol} is read now")
            ffi.cast("uint8_t *", native.wants)[row.index] = is_wanted

    def step(self) -> None:
        """Bring their figures up to date, and say of each that stopped why, once."""
        if self._set is None:
            return
        handle = self._set.handle
        for (one, loaded, _), row, stats in zip(self._loaded, self._rows, self._stats, strict=True):
            told = figures(handle, row)
            for index, name in enumerate((*ALL_HAVE, *COUNTERS)):
                if name in told:
                    stats.store_counter(index, told[name])
            stats.heartbeat()
            status = int(row.stopped_by)
            if status != 0 and one.name not in self._told:
                self._told.add(one.name)
                why = why_stopped(status, is_compiled=loaded.is_compiled)
                self._log(
                    f"strategy {one.name} is stopped: {why}: it is not called again before the "
                    "feed handler is started anew; the feed goes on"
                )

    def close(self) -> None:
        """Remove their figures; the hot thread has ended."""
        for stats in self._stats:
            stats.close()
        self._stats, self._rows, self._loaded = [], [], []


def is_named(name: str, row: Instrument) -> bool:
    """Say whether a name of the configuration, `SYMBOL` or `venue:SYMBOL`, means an instrument."""
    venue, colon, symbol = name.partition(":")
    if colon and venue != row.venue:
        return False
    try:
        return resolve_symbol(load_venue(row.venue), symbol if colon else name) == row.symbol
    except ValueError:  # no name of this venue's
        return False


def inline_names(config: Config) -> list[str]:
    """Return the names of the strategies that run in the feed handler."""
    return [one.name for one in config.strategies if one.placement == INLINE_NATIVE]


def check_inline(config: Config, path: Path) -> None:
    """Load and compile the strategies that are machine code; raises LocalError.

    Of a class it is seen that its file is there: it is not run as whoever checks.
    """
    try:
        InlineStrategies(config, lambda _: None).load()
        for one in config.strategies:
            if one.placement != INLINE_NATIVE:
                _check_split(one)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from error


def _check_split(one: StrategyConfig) -> None:
    file = one.source.rpartition(":")[0]
    if not file.endswith((".py", ".so")):
        return  # a module, which is looked for from where the strategy is started
    if not Path(file).is_file():
        raise LocalError(f"strategy {one.name}: {file}: no such file")
    if file.endswith(".so") or one.parameters:  # a class takes none
        make_state(load_native(one.source), one.parameters)


def placements(config: Config) -> list[str]:
    """Say in a line of each strategy where it runs, and of a split one who starts it."""
    return [
        f"strategy {one.name}: inline native, {one.source}"
        if one.placement == INLINE_NATIVE
        else f"strategy {one.name}: split: start it by tickpath strategy {one.source} "
        f"--instance {config.instance} --name {one.name}"
        + "".join(f" --parameter {name}={value}" for name, value in one.parameters.items())
        for one in config.strategies
    ]
