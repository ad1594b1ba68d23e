"""Let an asyncio event loop wait for a ring: a thread sleeps in C until the waker wakes it.

An event loop cannot wait for a futex, and the writer makes no system call to write an eventfd; so a
thread of the reader's process does the waiting, without the GIL, and only while it is asked to.
Works under any loop that has call_soon_threadsafe: asyncio's own, uvloop. Called by:
engine/reader.py. Calls: shm/reader.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING

from tickpath.shm.reader import Result

if TYPE_CHECKING:
    from types import TracebackType

    from tickpath.shm.reader import Reader

_EMPTY = int(Result.EMPTY)


class NewsThread:
    """Own the thread that waits for one reader, from `with` to its end.

    While `wait` is under way the reader's ring belongs to that thread.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[asyncio.Future[int] | None] = queue.SimpleQueue()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="tp-news", daemon=True)

    async def wait(self) -> int:
        """Wait for a look to find something; return EVENT, SILENT, ALIVE, MOVED, or EMPTY.

        EMPTY after at most the reader's own wait: the caller looks to its other duties.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        self._asked.put(future)
        return await future

    async def pause(self, seconds: float = 0.0) -> None:
        """Let the loop's other tasks have a turn, or so much time."""
        await asyncio.sleep(seconds)

    def _run(self) -> None:
        while (future := self._asked.get()) is not None:
            result = _EMPTY if self._is_ending else self._reader.await_news()
            if self._is_ending:
                return
            self._loop.call_soon_threadsafe(_answer, future, result)

    def __enter__(self) -> NewsThread:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread; it is woken, so that this takes microseconds."""
        self._is_ending = True
        self._asked.put(None)
        self._reader.interrupt()
        self._thread.join()


def _answer(future: asyncio.Future[int], result: int) -> None:
    if not future.done():  # cancelled meanwhile
        future.set_result(result)
