"""Replays against an independent oracle: protobuf's own decoder, dicts for books, Decimal."""

from __future__ import annotations

import base64
import json
import signal
import struct
import subprocess
import sys
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import lib
from tickpath.engine.recording.format import RAW, FileWriter, Meta, pack_record
from tickpath.engine.recording.left_out import LEFT_OUT
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.recording.pacing import RING_CAPACITY, Pacing
from tickpath.engine.recording.replayer import BrokenRecordError, Replayer
from tickpath.engine.recording.tap import Subscription
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.proto.records import BookState
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.shm.errors import LocalError

from tests.unit.feed.conftest import (
    PRICE_EXPONENT,
    QUANTITY_EXPONENT,
    Venue,
    channel,
    decimal,
)

if TYPE_CHECKING:
    from pathlib import Path

TICKPATH = [sys.executable, "-P", "-m", "tickpath.engine.cli"]
Line = dict[str, Any]


def symbol(instrument: int) -> str:
    return f"COIN{instrument}USDT"


def rest_body(venue: Venue, version: int) -> str:
    def rows(side: int) -> list[list[str]]:
        return [
            [decimal(p, PRICE_EXPONENT).decode(), decimal(q, QUANTITY_EXPONENT).decode()]
            for p, q in venue.history[version][side].items()
        ]

    return json.dumps({"lastUpdateId": version, "bids": rows(0), "asks": rows(1)})


def line(t_ns: int, direction: str, conn: int | str = 0, **more: str) -> Line:
    return {"t_ns": t_ns, "venue": "mexc", "conn": conn, "dir": direction, **more}


def push(t_ns: int, data: bytes, conn: int | str = 0) -> Line:
    return line(t_ns, "in", conn, base64=base64.b64encode(data).decode())


def write(path: Path, lines: list[Line]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def replay(path: Path, *words: str) -> tuple[list[Line], subprocess.CompletedProcess[str]]:
    done = subprocess.run(
        [*TICKPATH, "replay", str(path), *words], capture_output=True, text=True, check=False
    )
    return [json.loads(text) for text in done.stdout.splitlines()], done


class Oracle:
    """MEXC's rule in Python: bases replace, versions must follow, a gap ends it."""

    def __init__(self) -> None:
        self.state, self.version, self.first = "SYNCING", 0, False
        self.sides: tuple[dict[Decimal, Decimal], ...] = ({}, {})
        self.kept: list[PushDataV3ApiWrapper] = []
        self.told: Any = ("SYNCING", None, None, None, None)
        self.lines: list[Any] = []

    def message(self, t_ns: int, data: bytes) -> None:
        wrapper = PushDataV3ApiWrapper.FromString(data)
        if self.state == "SYNCING":
            self.kept.append(wrapper)
        elif not self.apply(wrapper):
            self.state, self.kept = "SYNCING", [wrapper]
        self.tell(t_ns)

    def apply(self, wrapper: PushDataV3ApiWrapper) -> bool:
        """Return False for a gap."""
        body = wrapper.publicAggreDepths
        first, last = int(body.fromVersion), int(body.toVersion)
        if last <= self.version:
            return True
        if first > self.version + 1 or (not self.first and first != self.version + 1):
            return False
        self.first, self.version = False, last
        for side, levels in zip(self.sides, (body.bids, body.asks), strict=True):
            for level in levels:
                side[Decimal(level.price)] = Decimal(level.quantity)
                if Decimal(level.quantity) == 0:
                    del side[Decimal(level.price)]
        return True

    def base(self, t_ns: int, body: str) -> None:
        if self.state != "SYNCING":
            return
        reply = json.loads(body)
        self.version, self.first = reply["lastUpdateId"], True
        self.sides = tuple(
            {Decimal(p): Decimal(q) for p, q in reply[name]} for name in ("bids", "asks")
        )
        for position, wrapper in enumerate(self.kept):
            if not self.apply(wrapper):
                self.kept = self.kept[position:]
                self.tell(t_ns)
                return
        self.state, self.kept = "LIVE", []
        self.tell(t_ns)

    def tell(self, t_ns: int) -> None:
        best: list[Decimal | None] = []
        for side, choose in zip(self.sides, (max, min), strict=True):
            price = choose(side) if side else None
            best += [price, side[price] if price is not None else None]
        now = (self.state, *best)
        if now != self.told and (self.state == "LIVE" or self.told[0] != self.state):
            self.lines.append((t_ns, *now))
        self.told = now


def as_told(lines: list[Line], name: str) -> list[Any]:
    """Return book lines of one symbol as the oracle has them."""
    keys = ("bid", "bid_quantity", "ask", "ask_quantity")
    return [
        (one["t_ns"], one["state"], *(None if one[k] is None else Decimal(one[k]) for k in keys))
        for one in lines
        if one["symbol"] == name
    ]


def states_only_while_syncing(rows: list[Any]) -> list[Any]:
    """A book that is not LIVE has no price that anybody may compare."""
    return [row if row[1] == "LIVE" else row[:2] for row in rows]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    script=st.lists(st.sampled_from(["send", "send", "send", "lose", "base", "late"]), max_size=40),
)
def test_replay_of_any_sequence_gives_the_oracles_books(
    tmp_path_factory: pytest.TempPathFactory, seed: int, script: list[str]
) -> None:
    venue, oracle, lines = Venue(seed), Oracle(), []
    for t_ns, word in enumerate(["send", "base", *script, "send"], 1000):
        if word in ("send", "lose"):
            data = venue.step(versions=1)
            if word == "send":
                lines.append(push(t_ns, data))
                oracle.message(t_ns, data)
            continue
        known = sorted(venue.history)
        version = known[-1] if word == "base" else known[len(known) // 2]
        body = rest_body(venue, version)
        lines.append(line(t_ns, "base", "rest", text=body))
        oracle.base(t_ns, body)
    path = write(tmp_path_factory.mktemp("replay") / "a.ndjson", lines)
    tops: list[Any] = []
    recording = NdjsonRecording(path)
    scale = [Decimal(10) ** getattr(recording.meta.instruments[0], name)
             for name in ("price_exponent", "quantity_exponent")]  # fmt: skip

    def keep(rows: Any) -> None:
        for t_ns, _, state, _, _, *numbers in rows.tolist():
            exact = [Decimal(n) * scale[i % 2] for i, n in enumerate(numbers)]
            exact = [None if not numbers[i | 1] else n for i, n in enumerate(exact)]
            tops.append((t_ns, BookState(state).name, *exact))

    replayer = Replayer(recording.meta, on_tops=keep)
    for batch in recording.batches():
        replayer.play(batch)
    expected = states_only_while_syncing(oracle.lines)
    assert states_only_while_syncing(tops) == expected


def session(count: int = 300) -> tuple[list[Line], dict[str, list[Any]]]:
    """Two instruments, a subscription, an acknowledgement, bases; and the oracle's books."""
    venues = [Venue(seed=i, instrument=i) for i in range(2)]
    oracles = [Oracle(), Oracle()]
    subscribe = json.dumps(
        {"method": "SUBSCRIPTION", "params": [channel(i).decode() for i in (0, 1)]}
    )
    lines = [line(1, "out", text=subscribe), line(2, "in", text='{"code":0,"msg":"ok"}')]
    for t_ns in range(10, 10 + count):
        which = t_ns % 2
        data = venues[which].step(versions=1)
        lines.append(push(t_ns, data))
        oracles[which].message(t_ns, data)
        if t_ns in (30, 31):
            body = rest_body(venues[which], venues[which].version)
            target = f"/api/v3/depth?symbol={symbol(which)}&limit=1000"
            lines.append(line(t_ns, "base", target, text=body))
            oracles[which].base(t_ns, body)
    return lines, {symbol(i): one.lines for i, one in enumerate(oracles)}


def test_replay_command_prints_the_oracles_books(tmp_path: Path) -> None:
    lines, expected = session()
    printed, done = replay(write(tmp_path / "a.ndjson", lines), "--ndjson", "--print", "books")
    assert done.returncode == 0, done.stderr
    assert list(printed[0]) == [
        "t_ns", "venue", "symbol", "state", "bid", "bid_quantity", "ask", "ask_quantity",
    ]  # fmt: skip
    for name, rows in expected.items():
        assert len(rows) > 50
        assert as_told(printed, name) == rows
    assert {one["venue"] for one in printed} == {"mexc"}


@pytest.mark.slow
def test_replay_twice_and_paced_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session()[0])
    for what in ("books", "events"):
        once, again, paced = (
            replay(path, "--ndjson", "--print", what, *words)[1].stdout
            for words in ((), (), ("--speed", "0.00001"))
        )
        assert once
        assert once == again == paced


def test_replay_events_tell_the_tops_that_the_oracle_has(tmp_path: Path) -> None:
    lines, expected = session()
    printed, _ = replay(write(tmp_path / "a.ndjson", lines), "--ndjson", "--print", "events")
    assert [one["index"] for one in printed] == list(range(len(printed)))
    name = symbol(0)
    tops = {one["t_ns"]: one for one in printed if one["symbol"] == name and one["type"] == "TOP"}
    live = [row for row in expected[name] if row[1] == "LIVE"]
    assert len(live) > 50
    for row in live:
        assert as_told([tops[row[0]] | {"state": "LIVE"}], name) == [row]


def test_replay_after_a_reconnect_on_another_connection_number_goes_on(tmp_path: Path) -> None:
    venue, lines = Venue(), []
    for t_ns in range(1, 40):
        conn = 0 if t_ns < 20 else 7
        lines.append(push(t_ns, venue.step(versions=1), conn))
        if t_ns in (5, 25):
            lines.append(line(t_ns, "base", text=rest_body(venue, venue.version)))
    printed, done = replay(write(tmp_path / "a.ndjson", lines), "--ndjson", "--print", "books")
    assert done.returncode == 0, done.stderr
    changes = [(one["t_ns"], one["state"]) for one in printed]
    at = [t_ns for t_ns, _ in changes]
    assert (5, "LIVE") in changes
    assert dict(changes)[20] == "SYNCING"
    assert dict(changes)[25] == "LIVE"
    assert max(at) > 30


@pytest.mark.parametrize("what", ["books", "events"])
def test_replay_of_a_span_prints_what_the_whole_has_there(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "a.ndjson", session()[0])
    whole, _ = replay(path, "--ndjson", "--print", what)
    span, _ = replay(path, "--ndjson", "--print", what, "--from", "100", "--to", "150")
    assert span == [one for one in whole if 100 <= one["t_ns"] <= 150]
    assert len(span) > 10


def test_replay_trades_says_that_there_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", session(40)[0])
    printed, done = replay(path, "--ndjson", "--print", "trades")
    assert printed == []
    assert done.returncode == 0
    assert "--print events has them, type TRADE" in done.stderr


def test_replay_into_an_instance_can_be_watched(tmp_path: Path) -> None:
    from tickpath.engine.client.reader import open_reader  # noqa: PLC0415 - only here
    from tickpath.shm.segment import DIRECTORY, SegmentError  # noqa: PLC0415 - only here

    lines, expected = session()
    for one in lines:  # a second of silence before the last ten keeps the segment there
        one["t_ns"] = one["t_ns"] * 1000 if one["t_ns"] < 300 else 3 * 10**9 + one["t_ns"]
    name = f"replay-test-{tmp_path.name}"
    path = write(tmp_path / "a.ndjson", lines)
    rows = [row for row in expected[symbol(0)] if row[0] < 300]
    _, _, bid, bid_quantity, ask, ask_quantity = rows[-1]
    before_silence = [(bid, bid_quantity), (ask, ask_quantity)]
    seen: list[list[tuple[Decimal, Decimal]]] = []
    command = [*TICKPATH, "replay", "--ndjson", str(path), "--instance", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None and seen[-1:] != [before_silence]:
                try:
                    with open_reader(name) as reader:
                        book = reader.book(0)
                        if book.is_live:
                            best = (book.bids[0], book.asks[0])
                            tops = [(Decimal(p).scaleb(-2), Decimal(q).scaleb(-8)) for p, q in best]
                            seen = [*seen[-5:], tops]
                except SegmentError:
                    continue
        finally:
            process.terminate()
    assert not list(DIRECTORY.glob(f"tickpath.{name}*"))
    assert seen[-1] == before_silence


BAD_LINES = [
    ("{", "write {"),
    ("[1]", "Expected `object`"),
    ('{"t_ns":1,"venue":"mexc","conn":0,"dir":"sideways","text":"x"}', "sideways"),
    ('{"t_ns":-1,"venue":"mexc","conn":0,"dir":"in","text":"x"}', "t_ns -1: expected 0 to"),
    ('{"t_ns":1.5,"venue":"mexc","conn":0,"dir":"in","text":"x"}', "t_ns"),
    ('{"t_ns":1,"venue":"acme","conn":0,"dir":"in","text":"x"}', "expected one of binance"),
    ('{"t_ns":1,"venue":"mexc","conn":0,"dir":"in"}', 'either "text" or "base64"'),
    ('{"t_ns":1,"venue":"mexc","conn":0,"dir":"in","base64":"%%"}', "RFC 4648"),
    ('{"t_ns":1,"venue":"mexc","conn":0,"dir":"base","text":"<html>"}', "/api/v3/depth"),
    ('{"t_ns":1,"venue":"mexc","conn":0,"dir":"base","text":"{}"}', "lastUpdateId"),
    ('{"venue":"mexc","conn":0,"dir":"in","text":"x"}', "t_ns"),
    (
        '{"t_ns":1,"venue":"mexc","conn":9,"dir":"base","text":'
        '"{\\"lastUpdateId\\":1,\\"bids\\":[],\\"asks\\":[]}"}',
        'add "symbol"',
    ),
]


@pytest.mark.parametrize(("bad", "remedy"), BAD_LINES)
def test_replay_bad_line_is_named_and_takes_itself_out(
    tmp_path: Path, bad: str, remedy: str
) -> None:
    lines, expected = session(100)
    path = tmp_path / "a.ndjson"
    texts = [json.dumps(one) for one in lines]
    path.write_text("\n".join([*texts[:50], bad, *texts[50:]]) + "\n")
    printed, done = replay(path, "--ndjson", "--print", "books")
    assert done.returncode == LEFT_OUT
    last = done.stderr.splitlines()[-1]
    assert "left out: 1 line (line 51: " in last
    assert remedy in last
    assert as_told(printed, symbol(0)) == expected[symbol(0)]


def gap_of(missing: Line) -> str:
    return PushDataV3ApiWrapper.FromString(base64.b64decode(missing["base64"])).symbol


def test_replay_version_gap_without_a_later_base_is_told(tmp_path: Path) -> None:
    lines, _ = session(100)
    gone = [one for number, one in enumerate(lines) if number != 80]
    (told,), done = replay(write(tmp_path / "a.ndjson", gone), "--ndjson", "--json")
    assert done.returncode == LEFT_OUT
    assert told["version_gaps"] == 1
    assert (
        f"{gap_of(lines[80])} not LIVE at the end (gap, and no base after it)" in told["left_out"]
    )


def test_replay_without_a_usable_base_is_told(tmp_path: Path) -> None:
    lines, _ = session(100)
    baseless = [one for one in lines if one["dir"] != "base"]
    _, done = replay(write(tmp_path / "a.ndjson", baseless), "--ndjson", "--json")
    assert done.returncode == LEFT_OUT
    said = f"{symbol(0)} never LIVE (starting: no base that its messages follow)"
    assert said in json.loads(done.stdout)["left_out"]


def test_replay_times_that_go_back_are_counted_and_taken_as_the_one_before(tmp_path: Path) -> None:
    lines, _ = session(100)
    lines[60] = lines[60] | {"t_ns": 0}
    printed, done = replay(write(tmp_path / "a.ndjson", lines), "--ndjson", "--print", "events")
    assert done.returncode == LEFT_OUT
    assert "left out: 1 time that goes back" in done.stderr
    stamps = [one["t_ns"] for one in printed]
    assert stamps == sorted(stamps)


def test_replay_channel_on_two_connections_follows_the_first(tmp_path: Path) -> None:
    """To follow both would begin the book anew with every message."""
    lines, expected = session(100)
    both = []
    for one in lines:
        both += [one, one | {"conn": 7}] if one["dir"] == "in" and "base64" in one else [one]
    printed, done = replay(write(tmp_path / "a.ndjson", both), "--ndjson", "--print", "books")
    assert done.returncode == LEFT_OUT
    assert "messages of second connections to a channel" in done.stderr
    assert as_told(printed, symbol(0)) == expected[symbol(0)]


@given(st.lists(st.binary(max_size=120), max_size=6))
def test_ndjson_of_random_bytes_never_raises_anything_but_our_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("random") / "a.ndjson"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(LocalError):
        for _ in NdjsonRecording(path).batches():
            pass


ROWS = (
    Subscription(
        venue="mexc",
        symbol=symbol(0),
        price_exponent=PRICE_EXPONENT,
        quantity_exponent=QUANTITY_EXPONENT,
        channel=channel(0).decode(),
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 15), st.integers(0, 5), st.integers(0, 2),
            st.integers(0, 2**64 - 1), st.binary(max_size=80),
        ),
        max_size=10,
    )
)  # fmt: skip
@pytest.mark.slow
def test_replay_of_random_records_is_played_or_refused(
    rows: list[tuple[int, int, int, int, bytes]],
) -> None:
    replayer = Replayer(Meta(instruments=ROWS), on_tops=lambda _: None, on_events=lambda _: None)
    records = b"".join(pack_record(*row) for row in rows)
    try:
        assert replayer.play(records) == len(records)
    except BrokenRecordError:
        assert replayer.c.records < len(rows)


def test_replay_of_a_folder_goes_on_behind_a_damaged_file_and_tells_it(tmp_path: Path) -> None:
    venue, folder = Venue(), tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        body = f"{symbol(0)}\n{rest_body(venue, venue.version)}".encode()
        records = [(100 * number, 4, 0, body)]
        records += [(100 * number + i, 1, 2, venue.step(versions=1)) for i in range(1, 30)]
        meta = Meta(instruments=ROWS, instance_id="one", part=number)
        writer = FileWriter(folder / f"{number}.tpr", meta)
        for t_ns, kind, opcode, data in records:
            writer.append(RAW, pack_record(kind, opcode, 0, t_ns, data), 1, (t_ns, t_ns))
        writer.close()
    middle = folder / "1.tpr"
    middle.write_bytes(middle.read_bytes()[: middle.stat().st_size // 2])
    printed, done = replay(folder, "--print", "books")
    assert done.returncode == 2
    assert f"recording {middle}: byte " in done.stderr
    stamps = [one["t_ns"] for one in printed]
    assert any(t_ns < 100 for t_ns in stamps)
    assert any(100 <= t_ns < 200 for t_ns in stamps)
    behind = [one["state"] for one in printed if one["t_ns"] == 200]
    # Missing records end what was known; the third file's base begins anew.
    assert behind == ["STALE", "LIVE"]
    assert stamps[-1] > 210


def test_replay_of_bases_that_nothing_names_finds_theirs_by_version(tmp_path: Path) -> None:
    venues = [Venue(seed=i, version=1000 + 10**6 * i, instrument=i) for i in range(2)]
    lines, expected = [], [Oracle(), Oracle()]
    for t_ns in range(10, 110):
        which = t_ns % 2
        data = venues[which].step(versions=1)
        lines.append(push(t_ns, data))
        expected[which].message(t_ns, data)
        for other in (0, 1) if t_ns == 10 else ():  # before the second had a message
            body = rest_body(venues[other], venues[other].version)
            lines.append(line(t_ns, "base", "rest", text=body))
            expected[other].base(t_ns, body)
    printed, done = replay(write(tmp_path / "a.ndjson", lines), "--ndjson", "--print", "books")
    assert done.returncode == 0, done.stderr
    for which in (0, 1):
        assert len(expected[which].lines) > 10
        assert as_told(printed, symbol(which)) == expected[which].lines


@pytest.mark.parametrize(
    ("parts", "is_closed", "run", "gaps"),
    [
        ((0, 1, 2), True, "one", 0),
        ((0, 2), True, "one", 1),
        ((0, 1), False, "one", 1),
        ((0, 0), True, "one", 1),
        ((0, 0), False, "", 0),  # of no run: they do not continue each other
    ],
)
def test_replay_of_a_folder_marks_what_is_missing_between_its_files(
    tmp_path: Path, parts: tuple[int, ...], is_closed: bool, run: str, gaps: int
) -> None:
    for number, part in enumerate(parts):
        meta = Meta(instruments=ROWS, instance_id=run, part=part)
        writer = FileWriter(tmp_path / f"{number}.tpr", meta)
        writer.append(RAW, pack_record(5, 0, 0, number + 1, b""), 1, (number + 1, number + 1))
        if is_closed:
            writer.close()
        else:
            writer.abandon()  # its recorder was killed between two blocks
    (told,), _ = replay(tmp_path, "--json")
    assert (told["gaps"], told["fault"]) == (gaps, "")


def test_replay_of_a_cut_record_in_a_sound_block_is_refused_with_its_place(tmp_path: Path) -> None:
    venue = Venue()
    sound = pack_record(1, 2, 0, 5, venue.step())
    writer = FileWriter(tmp_path / "a.tpr", Meta(instruments=ROWS))
    writer.append(RAW, sound + sound[:40], 2, (5, 5))
    writer.close()
    _, done = replay(tmp_path / "a.tpr", "--json")
    assert done.returncode == 2
    assert f"record at byte {len(sound)} of its block" in done.stderr
    assert json.loads(done.stdout)["records"] == 1


def record_file(path: Path, meta: Meta, rows: list[tuple[int, int, int, bytes]]) -> Path:
    """Write (t_ns, kind, opcode, payload) rows of connection 0."""
    writer = FileWriter(path, meta)
    for t_ns, kind, opcode, data in rows:
        writer.append(RAW, pack_record(kind, opcode, 0, t_ns, data), 1, (t_ns, t_ns))
    writer.close()
    return path


def live_rows(venue: Venue, start_ns: int, count: int) -> list[tuple[int, int, int, bytes]]:
    """Return a base and the messages that follow it."""
    body = f"{symbol(0)}\n{rest_body(venue, venue.version)}".encode()
    rows = [(start_ns, 4, 0, body)]
    return rows + [(start_ns + i, 1, 2, venue.step(versions=1)) for i in range(1, count)]


def test_replay_over_a_restart_of_the_reader_turns_its_books_stale(tmp_path: Path) -> None:
    venue = Venue()
    for number, run in enumerate(("one", "two")):
        meta = Meta(instruments=ROWS, instance_id=run)
        record_file(tmp_path / f"{number}.tpr", meta, live_rows(venue, 100 + 1000 * number, 20))
    printed, done = replay(tmp_path, "--print", "books", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr)["runs"] == 2
    states = [one["state"] for one in printed]
    assert states.count("STALE") == 1
    place = states.index("STALE")
    assert printed[place]["t_ns"] == 119  # nothing is known behind the last record
    assert (states[place - 1], states[place + 1]) == ("LIVE", "LIVE")
    assert printed[place + 1]["t_ns"] == 1100
    events, _ = replay(tmp_path, "--print", "events")
    told = [one["state"] for one in events if one["type"] == "STATE"]
    assert told.count("STALE") == 1


@pytest.mark.parametrize(("stream", "gaps"), [(0, 1), (1, 0)])
def test_replay_of_lost_events_loses_no_book(tmp_path: Path, stream: int, gaps: int) -> None:
    """Events are made anew from the raw messages: only where those are missing there is a gap."""
    rows = live_rows(Venue(), 100, 20)
    rows.insert(10, (109, int(lib.TP_RECORD_GAP), 0, struct.pack("<QQ", stream, 7)))
    path = record_file(tmp_path / "a.tpr", Meta(instruments=ROWS, instance_id="one"), rows)
    printed, done = replay(path, "--print", "books", "--json")
    assert json.loads(done.stderr)["gaps"] == gaps
    assert ("STALE" in [one["state"] for one in printed]) == bool(gaps)


def test_pacing_publishes_no_further_than_a_ring_ahead_of_the_slowest() -> None:
    class Consumers:
        def slowest(self, head: int, *, only_lossless: bool) -> tuple[int, int]:
            assert (head, only_lossless) == (5000, True)
            return 4100, 1

    replayer = SimpleNamespace(
        c=SimpleNamespace(ring_limit=0),
        consumers=Consumers(),
        event_count=5000,
        ring_capacity=1024,
        room=100,
    )
    pacing = Pacing("unit", StopFlag(), is_lossless=False, wait_s=0.0)
    assert pacing._set_limit(replayer)  # type: ignore[arg-type]  # all that it looks at
    assert replayer.c.ring_limit == 4100 + 1024
    replayer.room = 125  # one record's events need more than what is left
    assert not pacing._set_limit(replayer)  # type: ignore[arg-type]  # all that it looks at


@pytest.mark.slow
def test_replay_of_what_came_before_the_recording_began_is_not_printed(tmp_path: Path) -> None:
    meta = Meta(instruments=ROWS, instance_id="one", begin_ns=110)
    path = record_file(tmp_path / "a.tpr", meta, live_rows(Venue(), 100, 40))
    printed, _ = replay(path, "--print", "books")
    assert printed[0]["t_ns"] in range(110, 120)
    assert {one["state"] for one in printed} == {"LIVE"}
    # A second recording of the same run holds the same lead again: it begins anew.
    again = msgspec.structs.replace(meta, begin_ns=200)
    record_file(tmp_path / "b.tpr", again, live_rows(Venue(), 100, 120))
    printed, done = replay(tmp_path, "--print", "books", "--json")
    stamps = [one["t_ns"] for one in printed]
    assert stamps == sorted(stamps)
    assert [one["t_ns"] for one in printed if one["state"] == "STALE"] == [139]
    assert json.loads(done.stderr)["gaps"] == 1


@pytest.mark.parametrize(
    ("payload", "key", "said"),
    [
        (b"\x0a\xff\xff\xff", "undecoded", "1 messages of other channels"),
        (None, "broken", "1 broken messages"),
    ],
)
def test_replay_of_a_message_that_moves_no_book_says_so(
    tmp_path: Path, payload: bytes | None, key: str, said: str
) -> None:
    venue = Venue()
    base = line(10, "base", text=rest_body(venue, venue.version), symbol=symbol(0))
    lines = [base, *(push(11 + i, venue.step(versions=1)) for i in range(5))]
    if payload is None:
        wrapper = PushDataV3ApiWrapper.FromString(venue.step(versions=1))
        wrapper.publicAggreDepths.bids.add(price="abc", quantity="1")
        payload = wrapper.SerializeToString()
    lines.append(push(20, payload))
    path = write(tmp_path / "a.ndjson", lines)
    (told,), _ = replay(path, "--ndjson", "--json")
    assert told[key] == 1
    done = subprocess.run(
        [*TICKPATH, "replay", "--ndjson", str(path)], capture_output=True, text=True, check=False
    )
    assert said in done.stdout
    assert done.returncode == (LEFT_OUT if key == "broken" else 0)


@pytest.mark.slow
def test_replay_instance_serves_consumers_and_measures_no_hops(tmp_path: Path) -> None:
    from tickpath.engine.client.reader import open_reader  # noqa: PLC0415 - only here
    from tickpath.shm.control_segment import consumers  # noqa: PLC0415 - only here
    from tickpath.shm.segment import DIRECTORY, SegmentError  # noqa: PLC0415 - only here

    rows = live_rows(Venue(), 100, 3000)
    rows = [(row[0] * 5_000_000, *row[1:]) for row in rows]  # a message each 5 ms
    path = record_file(tmp_path / "a.tpr", Meta(instruments=ROWS, instance_id="one"), rows)
    name = f"replay-serve-{tmp_path.name}"
    command = [*TICKPATH, "replay", str(path), "--instance", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            found: list[str] = []
            while process.poll() is None and not found:
                try:
                    with open_reader(name, name="watcher") as reader:
                        if reader.shm.is_registered:
                            found = [one.name for one in consumers(reader.shm.segment)]
                except SegmentError:
                    continue
            words = ["strategy", "tickpath.engine.strategy.spread:Spread", "--instance", name]
            command = [*TICKPATH, *words, "--seconds", "0.5", "--json"]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            process.terminate()
    assert found == ["watcher"]
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout.splitlines()[-1])
    assert summary["counters"]["tops"] > 0
    # The stamps are of the recording's day: no latency can be told from them.
    assert {hop["n"] for hop in summary["hops"].values()} == {0}
    assert not list(DIRECTORY.glob(f"tickpath.{name}*"))


def counted(rows: int, tmp_path: Path, *, runs: int = 1) -> tuple[list[Path], int]:
    """Record; return the files and how many events a replay publishes."""
    files = []
    for number in range(runs):
        meta = Meta(instruments=ROWS, instance_id=f"run {number}")
        files.append(record_file(tmp_path / f"{number}.tpr", meta, live_rows(Venue(), 100, rows)))
    command = [*TICKPATH, "replay", *map(str, files), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return files, int(json.loads(done.stdout)["events"])


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 2])
def test_replay_flat_out_waits_for_its_strategy_which_loses_nothing(
    tmp_path: Path, runs: int
) -> None:
    files, events = counted(40_000 // runs, tmp_path, runs=runs)
    assert events > RING_CAPACITY, "a ring that holds them all would prove nothing"
    name = f"replay-wait-{tmp_path.name}"
    words = ["strategy", "tickpath.engine.strategy.spread:Spread", "--instance", name]
    strategy_command = [*TICKPATH, *words, "--json", "--wait", "60", "--seconds", "60"]
    command = [*TICKPATH, "replay", *map(str, files), "--instance", name, "--speed", "max"]
    with subprocess.Popen(strategy_command, stdout=subprocess.PIPE, text=True) as strategy:
        done = subprocess.run(
            [*command, "--wait", "60"], capture_output=True, text=True, check=False
        )
        time.sleep(1.0)  # for what the last ring holds
        strategy.send_signal(signal.SIGTERM)
        assert strategy.stdout is not None
        summary = json.loads(strategy.stdout.read())
    assert done.returncode == 0, done.stderr
    assert "waiting up to 60 s for a consumer" in done.stderr
    assert summary["counters"]["lost"] == 0
    assert summary["counters"]["events"] == events


SLOW_TO_START = """
import time
from tickpath import Strategy

class Slow(Strategy):
    seen = 0

    def on_start(self):
        time.sleep(0.5)

    def on_event(self, event):
        self.seen += 1
        if self.seen == {events}:
            raise SystemExit(0)
"""


def test_short_replay_waits_for_a_strategy_that_is_slow_to_start(tmp_path: Path) -> None:
    files, events = counted(300, tmp_path)
    assert 0 < events < RING_CAPACITY, "one that fills the ring waits for other reasons"
    (tmp_path / "slow.py").write_text(SLOW_TO_START.format(events=events))
    name = f"replay-slow-{tmp_path.name}"
    words = ["strategy", f"{tmp_path / 'slow.py'}:Slow", "--instance", name, "--json"]
    strategy_command = [*TICKPATH, *words, "--wait", "60", "--seconds", "20"]
    command = [*TICKPATH, "replay", str(files[0]), "--instance", name, "--speed", "max"]
    with subprocess.Popen(strategy_command, stdout=subprocess.PIPE, text=True) as strategy:
        subprocess.run([*command, "--wait", "60"], capture_output=True, check=True)
        assert strategy.stdout is not None
        counters = json.loads(strategy.stdout.read())["counters"]
    assert (counters["events"], counters["lost"]) == (events, 0)


def test_replay_says_that_no_consumer_came_and_goes_on(tmp_path: Path) -> None:
    files, events = counted(100, tmp_path)
    name = f"replay-alone-{tmp_path.name}"
    command = [*TICKPATH, "replay", str(files[0]), "--instance", name, "--speed", "max", "--json"]
    done = subprocess.run([*command, "--wait", "0.1"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["events"] == events
    assert f"no consumer registered with {name} within 0.1 s" in done.stderr
    done = subprocess.run([*command, "--no-lossless"], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words", [("--from", "-1"), ("--wait", "-1"), ("--wait", "nan"), ("--lossless",)]
)
def test_replay_refuses_times_and_waits_that_cannot_be(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    command = [*TICKPATH, "replay", str(tmp_path), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words[0] in done.stderr


def test_replay_of_several_files_is_that_of_their_folder(tmp_path: Path) -> None:
    venue = Venue()
    files = []
    for number in range(2):
        meta = Meta(instruments=ROWS, instance_id="one", part=number)
        rows = live_rows(venue, 100 * (number + 1), 20)
        files.append(record_file(tmp_path / f"{number}.tpr", meta, rows))
    whole, _ = replay(tmp_path, "--print", "books")
    several, done = replay(files[0], str(files[1]), "--print", "books")
    assert done.returncode == 0, done.stderr
    assert several[-1]["t_ns"] > 200  # of the second
    assert several == whole


def test_replay_usage_faults_name_value_and_remedy(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("vm\n")
    path = write(tmp_path / "a.ndjson", session(40)[0])
    bad = write(tmp_path / "b.ndjson", [line(1, "sideways", text="x")])
    for words, said in (
        ((path, "--ndjson", "--from", "5", "--to", "1"), "--to 1: expected --from 5 or later"),
        ((short,), "its first bytes are 76 6d 0a"),
        ((bad, "--ndjson"), "in, out, base"),
        ((path, "--ndjson", "--instruments", str(short)), "--instruments"),
        ((path, str(path), "--ndjson"), "2 files, expected one"),
    ):
        _, done = replay(*words)
        assert done.returncode == 2
        assert said in done.stderr
