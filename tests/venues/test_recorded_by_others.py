"""What others recorded of every registered venue: its samples, whole sessions, as lines of JSON.

A venue that comes is asked all of this: its folder needs a transcript.py (proto/transcript.py).
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import lib
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.recording.survey import Survey
from tickpath.engine.sim.venues import dialect_names
from tickpath.proto.records import BookState, EventType
from tickpath.proto.transcript import Transcript, load_transcript
from tickpath.proto.venue import Meaning
from tickpath.proto.venues import load_venue, venue_names
from tickpath.shm.errors import LocalError

from tests.venues.sessions import Best, Row, Session, make_session, written
from tests.venues.test_decoders import NAMES, Decoder, samples
from tests.venues.test_tardis import tardis_text

if TYPE_CHECKING:
    from pathlib import Path

DATA = ("BASE", "DELTA", "TOP", "TRADES")
REWRITTEN = ("mexc",)
"""Whose binary messages Tardis writes as JSON."""


@pytest.fixture(params=venue_names())
def venue(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transcript(venue: str) -> Transcript:
    return load_transcript(venue)


def sample_line(name: str, t_ns: int, data: bytes, opcode: int) -> dict[str, Any]:
    line: dict[str, Any] = {"t_ns": t_ns, "venue": name, "conn": 0, "dir": "in"}
    if opcode == 1:
        return line | {"text": data.decode()}
    return line | {"base64": base64.b64encode(data).decode()}


class Replayed:
    """A recording of others', replayed."""

    def __init__(self, path: Path) -> None:
        self.recording = NdjsonRecording(path)
        self.meta = self.recording.meta
        self.events: Counter[str] = Counter()
        self.tops: list[tuple[str, str, int, str, Best]] = []
        self.replayer = Replayer(self.meta, on_tops=self._tops, on_events=self._events)
        for batch in self.recording.batches():
            self.replayer.play(batch)
        self.broken = int(self.replayer.counters.broken + self.replayer.counters.unknown_body)

    def _events(self, events: Any) -> None:
        self.events.update(EventType(kind).name for kind in events["type"].tolist())

    def _tops(self, tops: Any) -> None:
        for t_ns, index, state, price, quantity, *numbers in tops.tolist():
            row = self.meta.instruments[index]
            scales = (price, quantity, price, quantity)
            exact = [Decimal(n).scaleb(s) for n, s in zip(numbers, scales, strict=True)]
            best = (exact[0], exact[1], exact[2], exact[3])
            self.tops.append((row.venue, row.symbol, t_ns, BookState(state).name, best))

    def hold_to(self, session: Session) -> None:
        """Compare each LIVE book with what it was."""
        own = [one for one in self.tops if one[0] == session.venue]
        for symbol in session.symbols:
            live = [one for one in own if one[1] == symbol and one[3] == "LIVE"]
            times = [t_ns for name, t_ns in session.truth if name == symbol]
            assert len(live) >= 5, (session.venue, symbol, own)
            for _, _, t_ns, _, best in live:
                then = max(one for one in times if one <= t_ns)
                assert best == session.truth[symbol, then], (session.venue, symbol, t_ns)
            assert own[-1][3] == "LIVE"
            assert live[-1][4] == session.last(symbol)


# ---- samples -------------------------------------------------------------------------------------


def test_samples_as_lines_are_replayed_whole(venue: str, tmp_path: Path) -> None:
    """Instruments, scales, trades and best prices come from the messages alone."""
    chosen = [one for one in samples(venue) if one.meaning in DATA]
    decoder, said, wanted = Decoder(venue), load_transcript(venue), Counter[str]()
    scale = [-18, -18]
    lines = [sample_line(venue, i, x.data, x.opcode) for i, x in enumerate(samples(venue), 1)]
    path = tmp_path / "samples.ndjson"
    path.write_text(written(lines))
    replayed = Replayed(path)
    rows = {row.symbol: row for row in replayed.meta.instruments}
    assert {said.symbol_of(one.channel) for one in chosen} <= set(rows)
    for one in chosen:
        row = rows[said.symbol_of(one.channel)]
        scale = [row.price_exponent, row.quantity_exponent]
        for part in decoder.parts(one.data, one.opcode):
            if NAMES[part.meaning] in DATA and len(decoder.parts(one.data, one.opcode)) == 1:
                assert decoder.decode(one.data, part, scale) == lib.TP_DECODE_OK, one
            if NAMES[part.meaning] == "TRADES":
                decoder.decode(one.data, part, scale)
                wanted["TRADE"] += decoder.trades.count
            wanted["BEST"] += NAMES[part.meaning] == "TOP"
    assert replayed.broken == 0
    assert replayed.events["TRADE"] == wanted["TRADE"]
    assert replayed.events["BEST"] == wanted["BEST"]


def test_channels_named_by_messages_are_those_subscribed_to(
    venue: str, transcript: Transcript
) -> None:
    """Where a message cannot say it all, as Kraken's depth, it names another of the instrument."""
    for one in samples(venue):
        if one.meaning in DATA:
            named = transcript.channels_of(one.data)
            symbols = {transcript.symbol_of(name) for name in named}
            assert not named or transcript.symbol_of(one.channel) in symbols, one
            for name in named:
                load_venue(venue).check_symbol(transcript.symbol_of(name))


def test_own_subscriptions_are_read_back_or_acknowledged_by_name(
    venue: str, transcript: Transcript
) -> None:
    own = load_venue(venue)
    channels = own.channels(own.example_symbol, own.settings())
    for data in own.subscribe(channels, request=1, time_s=1_795_000_000):
        asked = transcript.request(data.decode()).channels
        assert set(asked) <= set(channels)
        assert asked, f"{venue}: transcript.request does not read {data!r}"


def bear(transcript: Transcript, data: bytes) -> None:
    """Ask for all that there is to ask of a message, and of what is restored of it."""
    restored = transcript.restored(data)
    for payload in (data, restored.payload if restored else b""):
        for one in transcript.channels_of(payload):
            transcript.symbol_of(one)
    for one in transcript.request(data.decode("utf-8", "replace")).channels:
        transcript.symbol_of(one)
    transcript.symbol_in_base(data)


def recorded(name: str) -> list[bytes]:
    """Return a venue's samples, and as Tardis writes them what it writes otherwise."""
    found = [one.data for one in samples(name)]
    pushed = [one.data for one in samples(name) if one.meaning in DATA and name in REWRITTEN]
    rows = [Row(1, "in", data, is_text=False) for data in pushed if data[:1] != b"{"]
    return found + [tardis_text(name, row).encode() for row in rows]


@st.composite
def spoilt_messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw any bytes, or a message as somebody recorded it with a few bytes changed."""
    name = draw(st.sampled_from(venue_names()))
    if draw(st.booleans()):
        return name, draw(st.binary(max_size=80))
    data = bytearray(draw(st.sampled_from(recorded(name))))
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        data[at] = draw(st.integers(0, 255))
    return name, bytes(data)


@settings(max_examples=200, deadline=None)
@given(drawn=spoilt_messages())
def test_any_bytes_are_borne(drawn: tuple[str, bytes]) -> None:
    name, data = drawn
    bear(load_transcript(name), data)


@pytest.mark.parametrize("name", REWRITTEN)
def test_message_that_tardis_rewrote_is_borne_with_a_byte_that_is_no_text(name: str) -> None:
    """In a field that nobody asks for: what reads the channel skips it unread."""
    transcript = load_transcript(name)
    texts = [one for one in recorded(name) if b'"sendTime": "' in one]
    assert texts
    for text in texts:
        assert transcript.restored(text) is not None
        assert transcript.restored(text.replace(b'"sendTime": "', b'"sendTime": "\xff')) is None


@pytest.mark.parametrize(
    "name", ["x", "", "market.", "market.btcusdt", "a:b", "a@b", ".", "@", ":"]
)
def test_request_for_a_channel_of_nobody_is_borne(
    venue: str, transcript: Transcript, name: str
) -> None:
    own = load_venue(venue)
    channel, *_ = own.channels(own.example_symbol, own.settings())
    for data in own.subscribe([channel], request=1, time_s=1_795_000_000):
        for text in {data.decode().replace(word, name) for word in words_of(data)}:
            bear(transcript, text.encode())
            with contextlib.suppress(ValueError):  # counted, as a line
                Survey(venue).look_at_request(text.encode(), 0)


def words_of(data: bytes) -> set[str]:
    """Return the strings of JSON."""
    found, todo = set(), [json.loads(data)]
    while todo:
        one = todo.pop()
        if isinstance(one, str) and one:
            found.add(one)
        elif isinstance(one, dict | list):
            todo += one.values() if isinstance(one, dict) else one
    return found


def test_every_cut_and_changed_byte_of_a_sample_is_borne(
    venue: str, transcript: Transcript
) -> None:
    for one in recorded(venue):
        step = max(1, len(one) // 64)
        for at in range(0, len(one), step):
            for data in (one[:at], one[:at] + b"\xff" + one[at + 1 :]):
                bear(transcript, data)
    for text in ('{"a":' * 400, "[" * 5000, "null", "5", '"x"', "{}", "[[]]", '{"data":5}'):
        bear(transcript, text.encode())


@st.composite
def spoilt_lines(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw lines of any venue: samples, cut or with a byte changed, in any direction."""
    lines = []
    for t_ns in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from(venue_names()))
        one = draw(st.sampled_from(samples(name)))
        data, at = one.data, draw(st.integers(0, len(one.data)))
        match draw(st.sampled_from(["whole", "whole", "cut", "changed"])):
            case "cut":
                data = data[:at]
            case "changed":
                data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        where = draw(st.sampled_from(["in", "in", "in", "out", "base"]))
        conn = draw(st.sampled_from([0, 1, "BTCUSDT"]))
        line = {"t_ns": t_ns, "venue": name, "conn": conn, "dir": where}
        lines.append(line | {"base64": base64.b64encode(data).decode()})
    return lines


@settings(max_examples=100, deadline=None)
@given(lines=spoilt_lines())
def test_spoilt_lines_of_any_venues_are_replayed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("spoilt") / "a.ndjson"
    path.write_text(written(lines))
    with contextlib.suppress(LocalError):
        Replayed(path)


# ---- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dialect_names())
def test_session_as_lines_gives_the_books_that_were(name: str, tmp_path: Path) -> None:
    session = make_session(name)
    path = tmp_path / "session.ndjson"
    path.write_text(written(session.lines()))
    replayed = Replayed(path)
    replayed.hold_to(session)
    assert replayed.broken == 0
    assert replayed.recording.faults.count == 0
    first = len(session.symbols)  # some venues show the best prices as they are, at first
    assert 0 <= replayed.events["BEST"] - session.pushed[Meaning.TOP] <= first
    assert session.pushed[Meaning.TRADES] <= replayed.events["TRADE"]
    assert bool(session.pushed[Meaning.TRADES]) == bool(replayed.events["TRADE"])


def test_sessions_of_all_venues_in_one_file_are_each_its_own(tmp_path: Path) -> None:
    """The same symbol on two venues is two books, and so are bases by REST of it."""
    sessions = [make_session(name, steps=20) for name in dialect_names()]
    lines = [line for one in sessions for line in one.lines()]
    path = tmp_path / "all.ndjson"
    path.write_text(written(sorted(lines, key=lambda one: one["t_ns"])))
    replayed = Replayed(path)
    assert {row.venue for row in replayed.meta.instruments} == set(dialect_names())
    assert replayed.broken == 0
    for session in sessions:
        replayed.hold_to(session)


def test_trades_on_a_connection_of_their_own_move_no_book(tmp_path: Path) -> None:
    """To take it for the one after a reconnect would end the book with each trade."""
    session = make_session("binance")
    lines = session.lines()
    for line in lines:
        if "@trade" in line.get("text", "") and line["dir"] == "in":
            line["conn"] = "trades"
    path = tmp_path / "two.ndjson"
    path.write_text(written(lines))
    replayed = Replayed(path)
    replayed.hold_to(session)
    states = [one[3] for one in replayed.tops]
    assert states.count("STALE") == 0
    assert replayed.events["TRADE"] > 10


def test_trades_alone_are_replayed_without_a_book(tmp_path: Path) -> None:
    lines = [
        line
        for line in make_session("okx").lines()
        if line["dir"] == "in" and '"channel":"trades"' in line["text"]
    ]
    path = tmp_path / "trades.ndjson"
    path.write_text(written(lines))
    replayed = Replayed(path)
    assert replayed.recording.bookless == {("okx", row.symbol) for row in replayed.meta.instruments}
    assert len(replayed.meta.instruments) == 2
    assert replayed.events["TRADE"] > 10
    assert json.loads(json.dumps(replayed.recording.foreign_channels)) == {}
