"""What Binance's markets have in common, as the engine sees them. Facts: README.md beside it.

Called by: venue.py of this folder and of binance_usdm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tickpath.proto.venue import (
    BaseSource,
    Rate,
    RestBudget,
    RestRefusal,
    Venue,
    pack_messages,
    parse_retry_after,
)
from tickpath.proto.venues.binance import requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Asked, Base, HttpResponse, Note

TOO_MANY_REQUESTS, BANNED = 429, 418
MINUTE_S: Final = 60.0
BURST_MAX: Final = 10
MESSAGE_SIZE_MAX: Final = 1 << 15
"""As many streams as fit whatever their names; no document names a limit of a message's size."""

CONNECTS: Final = Rate(requests.CONNECTS_PER_5_MIN, 5 * MINUTE_S, requests.CONNECTS_PER_5_MIN // 2)


def budget(weight_per_minute: int, weight: int) -> RestBudget:
    """Return how many bases of a weight a share of the address's weight allows."""
    per_minute = weight_per_minute / weight
    burst = max(1, min(BURST_MAX, int(per_minute / 2)))
    return RestBudget(per_second=per_minute / MINUTE_S, burst=burst)


@dataclass(frozen=True, slots=True)
class BinanceMarket(Venue):
    """What Binance's markets have in common: bases by REST, changes over combined streams."""

    base_source = BaseSource.REST
    ping_interval_s = 10.0
    """Not needed to stay connected: a quiet connection shows that it lives before it is silent."""
    example_symbol = "BTCUSDT"

    def check_symbol(self, symbol: str) -> None:
        """Raise ValueError where this can be no symbol of Binance's."""
        requests.checked_symbol(symbol)

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

    def parse_base(self, data: bytes, instrument: Instrument) -> Base:
        """Read the depth."""
        return requests.parse_base(data, instrument.price_exponent, instrument.quantity_exponent)

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
