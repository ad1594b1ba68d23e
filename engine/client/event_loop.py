"""Let an asyncio event loop follow a ring: a thread sleeps in C until the waker wakes it.

An event loop cannot wait for a futex, and the writer makes no system call to write an eventfd; so a
thread of the reader's process does the waiting, without the GIL, and only while it is asked to.
Works under any loop that has call_soon_threadsafe: asyncio's own, uvloop. Called by:
engine/client/reader.py. Calls: shm/reader.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING

from tickpath.engine.client.reader import BLOCK_SLEEP_NS, GONE_WAIT_S
from tickpath.shm.reader import Result

if TYPE_CHECKING:
    from tickpath.engine.client.reader import Event, FeedReader, Trouble
    from tickpath.shm.reader import Reader

AWAIT_NS = 100_000_000
BURST = 256  # events between two turns of an event loop's other tasks
_EMPTY, _EVENT, _MOVED = int(Result.EMPTY), int(Result.EVENT), int(Result.MOVED)


class NewsThread:
    """Own the thread that waits for one reader, until `end`.

    While an answer is due the reader's ring belongs to that thread.
    """

    def __init__(self, reader: Reader) -> None:
        """Start it; it is asked from the event loop that runs now."""
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[asyncio.Future[int] | None] = queue.SimpleQueue()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="tp-news", daemon=True)
        self._thread.start()

    def ask(self) -> asyncio.Future[int]:
        """Promise what a look will find: EVENT, SILENT, ALIVE, MOVED, or EMPTY.

        EMPTY after at most the reader's own wait: the caller looks to its other duties.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        self._asked.put(future)
        return future

    def _run(self) -> None:
        while (future := self._asked.get()) is not None:
            result = _EMPTY if self._is_ending else self._reader.await_news()
            if self._is_ending:
                return
            try:
                self._loop.call_soon_threadsafe(_answer, future, result)
            except RuntimeError:
                return  # the loop is closed: nobody will ever ask again

    def end(self) -> None:
        """End the thread; it is woken, so that this takes microseconds."""
        self._is_ending = True
        self._asked.put(None)
        self._reader.interrupt()
        if threading.current_thread() is not self._thread:  # where it collects our garbage
            self._thread.join()


def _answer(future: asyncio.Future[int], result: int) -> None:
    if not future.done():
        future.set_result(result)


class EventStream:
    """Follow one reader from an event loop: what `async for` over a FeedReader iterates.

    No generator: those end with the step that is cancelled. Here the answer that was asked for is
    waited for by the next step.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._news: NewsThread | None = None
        self._asked: asyncio.Future[int] | None = None
        self._poll, self._event = reader.shm.poll, reader.event
        self._left = 0  # of a burst, where nothing is due and nobody waits: events without a step
        self._is_ended = self._is_running = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event | Trouble:
        """Return the next event or trouble; ends at `FeedReader.stop`."""
        result = None
        if self._left and not self._reader.is_stopped:
            result = self._poll()
            if result == _EVENT:
                self._left -= 1
                return self._event
        return await self._step(result)

    async def _step(self, result: int | None) -> Event | Trouble:
        if self._is_ended:
            raise StopAsyncIteration
        if self._is_running:
            raise RuntimeError("async for: another task waits for the same iterator's next event")
        self._is_running, self._left = True, 0
        try:
            told = await self._next(result)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._end()
            raise
        finally:
            self._is_running = False
        self._left = BURST
        return told

    async def aclose(self) -> None:
        """End the iteration and its thread; dropping the iterator does so too."""
        self._end()

    async def _next(self, result: int | None) -> Event | Trouble:
        """Go on from what a poll told; None: there was none, for a burst is over."""
        reader = self._reader
        news = self._news or self._start()
        if result is None:
            await asyncio.sleep(0)  # let the loop's other tasks have a turn
            result = _EMPTY
        while result != _EMPTY or not reader.take_stop():
            if result == _EMPTY and self._asked is None:
                result = self._poll()
            if result == _EMPTY:
                result = await self._answer(news)
                if result == _EVENT:
                    result = _EMPTY  # it is there, and not taken yet
                continue
            if result == _EVENT:
                return self._event
            if (judged := reader.judge_writer(result)) == _MOVED:
                await asyncio.sleep(GONE_WAIT_S)
            elif (told := reader.trouble_of(judged)) is not None:
                return told
            result = _EMPTY
        raise StopAsyncIteration

    def _start(self) -> NewsThread:
        shm = self._reader.shm
        if not shm.is_registered:
            self._reader.register()
        shm.set_wait(AWAIT_NS, spin_ns=0, sleep_ns=BLOCK_SLEEP_NS)
        self._news = NewsThread(shm)
        return self._news

    async def _answer(self, news: NewsThread) -> int:
        """Wait for the answer that is due, or ask; a cancelled wait leaves it due."""
        if self._asked is None:
            self._asked = news.ask()
        result = await asyncio.shield(self._asked)
        self._asked = None
        return result

    def _end(self) -> None:
        self._is_ended = True
        news, self._news = self._news, None
        if news is not None:
            news.end()

    def __del__(self) -> None:
        """Do what `async for` left undone when it was left before the end."""
        self._end()
