"""A venue's C side by its name: of this build, or of a folder outside of it.

Called by: engine (feed handler, replay). Calls: proto/venue.c.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

from tickpath._core import ffi, lib
from tickpath.proto.venue import Meaning
from tickpath.proto.venues import venue_folder

LIBRARY: Final = "_decoder.so"
"""In an outside venue's folder: its C files and those of proto/encoding, compiled."""

_MEANINGS: Final = {
    getattr(lib, name): Meaning[name.removeprefix("TP_MEANING_")]
    for name in dir(lib)
    if name.startswith("TP_MEANING_")
}


def meaning_of(number: int) -> Meaning:
    """Return a value of C's enum tp_meaning by its name."""
    return _MEANINGS[number]


@cache
def find_decoder(name: str) -> Any:
    """Return a venue's `struct tp_venue *`, which lives as long as the process.

    Raises ValueError where there is none.
    """
    built = lib.tp_venue_find(name.encode())
    if built != ffi.NULL:
        return built
    path = venue_folder(name) / LIBRARY
    try:
        variable = ctypes.c_char.in_dll(ctypes.CDLL(str(path)), f"tp_venue_{name}")
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ValueError(f"venue {name!r}: {why}; docs/contributing.md compiles it") from error
    found = ffi.cast("struct tp_venue *", ctypes.addressof(variable))
    if found.layout != lib.TP_VENUE_LAYOUT:  # first: nothing else of it can be believed
        raise ValueError(
            f"{path}: compiled from headers of another tickpath (layout {found.layout:#x}, "
            f"expected {lib.TP_VENUE_LAYOUT:#x}); compile it again: docs/contributing.md"
        )
    if ffi.string(found.name) != name.encode():
        raise ValueError(
            f"{path}: its venue has another name than its folder; rename one and compile it again"
        )
    return found


def is_packed(name: str) -> bool:
    """Say whether each message of a venue is a gzip member (RFC 1952) of its own."""
    return bool(find_decoder(name).facts.compression == lib.TP_COMPRESSION_GZIP)
