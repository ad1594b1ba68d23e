"""Fetch the venue's instrument list and find the configured symbols in it.

Called by: engine/feed_handler/process.py. Calls: bases.py (REST), proto/venue.py (what is asked,
and how the answer reads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from tickpath.engine.feed_handler.bases import Rest, RestClient
from tickpath.proto.venue import HttpRequest, InstrumentList
from tickpath.proto.venues import find_symbol
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.proto.instrument import Instrument

INSTRUMENTS_TIMEOUT_S = 20.0
INSTRUMENTS_SIZE_MAX = 64 << 20
LEFT_OUT_SHOWN = 8
PAGES_MAX = 100


def fetch_instruments(
    venue: VenueConfig,
    client: Rest | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> list[Instrument]:
    """Fetch the venue's list and return the configured symbols' rows, in the configured order.

    Raises RemoteError where the venue fails, LocalError where it does not list a symbol. `log` gets
    one line that names the rows which could not be read.
    """
    client = client or RestClient(venue)
    try:
        listed = _fetch_list(venue, client)
    finally:
        client.close()
    if listed.left_out:
        log(f"instrument list: {describe_left_out(listed.left_out)}")
    return [
        msgspec.structs.replace(_asked(listed, symbol, index), index=index)
        for index, symbol in enumerate(venue.symbols)
    ]


def _fetch_list(venue: VenueConfig, client: Rest) -> InstrumentList:
    """Fetch all pages of the list."""
    whole = InstrumentList({}, {})
    request: HttpRequest | None = venue.venue.instruments_request(venue.settings)
    for _ in range(PAGES_MAX):
        if request is None:
            return whole
        data = client.ask(request, size_max=INSTRUMENTS_SIZE_MAX, timeout_s=INSTRUMENTS_TIMEOUT_S)
        try:
            page = venue.venue.parse_instruments(data)
        except ValueError as error:
            raise RemoteError(str(error)) from error
        whole.instruments.update(page.instruments)
        whole.left_out.update(page.left_out)
        request = page.more
    raise RemoteError(f"instrument list: more than {PAGES_MAX} pages: the venue's folder is wrong")


def _asked(listed: InstrumentList, symbol: str, index: int) -> Instrument:
    place = f"venue[0].symbols[{index}]"
    if symbol in listed.left_out:
        raise LocalError(f"{place} {symbol!r}: {listed.left_out[symbol]}")
    try:
        return find_symbol(listed.instruments.values(), symbol)
    except ValueError as error:
        count = len(listed.instruments)
        raise LocalError(f"{place}: {error}; the venue lists {count} instruments") from error


def describe_left_out(left_out: dict[str, str]) -> str:
    """Say in one line which rows of a list were left out, and why the first was."""
    names = list(left_out)
    some = ", ".join(names[:LEFT_OUT_SHOWN]) + (", ..." if len(names) > LEFT_OUT_SHOWN else "")
    return f"{len(names)} rows left out ({some}); the first because: {left_out[names[0]]}"
