"""`tickpath venues --table`: what each venue supports and what of it was seen, a row each.

docs/venues.md has this table, and a test holds it to that. Called by: venues.py. Calls:
proto/venues, C's side of the seam.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import lib
from tickpath.proto.venue import BaseSource, Verification

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.venue import Venue

HEAD: Final = (
    *("venue", "books", "trades", "best", "race", "base", "a quiet book is proved by"),
    "sequence rule",
)
UNSEEN: Final = "sequence rule never seen on a wire"
BOOK_KEYS: Final = ("book", "speed", "levels", "fast")
BASES: Final = {
    BaseSource.REST: "REST",
    BaseSource.IN_BAND: "in-band",
    BaseSource.REQUEST: "request",
}
PROOFS: Final = {
    Verification.REST: "REST",
    Verification.ASIDE: "another subscription",
    Verification.ASK: "a request",
    Verification.HEARTBEAT: "its own channel",
}


def rows(known: Sequence[tuple[Venue, Any]]) -> list[str]:
    """Return the lines of a Markdown table; with each venue the rule of its first channel."""
    cells = [HEAD, *(_row(venue, rule) for venue, rule in known)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (f" {cell:<{width}} " for cell, width in zip(row, widths, strict=True))
    return "|" + "|".join(padded) + "|"


def _row(venue: Venue, rule: Any) -> tuple[str, ...]:
    settings = venue.settings()
    races = rule.copies == lib.TP_COPIES_BY_NUMBER and rule.base != lib.TP_BASE_REQUEST
    return (
        venue.name,
        _books(venue, settings),
        _has(settings, "trades"),
        _has(settings, "best"),
        "yes" if races else "no",
        BASES[venue.base_from(settings)],
        PROOFS[venue.verification(settings)],
        _seen(venue, rule),
    )


def _has(settings: Any, key: str) -> str:
    return "yes" if hasattr(settings, key) else "no"


def _seen(venue: Venue, rule: Any) -> str:
    if UNSEEN in venue.never_seen:
        return "never seen on a wire"
    if rule.chain != lib.TP_CHAIN_NONE:
        return "seen in captures"
    return "nothing is numbered" if rule.checksum == lib.TP_CHECKSUM_NONE else "checksums, seen"


def _books(venue: Venue, settings: Any) -> str:
    """Return the choices of a book's channel: a setting's name and its values."""
    hints = typing.get_type_hints(venue.settings)
    # Where bases come by REST the depth is theirs.
    in_band = venue.base_from(settings) is not BaseSource.REST
    keys = (*BOOK_KEYS, "depth") if in_band else BOOK_KEYS
    choices = {key: typing.get_args(hints[key]) for key in keys if key in hints}
    words = [f"{key} {', '.join(map(str, of))}" for key, of in choices.items() if of]
    words += [key for key, of in choices.items() if not of]
    return "; ".join(words) or "one channel"
