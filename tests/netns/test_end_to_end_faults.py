"""What the exchange may do wrong, one fault each on one running system: told, survived, healed."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.proto.records import BookState, SyncReason

from tests.netns.rig import (
    LIVE,
    Exchange,
    Settings,
    Supervised,
    VethPair,
    Watcher,
    assert_truth,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "netns", "af_xdp")

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
BTC, ETH, SOL = range(3)
SILENT_AFTER_MS = 1500
SYNCING, STALE, CROSSED = BookState.SYNCING, BookState.STALE, BookState.CROSSED
GAP, BROKEN = (SYNCING, SyncReason.GAP), (SYNCING, SyncReason.BROKEN_MESSAGE)
STARTING, DOWN = (SYNCING, SyncReason.STARTING), (STALE, SyncReason.DISCONNECTED)
SILENT, REFUSED = (STALE, SyncReason.SILENT), (STALE, SyncReason.REFUSED)


class System:
    """One simulator and one feed handler for all tests of this file."""

    def __init__(self, pair: VethPair, directory: Path) -> None:
        self.exchange = Exchange(
            pair, directory, "--instruments", ",".join(SYMBOLS), "--rate", "300"
        )
        settings = Settings(symbols=SYMBOLS, silent_after_ms=SILENT_AFTER_MS, max_s=0.4)
        self.run = Supervised(pair, directory, settings)
        self.watcher: Watcher = self.run.watch()

    def calm(self) -> None:
        """Start a test from three LIVE books and no change unread."""
        self.watcher.wait_state(LIVE)
        self.watcher.changes.clear()

    def verify(self) -> None:
        """End a test: the books are the exchange's."""
        self.watcher.wait_state(LIVE)
        self.exchange.fault("pause")
        assert_truth(self.exchange, self.watcher)
        self.exchange.fault("resume")

    def counter(self, name: str) -> int:
        """Return a counter that has settled."""
        time.sleep(0.25)  # counters are copied ten times a second
        return self.run.counters()[name]


@contextlib.contextmanager
def running(directory: Path) -> Iterator[System]:
    with VethPair.open() as pair:
        made = System(pair, directory)
        yield made
        made.watcher.reader.close()
        made.run.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("shared")) as system:
        yield system


@pytest.fixture
def calm(shared: System) -> System:
    """Serve the faults that a connection survives."""
    shared.calm()
    return shared


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[System]:
    """Serve those that it does not: a series of reconnections would slow bases down."""
    with running(tmp_path) as system:
        system.calm()
        yield system


def test_gap_resyncs_its_book_alone(calm: System) -> None:
    gaps = calm.counter("feed.gaps")
    calm.exchange.fault("gap:BTCUSDT")
    calm.watcher.wait_change(BTC, GAP)
    calm.watcher.wait_change(BTC, LIVE)
    assert not [change for change in calm.watcher.changes if change.instrument != BTC]
    assert calm.counter("feed.gaps") == gaps + 1
    calm.verify()


def test_garbage_marks_its_book_and_resyncs(calm: System) -> None:
    broken = calm.counter("feed.broken")
    calm.exchange.fault("garbage:ETHUSDT")
    calm.watcher.wait_change(ETH, BROKEN)
    calm.watcher.wait_change(ETH, LIVE)
    assert calm.counter("feed.broken") == broken + 1
    calm.verify()


def test_crossed_book_is_marked_until_it_uncrosses(calm: System) -> None:
    calm.exchange.fault("crossed:SOLUSDT")
    calm.watcher.wait_change(SOL, (CROSSED, SyncReason.CROSSED))
    calm.watcher.wait_change(SOL, LIVE)
    calm.verify()


def test_duplicate_is_counted_and_changes_nothing(calm: System) -> None:
    duplicates = calm.counter("feed.duplicates")
    calm.exchange.fault("duplicate")
    calm.run.wait_counter("feed.duplicates", duplicates + len(SYMBOLS))
    calm.verify()
    assert calm.watcher.changes == []


def test_ping_flood_is_answered_and_disturbs_nobody(calm: System) -> None:
    disconnects = calm.counter("hot.disconnects")
    calm.exchange.fault("ping-flood:20000")
    calm.verify()
    assert calm.counter("hot.disconnects") == disconnects
    assert calm.watcher.changes == []


def test_drip_is_put_together(calm: System) -> None:
    calm.exchange.fault("drip:1")
    time.sleep(1.2)
    calm.verify()


def test_disconnect_makes_books_stale_at_once_and_replaces_them(fresh: System) -> None:
    connects = fresh.counter("hot.connects")
    log = len(fresh.run.program.text)
    fresh.exchange.fault("disconnect")
    for instrument in range(len(SYMBOLS)):
        fresh.watcher.wait_change(instrument, DOWN)
        fresh.watcher.wait_change(instrument, STARTING)
        fresh.watcher.wait_change(instrument, LIVE)
    assert fresh.counter("hot.connects") == connects + 1
    fresh.run.program.wait_for("the stream ended without a close frame; trying again now", log)
    fresh.run.program.wait_for("open to exchange.test:8443", log)
    fresh.verify()


def test_disconnect_while_books_move_leaves_no_old_level(fresh: System) -> None:
    """The walk goes on while nobody listens; a merged book would keep levels that are gone."""
    for _ in range(3):
        fresh.exchange.fault("disconnect")
        fresh.watcher.wait_change(BTC, LIVE)
        fresh.verify()


@pytest.mark.parametrize("code", [1001, 4001])
def test_close_code_is_told_and_reconnected(fresh: System, code: int) -> None:
    log = len(fresh.run.program.text)
    fresh.exchange.fault(f"close:{code}")
    fresh.watcher.wait_change(BTC, DOWN)
    fresh.watcher.wait_change(BTC, LIVE)
    fresh.run.program.wait_for(f"closed with code {code}", log)
    fresh.verify()


def test_half_frame_then_silence_is_stale_then_reconnected(fresh: System) -> None:
    silences = fresh.counter("feed.silences")
    log = len(fresh.run.program.text)
    fresh.exchange.fault("half-frame")
    fresh.watcher.wait_change(BTC, SILENT)
    fresh.watcher.wait_change(BTC, DOWN)
    fresh.watcher.wait_change(BTC, LIVE)
    fresh.run.program.wait_for("silent for too long", log)
    assert fresh.counter("feed.silences") == silences + 1
    fresh.verify()


def test_pause_shorter_than_the_limit_is_no_silence(calm: System) -> None:
    calm.exchange.fault("pause")
    time.sleep(0.4 * SILENT_AFTER_MS / 1000)
    calm.exchange.fault("resume")
    calm.verify()
    assert calm.watcher.changes == []


def test_refused_instrument_is_stale_while_others_go_on(fresh: System) -> None:
    fresh.exchange.fault("refuse:ETHUSDT")
    fresh.exchange.fault("disconnect")
    fresh.watcher.wait_change(ETH, REFUSED)
    fresh.watcher.wait_state(LIVE, [BTC, SOL])
    before = [fresh.watcher.reader.book(i).version for i in (BTC, SOL)]
    until("versions to go on", lambda: _moved(fresh.watcher, before))
    assert fresh.watcher.state(ETH) == REFUSED
    assert re.search(r"refused .*ETHUSDT.*Blocked", fresh.run.program.text)
    fresh.exchange.fault("accept:ETHUSDT")
    fresh.exchange.fault("disconnect")
    fresh.watcher.wait_change(ETH, LIVE)
    fresh.verify()


def _moved(watcher: Watcher, before: list[int]) -> bool:
    watcher.drain()
    return all(
        watcher.reader.book(i).version > b + 20 for i, b in zip((BTC, SOL), before, strict=True)
    )
