"""Fetch bases for books that wait for one, within the limits.

`BaseWorker` asks for them, in a thread of its own or step by step, and gives them to a feed. Never
on the path. Called by: venue_feed.py beside it. Calls: base_schedule.py (when), rest_client.py,
engine/feed (the cold thread's functions), proto/venue.py (what is asked, and how fast).
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.engine.feed_handler import verification
from tickpath.engine.feed_handler.answerers import Answerers
from tickpath.engine.feed_handler.base_schedule import BaseSchedule, Budget
from tickpath.engine.feed_handler.faults import Faults
from tickpath.engine.feed_handler.rest_client import (
    TIMEOUT_S,
    LateError,
    RateLimitError,
    RestClient,
)
from tickpath.engine.feed_handler.scales import Misfit
from tickpath.engine.feed_handler.verification import Checks
from tickpath.engine.loop.pauses import pause_text
from tickpath.proto.records import ScaleError
from tickpath.proto.venue import (
    BaseSource,
    HttpRequest,
)
from tickpath.shm.clock import SYSTEM, Clock
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.engine.feed_handler.feed_books import Beside, Books
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Base

IN_FLIGHT_MAX = 16
"""Requests: each has a thread while it is under way, and its connection afterwards."""
BASE_SIZE_MAX = 8 << 20
POLL_S = 0.005
STOP_WITHIN_S = 0.05
# A base that was asked for on the socket and did not come is asked for anew.
IN_BAND_WITHIN_S = 5.0
# A subscription that brings nothing is made anew after so long, doubling.
ANEW_FIRST_S, ANEW_MAX_S = 10.0, 300.0
# After an error that nobody foresaw nothing is asked for so long, doubling until it stays away.
FAULT_FIRST_S, FAULT_MAX_S = 1.0, 30.0


def _cannot(why: str) -> bytes:
    raise LocalError(why)


def _nobody_asks(instrument: int) -> None:
    raise AssertionError(f"instrument {instrument}: nobody was named who asks on the socket")


@dataclass(frozen=True, slots=True)
class Question:
    """One base to be fetched, until it is settled.

    request: an HttpRequest, or what `aside` asks by. asked_s: by the worker's clock.
    """

    instrument: int
    request: Any
    asked_s: float
    is_check: bool = False
    """Its base is compared with the book, not put in its place."""


class BaseWorker:
    """The cold thread that asks, and one for each request under way: a late answer delays no other.

    `fetch` (REST request to body; any thread), `schedule`, `timeout_s`, `ask_in_band` and
    `ask_anew` may be replaced before `start`. Where the venue gives bases on the socket alone
    (`is_in_band`), `ask_in_band(instrument)` has one asked for there; `ask_anew(instrument)` has
    its channel subscribed to anew.
    """

    def __init__(
        self,
        books: Books,
        venue: VenueConfig,
        instruments: Sequence[Instrument],
        log: Callable[[str], None],
        clock: Clock = SYSTEM,
    ) -> None:
        """Prepare; `instruments` by the numbers that `books` has, `log` takes one line."""
        self._clock, self.books = clock, books
        by_rest = venue.base_source is BaseSource.REST
        self.checks = Checks(verification.cost(venue))
        self.fetch: Callable[[Any], bytes] = self._get
        self.schedule = BaseSchedule(Budget.of_venue(venue.venue.rest_budget(venue.settings)))
        self.timeout_s = TIMEOUT_S
        self._venue, self._instruments, self._log = venue, instruments, log
        self.ask_in_band: Callable[[int], None] = _nobody_asks
        self.ask_anew: Callable[[int], None] = _nobody_asks
        self.is_in_band = not by_rest
        self.aside: Beside | None = None
        """Compares quiet books of a venue without bases by REST; None: their bases are replaced."""
        self._checking = 0
        self._due: dict[int, float] = {}  # of bases asked for on the socket
        self._anew: dict[int, tuple[float, float]] = {}  # subscriptions: when again, pause before
        self.on_misfit: Callable[[int, Misfit], None] | None = None
        """Takes a number of a base that its instrument's scale did not hold; any thread."""
        # Of what follows, and of the books, which know one cold thread.
        self._lock = threading.Lock()
        self._latest: dict[int, Question] = {}  # of each instrument: what may still be answered
        self._under_way = 0
        self._idle: list[RestClient] = []
        self._busy: list[RestClient] = []
        self._answerers = Answerers(self._answer)
        self._requests: dict[tuple[str, bool], Any] = {}  # they are the same each time
        self.faults = Faults(log, clock)
        self._is_at_fault = False  # all begins anew once the pause is over
        self._rests_until = float("-inf")
        self._fault_pause_s = 0.0
        self._stop, self._called = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="bases", daemon=True)
        self.is_alive = False
        """A thread runs and uses the feed, even if a signal cut `stop` short."""

    def start(self) -> None:
        """Start the thread."""
        self.is_alive = True
        self._thread.start()

    def end(self) -> None:
        """Have the threads end soon, and what is under way at once; `stop` waits for them."""
        self._stop.set()
        self._cut()

    def stop(self) -> None:
        """End the threads, and what is under way; waits CONNECT_TIMEOUT_S at most."""
        self.end()
        if self._thread.is_alive():
            self._thread.join()

    def spend(self) -> None:
        """Count a request that somebody else makes of the venue; any thread."""
        with self._lock:
            self.schedule.spend(self._clock.now_s())

    def call(self) -> None:
        """Have the thread look now at who waits, not within STOP_WITHIN_S."""
        self._called.set()

    def look(self) -> None:
        """Ask for whoever waits longest, if now, and leave the rest to the threads; never waits.

        Of the cold loop, which the hot thread woke: each thread that had to be woken first, and to
        wait for the interpreter, would come on top of the time without a book.
        """
        if not self.is_alive:
            return
        if not self._lock.acquire(blocking=False):
            self.call()
            return
        try:
            question = self._ask()
            client = self._idle.pop() if question is not None and self._idle else None
            if client is not None:
                self._busy.append(client)
            is_more = question is not None or self._wait_s() < STOP_WITHIN_S
        finally:
            self._lock.release()
        if question is not None:
            self._begin(question, client)
        if is_more:
            self.call()

    def _begin(self, question: Question, client: RestClient | None) -> None:
        """Send what is asked, where a connection is open; a thread has the answer."""
        request = question.request
        is_request = isinstance(request, HttpRequest)
        if client is not None and not (is_request and client.begin(request)):
            self._give_back(client)
        self._answer_aside(question)

    def _give_back(self, client: RestClient) -> None:
        with self._lock:
            self._busy.remove(client)
            self._idle.append(client)

    def _forget(self, request: Any) -> None:
        """Take no answer of what was begun."""
        for client in [one for one in self._busy if one.begun is request]:
            client.close()
            self._give_back(client)

    def _cut(self) -> None:
        with self._lock:
            for client in self._busy:
                client.cut()
        if self.aside is not None:
            self.aside.cut()

    def _get(self, request: Any) -> bytes:
        if self.aside is not None and not isinstance(request, HttpRequest):
            return self.aside.ask(request)
        client = self._borrow(request)
        try:
            return client.ask(request, size_max=BASE_SIZE_MAX, timeout_s=self.timeout_s)
        finally:
            self._give_back(client)

    def _borrow(self, request: HttpRequest) -> RestClient:
        with self._lock:
            known = [*self._idle, *self._busy]
            for client in self._busy:
                if client.begun is request:
                    return client
            if self._idle:
                client = self._idle.pop()  # the one that was used last: the others may be closed
            else:
                client = known[0].another() if known else RestClient(self._venue, self._clock)
            self._busy.append(client)
            if self._stop.is_set():
                client.cut()
            return client

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                wait_s = STOP_WITHIN_S
                try:
                    question = self.ask()
                    if question is not None:
                        self._answer_aside(question)
                    with self._lock:
                        wait_s = min(wait_s, self._wait_s())
                except Exception as error:
                    self._be_at_fault(error)
                self._called.wait(wait_s)
                self._called.clear()
        finally:
            self._stop.set()
            self._cut()
            self._answerers.stop()
            self.is_alive = False
            for client in self._idle:
                client.close()
            if self.aside is not None:
                self.aside.close()

    def _wait_s(self) -> float:
        if self._under_way >= IN_FLIGHT_MAX:
            return STOP_WITHIN_S
        now = self._clock.now_s()
        if now < self._rests_until:
            return STOP_WITHIN_S
        if not self._may_check():  # `settle` calls
            return self.schedule.wait_s(now)
        return min(self.schedule.wait_s(now), self.checks.wait_s(now, self.schedule))

    def _answer_aside(self, question: Question) -> None:
        try:
            self._answerers.give(question)
        except (RuntimeError, MemoryError) as error:  # the host bears no more threads now
            self._forget(question.request)
            self.settle(question, partial(_cannot, f"{error}: raise the limit of tasks"))

    def _answer(self, question: Question) -> None:
        self.settle(question, lambda: self.fetch(question.request))

    def step(self) -> None:
        """Note who waits, and fetch at most one base."""
        question = self.ask()
        if question is not None:
            self._answer(question)

    def ask(self) -> Question | None:
        """Note who waits, and return what is to be fetched now, if anything."""
        with self._lock:
            return self._ask()

    def _ask(self) -> Question | None:
        now = self._clock.now_s()
        if now < self._rests_until:
            return None
        try:
            return self._look_who_waits(now)
        except Exception as error:
            self._be_at_fault(error)
            return None

    def _look_who_waits(self, now: float) -> Question | None:
        if self._is_at_fault:
            self._begin_anew()
        for waiting in self.books.wanted():
            self._latest.pop(waiting, None)  # an answer to what was asked before is too old
            self.checks.drop(waiting)
            self._anew.pop(waiting, None)
            self.schedule.want(waiting, now)
        for quiet in self.books.quiet():
            self._latest.pop(quiet, None)
            self._anew.pop(quiet, None)
            self.checks.want(quiet, now)
        self._subscribe_anew(now)
        return self._next(now)

    def _be_at_fault(self, error: Exception) -> None:
        """Rest after an error that nobody foresaw: this venue's books wait, no other's do."""
        now = self._clock.now_s()
        is_again = now - self._rests_until < FAULT_MAX_S
        pause_s = min(FAULT_MAX_S, 2 * self._fault_pause_s) if is_again else FAULT_FIRST_S
        self._fault_pause_s, self._rests_until, self._is_at_fault = pause_s, now + pause_s, True
        self.faults.take(
            "bases", error, f"none is asked for; beginning anew in {pause_text(pause_s)}"
        )

    def _begin_anew(self) -> None:
        """Have whoever was asked for wait again: who was, the error may have left half noted."""
        self._latest.clear()
        self._due.clear()
        self._anew.clear()
        self.schedule.forget()
        self.checks.forget()
        for instrument in range(len(self._instruments)):
            self.books.failed(instrument)  # it has a word for each, of whichever venue
        self._is_at_fault = False

    def _next(self, now: float) -> Question | None:
        if self._under_way >= IN_FLIGHT_MAX:
            return None
        instrument = self.schedule.take(now)
        is_check = instrument is None
        if is_check and self._may_check():
            instrument = self.checks.take(now, self.schedule)
        if self.is_in_band:
            is_aside = is_check and self.aside is not None
            self._ask_on_socket(None if is_aside else instrument, now)
            if not is_aside:
                return None
        if instrument is None:
            return None
        return self._question(instrument, now, is_check=is_check)

    def _may_check(self) -> bool:
        """Leave room for bases; aside one is asked about at a time, on one connection."""
        at_once = IN_FLIGHT_MAX // 2 if self.aside is None else 1
        return self._checking < at_once

    def _subscribe_anew(self, now: float) -> None:
        """Have silent channels subscribed to again, now and then until a message comes."""
        for instrument in self.books.unheard():
            _, pause = self._anew.get(instrument, (0.0, ANEW_FIRST_S / 2))
            if instrument not in self._anew:
                symbol = self._instruments[instrument].symbol
                self._log(
                    f"{symbol}: the venue's book moved on and no message of its channel said so: "
                    "subscribing to it anew; LIVE again once one comes"
                )
            pause = min(2 * pause, ANEW_MAX_S)
            self._anew[instrument] = now + pause, pause
            self.ask_anew(instrument)
        for instrument, (due, _) in self._anew.items():
            if due <= now:
                self.books.failed(instrument)

    def _question(self, instrument: int, now: float, *, is_check: bool) -> Question | None:
        row, venue = self._instruments[instrument], self._venue
        ask = venue.venue.check_request if is_check else venue.venue.base_request
        key = row.symbol, is_check
        try:
            if self.aside is not None:
                request = self.aside.request(row)
            elif (request := self._requests.get(key)) is None:
                request = self._requests[key] = ask(row.symbol, venue.settings)
            else:
                request = copy.copy(request)  # which one it is tells questions apart
        except Exception as error:  # a venue's folder may raise what it likes
            self._give_up(instrument, error, is_check=is_check)
            return None
        self._latest[instrument] = question = Question(instrument, request, now, is_check)
        self._under_way += 1
        self._checking += is_check
        return question

    def _give_up(self, instrument: int, error: Exception, *, is_check: bool = False) -> None:
        """Say why a base could not be had, and want it anew."""
        if is_check:
            self.checks.settled(instrument, well=False)
        foreseen = isinstance(error, RemoteError | LocalError | ValueError)
        reason = str(error) if foreseen else f"{type(error).__name__}: {error}"
        what = "check" if is_check else "base"
        self._log(f"{what} of {self._instruments[instrument].symbol}: {reason}: trying again")
        self.books.failed(instrument)

    def _ask_on_socket(self, instrument: int | None, now: float) -> None:
        """Ask for one more, and want again what did not come: one that came is wanted no more."""
        if instrument is not None:
            self._due[instrument] = now + IN_BAND_WITHIN_S
            self.ask_in_band(instrument)
        for late in [one for one, due in self._due.items() if due <= now]:
            del self._due[late]
            self.books.failed(late)

    def _read(self, question: Question, data: bytes, row: Instrument) -> Base:
        if self.aside is not None:
            return self.aside.read(question.request, data)
        base = self._venue.venue.parse_base(data, row)
        return msgspec.structs.replace(base, scale=(row.price_exponent, row.quantity_exponent))

    def _be_limited(self, question: Question, failure: RateLimitError, row: Instrument) -> None:
        """Ask nothing for as long as the venue says."""
        now = self._clock.now_s()  # the answer may have taken seconds, and the venue counts from it
        if self.aside is not None:  # of another connection: what is open goes on
            pause = self.checks.pause(failure.refusal.retry_after_s, now)
            self._log(f"check of {row.symbol}: {failure}: no checks for {pause_text(pause)}")
            return
        pause = self.schedule.limited(failure, now, question.asked_s)
        self._log(f"base of {row.symbol}: {failure}: no requests for {pause_text(pause)}")

    def settle(self, question: Question, fetch: Callable[[], bytes]) -> None:
        """Hand over what `fetch` returns for a question of `ask`, or act on what it raises."""
        try:
            self._settle(question, fetch)
        except Exception as error:
            self._be_at_fault(error)
        finally:
            self.call()  # there is room for another one

    def _settle(self, question: Question, fetch: Callable[[], bytes]) -> None:
        instrument = question.instrument
        row = self._instruments[instrument]
        base: Base | None = None
        failure: Exception | None = None
        try:
            base = self._read(question, fetch(), row)
        except Exception as error:  # of a venue's folder, the system or the remote: one base's
            failure = error
        with self._lock:
            self._under_way -= 1
            self._checking -= question.is_check
            if isinstance(failure, RateLimitError):
                self._be_limited(question, failure, row)
            elif base is not None:
                self.schedule.succeeded()
            if self._latest.get(instrument) is not question:
                return  # it was wanted anew meanwhile: this book may lack what came in between
            del self._latest[instrument]
            if base is not None:
                failure = self._hand_over(question, base)
            if isinstance(failure, RateLimitError):
                self.books.failed(instrument)
            elif isinstance(failure, ScaleError) and self.on_misfit is not None:
                self.on_misfit(instrument, Misfit.of(failure, row))
                self.books.failed(instrument)
            elif isinstance(failure, LateError) and not question.is_check:
                remedy = f"its messages are kept for {self.timeout_s:g} s: raise health.keep_s"
                self._give_up(instrument, LateError(f"{failure}; {remedy} if it is always so late"))
            elif failure is not None and not self._stop.is_set():
                self._give_up(instrument, failure, is_check=question.is_check)

    def _hand_over(self, question: Question, base: Base) -> Exception | None:
        """Give a base to the feed; return why it cannot be one: a venue's folder made it."""
        give = self.books.compare if question.is_check else self.books.offer
        try:
            while not give(question.instrument, base) and not self._stop.wait(POLL_S):
                pass
        except Exception as error:
            return error
        if question.is_check:
            self.checks.settled(question.instrument, well=True)
        return None
