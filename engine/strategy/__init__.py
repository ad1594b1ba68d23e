"""Strategies: derive from `Strategy`, override what you need, run it with `tickpath strategy`.

Reading order: this file (what a strategy is told), runtime.py (the loop that tells it), hops.h
(latency of each event), stats.py (figures that other processes may read), guarded.py (the process
beside it that guards it), from_file.py (a .py file as a module), command.py. Then rehearsal.py (a
made-up feed to try one with), spread.py (two small ones), and for C tickpath-reader.h
(the one header) and c_reader.py (where it lies). Strategies that are machine code:
tickpath-strategy.h (their contract), native.c (who calls them), native_split.c (for a
reader), native.py (what is called),
library.py (where C ones come from), compiled.py (Python ones, by Numba), readonly.py (what they
cannot write) and native_runtime.py (a process of their own).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.engine.client.reader import Book, Event, FeedReader
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.records import BookState, SyncReason


class Strategy:
    """Be told of books and events of one instance, in one pinned thread.

    Made without arguments. `reader`, `instruments` and `counters` are set before `on_start`.
    Methods that are not overridden cost nothing. Whatever is raised ends the process with its
    traceback; the feed and other strategies do not notice. A method that takes long makes this
    strategy fall behind, in the end `on_lapped`; nobody waits for it.
    """

    reader: FeedReader
    instruments: tuple[Instrument, ...]
    counters: dict[str, int]
    """Those of `counter_names`, 0 at first: whole numbers from 0, which other processes see."""

    def counter_names(self) -> Sequence[str]:
        """Name counters of your own, once, with `reader` and `instruments` set.

        `tickpath stat` and the summary show them beside those of every strategy.
        """
        return ()

    def on_start(self) -> None:
        """Prepare; memory that is allocated here does not fault later.

        Events that come meanwhile are not told: `on_state` is next, the place to read books first.
        """

    def on_book(self, instrument: Instrument, book: Book) -> None:
        """Act on the latest book after a message; trade where `book.is_live` only.

        Called once per TOP event. `book` is a view that the instrument's next one overwrites, no
        other's: `reader.book` of another instrument may be held beside it. `copy` keeps it.
        """

    def on_trade(self, instrument: Instrument, event: Event) -> None:
        """Act on one trade, where the configuration asks for them: `event.price`, `event.taker`.

        It comes whether the book is LIVE or not. A view that the next event overwrites.
        """

    def on_best(self, instrument: Instrument, event: Event) -> None:
        """Act on the venue's own best bid and ask, where the configuration asks for them.

        Often newer than the book's top, and no proof of it. A view that the next event overwrites.
        """

    def on_event(self, event: Event) -> None:
        """Act on one event of any type, after the methods above; a view that is overwritten."""

    def on_state(self, instrument: Instrument, state: BookState, reason: SyncReason) -> None:
        """Take note that a book became tradable (LIVE) or ceased to be, and why.

        Called for each instrument at start, after a restart of the writer, and when the writer
        falls silent or returns, besides the venue's own troubles.
        """

    def on_lapped(self, lost: int) -> None:
        """Take note that `lost` events are gone: this strategy was too slow. Re-read the books."""

    def on_restart(self) -> None:
        """Take note of a new writer: `instruments` is set anew, books are those of its segment."""

    def on_idle(self) -> None:
        """Do what can wait; called about once a millisecond while nothing comes, or, with --block,
        after 25 ms.
        """

    def on_stop(self) -> None:
        """Finish; the last call, not made after an exception of this strategy's own."""
