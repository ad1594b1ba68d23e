"""Quiet books: who is asked about when, within what is left of the venue's budget, and how late."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi
from tickpath.engine.config.check import parse_config
from tickpath.engine.config.schema import HealthConfig, VenueConfig
from tickpath.engine.feed_handler import verification
from tickpath.engine.feed_handler.aside import OPEN_PAUSE_FIRST_S
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.engine.feed_handler.verification import Checks
from tickpath.proto.venue import HttpRequest, RestRefusal, Verification
from tickpath.proto.venues.kraken.venue import Kraken
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.proto.venues.mexc.venue import Mexc
from tickpath.shm.errors import LocalError

from tests.unit.test_bases import GOOD, Books, now_ns, schedule, step, worker

if TYPE_CHECKING:
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Base


def venue(per_second: int = 10) -> VenueConfig:
    return VenueConfig(symbols=("BTCUSDT",), settings=MexcSettings(bases_per_second=per_second))


# ---- the queue -----------------------------------------------------------------------------------


def test_checks_go_only_where_no_base_is_due_and_the_budget_is_whole() -> None:
    checks, bases = Checks(), schedule(per_second=10.0, burst=5)
    checks.want(1, 0.0)
    bases.want(2, 0.0)
    assert checks.take(0.0, bases) is None, "a base is due"
    assert bases.take(0.0) == 2
    assert checks.take(0.05, bases) is None, "what is left of the burst is for bases"
    assert round(checks.wait_s(0.05, bases), 3) == 0.05
    assert checks.take(0.1, bases) == 1
    bases.want(3, 0.1)
    assert bases.take(0.1) == 3, "a check leaves a base the burst"


def test_checks_wait_for_no_base_that_waits_itself() -> None:
    """One that fails forever, at its longest distances, must not leave all others unproved."""
    checks, bases = Checks(), schedule(retry_first_s=10.0)
    bases.want(2, 0.0)
    bases.take(0.0)
    bases.want(2, 1.0)
    checks.want(1, 1.0)
    assert checks.take(1.0, bases) == 1


def test_checks_longest_waiting_goes_first_and_failures_wait() -> None:
    checks, bases = Checks(), schedule(per_second=100.0)
    for now, instrument in enumerate((7, 3, 5)):
        checks.want(instrument, float(now))
    assert [checks.take(10.0 + i, bases) for i in range(4)] == [7, 3, 5, None]
    checks.settled(7, well=False)
    checks.want(7, 20.0)
    assert checks.take(20.9, bases) is None
    assert checks.take(21.0, bases) == 7
    checks.settled(7, well=True)
    checks.want(7, 22.0)
    assert checks.take(22.0, bases) == 7


def test_checks_of_a_venue_that_limits_wait_too() -> None:
    checks, bases = Checks(), schedule()
    bases.limited(RateLimitError(RestRefusal("status 429", False, 30.0)), 0.0)
    checks.want(1, 0.0)
    assert checks.take(29.0, bases) is None
    assert checks.wait_s(0.0, bases) == 30.0
    assert checks.take(30.0, bases) == 1


def test_checks_cost_what_the_venue_says() -> None:
    checks, bases = Checks(cost=0.1), schedule(per_second=1.0)
    for instrument in range(50):
        checks.want(instrument, 0.0)
    taken = [tick for tick in range(1000) if checks.take(tick / 1000, bases) is not None]
    assert len(taken) == 10


def test_checks_that_need_a_connection_each_wait_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second opening within a second is refused by ourselves, and a pause for all checks."""
    one = VenueConfig(name="kraken", symbols=("BTC/USD",))
    assert verification.cost(one) == 1.0
    quick = verification.per_second(one)
    monkeypatch.setattr(Kraken, "base_may_precede", True)
    assert quick > 1.0 > verification.per_second(one)
    checks = Checks(verification.cost(one))
    bases = schedule(per_second=one.venue.rest_budget(one.settings).per_second)
    for instrument in range(50):
        checks.want(instrument, 0.0)
    taken = [tick / 100 for tick in range(3000) if checks.take(tick / 100, bases) is not None]
    assert len(taken) > 10
    assert all(later - earlier > OPEN_PAUSE_FIRST_S for earlier, later in pairwise(taken))


# ---- the worker ----------------------------------------------------------------------------------


def test_worker_compares_what_it_fetched_for_a_quiet_book() -> None:
    books, asked = Books(), []
    books.quieted = [1]

    def fetch(request: HttpRequest) -> bytes:
        asked.append(request.target)
        return GOOD

    step(worker(books, fetch), 0.0)
    assert asked == ["/api/v3/depth?symbol=ETHUSDT&limit=50"]
    assert (books.offered, books.compared) == ([], [1])


def test_worker_check_that_fails_is_wanted_again_as_one_and_said() -> None:
    lines: list[str] = []
    books = Books()
    books.quieted = [0]
    step(worker(books, lambda _: b"", lines.append), 0.0)
    assert books.failures == [0]
    assert lines[0].startswith("check of BTCUSDT: ")


def test_worker_answer_to_a_check_of_a_book_that_lost_its_place_is_no_base() -> None:
    books = Books()
    books.quieted = [0]
    one = worker(books, lambda _: GOOD)
    now_ns[0] = 0
    question = one.ask()
    assert question is not None
    assert question.is_check
    books.queue = [0]
    base = one.ask()
    one.settle(question, lambda: GOOD)
    assert (books.offered, books.compared) == ([], [])
    assert base is not None
    one.settle(base, lambda: GOOD)
    assert books.offered == [(0, 77, 150, 0)]


def test_worker_has_a_channel_that_brings_nothing_subscribed_to_anew_until_a_base_is_wanted() -> (
    None
):
    books, asked, lines = Books(), [], []  # type: ignore[var-annotated] # of the calls below
    books.silent = [0]
    one = worker(books, lambda _: GOOD, lines.append)
    one.ask_anew = asked.append
    for now in range(100):
        step(one, float(now))
        if 0 in books.failures:  # as the mailbox does
            books.failures.clear()
            books.silent = [0]
            books.queue.clear()
    assert len(asked) == 4, "after 10, 20 and 40 s more"
    assert len([line for line in lines if "subscribing to it anew" in line]) == 1
    books.queue = [0]
    step(one, 100.0)
    assert books.offered == [(0, 77, 150, 0)]
    for now in range(101, 500):
        step(one, float(now))
    assert len(asked) == 4


# ---- the plan ------------------------------------------------------------------------------------


def test_limit_is_the_configured_one_where_the_budget_suffices() -> None:
    health = HealthConfig()
    assert verification.within_s(venue(), health, 240) == 60.0
    assert verification.describe(venue(), health, 240) == ""
    verification.check_plan(venue(), health, 240)


def test_limit_stretches_where_it_does_not_and_is_said() -> None:
    """Ten a second, at most a quarter slower by jitter: 8 checks a second, at half of the limit."""
    health = HealthConfig()
    assert verification.within_s(venue(), health, 1000) == 250.0
    said = verification.describe(venue(), health, 1000)
    assert "1000 instruments, 8.0 checks a second" in said
    assert "LIVE for 250 s" in said


@pytest.mark.parametrize(("books", "fits"), [(2400, True), (2401, False)])
def test_plan_that_cannot_be_verified_is_refused_with_the_numbers(books: int, fits: bool) -> None:
    if fits:
        verification.check_plan(venue(), HealthConfig(), books)
        return
    with pytest.raises(
        LocalError, match=r"2401 instruments, 8\.0 checks a second.*600 s.*keep 2400"
    ):
        verification.check_plan(venue(), HealthConfig(), books)


def test_configuration_that_cannot_be_verified_names_its_venue() -> None:
    symbols = ", ".join(f'"SYM{number}USDT"' for number in range(30))
    text = f"[[venue]]\nsymbols = [{symbols}]\nbases_per_second = 1\n"
    assert parse_config(text + "[health]\nverify_max_s = 75.0\n").health.verify_max_s == 75.0
    with pytest.raises(LocalError, match=r"venue\[0\]\.symbols: 30 instruments"):
        parse_config(text + "[health]\nverify_max_s = 74.0\n")
    with pytest.raises(LocalError, match=r"verify_quiet_after_s is 90.*at most verify_max_s, 80"):
        parse_config(text + "[health]\nverify_max_s = 80.0\nverify_quiet_after_s = 90.0\n")


def test_feed_is_told_when_to_ask_and_when_a_book_is_not_live() -> None:
    feed = ffi.new("struct tp_feed_venue *")
    verification.configure(feed, venue(), HealthConfig(), 1000)
    assert (feed.verify_after_ns, feed.verify_limit_ns) == (30 * 10**9, 250 * 10**9)


def test_channel_that_says_unchanged_itself_is_asked_about_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Mexc, "verification", lambda *_: Verification.HEARTBEAT)
    feed = ffi.new("struct tp_feed_venue *")
    verification.configure(feed, venue(), HealthConfig(), 100_000)
    assert (feed.verify_after_ns, feed.verify_limit_ns) == (0, 60 * 10**9)
    verification.check_plan(venue(), HealthConfig(), 100_000)


def test_check_is_as_cheap_as_the_venue_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mexc, "check_cost", lambda *_: 0.1)
    assert verification.within_s(venue(), HealthConfig(), 1000) == 60.0
    assert verification.cost(venue()) == 0.1


def test_pause_of_the_connection_for_checks_holds_up_no_base() -> None:
    """The venue wants no new connection: what is asked for on the open one is another matter."""

    class Refusing:
        asked = 0

        def request(self, row: Instrument) -> str:
            return row.symbol

        def ask(self, request: str) -> bytes:
            self.asked += 1
            raise RateLimitError(RestRefusal(f"status 429 for {request}", False, 60.0))

        def read(self, request: str, data: bytes) -> Base:
            raise AssertionError(f"{request}: nothing came: {data!r}")

        def cut(self) -> None: ...
        def close(self) -> None: ...

    lines: list[str] = []
    books, anew = Books(), list[int]()
    one = worker(books, lambda _: GOOD, lines.append)
    one.aside, one.is_in_band, one.ask_in_band = (aside := Refusing()), True, anew.append
    one.fetch = aside.ask
    books.quieted = [0]
    step(one, 0.0)
    assert (books.failures, aside.asked) == ([0], 1)
    (line,) = lines
    assert line.endswith("no checks for 60 s")
    books.queue, books.quieted = [1], [0]
    step(one, 1.0)
    assert anew == [1]
    for now_s in (10.0, 59.0):
        step(one, now_s)
        assert aside.asked == 1
    step(one, 61.0)
    assert aside.asked == 2


def test_channel_that_says_unchanged_seldom_is_asked_about_once_that_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every 60 s: asked after 75 s without, not LIVE after 150 s, as the start says."""
    monkeypatch.setattr(Mexc, "unchanged_s", lambda *_: 60.0)
    feed = ffi.new("struct tp_feed_venue *")
    verification.configure(feed, venue(), HealthConfig(), 100)
    assert (feed.verify_after_ns, feed.verify_limit_ns) == (75 * 10**9, 150 * 10**9)
    said = verification.describe(venue(), HealthConfig(), 100)
    assert '"unchanged" about every 60 s' in said
    assert "LIVE for 150 s" in said
    assert "instead of 60 (health.verify_quiet_after_s)" in said
    longer = HealthConfig(verify_quiet_after_s=200.0)
    verification.configure(feed, venue(), longer, 100)
    assert (feed.verify_after_ns, feed.verify_limit_ns) == (100 * 10**9, 200 * 10**9)
    assert verification.describe(venue(), longer, 100) == ""
    assert "1000 instruments, 8.0 checks" in verification.describe(venue(), HealthConfig(), 1000)
