"""Several bases under way at once: none delays another, none is older than its question."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, cast

import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler import bases
from tickpath.engine.feed_handler.base_schedule import BaseSchedule
from tickpath.engine.feed_handler.bases import IN_FLIGHT_MAX, BaseWorker, Question
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.proto.venue import RestRefusal
from tickpath.shm.clock import Clock

from tests.unit.test_bases import GOOD, ROWS, Books, now_ns, schedule, step, worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.proto.venue import Base, HttpRequest


PATIENCE_S = 60  # of a busy host; nothing here waits for it where all is well
NEVER_S = 3600.0


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_worker_late_answer_delays_no_other_instrument() -> None:
    books, late = Books(0, 1), threading.Event()

    def fetch(request: HttpRequest) -> bytes:
        assert "ETH" in request.target or late.wait(NEVER_S)
        return GOOD

    one = worker(books, fetch)
    one._clock = Clock(time.monotonic_ns)
    one.start()
    until(lambda: bool(books.offered))
    assert [row[0] for row in books.offered] == [1]
    late.set()
    until(lambda: len(books.offered) == 2)
    one.stop()
    assert [row[0] for row in books.offered] == [1, 0]


def test_worker_asks_for_so_many_at_once_and_no_more() -> None:
    one = worker(Books(*[0, 1] * IN_FLIGHT_MAX), lambda _: GOOD)
    books = cast("Books", one.books)
    one.schedule = schedule(per_second=1000.0, burst=1000)
    now_ns[0] = 0
    questions: list[Question | None] = []
    for _ in range(IN_FLIGHT_MAX):
        books.queue = [len(questions) % 2]
        now_ns[0] += 31 * 10**9
        questions.append(one.ask())
    assert None not in questions
    books.queue = [0]
    now_ns[0] += 31 * 10**9
    assert one.ask() is None
    one.settle(cast("Question", questions[0]), lambda: GOOD)
    assert one.ask() is not None


def test_worker_answer_to_what_was_wanted_anew_meanwhile_is_dropped() -> None:
    """It may lack what came in between; the one that was asked for since is taken."""
    one = worker(Books(0), lambda _: GOOD)
    books = cast("Books", one.books)
    one.schedule = schedule(retry_first_s=0.1)
    now_ns[0] = 0
    old = one.ask()
    books.queue = [0]
    now_ns[0] = 10**9
    assert one.ask() is None, "it waits a little, as it was asked for a moment ago"
    now_ns[0] = 2 * 10**9
    new = one.ask()
    assert old is not None
    assert new is not None
    one.settle(old, lambda: GOOD)
    assert (books.offered, books.failures) == ([], [])
    one.settle(new, lambda: GOOD)
    assert books.offered == [(0, 77, 150, 0)]


def test_worker_requests_that_are_limited_together_are_one_limit() -> None:
    one = worker(Books(0, 1), lambda _: GOOD)
    now_ns[0] = 0
    first, second = one.ask(), one.ask()
    assert first is not None
    assert second is not None

    def limited() -> bytes:
        raise RateLimitError(RestRefusal("status 429", False))

    now_ns[0] = 10**9
    one.settle(first, limited)
    now_ns[0] = 2 * 10**9
    one.settle(second, limited)
    assert one.ask() is None
    assert one.schedule.wait_s(2.0) == 10.0
    now_ns[0] = 12 * 10**9
    third = one.ask()
    assert third is not None
    one.settle(third, limited)
    assert one.ask() is None
    assert one.schedule.wait_s(12.0) == 20.0, "another one, in a row"


@pytest.mark.parametrize("answers", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n1"])
def test_worker_stop_cuts_what_is_under_way(answers: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peers: list[socket.socket] = []

        def answer() -> None:
            peer, _ = listener.accept()
            peers.append(peer)
            peer.recv(4096)
            peer.sendall(answers)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        venue = VenueConfig(symbols=("BTCUSDT",), host="127.0.0.1", port=port, tls=False)
        lines: list[str] = []
        one = BaseWorker(Books(0), venue, ROWS, lines.append)
        one.timeout_s = NEVER_S  # what is not cut is waited for until then
        one.start()
        thread.join(PATIENCE_S)
        assert peers, "it never asked"
        stops = threading.Thread(target=one.stop, daemon=True)
        stops.start()
        stops.join(PATIENCE_S)
        assert not stops.is_alive(), "it waits for an answer that does not come"
        assert not one.is_alive
        assert one.faults.count == 0
        assert lines == [], "nobody waits for it any more"
        peers[0].close()


def test_worker_limited_asks_nobody_until_it_is_over() -> None:
    lines: list[str] = []
    books = Books(0, 1)

    def limited(_: HttpRequest) -> bytes:
        raise RateLimitError(RestRefusal("status 429", False, 30.0))

    one = worker(books, limited, lines.append)
    for now in (0.0, 10.0, 29.0):
        step(one, now)
    assert books.failures == [0]
    assert "no requests for 30 s" in lines[0]
    step(one, 30.0)
    assert books.failures == [0, 1]


def test_worker_limited_late_pauses_from_the_answer_on() -> None:
    """Retry-After counts from the answer, which may have taken as long as the pause itself."""
    books = Books(0)

    def limited(_: HttpRequest) -> bytes:
        now_ns[0] += 4_000_000_000
        raise RateLimitError(RestRefusal("status 429", False, 5.0))

    one = worker(books, limited)
    for now in (0.0, 4.0, 8.9):
        step(one, now)
    assert books.failures == [0]
    step(one, 9.1)
    assert books.failures == [0, 0]


def test_worker_that_can_start_no_thread_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host bears no more of them now: that ends one question, not the worker."""
    books, started = Books(0), threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "base" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        started(thread)

    refused: list[threading.Thread] = []
    lines: list[str] = []
    one = worker(books, lambda _: GOOD)
    one._clock, one._log = Clock(time.monotonic_ns), lines.append
    monkeypatch.setattr(threading.Thread, "start", start)
    one.start()
    until(lambda: bool(books.failures))
    assert books.failures == [0]
    assert "can't start new thread: raise the limit of tasks" in lines[0]
    until(lambda: bool(books.offered))
    assert [row[0] for row in books.offered] == [0]
    one.stop()
    assert one.faults.count == 0


# ---- errors that nobody foresaw ------------------------------------------------------------------


def test_worker_at_fault_rests_then_all_that_were_asked_for_wait_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the feed said is wanted was taken before the error: nobody else would say so again."""
    lines: list[str] = []
    one = worker(Books(0, 1), lambda _: GOOD, lines.append)
    books, want = cast("Books", one.books), one.schedule.want
    asked: list[float] = []
    now_ns[0] = 0

    def broken(instrument: int, now: float) -> None:
        asked.append(now)
        if len(asked) < 4:
            raise KeyError(instrument)
        want(instrument, now)

    monkeypatch.setattr(BaseSchedule, "want", lambda _, who, now: broken(who, now))
    for tick in range(100):
        step(one, tick / 10)
        if len(asked) <= 3 and not books.queue:
            books.queue = list(dict.fromkeys(books.failures))
    assert asked[:4] == [0.0, 1.0, 3.0, 7.0], "after 1, 2 and 4 s"
    assert sorted(row[0] for row in books.offered) == [0, 1]
    assert one.faults.count == 3
    (line,) = [line for line in lines if "KeyError" in line]
    assert line.startswith("bases: KeyError: 0 (test_base_worker.py:")
    assert line.endswith("none is asked for; beginning anew in 1 s; the other venues go on")


def test_worker_thread_outlives_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "FAULT_FIRST_S", 0.01)
    one = worker(Books(), lambda _: GOOD)
    one._clock, books = Clock(time.monotonic_ns), cast("Books", one.books)
    books.queue = cast("list[int]", 1 / 2)  # our own bug, wherever it is
    one.start()
    until(lambda: one.faults.count > 0)
    books.queue = [0]
    until(lambda: bool(books.offered))
    assert one.is_alive
    one.stop()
    assert not one.is_alive


def test_worker_base_that_the_feed_cannot_hold_is_one_that_could_not_be_had() -> None:
    """Of a venue's folder: a number that no 64 bits hold, levels that are none."""
    lines: list[str] = []
    one = worker(Books(0, 1), lambda _: GOOD, lines.append)
    books = cast("Books", one.books)
    offer = books.offer

    def refuse(instrument: int, base: Base) -> bool:
        if instrument == 0:
            raise OverflowError("can't convert negative number to unsigned")
        return offer(instrument, base)

    books.offer = refuse  # type: ignore[method-assign] # as FeedBooks does
    for now in (0.0, 0.1):
        step(one, now)
    assert [row[0] for row in books.offered] == [1]
    assert books.failures[:1] == [0]
    assert lines[0].startswith("base of BTCUSDT: OverflowError: can't convert")
    assert one.faults.count == 0
