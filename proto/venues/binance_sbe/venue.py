"""Binance spot's SBE streams as the engine sees them: `VENUE`. Facts and dates: README.md here."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.proto.instrument import Kind
from tickpath.proto.venue import (
    BaseSource,
    Endpoint,
    HttpRequest,
    InstrumentList,
    Limits,
    Rate,
    Verification,
)
from tickpath.proto.venues.binance import requests
from tickpath.proto.venues.binance.market import (
    CONNECTS,
    MESSAGE_SIZE_MAX,
    MINUTE_S,
    BinanceMarket,
    budget,
)
from tickpath.proto.venues.binance_sbe.messages import unpack
from tickpath.proto.venues.binance_sbe.settings import BinanceSbeSettings

if TYPE_CHECKING:
    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import RestBudget

WEBSOCKET_HOST: Final = "stream-sbe.binance.com"
WEBSOCKET_PATH: Final = "/stream"
KEY_HEADER: Final = "X-MBX-APIKEY"
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True, slots=True)
class BinanceSbe(BinanceMarket):
    """Binance spot, binary: the instruments, bases and numbers of `binance`."""

    name = "binance_sbe"
    title = "Binance spot SBE"
    settings = BinanceSbeSettings
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
        "sequence rule never seen on a wire, nor any message of these streams: samples are built "
        "from the schema; GET_PROPERTY there, which is our ping; the answer to a wrong key; "
        "exponents; nothing was tried against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Refuse also what a stream's name would not show how to write in capitals again."""
        requests.checked_symbol(symbol)
        if symbol.lower() != symbol.translate(_ASCII_LOWER):
            raise ValueError(f"symbol {symbol!r}: expected no capitals but A to Z")

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT as BTCUSDT."""
        return name.base + name.quote if name.kind is Kind.SPOT else None

    def endpoint(self, channel: str, settings: BinanceSbeSettings) -> Endpoint:
        """Return the WebSocket of combined streams, which asks who comes."""
        credentials = ((KEY_HEADER, settings.api_key),) if settings.api_key else ()
        return Endpoint(WEBSOCKET_HOST, WEBSOCKET_PATH, credentials=credentials)

    def lacks(self, settings: BinanceSbeSettings) -> str:
        """Say that nobody is let in without a key."""
        if settings.api_key:
            return ""
        return (
            "api_key is empty, and these streams want an Ed25519 API key of Binance's: keep it in "
            'a file of mode 0600 and write api_key = "file:/etc/tickpath/credentials/binance"'
        )

    def channels(self, symbol: str, settings: BinanceSbeSettings) -> tuple[str, ...]:
        """Return the streams of one instrument."""
        more = (("trade", settings.trades), ("bestBidAsk", settings.best))
        return (
            requests.stream(symbol, settings.book),
            *(requests.stream(symbol, what) for what, is_wanted in more if is_wanted),
        )

    def base_from(self, settings: BinanceSbeSettings) -> BaseSource:
        """Return where the bases of the chosen stream come from."""
        return BaseSource.IN_BAND if settings.book == "depth20" else BaseSource.REST

    def verification(self, settings: BinanceSbeSettings) -> Verification:
        """Compare with REST, whose books have the numbers of both streams."""
        return Verification.REST

    def unpacked(self, data: bytes) -> object:
        """Read a message whole."""
        event = unpack(data)
        return event.shape() if event is not None else None

    def instruments_request(self, settings: BinanceSbeSettings) -> HttpRequest:
        """Ask for exchangeInfo."""
        return HttpRequest(requests.EXCHANGE_INFO_TARGET)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read exchangeInfo: the rows are spot's own."""
        listed = requests.parse_instruments(data)
        rows = listed.instruments.items()
        own = {symbol: msgspec.structs.replace(row, venue=self.name) for symbol, row in rows}
        return msgspec.structs.replace(listed, instruments=own)

    def base_request(self, symbol: str, settings: BinanceSbeSettings) -> HttpRequest:
        """Ask for the depth of one instrument."""
        return HttpRequest(requests.base_target(symbol, settings.depth))

    def base_depth(self, settings: BinanceSbeSettings) -> int:
        """Return what is asked for."""
        return settings.depth

    def rest_budget(self, settings: BinanceSbeSettings) -> RestBudget:
        """Return how many bases a share of the address's weight allows."""
        return budget(settings.weight_per_minute, requests.base_weight(settings.depth))

    def request_weight(self, request: HttpRequest) -> int:
        """Return what the documents say; what is not asked here counts as much as the list."""
        return requests.weight(request.target)


VENUE: Final = BinanceSbe()
