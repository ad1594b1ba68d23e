"""The toy as the engine sees it: `VENUE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venue import (
    BaseSource,
    Endpoint,
    HttpRequest,
    Limits,
    RestBudget,
    RestRefusal,
    Venue,
    pack_messages,
    parse_retry_after,
)
from tickpath.proto.venues.toy import requests
from tickpath.proto.venues.toy.settings import ToySettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class Toy(Venue):
    """Bases and deltas over one WebSocket, as JSON."""

    name = requests.NAME
    title = "Toy"
    settings = ToySettings
    limits = Limits(
        channels_per_connection=50,
        channels_per_message=10,
        messages_per_second=20,
        idle_without_data_s=60,
    )
    base_source = BaseSource.IN_BAND
    rest_host = "toy.invalid"
    ping_interval_s = 10.0
    example_symbol = "BTC-USDT"
    never_seen = "the whole venue: it is of the tests"

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of the toy's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT as BTC-USDT."""
        return f"{name.base}-{name.quote}" if name.kind is Kind.SPOT else None

    def endpoint(self, channel: str, settings: ToySettings) -> Endpoint:
        """Return the one WebSocket."""
        return Endpoint(self.rest_host, "/stream")

    def channels(self, symbol: str, settings: ToySettings) -> tuple[str, ...]:
        """Return the book's channel."""
        return (requests.PREFIX + requests.checked_symbol(symbol),)

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe."""
        return self._pack("subscribe", channels, request)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return self._pack("unsubscribe", channels, request)

    def _pack(self, op: str, channels: Sequence[str], request: int) -> list[bytes]:
        return pack_messages(
            channels, lambda some, number: requests.request(op, some, number), self.limits, request
        )

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with pong."""
        return b'{"op":"ping"}'

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer."""
        notes: tuple[Note, ...] = requests.parse_notes(data)
        return notes

    def instruments_request(self, settings: ToySettings) -> HttpRequest:
        """Ask for the list."""
        return HttpRequest(requests.INSTRUMENTS_PATH)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read the list."""
        listed: InstrumentList = requests.parse_instruments(data)
        return listed

    def rest_budget(self, settings: ToySettings) -> RestBudget:
        """Return how fast the list, and bases by a new subscription, may be asked for."""
        return RestBudget(per_second=10)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429."""
        if response.status != TOO_MANY_REQUESTS:
            return None
        pause = parse_retry_after(response.headers.get("retry-after"), now)
        return RestRefusal("status 429", False, pause)


VENUE: Final = Toy()
