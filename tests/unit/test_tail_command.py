"""`tickpath tail`: what it prints of events that a writer publishes while it follows."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.cli import main
from tickpath.engine.client.reader import BookState, SyncReason
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INSTANCE = f"unit-tail-{os.getpid():07d}"
INSTRUMENTS = [Instrument(0, "mexc", "BTCUSDT", -2, -6), Instrument(1, "mexc", "ETHUSDT", -1, -3)]
WAIT_S = 15.0


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, INSTRUMENTS, ring_capacity=1024) as made:
        made.heartbeat()
        yield made


def follow(feed: RehearsalFeed, publish: Callable[[], object], *words: str) -> list[str]:
    """Run tail; publish again and again until it ended by its --count."""
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "tail", INSTANCE, *words]
    child = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        end = time.monotonic() + WAIT_S
        while child.poll() is None and time.monotonic() < end:
            feed.heartbeat()
            publish()
            time.sleep(0.01)
        assert child.stdout
        assert child.wait(1) == 0
        return child.stdout.read().splitlines()
    finally:
        stop(child)


def test_tail_json_tells_every_field_in_exact_decimals(feed: RehearsalFeed) -> None:
    def publish() -> None:
        feed.publish_event(EventType.LEVEL, (12345, 1, 7, 8), 0, flags=1)
        feed.publish_event(EventType.TOP, (10, 2, 11, 3000), 1)
        feed.publish_event(EventType.STATE, (BookState.STALE, SyncReason.SILENT, 0, 0), 1)
        feed.publish_event(EventType.CLEAR, (0, 0, 0, 0), 0)

    told = [json.loads(line) for line in follow(feed, publish, "--json", "--count", "8")]
    kinds = {one["event"]: one for one in told if "index" in one}
    level, top, state = kinds["level"], kinds["top"], kinds["state"]
    assert (level["symbol"], level["side"], level["price"]) == ("BTCUSDT", "ask", "123.45")
    assert (level["quantity"], level["exchange_ns"], level["book_sequence"]) == ("0.000001", 7, 8)
    assert (top["bid"], top["bid_quantity"], top["ask"]) == ("1.0", "0.002", "1.1")
    assert top["ask_quantity"] == "3.000"
    assert (state["state"], state["reason"]) == ("STALE", "SILENT")
    assert kinds["clear"]["venue"] == "mexc"
    indices = [one["index"] for one in told if "index" in one]
    assert len(indices) == 8
    assert indices == list(range(indices[0], indices[0] + 8))


def test_tail_filters_by_symbol_and_type(feed: RehearsalFeed) -> None:
    def publish() -> None:
        feed.publish_event(EventType.TOP, (1, 1, 2, 1), 0)
        feed.publish_event(EventType.LEVEL, (1, 1, 2, 1), 1)
        feed.publish_event(EventType.TOP, (5, 1, 6, 1), 1)

    words = ["--symbol", "ETH/USDT", "--type", "top", "--count", "3", "--json"]
    told = [json.loads(line) for line in follow(feed, publish, *words)]
    events = [one for one in told if "index" in one]
    assert {(one["symbol"], one["event"], one["bid"]) for one in events} == {
        ("ETHUSDT", "top", "0.5")
    }


def test_tail_text_names_the_venue_where_there_are_several(feed: RehearsalFeed) -> None:
    """Two venues' BTCUSDT were lines of one name: who can say whose price it is?"""

    def publish() -> None:
        feed.publish_event(EventType.TOP, (1, 1, 2, 1), 0)

    assert {line.split()[1] for line in follow(feed, publish, "--count", "3")} == {"BTCUSDT"}
    other = Instrument(2, "other", "BTCUSDT", -2, -6)
    feed.segment.close()
    with RehearsalFeed(INSTANCE, [*INSTRUMENTS, other], ring_capacity=1024) as two:

        def publish_both() -> None:
            two.publish_event(EventType.TOP, (1, 1, 2, 1), 0)
            two.publish_event(EventType.TOP, (1, 1, 2, 1), 2)

        names = {line.split()[1] for line in follow(two, publish_both, "--count", "4")}
    assert names == {"mexc:BTCUSDT", "other:BTCUSDT"}


def test_tail_that_is_too_slow_tells_what_it_lost(feed: RehearsalFeed) -> None:
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "tail", INSTANCE, "--json"]
    child = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        wait_for_output(feed, child)
        child.send_signal(signal.SIGSTOP)
        for _ in range(3000):  # three times the ring
            feed.publish_event(EventType.TOP, (1, 1, 2, 1), 0)
        child.send_signal(signal.SIGCONT)
        assert child.stdout
        told = (json.loads(line) for line in child.stdout)
        lost = next(one["lost"] for one in told if one["event"] == "lapped")
        assert lost >= 3000 - 1024
    finally:
        stop(child)


def wait_for_output(feed: RehearsalFeed, child: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT_S
    assert child.stdout
    while not select.select([child.stdout], [], [], 0.02)[0]:
        assert time.monotonic() < end, "no output"
        feed.publish_top((1, 1), (2, 1))
        feed.heartbeat()


def test_tail_ends_with_status_0_on_sigterm(feed: RehearsalFeed) -> None:
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "tail", INSTANCE]
    child = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    wait_for_output(feed, child)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0


@pytest.mark.parametrize(
    ("words", "status", "remedy"),
    [
        (["--symbol", "NOPE"], 2, "BTCUSDT, ETHUSDT"),
        (["--symbol", "BTC/USDC"], 2, "did you mean BTCUSDT"),
        (["--count", "-1"], 2, "expected 1 or more"),
    ],
)
def test_tail_wrong_usage_names_what_there_is(
    feed: RehearsalFeed,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    remedy: str,
) -> None:
    assert main(["tail", INSTANCE, *words]) == status
    assert remedy in capsys.readouterr().err


def test_tail_absent_instance_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "unit-no-such"]) == 3
    assert "start its writer" in capsys.readouterr().err


def test_tail_text_tells_that_the_writer_fell_silent(feed: RehearsalFeed) -> None:
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "tail", INSTANCE]
    child = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for_output(feed, child)  # nobody beats from here on
        assert child.stdout
        assert any(line == "-- writer silent\n" for line in child.stdout)
    finally:
        stop(child)
