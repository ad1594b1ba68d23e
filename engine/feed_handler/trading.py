"""What the venue says of our instruments: which are traded, which no longer.

Two say so: the venue's list, which `take` compares with what was known, and its stream, of which
the hot thread publishes the graver of both (engine/feed/trading.h): `told` takes that. A row shows
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
        self.wants_list = False
        """The next one is wanted soon."""

    def listed(self, index: int) -> Status:
        """Return what the list had last of an instrument."""
        return self._listed.get(index, self._rows[index].status)

    def forget(self, index: int) -> None:
        """Know of an instrument what its row says: it came, or left."""
        self._listed.pop(index, None)
        self._streamed.pop(index, None)

    def take(self, listed: InstrumentList) -> tuple[list[Instrument], str]:
        """Return the rows whose status in the list changed, and a line for the log or "".

        One that the list no longer has is delisted, one whose row cannot be read stays as it was.
        A list that has none of ours is not believed by itself: it may be another one, or a part.
        Where the next one has none of them either, and has others, they are delisted.
        """
        all_ours = (self._rows[index] for index in self._indexes)
        ours = [row for row in all_ours if row.status is not Status.REMOVED]
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
        changed = []
        for row in ours:
            status = self._status(row, listed)
            if status is self.listed(row.index):
                continue
            self._listed[row.index] = status
            shown = _graver(status, self._streamed.get(row.index, status))
            changed.append(self._show(row, shown))
        statuses = [(row.symbol, self.listed(row.index)) for row in changed]
        return changed, _describe("instrument list", statuses)

    def _status(self, row: Instrument, listed: InstrumentList) -> Status:
        if row.symbol in listed.left_out:
            return self.listed(row.index)
        now = listed.instruments.get(row.symbol)
        return Status.DELISTED if now is None else now.status

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
