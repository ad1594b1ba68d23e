"""Who an instrument is: the venue's own name, the canonical one, and the scale of its numbers.

`Symbol` is the canonical name, written as users of ccxt know it: BTC/USDT (spot), BTC/USDT:USDT
(linear), BTC/USD:BTC (inverse), with -YYMMDD for a dated contract and -STRIKE-C or -P for an
option. `Instrument` is one instrument of one venue. `pack_row` makes the row that shared memory
and the C core know it by. Called by: proto/venues, engine. Standard library and msgspec only.
"""

from __future__ import annotations

import difflib
import re
import struct
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SYMBOL_SIZE_MAX: Final = 64
"""Bytes of a venue's symbol in UTF-8."""
_ASSET: Final = r"[^\s/:-]+"
_CANONICAL: Final = re.compile(
    rf"(?P<base>{_ASSET})/(?P<quote>{_ASSET})"
    rf"(?::(?P<settle>{_ASSET})(?:-(?P<expiry>\d{{6}})(?:-(?P<strike>\d+(?:\.\d+)?)-(?P<right>[CP]))?)?)?"
)
_EXPIRY: Final = re.compile(r"\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
FORMS: Final = "BTC/USDT (spot), BTC/USDT:USDT (linear), BTC/USD:BTC (inverse)"


class Kind(Enum):
    """What a contract is settled in; a spot instrument is delivered."""

    SPOT = "spot"
    LINEAR = "linear"
    """Settled in its quote."""
    INVERSE = "inverse"
    """Settled in its base."""
    QUANTO = "quanto"
    """Settled in a third asset."""


class Status(Enum):
    """What may be done with an instrument now."""

    TRADING = "trading"
    CANCEL_ONLY = "cancel only"
    HALTED = "halted"
    DELISTED = "delisted"


class Symbol(msgspec.Struct, frozen=True):
    """A canonical name; `str()` writes it, `parse_symbol` reads it back."""

    base: str
    quote: str
    settle: str = ""
    """"" for spot."""
    expiry: str = ""
    """YYMMDD; "" where it never ends."""
    strike: str = ""
    right: str = ""
    """C or P of an option."""

    @property
    def kind(self) -> Kind:
        """Return what it is settled in."""
        if not self.settle:
            return Kind.SPOT
        if self.settle == self.quote:
            return Kind.LINEAR
        return Kind.INVERSE if self.settle == self.base else Kind.QUANTO

    def __str__(self) -> str:
        text = f"{self.base}/{self.quote}"
        text += f":{self.settle}" if self.settle else ""
        text += f"-{self.expiry}" if self.expiry else ""
        return text + (f"-{self.strike}-{self.right}" if self.strike else "")


def is_canonical(text: str) -> bool:
    """Tell a canonical name from a venue's own, which has no slash but on a few venues."""
    return _CANONICAL.fullmatch(text) is not None


def parse_symbol(text: str) -> Symbol:
    """Parse a canonical name; raises ValueError where it is none."""
    match = _CANONICAL.fullmatch(text)
    if match is None:
        raise ValueError(f"symbol {text!r}: expected a form such as {FORMS}")
    expiry = match["expiry"] or ""
    if expiry and not _EXPIRY.fullmatch(expiry):
        raise ValueError(f"symbol {text!r}: {expiry} is no date: expected YYMMDD, as in -211225")
    words = (match[name] or "" for name in ("settle", "expiry", "strike", "right"))
    return Symbol(match["base"], match["quote"], *words)


class Instrument(msgspec.Struct, frozen=True):
    """One instrument of one venue and the scale of its numbers.

    Prices and quantities are integers: value = mantissa * 10**exponent, exponents at most 0. What
    shared memory does not hold yet (`pack_row`) has its default in what is read back from it.
    """

    index: int
    """Its place in the table that it stands in."""
    venue: str
    symbol: str
    """The venue's own name for it."""
    price_exponent: int
    quantity_exponent: int
    tick_size: int = 1
    """Smallest price step, a mantissa."""
    name: Symbol | None = None
    """The canonical name, where it is known."""
    lot_size: int = 1
    """Smallest quantity step, a mantissa."""
    quantity_min: int = 0
    notional_min: Decimal = Decimal(0)
    """Least price times quantity of an order, in the quote (inverse: in the contract's value)."""
    multiplier: Decimal = Decimal(1)
    """What a quantity of 1 stands for: of the base, or of the quote where it is inverse."""
    status: Status = Status.TRADING

    @property
    def kind(self) -> Kind:
        """Return what it is settled in; spot where the canonical name is not known."""
        return Kind.SPOT if self.name is None else self.name.kind

    def price(self, mantissa: int) -> float:
        """Return a price as a float, for display; compare and add mantissas instead."""
        return mantissa / float(10**-self.price_exponent)

    def quantity(self, mantissa: int) -> float:
        """Return a quantity as a float, for display."""
        return mantissa / float(10**-self.quantity_exponent)


# ---- the row that C and shared memory know it by -------------------------------------------------

_ROW = struct.Struct("<16s32siiq")
ROW_SIZE: Final = _ROW.size
_VENUE_SIZE, _SYMBOL_SIZE = 15, 31  # the fields' sizes less NUL


def pack_row(instrument: Instrument) -> bytes:
    """Return one struct tp_instrument_record; raises ValueError where a name does not fit."""
    venue, symbol = instrument.venue.encode(), instrument.symbol.encode()
    if len(venue) > _VENUE_SIZE or len(symbol) > _SYMBOL_SIZE:
        raise ValueError(
            f"symbol {instrument.symbol!r} of {instrument.venue!r}: expected a symbol of up to "
            f"{_SYMBOL_SIZE} bytes and a venue of up to {_VENUE_SIZE}; leave this instrument out"
        )
    exponents = instrument.price_exponent, instrument.quantity_exponent
    return _ROW.pack(venue, symbol, *exponents, instrument.tick_size)


def unpack_rows(data: bytes) -> tuple[Instrument, ...]:
    """Read rows back; raises struct.error where the size is no multiple of a row's."""
    rows: list[Any] = list(_ROW.iter_unpack(data))
    return tuple(
        Instrument(index, _text(venue), _text(symbol), price, quantity, tick)
        for index, (venue, symbol, price, quantity, tick) in enumerate(rows)
    )


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


# ---- by either name ------------------------------------------------------------------------------


def find_instrument(
    instruments: Iterable[Instrument],
    text: str,
    venue_symbol: Callable[[str, Symbol], str | None] = lambda _venue, _symbol: None,
) -> Instrument:
    """Return the instrument that `text` names, by the venue's symbol or the canonical one.

    venue_symbol: writes a canonical name as a venue does, for rows that have no canonical name.
    Raises ValueError where none or several have it.
    """
    rows = list(instruments)
    found = [row for row in rows if row.symbol == text]
    if not found and is_canonical(text):
        asked = parse_symbol(text)
        found = [
            row
            for row in rows
            if row.name == asked
            or (row.name is None and row.symbol == venue_symbol(row.venue, asked))
        ]
    if len(found) == 1:
        return found[0]
    if found:
        venues = ", ".join(sorted({row.venue for row in found}))
        raise ValueError(f"symbol {text!r}: several have it ({venues}): use the venue's own name")
    known = [row.symbol for row in rows] + [str(row.name) for row in rows if row.name is not None]
    close = difflib.get_close_matches(text, known, n=1)
    some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    hint = f"did you mean {close[0]}?" if close else f"expected one of {some or 'none'}"
    raise ValueError(f"symbol {text!r}: {hint}")
