"""docs/shared-memory.md is enough: the example that was written from it follows a live segment."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import random
import struct
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import lib
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BookState, EventType, SyncReason
from tickpath.shm.segment import SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "pure_reader.py"
CODE_LINES_MAX = 80
SCALE = (-2, -6)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "MXUSDT")
INSTRUMENTS = [Instrument(i, "mexc", symbol, -2, -6) for i, symbol in enumerate(SYMBOLS)]


@pytest.fixture(scope="module")
def reader() -> Any:
    spec = importlib.util.spec_from_file_location("pure_reader", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["SILENT_NS"] = 60 * 10**9  # a busy test machine is no silent writer
    return module


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with (
        RehearsalFeed("pure", INSTRUMENTS, directory=tmp_path, ring_capacity=64) as feed,
        beating(feed),
    ):
        yield feed


@contextlib.contextmanager
def beating(feed: RehearsalFeed) -> Iterator[None]:
    """Move the heartbeat as a writer does."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(0.001):
            feed.heartbeat()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def some_tops(seed: int, count: int) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    draw = random.Random(seed)
    return [
        (
            draw.randrange(len(SYMBOLS)),
            (draw.randrange(1, 10**15), draw.randrange(1, 10**15)),
            (draw.randrange(1, 10**15), draw.randrange(1, 10**15)),
        )
        for _ in range(count)
    ]


def test_pure_reader_is_eighty_lines_on_the_standard_library() -> None:
    text = EXAMPLE.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    imports = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imports <= sys.stdlib_module_names
    code = [line for line in text.splitlines() if line.strip() and '"""' not in line]
    after_imports = code[code.index("from struct import unpack_from") + 1 :]
    assert len(after_imports) <= CODE_LINES_MAX


def test_pure_reader_follows_books_and_events(reader: Any, feed: RehearsalFeed) -> None:
    tops = some_tops(1, 30)  # 25 x 2 events then: less than the ring holds
    first, rest = tops[:5], tops[5:]
    for instrument, bid, ask in first:
        feed.publish_top(bid, ask, instrument)
    seen = reader.follow(reader.Segment(feed.segment.path))
    latest = {SYMBOLS[i]: (bid, ask) for i, bid, ask in first}
    joined = list(islice(seen, len(SYMBOLS)))
    assert {
        symbol: (bid, ask) for symbol, state, bid, ask, _ in joined if state == "LIVE"
    } == latest
    for instrument, bid, ask in rest:
        feed.publish_top(bid, ask, instrument)
        feed.publish_event(EventType.LEVEL, (*bid, 0, 0), instrument)
    assert list(islice(seen, len(rest))) == [
        (SYMBOLS[i], "LIVE", bid, ask, SCALE) for i, bid, ask in rest
    ]


def test_pure_reader_that_is_lapped_joins_anew_with_the_latest_books(
    reader: Any, feed: RehearsalFeed
) -> None:
    feed.publish_top((1, 1), (2, 2))
    seen = reader.follow(reader.Segment(feed.segment.path))
    assert list(islice(seen, 3)) == [
        ("BTCUSDT", "LIVE", (1, 1), (2, 2), SCALE),
        ("ETHUSDT", "SYNCING", (0, 0), (0, 0), (0, 0)),
        ("MXUSDT", "SYNCING", (0, 0), (0, 0), (0, 0)),
    ]
    tops = some_tops(2, 200)  # more than three times round the ring
    for instrument, bid, ask in tops:
        feed.publish_top(bid, ask, instrument)
    latest = {SYMBOLS[i]: (bid, ask) for i, bid, ask in tops}
    assert {symbol: (bid, ask) for symbol, _, bid, ask, _ in islice(seen, 3)} == latest


def test_pure_reader_gives_levels_best_first(reader: Any, feed: RehearsalFeed) -> None:
    bids, asks = [(100, 5), (99, 6)], [(101, 7), (103, 8), (104, 9)]
    feed.publish_book(bids, asks, 1)
    segment = reader.Segment(feed.segment.path)
    assert segment.snapshot(1) == (0, "LIVE", bids, asks, SCALE)
    assert segment.snapshot(0) == (0, "SYNCING", [], [], (0, 0))


def test_pure_reader_tells_states(reader: Any, feed: RehearsalFeed) -> None:
    feed.publish_top((1, 1), (2, 2))
    seen = reader.follow(reader.Segment(feed.segment.path))
    assert len(list(islice(seen, 3))) == 3
    feed.publish_state(BookState.STALE, SyncReason.GAP)
    assert next(seen)[:2] == ("BTCUSDT", "STALE")


def test_pure_reader_of_a_writer_that_fell_silent_says_stale_until_it_is_back(
    reader: Any, tmp_path: Path
) -> None:
    reader.SILENT_NS = 10_000_000
    with RehearsalFeed("pure", INSTRUMENTS, directory=tmp_path) as feed:
        feed.publish_top((1, 1), (2, 2))
        seen = reader.follow(reader.Segment(feed.segment.path))
        silent = [(symbol, "STALE", (0, 0), (0, 0), (0, 0)) for symbol in SYMBOLS]
        assert list(islice(seen, 3)) == silent  # dead from the start: nothing is called LIVE
        reader.SILENT_NS = 60 * 10**9
        with beating(feed):
            assert next(seen) == ("BTCUSDT", "LIVE", (1, 1), (2, 2), SCALE)


def test_pure_reader_ends_with_its_writer(reader: Any, tmp_path: Path) -> None:
    feed = RehearsalFeed("pure", INSTRUMENTS, directory=tmp_path)
    segment = reader.Segment(feed.segment.path)
    feed.close()
    assert list(reader.follow(segment)) == []


DAMAGES = {  # where, what is written there, what the refusal names
    "magic": (0, "=B", 0xFF, "TICKPATH"),
    "byte order": (8, "=B", 0xFF, "72623859790382856"),
    "version": (16, "=H", 1, "expected"),
    "static size": (24, "=Q", 1 << 40, "CRC-32"),
    "schema hash": (40, "=Q", 1, "schema.*3292036230924556471"),
    "words": (68, "=I", 93, "93.*expected.*94"),
    "ring count": (368, "=I", 3, "ring"),
    "table offset": (232, "=Q", 1 << 60, f"table, 19 at {1 << 60}"),
    "static part": (200, "=B", 0x55, "CRC-32"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_pure_reader_refuses_what_the_page_says_with_the_value(
    reader: Any, feed: RehearsalFeed, tmp_path: Path, damage: str
) -> None:
    data = bytearray(Path(feed.segment.path).read_bytes())
    offset, form, value, named = DAMAGES[damage]
    struct.pack_into(form, data, offset, value)
    file = tmp_path / "damaged"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=named):
        reader.Segment(file)


def test_pure_reader_tells_a_truncation_before_and_after_it_opened(
    reader: Any, feed: RehearsalFeed, tmp_path: Path
) -> None:
    file = tmp_path / "cut"
    file.write_bytes(Path(feed.segment.path).read_bytes())
    segment = reader.Segment(file)
    with file.open("r+b") as opened:
        opened.truncate(8192)
    for act, given in ((segment.snapshot, 0), (reader.Segment, file)):
        with pytest.raises(ValueError, match="bytes in the file: 8192, expected"):
            act(given)


def test_pure_reader_of_a_snapshot_that_never_holds_still_ends(
    reader: Any, feed: RehearsalFeed, tmp_path: Path
) -> None:
    data = bytearray(Path(feed.segment.path).read_bytes())
    (index,) = struct.unpack_from("=Q", data, 328)
    struct.pack_into("=Q", data, index, 1 << 40)
    file = tmp_path / "wrong"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=f"version {1 << 40}"):
        reader.Segment(file).snapshot(0)


def test_pure_reader_of_another_segment_is_refused_by_its_schema(
    reader: Any, tmp_path: Path
) -> None:
    layout = SegmentLayout(schema="other 1\n", ring_capacity=64)
    with SegmentWriter("pure.raw", layout, directory=tmp_path) as writer:
        writer.ready()
        with pytest.raises(ValueError, match="schema"):
            reader.Segment(tmp_path / "tickpath.pure.raw")


@pytest.mark.parametrize("words", [[], ["/nonexistent"], ["/dev/null"], ["/"], ["a", "b"]])
def test_pure_reader_wrong_arguments_are_told_in_one_line(words: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-I", EXAMPLE, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("pure_reader.py: ")
    assert ended.stderr.count("\n") == 1


def test_pure_reader_runs_as_a_program(feed: RehearsalFeed) -> None:
    feed.publish_top((12, 34), (56, 78), 2)
    process = subprocess.Popen(
        [sys.executable, "-I", EXAMPLE, feed.segment.path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = (json.loads(line) for line in process.stdout)
    line = next(line for line in lines if line["state"] == "LIVE")
    feed.segment.live.state = lib.TP_SEGMENT_CLOSING
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    assert line == {
        "symbol": "MXUSDT",
        "state": "LIVE",
        "bid": [12, 34],
        "ask": [56, 78],
        "scale": [-2, -6],
    }
