"""What the benchmarks need of a venue: its messages, and contenders that read them. A folder each.

`bench_venue` loads one; the benchmarks run over the default venue's. `decode` runs over every
venue's that has cases for it.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.proto.venues import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market
    from tickpath.engine.feed_handler.plan import Plan
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Settings, Venue


@dataclass(frozen=True, slots=True)
class DecodeCase:
    """Messages of one size, and how many times as long the contender is to take, at least."""

    name: str
    levels: int
    """Of each side."""
    goal: float


@runtime_checkable
class DecodedVenue(Protocol):
    """A venue whose messages `decode.py` has read to numbers."""

    venue: ClassVar[Venue]
    settings: ClassVar[Settings]
    """What the benchmarks subscribe with."""
    price_exponent: ClassVar[int]
    quantity_exponent: ClassVar[int]
    opcode: ClassVar[int]
    """Of its messages, RFC 6455 section 5.2."""
    cases: ClassVar[tuple[DecodeCase, ...]]
    implementation: ClassVar[str]
    """What `contender` reads messages with."""

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a change of a market, at its present version."""

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Return what a good Python program reads a message with.

        To its book's number (by channel), first and last version, bids and asks as floats.
        """


@runtime_checkable
class GapVenue(Protocol):
    """A venue whose simulator loses messages for `gap.py`, and sends garbage for `garbage.py`."""

    venue: ClassVar[Venue]
    settings: ClassVar[Settings]
    settings_toml: ClassVar[str]
    """What the benchmarks subscribe with, as keys of a [[venue]] section."""


class BenchVenue(DecodedVenue, GapVenue, Protocol):
    """One venue's side of all benchmarks."""

    def instrument_list(self, symbols: Sequence[str]) -> bytes:
        """Write the body of the instrument list."""

    def base(self, market: Market) -> bytes:
        """Write the body of a base."""


@runtime_checkable
class CheckedVenue(Protocol):
    """A venue whose messages have checksums: `checked.py` measures them as far as the book."""

    venue: ClassVar[Venue]
    settings: ClassVar[Settings]
    case: ClassVar[str]
    implementation: ClassVar[str]
    """What `contender` reads messages with."""
    goal: ClassVar[float]
    """How many times as long the contender is to take, at least."""

    def messages(self, symbols: Sequence[str], count: int) -> tuple[list[Instrument], list[bytes]]:
        """Return the instruments, and so many messages of each in turn, first its base."""

    def contender(self, rows: Sequence[Instrument]) -> Callable[[bytes], Any]:
        """Return what a good Python program takes a message with.

        To the book's best prices as floats, bids and asks; raises ValueError where a checksum does
        not hold.
        """


def _sides() -> list[object]:
    """Load each venue's side of the benchmarks."""
    names = (one.name for one in pkgutil.iter_modules(__path__) if one.ispkg)
    return [import_module(f"{__name__}.{name}.bench").BENCH for name in sorted(names)]


def decoded_venues() -> list[DecodedVenue]:
    """Load those whose messages are read to numbers, the default venue's first."""
    found = [one for one in _sides() if isinstance(one, DecodedVenue)]
    return sorted(found, key=lambda one: one.venue.name != DEFAULT_NAME)


def gap_venues() -> list[GapVenue]:
    """Load those that have a simulator and keys to subscribe with."""
    return [one for one in _sides() if isinstance(one, GapVenue)]


def checked_venues() -> list[CheckedVenue]:
    """Load those whose messages have checksums."""
    return [one for one in _sides() if isinstance(one, CheckedVenue)]


@cache
def bench_venue(name: str = DEFAULT_NAME) -> BenchVenue:
    """Load a venue's side of the benchmarks."""
    venue: BenchVenue = import_module(f"{__name__}.{name}.bench").BENCH
    return venue


def bench_plan(symbols: Sequence[str]) -> Plan:
    """Plan the subscriptions of a benchmark."""
    own = bench_venue()
    return make_plan(VenueConfig(symbols=(), name=own.venue.name, settings=own.settings), symbols)
