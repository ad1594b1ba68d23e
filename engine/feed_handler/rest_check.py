"""Ask by REST for the book that a quiet one is compared with, where bases come in-band.

A venue that pushes whole books, or whose snapshots are large, may give a book by REST that is good
enough to compare with. It goes the way of all requests (bases.py), one at a time, and is never put
in a book's place. Called by: bases.py (as its `aside`). Calls: proto/venue.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from tickpath.proto.venue import HttpRequest

if TYPE_CHECKING:
    from tickpath.engine.config.schema import VenueConfig
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Base


class RestCheck(HttpRequest, frozen=True, kw_only=True):
    """A request for the book of an instrument."""

    row: Instrument


@dataclass(frozen=True, slots=True)
class RestChecks:
    """What stands in for a connection beside the book's: nothing is open."""

    config: VenueConfig

    def request(self, row: Instrument) -> RestCheck:
        """Return what asks for the book of an instrument."""
        asked = self.config.venue.check_request(row.symbol, self.config.settings)
        return RestCheck(asked.target, asked.body, asked.headers, row=row)

    def ask(self, request: RestCheck) -> bytes:
        """Refuse: it is a request as any other."""
        raise AssertionError(f"{request.target}: the client of REST asks for it")

    def read(self, request: RestCheck, data: bytes) -> Base:
        """Read what came; raises ValueError."""
        row = request.row
        base = self.config.venue.parse_base(data, row)
        return msgspec.structs.replace(base, scale=(row.price_exponent, row.quantity_exponent))

    def cut(self) -> None:
        """Nothing of its own is under way."""

    def close(self) -> None:
        """Nothing is open."""
