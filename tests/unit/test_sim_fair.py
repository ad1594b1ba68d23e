"""Several venues around one price: each book right, now and then one bid above another's ask."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from tickpath.engine import cli
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.fair import (
    GRAIN_BPS,
    OFFSET_WAVES,
    SHARED_WAVES,
    Fair,
    FollowingBook,
    Waves,
)
from tickpath.engine.sim.market import SPREAD_MAX, instrument_names
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.instrument import Symbol
from tickpath.shm.clock import Clock

VENUES = ("binance", "kraken", "mexc")
BTC, DOGE = Symbol("BTC", "USDT"), Symbol("DOGE", "USDT")
START_NS = 1_796_000_000 * 10**9
STEP_NS = 2_000_000


@dataclass
class World:
    """Books of several venues on one time, which moves a step with each change."""

    seed: int = 1
    now_ns: int = START_NS
    books: dict[tuple[str, Symbol], FollowingBook] = field(default_factory=dict)

    def add(self, venue: str, name: Symbol, depth: int = 100) -> FollowingBook:
        dialect = load_dialect(venue)
        symbol = dialect.venue.venue_symbol(name)
        assert symbol is not None
        fair = Fair(venue, lambda: self.now_ns, dialect.exponents)
        book = self.books[venue, name] = fair.make_book(symbol, name, depth, self.seed)
        return book

    def step(self, book: FollowingBook, levels: int = 2) -> None:
        self.now_ns += STEP_NS
        book.step(levels)


def price(book: FollowingBook, ticks: int) -> Fraction:
    return ticks * Fraction(10) ** book.instrument.price_exponent


def touch(book: FollowingBook) -> tuple[Fraction, Fraction]:
    return price(book, book.bids.best()), price(book, book.asks.best())


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("name", [BTC, DOGE, Symbol("SYM0001", "USDT")])
def test_book_that_follows_stays_coherent_and_near_its_price(venue: str, name: Symbol) -> None:
    world = World()
    book = world.add(venue, name)
    copies = {True: dict(book.bids.quantities), False: dict(book.asks.quantities)}
    for number in range(3000):
        world.now_ns += STEP_NS
        delta = book.step(1 + number % 5)
        for is_bid, changes in ((True, delta.bids), (False, delta.asks)):
            for one, quantity in changes:
                copies[is_bid][one] = quantity
                if quantity == 0:
                    del copies[is_bid][one]
        assert copies == {True: book.bids.quantities, False: book.asks.quantities}
        assert book.spread() >= 1
        assert min(len(copies[True]), len(copies[False])) >= 60
        assert max(len(copies[True]), len(copies[False])) <= 120
        # Where it should be, within what its own spread leaves open.
        middle = (book.bids.best() + book.asks.best()) / 2
        assert abs(book._wanted(book.instrument) - middle) <= SPREAD_MAX * book._grain


def test_fair_price_is_the_seeds_whoever_asks() -> None:
    def prices(venue: str, seed: int) -> list[float]:
        now_ns = [START_NS]
        at = Fair(venue, lambda: now_ns[0]).price(BTC, 100.0, seed)
        found = []
        for _ in range(50):
            now_ns[0] += 100_000_000
            found.append(at())
        return found

    one = prices("mexc", 1)
    assert prices("mexc", 1) == one
    assert prices("mexc", 2) != one
    other = prices("kraken", 1)
    offset_max = sum(bps for bps, _ in OFFSET_WAVES)
    assert 0 < max(abs(a / b - 1) for a, b in zip(one, other, strict=True)) < 2.1e-4 * offset_max
    shared_max = sum(bps for bps, _ in SHARED_WAVES)
    assert max(abs(a / 100 - 1) for a in one) < 1e-4 * (shared_max + offset_max)
    # It moves no faster than books follow: some basis points a second.
    assert max(abs(a / b - 1) for a, b in pairwise(one)) < 1e-4


def test_waves_are_bounded_by_their_sizes() -> None:
    waves = Waves(((3.0, 1.0), (1.0, 0.3)), "x")
    found = [waves.at(index / 100) for index in range(1000)]
    assert 3e-4 < max(found) <= 4e-4
    assert -4e-4 <= min(found) < -3e-4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_venues_cross_now_and_then_and_no_book_does(seed: int) -> None:
    world, names = World(seed), instrument_names(2)
    for name in names:
        for venue in VENUES:
            world.add(venue, name)
    order, turns = list(world.books.values()), random.Random(seed)
    looks, crossed = 0, dict.fromkeys(names, 0)
    while looks < 6000:
        looks += 1
        book = turns.choice(order)
        world.step(book)
        touches = [touch(world.books[venue, book.name]) for venue in VENUES]
        assert all(bid < ask for bid, ask in touches)
        crossed[book.name] += max(bid for bid, _ in touches) > min(ask for _, ask in touches)
    shares = [count / looks * len(names) for count in crossed.values()]
    assert all(0.005 < share < 0.5 for share in shares), shares


def test_scales_differ_by_venue_and_levels_are_as_far_apart() -> None:
    world = World()
    books = {venue: world.add(venue, BTC) for venue in VENUES}
    assert len({book.instrument.price_exponent for book in books.values()}) > 1
    for book in books.values():
        gaps = [b - a for a, b in pairwise(book.bids.prices)]
        mean = sum(gaps) / len(gaps) * 10.0**book.instrument.price_exponent / 93000
        assert 0.7e-4 * GRAIN_BPS < mean < 1.4e-4 * GRAIN_BPS


@pytest.mark.parametrize("seed", range(4))
def test_scale_fault_leaves_price_and_grain_where_they_were(seed: int) -> None:
    world = World(seed)
    book = world.add("kraken", BTC)
    for _ in range(30):
        world.step(book)
        before = touch(book)
        book.rescale()
        book.take_scale()
        assert abs(touch(book)[0] / before[0] - 1) < Fraction(1, 500)
        assert book.spread() > 0
        for _ in range(20):
            world.step(book)
        assert abs(float(sum(touch(book)) / 2) / book._price() - 1) < 3e-3


def started(*words: str) -> tuple[subprocess.Popen[str], list[dict[str, Any]]]:
    """Start the three on free ports; return what they first say."""
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "sim", *VENUES, "--plain"]
    child = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--json", *words], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, [json.loads(child.stdout.readline()) for _ in VENUES]


def truth(url: str, symbol: str) -> dict[str, Any]:
    host = url.split("/")[2]
    with urllib.request.urlopen(f"http://{host}/truth?symbol={symbol}", timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def test_command_of_several_venues_gives_each_a_port_and_one_price() -> None:
    child, lines = started("--instruments", "BTC/USDT,DOGE/USDT", "--fault", "kraken:pause@1s")
    with child:
        try:
            assert [line["event"] for line in lines] == ["listening"] * 3
            assert [line["venue"] for line in lines] == list(VENUES)
            assert len({line["url"].split("/")[2] for line in lines}) == 3
            own = {"kraken": "BTC/USDT"}
            books = [truth(line["url"], own.get(line["venue"], "BTCUSDT")) for line in lines]
            bids = [float(book["bids"][0][0]) for book in books]
            assert max(bids) / min(bids) < 1.001
            assert child.stdout is not None
            fault = json.loads(child.stdout.readline())
            assert (fault["event"], fault["venue"], fault["fault"]) == ("fault", "kraken", "pause")
        finally:
            child.terminate()
        assert child.stdout is not None
        ends = [json.loads(line) for line in child.stdout.read().splitlines()[-3:]]
        assert [(end["event"], end["venue"]) for end in ends] == [("end", one) for one in VENUES]
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mexc", "mexc"], "venue 'mexc' is listed twice: expected each venue once"),
        (["mexc", "kraken", "--fault", "gap@5s"], "for instance mexc:gap@5s, where there are"),
        (
            ["mexc", "kraken", "--fault", "kraken:gap:BTCUSDT@5s"],
            "'BTCUSDT': did you mean BTC/USDT?",
        ),
        (["mexc", "kraken", "--fault", "kraken:nope@5s"], "fault 'nope': expected one of"),
        (["mexc", "kraken", "--listen", "127.0.0.1:65535"], "expected a port up to 65534, or 0"),
        (["mexc", "kraken", "--depth", "2000"], "--depth 2000: expected 40 to 1000 levels at kra"),
    ],
)
def test_command_of_several_venues_refuses_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sim", *words, "--plain"]) == cli.EXIT_LOCAL
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_every_dialect_that_names_scales_names_whole_ones() -> None:
    for venue in dialect_names():
        for base, scale in load_dialect(venue).exponents.items():
            assert all(-8 <= exponent <= 0 for exponent in scale), (venue, base)


def test_exchange_quotes_around_the_common_price_only_where_asked() -> None:
    clock = Clock(lambda: START_NS, lambda: START_NS)
    for is_fair in (False, True):
        options = Options(instruments=["BTC/USDT"], is_fair=is_fair)
        exchange = Exchange(load_dialect("kraken"), options, clock)
        scale = exchange._floor.listings["BTC/USDT"].book.instrument
        assert (scale.price_exponent, scale.quantity_exponent) == (
            (-1, -8) if is_fair else (-2, -6)
        )
