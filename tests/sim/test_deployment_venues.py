"""A deployment of two venues in one feed handler: what each does, and not to the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.client.feed_segment import read_instruments
from tickpath.engine.feed_handler import process
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.instrument import ROW_STATUSES, Status
from tickpath.proto.venues import find_symbol, resolve_symbol
from tickpath.shm.errors import RemoteError

from tests.sim.deployment import LIVE, RECOVERY_S, STALE, Deployment, Setup, VirtualRest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.shm.segment import Segment

    Make = Callable[..., Deployment]

LISTED_S = 40.0
"""Unlisted says no for 30 s; it is asked again after 10 s and 20 s, and a tenth more."""
NAMES = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
OTHERS = ("binance", "bybit", "kraken")


def names(venue: str, count: int) -> tuple[str, ...]:
    own = load_dialect(venue).venue
    return tuple(resolve_symbol(own, one) for one in NAMES[:count])


def two(directory: Path, other: str, seed: int = 1) -> Setup:
    """Two books of the first venue, and two of another with the same names."""
    first = Setup(seed=seed, directory=directory, listed=names("mexc", 3))
    beside = replace(
        first,
        seed=seed + 1,
        dialect=load_dialect(other),
        symbols=names(other, 2),
        listed=names(other, 3),
    )
    return replace(first, beside=beside)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(other: str, kind: type[Deployment] = Deployment) -> Deployment:
        made.append(kind(two(tmp_path, other)))
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def states(deployment: Deployment) -> list[int]:
    return [seen.state for seen in deployment.seen]


@pytest.mark.parametrize("other", OTHERS)
def test_both_venues_are_live_by_their_own_truth(make: Make, other: str) -> None:
    deployment = make(other)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    rows = deployment.feed_handler.instruments
    assert [row.venue for row in rows] == ["mexc", "mexc", other, other]
    assert [row.index for row in rows] == [0, 1, 2, 3]
    opened = [line for line in deployment.story if ": open to " in line]
    assert sorted(line.split("connection ")[1] for line in opened) == [
        "0: open to exchange.test:443",
        "1: open to other.test:443",
    ]
    deployment.run(5.0)
    assert deployment.are_live()
    deployment.stop()


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("ended", [0, 1])
def test_venue_that_is_cut_off_spoils_not_the_other(make: Make, other: str, ended: int) -> None:
    deployment = make(other)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    stays = [slot for slot in range(4) if slot // 2 != ended]
    list(deployment.transport.ends.values())[ended].abort()
    told = len(deployment.story)

    def are_down() -> bool:
        return states(deployment)[2 * ended] != LIVE

    assert deployment.run(5.0, are_down)
    assert all(deployment.seen[slot].state == LIVE for slot in stays)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    spoiled = {deployment._symbols[slot] for slot in stays}
    changed = {line.split()[1] for line in deployment.story[told:] if " reason " in line}
    assert changed
    assert not changed & spoiled
    deployment.stop()


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("seed", range(2))
def test_live_again_after_frames_were_lost(tmp_path: Path, other: str, seed: int) -> None:
    deployment = Deployment(two(tmp_path, other, seed))
    try:
        assert deployment.run(RECOVERY_S, deployment.are_live)
        deployment.transport.damage(100_000)
        deployment.run(10.0)
        deployment.transport.damage(0)
        assert deployment.run(2 * RECOVERY_S, deployment.are_live), deployment.failure("not LIVE")
        deployment.stop()
    finally:
        deployment.close()


def test_maintenance_of_one_venue_stops_its_books_and_no_others(make: Make) -> None:
    """Kraken says so on each connection: LIVE books in it are traded on by nobody."""
    deployment = make("kraken")
    assert deployment.run(RECOVERY_S, deployment.are_live)
    venue = deployment.feed_handler.venues[1]

    def say(system: str) -> None:
        said = {"channel": "status", "type": "update", "data": [{"system": system}]}
        venue.take(venue.connections[0], msgspec.json.encode(said))

    say("maintenance")
    assert deployment.run(2.0, lambda: states(deployment)[2:] == [STALE, STALE])
    deployment.run(5.0)
    assert states(deployment) == [LIVE, LIVE, STALE, STALE]
    rows = deployment.feed_handler.instruments
    assert [row.status.value for row in rows] == ["trading", "trading", "halted", "halted"]
    say("online")
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.stop()


@pytest.mark.parametrize("other", OTHERS)
def test_symbols_come_and_go_at_both(make: Make, other: str) -> None:
    deployment = make(other)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    reload(deployment, names("mexc", 1), names(other, 3))
    assert deployment.run(RECOVERY_S, lambda: len(deployment.seen) == 5)
    assert deployment.run(RECOVERY_S, lambda: states(deployment) == [LIVE, STALE, LIVE, LIVE, LIVE])
    reload(deployment, names("mexc", 3), names(other, 3))
    assert deployment.run(RECOVERY_S, lambda: len(deployment.seen) == 6)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    rows = deployment.feed_handler.instruments
    assert [row.venue for row in rows] == ["mexc", "mexc", other, other, other, "mexc"]
    assert list(read_instruments(cast("Segment", deployment.feed_handler.segment))) == rows
    assert find_symbol(rows, f"{other}:SOL/USDT").index == 4
    assert find_symbol(rows, "mexc:SOLUSDT").index == 5
    counters = deployment.feed_handler.segment.counters()
    assert (counters["symbols.subscribed"], counters["symbols.left_out"]) == (6, 0)
    deployment.stop()


def reload(deployment: Deployment, *symbols: tuple[str, ...]) -> None:
    """Edit the symbols of each venue, and have the configuration read anew."""
    config = deployment.feed_handler.config
    venues = tuple(
        msgspec.structs.replace(venue, symbols=own)
        for venue, own in zip(config.venues, symbols, strict=True)
    )
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=venues))


def test_sections_that_changed_places_are_refused_and_change_nothing(make: Make) -> None:
    deployment = make("binance")
    assert deployment.run(RECOVERY_S, deployment.are_live)
    config = deployment.feed_handler.config
    swapped = (config.venues[1], msgspec.structs.replace(config.venues[0], symbols=("SOLUSDT",)))
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=swapped))
    deployment.run(5.0)
    assert deployment.feed_handler.config == config
    assert any('venue[0].name is "binance", runs with "mexc"' in line for line in deployment.story)
    assert deployment.are_live()
    assert len(deployment.seen) == 4


def test_scale_moves_at_the_second_venue_alone(make: Make) -> None:
    deployment = make("binance")
    assert deployment.run(RECOVERY_S, deployment.are_live)
    book = deployment.exchanges[1]._floor.listings[names("binance", 1)[0]].book
    book.set_scale(book.instrument.price_exponent - 1, book.instrument.quantity_exponent)
    deployment.run(2.0)
    assert deployment.run(120.0, deployment.are_live)
    assert deployment.counters.rescaled == 1
    assert sum("scale moved" in line for line in deployment.story) == 1
    assert any("binance BTCUSDT: scale moved" in line for line in deployment.story)


class Unlisted(Deployment):
    """The list of some venues cannot be had at first."""

    failing: tuple[str, ...] = ("binance",)

    def _open_rest(self, of: VenueConfig) -> VirtualRest:
        if of.name in self.failing and self.now_ns < self.started_ns + 30 * 10**9:
            raise RemoteError(f"{of.rest[0]}: refused")
        return super()._open_rest(of)

    @property
    def started_ns(self) -> int:
        return 1_000 * 10**9


class Nowhere(Unlisted):
    failing = ("mexc", "binance")


def test_venue_without_its_list_at_the_start_comes_later_by_itself(make: Make) -> None:
    deployment = make("binance", Unlisted)
    assert [row.venue for row in deployment.feed_handler.instruments] == ["mexc", "mexc"]
    assert deployment.run(RECOVERY_S, deployment.are_live)
    assert any(
        "binance: instrument list: other.test: refused: reading it again in 1" in line
        for line in deployment.story
    )
    counters = deployment.feed_handler.segment.counters()
    assert (counters["symbols.subscribed"], counters["symbols.left_out"]) == (2, 2)
    deployment.run(0.2)  # what the cold thread has to say of it
    told = len(deployment.story)
    assert deployment.run(LISTED_S, lambda: len(deployment.seen) == 4)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    said = "\n".join(deployment.story[told:])
    assert "binance: reload: added BTCUSDT, ETHUSDT" in said
    assert "mexc" not in said
    deployment.run(0.5)
    counters = deployment.feed_handler.segment.counters()
    assert (counters["symbols.subscribed"], counters["symbols.left_out"]) == (4, 0)
    deployment.stop()


def test_places_of_a_venue_that_is_still_to_come_are_kept(make: Make) -> None:
    deployment = make("binance", Unlisted)
    deployment.feed_handler.shared.places = 4  # as of two venues of two, and no spare
    reload(deployment, names("mexc", 3), names("binance", 2))
    assert deployment.run(LISTED_S + RECOVERY_S, lambda: len(deployment.seen) == 4)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    assert [row.venue for row in deployment.feed_handler.instruments] == ["mexc"] * 2 + [
        "binance"
    ] * 2
    assert any("symbol 'SOLUSDT': no place is left of 4" in line for line in deployment.story)


def test_section_that_came_is_named_as_such(make: Make) -> None:
    deployment = make("binance")
    assert deployment.run(RECOVERY_S, deployment.are_live)
    config = deployment.feed_handler.config
    more = (*config.venues, msgspec.structs.replace(config.venues[0], name="kraken"))
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=more))
    deployment.run(1.0)
    assert any("reload: 3 [[venue]] sections, runs with 2: " in line for line in deployment.story)
    assert deployment.are_live()


def test_no_venue_with_a_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"exchange\.test: refused"):
        Nowhere(two(tmp_path, "binance"))


# ---- errors that nobody foresaw ------------------------------------------------------------------


def faults(deployment: Deployment) -> int:
    deployment.run(0.5)
    return int(deployment.feed_handler.segment.counters()["venues.faults"])


@pytest.mark.parametrize("other", ["binance", "kraken"])
def test_error_among_the_bases_of_one_venue_is_no_others(make: Make, other: str) -> None:
    """Its books are not LIVE once they need a base, and come back by themselves."""
    deployment = make(other)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    of = deployment.feed_handler.venues[1].bases
    listed, told = of.books.wanted, len(deployment.story)

    def broken() -> list[int]:
        listed()
        raise KeyError("a bug")

    of.books.wanted = broken  # type: ignore[method-assign] # as a bug would
    list(deployment.transport.ends.values())[1].abort()
    end_ns = deployment.now_ns + 20 * 10**9
    while deployment.now_ns < end_ns:
        deployment.run(0.1)
        assert states(deployment)[:2] == [LIVE, LIVE]
    is_in_band = other == "kraken"  # what a new connection brings by itself
    assert is_in_band or LIVE not in states(deployment)[2:]
    assert faults(deployment) > 3
    said = [line for line in deployment.story[told:] if "a bug" in line]
    assert len(said) == 1
    assert f"{other}: bases: KeyError: 'a bug'" in said[0]
    of.books.wanted = listed  # type: ignore[method-assign] # the bug is gone
    assert deployment.run(RECOVERY_S + 30.0, deployment.are_live)
    deployment.stop()


@pytest.mark.parametrize("where", ["parse_notes", "subscribe"])
def test_error_of_one_venues_folder_is_no_others(
    make: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """On the cold thread, which all venues share: whatever a venue says, the others stay LIVE."""
    deployment = make("kraken")
    assert deployment.run(RECOVERY_S, deployment.are_live)

    def broken(*_: object, **__: object) -> None:
        raise RecursionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(load_dialect("kraken").venue.__class__, where, broken)
        list(deployment.transport.ends.values())[1].abort()
        for _ in range(100):
            deployment.run(0.1)
            assert states(deployment)[:2] == [LIVE, LIVE]
    lines = [line for line in deployment.story if "a bug" in line]
    assert lines
    if where == "parse_notes":
        assert faults(deployment) > 0
        assert len(lines) == 1
        assert "kraken: what the venue said: RecursionError: a bug" in lines[0]
    else:
        assert LIVE not in states(deployment)[2:]
        assert "what it says could not be made: RecursionError: a bug; trying again" in lines[0]
    assert deployment.run(2 * RECOVERY_S, deployment.are_live)
    deployment.stop()


# ---- what streams say of trading -----------------------------------------------------------------


class Streamed:
    """The C library, with statuses that a stream would have said."""

    def __init__(self, said: dict[int, int]) -> None:
        self._said = said

    def tp_feed_status_next(self, _feed: object, known: list[int], start: int) -> int:
        for index, status in self._said.items():
            if index >= start and known[index] != status:
                known[index] = status
                return index
        return 1 << 16

    def __getattr__(self, name: str) -> object:
        return getattr(lib, name)


def test_status_of_a_stream_is_in_the_row_that_readers_see(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make("binance")
    assert deployment.run(RECOVERY_S, deployment.are_live)
    handler = deployment.feed_handler
    halted = ROW_STATUSES.index(Status.HALTED)
    said = {2: halted}
    monkeypatch.setattr(process, "lib", Streamed(said))
    deployment.run(0.1)
    rows = read_instruments(cast("Segment", handler.segment))
    assert [row.status is Status.HALTED for row in rows] == [False, False, True, False]
    assert any("binance: stream: now BTCUSDT halted" in line for line in deployment.story)
    assert states(deployment) == [LIVE] * 4, (
        "of the book the hot thread decides, as the list has it"
    )
    said[2] = ROW_STATUSES.index(Status.TRADING)
    deployment.run(0.1)
    assert list(read_instruments(cast("Segment", handler.segment))) == handler.instruments
    assert all(row.status is Status.TRADING for row in handler.instruments)
