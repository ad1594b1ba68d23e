"""HTX spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.venue import (
    BaseSource,
    Endpoint,
    Limits,
    RestBudget,
    RestRefusal,
    Venue,
    parse_retry_after,
)
from tickpath.proto.venues.htx import requests
from tickpath.proto.venues.htx.settings import HtxSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import Asked, HttpRequest, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, slots=True)
class Htx(Venue):
    """HTX spot: changes over a WebSocket, bases by a request on it, the list by REST."""

    name = requests.VENUE
    title = "HTX spot"
    settings = HtxSettings
    limits = Limits(
        channels_per_connection=requests.CHANNELS_PER_CONNECTION,
        channels_per_message=1,
        messages_per_second=requests.MESSAGES_PER_SECOND,
    )
    base_source = BaseSource.REQUEST
    rest_host = requests.REST_HOST
    ping_interval_s = 5.0
    """The venue's; ours are answers to them."""
    example_symbol = "btcusdt"
    never_seen = (
        "sequence rule never seen on a wire: no two changes in a row were captured, nor a base "
        "that answers a request, nor a change of nothing; whether levels that fall out of the "
        "depth are named (they are removed here); nothing was tried against the live venue from "
        "here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of HTX's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT as btcusdt."""
        return requests.symbol_of(name)

    def endpoint(self, channel: str, settings: HtxSettings) -> Endpoint:
        """Return the WebSocket of books, or that of all other market data."""
        kind, _ = requests.split(channel)
        is_book = kind not in (requests.BEST, requests.TRADES)
        path = requests.BOOK_PATH if is_book else requests.MARKET_PATH
        return Endpoint(requests.WEBSOCKET_HOST, path)

    def channels(self, symbol: str, settings: HtxSettings) -> tuple[str, ...]:
        """Return the book's topic, and what else is asked for."""
        book = requests.REFRESH if settings.refresh else requests.BOOKS[settings.depth]
        more = ((requests.TRADES, settings.trades), (requests.BEST, settings.best))
        kinds = (book, *(kind for kind, is_wanted in more if is_wanted))
        return tuple(requests.topic(kind, symbol) for kind in kinds)

    def base_from(self, settings: HtxSettings) -> BaseSource:
        """Return the socket itself, where each message is a whole book."""
        return BaseSource.IN_BAND if settings.refresh else BaseSource.REQUEST

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe; each topic is acknowledged by itself."""
        return requests.requests("sub", channels, request)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return requests.requests("unsub", channels, request)

    def asked(self, data: bytes) -> Asked | None:
        """Read a request of ours back: a refusal names its id alone."""
        return requests.asked(data)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return nothing: the venue pings."""
        return b""

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer or a ping."""
        return requests.parse_notes(data)

    def base_message(self, channel: str, *, request: int, time_s: int) -> bytes:
        """Ask for the whole book of a topic."""
        return requests.request("req", channel, request)

    def instruments_request(self, settings: HtxSettings) -> HttpRequest:
        """Ask for the list."""
        return requests.instruments_request()

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read the list."""
        return requests.parse_instruments(data)

    def rest_budget(self, settings: HtxSettings) -> RestBudget:
        """Return how fast bases on the socket, and the list, may be asked for."""
        return RestBudget(per_second=requests.MESSAGES_PER_SECOND)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429."""
        if response.status != TOO_MANY_REQUESTS:
            return None
        pause = parse_retry_after(response.headers.get("retry-after"), now)
        return RestRefusal("status 429", False, pause)


VENUE: Final = Htx()
