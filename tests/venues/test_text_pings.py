"""A venue that pings by a text of its own and ends connections that do not answer it in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.notices import AGAIN_S, LINES_MAX, WINDOW_S, Notices, clean
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.speaker import ANSWERS_MAX, Speaker
from tickpath.engine.feed_handler.subscriptions import Subscriptions
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect

from tests.sim.deployment import Deployment, Setup
from tests.sim.virtual import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tickpath.engine.sim.dialect import Client

PING_NS, PATIENCE_NS = SECOND, SECOND // 2
SYMBOLS = ("BTC-USDT", "ETH-USDT")
Toy: Any = load_dialect("toy")


class Pinging(Toy):  # type: ignore[misc] # a class that is loaded
    """Sends a ping a second, and hangs up where it is not answered within half of one."""

    hang_up: ClassVar[Callable[[Client], None]]

    def __init__(self, floor: Any) -> None:
        super().__init__(floor)
        self.open: dict[Client, tuple[int, int]] = {}  # number of the ping, since when
        self.answered = 0
        self.hung_up = 0

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Ping, or end the connection."""
        number, since_ns = self.open.get(client, (0, 0))
        if number < 0:  # answered
            if now_ns - since_ns < PING_NS:
                return []
        elif number and now_ns - since_ns > PATIENCE_NS:
            self.hung_up += 1
            del self.open[client]
            type(self).hang_up(client)
            return []
        elif number:
            return []
        number = abs(number) + 1
        self.open[client] = number, now_ns
        return [Message(msgspec.json.encode({"op": "ping", "id": number}), is_text=True)]

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Take the answer to a ping, which must have its number."""
        request = msgspec.json.decode(message.data)
        if request.get("op") != "pong":
            return list(super().received(client, message, now_ns))
        number, _ = self.open[client]
        assert request["id"] == number
        self.open[client] = -number, now_ns
        self.answered += 1
        return []


def test_text_ping_is_answered_in_time(tmp_path: Path) -> None:
    deployment = Deployment(Setup(seed=1, directory=tmp_path, dialect=Pinging, symbols=SYMBOLS))
    exchange = deployment.exchange
    dialect: Any = exchange._dialect
    Pinging.hang_up = lambda client: exchange._websockets[client].close(1008)
    assert deployment.run(5.0, deployment.are_live)
    deployment.run(30.0)
    assert deployment.are_live()
    assert dialect.hung_up == 0
    assert dialect.answered >= 15
    assert deployment.feed_handler.hot.loop.counters.disconnects == 0
    deployment.stop()
    deployment.close()


# ---- in which order, and how many ----------------------------------------------------------------


class Mouth:
    """A speaker of the toy, which bears 20 messages a second on a connection."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.is_full = False
        plan = make_plan(VenueConfig(symbols=(), name="toy"), SYMBOLS)
        self.speaker = Speaker(plan, self._send)
        self.subscriptions = Subscriptions(plan)

    def _send(self, _: int, text: bytes) -> bool:
        if not self.is_full:
            self.said.append(text)
        return not self.is_full


def test_answer_outranks_what_waits_within_the_pace() -> None:
    mouth = Mouth()
    for instrument in range(2):
        mouth.speaker.request_base(instrument)
    mouth.speaker.step(0.0, 7)
    assert len(mouth.said) == 2, "both words for a base"
    mouth.speaker.answer(0, b"pong")
    mouth.speaker.step(0.05, 7)
    assert len(mouth.said) == 2, "the venue's pace, less what went out together"
    mouth.speaker.step(0.06, 7)
    assert mouth.said[2:] == [b"pong"]
    mouth.speaker.step(0.12, 7)
    assert len(mouth.said) == 4
    assert mouth.said[3] != b"pong"


def test_answers_of_a_flood_are_the_newest() -> None:
    mouth = Mouth()
    mouth.is_full = True
    for number in range(10 * ANSWERS_MAX):
        mouth.speaker.answer(0, b"%d" % number)
        mouth.speaker.step(0.0, 7)
    mouth.is_full = False
    for step in range(2 * ANSWERS_MAX):
        mouth.speaker.step(step * 0.05, 7)
    assert mouth.said == [b"%d" % number for number in range(9 * ANSWERS_MAX, 10 * ANSWERS_MAX)]


def test_answer_to_a_connection_before_is_forgotten() -> None:
    mouth = Mouth()
    mouth.speaker.opened(0, 0.0, 1)
    mouth.speaker.answer(0, b"pong")
    mouth.speaker.opened(0, 1.0, 1)
    mouth.speaker.step(10.0, 7)
    assert mouth.said == []


def test_ping_is_no_news_for_the_log() -> None:
    answer = Mouth().subscriptions.take(0, b'{"op":"ping","id":5}', 0.0)
    assert answer.said_back == [(0, b'{"op":"pong","id":5}')]
    assert answer.lines == []


# ---- the venue's words ---------------------------------------------------------------------------


def test_notice_is_said_in_the_venues_words_once() -> None:
    notices = Notices()
    assert notices.take(3, "maintenance at noon", 0.0) == ["connection 3: maintenance at noon"]
    for second in range(int(AGAIN_S)):
        assert notices.take(3, "maintenance at noon", float(second)) == []
    assert notices.take(3, "maintenance at noon", AGAIN_S) == [
        f"connection 3: maintenance at noon ({int(AGAIN_S)} more notices since the last line)"
    ]


def test_notices_of_a_flood_are_few() -> None:
    notices = Notices()
    lines = [line for number in range(5000) for line in notices.take(0, f"error {number}", 1.0)]
    assert len(lines) == LINES_MAX
    (line,) = notices.take(0, "the end", 1.0 + WINDOW_S)
    assert line == "connection 0: the end (4,990 more notices since the last line)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("a\nfake line", "a fake line"),
        ("\x1b[31mred\x07", "[31mred"),
        ("x" * 5000, "x" * 300 + "..."),
        ("\n", ""),
    ],
)
def test_notice_words_are_foreign(words: str, said: str) -> None:
    assert clean(words) == said
    assert Notices().take(0, words, 0.0) == ([f"connection 0: {said}"] if said else [])
