"""Levels of a base by REST: arrays of [price, quantity, …] in JSON, as exact mantissas.

Venues whose answers have them so share this. The usual form is read in C, many characters at a
time; anything else one level after the other here, which says what is wrong with it. A base of
5,000 levels would hold the interpreter for 20 ms otherwise, and with it whoever waits for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.proto.records import DEPTH_LEVEL_COUNT_MAX, parse_fixed
from tickpath.proto.venue import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

_BEHIND: Final = bytes(64)
"""The quick reading looks at so many characters at a time, and never behind the end."""
_rows_decoder = msgspec.json.Decoder(list[list[msgspec.Raw]])


def read_levels(data: msgspec.Raw, price_exponent: int, quantity_exponent: int) -> Any:
    """Return a `struct tp_level[]` (cffi) with the levels of one side, in their order.

    data: JSON text. Raises ValueError where it is no array of at most DEPTH_LEVEL_COUNT_MAX levels
    of strings or numbers, or one has more digits than its exponent keeps (records.ScaleError).
    """
    usual = _usual(bytes(data), price_exponent, quantity_exponent)
    if usual is not None:
        return usual
    try:
        return _one_by_one(_rows_decoder.decode(data), price_exponent, quantity_exponent)
    except UNREADABLE as error:
        raise ValueError(f"base: expected arrays of price and quantity: {error}") from error


def _usual(data: bytes, price_exponent: int, quantity_exponent: int) -> Any | None:
    """Read them where all are in the usual form, else return None."""
    text = ffi.from_buffer("uint8_t[]", data + _BEHIND)
    place = ffi.new("struct tp_json_place *", (text, text, text + len(text)))
    scale = ffi.new("struct tp_scale *", (price_exponent, quantity_exponent))
    count = ffi.new("uint32_t *")
    room = ffi.new("struct tp_level[]", DEPTH_LEVEL_COUNT_MAX)
    behind = lib.tp_json_levels_usual(place, scale, room, count)
    if behind == ffi.NULL or data[behind - text :].strip():
        return None
    levels = ffi.new("struct tp_level[]", count[0])
    ffi.memmove(levels, room, ffi.sizeof(levels))
    return levels


def _one_by_one(
    rows: Sequence[Sequence[msgspec.Raw]], price_exponent: int, quantity_exponent: int
) -> Any:
    if len(rows) > DEPTH_LEVEL_COUNT_MAX:
        raise ValueError(
            f"base of {len(rows)} levels: expected at most {DEPTH_LEVEL_COUNT_MAX}; ask for fewer"
        )
    levels = ffi.new("struct tp_level[]", len(rows))
    for index, row in enumerate(rows):
        if len(row) < 2:
            shown = b",".join(map(bytes, row)).decode()
            raise ValueError(f"base level [{shown}]: expected price and quantity; ask again")
        price, quantity = map(_number, row[:2])
        levels[index].price = parse_fixed(price, price_exponent, "price")
        levels[index].quantity = parse_fixed(quantity, quantity_exponent, "quantity")
    return levels


def _number(value: msgspec.Raw) -> str:
    """Return the digits of a string or of a number; anything else as it stands, for who reads."""
    text = bytes(value)
    return msgspec.json.decode(text, type=str) if text.startswith(b'"') else text.decode()
