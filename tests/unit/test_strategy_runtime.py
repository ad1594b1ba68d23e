"""The strategy loop: who is told what, in which order, and what is counted."""

from __future__ import annotations

import gc
import itertools
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.client.feed_segment import write_instrument
from tickpath.engine.client.reader import FeedReader, open_reader
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.runtime import Placement, Runtime, prepared, yield_ns
from tickpath.engine.strategy.stats import create_stats, read_stats, running
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BookState, EventType, SyncReason
from tickpath.rt.limits import Throttling
from tickpath.shm.reader import Result
from tickpath.shm.segment import SegmentLockedError, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSTRUMENTS = (
    Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),
    Instrument(1, "mexc", "ETHUSDT", -2, -5, 1),
)


class Recorder(Strategy):
    """Write down all that it is told; stop, or go on, as the test's plan says."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.plan: list[Callable[[], None]] = []

    def on_start(self) -> None:
        self.told.append("start")

    def on_book(self, instrument: Instrument, book: Any) -> None:
        self.told.append((instrument.symbol, book.bid, book.ask, book.is_live))

    def on_event(self, event: Any) -> None:
        self.told.append(EventType(event.type).name)

    def on_state(self, instrument: Instrument, state: BookState, reason: SyncReason) -> None:
        self.told.append((instrument.symbol, state.name, reason.name))

    def on_lapped(self, lost: int) -> None:
        self.told.append(("lapped", lost))

    def on_restart(self) -> None:
        self.told.append("restart")

    def on_idle(self) -> None:
        if self.plan:
            self.plan.pop(0)()

    def on_stop(self) -> None:
        self.told.append("stop")


class Stage:
    """A feed, a reader of it and a runtime, in one process."""

    def __init__(self, directory: Path, strategy: Strategy) -> None:
        self.directory = directory
        self.feed = self.make_feed()
        # A busy test machine must not make the writer look silent.
        self.reader: FeedReader = open_reader(
            "unit", directory=directory, stale_after_ns=60 * 10**9
        )
        self.stats: SegmentWriter = create_stats("unit", "recorder", directory=directory)
        self.runtime = Runtime(strategy, self.reader, self.stats)

    def make_feed(self) -> RehearsalFeed:
        return RehearsalFeed("unit", INSTRUMENTS, directory=self.directory, ring_capacity=64)

    def close(self) -> None:
        self.reader.close()
        self.stats.close()
        self.feed.close()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def stage(tmp_path: Path, recorder: Recorder) -> Iterator[Stage]:
    stage = Stage(tmp_path, recorder)
    yield stage
    stage.close()


START = [
    "start",
    ("BTCUSDT", "SYNCING", "STARTING"),
    ("ETHUSDT", "SYNCING", "STARTING"),
]


class Pair(Strategy):
    """Compare each book with the other instrument's, as one that trades pairs does."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.plan: list[Callable[[], None]] = []

    def on_idle(self) -> None:
        self.plan.pop(0)()

    def on_book(self, instrument: Instrument, book: Any) -> None:
        other = self.reader.book(1 - instrument.index)
        self.seen.append((instrument.index, book.instrument, book.bid, other.bid))


def test_runtime_leaves_the_book_in_hand_alone_when_another_is_read(tmp_path: Path) -> None:
    strategy = Pair()
    stage = Stage(tmp_path, strategy)

    def publish() -> None:
        stage.feed.publish_top((100, 1), (101, 1), 0)
        stage.feed.publish_top((200, 1), (201, 1), 1)

    strategy.plan = [publish, stage.runtime.stop]
    stage.runtime.run()
    stage.close()
    assert strategy.seen == [(0, 0, (100, 1), (200, 1)), (1, 1, (200, 1), (100, 1))]


def test_runtime_tells_books_and_events_in_order(stage: Stage, recorder: Recorder) -> None:
    def publish() -> None:
        stage.feed.publish_event(EventType.LEVEL, (99, 5, 0, 1))
        stage.feed.publish_top((100, 1), (101, 2), instrument=1)

    def spoil() -> None:
        stage.feed.publish_state(BookState.STALE, SyncReason.GAP, instrument=1)

    recorder.plan = [publish, spoil, stage.runtime.stop]
    stage.runtime.run()
    assert recorder.told == [
        *START,
        "LEVEL",
        ("ETHUSDT", (100, 1), (101, 2), True),
        "TOP",
        ("ETHUSDT", "STALE", "GAP"),
        "STATE",
        "stop",
    ]


def test_runtime_tells_trades_and_best_prices_apart_from_books(tmp_path: Path) -> None:
    class Market(Strategy):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def on_book(self, instrument: Instrument, book: Any) -> None:
            self.told.append(("book", instrument.symbol))

        def on_trade(self, instrument: Instrument, event: Any) -> None:
            word = (instrument.symbol, event.taker, event.price, event.quantity, event.trade_id)
            self.told.append(word)

        def on_best(self, instrument: Instrument, event: Any) -> None:
            self.told.append(("best", instrument.symbol, *event.value))

        def on_idle(self) -> None:
            if not self.told:
                scene.feed.publish_event(EventType.TRADE, (100, 5, 7, 42), instrument=1)
                scene.feed.publish_event(EventType.BEST, (99, 1, 101, 2))
                scene.feed.publish_top((100, 1), (101, 2))
            else:
                scene.runtime.stop()

    strategy = Market()
    scene = Stage(tmp_path, strategy)
    try:
        scene.runtime.run(10)
    finally:
        scene.close()
    assert strategy.told == [
        ("ETHUSDT", "buy", 100, 5, 42),
        ("best", "BTCUSDT", 99, 1, 101, 2),
        ("book", "BTCUSDT"),
    ]
    assert scene.runtime.counts.tops == 1, "no book was made of them"


def test_runtime_joins_at_the_head_after_on_start(tmp_path: Path) -> None:
    class Slow(Recorder):
        def on_start(self) -> None:
            for price in range(100):  # more than the ring holds: not a lap
                scene.feed.publish_top((price, 1), (price + 1, 1))
            self.plan = [scene.runtime.stop]

    strategy = Slow()
    scene = Stage(tmp_path, strategy)
    try:
        scene.runtime.run()
        assert strategy.told[0] == ("BTCUSDT", "LIVE", "NONE")
        assert strategy.reader.book(0).bid == (99, 1)
        assert scene.runtime.counts.events == scene.runtime.counts.lost == 0
    finally:
        scene.close()


def test_runtime_tells_a_lap_and_goes_on(stage: Stage, recorder: Recorder) -> None:
    def lap() -> None:
        for price in range(65):
            stage.feed.publish_event(EventType.LEVEL, (price, 1, 0, 0))

    recorder.plan = [lap, lambda: print(stage.feed.publish_top((5, 1), (6, 1))), stage.runtime.stop]
    stage.runtime.run()
    assert recorder.told[3:] == [("lapped", 65), ("BTCUSDT", (5, 1), (6, 1), True), "TOP", "stop"]
    assert stage.stats.counters()["lost"] == 65


def test_runtime_follows_a_writer_that_ends_and_returns(stage: Stage, recorder: Recorder) -> None:
    stage.feed.publish_top((5, 1), (6, 1))
    while stage.reader.next() != Result.EMPTY:
        pass

    def end() -> None:
        stage.feed.close()
        recorder.told.append("ended")

    def begin() -> None:
        stage.feed = stage.make_feed()
        stage.feed.publish_top((7, 1), (8, 1), instrument=1)
        recorder.plan.append(stop_once_restarted)

    def stop_once_restarted() -> None:
        if "restart" in recorder.told:
            stage.runtime.stop()
        else:
            recorder.plan.append(stop_once_restarted)

    recorder.plan = [end, begin]
    stage.runtime.run(seconds=30)
    assert recorder.told[1:3] == [("BTCUSDT", "LIVE", "NONE"), ("ETHUSDT", "SYNCING", "STARTING")]
    assert recorder.told[3:] == [
        "ended",
        ("BTCUSDT", "STALE", "DISCONNECTED"),
        ("ETHUSDT", "STALE", "DISCONNECTED"),
        "restart",
        ("BTCUSDT", "SYNCING", "STARTING"),
        ("ETHUSDT", "LIVE", "NONE"),
        "stop",
    ]
    counters = stage.stats.counters()
    assert (counters["restarts"], counters["silences"]) == (1, 1)


def test_runtime_records_hops_and_counts_for_other_processes(
    stage: Stage, recorder: Recorder, tmp_path: Path
) -> None:
    def publish() -> None:
        for _ in range(20):
            stage.feed.publish_event(EventType.TOP, (1, 1, 2, 1), age_ns=1_000_000)

    recorder.plan = [publish, stage.runtime.stop]
    stage.runtime.run()
    assert list(running("unit", directory=tmp_path)) == ["recorder"]
    told = read_stats("unit", "recorder", directory=tmp_path)
    assert (told.counters["events"], told.counters["tops"], told.is_running) == (20, 20, True)
    received, published = told.hops["received_to_seen"], told.hops["published_to_seen"]
    assert received.n == published.n == 20
    # Each was received 1 ms before it was published.
    assert received.min >= 1_000_000
    assert 0 < published.min <= received.min - 1_000_000


def test_event_without_stamps_is_not_recorded(stage: Stage, recorder: Recorder) -> None:
    def publish() -> None:
        stage.feed.publish_event(EventType.TOP, (1, 1, 2, 1), age_ns=stage.feed.segment.now_ns())

    recorder.plan = [publish, stage.runtime.stop]
    stage.runtime.run()
    # received_ns lies within microseconds of 0, at the machine's start: hours ago or not at all.
    hops = stage.stats.histograms()
    assert hops["published_to_seen"].n == 1


def test_strategy_that_raises_ends_the_run_with_statistics_kept(tmp_path: Path) -> None:
    class Failing(Strategy):
        def on_book(self, instrument: Instrument, book: Any) -> None:
            raise RuntimeError("the user's own")

        def on_idle(self) -> None:
            scene.feed.publish_top((1, 1), (2, 1))

    scene = Stage(tmp_path, Failing())
    try:
        with pytest.raises(RuntimeError, match="the user's own"):
            scene.runtime.run(seconds=30)
        assert scene.stats.counters()["tops"] == 1
        scene.feed.publish_top((3, 1), (4, 1))  # the writer does not notice
    finally:
        scene.close()


def test_runtime_ends_after_its_time_while_events_keep_coming(tmp_path: Path) -> None:
    class Endless(Strategy):
        def on_event(self, event: Any) -> None:
            scene.feed.publish_event(EventType.LEVEL, (1, 1, 0, 0))

        def on_idle(self) -> None:
            scene.feed.publish_event(EventType.LEVEL, (1, 1, 0, 0))

    scene = Stage(tmp_path, Endless())
    try:
        start = time.monotonic()
        scene.runtime.run(seconds=0.05)
        assert time.monotonic() - start >= 0.05
        assert scene.runtime.counts.events > 512
    finally:
        scene.close()


def test_runtime_that_blocks_beats_and_collects_on_a_feed_without_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each event is 30 ms after the one before: too soon to idle, too few to count."""

    class Endless(Strategy):
        def on_idle(self) -> None:
            told["beats"] = told["collections"] = 0
            self.on_event(None)

        def on_event(self, event: Any) -> None:
            scene.feed.publish_event(EventType.LEVEL, (1, 1, 0, 0))
            if runtime.counts.events == 500:
                runtime.stop()

    told = {"beats": 0, "collections": 0}

    def note(name: str) -> None:
        told[name] += 1

    scene = Stage(tmp_path, Endless())
    clock = itertools.count(0, 30_000_000)
    monkeypatch.setattr(
        "tickpath.engine.strategy.runtime.time",
        SimpleNamespace(monotonic_ns=lambda: next(clock), sleep=time.sleep),
    )
    monkeypatch.setattr(gc, "collect", lambda _: note("collections"))
    monkeypatch.setattr(SegmentWriter, "heartbeat", lambda _: note("beats"))
    try:
        runtime = Runtime(scene.runtime.strategy, scene.reader, scene.stats, Placement(block=True))
        runtime.run()
        assert runtime.counts.turns_idle == 1
        assert told["beats"] >= 499
        assert told["collections"] == 2  # in the pause, and in 15 s without one
    finally:
        monkeypatch.undo()
        scene.close()


def test_second_strategy_of_one_name_is_refused(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(SegmentLockedError, match="choose another"):
        create_stats("unit", "recorder", directory=tmp_path)


def test_yield_covers_what_the_kernel_would_take() -> None:
    # 950 ms of every second allowed: 50 are lost, so at least 50/950 of the running time is slept.
    throttling = Throttling(950_000, 1_000_000, {})
    assert yield_ns(5, throttling) >= 5_000_000 * 50 / 950
    assert yield_ns(5, throttling) < 5_000_000 / 10
    # The fair server takes 100 ms there.
    assert yield_ns(5, Throttling(-1, 1_000_000, {1: 100_000_000})) >= 5_000_000 / 9
    # Nothing known to be taken: other tasks of the CPU still want to run.
    assert yield_ns(5, Throttling(-1, 1_000_000, {})) > 0


def test_runtime_yields_as_told(tmp_path: Path) -> None:
    strategy = Recorder()
    stage = Stage(tmp_path, strategy)
    try:
        runtime = Runtime(strategy, stage.reader, stage.stats, Placement(yield_ms=1))
        runtime.run(seconds=0.1)
        assert runtime.counts.yields >= 3
    finally:
        stage.close()


@pytest.mark.slow
def test_prepared_process_is_ordinary_again_afterwards() -> None:
    if os.geteuid() != 0:
        pytest.skip("missing capability: SCHED_FIFO needs root")
    cpus = os.sched_getaffinity(0)
    told: list[str] = []
    try:
        with prepared(Placement(cpu=min(cpus), priority=1), told.append):
            assert os.sched_getaffinity(0) == {min(cpus)}
            assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
            assert not gc.isenabled()
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
        assert gc.isenabled()
    finally:
        os.sched_setaffinity(0, cpus)


def test_strategy_gets_instruments_that_are_added_and_books_in_their_own_scale(
    stage: Stage, tmp_path: Path
) -> None:
    class Pricer(Strategy):
        """Write down prices as a strategy computes them, from the instrument that it is given."""

        def on_start(self) -> None:
            self.prices: list[tuple[str, float, int]] = []

        def on_book(self, instrument: Instrument, book: Any) -> None:
            told = instrument.symbol, instrument.price(book.bid[0]), instrument.tick_size
            self.prices.append(told)

        def on_idle(self) -> None:
            if plan:
                plan.pop(0)()

    def move_the_scale() -> None:
        # All at once: the strategy meets events of the old scale when book and row are of the new.
        feed.publish_top((10_000, 1), (10_001, 1))
        feed.change_instrument(Instrument(0, "mexc", "BTCUSDT", -4, -6, 100))
        feed.publish_top((1_010_000, 1), (1_010_100, 1))

    def change_the_row_only() -> None:
        feed.publish_top((1_020_000, 1), (1_020_100, 1))
        write_instrument(feed.segment, Instrument(0, "mexc", "BTCUSDT", -2, -6))

    def add_one() -> None:
        feed.change_instrument(Instrument(2, "mexc", "SOLUSDT", -1, -3))
        feed.publish_top((500, 1), (501, 1), 2)

    feed, strategy = stage.feed, Pricer()
    with open_reader("unit", directory=tmp_path, stale_after_ns=60 * 10**9) as reader:
        runtime = Runtime(strategy, reader, stage.stats)
        plan = [move_the_scale, change_the_row_only, add_one, runtime.stop]
        runtime.run(10)
    assert strategy.prices == [
        ("BTCUSDT", 101.0, 100),  # the book is the latest, whatever event tells of it
        ("BTCUSDT", 101.0, 100),
        ("BTCUSDT", 102.0, 100),  # read before or after the row: of the book's scale
        ("SOLUSDT", 50.0, 1),
    ]
    assert [one.symbol for one in strategy.instruments] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
