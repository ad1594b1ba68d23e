"""The instrument list is read again, never too often, and what it says of trading is followed."""

from __future__ import annotations

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.list_reader import LEAST_S, ListReader
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.engine.feed_handler.trading import Trading
from tickpath.proto.instrument import ROW_STATUSES, Instrument, Status
from tickpath.proto.venue import HttpRequest, InstrumentList, RestRefusal
from tickpath.shm.clock import NS_PER_S, Clock
from tickpath.shm.errors import RemoteError

EVERY_S = 300.0


class Rest:
    """Answers with an empty list, or raises; counts the questions."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = self.closed = 0

    def ask(self, request: HttpRequest, *, size_max: int, timeout_s: float = 0.0) -> bytes:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return b'{"symbols":[]}'

    def close(self) -> None:
        self.closed += 1


class Rig:
    def __init__(self, jitter: float = 0.0) -> None:
        self.now_s = 1000.0
        self.lines: list[str] = []
        self.rest = Rest()
        clock = Clock(lambda: int(self.now_s * NS_PER_S), lambda: int(self.now_s * NS_PER_S))
        self.reader = ListReader(
            VenueConfig(symbols=("BTCUSDT",)),
            lambda _: self.rest,
            self.lines.append,
            EVERY_S,
            lambda work: work(),
            clock,
            lambda: jitter,
        )
        assert self.reader.step() is not None, "the first is due at once"
        self.rest.asked = self.rest.closed = 0

    def step(self, after_s: float = 0.0) -> bool:
        """Let time pass; returns whether a list came."""
        self.now_s += after_s
        came = [self.reader.step() for _ in range(2)]
        self.reader.say()
        return any(one is not None for one in came)


def test_list_is_read_so_often_and_given_once() -> None:
    rig = Rig()
    assert not rig.step(EVERY_S - 1)
    assert rig.step(1)
    assert not rig.step()
    assert (rig.rest.asked, rig.rest.closed) == (1, 1)
    assert rig.step(EVERY_S)


def test_list_interval_is_jittered() -> None:
    rig = Rig(jitter=1.0)
    assert not rig.step(1.09 * EVERY_S)
    assert rig.step(0.02 * EVERY_S)


def test_list_that_is_wanted_is_read_soon_but_not_again_and_again() -> None:
    rig = Rig()
    rig.reader.want()
    assert not rig.step(LEAST_S - 1)
    assert rig.step(1)
    for _ in range(10):
        rig.reader.want()
        assert not rig.step(0.1)
    assert rig.step(LEAST_S)


def test_list_that_cannot_be_read_is_said_once_and_read_again_later() -> None:
    rig = Rig()
    rig.rest.error = RemoteError("no answer")
    assert not rig.step(EVERY_S)
    assert len(rig.lines) == 1
    assert "instrument list: no answer: what was read before still counts" in rig.lines[0]
    for wait_s in (10, 20, 40, 80, 160, 300, 300):
        asked = rig.rest.asked
        rig.step(wait_s - 1)
        assert rig.rest.asked == asked
        rig.step(1)
        assert rig.rest.asked == asked + 1
    rig.rest.error = None
    assert rig.step(EVERY_S)
    assert rig.lines[1:] == ["instrument list: read again"]


def test_list_is_not_asked_for_while_the_venue_wants_no_requests() -> None:
    rig = Rig()
    rig.rest.error = RateLimitError(RestRefusal("status 429", False, 600.0))
    rig.step(EVERY_S)
    assert "reading it again in 600 s, at 1970-01-01" in rig.lines[0]
    rig.rest.error = None
    rig.reader.want()
    assert not rig.step(599)
    assert rig.step(1)


def test_list_that_somebody_waits_for_is_read_at_once_but_not_after_a_failure() -> None:
    rig = Rig()
    rig.reader.want(0.0)
    assert rig.step()
    rig.rest.error = RemoteError("no answer")
    rig.reader.want(0.0)
    assert not rig.step()
    rig.rest.error = None
    rig.reader.want(0.0)
    assert not rig.step(LEAST_S - 1)
    assert rig.step(1)


def test_list_that_is_being_read_is_for_all_who_want_it_meanwhile() -> None:
    rig, works = Rig(), []  # type: ignore[var-annotated] # of what runs beside
    rig.reader.run = works.append
    rig.reader.want(0.0)
    assert not rig.step()
    rig.reader.want(0.0)
    works.pop()()
    assert rig.step()
    assert not rig.step(LEAST_S)
    assert works == []


def test_list_counts_each_request_against_the_budget_of_all() -> None:
    rig, spent = Rig(), []
    rig.reader.spend = lambda: spent.append(1)
    assert rig.step(EVERY_S)
    assert len(spent) == rig.rest.asked == 1


def test_list_error_of_a_venues_folder_is_no_end() -> None:
    rig = Rig()
    rig.rest.error = KeyError("symbols")
    rig.step(EVERY_S)
    assert "KeyError" in rig.lines[0]
    rig.rest.error = None
    assert rig.step(10)


# ---- what it says --------------------------------------------------------------------------------


def row(symbol: str, index: int = 0, status: Status = Status.TRADING) -> Instrument:
    return Instrument(index, "mexc", symbol, -2, -4, status=status)


def listed(*rows: Instrument, left_out: tuple[str, ...] = ()) -> InstrumentList:
    return InstrumentList({one.symbol: one for one in rows}, dict.fromkeys(left_out, "bad row"))


@pytest.mark.parametrize("status", [Status.HALTED, Status.CANCEL_ONLY, Status.DELISTED])
def test_trading_status_that_changed_is_returned_once(status: Status) -> None:
    one = Trading([row("A", 0), row("B", 1)], range(2))
    list_now = listed(row("A", 0, status), row("B", 1))
    assert one.take(list_now) == ([row("A", 0, status)], f"instrument list: now A {status.value}")
    assert one.take(list_now) == ([], "")
    changed, line = one.take(listed(row("A"), row("B")))
    assert changed == [row("A", 0)]
    assert line == "instrument list: now A trading"


def test_trading_instrument_that_is_gone_is_delisted() -> None:
    changed, _ = Trading([row("A", 0), row("B", 1)], range(2)).take(listed(row("B")))
    assert changed == [row("A", 0, Status.DELISTED)]


def test_trading_row_that_cannot_be_read_stays_as_it_was() -> None:
    one = Trading([row("A", 0), row("B", 1)], range(2))
    assert one.take(listed(row("B"), left_out=("A",))) == ([], "")


def test_trading_row_that_is_read_counts_whatever_another_one_of_it_is() -> None:
    """A venue that lists an instrument twice has its halt seen all the same."""
    one = Trading([row("A", 0), row("B", 1)], range(2))
    twice = listed(row("A", 0, Status.HALTED), row("B", 1), left_out=("A",))
    assert one.take(twice)[0] == [row("A", 0, Status.HALTED)]


def test_trading_venue_without_instruments_has_nothing_to_doubt() -> None:
    """Its first list did not come yet: this one is it."""
    one = Trading([row("A", 0)], [])
    assert one.take(listed(row("C"))) == ([], "")
    assert not one.wants_list


def test_trading_list_without_any_of_ours_is_not_believed() -> None:
    one = Trading([row("A", 0), row("B", 1)], range(2))
    changed, line = one.take(listed(row("C")))
    assert changed == []
    assert "has none of our instruments" in line
    assert one.wants_list


def test_trading_second_list_in_a_row_without_any_of_ours_delists_them() -> None:
    """Our only symbol may be gone; a list of nothing is none."""
    one = Trading([row("A")], range(1))
    for empty in (listed(), listed(), listed(row("C"))):
        changed, line = one.take(empty)
        if empty.instruments:
            break
        assert (changed, "what was read before counts" in line) == ([], True)
    assert changed == [row("A", 0, Status.DELISTED)]
    assert one.take(listed(row("C"))) == ([], "")
    assert not one.wants_list
    changed, _ = one.take(listed(row("A"), row("C")))
    assert changed == [row("A")]
    one.take(listed(row("C")))
    assert one.wants_list, "asked again from the beginning"


def test_list_that_no_thread_can_be_started_for_is_read_later() -> None:
    rig = Rig()

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    run, rig.reader.run = rig.reader.run, refuse
    assert not rig.step(EVERY_S + 1)
    assert "can't start new thread: what was read before still counts" in rig.lines[0]
    rig.reader.run = run
    assert rig.step(EVERY_S + 1)


def test_trading_system_that_stops_stops_all_but_what_the_list_stopped_more() -> None:
    """Maintenance of a venue is no row's own: what the list says comes back with its end."""
    one = Trading([row("A", 0), row("B", 1, Status.DELISTED)], range(2))
    assert one.take_system(Status.TRADING) == []
    assert one.take_system(Status.HALTED) == [row("A", 0, Status.HALTED)]
    assert one.take_system(Status.HALTED) == [], "said on each connection"
    assert one.take(listed(row("A", 0), row("B", 1))) == (
        [row("B", 1, Status.HALTED)],
        "instrument list: now B halted",
    )
    assert one.take(listed(left_out=("A", "B"))) == ([], one.take(listed())[1])
    assert one.take_system(Status.CANCEL_ONLY) == [
        row("A", 0, Status.CANCEL_ONLY),
        row("B", 1, Status.CANCEL_ONLY),
    ]
    assert one.take_system(Status.TRADING) == [row("A", 0), row("B", 1)]


def test_trading_list_read_in_maintenance_counts_behind_it() -> None:
    one = Trading([row("A", 0), row("B", 1)], range(2))
    one.take_system(Status.HALTED)
    assert one.take(listed(row("A", 0, Status.CANCEL_ONLY), row("B", 1))) == ([], "")
    assert one.take(listed(row("B", 1), left_out=("A",))) == ([], "")
    assert one.take_system(Status.TRADING) == [row("A", 0, Status.CANCEL_ONLY), row("B", 1)]


def test_trading_many_changes_are_one_line() -> None:
    rows = [row(f"S{number}", number) for number in range(20)]
    halted = [msgspec.structs.replace(one, status=Status.HALTED) for one in rows]
    changed, line = Trading(rows, range(len(rows))).take(listed(*halted))
    assert len(changed) == 20
    assert line.endswith("S7 halted and 12 more")


T, C, H, D = (ROW_STATUSES.index(one) for one in list(Status)[:4])


def test_trading_status_of_the_stream_is_shown_and_the_list_is_known_still() -> None:
    one = Trading([row("A", 0), row("B", 1)], range(2))
    assert one.told([(0, T), (1, T)]) == ([], "")
    assert one.told([(0, H)]) == ([row("A", 0, Status.HALTED)], "stream: now A halted")
    assert one.listed(0) is Status.TRADING
    assert one.take(listed(row("A"), row("B"))) == ([], ""), "as the list had it"
    assert one.told([(0, T)]) == ([row("A", 0)], "stream: now A trading")
    assert one.told([(0, 0)]) == ([], ""), "nobody says"


def test_trading_graver_status_of_list_and_stream_is_shown() -> None:
    one = Trading([row("A", 0)], range(1))
    one.told([(0, H)])
    changed, line = one.take(listed(row("A", status=Status.CANCEL_ONLY)))
    assert changed == [row("A", 0, Status.HALTED)], "the hot thread is to know of the list's"
    assert line == "instrument list: now A cancel only"
    assert one.listed(0) is Status.CANCEL_ONLY
    changed, _ = one.take(listed(row("A", status=Status.DELISTED)))
    assert changed == [row("A", 0, Status.DELISTED)]
    assert one.told([(0, D)]) == ([], "")
    changed, _ = one.take(listed(row("A")))
    assert changed == [row("A")], "of the stream nothing is known that is graver"
    assert one.told([(0, H)]) == ([row("A", 0, Status.HALTED)], "stream: now A halted")


def test_trading_status_that_the_hot_thread_does_not_know_yet_is_not_taken_back() -> None:
    one = Trading([row("A", 0)], range(1))
    one.take(listed(row("A", status=Status.HALTED)))
    assert one.told([(0, T)]) == ([], ""), "published before"
    assert one.told([(0, H)]) == ([], "")


def test_trading_row_that_came_back_is_what_its_list_says() -> None:
    rows = [row("A", 0)]
    one = Trading(rows, range(1))
    one.told([(0, H)])
    rows[0] = row("A", 0, Status.REMOVED)
    one.forget(0)
    assert one.told([(0, T)]) == ([], "")
    rows[0] = row("A", 0)
    one.forget(0)
    assert one.take(listed(row("A"))) == ([], "")
