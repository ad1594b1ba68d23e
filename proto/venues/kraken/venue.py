"""Kraken spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
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
    parse_retry_after,
)
from tickpath.proto.venues.kraken import requests
from tickpath.proto.venues.kraken.settings import KrakenSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import Asked, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429
RATE_LIMITED: Final = ("EAPI:Rate limit exceeded", "EGeneral:Too many requests")
"""Said with status 200, in the list of errors."""


@dataclass(frozen=True, slots=True)
class Kraken(Venue):
    """Kraken spot: bases and changes over WebSocket v2, each with a checksum; the list by REST."""

    name = requests.VENUE
    title = "Kraken spot"
    settings = KrakenSettings
    limits = Limits(
        channels_per_connection=requests.CHANNELS_PER_CONNECTION,
        channels_per_message=requests.CHANNELS_PER_MESSAGE,
        messages_per_second=requests.MESSAGES_PER_SECOND,
        connects=Rate(150, 600.0, 75),
        idle_without_data_s=60,
    )
    base_source = BaseSource.IN_BAND
    rest_host = requests.REST_HOST
    ping_interval_s = 15.0
    example_symbol = "BTC/USD"
    never_seen = (
        "a message whose data has more than one book, one without a checksum; nothing was tried "
        "against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Kraken's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USD as it stands."""
        return f"{name.base}/{name.quote}" if name.kind is Kind.SPOT else None

    def endpoint(self, channel: str, settings: KrakenSettings) -> Endpoint:
        """Return the one WebSocket of public data."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.WEBSOCKET_PATH)

    def channels(self, symbol: str, settings: KrakenSettings) -> tuple[str, ...]:
        """Return the book's channel, and what else is asked for."""
        wanted = {f"book-{settings.depth}": True, "trade": settings.trades, "ticker": settings.best}
        return tuple(requests.channel(kind, symbol) for kind, is_on in wanted.items() if is_on)

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe; each channel is acknowledged by itself."""
        return requests.requests("subscribe", channels, request=request, limits=self.limits)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return requests.requests("unsubscribe", channels, request=request, limits=self.limits)

    def asked(self, data: bytes) -> Asked | None:
        """Read a request of ours back: a refusal of a depth names its id alone."""
        return requests.asked(data)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with pong."""
        return msgspec.json.encode({"method": "ping", "req_id": request})

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer, a heartbeat or a status."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: KrakenSettings) -> HttpRequest:
        """Ask for AssetPairs."""
        return HttpRequest(requests.ASSET_PAIRS_PATH)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read AssetPairs."""
        return requests.parse_instruments(data)

    def rest_budget(self, settings: KrakenSettings) -> RestBudget:
        """Return how fast the list, and bases by a new subscription, may be asked for.

        A base takes two messages of ours, on the book's connection or on that of checks.
        """
        return RestBudget(per_second=requests.MESSAGES_PER_SECOND / 2)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, and the errors that say the same with another status."""
        if response.status == TOO_MANY_REQUESTS:
            pause = parse_retry_after(response.headers.get("retry-after"), now)
            return RestRefusal("status 429", False, pause)
        said = next((one for one in RATE_LIMITED if one.encode() in response.body[:200]), None)
        return RestRefusal(said, False) if said is not None else None


VENUE: Final = Kraken()
