"""docs/shared-memory.md is enough: the example that was written from it follows a live segment."""

from __future__ import annotations

import ast
import importlib.util
import json
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.feed_segment import Instrument
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.records import EventType

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "pure_reader.py"
CODE_LINES_MAX = 60
SYMBOLS = ("BTCUSDT", "ETHUSDT", "MXUSDT")
INSTRUMENTS = [Instrument(i, "mexc", symbol, -2, -6) for i, symbol in enumerate(SYMBOLS)]


@pytest.fixture(scope="module")
def reader() -> Any:
    spec = importlib.util.spec_from_file_location("pure_reader", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with RehearsalFeed("pure", INSTRUMENTS, directory=tmp_path, ring_capacity=64) as feed:
        yield feed


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


def test_pure_reader_is_sixty_lines_on_the_standard_library() -> None:
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
    joined = list(islice(seen, len(latest)))
    assert {symbol: (bid, ask) for symbol, bid, ask in joined} == latest
    for instrument, bid, ask in rest:
        feed.publish_top(bid, ask, instrument)
        feed.publish_event(EventType.LEVEL, (*bid, 0, 0), instrument)
    assert list(islice(seen, len(rest))) == [(SYMBOLS[i], bid, ask) for i, bid, ask in rest]


def test_pure_reader_that_is_lapped_joins_anew_with_the_latest_books(
    reader: Any, feed: RehearsalFeed
) -> None:
    feed.publish_top((1, 1), (2, 2))
    seen = reader.follow(reader.Segment(feed.segment.path))
    assert next(seen) == ("BTCUSDT", (1, 1), (2, 2))
    tops = some_tops(2, 200)  # more than three times round the ring
    for instrument, bid, ask in tops:
        feed.publish_top(bid, ask, instrument)
    latest = {SYMBOLS[i]: (bid, ask) for i, bid, ask in tops}
    assert {symbol: (bid, ask) for symbol, bid, ask in islice(seen, 3)} == latest


def test_pure_reader_gives_levels_best_first(reader: Any, feed: RehearsalFeed) -> None:
    bids, asks = [(100, 5), (99, 6)], [(101, 7), (103, 8), (104, 9)]
    feed.publish_book(bids, asks, 1)
    segment = reader.Segment(feed.segment.path)
    assert segment.snapshot(1) == (0, 1, bids, asks)
    assert segment.snapshot(0) is None


def test_pure_reader_ends_with_its_writer(reader: Any, tmp_path: Path) -> None:
    feed = RehearsalFeed("pure", INSTRUMENTS, directory=tmp_path)
    segment = reader.Segment(feed.segment.path)
    feed.close()
    assert list(reader.follow(segment)) == []


@pytest.mark.parametrize("damage", ["truncated", "magic", "version", "byte order", "static part"])
def test_pure_reader_refuses_what_the_page_says(
    reader: Any, feed: RehearsalFeed, tmp_path: Path, damage: str
) -> None:
    data = bytearray(Path(feed.segment.path).read_bytes())
    offset = {"magic": 0, "byte order": 8, "version": 16, "static part": 200}.get(damage)
    if offset is None:
        del data[-4096:]
    else:
        data[offset] ^= 0xFF
    file = tmp_path / "damaged"
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        reader.Segment(file)


def test_pure_reader_runs_as_a_program(feed: RehearsalFeed) -> None:
    feed.publish_top((12, 34), (56, 78), 2)
    process = subprocess.Popen(
        [sys.executable, "-I", EXAMPLE, feed.segment.path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    feed.close()
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    assert line == {"symbol": "MXUSDT", "bid": [12, 34], "ask": [56, 78]}
