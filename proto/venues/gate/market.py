"""What Gate's markets have in common, as the engine sees them. Facts: README.md beside it.

Called by: venue.py of this folder and of gate_usdt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

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
from tickpath.proto.venues.gate import listing, requests
from tickpath.proto.venues.gate.settings import GateSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Instrument, Kind, Symbol
    from tickpath.proto.venue import Asked, Base, HttpResponse, InstrumentList, Note

TOO_MANY_REQUESTS: Final = 429
LIMIT_FIELD: Final = "x-gate-ratelimit-limit"
REMAIN_FIELD: Final = "x-gate-ratelimit-requests-remain"
COUNT_FORM: Final = re.compile(r"[0-9]{1,6}")
RESET_FIELD: Final = "x-gate-ratelimit-reset-timestamp"
"""Unix time, in seconds, from which on requests are answered again."""
RESET_FORM: Final = re.compile(r"[0-9]{10}")
RESET_MAX_S: Final = 60.0
BASES_PER_SECOND: Final = 10.0
"""Half of the 200 in ten seconds that each endpoint bears from an address."""


LIMITS: Final = Limits(
    channels_per_connection=requests.CHANNELS_PER_CONNECTION,
    channels_per_message=requests.CHANNELS_PER_MESSAGE,
    messages_per_second=requests.MESSAGES_PER_SECOND,
    connections=requests.CONNECTIONS_MAX,
    requests=Rate(200, 10.0, 100),
    idle_without_data_s=requests.IDLE_S,
)


@dataclass(frozen=True, slots=True)
class GateMarket(Venue):
    """What Gate's markets have in common: one WebSocket each, lists and some bases by REST."""

    market: ClassVar[str]
    """As channels' names begin."""
    kind: ClassVar[Kind]
    socket: ClassVar[Endpoint]
    settle: ClassVar[str]
    """What contracts are settled in; "" for spot."""
    list_request: ClassVar[HttpRequest]

    settings = GateSettings
    limits = LIMITS
    base_source = BaseSource.IN_BAND
    base_may_precede = True
    rest_host = listing.REST_HOST
    ping_interval_s = 10.0
    """Below the 15 s that its idle limit allows."""
    example_symbol = "BTC_USDT"

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Gate's."""
        requests.checked_symbol(symbol)

    def venue_symbol(self, name: Symbol) -> str | None:
        """Write BTC/USDT, or BTC/USDT:USDT, as BTC_USDT."""
        is_ours = name.kind is self.kind and name.settle == self.settle and not name.expiry
        return f"{name.base}_{name.quote}" if is_ours else None

    def endpoint(self, channel: str, settings: GateSettings) -> Endpoint:
        """Return the WebSocket of this market."""
        return self.socket

    def channels(self, symbol: str, settings: GateSettings) -> tuple[str, ...]:
        """Return the channels of one instrument."""
        more = ((requests.TRADES, settings.trades), (requests.TICKER, settings.best))
        return (
            requests.book_channel(self.market, settings.depth, symbol),
            *(
                requests.other_channel(self.market, kind, symbol)
                for kind, is_wanted in more
                if is_wanted
            ),
        )

    def base_from(self, settings: GateSettings) -> BaseSource:
        """Return where bases come from: of order_book_update by REST."""
        is_obu = settings.depth in requests.OBU_DEPTHS
        return BaseSource.IN_BAND if is_obu else BaseSource.REST

    def channels_per_message(self, settings: GateSettings) -> int:
        """Return how many fit a message: of order_book_update one."""
        is_obu = settings.depth in requests.OBU_DEPTHS
        return requests.CHANNELS_PER_MESSAGE if is_obu else 1

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that subscribe."""
        return self._pack("subscribe", channels, request, time_s)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        """Return the messages that end subscriptions."""
        return self._pack("unsubscribe", channels, request, time_s)

    def _pack(self, event: str, channels: Sequence[str], request: int, time_s: int) -> list[bytes]:
        def build(some: Sequence[str], number: int) -> bytes:
            return requests.request(event, some, number, time_s)

        messages: list[bytes] = []
        for names in requests.together(channels):
            messages += pack_messages(names, build, self.limits, request + len(messages))
        return messages

    def asked(self, data: bytes) -> Asked | None:
        """Read a request back: not every answer names its channels."""
        return requests.asked(data)

    def ping(self, *, request: int, time_s: int) -> bytes:
        """Return the text that is answered with a pong."""
        return requests.ping(self.market, time_s)

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        """Read an answer or a notice."""
        return requests.parse_notes(data)

    def instruments_request(self, settings: GateSettings) -> HttpRequest:
        """Ask for the market's list."""
        return self.list_request

    def parse_instruments(self, data: bytes) -> InstrumentList:
        """Read the market's list."""
        parse = listing.parse_contracts if self.settle else listing.parse_pairs
        return parse(data, self.name)

    def base_request(self, symbol: str, settings: GateSettings) -> HttpRequest:
        """Ask for a book of as many levels as its channel has."""
        ask = listing.contract_book_request if self.settle else listing.pair_book_request
        return ask(symbol, settings.depth)

    def base_depth(self, settings: GateSettings) -> int:
        """Return what is asked for."""
        return settings.depth

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read a book."""
        scale = instrument.price_exponent, instrument.quantity_exponent
        path, _, _ = self.base_request(instrument.symbol, GateSettings()).target.partition("?")
        return listing.parse_base(data, path, *scale)

    def rest_budget(self, settings: GateSettings) -> RestBudget:
        """Return how fast bases may be asked for; one in-band takes two messages of ours."""
        is_obu = settings.depth in requests.OBU_DEPTHS
        per_second = requests.MESSAGES_PER_SECOND / 2 if is_obu else BASES_PER_SECOND
        return RestBudget(per_second=per_second)

    def requests_used(self, response: HttpResponse, now: datetime) -> tuple[int, float] | None:
        """Read what is left of the window; each path has one of its own, the emptiest counts."""
        fields = (LIMIT_FIELD, REMAIN_FIELD)
        limit, remain = (response.headers.get(one, "") for one in fields)
        if not COUNT_FORM.fullmatch(limit) or not COUNT_FORM.fullmatch(remain) or int(limit) == 0:
            return None
        rate = LIMITS.requests
        used = max(0, int(limit) - int(remain)) * (rate.count if rate is not None else 0)
        reset = response.headers.get(RESET_FIELD, "")
        left_s = int(reset) - now.timestamp() if RESET_FORM.fullmatch(reset) else 0.0
        return used // int(limit), max(0.0, left_s)

    def rest_refusal(self, response: HttpResponse, now: datetime) -> RestRefusal | None:
        """Know 429, and until when it holds."""
        if response.status != TOO_MANY_REQUESTS:
            return None
        pause = parse_retry_after(response.headers.get("retry-after"), now)
        reset = response.headers.get(RESET_FIELD, "")
        if pause is None and RESET_FORM.fullmatch(reset):
            pause = min(max(0.0, int(reset) - now.timestamp()), RESET_MAX_S)
        return RestRefusal(f"status {response.status}", False, pause)
