"""What is said on open connections: at the venue's pace, about bases, and forgotten with them."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import msgspec
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.speaker import Speaker
from tickpath.proto.venues.mexc.venue import Mexc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

SYMBOLS = [f"A{index}USDT" for index in range(40)]
PAUSE_S = 0.01  # MEXC bears 100 messages a second on a connection


class Mouth:
    """A speaker whose words are kept; `is_full` as a hot thread that is behind."""

    def __init__(self, venue: str = "mexc", symbols: Sequence[str] = SYMBOLS) -> None:
        self.said: list[tuple[int, bytes]] = []
        self.is_full = False
        self.followed: set[int] = set()
        plan = make_plan(VenueConfig(symbols=(), name=venue), symbols)
        self.speaker = Speaker(plan, self.send, self.followed.__contains__)

    def send(self, connection: int, text: bytes) -> bool:
        if not self.is_full:
            self.said.append((connection, text))
        return not self.is_full


def words(said: list[tuple[int, bytes]]) -> list[tuple[int, str, str]]:
    found = []
    for connection, text in said:
        request = json.loads(text)
        (channel,) = request["params"]
        found.append((connection, request["method"], channel.rpartition("@")[2]))
    return found


def test_speaker_asks_for_a_base_by_a_new_subscription_on_its_own_connection() -> None:
    mouth = Mouth()
    mouth.speaker.request_base(35)
    mouth.speaker.step(0.0, 7)
    mouth.speaker.step(PAUSE_S, 7)
    name = SYMBOLS[35]
    assert words(mouth.said) == [(1, "UNSUBSCRIPTION", name), (1, "SUBSCRIPTION", name)]


def test_speaker_keeps_the_venues_pace_on_each_connection() -> None:
    mouth = Mouth()
    for instrument in (0, 1, 35):
        mouth.speaker.request_base(instrument)
    counts = []
    for step in range(6):
        mouth.speaker.step(step * PAUSE_S, 7)
        mouth.speaker.step(step * PAUSE_S, 7)
        counts.append(len(mouth.said))
    assert counts == [2, 4, 5, 6, 6, 6]


def test_speaker_says_both_words_for_an_in_band_base_at_once_and_keeps_the_pace() -> None:
    """Kraken bears ten messages a second; a gap's base must not wait for a tenth of one."""
    mouth, times = Mouth("kraken", [f"A{index}/USD" for index in range(20)]), []
    mouth.speaker.request_base(0)
    mouth.speaker.step(0.0, 7)
    assert [json.loads(text)["method"] for _, text in mouth.said] == ["unsubscribe", "subscribe"]
    for instrument in range(1, 20):
        mouth.speaker.request_base(instrument)
    times += [0.0] * len(mouth.said)
    for step in range(1, 10_000):
        mouth.speaker.step(step / 1000, 7)
        times += [step / 1000] * (len(mouth.said) - len(times))
    assert len(times) == 40
    assert max(sum(begin <= one < begin + 1 for one in times) for begin in times) <= 10


def test_speaker_full_queue_loses_nothing() -> None:
    mouth = Mouth()
    mouth.is_full = True
    mouth.speaker.request_base(0)
    for step in range(3):
        mouth.speaker.step(step * PAUSE_S, 7)
    mouth.is_full = False
    for step in range(3, 6):
        mouth.speaker.step(step * PAUSE_S, 7)
    assert [method for _, method, _ in words(mouth.said)] == ["UNSUBSCRIPTION", "SUBSCRIPTION"]


def test_speaker_forgets_what_waits_where_a_connection_opens_anew() -> None:
    mouth = Mouth()
    mouth.speaker.request_base(0)
    mouth.speaker.step(0.0, 7)
    mouth.speaker.opened(0, 0.5, 2)
    mouth.speaker.step(1.0, 7)
    assert len(mouth.said) == 1


def test_speaker_waits_behind_the_messages_that_a_connection_opened_with() -> None:
    """They went out at once: the venue's pace counts them too."""
    mouth = Mouth()
    mouth.speaker.opened(0, 1.0, 3)
    mouth.speaker.request_base(0)
    mouth.speaker.step(1.0 + 2.9 * PAUSE_S, 7)
    assert mouth.said == []
    mouth.speaker.step(1.0 + 3.1 * PAUSE_S, 7)
    assert len(mouth.said) == 1


def asked(mouth: Mouth) -> list[tuple[str, str]]:
    """Return what Kraken was asked: method and symbol."""
    requests = [json.loads(text) for _, text in mouth.said]
    return [(one["method"], *one["params"]["symbol"]) for one in requests]


def test_speaker_leaves_a_book_subscribed_whose_base_came_while_it_waited() -> None:
    """The venue bears ten messages a second: a base may come before its question has its turn."""
    mouth = Mouth("kraken", ["A/USD", "B/USD", "C/USD"])
    for instrument in range(3):
        mouth.speaker.request_base(instrument)
    mouth.speaker.step(0.0, 7)
    mouth.followed |= {0, 1}
    for step in range(1, 8):
        mouth.speaker.step(step * 0.1, 7)
    assert asked(mouth) == [
        ("unsubscribe", "A/USD"),
        ("subscribe", "A/USD"),  # it was unsubscribed from already
        ("unsubscribe", "C/USD"),
        ("subscribe", "C/USD"),
    ]


def test_speaker_asks_once_for_what_waits_already() -> None:
    mouth = Mouth("kraken", ["A/USD", "B/USD"])
    for instrument in (0, 1, 1, 1):
        mouth.speaker.request_base(instrument)
    for step in range(8):
        mouth.speaker.step(step * 0.1, 7)
    assert [symbol for _, symbol in asked(mouth)] == ["A/USD"] * 2 + ["B/USD"] * 2
    mouth.speaker.request_base(1)
    for step in range(8, 12):
        mouth.speaker.step(step * 0.1, 7)
    assert [symbol for _, symbol in asked(mouth)][4:] == ["B/USD"] * 2, "it did not come: again"


def test_speaker_never_says_more_in_an_hour_than_the_venue_bears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A base is wanted all the time: half of an hour's at once, and the rest evenly."""
    limits = msgspec.structs.replace(Mexc.limits, messages_per_hour=100)
    monkeypatch.setattr(Mexc, "limits", limits)
    mouth = Mouth()
    mouth.speaker.opened(0, 0.0, 1)
    times: list[float] = []
    for step in range(3 * 3600):
        now_s = step / 2.0
        mouth.speaker.request_base(0)
        mouth.speaker.step(now_s, 7)
        times += [now_s] * (len(mouth.said) - len(times))
    assert len([one for one in times if one < 60.0]) == 48  # and what it opened with
    assert max(later - sooner for sooner, later in itertools.pairwise(times)) <= 144.5
    hours = [len([one for one in times if start <= one < start + 3600.0]) for start in times]
    assert max(hours) + 1 <= 100
    mouth.speaker.opened(0, 5400.0, 1)
    mouth.speaker.request_base(0)
    mouth.speaker.step(5400.1, 7)
    assert len(mouth.said) == len(times) + 1, "another connection has an hour of its own"


def test_speaker_answers_whatever_the_hour_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = msgspec.structs.replace(Mexc.limits, messages_per_hour=2)
    monkeypatch.setattr(Mexc, "limits", limits)
    mouth = Mouth()
    mouth.speaker.opened(0, 0.0, 1)
    mouth.speaker.request_base(0)
    mouth.speaker.step(1.0, 7)
    assert mouth.said == []
    mouth.speaker.answer(0, b"pong")
    mouth.speaker.step(2.0, 7)
    assert mouth.said == [(0, b"pong")]
