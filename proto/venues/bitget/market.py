"""What Bitget's markets have in common, as the engine sees them. Facts: README.md beside it.

Called by: venue.py of this folder and of bitget_usdt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

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
from tickpath.proto.venues.bitget import listing, requests
from tickpath.proto.venues.bitget.settings import BitgetSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Kind, Symbol
    from tickpath.proto.venue import HttpRequest, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429
RATE_LIMITED: Final = b'"code":"429"'
"""May come with another status."""


@dataclass(frozen=True, slots=True)
class BitgetMarket(Venue):
    """What Bitget's markets have in common: books over a WebSocket, the list by REST."""

    market: ClassVar[str]
    kind: ClassVar[Kind]
    settle: ClassVar[str]
    """What contracts are settled in; "" for spot."""

    settings = BitgetSettings
    limits = Limits(
        channels_per_connection=requests.CHANNELS_PER_CONNECTION,
        channels_per_message=requests.CHANNELS_PER_MESSAGE,
        message_size_max=requests.MESSAGE_SIZE_MAX,
        messages_per_second=requests.MESSAGES_PER_SECOND,
        messages_per_hour=requests.REQUESTS_PER_HOUR,
        connections=requests.CONNECTIONS_MAX,
        connects=Rate(requests.CONNECTS_PER_5_MIN, 300.0, requests.CONNECTS_PER_5_MIN // 2),
        requests=Rate(listing.REQUESTS_PER_SECOND, 1.0, listing.REQUESTS_PER_SECOND // 2),
        connection_age_max_s=requests.CONNECTION_AGE_MAX_S,
        idle_without_data_s=requests.IDLE_S,
    )
    base_source = BaseSource.IN_BAND
    rest_host = listing.REST_HOST
    ping_interval_s = 10.0
    """It asks for one every 30 s."""
    example_symbol = "BTCUSDT"

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Bitget's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT, or BTC/USDT:USDT, as BTCUSDT; the names of others the list alone has."""
        is_ours = name.kind is self.kind and name.settle == self.settle and not name.expiry
        return (name.base + name.quote).upper() if is_ours else None

    def endpoint(self, channel: str, settings: BitgetSettings) -> Endpoint:
        """Return the WebSocket of the generation that has the channel."""
        path = requests.UTA_PATH if requests.is_uta(channel) else requests.CLASSIC_PATH
        return Endpoint(requests.WEBSOCKET_HOST, path)

    def channels(self, symbol: str, settings: BitgetSettings) -> tuple[str, ...]:
        """Return the book's channel, and what else is asked for, of the same WebSocket."""
        book = requests.BOOKS[settings.depth]
        uta = requests.is_uta(book)
        more = ((requests.TRADES[uta], settings.trades), (requests.BEST[uta], settings.best))
        kinds = (book, *(kind for kind, is_wanted in more if is_wanted))
        return tuple(requests.channel(kind, symbol) for kind in kinds)

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe; each channel is acknowledged by itself."""
        return self._pack("subscribe", channels, request)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return self._pack("unsubscribe", channels, request)

    def _pack(self, op: str, channels: Sequence[str], request: int) -> list[bytes]:
        return requests.requests(
            op, channels, market=self.market, request=request, limits=self.limits
        )

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with pong."""
        return requests.PING

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer, a pong or a notice."""
        return requests.parse_notes(data, self.market)

    def instruments_request(self, settings: BitgetSettings) -> HttpRequest:
        """Ask for the market's list."""
        return listing.instruments_request(self.market)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read the list."""
        return listing.parse_instruments(data, self.market, self.name)

    def rest_budget(self, settings: BitgetSettings) -> RestBudget:
        """Return how fast the list, and bases by a new subscription, may be asked for.

        A base takes two messages of ours; the list may be asked for twenty times a second.
        """
        return RestBudget(per_second=requests.MESSAGES_PER_SECOND / 2)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, also where the body alone says it."""
        if response.status == TOO_MANY_REQUESTS:
            pause = parse_retry_after(response.headers.get("retry-after"), now)
            return RestRefusal("status 429", False, pause)
        if RATE_LIMITED in response.body[:200]:
            return RestRefusal("code 429", False)
        return None
