"""Fetch the venue's instrument list and find the configured symbols in it.

One symbol that is not listed, or whose row cannot be, takes itself out: it is named once, with the
remedy, and the others run. Called by: list_reader.py, venue_feed.py and replan.py beside it. Calls:
rest_client.py, proto/venue.py (what is asked, and how the answer reads).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.proto.instrument import pack_row
from tickpath.proto.venue import HttpRequest, InstrumentList
from tickpath.proto.venues import find_symbol, resolve_symbol
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.engine.feed_handler.rest_client import Rest
    from tickpath.proto.instrument import Instrument

INSTRUMENTS_TIMEOUT_S = 20.0
INSTRUMENTS_SIZE_MAX = 64 << 20
LEFT_OUT_SHOWN: Final = 8
CHANNEL_SIZE_MAX: Final = 107
"""Bytes of a channel's name in the tap's table, less the NUL."""
PAGES_MAX = 100


@dataclass(frozen=True, slots=True)
class Chosen:
    """The configured symbols in the list: those that are there, in their order, and the others."""

    rows: list[Instrument] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a symbol has no row, with its place in the configuration."""

    def describe_left_out(self) -> list[str]:
        """Say what was left out and what helps: a line each, and one for all that are too many."""
        count = len(self.rows)
        others = {0: "", 1: ", the other one runs"}.get(count, f", the other {count} run")
        rest = f"left out{others}"
        remedy = f"{rest}: correct it or remove it"
        lines = [f"{why}: {remedy}" for why in list(self.left_out.values())[:LEFT_OUT_SHOWN]]
        more = list(self.left_out)[LEFT_OUT_SHOWN:]
        return [*lines, f"{len(more)} more symbols {remedy}: {', '.join(more)}"] if more else lines


def choose_some(
    venue: VenueConfig, listed: InstrumentList, section: str, log: Callable[[str], None]
) -> Chosen:
    """Choose the configured symbols' rows; raises LocalError where there is none at all.

    `log` gets one line that names the rows which could not be read, and one for each symbol
    without a row.
    """
    if listed.left_out:
        log(f"instrument list: {describe_left_out(listed.left_out)}")
    chosen = choose(venue, listed, section)
    if not chosen.rows:
        first = next(iter(chosen.left_out.values()), f"{section}.symbols: expected at least one")
        others = len(chosen.left_out) - 1
        raise LocalError(first + (f"; nor can any of the other {others} be read" * (others > 0)))
    for line in chosen.describe_left_out():
        log(f"instrument list: {line}")
    return chosen


def fetch_list(
    venue: VenueConfig,
    client: Rest,
    *,
    timeout_s: float = INSTRUMENTS_TIMEOUT_S,
    asks: Callable[[], None] = lambda: None,
) -> InstrumentList:
    """Fetch all pages of the list; `asks` is told of each request. Raises RemoteError."""
    whole = InstrumentList({}, {})
    request: HttpRequest | None = venue.venue.instruments_request(venue.settings)
    asked: set[HttpRequest] = set()
    for _ in range(PAGES_MAX):
        if request is None:
            return whole
        if request in asked:  # a list without its end is none: what is not in it may be behind it
            raise RemoteError(f"instrument list: {request.target}: this page asks for itself again")
        asked.add(request)
        asks()
        data = client.ask(request, size_max=INSTRUMENTS_SIZE_MAX, timeout_s=timeout_s)
        try:
            page = venue.venue.parse_instruments(data)
        except ValueError as error:
            raise RemoteError(str(error)) from error
        whole.instruments.update(page.instruments)
        whole.left_out.update(page.left_out)
        request = page.more
    raise RemoteError(f"instrument list: more than {PAGES_MAX} pages: the venue's folder is wrong")


def choose(venue: VenueConfig, listed: InstrumentList, section: str = "venue[0]") -> Chosen:
    """Return the configured symbols' rows, numbered in their order; which have none, and why.

    section: where they stand in the configuration.
    """
    chosen = Chosen()
    places: dict[str, str] = {}
    for number, symbol in enumerate(venue.symbols):
        place = f"{section}.symbols[{number}]"
        try:
            row = msgspec.structs.replace(_asked(venue, listed, symbol), index=len(chosen.rows))
            _check_sound(venue, row)  # what no book can be made of takes itself out too
            if row.symbol in places:
                raise ValueError(f"symbol {symbol!r}: is {places[row.symbol]} already")
        except ValueError as error:
            chosen.left_out[symbol] = f"{place}: {error}"
            continue
        places[row.symbol] = place
        chosen.rows.append(row)
    return chosen


def _check_sound(venue: VenueConfig, row: Instrument) -> None:
    """Raise ValueError where shared memory cannot hold a row, or the feed makes no book of it."""
    record = ffi.from_buffer("struct tp_instrument_record *", pack_row(row))
    channel = venue.venue.channels(row.symbol, venue.settings)[0].encode()
    decoder = find_decoder(venue.name)
    if len(channel) > CHANNEL_SIZE_MAX or not lib.tp_feed_row_is_sound(decoder, record, channel):
        raise ValueError(
            f"symbol {row.symbol!r}: no book can be made of its channel {channel.decode()!r}, a "
            f"tick of {row.tick_size} and exponents {row.price_exponent}, {row.quantity_exponent}"
        )


def _asked(venue: VenueConfig, listed: InstrumentList, symbol: str) -> Instrument:
    """Return a symbol's row; raises ValueError, which names it, where there is none."""
    own = symbol
    with contextlib.suppress(ValueError):  # a name that only the list can tell
        own = resolve_symbol(venue.venue, symbol)
    if own in listed.left_out and own not in listed.instruments:  # else another row of it counts
        raise ValueError(f"symbol {symbol!r}: {listed.left_out[own]}")
    try:
        return find_symbol(listed.instruments.values(), symbol)
    except ValueError as error:
        count = len(listed.instruments)
        raise ValueError(f"{error}; the venue lists {count} instruments") from error


def own_names(venue: VenueConfig) -> list[str]:
    """Return the configured symbols by the venue's own names, as far as they tell them."""
    names = []
    for symbol in venue.symbols:
        try:
            names.append(resolve_symbol(venue.venue, symbol))
        except ValueError:  # a name that only the list can tell
            names.append(symbol)
    return names


def describe_left_out(left_out: dict[str, str]) -> str:
    """Say in one line which rows of a list were left out, and why the first was."""
    names = list(left_out)
    some = ", ".join(names[:LEFT_OUT_SHOWN]) + (", ..." if len(names) > LEFT_OUT_SHOWN else "")
    return f"{len(names)} rows left out ({some}); the first because: {left_out[names[0]]}"
