"""A base that is asked for by the cold loop itself: sent at once, answered to a thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from tickpath.engine.feed_handler.answerers import Answerers
from tickpath.engine.feed_handler.base_schedule import BaseSchedule
from tickpath.engine.feed_handler.bases import BaseWorker, Question
from tickpath.engine.feed_handler.rest_client import LateError, RateLimitError, RestClient
from tickpath.proto.venue import HttpRequest
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.shm.clock import SYSTEM
from tickpath.shm.errors import RemoteError

from tests.unit.test_bases import GOOD, ROWS, Books, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tickpath.engine.config.schema import VenueConfig

    from tests.unit.test_bases import Server

PATIENCE_S = 20.0


@pytest.fixture
def venue_of() -> Iterator[tuple[Server, VenueConfig]]:
    with serving(lambda target: (200, {}, target.encode())) as (server, venue):
        yield server, venue


def test_request_that_was_begun_is_sent_once(venue_of: tuple[Server, VenueConfig]) -> None:
    server, venue = venue_of
    client, request = RestClient(venue), HttpRequest("/1")
    assert client.get("/0", size_max=5) == b"/0"
    assert client.begin(request)
    assert client.begun is request
    assert client.ask(request, size_max=5) == b"/1"
    assert client.begun is None
    assert client.get("/2", size_max=5) == b"/2"
    client.close()
    assert (server.targets, server.connections) == (["/0", "/1", "/2"], 1)


def test_request_is_begun_on_an_open_connection_alone(
    venue_of: tuple[Server, VenueConfig],
) -> None:
    server, venue = venue_of
    client, request = RestClient(venue), HttpRequest("/1")
    assert not client.begin(request)
    assert server.targets == []
    assert client.ask(request, size_max=5) == b"/1"
    client.close()


def test_answer_of_what_was_begun_is_nobody_elses(venue_of: tuple[Server, VenueConfig]) -> None:
    _, venue = venue_of
    client = RestClient(venue)
    client.get("/0", size_max=5)
    assert client.begin(HttpRequest("/1"))
    assert client.get("/2", size_max=5) == b"/2"
    client.close()


def test_request_begun_on_a_connection_that_the_venue_closed_is_asked_anew() -> None:
    with serving(lambda target: (200, {}, target.encode())) as (server, venue):
        server.close_after_answer = True
        client = RestClient(venue)
        for number in range(3):
            request = HttpRequest(f"/{number}")
            client.begin(request)  # the end of the connection may be known by then, or not
            assert client.ask(request, size_max=5) == f"/{number}".encode()
        client.close()
    assert server.targets == ["/0", "/1", "/2"]


def test_nothing_is_begun_while_the_venue_wants_no_requests() -> None:
    answers = [(200, {}, b"x"), (429, {"Retry-After": "30"}, b"")]
    with serving(lambda _: answers.pop(0)) as (server, venue):
        first, second, request = RestClient(venue), RestClient(venue), HttpRequest("/1")
        first.get("/0", size_max=1)
        with pytest.raises(RateLimitError):
            second.get("/0", size_max=1)
        assert not first.begin(request)
        with pytest.raises(RateLimitError):
            first.ask(request, size_max=1)
        first.close()
    assert server.targets == ["/0", "/0"]


def test_request_that_cannot_be_sent_is_said_by_who_asks(
    venue_of: tuple[Server, VenueConfig],
) -> None:
    _, venue = venue_of
    client, request = RestClient(venue), HttpRequest("/two words")
    client.get("/0", size_max=5)
    assert not client.begin(request)
    with pytest.raises(RemoteError, match="two words"):
        client.ask(request, size_max=5)


def test_answer_that_does_not_come_is_late_though_it_was_begun() -> None:
    is_over = threading.Event()

    def slow(target: str) -> tuple[int, dict[str, str], bytes]:
        if target == "/1":
            is_over.wait(PATIENCE_S)
        return 200, {}, b"x"

    with serving(slow) as (_, venue):
        client, request = RestClient(venue), HttpRequest("/1")
        client.get("/0", size_max=1)
        assert client.begin(request)
        with pytest.raises(LateError, match="timed out"):
            client.ask(request, size_max=1, timeout_s=0.05)
        is_over.set()


def test_request_that_the_connection_does_not_take_at_once_is_left_to_who_asks() -> None:
    """The cold loop would wait for a venue that reads nothing, and all venues with it."""
    with serving(lambda _: (200, {}, b"x")) as (_, venue):
        client, body = RestClient(venue), b"1" * (64 << 20)
        client.get("/0", size_max=1)
        assert not client.begin(HttpRequest("/1", body))
        assert client.begun is None
        assert client.get("/2", size_max=1) == b"x"
        client.close()


# ---- the worker's side ---------------------------------------------------------------------------


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done() and time.monotonic() < end:
        time.sleep(0.002)
    assert done()


@pytest.fixture
def rig() -> Iterator[tuple[BaseWorker, Books, Server]]:
    """A worker whose own thread does not run: whatever is asked, `look` asked."""
    with serving(lambda _: (200, {}, GOOD)) as (server, venue):
        books = Books()
        settings = msgspec.structs.replace(venue, settings=MexcSettings(depth=50))
        one = BaseWorker(books, settings, ROWS, pytest.fail, SYSTEM)
        one.is_alive = True
        yield one, books, server
        one.end()
        one._answerers.stop()
        for client in one._idle:
            client.close()


def test_look_asks_at_once_and_on_the_connection_that_is_open(
    rig: tuple[BaseWorker, Books, Server],
) -> None:
    one, books, server = rig
    for instrument in (0, 1):
        books.offered.clear()
        books.queue = [instrument]
        one.look()
        wait_for(lambda: bool(books.offered))
        wait_for(lambda: len(one._idle) == 1)
        assert [row[0] for row in books.offered] == [instrument]
    assert server.connections == 1
    assert [target.partition("&")[0] for target in server.targets] == [
        "/api/v3/depth?symbol=BTCUSDT",
        "/api/v3/depth?symbol=ETHUSDT",
    ]


def test_book_that_is_wanted_again_before_its_answer_is_asked_for_on_a_connection_of_its_own(
    rig: tuple[BaseWorker, Books, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that starves may answer late: two must not read one socket."""
    one, _, server = rig
    clients = [one._borrow(HttpRequest(f"/{number}")) for number in range(2)]
    for client in clients:
        client.get("/", size_max=len(GOOD))
        one._give_back(client)
    held: list[Question] = []
    monkeypatch.setattr(one, "_answer_aside", held.append)
    for _ in range(2):
        one.schedule.want(0, SYSTEM.now_s() - 60)
        one.look()
    assert [question.instrument for question in held] == [0, 0]
    first, second = (question.request for question in held)
    assert first == second
    assert one._borrow(first) is not one._borrow(second)
    for question in held:
        one._answer(question)
    assert (len(one._idle), one._busy) == (2, [])
    assert len(server.targets) == 4


def test_how_long_to_wait_is_looked_up_with_the_lock_alone(
    rig: tuple[BaseWorker, Books, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers change who waits, in threads of their own."""
    one, _, _ = rig
    locked: list[bool] = []
    wait_s = one.schedule.wait_s

    def look(now: float) -> float:
        locked.append(one._lock.locked())
        return wait_s(now)

    monkeypatch.setattr(BaseSchedule, "wait_s", lambda _, now: look(now))
    one.look()
    one._thread.start()
    wait_for(lambda: len(locked) > 2)
    assert all(locked)


def test_look_never_waits_for_who_has_the_lock(rig: tuple[BaseWorker, Books, Server]) -> None:
    one, books, _ = rig
    books.queue = [0]
    with one._lock:
        one.look()
        assert books.queue == [0]
    assert one._called.is_set()
    one.look()
    wait_for(lambda: len(books.offered) == 1)


def test_look_that_gets_no_thread_gives_its_connection_back(
    rig: tuple[BaseWorker, Books, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, books, _ = rig
    lines: list[str] = []
    one._log = lines.append
    books.queue = [0]
    one.look()
    wait_for(lambda: len(one._idle) == 1)

    one._answerers.stop()
    one._answerers = Answerers(one._answer)  # no thread of it waits

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    books.queue = [1]
    one.look()
    assert books.failures == [1]
    assert "raise the limit of tasks" in lines[0]
    assert (len(one._idle), one._busy, one._idle[0].begun) == (1, [], None)
    monkeypatch.undo()
    books.queue = []
    one.schedule.want(1, SYSTEM.now_s() - 60)  # without the pause behind a failure
    one.look()
    wait_for(lambda: len(books.offered) == 2)
    assert [row[0] for row in books.offered] == [0, 1]
