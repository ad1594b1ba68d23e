"""Threads that wait for what a venue answers: one for each request under way, kept for the next.

Starting a thread costs a quarter of a millisecond of the interpreter that whoever asks needs too.
All but one end once they were not needed for a while. Called by: bases.py beside it.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

IDLE_S = 5.0


class Answerers(Generic[T]):
    """Has `answer(question)` run in a thread for each question; it handles what it raises."""

    def __init__(self, answer: Callable[[T], None]) -> None:
        self._answer = answer
        self._questions: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._free = 0  # threads that wait, less the questions that wait for them

    def give(self, question: T) -> None:
        """Have a question answered; raises RuntimeError or MemoryError where no thread can be."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                self._questions.put(question)
                return
            thread = threading.Thread(target=self._run, args=(question,), name="base", daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            with self._lock:
                self._threads.remove(thread)
            raise

    def stop(self) -> None:
        """End the threads that wait, and wait for the others; nothing is given any more."""
        with self._lock:
            threads = [one for one in self._threads if one.ident is not None]
        for _ in threads:
            self._questions.put(None)
        for thread in threads:
            thread.join()

    def _run(self, question: T | None) -> None:
        while question is not None:
            self._answer(question)
            with self._lock:
                self._free += 1
            question = self._next()

    def _next(self) -> T | None:
        while True:
            try:
                return self._questions.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._questions.empty() and len(self._threads) > 1:
                        self._free -= 1
                        self._threads.remove(threading.current_thread())
                        return None
