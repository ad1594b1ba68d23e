"""Bitget's contracts in USDT as the engine sees them: `VENUE`. Facts: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venues.bitget import listing, requests
from tickpath.proto.venues.bitget.market import BitgetMarket


@dataclass(frozen=True, slots=True)
class BitgetUsdt(BitgetMarket):
    """Bitget's contracts in USDT: perpetual ones, and dated ones by the venue's own names."""

    name = "bitget_usdt"
    title = "Bitget USDT"
    market = requests.USDT
    kind = Kind.LINEAR
    settle = listing.SETTLE
    never_seen = (
        "an update with pseq 0, which the documents call a restart; which levels leave a book that "
        "is deeper than its channel; a contract with a delivery date; an error whose channel is "
        "not named; nothing was tried against the live venue from here"
    )


VENUE: Final = BitgetUsdt()
