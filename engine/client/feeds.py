"""Read several instances at once, by arrival or in turn.

    with open_readers(["spot", "futures"]) as feeds:
        for feed, told in feeds:
            if isinstance(told, Event): ...

A ring a producer, and the reader goes round: producers never wait for each other. Called by:
strategies over several venues. Calls: engine/client/reader, shm/reader_set.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tickpath.engine.client.reader import (
    BLOCK_SLEEP_NS,
    BLOCK_SPIN_NS,
    BLOCK_WAIT_NS,
    WAIT_NS,
    Event,
    FeedReader,
    Restarted,
    Trouble,
    WriterSilent,
    open_reader,
)
from tickpath.shm.reader import Result
from tickpath.shm.reader_set import Order, ReaderSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

__all__ = ["Feeds", "Order", "open_readers"]

PUBLISHED_WORD = 3  # of Reader.event: published_ns
_EMPTY, _EVENT = int(Result.EMPTY), int(Result.EVENT)
_SILENT, _MOVED = int(Result.SILENT), int(Result.MOVED)


class Feeds:
    """Poll readers together; each stays usable for books, none for events of its own."""

    def __init__(self, readers: Sequence[FeedReader], order: Order = Order.ARRIVAL) -> None:
        """Take over open readers, 1 to 64; raises ValueError for another count."""
        self.readers = tuple(readers)
        self._is_stopped = False
        self._set = ReaderSet(
            [reader.shm for reader in readers], order=order, stamp_word=PUBLISHED_WORD
        )
        self.set_wait()

    def set_wait(self, *, block: bool = False) -> None:
        """Say how to wait: spinning, or, after 20 us, asleep until a feed's waker wakes it.

        In naps of 50 us where not all readers are registered.
        """
        if block:
            self._set.set_wait(BLOCK_WAIT_NS, spin_ns=BLOCK_SPIN_NS, sleep_ns=BLOCK_SLEEP_NS)
        else:
            self._set.set_wait(WAIT_NS)

    def stop(self) -> None:
        """End the iteration that runs, or else the next; from any thread or signal handler."""
        self._is_stopped = True
        self.readers[0].shm.interrupt()

    def __iter__(self) -> Iterator[tuple[FeedReader, Event | Trouble]]:
        """Yield whose it is and what it is, until `stop`. Raises EvictedError.

        By arrival: the earliest published of the events that are visible now.
        """
        look, found = self._set.look, self._set
        while not self._is_stopped:
            result = look()
            if result == _EVENT:
                reader = self.readers[found.found]
                yield reader, reader.event
                continue
            if result != _EMPTY:
                reader = self.readers[found.found]
                if (told := self._judge(reader, result)) is not None:
                    yield reader, told
            for number, reader in enumerate(self.readers):
                if reader.is_down and reader.reopen_if_down():
                    found.renew(number)
                    yield reader, Restarted(reader.instruments)
        self._is_stopped = False  # a loop after this one reads on

    def _judge(self, reader: FeedReader, result: int) -> Trouble | None:
        """Take note of what became of a writer; a reopen is the loop's own business."""
        if result in (_SILENT, _MOVED):
            was_down = reader.is_down
            reader.is_down = True
            return None if was_down else WriterSilent()
        return reader.trouble_of(reader.follow_writer(result))

    def close(self) -> None:
        """Close all readers."""
        for reader in self.readers:
            reader.close()

    def __enter__(self) -> Feeds:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_readers(
    instances: Sequence[str], *, order: Order = Order.ARRIVAL, wait_s: float = 0
) -> Feeds:
    """Open the feeds of several instances; raises as open_reader does, with none left open."""
    with contextlib.ExitStack() as opened:
        readers = [opened.enter_context(open_reader(name, wait_s=wait_s)) for name in instances]
        feeds = Feeds(readers, order)
        opened.pop_all()
    return feeds
