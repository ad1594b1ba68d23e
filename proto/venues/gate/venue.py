"""Gate spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venue import Endpoint, HttpRequest
from tickpath.proto.venues.gate import listing, requests
from tickpath.proto.venues.gate.market import GateMarket


@dataclass(frozen=True, slots=True)
class Gate(GateMarket):
    """Gate spot."""

    name = "gate"
    title = "Gate spot"
    market = requests.SPOT
    kind = Kind.SPOT
    socket = Endpoint(requests.SPOT_HOST, requests.SPOT_PATH)
    settle = ""
    list_request = HttpRequest(listing.PAIRS_PATH)
    never_seen = (
        "sequence rule never seen on a wire (Gate spot obu): that U is the last u + 1 was seen on "
        "its futures; a subscription right behind its end, whose answer the documents wait for; "
        "what order_book_update says of levels that leave it; that two connections number "
        "obu alike (race); nothing was tried against the live venue from here"
    )


VENUE: Final = Gate()
