"""Undo compression of messages, where the cold side reads them itself: as the hot thread does.

Called by: venue_feed.py, hot_path.py and aside.py beside it. Calls: inflate.c.
"""

from __future__ import annotations

from typing import Any, Final

from tickpath._core import ffi, lib
from tickpath.proto.venues.decoder import find_decoder, is_packed
from tickpath.shm.errors import SystemSetupError

SIZE_MAX: Final = 1 << 20
"""Of a text, where the venue names no largest message."""


def text_size_max(venue: str) -> int:
    """Return how many bytes a text of a venue may have: an inflated message is no larger."""
    return int(find_decoder(venue).facts.message_size_max) or SIZE_MAX


def new_inflate(size_max: int) -> Any:
    """Return a `struct tp_inflate *` that lives as long as the object."""
    made = lib.tp_inflate_new(size_max)
    if made == ffi.NULL:
        raise SystemSetupError(f"no memory to inflate messages: {size_max} bytes needed")
    return ffi.gc(made, lib.tp_inflate_free)


class Inflate:
    """Messages of one venue, packed or not."""

    def __init__(self, venue: str) -> None:
        self._inflate = new_inflate(text_size_max(venue)) if is_packed(venue) else None

    def text(self, data: bytes) -> bytes:
        """Return a message as the venue meant it; one that is refused as it came."""
        if self._inflate is None:
            return data
        kept = ffi.from_buffer("uint8_t[]", data)
        message = ffi.new("struct tp_span *", {"data": kept, "size": len(data)})
        lib.tp_inflate_message(self._inflate, message)
        return bytes(ffi.buffer(message.data, message.size))
