"""What the benchmarks need of a venue: its messages, and contenders that read them. A folder each.

`bench_venue` loads one; the benchmarks run over the default venue's.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.proto.venues import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market
    from tickpath.engine.feed_handler.plan import Plan
    from tickpath.proto.venue import Settings, Venue


class BenchVenue(Protocol):
    """One venue's side of the benchmarks."""

    venue: ClassVar[Venue]
    settings: ClassVar[Settings]
    """What the benchmarks subscribe with."""
    settings_toml: ClassVar[str]
    """The same, as keys of a [[venue]] section."""
    price_exponent: ClassVar[int]
    quantity_exponent: ClassVar[int]
    implementation: ClassVar[str]
    """What `contender` reads messages with."""

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a change of a market, at its present version."""

    def instrument_list(self, symbols: Sequence[str]) -> bytes:
        """Write the body of the instrument list."""

    def base(self, market: Market) -> bytes:
        """Write the body of a base."""

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Return what a good Python program reads a message with.

        To its book's number (by channel), first and last version, bids and asks as floats.
        """


@cache
def bench_venue(name: str = DEFAULT_NAME) -> BenchVenue:
    """Load a venue's side of the benchmarks."""
    venue: BenchVenue = import_module(f"{__name__}.{name}.bench").BENCH
    return venue


def bench_plan(symbols: Sequence[str]) -> Plan:
    """Plan the subscriptions of a benchmark."""
    own = bench_venue()
    return make_plan(VenueConfig(symbols=(), name=own.venue.name, settings=own.settings), symbols)
