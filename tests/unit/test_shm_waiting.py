"""Readers that sleep: who wakes them, who interrupts them, and what an event loop sees of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvloop
from tickpath.engine.client.feed_segment import SCHEMA
from tickpath.engine.client.feeds import Feeds, Order, open_readers
from tickpath.engine.client.reader import (
    Event,
    EventType,
    FeedReader,
    Lapped,
    Restarted,
    WriterSilent,
    batch_dtype,
    open_reader,
)
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.reader import Reader, Result
from tickpath.shm.reader_set import ReaderSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
CAPACITY = 64
MINUTE_NS = 60 * 10**9
LONG_NS = 20 * 10**9


def make_feed(directory: Path, instance: str = "unit", capacity: int = CAPACITY) -> RehearsalFeed:
    return RehearsalFeed(instance, INSTRUMENTS, directory=directory, ring_capacity=capacity)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with make_feed(tmp_path) as feed:
        yield feed


@contextlib.contextmanager
def sleeping_reader(directory: Path) -> Iterator[FeedReader]:
    """Open one that sleeps at once, and that only the waker wakes in time."""
    with open_reader("unit", directory=directory, stale_after_ns=MINUTE_NS) as reader:
        reader.shm.set_wait(LONG_NS, spin_ns=0, sleep_ns=1)
        yield reader


@contextlib.contextmanager
def soon(action: Callable[[], object], after_s: float = 0.05) -> Iterator[None]:
    timer = threading.Timer(after_s, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


# ---- sleep and wake ------------------------------------------------------------------------------


def test_sleeping_reader_is_woken_by_the_waker(feed: RehearsalFeed, tmp_path: Path) -> None:
    with sleeping_reader(tmp_path) as reader:
        for i in range(20):
            with soon(partial(feed.publish_event, EventType.TOP, (i, 1, 2, 3)), 0.005):
                assert reader.next() == Result.EVENT
            assert reader.event.bid == i
    # Not each time: on a busy machine the event may come first, or a sleep end by itself.
    assert feed.consumers.counters()["wakes"] >= 10


def test_waker_rests_while_nobody_sleeps(feed: RehearsalFeed, tmp_path: Path) -> None:
    with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
        for i in range(30):
            feed.publish_event(EventType.TOP, (i, 1, 2, 3))
            assert reader.next() == Result.EVENT
    assert feed.consumers.counters()["wakes"] == 0


def test_reader_without_a_waker_sleeps_in_naps(feed: RehearsalFeed, tmp_path: Path) -> None:
    feed.consumers._control.stop_waker()
    with sleeping_reader(tmp_path) as reader:
        with soon(lambda: feed.publish_event(EventType.TOP, (5, 1, 2, 3))):
            assert reader.next() == Result.EVENT
        assert reader.event.bid == 5


def test_sleeping_reader_learns_in_time_that_its_writer_stopped(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    feed.publish_book([(100, 10)], [(101, 20)])
    feed.heartbeat()
    with open_reader("unit", directory=tmp_path, stale_after_ns=200_000_000) as reader:
        reader.shm.set_wait(LONG_NS, spin_ns=0, sleep_ns=1)
        assert next(iter(reader)) == WriterSilent()
        age = reader.book(0).writer_silent_ns
        assert 200_000_000 < age < 5_000_000_000  # a nap of 25 ms later, and a busy machine


def test_sleeping_reader_learns_that_its_writer_ended(tmp_path: Path) -> None:
    feed = make_feed(tmp_path)
    with sleeping_reader(tmp_path) as reader, soon(feed.close):
        assert next(iter(reader)) == WriterSilent()


def test_stop_ends_a_blocked_iteration_from_another_thread(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with sleeping_reader(tmp_path) as reader, soon(reader.stop):
        assert list(reader) == []


def test_stop_ends_one_loop_and_the_next_one_reads_on(feed: RehearsalFeed, tmp_path: Path) -> None:
    with sleeping_reader(tmp_path) as reader:
        for size in (5, 6):
            feed.publish_top((size, 1), (9, 1))
            for told in reader:
                assert isinstance(told, Event)
                assert told.bid == size
                reader.stop()
        reader.stop()  # where none runs, the next one
        assert list(reader.batches()) == []
        feed.publish_top((7, 1), (9, 1))
        rows = next(reader.batches())
        assert isinstance(rows, np.ndarray)
        assert len(rows) == 1


def test_feeds_stop_ends_one_loop_and_the_next_one_reads_on(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
        feeds = Feeds([reader])
        for _ in range(2):
            feed.publish_top((5, 1), (9, 1))
            for _, told in feeds:
                assert isinstance(told, Event)
                feeds.stop()


def test_blocked_reader_leaves_the_interpreter_to_others(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    turns = 0
    with sleeping_reader(tmp_path) as reader:
        thread = threading.Thread(target=reader.next)
        thread.start()
        while thread.is_alive():
            turns += 1
            if turns == 100:
                feed.publish_event(EventType.TOP, (1, 1, 2, 3))
        thread.join()
    assert turns >= 100


BLOCKED = """
import signal, sys
from pathlib import Path
from tickpath.engine.client.reader import open_reader
with open_reader("unit", directory=Path(sys.argv[1]), stale_after_ns=60 * 10**9) as reader:
    signal.signal(signal.SIGTERM, lambda *_: reader.stop())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    reader.shm.set_wait(10**9, spin_ns=0, sleep_ns=1)
    print("up", flush=True)
    for told in reader:
        print(told)
print("ended")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_blocked_reader_is_interrupted_by_a_signal(
    feed: RehearsalFeed, tmp_path: Path, number: int
) -> None:
    command = [sys.executable, "-P", "-c", BLOCKED, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        time.sleep(0.05)  # asleep by now, as a rule; either way it must end
        child.send_signal(number)
        out, errors = child.communicate(timeout=20)
    if number == signal.SIGTERM:
        assert (child.returncode, out) == (0, "ended\n"), errors
    else:
        assert (child.returncode, out) == (-signal.SIGINT, ""), errors
        assert "KeyboardInterrupt" in errors


# ---- batches -------------------------------------------------------------------------------------


def test_batch_has_named_columns_and_is_overwritten_by_the_next(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with sleeping_reader(tmp_path) as reader:
        feed.publish_event(EventType.TOP, (1, 2, 3, 4))
        feed.publish_event(EventType.LEVEL, (5, 6, 7, 8), flags=1)
        rows = reader.batch()
        assert rows.dtype == batch_dtype()
        assert rows["index"].tolist() == [0, 1]
        assert rows["ask"].tolist() == [3, 7]
        assert rows["quantity"].tolist() == [2, 6]
        assert rows["value"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
        assert rows["flags"].tolist() == [0, 1]
        kept = rows.copy()
        assert np.shares_memory(rows, np.frombuffer(reader.shm.batch_bytes, np.uint8))
        feed.publish_event(EventType.TOP, (9, 9, 9, 9))
        assert reader.batch()["bid"].tolist() == [9]
        assert rows["bid"][0] == 9  # a view: what was lent is gone
        assert kept["bid"][0] == 1


def test_tuples_stay_as_they_were(feed: RehearsalFeed, tmp_path: Path) -> None:
    with sleeping_reader(tmp_path) as reader:
        feed.publish_event(EventType.TOP, (1, 2, 3, -4))
        (first,) = reader.tuples()
        feed.publish_event(EventType.TOP, (5, 6, 7, 8))
        (second,) = reader.tuples()
        assert first[:7] == (0, 0, EventType.TOP, 0, -2, -6, 0)
        assert first[9:] == (1, 2, 3, -4)
        assert second[9:] == (5, 6, 7, 8)
        assert second[8] - second[7] == 500
        assert reader.tuples() == []


def test_batches_yield_what_comes_and_what_was_lost(feed: RehearsalFeed, tmp_path: Path) -> None:
    with sleeping_reader(tmp_path) as reader:
        batches = reader.batches()
        with soon(lambda: feed.publish_event(EventType.TOP, (1, 2, 3, 4))):
            rows = next(batches)
        assert isinstance(rows, np.ndarray)
        assert rows["index"].tolist() == [0]
        for i in range(CAPACITY + 1):
            feed.publish_event(EventType.TOP, (i, 2, 3, 4))
        assert next(batches) == Lapped(CAPACITY + 1)


def test_reading_events_and_tuples_needs_no_numpy(feed: RehearsalFeed, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"  # an import of it raises
        "from pathlib import Path; from tickpath.engine.client.reader import open_reader\n"
        "reader = open_reader('unit', directory=Path(sys.argv[1]))\n"
        "print(reader.tuples(), reader.book(0), reader.shm.segment.counters())\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], check=True)


# ---- event loops ---------------------------------------------------------------------------------

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run_in(loop: str, work: Any) -> Any:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(work, 30))


@pytest.mark.parametrize("loop", LOOPS)
def test_async_for_takes_every_event_and_lets_others_run(tmp_path: Path, loop: str) -> None:
    count = 600
    feed = make_feed(tmp_path, capacity=1024)  # a busy machine must not make it lose any

    async def publish() -> None:
        for i in range(count):
            feed.publish_event(EventType.TOP, (i, 1, 2, 3))
            if i % 10 == 9:
                await asyncio.sleep(0.001)

    async def consume() -> list[int]:
        got: list[int] = []
        with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
            task = asyncio.ensure_future(publish())
            async for told in reader:
                assert isinstance(told, Event)
                got.append(told.bid)
                if len(got) == count:
                    reader.stop()
            await task
        return got

    with feed:
        assert run_in(loop, consume()) == list(range(count))
        assert feed.consumers.counters()["wakes"] > 0


@pytest.mark.parametrize("loop", LOOPS)
def test_async_for_is_cancelled_at_once(feed: RehearsalFeed, tmp_path: Path, loop: str) -> None:
    async def consume() -> None:
        with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:

            async def forever() -> None:
                async for _ in reader:
                    pass

            task = asyncio.ensure_future(forever())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            feed.publish_event(EventType.TOP, (3, 1, 2, 3))
            assert reader.next() == Result.EVENT  # the reader is its owner's again
            assert reader.event.bid == 3

    run_in(loop, consume())
    assert not [one for one in threading.enumerate() if one.name == "tp-news"]


@pytest.mark.parametrize("loop", LOOPS)
def test_async_iterator_goes_on_after_a_time_out(
    feed: RehearsalFeed, tmp_path: Path, loop: str
) -> None:
    async def consume() -> list[int]:
        got: list[int] = []
        with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
            events = aiter(reader)
            for i in range(20):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(events), 0.002)
                feed.publish_event(EventType.TOP, (i, 1, 2, 3))
                told = await asyncio.wait_for(anext(events), 5)
                assert isinstance(told, Event)
                got.append(told.bid)
            reader.stop()
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        return got

    assert run_in(loop, consume()) == list(range(20))
    assert not [one for one in threading.enumerate() if one.name == "tp-news"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("left", ["timed out", "closed under a task"])
def test_async_iterator_goes_on_in_another_event_loop(
    feed: RehearsalFeed, tmp_path: Path, loop: str, left: str
) -> None:
    with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
        events = aiter(reader)

        async def time_out() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.002)

        async def take() -> int:
            told = await anext(events)
            assert isinstance(told, Event)
            return int(told.bid)

        for i in range(3):
            if left == "timed out":
                run_in(loop, time_out())
            else:
                first = LOOPS[loop]()
                task = first.create_task(take())  # which never ends, and nobody destroys
                first.run_until_complete(asyncio.sleep(0.002))
                first.close()  # the answer that is due finds nobody
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's warning
            feed.publish_event(EventType.TOP, (i, 1, 2, 3))
            assert run_in(loop, take()) == i
        reader.stop()
        with pytest.raises(StopAsyncIteration):
            run_in(loop, events.__anext__())
    assert not [one for one in threading.enumerate() if one.name == "tp-news"]


def test_async_iterator_goes_on_in_a_forked_child(feed: RehearsalFeed, tmp_path: Path) -> None:
    with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
        events = aiter(reader)

        async def time_out() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.002)

        async def take() -> int:
            told = await anext(events)
            assert isinstance(told, Event)
            return int(told.bid)

        run_in("asyncio", time_out())  # its thread, which a child has not, looks on
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with contextlib.suppress(BaseException):
                os._exit(run_in("asyncio", take()))
            os._exit(1)
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):  # it stands at the head first
            feed.publish_event(EventType.TOP, (41, 1, 2, 3))
            time.sleep(0.001)
        assert os.waitstatus_to_exitcode(ended[1]) == 41
        reader.join()
        feed.publish_event(EventType.TOP, (42, 1, 2, 3))
        assert run_in("asyncio", take()) == 42


def test_async_iterator_raises_again_what_the_reader_does(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    reader = open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS)
    events = aiter(reader)
    reader.close()

    async def take() -> None:
        for _ in range(2):  # not "the feed ended" at the second
            with pytest.raises(ValueError, match="closed"):
                await anext(events)

    run_in("asyncio", take())


def test_async_iterator_serves_one_task_at_a_time(feed: RehearsalFeed, tmp_path: Path) -> None:
    async def consume() -> None:
        with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
            events = aiter(reader)
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.01)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(events)
            feed.publish_event(EventType.TOP, (3, 1, 2, 3))
            assert isinstance(await first, Event)

    run_in("asyncio", consume())


def test_async_for_tells_of_laps_ends_and_the_next_writer(tmp_path: Path) -> None:
    feed = make_feed(tmp_path)

    async def consume() -> list[Any]:
        told = []
        with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
            for i in range(CAPACITY + 3):
                feed.publish_event(EventType.TOP, (i, 1, 2, 3))
            async for one in reader:
                told.append(one)
                if isinstance(one, Lapped):
                    feed.publish_event(EventType.TOP, (77, 1, 2, 3))
                    feed.close()  # what it published last comes first
                elif isinstance(one, Event):
                    assert one.bid == 77
                elif isinstance(one, WriterSilent):
                    second.append(make_feed(tmp_path))
                elif isinstance(one, Restarted):
                    break
        return told

    second: list[RehearsalFeed] = []
    kinds = [type(one) for one in run_in("asyncio", consume())]
    second[0].close()
    assert kinds == [Lapped, Event, WriterSilent, Restarted]


def test_async_for_of_a_writer_gone_never_holds_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_feed(tmp_path)
    turns = 0

    async def count(reader: FeedReader) -> None:
        nonlocal turns
        for _ in range(50):  # each comes while the reader finds nothing new
            await asyncio.sleep(0.001)
            turns += 1
        reader.stop()

    async def consume() -> list[Any]:
        with open_reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
            feed.close()
            task = asyncio.ensure_future(count(reader))
            told = [one async for one in reader]
            await task
            return told

    def hold_up(_: float) -> None:
        raise AssertionError("time.sleep in the event loop")

    monkeypatch.setattr(time, "sleep", hold_up)
    assert run_in("asyncio", consume()) == [WriterSilent()]
    assert turns == 50


# ---- several rings -------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Iterator[tuple[list[RehearsalFeed], list[FeedReader]]]:
    with contextlib.ExitStack() as stack:
        feeds = [stack.enter_context(make_feed(tmp_path, f"unit{i}")) for i in range(3)]
        readers = [
            stack.enter_context(
                open_reader(f"unit{i}", directory=tmp_path, stale_after_ns=MINUTE_NS)
            )
            for i in range(3)
        ]
        yield feeds, readers


def take(feeds: Feeds, count: int) -> list[tuple[int, int]]:
    """Take events as (place of the reader, bid price)."""
    got: list[tuple[int, int]] = []
    for reader, told in feeds:
        assert isinstance(told, Event)
        got.append((feeds.readers.index(reader), told.bid))
        if len(got) == count:
            break
    return got


def test_feeds_by_arrival_are_merged_by_their_stamps(
    three: tuple[list[RehearsalFeed], list[FeedReader]],
) -> None:
    feeds, readers = three
    order = [2, 2, 0, 1, 0, 2, 1, 1, 0]
    for i, number in enumerate(order):
        feeds[number].publish_event(EventType.TOP, (i, 1, 2, 3))
        time.sleep(0.0002)  # the clocks are calibrated apart: some tens of nanoseconds
    assert take(Feeds(readers, Order.ARRIVAL), 9) == [(n, i) for i, n in enumerate(order)]


def test_feeds_in_turn_starve_nobody(
    three: tuple[list[RehearsalFeed], list[FeedReader]],
) -> None:
    feeds, readers = three
    for i in range(4):
        feeds[0].publish_event(EventType.TOP, (i, 1, 2, 3))
    feeds[1].publish_event(EventType.TOP, (10, 1, 2, 3))
    feeds[2].publish_event(EventType.TOP, (20, 1, 2, 3))
    got = take(Feeds(readers, Order.ROUND_ROBIN), 6)
    assert got == [(0, 0), (1, 10), (2, 20), (0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("order", list(Order))
def test_feeds_tell_whose_reader_was_lapped_and_lose_nothing_of_the_others(
    three: tuple[list[RehearsalFeed], list[FeedReader]], order: Order
) -> None:
    feeds, readers = three
    feeds[0].publish_event(EventType.TOP, (5, 1, 2, 3))
    for i in range(CAPACITY + 1):
        feeds[1].publish_event(EventType.TOP, (i, 1, 2, 3))
    told = []
    for reader, one in Feeds(readers, order):
        told.append((readers.index(reader), one if isinstance(one, Lapped) else one.value[0]))  # type: ignore[union-attr]  # an Event: the writers live
        if len(told) == 2:
            break
    assert sorted(told, key=lambda one: one[0]) == [(0, 5), (1, Lapped(CAPACITY + 1))]


@pytest.mark.parametrize("order", list(Order))
def test_feeds_follow_one_writer_that_restarts_beside_others(
    three: tuple[list[RehearsalFeed], list[FeedReader]], tmp_path: Path, order: Order
) -> None:
    feeds, readers = three
    merged = Feeds(readers, order)
    stream = iter(merged)
    feeds[1].publish_event(EventType.TOP, (7, 1, 2, 3))
    feeds[1].close()
    reader, told = next(stream)
    assert (reader, told.value[0]) == (readers[1], 7)  # type: ignore[union-attr]  # an Event: it is the first
    assert next(stream) == (readers[1], WriterSilent())
    feeds[0].publish_event(EventType.TOP, (8, 1, 2, 3))
    reader, told = next(stream)
    assert reader is readers[0]
    with make_feed(tmp_path, "unit1") as again:
        reader, told = next(stream)
        assert (reader, type(told)) == (readers[1], Restarted)
        again.publish_event(EventType.TOP, (9, 1, 2, 3))
        reader, told = next(stream)
        assert (reader, told.value[0]) == (readers[1], 9)  # type: ignore[union-attr]  # an Event: it was published


def test_feeds_that_sleep_are_woken_by_any_of_them_and_by_stop(
    three: tuple[list[RehearsalFeed], list[FeedReader]],
) -> None:
    feeds, readers = three
    merged = Feeds(readers)
    merged._set.set_wait(LONG_NS, spin_ns=0, sleep_ns=1)
    stream = iter(merged)
    for turn in range(12):
        feed = feeds[turn % 3]
        with soon(partial(feed.publish_event, EventType.TOP, (turn, 1, 2, 3)), 0.005):
            reader, told = next(stream)
        assert reader is readers[turn % 3]
        assert isinstance(told, Event)
        assert told.bid == turn
    # Not each time: a sleep of 25 ms may just have ended by itself on a busy machine.
    assert sum(feed.consumers.counters()["wakes"] for feed in feeds) >= 6
    with soon(merged.stop):
        assert list(stream) == []


def test_feeds_with_an_unregistered_reader_sleep_in_naps(
    three: tuple[list[RehearsalFeed], list[FeedReader]],
) -> None:
    feeds, readers = three
    readers[1].shm.unregister()
    merged = Feeds(readers)
    merged.set_wait(block=True)
    with soon(lambda: feeds[2].publish_event(EventType.TOP, (7, 1, 2, 3))):
        reader, _ = next(iter(merged))
    assert reader is readers[2]


def test_feeds_of_no_reader_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 to 64"):
        ReaderSet([])


def test_open_readers_leaves_none_open_where_one_is_missing() -> None:
    with pytest.raises(Exception, match="no such segment"):
        open_readers(["unit-no-such-instance"])


def test_reader_set_waits_no_longer_than_it_was_told(feed: RehearsalFeed, tmp_path: Path) -> None:
    with Reader("unit", schema=SCHEMA, directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
        readers = ReaderSet([reader])
        readers.set_wait(3_000_000, spin_ns=1_000_000, sleep_ns=50_000)
        assert readers.look() == Result.EMPTY
        feed.publish_event(EventType.TOP, (9, 1, 2, 3))
        assert readers.look() == Result.EVENT
        assert reader.event[4] == 9
