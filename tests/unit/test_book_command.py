"""`tickpath book`: which instance it reads, what it prints, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tickpath.engine.cli import main
from tickpath.engine.commands.book import Asked, Watched, find_instance, parse_book
from tickpath.engine.commands.live_view import LiveView
from tickpath.engine.commands.private_feed import PrivateFeed
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument, Status, Symbol
from tickpath.proto.records import BookState, SyncReason
from tickpath.shm.errors import LocalError, RemoteError
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKPATH = [sys.executable, "-P", "-m", "tickpath.engine.cli"]
INSTANCE = f"unit-book-{os.getpid():07d}"
# A symbol that no other test's instance has.
OWN = Instrument(0, "mexc", f"T{os.getpid()}USDT", -2, -6, name=Symbol(f"T{os.getpid()}", "USDT"))
BOOK = f"mexc:{OWN.symbol}"
WAIT_S = 30.0


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, [OWN]) as made:
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(0.02):
                made.heartbeat()

        beating = threading.Thread(target=beat)
        made.heartbeat()
        beating.start()
        yield made
        is_over.set()
        beating.join()


@pytest.mark.parametrize("name", [OWN.symbol, str(OWN.name)])
def test_book_once_shows_exact_numbers_by_either_name(
    feed: RehearsalFeed, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    feed.publish_book([(12345, 2_000_000), (12344, 1)], [(12350, 3)])
    assert main(["book", f"mexc:{name}", "--once", "--json", "--depth", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["instance"], told["symbol"], told["state"]) == (INSTANCE, OWN.symbol, "LIVE")
    assert (told["bids"], told["asks"]) == ([["123.45", "2.000000"]], [["123.50", "0.000003"]])
    assert told["verified_age_ms"] is None
    assert told["message_age_ms"] >= 0


def test_book_as_text_has_a_title_and_a_ladder(
    feed: RehearsalFeed, capsys: pytest.CaptureFixture[str]
) -> None:
    feed.publish_book([(12345, 2_000_000), (12344, 1)], [(12350, 3)])
    assert main(["book", BOOK, "--once"]) == 0
    title, heading, first, second = capsys.readouterr().out.splitlines()
    assert title.startswith(f"mexc {OWN.symbol} LIVE, last message ")
    assert title.endswith(f" ago, never verified, instance {INSTANCE}")
    assert heading.split() == ["bid", "qty", "bid", "ask", "ask", "qty"]
    assert first.split() == ["2.000000", "123.45", "123.50", "0.000003"]
    assert second.split() == ["0.000001", "123.44"]


def test_book_that_is_not_live_in_time_is_1_and_says_why(
    feed: RehearsalFeed, capsys: pytest.CaptureFixture[str]
) -> None:
    feed.publish_state(BookState.SYNCING, SyncReason.GAP)
    assert main(["book", BOOK, "--once", "--timeout", "0.2", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["why"] == "gap"
    assert said.err == (f"tickpath: book {BOOK} is SYNCING (gap) after 0.2 s, expected LIVE\n")


def test_book_prefers_the_instance_where_it_is_live(feed: RehearsalFeed) -> None:
    asked = Asked("mexc", OWN.symbol)
    with RehearsalFeed(f"{INSTANCE}-a", [OWN]) as other:
        other.heartbeat()
        other.publish_state(BookState.STALE, SyncReason.SILENT)
        feed.publish_book([(1, 1)], [(2, 1)])
        assert find_instance(asked) == INSTANCE
    assert find_instance(Asked("toy", OWN.symbol)) is None
    assert find_instance(Asked("mexc", "NOSUCHUSDT")) is None


def test_book_that_was_removed_is_no_instances_and_is_not_waited_for(feed: RehearsalFeed) -> None:
    asked = Asked("mexc", OWN.symbol)
    feed.publish_book([(1, 1)], [(2, 1)])
    view = LiveView(INSTANCE)
    watched = Watched(asked, view, None)
    assert watched.look() is not None
    feed.change_instrument(msgspec.structs.replace(OWN, status=Status.REMOVED))
    feed.publish_state(BookState.STALE, SyncReason.REMOVED)
    with pytest.raises(RemoteError, match=f"{OWN.symbol} was removed from it: add it"):
        watched.look()
    view.close()
    assert find_instance(asked) is None


@pytest.mark.parametrize("text", ["BTCUSDT", "mexc:", ":BTCUSDT", "nope:BTCUSDT", "mexc:btc"])
def test_book_that_cannot_be_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(LocalError, match=r"expected|did you mean"):
        parse_book(text)


def test_book_of_a_contract_has_colons_of_its_own() -> None:
    with pytest.raises(LocalError, match="lists nothing of this kind"):
        parse_book("mexc:BTC/USDT:USDT")
    assert parse_book("mexc:BTC/USDT") == Asked("mexc", "BTCUSDT")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_book_ends_by_0_after_a_signal(feed: RehearsalFeed, number: int) -> None:
    feed.publish_book([(1, 1)], [(2, 1)])
    command = [*TICKPATH, "book", BOOK, "--json", "--interval", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["state"] == "LIVE"
        child.send_signal(number)
        assert child.wait(WAIT_S) == 0


# ---- with a feed handler of its own --------------------------------------------------------------


def left_behind(instance: str) -> list[Path]:
    files = list(DIRECTORY.glob(f"tickpath.{instance}*"))
    for folder in Path(tempfile.gettempdir()).glob("tickpath-book-*"):
        config = folder / "book.toml"
        with contextlib.suppress(OSError):
            files += [folder] if f'"{instance}"' in config.read_text() else []
    return files


def test_feed_of_its_own_that_cannot_reach_the_venue_says_so_and_leaves_nothing() -> None:
    section = {"name": "mexc", "symbols": ["BTCUSDT"], "host": "127.0.0.1", "port": 9, "tls": False}
    end = time.monotonic() + WAIT_S
    with PrivateFeed(section) as feed:
        while feed.is_running and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(RemoteError, match=r"127\.0\.0\.1:9"):
            feed.check()
    assert left_behind(feed.instance) == []


def test_feed_of_its_own_is_refused_before_it_starts() -> None:
    with pytest.raises(LocalError, match="--port is 0"):
        PrivateFeed({"name": "mexc", "symbols": ["BTCUSDT"], "port": 0})


@pytest.mark.slow  # a simulator and two feed handlers start: 5 s
def test_book_without_an_instance_is_live_and_leaves_nothing_even_after_a_kill() -> None:
    words = ["sim", "mexc", "--plain", "--listen", "127.0.0.1:0", "--json", "--rate", "100"]
    with subprocess.Popen([*TICKPATH, *words], stdout=subprocess.PIPE, text=True) as simulator:
        try:
            assert simulator.stdout is not None
            url = json.loads(simulator.stdout.readline())["url"]
            port = url.rpartition(":")[2].partition("/")[0]
            place = ["--plain", "--host", "127.0.0.1", "--port", port, "--json"]
            command = [*TICKPATH, "book", "mexc:BTC/USDT", *place]
            done = subprocess.run([*command, "--once"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)
            assert told["state"] == "LIVE"
            assert told["bids"]
            assert left_behind(told["instance"]) == []
            done = subprocess.run(
                [*TICKPATH, "book", "mexc:NOUSDT", "--once", *place],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert done.stderr.startswith("tickpath: SYMBOL: symbol 'NOUSDT': ")
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                told = json.loads(child.stdout.readline())
                assert left_behind(told["instance"])
                child.kill()
            end = time.monotonic() + WAIT_S
            while left_behind(told["instance"]):
                assert time.monotonic() < end
                time.sleep(0.05)
        finally:
            simulator.terminate()
