"""Threads that wait for answers: none more than are needed, each question answered once."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from tickpath.engine.feed_handler import answerers
from tickpath.engine.feed_handler.answerers import Answerers

PATIENCE_S = 30.0


class Answers:
    """Notes who answered what; those of `held` wait until they are let go."""

    def __init__(self, held: bool = False) -> None:
        self.by: dict[int, list[int]] = {}
        self.go = threading.Event()
        self.lock, self.held = threading.Lock(), held

    def take(self, question: int) -> None:
        """Answer it."""
        if self.held:
            self.go.wait(PATIENCE_S)
        with self.lock:
            self.by.setdefault(question, []).append(threading.get_ident())

    def await_count(self, count: int) -> None:
        """Wait until so many are answered."""
        end = time.monotonic() + PATIENCE_S
        while sum(map(len, self.by.values())) < count and time.monotonic() < end:
            time.sleep(0.001)
        assert sum(map(len, self.by.values())) == count


def free(those: Answerers[int]) -> int:
    with those._lock:
        return those._free


def await_free(those: Answerers[int], count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while free(those) != count and time.monotonic() < end:
        time.sleep(0.001)
    assert free(those) == count


def await_one_thread(those: Answerers[int]) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(those._threads) != 1 and time.monotonic() < end:
        time.sleep(0.001)
    assert len(those._threads) == 1


def test_one_thread_answers_what_comes_one_after_the_other() -> None:
    answers = Answers()
    those = Answerers(answers.take)
    for question in range(5):
        those.give(question)
        answers.await_count(question + 1)
        await_free(those, 1)
    those.stop()
    assert len({one for row in answers.by.values() for one in row}) == 1


def test_question_never_waits_for_the_answer_to_another() -> None:
    answers = Answers(held=True)
    those = Answerers(answers.take)
    for question in range(6):
        those.give(question)
    assert len(those._threads) == 6
    answers.go.set()
    answers.await_count(6)
    those.stop()
    assert len({one for row in answers.by.values() for one in row}) == 6


def test_all_but_one_end_where_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answerers, "IDLE_S", 0.01)
    answers = Answers(held=True)
    those = Answerers(answers.take)
    for question in range(4):
        those.give(question)
    threads = set(those._threads)
    answers.go.set()
    answers.await_count(4)
    await_one_thread(those)
    (last,) = those._threads
    for thread in threads - {last}:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert last.is_alive()
    those.give(9)
    answers.await_count(5)
    those.stop()
    assert not last.is_alive()


def test_stop_waits_for_what_is_under_way() -> None:
    answers = Answers(held=True)
    those = Answerers(answers.take)
    those.give(1)
    threading.Timer(0.05, answers.go.set).start()
    those.stop()
    assert list(answers.by) == [1]


def test_host_that_bears_no_thread_is_said_and_the_next_one_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers()
    those = Answerers(answers.take)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            those.give(1)
    assert not those._threads
    those.give(2)
    answers.await_count(1)
    those.stop()


def test_each_question_is_answered_once_while_threads_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answerers, "IDLE_S", 0.0005)
    answers = Answers()
    those = Answerers(answers.take)
    for question in range(2000):
        those.give(question)
        if question % 7 == 0:
            time.sleep(0.0007)  # some have just ended, or are about to
    answers.await_count(2000)
    those.stop()
    assert set(Counter({one: len(row) for one, row in answers.by.items()}).values()) == {1}
    assert not [one for one in those._threads if one.is_alive()]
