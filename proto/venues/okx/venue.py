"""OKX as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

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
    parse_retry_after,
)
from tickpath.proto.venues.okx import requests
from tickpath.proto.venues.okx.settings import OkxSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import Asked, HttpRequest, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429
RATE_LIMITED: Final = b'"code":"50011"'
"""May come with status 200."""


@dataclass(frozen=True, slots=True)
class Okx(Venue):
    """OKX spot and perpetual swaps: bases and changes over WebSocket v5; the list by REST."""

    name = requests.VENUE
    title = "OKX spot and swaps"
    settings = OkxSettings
    limits = Limits(
        channels_per_connection=requests.CHANNELS_PER_CONNECTION,
        channels_per_message=requests.CHANNELS_PER_MESSAGE,
        message_size_max=requests.MESSAGE_SIZE_MAX,
        messages_per_second=requests.MESSAGES_PER_SECOND,
        messages_per_hour=requests.REQUESTS_PER_HOUR,
        connects=Rate(3, 1.0, 1),
        requests=Rate(20, 2.0, 10),
        idle_without_channel_s=requests.IDLE_S,
        idle_without_data_s=requests.IDLE_S,
    )
    base_source = BaseSource.IN_BAND
    rest_host = requests.REST_HOST
    ping_interval_s = 10.0
    example_symbol = "BTC-USDT"
    never_seen = (
        "a sequence reset, a message that says unchanged, the notice before an upgrade in time, a "
        "ping of the venue's, a checksum other than 0 beside sequence ids (it is not verified); "
        "nothing was tried against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of OKX's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT as BTC-USDT, BTC/USDT:USDT and BTC/USD:BTC as swaps."""
        return requests.symbol_of(name)

    def endpoint(self, channel: str, settings: OkxSettings) -> Endpoint:
        """Return the one WebSocket of public data."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.WEBSOCKET_PATH, requests.WEBSOCKET_PORT)

    def channels(self, symbol: str, settings: OkxSettings) -> tuple[str, ...]:
        """Return the book's channel, and what else is asked for."""
        wanted = {
            requests.BOOKS[settings.depth]: True,
            requests.TRADES: settings.trades,
            requests.BEST: settings.best,
        }
        return tuple(requests.channel(kind, symbol) for kind, is_on in wanted.items() if is_on)

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe; each channel is acknowledged by itself."""
        return requests.requests("subscribe", channels, request=request, limits=self.limits)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return requests.requests("unsubscribe", channels, request=request, limits=self.limits)

    def asked(self, data: bytes) -> Asked | None:
        """Read a request of ours back: a refusal may name its id alone."""
        return requests.asked(data)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with pong."""
        return requests.PING

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer, a pong or a notice."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: OkxSettings) -> HttpRequest:
        """Ask for spot; the list of swaps is its second page."""
        return requests.instruments_request(requests.SPOT)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read a list."""
        return requests.parse_instruments(data)

    def unchanged_s(self, settings: OkxSettings) -> float:
        """Return how often the channel of a book that stands still says so by itself."""
        return settings.unchanged_s

    def rest_budget(self, settings: OkxSettings) -> RestBudget:
        """Return how fast the list, and bases by a new subscription, may be asked for.

        A base takes two messages of ours; lists may be asked for ten times a second.
        """
        return RestBudget(per_second=requests.MESSAGES_PER_SECOND / 2)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, and the code that says the same with another status."""
        if response.status == TOO_MANY_REQUESTS:
            pause = parse_retry_after(response.headers.get("retry-after"), now)
            return RestRefusal("status 429", False, pause)
        if RATE_LIMITED in response.body[:200]:
            return RestRefusal("code 50011", False)
        return None


VENUE: Final = Okx()
