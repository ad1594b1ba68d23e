"""Subscriptions that are refused, left out or not answered are asked for again until accepted."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.subscriptions import (
    CONFIRM_S,
    ENDED_S,
    RETRY_MAX_S,
    Answer,
    Subscriptions,
)
from tickpath.proto.records import SyncReason
from tickpath.proto.venue import BaseSource
from tickpath.proto.venues.mexc.venue import Mexc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.proto.venue import Note

SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")


class InBand(Mexc):
    """MEXC, if its bases came over the socket."""

    base_source = BaseSource.IN_BAND


class Cumulative(InBand):
    """A venue whose every answer lists all that the connection is subscribed to."""

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer."""
        return tuple(replace(one, is_all=True) for one in super().parse_notes(data))


class Rig:
    """One connection's subscriptions; `reason` is what shared memory says of every book."""

    def __init__(self, venue: Any = None, jitter: Callable[[], float] = lambda: 1.0) -> None:
        planned = make_plan(VenueConfig(symbols=(), name="mexc"), SYMBOLS)
        self.names = [one.name for one in planned.channels]
        plan: Any = SimpleNamespace(
            venue=venue or planned.venue,
            base_source=(venue or planned.venue).base_source,
            connections=planned.connections,
            book_channels=planned.book_channels,
        )
        self.subscriptions = Subscriptions(plan, jitter)
        self.reason = int(SyncReason.UNCONFIRMED)
        self.now = 0.0
        self.subscriptions.opened(0, 0.0)

    def say(self, text: str, code: int = 0) -> Answer:
        data = json.dumps({"id": 0, "code": code, "msg": text}).encode()
        return self.subscriptions.take(0, data, self.now)

    def step(self, after_s: float) -> Answer:
        self.now += after_s
        return self.subscriptions.step(self.now, lambda _: self.reason)

    def refuse(self, *indices: int) -> Answer:
        names = ",".join(self.names[index] for index in indices)
        self.reason = int(SyncReason.REFUSED)
        return self.say(f"Not Subscribed successfully! [{names}]. Reason: Blocked!")

    def accept(self, *indices: int) -> Answer:
        return self.say(",".join(self.names[index] for index in indices))


def asked(answer: Answer) -> list[tuple[str, ...]]:
    assert all(change.connection == 0 and not change.unsubscribe for change in answer.changes)
    return [change.subscribe for change in answer.changes]


def test_subscriptions_refused_is_asked_for_again_at_doubling_distances() -> None:
    rig = Rig()
    assert rig.accept(1, 2).confirmed == [1, 2]
    assert rig.refuse(0).refused == [0]
    pauses = []
    for _ in range(9):
        paused = 0.0
        while not rig.step(0.5).changes:
            paused += 0.5
            assert paused <= RETRY_MAX_S
        pauses.append(paused + 0.5)
        rig.refuse(0)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_subscriptions_pauses_are_jittered() -> None:
    rig = Rig(jitter=lambda: 0.0)
    rig.accept(1, 2)
    rig.refuse(0)
    assert asked(rig.step(0.49)) == []
    assert asked(rig.step(0.02)) == [(rig.names[0],)]


def test_subscriptions_refused_is_said_once_and_once_when_it_is_accepted() -> None:
    rig = Rig()
    rig.accept(1, 2)
    lines = rig.refuse(0).lines
    assert len(lines) == 1
    assert "connection 0: refused" in lines[0]
    assert "Blocked!: asking again in 1 s" in lines[0]
    for pause_s in (1, 2, 4):
        assert asked(rig.step(pause_s)) == [(rig.names[0],)]
        assert rig.refuse(0).lines == []
    rig.step(8)
    answer = rig.accept(0)
    assert answer.confirmed == [0]
    assert answer.lines == [f"connection 0: accepted now: {rig.names[0]}"]
    rig.reason = SyncReason.NONE
    assert rig.step(200) == Answer()


def test_subscriptions_refused_is_said_once_over_reconnections() -> None:
    rig = Rig()
    rig.refuse(0)
    rig.subscriptions.ended(0)
    assert rig.step(100) == Answer()
    rig.subscriptions.opened(0, rig.now)
    assert rig.refuse(0).lines == []
    assert len(rig.accept(0).lines) == 1


def test_subscriptions_refusal_of_a_whole_request_is_asked_for_one_by_one() -> None:
    """One bad channel of a request must not have the others refused forever."""
    rig = Rig()
    rig.accept(0)
    rig.reason = int(SyncReason.REFUSED)
    assert rig.say("no", code=1).refused == [1, 2]
    assert asked(rig.step(1)) == [(rig.names[1],), (rig.names[2],)]


def test_subscriptions_left_out_is_overdue_then_asked_for_again() -> None:
    rig = Rig()
    assert rig.accept(1, 2).lines == []
    assert rig.step(CONFIRM_S - 0.1) == Answer()
    assert rig.step(0.1).overdue == [0]
    rig.reason = int(SyncReason.REFUSED)
    answer = rig.step(1)
    assert asked(answer) == [(rig.names[0],)]
    assert "not acknowledged within 10 s" in answer.lines[0]
    assert rig.step(CONFIRM_S).overdue == [0]
    answer = rig.step(2)
    assert (asked(answer), answer.lines) == ([(rig.names[0],)], [])


def test_subscriptions_whose_data_came_are_not_asked_for_again() -> None:
    """A venue's yes may get lost; a message of the channel is as good."""
    rig = Rig()
    rig.accept(1, 2)
    rig.step(CONFIRM_S)
    rig.reason = int(SyncReason.NONE)
    assert rig.step(1) == Answer()
    assert rig.step(1000) == Answer()


def test_subscriptions_refused_whose_data_came_are_said_to_have() -> None:
    rig = Rig()
    rig.accept(1, 2)
    rig.refuse(0)
    rig.reason = int(SyncReason.STARTING)
    answer = rig.step(1)
    assert answer.changes == []
    assert answer.lines == [f"connection 0: data came after all: {rig.names[0]}"]


def test_subscriptions_late_acknowledgement_confirms() -> None:
    rig = Rig()
    rig.step(CONFIRM_S)
    assert rig.accept(0, 1, 2).confirmed == [0, 1, 2]
    assert rig.step(100) == Answer()


def test_subscriptions_refused_after_the_acknowledgement_is_asked_for_again() -> None:
    rig = Rig()
    rig.accept(0, 1, 2)
    assert rig.refuse(1).refused == [1]
    assert asked(rig.step(1)) == [(rig.names[1],)]


def test_subscriptions_refusal_of_what_is_not_ours_asks_for_nothing() -> None:
    rig = Rig()
    rig.accept(0, 1, 2)
    answer = rig.say("Not Subscribed successfully! [spot@other]. Reason: what?")
    assert (answer.refused, answer.changes) == ([], [])
    assert answer.lines == ["connection 0: refused spot@other: what?"]
    assert rig.step(100) == Answer()


def test_subscriptions_acknowledged_without_a_base_is_said_once_and_when_it_came() -> None:
    rig = Rig(InBand())
    rig.accept(0, 1, 2)
    rig.reason = int(SyncReason.STARTING)
    lines = rig.step(CONFIRM_S).lines
    assert len(lines) == 1
    assert "acknowledged, and no base within 10 s" in lines[0]
    assert rig.step(CONFIRM_S) == Answer()
    rig.reason = int(SyncReason.NONE)
    assert len(rig.step(CONFIRM_S).lines) == 1
    assert rig.step(CONFIRM_S) == Answer()


@pytest.mark.parametrize("reason", [SyncReason.NONE, SyncReason.GAP])
def test_subscriptions_acknowledged_with_a_base_says_nothing(reason: SyncReason) -> None:
    rig = Rig(InBand())
    rig.accept(0, 1, 2)
    rig.reason = int(reason)
    assert rig.step(CONFIRM_S) == Answer()


def test_subscriptions_that_the_venue_ended_are_refused_and_asked_for_again() -> None:
    """Coinbase lists all products with each answer: one that is missing gets no changes."""
    rig = Rig(Cumulative())
    assert rig.accept(0, 1, 2).confirmed == [0, 1, 2]
    rig.reason = int(SyncReason.NONE)
    rig.step(CONFIRM_S)
    assert rig.accept(1, 2).refused == []
    assert rig.step(ENDED_S / 2).refused == []
    answer = rig.step(ENDED_S / 2)
    assert answer.refused == [0]
    assert "not among what the venue says is subscribed to: asking again" in answer.lines[0]
    rig.reason = int(SyncReason.REFUSED)
    assert asked(rig.step(1)) == [(rig.names[0],)]
    answer = rig.accept(0, 1, 2)
    assert (answer.confirmed, answer.refused) == ([0], [])
    assert rig.step(2 * ENDED_S).refused == []


def test_subscriptions_that_are_said_anew_are_missing_for_a_moment() -> None:
    """Another base is had by ending a subscription and beginning it again."""
    rig = Rig(Cumulative())
    rig.accept(0, 1, 2)
    rig.accept(1, 2)
    rig.reason = int(SyncReason.GAP)  # not LIVE, however long it takes
    assert rig.step(2 * ENDED_S).refused == []
    rig.reason = int(SyncReason.NONE)
    rig.accept(0, 1, 2)
    assert rig.step(3 * ENDED_S).refused == []


def test_subscriptions_of_answers_that_name_the_request_alone_are_not_ended() -> None:
    rig = Rig(InBand())
    rig.accept(0, 1)
    rig.accept(2)
    rig.reason = int(SyncReason.NONE)
    assert rig.step(3 * ENDED_S).refused == []
