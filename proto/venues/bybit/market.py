"""What Bybit's markets have in common, as the engine sees them. Facts: README.md beside it.

Called by: venue.py of this folder and of bybit_linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
from tickpath.proto.venue import (
    UNREADABLE,
    BaseSource,
    Endpoint,
    Limits,
    Rate,
    RestBudget,
    RestRefusal,
    Venue,
    pack_messages,
    parse_retry_after,
)
from tickpath.proto.venues.bybit import requests
from tickpath.proto.venues.bybit.settings import BybitSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Kind, Symbol
    from tickpath.proto.venue import Asked, HttpRequest, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS, BANNED = 429, 403
BANNED_S: Final = 600.0
OK: Final = 200
RATE_LIMITED: Final = frozenset({10006, 10018, 10429})
"""Said with status 200, as `retCode`."""


class _Code(msgspec.Struct, rename="camel"):
    ret_code: int = 0
    ret_msg: str = ""


_code_decoder = msgspec.json.Decoder(_Code)


@dataclass(frozen=True, slots=True)
class BybitMarket(Venue):
    """What Bybit's markets have in common: bases and changes over a WebSocket, the list by REST."""

    category: ClassVar[str]
    kind: ClassVar[Kind]
    """Of the contracts that are listed."""

    settings = BybitSettings
    limits = Limits(
        channels_per_connection=requests.CHANNELS_PER_CONNECTION,
        channels_per_message=requests.CHANNELS_PER_MESSAGE,
        message_size_max=requests.ARGUMENTS_SIZE_MAX,
        messages_per_second=requests.MESSAGES_PER_SECOND,
        connections=requests.CONNECTIONS_MAX,
        connects=Rate(500, 300.0, 250),
        requests=Rate(600, 5.0, 300),
    )
    base_source = BaseSource.IN_BAND
    rest_host = requests.REST_HOST
    ping_interval_s = 10.0
    """It asks for one every 20 s."""
    example_symbol = "BTCUSDT"
    never_seen = (
        "sequence rule never seen on a wire (Bybit main net): that u is one more each time, u = 1 "
        "after a restart, that two connections number alike (race); "
        "nothing was tried against the live venue from here"
    )

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Bybit's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT, or BTC/USDT:USDT, as BTCUSDT; the names of others the list alone has."""
        return name.base + name.quote if name.kind is self.kind and not name.expiry else None

    def endpoint(self, channel: str, settings: BybitSettings) -> Endpoint:
        """Return the WebSocket of this market's public data."""
        return Endpoint(requests.WEBSOCKET_HOST, requests.websocket_path(self.category))

    def channels(self, symbol: str, settings: BybitSettings) -> tuple[str, ...]:
        """Return the topics of one instrument."""
        more = (("publicTrade", settings.trades), ("orderbook.1", settings.best))
        return (
            requests.topic(f"orderbook.{settings.depth}", symbol),
            *(requests.topic(kind, symbol) for kind, is_wanted in more if is_wanted),
        )

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

    def asked(self, data: bytes) -> Asked | None:
        """Read a request back: its answer names its id alone."""
        return requests.asked(data)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with a pong."""
        return requests.ping()

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: BybitSettings) -> HttpRequest:
        """Ask for the first page of instruments-info."""
        return requests.instruments_request(self.category)

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read a page of instruments-info."""
        return requests.parse_instruments(data, self.category, self.name)

    def rest_budget(self, settings: BybitSettings) -> RestBudget:
        """Return how fast the list, and bases by a new subscription, may be asked for.

        A base takes two messages of ours, on the book's connection or on that of checks.
        """
        return RestBudget(per_second=requests.MESSAGES_PER_SECOND / 2, banned_s=BANNED_S)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, 403, which bans the address for ten minutes, and codes that say the same."""
        status = response.status
        if status in (TOO_MANY_REQUESTS, BANNED):
            pause = parse_retry_after(response.headers.get("retry-after"), now)
            return RestRefusal(f"status {status}", status == BANNED, pause)
        if status != OK or b'"retCode":0' in response.body[:32]:
            return None
        try:
            said = _code_decoder.decode(response.body)
        except UNREADABLE:
            return None
        if said.ret_code not in RATE_LIMITED:
            return None
        return RestRefusal(f"{said.ret_code}, {said.ret_msg}", False)
