"""Let an asyncio event loop follow a ring: a thread sleeps in C until the waker wakes it.

An event loop cannot wait for a futex, and the writer makes no system call to write an eventfd; so a
thread of the reader's process does the waiting, without the GIL, and only while it is asked to.
Works under any loop that has call_soon_threadsafe: asyncio's own, uvloop. Called by:
engine/client/reader.py. Calls: shm/reader.
"""

from __future__ import annotations

import asyncio
import contextlib
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


class Answer:
    """What a look found, once it is there; whichever event loop waits for it then."""

    __slots__ = ("_result", "_waiter")

    def __init__(self) -> None:
        self._result: int | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> int:
        """Return it. A wait that is cancelled leaves it due, for a later one, in whatever loop."""
        while self._result is None:
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            if self._result is None:  # it came before `give` could see the waiter
                await waiter
        return self._result

    def give(self, result: int) -> None:
        """Have it, from the thread that looked."""
        self._result = result
        waiter = self._waiter
        if waiter is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed: the next one finds it
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class NewsThread:
    """Own the thread that waits for one reader, until `end`.

    While an answer is due the reader's ring belongs to that thread.
    """

    def __init__(self, reader: Reader) -> None:
        """Start it."""
        self._reader = reader
        self._asked: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="tp-news", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Say whether it will answer; a forked child has none of its parent's threads."""
        return self._thread.is_alive()

    def ask(self) -> Answer:
        """Promise what a look will find: EVENT, SILENT, ALIVE, MOVED, or EMPTY.

        EMPTY after at most the reader's own wait: the caller looks to its other duties.
        """
        answer = Answer()
        self._asked.put(answer)
        return answer

    def _run(self) -> None:
        while (answer := self._asked.get()) is not None:
            result = _EMPTY if self._is_ending else self._reader.await_news()
            if self._is_ending:
                return
            answer.give(result)

    def end(self) -> None:
        """End the thread; it is woken, so that this takes microseconds."""
        self._is_ending = True
        self._asked.put(None)
        self._reader.interrupt()
        if threading.current_thread() is not self._thread:  # where it collects our garbage
            self._thread.join()


class EventStream:
    """Follow one reader from an event loop: what `async for` over a FeedReader iterates.

    No generator: those end with the step that is cancelled. Here the answer that was asked for is
    waited for by the next step, of this event loop or of another one; only `stop` and `aclose` end
    the iteration.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._news: NewsThread | None = None
        self._asked: Answer | None = None
        self._poll, self._event = reader.shm.poll, reader.event
        self._left = 0  # of a burst, where nothing is due and nobody waits: events without a step
        self._is_ended = False
        self._stepping: asyncio.AbstractEventLoop | None = None

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
        before, loop = self._stepping, asyncio.get_running_loop()
        if before is not None and not before.is_closed():  # else that step will never end
            raise RuntimeError("async for: another task waits for the same iterator's next event")
        self._stepping, self._left = loop, 0
        try:
            told = await self._next(result)
        except StopAsyncIteration:
            self._end()
            raise
        except Exception:
            self._release()
            raise
        finally:
            if self._stepping is loop:
                self._stepping = None
        self._left = BURST
        return told

    async def aclose(self) -> None:
        """End the iteration and its thread; dropping the iterator does so too."""
        self._end()

    async def _next(self, result: int | None) -> Event | Trouble:
        """Go on from what a poll told; None: there was none, for a burst is over."""
        reader = self._reader
        news = self._news
        if news is None or not news.is_alive:
            news = self._start()
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
        self._asked, self._news = None, NewsThread(shm)
        return self._news

    async def _answer(self, news: NewsThread) -> int:
        """Wait for the answer that is due, or ask; a cancelled wait leaves it due."""
        if self._asked is None:
            self._asked = news.ask()
        result = await self._asked.wait()
        self._asked = None
        return result

    def _end(self) -> None:
        self._is_ended = True
        self._release()

    def _release(self) -> None:
        """End the thread; a later step starts one."""
        news, self._news = self._news, None
        if news is not None:
            news.end()

    def __del__(self) -> None:
        """Do what `async for` left undone when it was left before the end."""
        self._end()
