"""MEXC spot v3 as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venue import (
    BaseSource,
    Endpoint,
    HttpRequest,
    Limits,
    Rate,
    RestBudget,
    RestRefusal,
    Venue,
    Verification,
    pack_messages,
    parse_retry_after,
)
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.settings import MexcSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Instrument, Symbol
    from tickpath.proto.venue import Base, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS, BANNED = 429, 418
FORBIDDEN: Final = 403
FRONT_COOLDOWN_S: Final = 90.0
"""The front end answers 403 with a page of HTML to an address that asks too fast, for so long."""


def _book_channel(symbol: str, settings: MexcSettings) -> str:
    match settings.book:
        case "increase":
            return requests.increase_channel(symbol)
        case "increase_batch":
            return requests.increase_batch_channel(symbol)
        case "limit":
            return requests.limited_depth_channel(symbol, settings.levels)
        case _:
            return requests.depth_channel(symbol, settings.speed)


@dataclass(frozen=True, slots=True)
class Mexc(Venue):
    """MEXC spot v3: bases by REST, deltas over the WebSocket."""

    name = requests.VENUE
    title = "MEXC spot"
    settings = MexcSettings
    limits = Limits(
        channels_per_connection=requests.SUBSCRIPTIONS_PER_CONNECTION_MAX,
        channels_per_message=requests.SUBSCRIPTIONS_PER_CONNECTION_MAX,
        messages_per_second=requests.REQUESTS_PER_SECOND_MAX,
        requests=Rate(500, 10.0, 50),
        connection_age_max_s=requests.CONNECTION_AGE_MAX_S,
        idle_without_channel_s=requests.IDLE_WITHOUT_SUBSCRIPTION_S,
        idle_without_data_s=requests.IDLE_WITHOUT_DATA_S,
    )
    base_source = BaseSource.REST
    rest_host = requests.REST_HOST
    ping_interval_s = 15.0
    example_symbol = "BTCUSDT"
    left_out = (
        "klines and mini tickers: sums of trades that a strategy makes of trades = true itself; "
        "such messages count as of no channel of ours"
    )
    never_seen = (
        "sequence rule never seen on a wire: two messages that do not follow each other are all "
        "that was captured; rules and limits are from documents and other people's captures, none "
        "was tried against the live venue from here; of increase depth and of batches of best "
        "prices a document's example is all that is known"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of MEXC's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT as BTCUSDT."""
        return name.base + name.quote if name.kind is Kind.SPOT else None

    def endpoint(self, channel: str, settings: MexcSettings) -> Endpoint:
        """Return the one WebSocket of market data."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.WEBSOCKET_PATH)

    def channels(self, symbol: str, settings: MexcSettings) -> tuple[str, ...]:
        """Return the book's channel, and what else is asked for."""
        found = [_book_channel(symbol, settings)]
        if settings.trades:
            found.append(requests.deals_channel(symbol, settings.speed))
        if settings.best and settings.best_batch:
            found.append(requests.book_ticker_batch_channel(symbol))
        elif settings.best:
            found.append(requests.book_ticker_channel(symbol, settings.speed))
        return tuple(found)

    def base_from(self, settings: MexcSettings) -> BaseSource:
        """Return REST, but for whole books."""
        return BaseSource.IN_BAND if settings.book == "limit" else BaseSource.REST

    def verification(self, settings: MexcSettings) -> Verification:
        """Compare with a book by REST, whole ones too: another subscription costs one of 30."""
        return Verification.REST

    def check_request(self, symbol: str, settings: MexcSettings) -> HttpRequest:
        """Ask for as much of a book as is kept of it."""
        return HttpRequest(requests.base_path(symbol, self.check_depth(settings)))

    def check_depth(self, settings: MexcSettings) -> int:
        """Return the levels of whole books, else what a base shows."""
        return settings.levels if settings.book == "limit" else self.base_depth(settings)

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe."""
        return pack_messages(
            channels, lambda some, _: requests.subscribe_request(some), self.limits, request
        )

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return pack_messages(
            channels, lambda some, _: requests.unsubscribe_request(some), self.limits, request
        )

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with PONG."""
        return requests.ping_request()

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read a text message."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: MexcSettings) -> HttpRequest:
        """Ask for exchangeInfo."""
        return HttpRequest(requests.EXCHANGE_INFO_PATH)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read exchangeInfo."""
        return requests.parse_instruments(data)

    def base_request(self, symbol: str, settings: MexcSettings) -> HttpRequest:
        """Ask for the depth of one instrument."""
        return HttpRequest(requests.base_path(symbol, settings.depth))

    def base_depth(self, settings: MexcSettings) -> int:
        """Return what is asked for, as far as MEXC sends it."""
        return min(settings.depth, requests.BASE_LEVELS_SENT_MAX)

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read the depth."""
        return requests.parse_base(data, instrument.price_exponent, instrument.quantity_exponent)

    def rest_budget(self, settings: MexcSettings) -> RestBudget:
        """Return the configured pace; MEXC allows 500 requests in 10 s of one address."""
        return RestBudget(per_second=float(settings.bases_per_second))

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, 418 and the front end's page by what they say."""
        status = response.status
        if status in {TOO_MANY_REQUESTS, BANNED}:
            pause = parse_retry_after(response.headers.get("retry-after"), now)
            return RestRefusal(f"status {status}", status == BANNED, pause)
        is_page = response.headers.get("content-type", "").startswith("text/html")
        if status == FORBIDDEN and is_page:
            pause = parse_retry_after(response.headers.get("retry-after"), now)
            reason = f"status {status} of its front end"
            return RestRefusal(reason, False, FRONT_COOLDOWN_S if pause is None else pause)
        return None


VENUE: Final = Mexc()
