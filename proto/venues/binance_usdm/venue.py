"""Binance's USD-M contracts as the engine sees them: `VENUE`. Facts: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venue import Endpoint, HttpRequest, Limits, Rate
from tickpath.proto.venues.binance import requests as spot
from tickpath.proto.venues.binance.market import (
    CONNECTS,
    MESSAGE_SIZE_MAX,
    MINUTE_S,
    BinanceMarket,
    budget,
)
from tickpath.proto.venues.binance_usdm import requests
from tickpath.proto.venues.binance_usdm.settings import BinanceUsdmSettings

if TYPE_CHECKING:
    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import InstrumentList, RestBudget


@dataclass(frozen=True, slots=True)
class BinanceUsdm(BinanceMarket):
    """Binance's USD-M contracts: perpetual ones, and dated ones by the venue's own names."""

    name = requests.VENUE
    title = "Binance USD-M"
    settings = BinanceUsdmSettings
    limits = Limits(
        channels_per_connection=spot.STREAMS_PER_CONNECTION_MAX,
        channels_per_message=spot.STREAMS_PER_REQUEST_MAX,
        message_size_max=MESSAGE_SIZE_MAX,
        # One is left for a PONG, which comes when it must.
        messages_per_second=requests.MESSAGES_PER_SECOND_MAX - 1,
        connects=CONNECTS,
        requests=Rate(requests.WEIGHT_MAX, MINUTE_S, requests.WEIGHT_MAX // 3),
        connection_age_max_s=spot.CONNECTION_AGE_MAX_S,
    )
    rest_host = requests.REST_HOST
    never_seen = (
        "GET_PROPERTY on this WebSocket, which is our ping; a delivery; numbers that begin anew; "
        "nothing was tried against the live venue from here"
    )

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT:USDT as BTCUSDT; the names of dated ones the list alone has."""
        return name.base + name.quote if name.kind is Kind.LINEAR and not name.expiry else None

    def endpoint(self, channel: str, settings: BinanceUsdmSettings) -> Endpoint:
        """Return the WebSocket of combined streams that has books, trades and best prices."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.WEBSOCKET_PATH)

    def channels(self, symbol: str, settings: BinanceUsdmSettings) -> tuple[str, ...]:
        """Return the streams of one instrument."""
        more = (("trade", settings.trades), ("bookTicker", settings.best))
        return (
            spot.stream(symbol, requests.SPEEDS[settings.speed]),
            *(spot.stream(symbol, what) for what, is_wanted in more if is_wanted),
        )

    def instruments_request(self, settings: BinanceUsdmSettings) -> HttpRequest:
        """Ask for exchangeInfo."""
        return HttpRequest(requests.EXCHANGE_INFO_PATH)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read exchangeInfo."""
        return requests.parse_instruments(data)

    def base_request(self, symbol: str, settings: BinanceUsdmSettings) -> HttpRequest:
        """Ask for the depth of one instrument."""
        return HttpRequest(requests.base_target(symbol, settings.depth))

    def base_depth(self, settings: BinanceUsdmSettings) -> int:
        """Return what is asked for."""
        return settings.depth

    def rest_budget(self, settings: BinanceUsdmSettings) -> RestBudget:
        """Return how many bases a share of the address's weight allows."""
        return budget(settings.weight_per_minute, requests.base_weight(settings.depth))

    def request_weight(self, request: HttpRequest) -> int:
        """Return what the documents say of a base; the list counts as much as the dearest one."""
        return requests.weight(request.target)


VENUE: Final = BinanceUsdm()
