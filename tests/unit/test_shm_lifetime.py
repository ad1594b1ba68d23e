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
from tickpath.engine.feeds import Feeds
from tickpath.engine.reader import Event, WriterSilent, open_reader
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
                    [[wait_in, read_books], [take_batches, read_books],
                     [wait_in, come_and_go], [take_batches, read_books, come_and_go]]
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
