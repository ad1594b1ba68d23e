"""What `tickpath top` shows, and what each key does to it: no terminal, no shared memory.

Three screens, each into the next by Enter and back by Esc: all instances, one instance (books,
readers, hops, counters, budgets as panes), one book. Called by: engine/top/command.py, screens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tickpath.engine.top.samples import (
    BookRow,
    BudgetRow,
    ReaderRow,
    Sample,
    budgets_of,
    kind_of,
    readers_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.commands.live_view import Hop
    from tickpath.engine.commands.stat import SegmentStatus

INSTANCES, INSTANCE, BOOK = "instances", "instance", "book"
PANES = ("books", "readers", "hops", "counters", "budgets")
FILTER_LENGTH_MAX = 32
PAGE = 10
STATE_ORDER = {"CROSSED": 0, "STALE": 1, "SYNCING": 2, "LIVE": 3}

SORTS: dict[str, dict[str, Any]] = {
    "instances": {
        "name": lambda one: one.instance,
        "state": lambda one: (one.state == "running", one.instance),
        "rate": lambda one: -one.event_rate,
        "lag": lambda one: -max((row.lag for row in readers_of(one)), default=0),
    },
    "books": {
        "name": lambda one: one.symbol,
        "state": lambda one: (STATE_ORDER[one.state.name], one.symbol),
        "rate": lambda one: -one.rate,
        "age": lambda one: -one.age_ms,
    },
    "readers": {
        "name": lambda one: one.name,
        "lag": lambda one: -one.lag,
        "lost": lambda one: -one.lost,
    },
    "hops": {"order": lambda _one: 0, "p99": lambda one: -one.p99, "n": lambda one: -one.count},
    "counters": {"name": lambda one: one[0], "rate": lambda one: -one[2]},
    "budgets": {
        "name": lambda one: (one.venue, one.host, one.kind),
        "used": lambda one: -one.used / one.limit if one.limit else 0,
        "pause": lambda one: -one.paused_s,
    },
}


@dataclass(slots=True)
class View:
    """Where the person is: screen, pane, selected row, order, filter."""

    sample: Sample = field(default_factory=Sample)
    screen: str = INSTANCES
    pane: str = PANES[0]
    instance: str | None = None
    symbol: str | None = None
    venue: str | None = None
    """Of the symbol."""
    selected: int = 0
    filter: str = ""
    is_typing: bool = False  # a filter
    is_reversed: bool = False
    shows_help: bool = False
    is_over: bool = False
    _sorts: dict[str, int] = field(default_factory=dict)

    # ---- what there is ---------------------------------------------------------------------------

    @property
    def table(self) -> str:
        """Name the table that is shown: its sort orders and its filter column."""
        return INSTANCES if self.screen == INSTANCES else self.pane

    @property
    def sort(self) -> str:
        """Name the order of the table that is shown."""
        names = list(SORTS[self.table])
        return names[self._sorts.get(self.table, 0) % len(names)]

    def _ordered(self, rows: Sequence[Any], name: Callable[[Any], str]) -> list[Any]:
        wanted = self.filter.lower()
        kept = [one for one in rows if wanted in name(one).lower()]
        return sorted(kept, key=SORTS[self.table][self.sort], reverse=self.is_reversed)

    def status(self) -> SegmentStatus | None:
        """Return the instance that is looked into, where it is still there."""
        found = (one for one in self.sample.segments if one.instance == self.instance)
        return next(found, None)

    def segments(self) -> list[SegmentStatus]:
        """Return the rows of the first screen."""
        return self._ordered(self.sample.segments, lambda one: f"{one.instance} {kind_of(one)}")

    def books(self) -> list[BookRow]:
        """Return the books of the instance."""
        return self._ordered(self.sample.books, lambda one: f"{one.venue} {one.symbol} {one.name}")

    def readers(self) -> list[ReaderRow]:
        """Return the registered readers of the instance."""
        status = self.status()
        return self._ordered(readers_of(status) if status else (), lambda one: one.name)

    def hops(self) -> list[Hop]:
        """Return the latencies of the instance and its strategies."""
        return self._ordered(self.sample.hops, lambda one: f"{one.name} {one.where}")

    def counters(self) -> list[tuple[str, int, float]]:
        """Return name, value and rate of every counter that is not 0."""
        status = self.status()
        if status is None:
            return []
        rows = [
            (name, value, status.rates.get(name, 0.0))
            for name, value in status.counters.items()
            if value
        ]
        return self._ordered(rows, lambda one: one[0])

    def budgets(self) -> list[BudgetRow]:
        """Return what the host's addresses asked of the instance's venues."""
        status = self.status()
        rows = budgets_of(status) if status else ()
        return self._ordered(rows, lambda one: f"{one.venue} {one.host} {one.address}")

    def rows(self) -> Sequence[Any]:
        """Return the rows of the table that is shown."""
        tables: dict[str, Callable[[], Sequence[Any]]] = {
            "instances": self.segments,
            "books": self.books,
            "readers": self.readers,
            "hops": self.hops,
            "counters": self.counters,
            "budgets": self.budgets,
        }
        return tables[self.table]()

    def book(self) -> BookRow | None:
        """Return the book that is looked into, where it is still there."""
        name = self.venue, self.symbol
        return next((one for one in self.sample.books if (one.venue, one.symbol) == name), None)

    def take(self, sample: Sample) -> None:
        """Show a new sample; the selection stays inside."""
        self.sample = sample
        self._clamp()

    def _clamp(self) -> None:
        self.selected = max(0, min(self.selected, len(self.rows()) - 1))

    # ---- what keys do ----------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Act on one key of engine/top/keys.py; unknown ones do nothing."""
        if self.is_typing:
            self._type(key)
        elif self.shows_help:
            self.shows_help = False
            self.is_over = key == "q"
        else:
            self._command(key)
        self._clamp()

    def _type(self, key: str) -> None:
        if key == "enter":
            self.is_typing = False
        elif key == "escape":
            self.is_typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and len(self.filter) < FILTER_LENGTH_MAX:
            self.filter += key

    def _command(self, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -PAGE, "page down": PAGE}
        ends = {"home": 0, "end": 1 << 30}
        if key in steps:
            self.selected += steps[key]
        elif key in ends:
            self.selected = ends[key]
        elif key in ("tab", "left", "right") and self.screen == INSTANCE:
            step = -1 if key == "left" else 1
            self.pane = PANES[(PANES.index(self.pane) + step) % len(PANES)]
            self.selected = 0
        elif key == "s":
            self._sorts[self.table] = self._sorts.get(self.table, 0) + 1
        elif key == "r":
            self.is_reversed = not self.is_reversed
        elif key == "/":
            self.is_typing, self.filter = True, ""
        elif key == "?":
            self.shows_help = True
        elif key == "enter":
            self._into()
        elif key in ("escape", "backspace"):
            self._back()
        elif key == "q":
            self.is_over = True

    def _into(self) -> None:
        rows = self.rows()
        if not rows:
            return
        chosen = rows[self.selected]
        if self.screen == INSTANCES:
            self.screen, self.instance = INSTANCE, chosen.instance
            self.pane = "books" if chosen.books else "counters"
        elif self.screen == INSTANCE and self.pane == "books":
            self.screen, self.venue, self.symbol = BOOK, chosen.venue, chosen.symbol
        else:
            return
        self.selected, self.filter = 0, ""

    def _back(self) -> None:
        """Leave the filter first, then the screen."""
        if self.filter:
            self.filter = ""
        elif self.screen == BOOK:
            self.screen = INSTANCE
        elif self.screen == INSTANCE:
            self.screen, self.instance = INSTANCES, None
            self.selected = 0
