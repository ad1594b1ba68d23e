"""What the venue's list says of our instruments: which are traded, which no longer.

No I/O. `take` compares a list that was read again with what was known and returns what changed.
Called by: venue_feed.py beside it (the cold thread).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.proto.instrument import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import InstrumentList

SHOWN_MAX: Final = 8


class Trading:
    """The statuses of a venue's instruments, as its list had them last."""

    def __init__(self, rows: list[Instrument], indexes: Sequence[int]) -> None:
        """Borrow the feed's rows, each at its index, and which are this venue's: both grow."""
        self._rows, self._indexes = rows, indexes
        self._is_in_doubt = False  # the last list had none of them: the next one decides
        self.wants_list = False
        """The next one is wanted soon."""

    def take(self, listed: InstrumentList) -> tuple[list[Instrument], str]:
        """Return the rows whose status changed, with the new one, and a line for the log or "".

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
            if status is not row.status:
                self._rows[row.index] = msgspec.structs.replace(row, status=status)
                changed.append(self._rows[row.index])
        return changed, _describe(changed)

    @staticmethod
    def _status(row: Instrument, listed: InstrumentList) -> Status:
        if row.symbol in listed.left_out:
            return row.status
        now = listed.instruments.get(row.symbol)
        return Status.DELISTED if now is None else now.status


def _describe(changed: Sequence[Instrument]) -> str:
    if not changed:
        return ""
    some = ", ".join(f"{one.symbol} {one.status.value}" for one in changed[:SHOWN_MAX])
    more = len(changed) - SHOWN_MAX
    return f"instrument list: now {some}" + (f" and {more} more" if more > 0 else "")
