"""Bitget spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venues.bitget import requests
from tickpath.proto.venues.bitget.market import BitgetMarket


@dataclass(frozen=True, slots=True)
class Bitget(BitgetMarket):
    """Bitget spot."""

    name = "bitget"
    title = "Bitget spot"
    market = requests.SPOT
    kind = Kind.SPOT
    settle = ""
    never_seen = (
        "the unified WebSocket (depth = 50 and 1000) on the spot market; an update with pseq 0, "
        "which the documents call a restart; which levels leave a book that is deeper than its "
        "channel; an error whose channel is not named; nothing was tried against the live venue "
        "from here"
    )


VENUE: Final = Bitget()
