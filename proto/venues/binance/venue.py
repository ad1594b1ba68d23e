"""Binance spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

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
    pack_messages,
    parse_retry_after,
)
from tickpath.proto.venues.binance import requests
from tickpath.proto.venues.binance.settings import BinanceSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Instrument, Symbol
    from tickpath.proto.venue import Asked, Base, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS, BANNED = 429, 418
MINUTE_S: Final = 60.0
BURST_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Binance(Venue):
    """Binance spot: bases by REST, changes over combined streams."""

    name = requests.VENUE
    title = "Binance spot"
    settings = BinanceSettings
    limits = Limits(
        channels_per_connection=requests.STREAMS_PER_CONNECTION_MAX,
        channels_per_message=requests.STREAMS_PER_REQUEST_MAX,
        # As many as fit whatever their names; no document names a limit of a message's size.
        message_size_max=1 << 15,
        # One is left for a PONG, which comes when it must.
        messages_per_second=requests.MESSAGES_PER_SECOND_MAX - 1,
        connects=Rate(requests.CONNECTS_PER_5_MIN, 300.0, requests.CONNECTS_PER_5_MIN // 2),
        requests=Rate(requests.WEIGHT_MAX, MINUTE_S, requests.WEIGHT_MAX // 3),
        connection_age_max_s=requests.CONNECTION_AGE_MAX_S,
    )
    base_source = BaseSource.REST
    rest_host = requests.REST_HOST
    ping_interval_s = 10.0
    """Not needed to stay connected: a quiet connection shows that it lives before it is silent."""
    example_symbol = "BTCUSDT"
    never_seen = (
        "a message that begins before the book's number, numbers that begin anew, serverShutdown; "
        "nothing was tried against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Binance's."""
        requests.checked_symbol(symbol)

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

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe."""
        return self._pack("SUBSCRIBE", channels, request)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return self._pack("UNSUBSCRIBE", channels, request)

    def _pack(self, method: str, channels: Sequence[str], request: int) -> list[bytes]:
        return pack_messages(
            channels,
            lambda some, number: requests.request(method, some, number),
            self.limits,
            request,
        )

    def asked(self, data: bytes) -> Asked | None:
        """Read a request back: its answer names its id alone."""
        return requests.asked(data)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return a question that is always answered."""
        return requests.ping()

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer or a notice."""
        return requests.parse_notes(data)

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

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read the depth."""
        return requests.parse_base(data, instrument.price_exponent, instrument.quantity_exponent)

    def rest_budget(self, settings: BinanceSettings) -> RestBudget:
        """Return how many bases a share of the address's weight allows."""
        per_minute = settings.weight_per_minute / requests.base_weight(settings.depth)
        burst = max(1, min(BURST_MAX, int(per_minute / 2)))
        return RestBudget(per_second=per_minute / MINUTE_S, burst=burst)

    def request_weight(self, request: HttpRequest) -> int:
        """Return what the documents say; what is not asked here counts as much as the list."""
        return requests.weight(request.target)

    def requests_used(self, response: HttpResponse, now: datetime) -> tuple[int, float] | None:
        """Read the weight used in this minute, which begins at a full one of their clock."""
        used = response.headers.get(requests.USED_FIELD, "")
        if not requests.USED_FORM.fullmatch(used):
            return None
        return int(used), MINUTE_S - now.timestamp() % MINUTE_S

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, and 418, which bans the address."""
        status = response.status
        if status not in {TOO_MANY_REQUESTS, BANNED}:
            return None
        pause = parse_retry_after(response.headers.get("retry-after"), now)
        return RestRefusal(f"status {status}", status == BANNED, pause)


VENUE: Final = Binance()
