"""The records of records.h seen from Python: numpy layouts, names, exact numbers.

Sizes, offsets and constants are taken from the compiled header, so they cannot drift from it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib

if TYPE_CHECKING:
    import numpy as np

RECORDS_VERSION: Final = int(lib.TP_RECORDS_VERSION)
BOOK_DEPTH_MAX: Final = int(lib.TP_BOOK_DEPTH_MAX)
DEPTH_LEVEL_COUNT_MAX: Final = int(lib.TP_DEPTH_LEVEL_COUNT_MAX)
EXPONENT_MIN: Final = -18


class Named(IntEnum):
    """An int that prints as its name; a format of numbers (`d`, `x`, ...) shows the number."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        if spec and spec[-1] in "bcdoxXneEfFgG%":
            return int.__format__(self, spec)
        return format(self.name, spec)


class Side(Named):
    """A side of the book."""

    BID = int(lib.TP_SIDE_BID)
    ASK = int(lib.TP_SIDE_ASK)


class BookState(Named):
    """Whether a book may be traded on: LIVE only."""

    SYNCING = int(lib.TP_BOOK_SYNCING)
    LIVE = int(lib.TP_BOOK_LIVE)
    STALE = int(lib.TP_BOOK_STALE)
    CROSSED = int(lib.TP_BOOK_CROSSED)


class EventType(Named):
    """What an event of the ring says."""

    LEVEL = int(lib.TP_EVENT_LEVEL)
    TOP = int(lib.TP_EVENT_TOP)
    STATE = int(lib.TP_EVENT_STATE)
    CLEAR = int(lib.TP_EVENT_CLEAR)
    TRADE = int(lib.TP_EVENT_TRADE)
    BEST = int(lib.TP_EVENT_BEST)
    MESSAGE = int(lib.TP_EVENT_MESSAGE)
    INSTRUMENT = int(lib.TP_EVENT_INSTRUMENT)
    STATUS = int(lib.TP_EVENT_STATUS)
    VERIFIED = int(lib.TP_EVENT_VERIFIED)


class RowChange(IntEnum):
    """What happened to the row of an INSTRUMENT event."""

    ADDED = int(lib.TP_ROW_ADDED)
    CHANGED = int(lib.TP_ROW_CHANGED)
    SCALED = int(lib.TP_ROW_SCALED)


class SyncReason(Named):
    """Why a book is not LIVE."""

    NONE = int(lib.TP_SYNC_REASON_NONE)
    STARTING = int(lib.TP_SYNC_REASON_STARTING)
    GAP = int(lib.TP_SYNC_REASON_GAP)
    DISCONNECTED = int(lib.TP_SYNC_REASON_DISCONNECTED)
    SILENT = int(lib.TP_SYNC_REASON_SILENT)
    CROSSED = int(lib.TP_SYNC_REASON_CROSSED)
    REFUSED = int(lib.TP_SYNC_REASON_REFUSED)
    BROKEN_MESSAGE = int(lib.TP_SYNC_REASON_BROKEN_MESSAGE)
    OVERFLOW = int(lib.TP_SYNC_REASON_OVERFLOW)
    UNCONFIRMED = int(lib.TP_SYNC_REASON_UNCONFIRMED)
    RESET = int(lib.TP_SYNC_REASON_RESET)
    SHALLOW = int(lib.TP_SYNC_REASON_SHALLOW)
    SCALE = int(lib.TP_SYNC_REASON_SCALE)
    HALTED = int(lib.TP_SYNC_REASON_HALTED)
    UNVERIFIED = int(lib.TP_SYNC_REASON_UNVERIFIED)
    REMOVED = int(lib.TP_SYNC_REASON_REMOVED)


# The same records for struct: an event, and a book up to its levels (BIDS_WORD words).
EVENT_STRUCT: Final = struct.Struct("<HBBbbHQQ4q")
BOOK_HEAD_STRUCT: Final = struct.Struct("<8Q6HbbHQ24x")
BOOK_WORDS: Final = ffi.sizeof("struct tp_book_record") // 8
BIDS_WORD: Final = ffi.offsetof("struct tp_book_record", "bids") // 8
ASKS_WORD: Final = ffi.offsetof("struct tp_book_record", "asks") // 8

EVENT_ASK: Final = int(lib.TP_EVENT_ASK)
"""The flag of a LEVEL event that changes the ask side."""
EVENT_SELL: Final = int(lib.TP_EVENT_SELL)
"""The flag of a TRADE whose taker sold."""
EVENT_SIDELESS: Final = int(lib.TP_EVENT_SIDELESS)
"""The flag of a TRADE whose venue does not say who took."""
EVENT_HASHED: Final = int(lib.TP_EVENT_HASHED)
"""The flag of a TRADE whose trade_id is the hash of an id that is no number."""
EVENT_MORE: Final = int(lib.TP_EVENT_MORE)
"""The flag of an event whose MESSAGE follows."""
EVENT_HOP_ZERO: Final = int(lib.TP_EVENT_HOP_ZERO)
"""The flag of a received_ns that the driver or the XDP program stamped."""


def _field_dtype(kind: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - readers of events and books do without it

    if kind.kind == "array":
        if kind.item.cname == "char":
            return np.dtype(f"S{kind.length}")
        return np.dtype((_field_dtype(kind.item), (kind.length,)))
    if kind.kind in ("struct", "union"):
        return _layout(kind)
    signed = kind.cname.startswith("int") and not kind.cname.startswith("u")
    return np.dtype(f"{'i' if signed else 'u'}{ffi.sizeof(kind)}")


def _layout(kind: Any) -> np.dtype[Any]:
    import numpy as np  # noqa: PLC0415 - readers of events and books do without it

    fields = kind.fields
    return np.dtype(
        {
            "names": [name for name, _ in fields],
            "formats": [_field_dtype(field.type) for _, field in fields],
            "offsets": [field.offset for _, field in fields],
            "itemsize": ffi.sizeof(kind),
        }
    )


@cache
def layout_of(struct_name: str) -> np.dtype[Any]:
    """Return the layout of any struct of the core that has no bit fields."""
    return _layout(ffi.typeof(f"struct {struct_name}"))


@cache
def level_dtype() -> np.dtype[Any]:
    """Return the layout of struct tp_level: price, quantity (int64 mantissas)."""
    return _layout(ffi.typeof("struct tp_level"))


@cache
def event_dtype() -> np.dtype[Any]:
    """Return the layout of struct tp_event: 56 bytes; u is a union, as records.h has it."""
    return _layout(ffi.typeof("struct tp_event"))


@cache
def book_dtype() -> np.dtype[Any]:
    """Return the layout of struct tp_book_record: one snapshot of one instrument's book."""
    return _layout(ffi.typeof("struct tp_book_record"))


@cache
def instrument_dtype() -> np.dtype[Any]:
    """Return the layout of struct tp_instrument_record: one row of the instrument table."""
    return _layout(ffi.typeof("struct tp_instrument_record"))


def format_fixed(mantissa: int, exponent: int) -> str:
    """Return mantissa * 10**exponent as plain decimal text, exact, with all -exponent digits.

    exponent is -18..0; raises ValueError otherwise.
    """
    if not EXPONENT_MIN <= exponent <= 0:
        raise ValueError(
            f"exponent {exponent}: expected {EXPONENT_MIN}..0; take it from the instrument's record"
        )
    if exponent == 0:
        return str(mantissa)
    digits = str(abs(mantissa)).zfill(1 - exponent)
    sign = "-" if mantissa < 0 else ""
    return f"{sign}{digits[:exponent]}.{digits[exponent:]}"


class ScaleError(ValueError):
    """Raised where a number is sound, and the instrument's scale does not hold it exactly."""

    def __init__(self, text: str, exponent: int, what: str) -> None:
        super().__init__(
            f"{f'{what} ' if what else ''}{text!r}: expected a plain decimal with at most "
            f"{-exponent} digits after the point that fits 64 bits; if the venue changed its "
            "digits, read its instrument list again"
        )
        self.text, self.exponent, self.what = text, exponent, what


def parse_fixed(text: str, exponent: int, what: str = "") -> int:
    """Return the int64 mantissa of decimal text at the exponent, exact.

    text: digits with at most one point between digits; trailing zeros beyond the exponent are
    allowed. what: "price" or "quantity", for the message. Raises ScaleError where another exponent
    would hold it, ValueError for what is no such number.
    """
    if not EXPONENT_MIN <= exponent <= 0:
        raise ValueError(
            f"exponent {exponent}: expected {EXPONENT_MIN}..0; take it from the instrument's record"
        )
    data = text.encode()
    out = ffi.new("int64_t *")
    if not lib.tp_decimal_parse(data, len(data), exponent, out):
        characters = ffi.from_buffer("uint8_t[]", data)
        status = lib.tp_decimal_refusal((characters, len(data)), exponent, False)
        if status in (lib.TP_DECODE_TOO_FINE, lib.TP_DECODE_TOO_LARGE):
            raise ScaleError(text, exponent, what)
        raise ValueError(
            f"{f'{what} ' if what else ''}{text!r}: expected a plain decimal that fits 64 bits "
            "with at most 18 digits after the point"
        )
    return int(out[0])
