"""What the demo's tables are made of: counts over restarts, averages, and their size in cells."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from rich.console import Console
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.engine.commands.live_view import (
    SPREAD_COUNTERS,
    Counted,
    LiveView,
    Seen,
    Top,
    merge_histograms,
    rates_between,
    spread_of,
)
from tickpath.engine.strategy.stats import COUNTERS, StrategyStats, create_stats
from tickpath.proto.instrument import Instrument, Symbol
from tickpath.proto.records import BOOK_HEAD_STRUCT, BOOK_WORDS, BookState
from tickpath.shm.histogram import HEADER_WORDS, Percentiles, percentiles
from tickpath.shm.segment import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOPS = ("received_to_taken", "taken_to_decoded", "decoded_to_published")
COUNTED = ("feed.messages", "feed.gaps")


def instruments(count: int) -> list[Instrument]:
    return [Instrument(index, "mexc", f"SYM{index:04}USDT", -2, -6) for index in range(count)]


class Writer:
    """A feed handler's segment, without the process."""

    def __init__(
        self, directory: Path, count: int = 2, rows: list[Instrument] | None = None
    ) -> None:
        rows = rows or instruments(count)
        layout = make_layout(rows, ring_capacity=64, counters=COUNTED, histograms=HOPS)
        self.segment = SegmentWriter("unit", layout, directory=directory)
        write_instruments(self.segment, rows)
        self.instruments = rows
        self.segment.ready()
        self.segment.heartbeat()

    def count(self, messages: int, latencies_ns: list[int]) -> None:
        self.segment.store_counter(0, messages)
        histogram = lib.tp_segment_histogram(self.segment.pointer, 0)
        for value in latencies_ns:
            lib.tp_histogram_record(histogram, value)

    def publish(self, instrument: int, bid: tuple[int, int], ask: tuple[int, int]) -> None:
        stamps, row = (1, 1, 1, 1, 1, 1, 0), self.instruments[instrument]
        scale = row.price_exponent, row.quantity_exponent
        rest = (instrument, 0, BookState.LIVE, 0, 1, 1, *scale, 0, 1)
        record = BOOK_HEAD_STRUCT.pack(7, *stamps, *rest)
        record += struct.pack("<2q", *bid).ljust(320, b"\0") + struct.pack("<2q", *ask)
        words = ffi.new("uint64_t[]", BOOK_WORDS)
        ffi.buffer(words)[:] = record.ljust(BOOK_WORDS * 8, b"\0")
        snapshots = lib.tp_segment_snapshot_writer(self.segment.pointer)
        lib.tp_snapshot_publish(snapshots, instrument, 0, words, BOOK_WORDS)


@pytest.fixture
def view(tmp_path: Path) -> Iterator[LiveView]:
    view = LiveView("unit", directory=tmp_path)
    yield view
    view.close()


def test_look_without_a_segment_sees_nothing(view: LiveView) -> None:
    assert not view.look()
    assert (view.tops(), view.hops(), view.messages(), view.restarts) == ([], [], 0, 0)
    assert view.average().messages == 0


def test_look_counts_over_a_restart_of_the_writer(view: LiveView, tmp_path: Path) -> None:
    first = Writer(tmp_path)
    first.count(100, [10, 1000])
    assert view.look()
    first.count(150, [20])  # after the last look at the living one
    first.segment.close()
    second = Writer(tmp_path)
    second.count(7, [5, 70_000])
    for _ in range(100):
        view.look()
        if view.restarts:
            break
    assert view.restarts == 1
    assert view.messages() == 157
    assert view.counters()["feed.gaps"] == 0
    (hop,) = view.hops()
    assert (hop.count, hop.maximum, hop.unit) == (5, 70_000, "ns")
    assert view.restarted() == ["feed handler restarted 1 time"]
    second.segment.close()


def test_merge_histograms_equals_one_that_recorded_all(tmp_path: Path) -> None:
    layout = make_layout(instruments(1), histograms=("a", "b", "both"))
    random = np.random.default_rng(1)
    with SegmentWriter("unit", layout, directory=tmp_path) as segment:
        parts = [lib.tp_segment_histogram(segment.pointer, index) for index in range(3)]
        for part, scale in ((0, 5_000), (1, 900_000)):
            for value in random.integers(1, scale, 500).tolist():
                lib.tp_histogram_record(parts[part], value)
                lib.tp_histogram_record(parts[2], value)
        words = segment.histogram_words()
        merged = merge_histograms(words["a"].copy(), words["b"].copy())
        assert percentiles(merged) == percentiles(words["both"])
        assert (merged == words["both"]).all()


def test_rates_between_are_averages_over_the_time() -> None:
    before = Counted(10.0, {"feed.messages": 100}, (40, 60), {})
    after = Counted(14.0, {"feed.messages": 900}, (40, 460), {})
    rates = rates_between(before, after)
    assert (rates.seconds, rates.messages, rates.books) == (4.0, 200.0, (0.0, 100.0))
    assert rates_between(after, after).books == (0.0, 0.0)


def test_tops_before_the_first_book_have_no_prices(view: LiveView, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.publish(1, (9300001, 5), (9300002, 1_500_000))
    view.look()
    never, known = view.tops()
    assert (never.bid, never.ask, never.bid_quantity, never.ask_quantity) == (None,) * 4
    assert (known.bid, known.ask) == ("93000.01", "93000.02")
    assert (known.bid_quantity, known.ask_quantity) == ("0.000005", "1.500000")
    assert "0.00" not in printed(view.books_table(view.average()), 80)[1]
    writer.segment.close()


def printed(what: Any, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


def fill(view: LiveView, writer: Writer, count: int) -> None:
    """Make every cell as wide as a long day on a busy machine makes it."""
    for index in range(count):
        writer.publish(index, (12_345_678, 98_765_432_100), (12_345_679, 98_765_432_100))
    view.look()
    slow = Percentiles(n=98_765_432, p50=48_758_780, p99=48_758_780, p999=48_758_780, max=10**9)
    counters = dict.fromkeys(COUNTERS, 98_765_432)
    for name in ("spread", "crossing"):
        hops = {"published_to_seen": slow, "received_to_seen": slow}
        stats = StrategyStats(name, "unit", counters, hops, is_running=True)
        view._strategies[name] = Seen(stats, 0.0)
    words = np.zeros_like(next(iter(view._now.histograms.values())))
    words[2], words[3] = (1 << 64) - 1, 10**9  # ~min, max
    words[HEADER_WORDS + lib.tp_histogram_bucket(slow.p50)] = slow.n
    view._now = Counted(view._now.at, {}, view._now.versions, dict.fromkeys(HOPS, words))


@pytest.mark.parametrize("count", [1, 4, 100])
def test_render_fits_a_terminal_of_80_by_24(view: LiveView, tmp_path: Path, count: int) -> None:
    writer = Writer(tmp_path, count)
    fill(view, writer, count)
    lines = printed(view.render(80, 24), 80)
    assert len(lines) <= 23
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert text.count("48,759") >= 12  # two hops of two strategies, nothing wrapped or cut
    assert len([line for line in printed(view.hops_table(80), 80) if len(line) > 78]) == 0
    assert text.count("123456.78") == min(count, 8)
    assert ("more" in text) == (count == 100)
    writer.segment.close()


# ---- several venues ------------------------------------------------------------------------------

VENUES = ("binance", "kraken", "mexc")


def rows_of(count: int) -> list[Instrument]:
    """List so many instruments of each venue, venue by venue."""
    names = [Symbol(f"SYM{index:04}", "USDT") for index in range(count)]
    rows = [(venue, name) for venue in VENUES for name in names]
    return [
        Instrument(index, venue, f"{name.base}USDT", -2, -6, name=name)
        for index, (venue, name) in enumerate(rows)
    ]


def test_books_of_one_instrument_are_beside_each_other(view: LiveView, tmp_path: Path) -> None:
    writer = Writer(tmp_path, rows=rows_of(2))
    for index in range(6):
        writer.publish(index, (9_300_000 + index, 5), (9_300_010 + index, 7))
    view.look()
    lines = printed(view.books_table(view.average()), 80)
    assert [line.split()[:2] for line in lines[1:]] == [
        [f"SYM000{number}/USDT", venue] for number in range(2) for venue in VENUES
    ]
    assert view.venues() == list(VENUES)
    writer.segment.close()


def test_spread_is_of_the_best_of_all_and_counts_are_the_strategys(
    view: LiveView, tmp_path: Path
) -> None:
    writer = Writer(tmp_path, rows=rows_of(1))
    own = [f"SYM0000/USDT.{one}" for one in SPREAD_COUNTERS]
    stats = create_stats("unit", "spread", own, directory=tmp_path)
    for index, value in enumerate((400, 20, 4, 30_000, 2_500), len(COUNTERS)):
        stats.store_counter(index, value)
    for index, (bid, ask) in enumerate(((10_000, 10_100), (10_150, 10_200), (9_000, 10_120))):
        writer.publish(index, (bid, 5), (ask, 5))
    view.look()
    (one,) = view.spreads()
    assert (one.bid, one.bid_venue, one.ask, one.ask_venue) == (
        "101.50",
        "kraken",
        "101.00",
        VENUES[0],
    )
    assert one.bps == pytest.approx(49.50495)
    assert (one.compared, one.crossed, one.crossings) == (400, 20, 4)
    assert (one.mean_bps, one.widest_bps) == (1.5, 2.5)
    line = printed(view.spread_table(), 80)[1]
    assert line.split() == [
        *("SYM0000/USDT", "101.50", "kraken", "101.00", "binance", "+49.50", "5.0%", "4", "2.50")
    ]
    stats.close()
    writer.segment.close()


def test_spread_leaves_out_what_is_not_live_or_has_no_price() -> None:
    def top(venue: str, bid: str | None, ask: str | None, state: BookState) -> Top:
        return Top(0, venue, "X", "X/Y", state, bid, "1", ask, "1")

    live = top("mexc", "1.00", "1.01", BookState.LIVE)
    stale = top("kraken", "2.00", "2.01", BookState.STALE)
    empty = top("binance", None, None, BookState.LIVE)
    one = spread_of("X/Y", [live, stale, empty], {})
    assert (one.bid, one.ask) == ("1.00", "1.01")
    assert one.bps is not None
    assert one.bps < 0
    none = spread_of("X/Y", [stale, empty], {})
    assert (none.bid, none.ask, none.bps) == (None, None, None)


def test_one_venue_has_no_spreads_and_no_column_of_venues(view: LiveView, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.publish(0, (1, 1), (2, 1))
    view.look()
    assert view.spreads() == []
    assert "venue" not in printed(view.books_table(view.average()), 80)[0]
    writer.segment.close()


@pytest.mark.parametrize("count", [1, 4, 30])
def test_render_of_three_venues_fits_a_terminal_of_80_by_24(
    view: LiveView, tmp_path: Path, count: int
) -> None:
    writer = Writer(tmp_path, rows=rows_of(count))
    fill(view, writer, 3 * count)
    view.beside = "one message alone " * 7
    lines = printed(view.render(80, 24), 80)
    assert len(lines) <= 23
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert text.count("98765.432100") >= 2 * 3  # the books of an instrument at least, not cut
    assert text.count("48,759") >= 12
    assert "spread" in text
    assert ("more" in text) == (count > 1)
    tall = printed(view.render(120, 60), 120)
    assert len(tall) <= 59
    writer.segment.close()


def test_headline_is_of_the_strategy_that_compares(view: LiveView, tmp_path: Path) -> None:
    assert view.headline() == "no book has reached a strategy yet"
    writer = Writer(tmp_path, rows=rows_of(1))
    fill(view, writer, 3)
    assert view.headline() == (
        "98,765,432 books of 3 venues reached strategy spread 48,759 µs after their frame "
        "(p50; p99 48,759 µs)"
    )
    writer.segment.close()


def test_headline_is_of_the_inline_strategy_where_one_runs(view: LiveView, tmp_path: Path) -> None:
    writer = Writer(tmp_path, rows=rows_of(1))
    fill(view, writer, 3)
    seen = view._strategies["crossing"]
    fast = Percentiles(n=7, p50=1_500, p99=9_000, p999=9_000, max=9_000)
    hops = {"published_to_seen": fast, "received_to_seen": fast}
    inline = msgspec.structs.replace(seen.stats, placement="inline native", hops=hops)
    view._strategies["crossing"] = Seen(inline, 0.0)
    assert view.headline() == (
        "7 books of 3 venues reached strategy crossing (inline native) 1.50 µs after their frame "
        "(p50; p99 9.00 µs)"
    )
    placements = {hop.where: hop.placement for hop in view.hops()}
    assert placements == {"feed handler": "", "spread": "split", "crossing": "inline native"}
    for width in (80, 120):
        lines = printed(view.hops_table(width), width)
        assert max(len(line) for line in lines) <= width
        assert any("(inline native)" in line for line in lines) == (width == 120)
    writer.segment.close()


def test_hops_table_on_a_wide_terminal_has_long_names(view: LiveView, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    fill(view, writer, 2)
    lines = printed(view.hops_table(120), 120)
    assert len(lines) == 8
    assert any("frame received → strategy saw it" in line for line in lines)
    assert max(len(line) for line in lines) <= 120
    writer.segment.close()


def test_strategies_that_end_stay_and_say_so(view: LiveView, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    stats = create_stats("unit", "spread", directory=tmp_path)
    stats.store_counter(COUNTERS.index("tops"), 42)
    stats.store_counter(COUNTERS.index("lost"), 3)
    stats.store_counter(COUNTERS.index("laps"), 1)
    view.look()
    (running,) = view.strategies()
    assert (running["messages"], running["lost"], running["is_running"]) == (42, 3, True)
    stats.close()
    view.look()
    (line,) = view.strategy_lines()
    assert line.startswith("spread (split): 42 messages since it started ")
    assert line.endswith(" s ago, 3 events lost in 1 laps: ENDED")
    assert msgspec.json.encode(view.strategies())
    writer.segment.close()
