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
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Final

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
    REMOVED = "removed"
    """Of a row: the feed reads it no longer, whatever the venue does with it."""


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

    Prices and quantities are integers: value = mantissa * 10**exponent, exponents at most 0.
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

    def in_scale(self, price_exponent: int, quantity_exponent: int) -> Instrument:
        """Return the same with mantissas of these exponents, which a book or an event names.

        A step or minimum finer than that scale becomes 1 of it.
        """
        if (price_exponent, quantity_exponent) == (self.price_exponent, self.quantity_exponent):
            return self
        price = Decimal(1).scaleb(self.price_exponent - price_exponent)
        quantity = Decimal(1).scaleb(self.quantity_exponent - quantity_exponent)
        return msgspec.structs.replace(
            self,
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            tick_size=max(1, int(self.tick_size * price)),
            lot_size=max(1, int(self.lot_size * quantity)),
            quantity_min=int(self.quantity_min * quantity),
        )

    def price(self, mantissa: int) -> float:
        """Return a price as a float, for display; compare and add mantissas instead."""
        return mantissa / float(10**-self.price_exponent)

    def quantity(self, mantissa: int) -> float:
        """Return a quantity as a float, for display."""
        return mantissa / float(10**-self.quantity_exponent)


# ---- the row that C and shared memory know it by -------------------------------------------------

# venue, symbol, base, quote, settle; kind, status, four exponents, connection; five mantissas;
# listed_ns, expiry_ns; strike, right: struct tp_instrument_record of records.h
_ROW = struct.Struct("<16s72s32s16s16sBBbbbbHqqqqqQQ16s8s8x")
ROW_SIZE: Final = _ROW.size
EXPONENT_MIN: Final = -18
_TEXT_SIZES_MAX: Final = {
    "venue": 15,
    "symbol": SYMBOL_SIZE_MAX,
    "base": 31,
    "quote": 15,
    "settle": 15,
    "strike": 15,
    "right": 7,
}
_KINDS: Final = tuple(Kind)
# By the number that a row has; 0: the venue does not say.
ROW_STATUSES: Final = (
    None,
    Status.TRADING,
    Status.CANCEL_ONLY,
    Status.HALTED,
    Status.DELISTED,
    Status.REMOVED,
)
_EXPIRY_CENTURY: Final = "20"
_NS_PER_S: Final = 10**9


def pack_row(instrument: Instrument) -> bytes:
    """Return one struct tp_instrument_record; raises ValueError where something does not fit."""
    name = instrument.name or Symbol("", "")
    texts = {
        "venue": instrument.venue,
        "symbol": instrument.symbol,
        "base": name.base,
        "quote": name.quote,
        "settle": name.settle,
        "strike": name.strike,
        "right": name.right,
    }
    try:
        fields = {field: _encoded(field, text) for field, text in texts.items()}
        multiplier, multiplier_exponent = _mantissa("multiplier", instrument.multiplier)
        notional, notional_exponent = _mantissa("notional_min", instrument.notional_min)
        return _ROW.pack(
            *(fields[field] for field in ("venue", "symbol", "base", "quote", "settle")),
            _KINDS.index(instrument.kind),
            ROW_STATUSES.index(instrument.status),
            instrument.price_exponent,
            instrument.quantity_exponent,
            multiplier_exponent,
            notional_exponent,
            0,
            instrument.tick_size,
            instrument.lot_size,
            instrument.quantity_min,
            notional,
            multiplier,
            0,
            _expiry_ns(name.expiry),
            fields["strike"],
            fields["right"],
        )
    except (ValueError, struct.error) as error:
        raise ValueError(
            f"symbol {instrument.symbol!r} of {instrument.venue!r}: {error}; leave this instrument "
            "out"
        ) from error


def unpack_row(index: int, data: bytes) -> Instrument:
    """Read a row back, which may be foreign; raises ValueError that names what cannot be."""
    if len(data) < ROW_SIZE:
        raise ValueError(f"row {index} of {len(data)} bytes: expected {ROW_SIZE}")
    venue, symbol, base, quote, settle, *numbers, strike, right = _ROW.unpack(data[:ROW_SIZE])
    kind, status, price, quantity, multiplier_exponent, notional_exponent = numbers[:6]
    tick, lot, quantity_min, notional, multiplier, _listed_ns, expiry_ns = numbers[7:]
    if not (EXPONENT_MIN <= price <= 0 and EXPONENT_MIN <= quantity <= 0):
        raise ValueError(
            f"row {index}: exponents {price} and {quantity}, expected {EXPONENT_MIN} to 0"
        )
    if tick < 1 or min(lot, quantity_min, notional, multiplier) < 0:
        raise ValueError(
            f"row {index}: tick {tick}, lot {lot}, minima {quantity_min} and {notional}, "
            f"multiplier {multiplier}: expected a tick of 1 or more, and none below 0"
        )
    if kind >= len(_KINDS) or status >= len(ROW_STATUSES):
        raise ValueError(f"row {index}: kind {kind} or status {status}: unknown")
    names = _text(index, "venue", venue), _text(index, "symbol", symbol)
    parts = {
        "base": _text(index, "base", base),
        "quote": _text(index, "quote", quote),
        "settle": _text(index, "settle", settle),
        "expiry": _expiry(index, expiry_ns),
        "strike": _text(index, "strike", strike),
        "right": _text(index, "right", right),
    }
    if not all(names):
        raise ValueError(f"row {index}: no venue or no symbol")
    return Instrument(
        index,
        *names,
        price,
        quantity,
        tick,
        name=Symbol(**parts) if parts["base"] and parts["quote"] else None,
        lot_size=lot,
        quantity_min=quantity_min,
        notional_min=Decimal(notional).scaleb(notional_exponent),
        multiplier=Decimal(multiplier).scaleb(multiplier_exponent),
        status=ROW_STATUSES[status] or Status.TRADING,
    )


def _encoded(field: str, text: str) -> bytes:
    data, size_max = text.encode(), _TEXT_SIZES_MAX[field]
    if len(data) > size_max:
        raise ValueError(f"{field} of {len(data)} bytes, expected a {field} of up to {size_max}")
    if not text.isprintable() or (not text and field in ("venue", "symbol")):
        raise ValueError(f"{field} {text!r}, expected printable text")
    return data


def _text(index: int, field: str, data: bytes) -> str:
    text, _, padding = data.partition(b"\0")
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = "\0"
    if len(text) == len(data) or padding.strip(b"\0") or not decoded.isprintable():
        raise ValueError(f"row {index}: {field} {data!r:.60}: expected printable UTF-8, NUL-padded")
    return decoded


def _mantissa(field: str, value: Decimal) -> tuple[int, int]:
    """Return the exact mantissa and exponent of a number."""
    sign, digits, exponent = value.normalize().as_tuple()
    if not isinstance(exponent, int) or sign or len(digits) > 18:
        raise ValueError(f"{field} {value}, expected 0 or more with up to 18 digits")
    return int("".join(map(str, digits))), exponent


def _expiry_ns(expiry: str) -> int:
    if not expiry:
        return 0
    day = datetime.strptime(f"{_EXPIRY_CENTURY}{expiry}", "%Y%m%d").replace(tzinfo=UTC)
    return int(day.timestamp()) * _NS_PER_S


def _expiry(index: int, expiry_ns: int) -> str:
    if expiry_ns == 0:
        return ""
    day = datetime.fromtimestamp(expiry_ns // _NS_PER_S, UTC)  # 2554 at most
    if day.strftime("%Y")[:2] != _EXPIRY_CENTURY:
        raise ValueError(f"row {index}: expiry {day:%Y-%m-%d}: expected one of this century")
    return day.strftime("%y%m%d")


# ---- by either name ------------------------------------------------------------------------------


def find_instrument(
    instruments: Iterable[Instrument],
    text: str,
    venue_symbol: Callable[[str, Symbol], str | None] = lambda _venue, _symbol: None,
) -> Instrument:
    """Return the instrument that `text` names, by the venue's symbol or the canonical one.

    Either may stand behind its venue's name and a colon, where several venues have it.
    venue_symbol: writes a canonical name as a venue does, for rows that have no canonical name.
    Raises ValueError where none or several have it, which names those, or the nearest.
    """
    rows = list(instruments)
    venue, colon, name = text.partition(":")  # a canonical name of a derivative has one too
    if colon and any(row.venue == venue for row in rows):
        of_venue = [row for row in rows if row.venue == venue]
        return find_instrument(of_venue, name, venue_symbol)
    found = _having(rows, text, venue_symbol)
    if len(found) == 1:
        return found[0]
    is_one_venues = len({row.venue for row in found or rows}) == 1
    if found:
        names = ", ".join(row.symbol if is_one_venues else f"{row.venue}:{text}" for row in found)
        raise ValueError(f"symbol {text!r}: {len(found)} have it: write one of {names}")
    nearest = _names(rows, is_whole=bool(colon))
    close = difflib.get_close_matches(text.casefold(), nearest, n=1)
    known = [one for alike in nearest.values() for one in alike]
    some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    hint = f"expected one of {some or 'none'}"
    if close:
        hint = f"did you mean {' or '.join(nearest[close[0]])}?"
    raise ValueError(f"symbol {text!r}: {hint}")


def _names(rows: list[Instrument], *, is_whole: bool) -> dict[str, list[str]]:
    """Return all names, in small letters, with how each is to be written so that it is one row's.

    is_whole: the names begin with their venue's, where there are several venues.
    """
    venues: dict[str, dict[str, None]] = {}
    for row in rows:
        for name in (row.symbol, *([] if row.name is None else [str(row.name)])):
            venues.setdefault(name, {})[row.venue] = None
    if is_whole and len({row.venue for row in rows}) > 1:
        whole = [f"{venue}:{name}" for name, having in venues.items() for venue in having]
        return {one.casefold(): [one] for one in whole}
    return {
        name.casefold(): [f"{one}:{name}" for one in having] if len(having) > 1 else [name]
        for name, having in venues.items()
    }


def _having(
    rows: list[Instrument], text: str, venue_symbol: Callable[[str, Symbol], str | None]
) -> list[Instrument]:
    """Return who has a name. At one venue its own symbol counts before a canonical one.

    Not so between venues: what one calls BTC/USD another lists as BTCUSD, and both have the name.
    """
    own = [row for row in rows if row.symbol == text]
    if not is_canonical(text):
        return own
    asked, sure = parse_symbol(text), {row.venue for row in own}
    return own + [
        row
        for row in rows
        if row.venue not in sure
        and (
            row.name == asked or (row.name is None and row.symbol == venue_symbol(row.venue, asked))
        )
    ]
