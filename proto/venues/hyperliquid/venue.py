"""Hyperliquid as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.venue import (
    BaseSource,
    Endpoint,
    Limits,
    Rate,
    RestBudget,
    RestRefusal,
    Venue,
    Verification,
    parse_retry_after,
)
from tickpath.proto.venues.hyperliquid import requests
from tickpath.proto.venues.hyperliquid.settings import HyperliquidSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Instrument, Symbol
    from tickpath.proto.venue import Base, HttpRequest, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, slots=True)
class Hyperliquid(Venue):
    """Hyperliquid: whole books over a WebSocket; lists, and books to compare with, by REST."""

    name = requests.VENUE
    title = "Hyperliquid perpetuals and spot"
    settings = HyperliquidSettings
    limits = Limits(
        channels_per_connection=requests.SUBSCRIPTIONS // requests.CONNECTIONS,
        channels_per_message=1,
        messages_per_second=requests.MESSAGES_PER_SECOND,
        connections=requests.CONNECTIONS,
        connects=Rate(30, 60.0, 15),
        address_messages=Rate(2000, 60.0, 1000),
        requests=Rate(1200, 60.0, 600),
        idle_without_data_s=requests.IDLE_S,
    )
    base_source = BaseSource.IN_BAND
    rest_host = requests.HOST
    ping_interval_s = 20.0
    example_symbol = "BTC"
    never_seen = (
        "that the first trades of a subscription are old ones even where there are none, a refusal "
        "that names a coin (an unknown one ends the connection), a book that stands still while "
        "blocks go on; nothing was tried against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Hyperliquid's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDC:USDC as BTC, PURR/USDC as it stands."""
        return requests.symbol_of(name)

    def endpoint(self, channel: str, settings: HyperliquidSettings) -> Endpoint:
        """Return the one WebSocket."""
        return Endpoint(requests.HOST, requests.WEBSOCKET_PATH)

    def channels(self, symbol: str, settings: HyperliquidSettings) -> tuple[str, ...]:
        """Return the book's channel, and what else is asked for."""
        wanted = {
            requests.FAST if settings.fast else requests.BOOK: True,
            requests.TRADES: settings.trades,
            requests.BEST: settings.best,
        }
        return tuple(requests.channel(kind, symbol) for kind, is_on in wanted.items() if is_on)

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe; each channel is acknowledged by itself."""
        return requests.requests("subscribe", channels)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return requests.requests("unsubscribe", channels)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with pong."""
        return requests.PING

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer, a pong or an error."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: HyperliquidSettings) -> HttpRequest:
        """Ask for perpetuals; the list of spot pairs is its second page."""
        return requests.PERPETUALS_REQUEST

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read a list."""
        return requests.parse_instruments(data)

    def verification(self, settings: HyperliquidSettings) -> Verification:
        """Compare with a book by REST: where nothing is pushed, no other subscription helps."""
        return Verification.REST

    def check_request(self, symbol: str, settings: HyperliquidSettings) -> HttpRequest:
        """Ask for a book."""
        return requests.info(type=requests.BOOK, coin=symbol)

    def check_depth(self, settings: HyperliquidSettings) -> int:
        """Return what it shows of a side at most."""
        return requests.DEPTHS[requests.BOOK]

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read that book."""
        return requests.parse_base(data, instrument)

    def rest_budget(self, settings: HyperliquidSettings) -> RestBudget:
        """Return how fast books may be asked for: 1,200 of weight a minute, a book's is 2.

        Half of that, so that lists (20 each) and other programs of the address have the rest.
        """
        return RestBudget(per_second=5.0)

    def request_weight(self, request: HttpRequest) -> int:
        """Return 2 for a book, 20 for all else of those that are asked here."""
        return requests.BOOK_WEIGHT if b'"l2Book"' in request.body else requests.OTHER_WEIGHT

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429."""
        if response.status != TOO_MANY_REQUESTS:
            return None
        pause = parse_retry_after(response.headers.get("retry-after"), now)
        return RestRefusal("status 429", False, pause)


VENUE: Final = Hyperliquid()
