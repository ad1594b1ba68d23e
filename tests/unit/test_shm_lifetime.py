"""Memory that is closed while somebody waits in it, or still looks at it.

Each case runs in a process of its own, so that a crash is a failure that is seen, not the end of
these tests.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEED = 20261130

PRELUDE = """\
import asyncio, random, sys, threading, time
from pathlib import Path
from tickpath.proto.instrument import Instrument
from tickpath.engine.client.feeds import Feeds
from tickpath.engine.client.reader import Event, WriterSilent, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed

directory, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
instruments = tuple(Instrument(i, "v", f"S{i}", -2, -6, 1) for i in range(3))
LONG_NS = 20 * 10**9

def feed_of(instance):
    return RehearsalFeed(instance, instruments, directory=directory, ring_capacity=64)

def reader_of(instance, **options):
    return open_reader(instance, directory=directory, stale_after_ns=60 * 10**9, **options)

CLOSED = "reader of segment one is closed: open a new one"
"""


def run(body: str, directory: Path, seed: int = SEED) -> None:
    """Run a case; a signal, an exception or 100 s without an end is a failure."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRELUDE + textwrap.dedent(body), str(directory), str(seed)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.returncode}\n{done.stdout}\n{done.stderr}"


def test_task_that_follows_a_feed_is_told_that_its_reader_was_closed(tmp_path: Path) -> None:
    run(
        """
        async def follow(reader):
            async for _ in reader:
                pass

        async def main():
            for _ in range(20):
                with reader_of("one") as reader:
                    task = asyncio.create_task(follow(reader))
                    await asyncio.sleep(chance.random() * 0.02)
                try:
                    await asyncio.wait_for(task, 5)
                except ValueError as error:
                    assert str(error) == CLOSED
                else:
                    raise AssertionError("it ended as if the feed had")

        with feed_of("one"):
            asyncio.run(main())
        """,
        tmp_path,
    )


@pytest.mark.parametrize("wait", ["spin_ns=0, sleep_ns=1", ""])
@pytest.mark.parametrize("name", ["''", "None"])
def test_thread_that_waits_is_told_that_its_reader_was_closed(
    tmp_path: Path, wait: str, name: str
) -> None:
    run(
        f"""
        with feed_of("one"):
            for _ in range(20):
                reader = reader_of("one", name={name})
                reader.shm.set_wait(LONG_NS, {wait})
                told = []
                def follow():
                    try:
                        for _ in reader:
                            pass
                    except ValueError as error:
                        told.append(str(error))
                thread = threading.Thread(target=follow)
                thread.start()
                time.sleep(chance.random() * 0.02)
                reader.close()
                thread.join(5)
                assert told == [CLOSED], told
        """,
        tmp_path,
    )


def test_lossless_registration_ends_when_its_reader_is_closed(tmp_path: Path) -> None:
    run(
        """
        with RehearsalFeed("one", instruments, directory=directory, lossless_deadline_ns=10**9):
            reader = reader_of("one", name=None)  # nobody ticks the gate: it would wait for 3 s
            told = []
            def register():
                try:
                    reader.register("x", lossless=True)
                except ValueError as error:
                    told.append(str(error))
            thread = threading.Thread(target=register)
            thread.start()
            time.sleep(0.1)
            start = time.monotonic()
            reader.close()
            thread.join()
            assert time.monotonic() - start < 1
            assert told == [CLOSED], told
        """,
        tmp_path,
    )


def test_readers_closed_at_random_moments_crash_nothing(tmp_path: Path) -> None:
    run(
        """
        def wait_in(reader):
            for _ in reader:
                pass

        def take_batches(reader):
            for _ in reader.batches():
                pass

        def read_books(reader):
            while True:
                for i in range(3):
                    assert reader.book(i).instrument == i

        def look_around(reader):
            while True:
                reader.now_ns()
                reader.shm.is_broken
                reader.shm.segment.counters()
                reader.shm.segment.heartbeat_age_ns()

        def come_and_go(reader):
            while True:
                reader.register("x")
                reader.shm.join()
                reader.shm.unregister()
                time.sleep(0.0005)

        def guarded(use, reader, troubles):
            try:
                use(reader)
            except ValueError as error:
                if str(error) not in (CLOSED, "segment one is closed"):
                    troubles.append(error)
            except BaseException as error:
                troubles.append(error)

        sys.setswitchinterval(0.0001)
        with feed_of("one") as feed:
            for i in range(3):
                feed.publish_top((1, 1), (2, 1), i)
            for turn in range(150):
                reader = reader_of("one")
                reader.shm.set_wait(LONG_NS, spin_ns=0, sleep_ns=1)
                users = chance.choice(
                    [[wait_in, read_books], [take_batches, look_around],
                     [wait_in, look_around, come_and_go], [take_batches, read_books, come_and_go]]
                )
                troubles = []
                threads = [
                    threading.Thread(target=guarded, args=(use, reader, troubles)) for use in users
                ]
                for thread in threads:
                    thread.start()
                if chance.random() < 0.5:
                    feed.publish_top((turn, 1), (turn + 1, 1), turn % 3)
                time.sleep(chance.random() * 0.01)
                reader.close()
                for thread in threads:
                    thread.join(10)
                    assert not thread.is_alive(), users
                assert not troubles, troubles
        """,
        tmp_path,
    )


def test_what_was_borrowed_of_a_segment_outlives_its_close(tmp_path: Path) -> None:
    run(
        """
        import gc
        from tickpath.engine.strategy.stats import create_stats
        from tickpath.shm.segment import Segment

        feed = feed_of("one")
        for reopens in (False, True):
            reader = reader_of("one")
            feed.publish_top((1, 1), (2, 1))
            batch = reader.batch()
            segment = reader.shm.segment
            views = [segment, segment.header, segment.live, reader.book(0)]
            kept_words = bytes(reader.book(0).words)
            if reopens:
                feed.close()
                feed = feed_of("one")
                assert reader.shm.reopen()
            else:
                reader.close()
            del reader
            gc.collect()
            assert segment.header.total_size > 0
            assert int(views[2].head) == 1 and segment.row(0)[1][16:18] == b"S0"
            assert segment.counters() == {} and len(segment.schema) > 100
            assert views[3].bid == (1, 1) and bytes(views[3].words) == kept_words
            assert len(batch) == 1 and int(batch["index"][0]) == 0
            feed.close()
            feed = feed_of("one")
        feed.close()

        with create_stats("one", "x", directory=directory) as stats:
            words = stats.histogram_words()["received_to_seen"]
            raw = stats.histogram(0)
        gc.collect()
        assert int(words.sum()) >= 0 and raw != 0
        try:
            stats.heartbeat()
        except ValueError as error:
            assert str(error) == "segment one.strategy.x is closed", error
        else:
            raise AssertionError("a closed segment beats")
        """,
        tmp_path,
    )


def test_writers_closed_at_random_moments_crash_nothing(tmp_path: Path) -> None:
    run(
        """
        def publish(feed):
            while True:
                feed.publish_top((1, 1), (2, 1), chance.randrange(3))

        def beat(feed):
            while True:
                feed.heartbeat()
                feed.consumers.counters()

        def look(feed):
            while True:
                feed.segment.counters()
                feed.segment.writer_lives()
                feed.segment.now_ns()

        def guarded(use, feed, troubles):
            try:
                use(feed)
            except ValueError as error:
                if str(error) != "segment one is closed":
                    troubles.append(error)
            except BaseException as error:
                troubles.append(error)

        sys.setswitchinterval(0.0001)
        for turn in range(100):
            feed = RehearsalFeed(
                "one", instruments, directory=directory, ring_capacity=64,
                lossless_deadline_ns=10**6 * (turn % 2),
            )
            troubles = []
            threads = [
                threading.Thread(target=guarded, args=(use, feed, troubles))
                for use in (publish, beat, look)
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.random() * 0.01)
            feed.close()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()
            assert not troubles, troubles
        """,
        tmp_path,
    )


def test_replayers_closed_at_random_moments_crash_nothing(tmp_path: Path) -> None:
    run(
        """
        import os
        from tickpath._core import lib
        from tickpath.engine.recording.format import Meta, pack_record
        from tickpath.engine.recording.replayer import Replayer
        from tickpath.engine.recording.tap import Subscription

        row = Subscription(
            venue="mexc", symbol="A", price_exponent=-2, quantity_exponent=-5,
            channel="spot@public.aggre.depth.v3.api.pb@100ms@A",
        )
        meta = Meta(instruments=(row,), ticks=True)
        ticks = b"".join(pack_record(lib.TP_RECORD_TICK, 0, 0, t, b"") for t in range(1, 4000))
        instance = f"unit-replayer-{os.getpid()}"

        def play(replayer):
            while True:
                replayer.play(ticks)
                replayer.heartbeat()

        def guarded(replayer, ends):
            try:
                play(replayer)
            except BaseException as error:
                ends.append((type(error), str(error)))

        sys.setswitchinterval(0.0001)
        allowed = {
            (ValueError, "replayer is closed: make a new one"),
            (ValueError, f"segment {instance} is closed"),
        }
        for turn in range(60):
            replayer = Replayer(meta, instance=instance if turn % 2 else None)
            ends = []
            thread = threading.Thread(target=guarded, args=(replayer, ends))
            thread.start()
            time.sleep(chance.random() * 0.005)
            replayer.close()
            thread.join(10)
            assert not thread.is_alive()
            assert len(ends) == 1 and set(ends) <= allowed, ends
        """,
        tmp_path,
    )


def test_waker_returns_when_its_control_segment_is_closed(tmp_path: Path) -> None:
    run(
        """
        from tickpath.shm.control_segment import ControlSegment
        from tickpath.shm.segment import SegmentLayout, SegmentWriter

        for _ in range(50):
            with SegmentWriter("one", SegmentLayout(schema="x", ring_capacity=64),
                               directory=directory) as segment:
                control = ControlSegment(segment)
                segment.ready()
                thread = threading.Thread(target=control.run_waker)
                thread.start()
                time.sleep(chance.random() * 0.005)
                control.close()
                thread.join(5)
                assert not thread.is_alive()
        """,
        tmp_path,
    )


def test_feeds_end_with_one_of_their_readers(tmp_path: Path) -> None:
    run(
        """
        with feed_of("one") as one, feed_of("two") as two:
            for turn in range(40):
                readers = [reader_of("two"), reader_of("one")]
                feeds = Feeds(readers)
                feeds.set_wait(block=turn % 2 == 0)
                told = []
                def follow():
                    try:
                        for _ in feeds:
                            pass
                    except ValueError as error:
                        told.append(str(error))
                thread = threading.Thread(target=follow)
                thread.start()
                time.sleep(chance.random() * 0.02)
                if turn % 4 < 2:
                    readers[1].close()
                else:
                    feeds.close()
                thread.join(5)
                assert len(told) == 1 and told[0].endswith("is closed: open a new one"), told
                feeds.close()
        """,
        tmp_path,
    )
