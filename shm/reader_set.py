"""Poll over the rings of several writers from Python: see shm/reader_set.h for the two orders.

Called by: engine/client/feeds.py.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING

from tickpath._core import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.shm.reader import Reader

COUNT_MAX = lib.TP_READER_SET_COUNT_MAX


class Order(enum.IntEnum):
    """Say whose event comes first."""

    ROUND_ROBIN = lib.TP_READER_SET_ROUND_ROBIN
    ARRIVAL = lib.TP_READER_SET_ARRIVAL


class ReaderSet:
    """Borrow readers and poll them together; do not poll one by itself meanwhile."""

    def __init__(
        self, readers: Sequence[Reader], *, order: Order = Order.ARRIVAL, stamp_word: int = 3
    ) -> None:
        """`stamp_word` is the word of `Reader.event` to order ARRIVAL by, 1 to 7.

        Raises ValueError for no readers, too many, or a word that is not there.
        """
        if not 1 <= len(readers) <= COUNT_MAX or not 1 <= stamp_word <= 7:
            raise ValueError(
                f"{len(readers)} readers, stamp word {stamp_word}: expected 1 to {COUNT_MAX} "
                "readers and a word from 1 to 7"
            )
        self.readers = kept = tuple(readers)
        # Whoever holds the set, as `poll` and `look` do, holds its readers.
        self._set = ffi.gc(ffi.new("struct tp_reader_set *"), lambda _: kept)
        lib.tp_reader_set_init(self._set, order, stamp_word)
        for reader in readers:
            lib.tp_reader_set_add(self._set, reader.pointer)
        self.poll: Callable[[], int] = partial(lib.tp_reader_set_poll, self._set)
        """Look at the rings once; return EVENT, LAPPED, EVICTED or EMPTY."""
        self.look: Callable[[], int] = partial(lib.tp_reader_set_spin, self._set)
        """Wait as `set_wait` says, with the GIL released; return a Result."""

    @property
    def found(self) -> int:
        """Return the place, in `readers`, of the one that the last result is of."""
        return int(self._set.found)

    def set_wait(self, max_ns: int, *, spin_ns: int | None = None, sleep_ns: int = 0) -> None:
        """Say how `look` waits: at most `max_ns`, `spin_ns` of it spinning, then asleep."""
        self._set.wait_ns, self._set.sleep_ns = max_ns, sleep_ns
        self._set.spin_ns = max_ns if spin_ns is None else spin_ns

    def renew(self, number: int) -> None:
        """Take note that this reader was reopened or joined anew."""
        lib.tp_reader_set_renew(self._set, number)
