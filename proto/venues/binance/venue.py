"""Binance spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venue import Endpoint, HttpRequest, Limits, Rate
from tickpath.proto.venues.binance import requests
from tickpath.proto.venues.binance.market import (
    CONNECTS,
    MESSAGE_SIZE_MAX,
    MINUTE_S,
    BinanceMarket,
    budget,
)
from tickpath.proto.venues.binance.settings import BinanceSettings

if TYPE_CHECKING:
    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import InstrumentList, RestBudget


@dataclass(frozen=True, slots=True)
class Binance(BinanceMarket):
    """Binance spot."""

    name = requests.VENUE
    title = "Binance spot"
    settings = BinanceSettings
    limits = Limits(
        channels_per_connection=requests.STREAMS_PER_CONNECTION_MAX,
        channels_per_message=requests.STREAMS_PER_REQUEST_MAX,
        message_size_max=MESSAGE_SIZE_MAX,
        # One is left for a PONG, which comes when it must.
        messages_per_second=requests.MESSAGES_PER_SECOND_MAX - 1,
        connects=CONNECTS,
        requests=Rate(requests.WEIGHT_MAX, MINUTE_S, requests.WEIGHT_MAX // 3),
        connection_age_max_s=requests.CONNECTION_AGE_MAX_S,
    )
    rest_host = requests.REST_HOST
    never_seen = (
        "a message that begins before the book's number, numbers that begin anew, serverShutdown; "
        "nothing was tried against the live venue from here"
    )

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT as BTCUSDT."""
        return name.base + name.quote if name.kind is Kind.SPOT else None

    def endpoint(self, channel: str, settings: BinanceSettings) -> Endpoint:
        """Return the WebSocket of combined streams."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.WEBSOCKET_PATH)

    def channels(self, symbol: str, settings: BinanceSettings) -> tuple[str, ...]:
        """Return the streams of one instrument."""
        more = (("trade", settings.trades), ("bookTicker", settings.best))
        return (
            requests.depth_stream(symbol, settings.speed),
            *(requests.stream(symbol, what) for what, is_wanted in more if is_wanted),
        )

    def instruments_request(self, settings: BinanceSettings) -> HttpRequest:
        """Ask for exchangeInfo."""
        return HttpRequest(requests.EXCHANGE_INFO_TARGET)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read exchangeInfo."""
        return requests.parse_instruments(data)

    def base_request(self, symbol: str, settings: BinanceSettings) -> HttpRequest:
        """Ask for the depth of one instrument."""
        return HttpRequest(requests.base_target(symbol, settings.depth))

    def base_depth(self, settings: BinanceSettings) -> int:
        """Return what is asked for."""
        return settings.depth

    def rest_budget(self, settings: BinanceSettings) -> RestBudget:
        """Return how many bases a share of the address's weight allows."""
        return budget(settings.weight_per_minute, requests.base_weight(settings.depth))

    def request_weight(self, request: HttpRequest) -> int:
        """Return what the documents say; what is not asked here counts as much as the list."""
        return requests.weight(request.target)


VENUE: Final = Binance()
