"""Gate's contracts in USDT as the engine sees them: `VENUE`. Facts: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venue import Endpoint, HttpRequest
from tickpath.proto.venues.gate import listing, requests
from tickpath.proto.venues.gate.market import GateMarket


@dataclass(frozen=True, slots=True)
class GateUsdt(GateMarket):
    """Gate's perpetual contracts settled in USDT; sizes with their fractions."""

    name = "gate_usdt"
    title = "Gate USDT"
    market = requests.FUTURES
    kind = Kind.LINEAR
    socket = Endpoint(requests.USDT_HOST, requests.USDT_PATH, headers=(requests.DECIMAL,))
    settle = listing.USDT
    list_request = HttpRequest(listing.CONTRACTS_PATH, headers=(requests.DECIMAL,))
    never_seen = (
        "sizes of order_book_update and book_ticker under the header that asks for fractions; a "
        "subscription right behind its end, whose answer the documents wait for; what "
        "order_book_update says of levels that leave it; that two connections number "
        "obu alike (race); nothing was tried against the live venue from here"
    )


VENUE: Final = GateUsdt()
