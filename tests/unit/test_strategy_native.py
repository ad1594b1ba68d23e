"""Strategies that are machine code: loaded, refused, called inline with each event and its book."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.strategy.native import NativeSet, figures, load_native, make_state
from tickpath.shm.errors import LocalError

from tests.unit.feed.conftest import LIVE, STALE, STATE, TOP, Rig, Venue, go_live
from tests.unit.native_library import (
    C11,
    CROSSING,
    CXX17,
    DOES,
    compile_library,
    compile_probe,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SEEN = ("does", "calls", "types", "bid", "state", "instrument", "sequence", "aligned")
ROOM = 1 << 10


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_probe(tmp_path_factory.mktemp("native"))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, instruments=2)
    yield rig
    rig.close()


class Inline:
    """One strategy over a rig's ring, and the intents that it had."""

    def __init__(
        self, rig: Rig, source: str, instruments: Sequence[int] = (0,), **parameters: float
    ) -> None:
        loaded = load_native(source)
        self.state = make_state(loaded, parameters)
        self.set = NativeSet(2)
        self.set.inline(rig.segment.ring, rig.segment.snapshots, rig.config.clock)
        self.row = self.set.add(loaded, self.state, instruments)
        self.rows = ffi.new("struct tp_native_intent[]", ROOM)
        self.log = self.set.keep_intents(self.rows, ROOM)
        self.set.begin()

    def follow(self) -> None:
        lib.tp_native_run(self.set.handle)

    @property
    def seen(self) -> dict[str, int]:
        words = ffi.cast("int64_t *", self.state)
        return {name: int(words[i]) for i, name in enumerate(SEEN)}

    @property
    def counts(self) -> dict[str, int]:
        return figures(self.set.handle, self.row)

    @property
    def intents(self) -> list[tuple[int, int, int, int]]:
        """Return verb, order, price and whether it was refused."""
        rows = [self.rows[i] for i in range(self.log.count)]
        return [
            (int(r.intent.verb), int(r.intent.order), int(r.intent.price), int(r.is_refused))
            for r in rows
        ]


def inline(rig: Rig, probe: Path, does: str = "looks") -> Inline:
    return Inline(rig, f"{probe}:probe", does=DOES[does])


# ---- what it is called with ----------------------------------------------------------------------


def test_native_is_called_for_each_message_with_the_book_after_it(rig: Rig, probe: Path) -> None:
    venue, tried = Venue(), inline(rig, probe)
    go_live(rig, venue)
    tried.follow()
    for _ in range(50):
        calls = tried.seen["calls"]
        rig.message(venue.step())
        tried.follow()
        tops = [kind for kind, _, _ in rig.events() if kind == TOP]
        seen = tried.seen
        assert seen["calls"] == calls + len(tops)
        assert seen["bid"] == max(venue.book[0], default=0)
        assert seen["sequence"] == venue.version
        assert seen["state"] == rig.state()[0]
    assert tried.seen["types"] == 1 << TOP | 1 << STATE
    assert tried.seen["aligned"] == 1
    assert tried.counts["stopped"] == 0


def test_native_sees_a_book_cease_to_be_live(rig: Rig, probe: Path) -> None:
    venue, tried = Venue(), inline(rig, probe)
    go_live(rig, venue)
    rig.down()
    tried.follow()
    assert tried.seen["state"] == STALE


def test_native_of_one_instrument_is_not_called_for_another(rig: Rig, probe: Path) -> None:
    other, tried = Venue(instrument=1), inline(rig, probe)
    rig.up()
    tried.follow()
    calls = tried.seen["calls"]
    rig.message(other.step())
    assert 1 in rig.wanted()
    assert rig.offer(other.version, *other.history[other.version], instrument=1)
    rig.tick()
    tried.follow()
    assert rig.state(1)[0] == LIVE
    assert tried.seen["calls"] == calls
    assert tried.seen["instrument"] == 0


def test_native_before_any_book_sees_one_that_starts(rig: Rig, probe: Path) -> None:
    tried = inline(rig, probe)
    lib.tp_ring_publish(rig.segment.ring, ffi.new("uint64_t[]", [TOP << 16, 5, 6, 1, 1, 1, 1]))
    tried.follow()
    assert (tried.seen["calls"], tried.seen["state"], tried.seen["bid"]) == (1, 0, 0)


def test_native_that_was_overrun_counts_what_it_did_not_see(rig: Rig, probe: Path) -> None:
    tried = inline(rig, probe)
    venue = Venue()
    go_live(rig, venue)
    tried.follow()
    before = int(rig.segment.ring.next)
    while int(rig.segment.ring.next) < before + (1 << 14) + 100:
        rig.message(venue.step())
    lost = int(rig.segment.ring.next) - before - (1 << 14)
    tried.follow()
    assert tried.counts["lost"] == lost > 0
    assert tried.seen["sequence"] == venue.version


def test_native_event_of_a_type_to_come_is_nobodys(rig: Rig, probe: Path) -> None:
    tried = inline(rig, probe)
    lib.tp_ring_publish(
        rig.segment.ring, ffi.new("uint64_t[]", [(64 + TOP) << 16, 0, 0, 0, 0, 0, 0])
    )
    tried.follow()
    assert tried.seen["calls"] == 0


# ---- what it leaves ------------------------------------------------------------------------------


@pytest.mark.parametrize("does", ["places", "cancels"])
def test_native_intent_is_counted(rig: Rig, probe: Path, does: str) -> None:
    venue, tried = Venue(), inline(rig, probe, does)
    go_live(rig, venue)
    tried.follow()
    counted = tried.counts
    assert (counted["places"], counted["cancels"]) == ((1, 0) if does == "places" else (0, 1))
    assert counted["refused"] == 0
    assert [row[3] for row in tried.intents] == [0]


@pytest.mark.parametrize(
    "does", ["wrong_scale", "foreign", "nothing_to_buy", "free", "no_verb", "no_side"]
)
def test_native_intent_that_cannot_be_meant_is_refused(rig: Rig, probe: Path, does: str) -> None:
    venue, tried = Venue(), inline(rig, probe, does)
    go_live(rig, venue)
    tried.follow()
    counted = tried.counts
    assert (counted["places"], counted["cancels"], counted["refused"]) == (0, 0, 1)
    assert [row[3] for row in tried.intents] == [1]


def test_native_place_on_a_book_that_is_not_live_is_refused(rig: Rig, probe: Path) -> None:
    venue, tried = Venue(), inline(rig, probe, "places")
    go_live(rig, venue)
    tried.follow()
    rig.message(venue.step(venue.crossing()))  # its message has a TOP: the book is CROSSED
    assert rig.state()[0] == 3
    tried.follow()
    assert (tried.counts["places"], tried.counts["refused"]) == (1, 1)


@pytest.mark.parametrize(("does", "refused"), [("too_many", 2), ("lies", (1 << 31) - 8)])
def test_native_buffer_is_bounded(rig: Rig, probe: Path, does: str, refused: int) -> None:
    venue, tried = Venue(), inline(rig, probe, "looks")
    go_live(rig, venue)
    tried.follow()
    ffi.cast("int64_t *", tried.state)[0] = DOES[does]
    rig.message(venue.step([(0, venue.middle - 1, 3)]))
    tried.follow()
    lies = does == "lies"  # seven of them are what the calls before left: still judged
    assert tried.counts["places"] + tried.counts["refused"] == refused + 8
    assert tried.counts["places"] >= (1 if lies else 8)
    assert len(tried.intents) == 8


def test_native_that_stops_is_not_called_again(rig: Rig, probe: Path) -> None:
    venue, tried = Venue(), inline(rig, probe, "stops")
    go_live(rig, venue)
    tried.follow()
    rig.message(venue.step())
    tried.follow()
    assert (tried.seen["calls"], int(tried.row.stopped_by)) == (1, 7)
    assert tried.counts["stopped"] == 1
    assert (tried.counts["cancels"], tried.counts["refused"]) == (0, 1), "of a call that failed"


def test_native_log_that_is_full_says_so(rig: Rig, probe: Path) -> None:
    venue, tried = Venue(), inline(rig, probe, "places")
    tried.log.capacity = 2
    go_live(rig, venue)
    for _ in range(4):
        rig.message(venue.step([(0, venue.middle - 1, 3)]))
    tried.follow()
    assert (int(tried.log.count), int(tried.log.lost), tried.counts["places"]) == (2, 3, 5)


@pytest.mark.parametrize("by", [C11, CXX17], ids=["c11", "c++17"])
def test_example_in_c_bids_where_the_spread_is_wide(
    rig: Rig, tmp_path: Path, by: tuple[str, ...]
) -> None:
    library = compile_library(CROSSING, tmp_path / "crossing.so", by=by)
    venue = Venue()
    tried = Inline(rig, f"{library}:crossing", spread_min=2, quantity=1000)
    go_live(rig, venue)
    tried.follow()
    first = max(venue.book[0])
    rig.message(venue.step([(0, first, 0)]))  # its best bid goes
    tried.follow()
    assert tried.intents == [(1, 1, first, 0), (2, 1, 0, 0), (1, 2, first - 1, 0)]


def check_cancels(tried: Inline, rig: Rig, quantity: int) -> None:
    """Move two books by turns; each cancel names the last bid of its own instrument."""
    venues = [Venue(), Venue(instrument=1)]
    rig.up()
    for number, venue in enumerate(venues):
        rig.message(venue.step())
        assert number in rig.wanted()
        assert rig.offer(venue.version, *venue.history[venue.version], instrument=number)
        rig.tick()
    bests = [max(venue.book[0]) for venue in venues]
    for turn in range(30):  # the best bid goes, and comes back
        for venue, best in zip(venues, bests, strict=True):
            rig.message(venue.step([(0, best, turn % 2)]))
            tried.follow()
    standing: dict[int, int] = {}
    cancels = 0
    for row in (tried.rows[i].intent for i in range(tried.log.count)):
        if row.verb == lib.TP_ORDER_CANCEL:
            assert standing.pop(int(row.instrument)) == row.order
            cancels += 1
        else:
            assert int(row.instrument) not in standing
            assert (row.quantity, row.order not in standing.values()) == (quantity, True)
            standing[int(row.instrument)] = int(row.order)
    assert cancels > 20
    assert set(standing) == {0, 1}


def test_example_in_c_cancels_the_bid_of_the_same_instrument(rig: Rig, tmp_path: Path) -> None:
    library = compile_library(CROSSING, tmp_path / "crossing.so")
    tried = Inline(rig, f"{library}:crossing", [0, 1], spread_min=1, quantity=7)
    check_cancels(tried, rig, 7)


# ---- what is refused at start --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-DABI=2"], "version 2 of the strategy interface, expected 1"),
        (["-DRECORDS=9"], "version 9 of the records, expected 2"),
        (["-DEVENTS=0"], "wants no event"),
    ],
)
def test_library_of_another_version_is_refused_with_both(
    tmp_path: Path, words: list[str], told: str
) -> None:
    library = compile_probe(tmp_path, *words)
    with pytest.raises(LocalError, match=told):
        load_native(f"{library}:probe")


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("absent", "no such symbol: expected an exported `const struct tp_strategy absent`"),
        ("no_strategy", "not a struct tp_strategy"),
    ],
)
def test_library_without_the_symbol_is_refused(probe: Path, symbol: str, told: str) -> None:
    with pytest.raises(LocalError, match=told):
        load_native(f"{probe}:{symbol}")


def test_library_that_is_none_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "fake.so"
    with pytest.raises(LocalError, match=r"fake\.so:x: No such file or directory"):
        load_native(f"{fake}:x")
    fake.write_text("text")
    fake.chmod(0o644)
    with pytest.raises(LocalError, match="not a library that can be loaded"):
        load_native(f"{fake}:x")


@pytest.mark.parametrize("source", ["probe.so", "probe:x", ":x", "a.so:"])
def test_source_that_names_no_function_is_refused(source: str) -> None:
    with pytest.raises(LocalError, match=r"expected library\.so:symbol or file\.py:function"):
        load_native(source)


def test_library_that_others_may_write_is_refused_as_root(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "probe.so"
    library.write_bytes(probe.read_bytes())
    library.chmod(0o775)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(LocalError, match=r"others may write it|owns it|owns /|may write /"):
        load_native(f"{library}:probe")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load_native(f"{library}:probe").fields() == {"does": (1, 0), "factor": (2, 64)}


def test_parameter_that_does_not_fit_is_refused(probe: Path) -> None:
    loaded = load_native(f"{probe}:probe")
    for parameters, told in (
        ({"dose": 1}, "parameter dose: known are does, factor"),
        ({"does": 1.5}, "parameter does is 1.5, expected a whole number"),
        ({"does": 1 << 63}, "expected a whole number of 64 bits"),
        ({"does": -1}, "its init refused to start: it returned 3, expected 0"),
    ):
        with pytest.raises(LocalError, match=told):
            make_state(loaded, parameters)
    state: Any = make_state(loaded, {"factor": 2, "does": 3})
    assert ffi.cast("double *", ffi.addressof(state, 64))[0] == 2.0
    assert ffi.cast("int64_t *", state)[0] == 3
