"""examples/spread.py over made-up books: exact across scales, LIVE on both sides, counted."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import open_reader
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.command import load_strategy
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.runtime import Runtime
from tickpath.engine.strategy.stats import COUNTERS, create_stats, own_counters, read_stats
from tickpath.proto.instrument import Instrument, Symbol
from tickpath.proto.records import BookState, SyncReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "spread.py"
BTC, ETH = Symbol("BTC", "USDT"), Symbol("ETH", "USDT")
ROWS = (
    Instrument(0, "mexc", "BTCUSDT", -2, -6, name=BTC),
    Instrument(1, "kraken", "BTC/USDT", -1, -8, name=BTC),
    Instrument(2, "binance", "BTCUSDT", -8, -5, name=BTC),
    Instrument(3, "mexc", "ETHUSDT", -2, -6, name=ETH),
)


class Stage:
    """A feed of four instruments and the example, told of each change at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.feed = RehearsalFeed("unit", ROWS, directory=directory)
        self.reader = open_reader("unit", directory=directory, stale_after_ns=60 * 10**9)
        strategy = load_strategy(f"{EXAMPLE}:CrossVenueSpread")()
        strategy.reader, strategy.instruments = self.reader, self.reader.instruments
        own = strategy.counter_names()
        self.stats = create_stats("unit", "spread", own, directory=directory)
        self.runtime = Runtime(strategy, self.reader, self.stats)
        self.strategy = strategy
        self.plan: list[Callable[[], object]] = []
        strategy.on_idle = self.next  # type: ignore[method-assign]  # the test's turn

    def next(self) -> None:
        if self.plan:
            self.plan.pop(0)()
        else:
            self.runtime.stop()

    def run(self) -> dict[str, int]:
        """Do what is planned, a step each time that the strategy has seen all."""
        self.runtime.is_stopping = False
        self.runtime.run()
        return {
            name.removeprefix("BTC/USDT."): count
            for name, count in self.strategy.counters.items()
            if name.startswith("BTC/")
        }

    def top(self, index: int, bid: str, ask: str) -> None:
        """Plan a book of one level a side, prices as decimal text."""
        unit = Fraction(10) ** ROWS[index].price_exponent
        prices = [Fraction(text) / unit for text in (bid, ask)]
        assert all(price.denominator == 1 for price in prices), "not of this scale"
        whole = [int(price) for price in prices]
        self.plan.append(lambda: self.feed.publish_top((whole[0], 1), (whole[1], 1), index))

    def close(self) -> None:
        self.reader.close()
        self.stats.close()
        self.feed.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def test_one_venue_alone_is_compared_with_nothing(stage: Stage) -> None:
    stage.top(0, "93000.01", "93000.02")
    stage.top(3, "3300.01", "3300.02")
    assert stage.run()["compared"] == 0


def test_same_price_in_other_digits_is_no_crossing_and_a_unit_more_is(stage: Stage) -> None:
    stage.top(0, "92999.99", "93000.10")
    stage.top(1, "93000.1", "93000.2")
    counted = stage.run()
    assert (counted["compared"], counted["crossed"], counted["crossings"]) == (1, 0, 0)
    stage.top(2, "93000.10000001", "93000.15")  # a hundred-millionth: far below a float's bps
    counted = stage.run()
    assert (counted["compared"], counted["crossed"], counted["crossings"]) == (2, 1, 1)


def test_crossings_are_counted_once_and_by_their_width(stage: Stage) -> None:
    stage.top(0, "99.00", "100.00")
    for bid in ("101.0", "101.0", "102.0"):  # 100, 100 and 200 bps
        stage.top(1, bid, "103.0")
    stage.top(1, "99.9", "103.0")
    stage.top(1, "100.5", "103.0")
    assert stage.run() == {
        "compared": 5,
        "crossed": 4,
        "crossings": 2,
        "sum_millibps": 450_000,
        "widest_millibps": 200_000,
    }
    told = own_counters(read_stats("unit", "spread", directory=stage.directory).counters)
    assert told["BTC/USDT.crossings"] == 2
    assert told["ETH/USDT.compared"] == 0


def test_a_book_that_is_not_live_is_no_price(stage: Stage) -> None:
    stage.top(0, "99.00", "100.00")
    stage.plan.append(lambda: stage.feed.publish_state(BookState.STALE, SyncReason.SILENT, 0))
    stage.top(1, "101.0", "103.0")
    assert stage.run()["compared"] == 0
    stage.top(0, "99.00", "100.00")
    assert stage.run()["crossed"] == 1


def test_an_instrument_that_comes_and_a_scale_that_moves_are_followed(stage: Stage) -> None:
    stage.top(0, "99.00", "100.00")
    finer = Instrument(1, "kraken", "BTC/USDT", -3, -8, name=BTC)
    new = Instrument(4, "kraken", "ETH/USDT", -2, -8, name=ETH)
    solo = Instrument(5, "kraken", "XRP/USDT", -5, -8, name=Symbol("XRP", "USDT"))
    stage.plan += [
        lambda: stage.feed.change_instrument(finer),
        lambda: stage.feed.publish_top((99_999, 1), (103_000, 1), 1),
        lambda: stage.feed.publish_top((100_001, 1), (103_000, 1), 1),
        lambda: stage.feed.change_instrument(new),
        lambda: stage.feed.publish_top((330_001, 1), (330_002, 1), 4),
        lambda: stage.feed.change_instrument(solo),
        lambda: stage.feed.publish_top((1, 1), (2, 1), 5),  # no counter was made for it
    ]
    stage.top(3, "3300.00", "3300.02")
    counted = stage.run()
    assert (counted["compared"], counted["crossed"], counted["sum_millibps"]) == (2, 1, 100)
    assert stage.strategy.counters["ETH/USDT.compared"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_random_books_are_counted_as_fractions_count_them(stage: Stage, seed: int) -> None:
    """The expected counts come from exact fractions, whatever the scales."""
    turns, tops = random.Random(seed), dict[int, tuple[Fraction, Fraction]]()
    expected = {"compared": 0, "crossed": 0, "sum_millibps": 0}
    for _ in range(80):
        index = turns.randrange(3)
        unit = Fraction(10) ** ROWS[index].price_exponent
        bid = (Fraction(93000) + Fraction(turns.randint(-9, 9), 10)) // unit
        ask = bid + turns.randint(1, max(1, int(Fraction(1, 10) / unit)))
        stage.plan.append(
            lambda bid=bid, ask=ask, index=index: stage.feed.publish_top(  # type: ignore[misc]  # a loop's values
                (bid, 1), (ask, 1), index
            )
        )
        tops[index] = bid * unit, ask * unit
        if len(tops) > 1:
            best, least = max(one for one, _ in tops.values()), min(one for _, one in tops.values())
            expected["compared"] += 1
            expected["crossed"] += best > least
            expected["sum_millibps"] += max(0, (best - least) * 10**7 // least)
    counted = stage.run()
    assert {name: counted[name] for name in expected} == expected
    assert expected["crossed"] > 5


def test_example_is_short_and_a_strategy() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    assert issubclass(load_strategy(f"{EXAMPLE}:CrossVenueSpread"), Strategy)


# ---- counters of one's own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x" * 48], "expected 1 to 47 printable ASCII"),
        ([""], "expected 1 to 47"),
        (["a\nb"], "printable"),
        (["é"], "ASCII"),
        (["tops"], "named twice; every strategy has events, tops"),
        (["own", "own"], "counter 'own': named twice"),
    ],
)
def test_own_counters_that_cannot_be_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        create_stats("unit", "one", names, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_own_counters_come_behind_those_of_every_strategy(tmp_path: Path) -> None:
    with create_stats("unit", "one", ["x" * 47, "b"], directory=tmp_path) as stats:
        assert tuple(stats.counters()) == (*COUNTERS, "x" * 47, "b")


def test_own_counters_beyond_64_bits_are_shown_at_the_limit(stage: Stage) -> None:
    stage.strategy.counters["BTC/USDT.crossed"] = 1 << 70
    stage.strategy.counters["BTC/USDT.compared"] = -1
    stage.run()
    told = read_stats("unit", "spread", directory=stage.directory).counters
    assert told["BTC/USDT.crossed"] == (1 << 64) - 1
    assert told["BTC/USDT.compared"] == 0
