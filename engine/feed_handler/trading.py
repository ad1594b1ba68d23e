"""What the venue says of our instruments: which are traded, which no longer.

Three say so: the venue's list, which `take` compares with what was known, the venue itself of all
that it trades (maintenance), which `take_system` adds to that, and an instrument's stream, of which
the hot thread publishes the graver (engine/feed/trading.h): `told` takes that. A row shows
the graver one too. No I/O. Called by: venue_feed.py beside it (the cold thread).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.proto.instrument import ROW_STATUSES, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import InstrumentList

SHOWN_MAX: Final = 8


def _graver(one: Status, other: Status) -> Status:
    return max(one, other, key=ROW_STATUSES.index)


class Trading:
    """The statuses of a venue's instruments: by its list, and as its stream makes them graver."""

    def __init__(self, rows: list[Instrument], indexes: Sequence[int]) -> None:
        """Borrow the feed's rows, each at its index, and which are this venue's: both grow."""
        self._rows, self._indexes = rows, indexes
        self._is_in_doubt = False  # the last list had none of them: the next one decides
        self._listed: dict[int, Status] = {}  # where the row may show another one
        self._streamed: dict[int, Status] = {}  # where it is graver than the list's
        self._system = Status.TRADING
        self._own: dict[int, Status] = {}  # by the list alone, where `_system` may be graver
        self.wants_list = False
        """The next one is wanted soon."""

    def listed(self, index: int) -> Status:
        """Return what the list had last of an instrument, or the venue of all that it trades."""
        return self._listed.get(index, self._rows[index].status)

    def forget(self, index: int) -> None:
        """Know of an instrument what its row says: it came, or left."""
        self._listed.pop(index, None)
        self._streamed.pop(index, None)
        self._own.pop(index, None)

    def take(self, listed: InstrumentList) -> tuple[list[Instrument], str]:
        """Return the rows whose status in the list changed, and a line for the log or "".

        One that the list no longer has is delisted, one whose row cannot be read stays as it was.
        A list that has none of ours is not believed by itself: it may be another one, or a part.
        Where the next one has none of them either, and has others, they are delisted.
        """
        ours = self._ours()
        if not ours:
            return [], ""
        was_in_doubt = self._is_in_doubt
        self._is_in_doubt = not any(one.symbol in listed.instruments for one in ours)
        self.wants_list = self._is_in_doubt and not was_in_doubt
        if self._is_in_doubt and not (was_in_doubt and listed.instruments):
            return [], (
                "instrument list: has none of our instruments: what was read before counts; "
                "reading it again"
            )
        changed = self._follow({row.index: self._status(row, listed) for row in ours})
        statuses = [(row.symbol, self.listed(row.index)) for row in changed]
        return changed, _describe("instrument list", statuses)

    def take_system(self, status: Status) -> list[Instrument]:
        """Take what the venue says of all that it trades; return the rows whose status changed."""
        owns = {row.index: self._own_of(row.index) for row in self._ours()}
        self._system = status
        return self._follow(owns)

    def _ours(self) -> list[Instrument]:
        rows = (self._rows[index] for index in self._indexes)
        return [row for row in rows if row.status is not Status.REMOVED]

    def _own_of(self, index: int) -> Status:
        return self._own.get(index, self.listed(index))

    def _follow(self, owns: dict[int, Status]) -> list[Instrument]:
        """Show the graver of what the list says of each and the venue of all."""
        self._own = owns if self._system is not Status.TRADING else {}
        changed = []
        for index, own in owns.items():
            status = _graver(own, self._system)
            if status is self.listed(index):
                continue
            self._listed[index] = status
            shown = _graver(status, self._streamed.get(index, status))
            changed.append(self._show(self._rows[index], shown))
        return changed

    def _status(self, row: Instrument, listed: InstrumentList) -> Status:
        now = listed.instruments.get(row.symbol)
        if now is not None:
            return now.status
        return self._own_of(row.index) if row.symbol in listed.left_out else Status.DELISTED

    def _show(self, row: Instrument, status: Status) -> Instrument:
        self._rows[row.index] = msgspec.structs.replace(row, status=status)
        return self._rows[row.index]

    def told(self, statuses: Iterable[tuple[int, int]]) -> tuple[list[Instrument], str]:
        """Take what the hot thread published, by list and stream: index and status of each.

        Return the rows that show another one, with this one, and a line for the log or "".
        """
        changed = []
        for index, number in statuses:
            row, status = self._rows[index], ROW_STATUSES[number]
            if status is None or row.status is Status.REMOVED:
                continue
            listed = self._listed.setdefault(index, row.status)
            if _graver(listed, status) is listed:
                self._streamed.pop(index, None)
            else:
                self._streamed[index] = status
            shown = _graver(listed, status)  # what the list says now may be on its way there
            if shown is not row.status:
                changed.append(self._show(row, shown))
        return changed, _describe("stream", [(row.symbol, row.status) for row in changed])


def _describe(source: str, changed: Sequence[tuple[str, Status]]) -> str:
    if not changed:
        return ""
    some = ", ".join(f"{symbol} {status.value}" for symbol, status in changed[:SHOWN_MAX])
    more = len(changed) - SHOWN_MAX
    return f"{source}: now {some}" + (f" and {more} more" if more > 0 else "")
