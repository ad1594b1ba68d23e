"""Coinbase Advanced Trade as the engine sees it: `VENUE`. Facts and their dates: README.md."""

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
    parse_retry_after,
)
from tickpath.proto.venues.coinbase import requests
from tickpath.proto.venues.coinbase.settings import CoinbaseSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Instrument, Symbol
    from tickpath.proto.venue import Base, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, slots=True)
class Coinbase(Venue):
    """Coinbase Advanced Trade, spot: books over its WebSocket; the list, and checks, by REST."""

    name = requests.VENUE
    title = "Coinbase Advanced Trade"
    settings = CoinbaseSettings
    limits = Limits(
        channels_per_connection=requests.CHANNELS_PER_CONNECTION,
        channels_per_message=requests.CHANNELS_PER_MESSAGE,
        messages_per_second=requests.MESSAGES_PER_SECOND,
        connects=Rate(requests.CONNECTS_PER_SECOND, 1.0, requests.CONNECTS_PER_SECOND // 2),
        address_messages=Rate(requests.MESSAGES_PER_SECOND, 1.0, requests.MESSAGES_PER_SECOND // 2),
        requests=Rate(requests.REQUESTS_PER_SECOND, 1.0, requests.REQUESTS_PER_SECOND // 2),
        idle_without_channel_s=requests.IDLE_WITHOUT_CHANNEL_S,
        idle_without_data_s=requests.IDLE_S,
    )
    base_source = BaseSource.IN_BAND
    rest_host = requests.REST_HOST
    ping_interval_s = 20.0
    example_symbol = "BTC-USD"
    never_seen = (
        "sequence rule never seen on a wire but for four messages in a row, a message with more "
        "than one event, trades of two products in an event, an error that names a product, a "
        "change under another product's name, which nothing would show; "
        "nothing was tried against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no product of Coinbase's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USD as BTC-USD."""
        return f"{name.base}-{name.quote}" if name.kind is Kind.SPOT else None

    def endpoint(self, channel: str, settings: CoinbaseSettings) -> Endpoint:
        """Return the one WebSocket of market data."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.WEBSOCKET_PATH)

    def channels(self, symbol: str, settings: CoinbaseSettings) -> tuple[str, ...]:
        """Return the book's channel, and what else is asked for."""
        wanted = {
            requests.BOOK: True,
            requests.TRADES: settings.trades,
            requests.TICKER: settings.best,
        }
        return tuple(requests.channel(kind, symbol) for kind, is_on in wanted.items() if is_on)

    def greeting(self, *, request: int, time_s: int) -> list[bytes]:
        """Subscribe to heartbeats, which belong to no product."""
        return [requests.GREETING]

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe; answers have all that is subscribed to by then."""
        return requests.requests("subscribe", channels, request=request, limits=self.limits)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return requests.requests("unsubscribe", channels, request=request, limits=self.limits)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return none: a WebSocket ping does."""
        return b""

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer, a heartbeat or an error."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: CoinbaseSettings) -> HttpRequest:
        """Ask for all spot products."""
        return HttpRequest(requests.PRODUCTS_TARGET)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read them."""
        return requests.parse_instruments(data)

    def verification(self, settings: CoinbaseSettings) -> Verification:
        """Compare with the best levels by REST: another snapshot would be several MB."""
        return Verification.REST

    def check_request(self, symbol: str, settings: CoinbaseSettings) -> HttpRequest:
        """Ask for a book's best levels."""
        return requests.book_request(symbol)

    def check_depth(self, settings: CoinbaseSettings) -> int:
        """Return how many of a side are asked for."""
        return requests.CHECK_LEVELS

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read that book."""
        return requests.parse_base(data, instrument)

    def rest_budget(self, settings: CoinbaseSettings) -> RestBudget:
        """Return how fast books may be asked for, by REST or by subscribing anew.

        REST bears ten a second of an address; a new subscription takes two of eight messages.
        """
        return RestBudget(per_second=requests.MESSAGES_PER_SECOND / 2)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429."""
        if response.status != TOO_MANY_REQUESTS:
            return None
        pause = parse_retry_after(response.headers.get("retry-after"), now)
        return RestRefusal("status 429", False, pause)


VENUE: Final = Coinbase()
