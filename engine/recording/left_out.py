"""What a replay or an export had to leave out, in words: nothing is left out in silence.

`note` takes a feed that ended, `add_line` a line of a file; `words` is what ends the command, which
then ends with the status LEFT_OUT. Called by: replay.py, export.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tickpath._core import lib
from tickpath.proto.records import BookState, SyncReason

if TYPE_CHECKING:
    from tickpath.engine.recording.foreign import ForeignRecording
    from tickpath.engine.recording.replayer import Replayer

LEFT_OUT: Final = 6
"""Exit status: it is done, but for what its last line names."""
SHOWN_MAX: Final = 8
PLURALS: Final = {
    "broken message": "broken messages",
    "message that is none of the venue's": "messages that are none of the venue's",
    "row of which no book is made": "rows of which no book is made",
    "hole in the recording": "holes in the recording",
    "checkpoint that differs from its book": "checkpoints that differ from their books",
    "time that goes back": "times that go back",
    "base of another book": "bases of other books",
    "base that cannot be read": "bases that cannot be read",
    "line": "lines",
    "message of a second connection to a channel": "messages of second connections to a channel",
}
# A book that ends so waits for a base that the recording does not have.
LOST: Final = frozenset(
    {
        *(SyncReason.GAP, SyncReason.BROKEN_MESSAGE, SyncReason.OVERFLOW),
        *(SyncReason.RESET, SyncReason.SHALLOW, SyncReason.SCALE),
    }
)


@dataclass(slots=True)
class LeftOut:
    """Counts by what they are of, and the books that are not what they should be."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    books: dict[str, str] = field(default_factory=dict)
    """Why, by symbol."""
    bookless: set[tuple[str, str]] = field(default_factory=set)
    """Venue and symbol of instruments that have no book here, so that none can be missing."""

    def add(self, what: str, example: str = "", count: int = 1) -> None:
        """Count something; the first example of its kind is shown."""
        if count:
            self.counts[what] += count
            if example:
                self.examples.setdefault(what, example)

    def note(self, replayer: Replayer) -> None:
        """Take what a feed counted, and how its books ended: before its run is ended."""
        counters, c = replayer.counters, replayer.c
        self.add("broken message", count=int(counters.broken) + int(counters.unknown_body))
        self.add("message that is none of the venue's", count=int(counters.unreadable))
        self.add("row of which no book is made", count=int(c.rows_refused))
        self.add("hole in the recording", count=int(c.gaps))
        self.add("checkpoint that differs from its book", count=int(c.diverged))
        self.add("time that goes back", count=int(c.backwards))
        for what, example in replayer.left_out:
            self.add(what, example)
        has_several = len({row.venue for row in replayer.meta.instruments}) > 1
        for index, row in enumerate(replayer.meta.instruments):
            state = int(lib.tp_feed_state(replayer.feed, index))
            reason = SyncReason(int(lib.tp_feed_reason(replayer.feed, index)))
            why = reason.name.lower().replace("_", " ")
            if (row.venue, row.symbol) in self.bookless:
                continue
            name = f"{row.venue}:{row.symbol}" if has_several else row.symbol
            if not replayer.was_live(index) and c.messages:
                self.books[name] = f"never LIVE ({why}: no base that its messages follow)"
            elif replayer.was_live(index) and state != BookState.LIVE and reason in LOST:
                self.books[name] = f"not LIVE at the end ({why}, and no base after it)"

    def note_lines(self, recording: ForeignRecording) -> None:
        """Take what is wrong with a file's lines."""
        self.add("line", str(recording.faults.first or ""), recording.faults.count)
        for channel, count in recording.raced.items():
            self.add("message of a second connection to a channel", channel, count)

    @property
    def status(self) -> int:
        """Return what a command ends with that could use all but this."""
        return LEFT_OUT if self.counts or self.books else 0

    def all_words(self) -> list[str]:
        """Return what was left out, a phrase each."""
        said = []
        for what, count in self.counts.items():
            example = self.examples.get(what, "")
            words = what if count == 1 else PLURALS[what]
            said.append(f"{count:,} {words}" + (f" ({example})" if example else ""))
        books = list(self.books.items())
        said += [f"{symbol} {why}" for symbol, why in books[:SHOWN_MAX]]
        if len(books) > SHOWN_MAX:
            said.append(f"{len(books) - SHOWN_MAX:,} more books that are not LIVE")
        return said
