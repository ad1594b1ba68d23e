"""What Gate answers over REST, as bytes and records: instrument lists and bases. No I/O here.

Facts and their dates: README.md beside this file.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from tickpath.proto.base_levels import read_levels
from tickpath.proto.instrument import Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN
from tickpath.proto.venue import UNREADABLE, Base, HttpRequest, InstrumentList, excerpt
from tickpath.proto.venues.gate.requests import DECIMAL, checked_symbol

if TYPE_CHECKING:
    from collections.abc import Callable

REST_HOST: Final = "api.gateio.ws"
PAIRS_PATH: Final = "/api/v4/spot/currency_pairs"
PAIR_BOOK_PATH: Final = "/api/v4/spot/order_book"
CONTRACTS_PATH: Final = "/api/v4/futures/usdt/contracts"
CONTRACT_BOOK_PATH: Final = "/api/v4/futures/usdt/order_book"
USDT: Final = "USDT"
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""

Place = tuple[str, int]
"""A venue's name, and a row's number."""


# ---- numbers -------------------------------------------------------------------------------------


def _decimal(symbol: str, name: str, text: str | int | float | None) -> Decimal:
    """Read a number, which may be a string or bare; none is 0."""
    try:
        value = Decimal(str(text or "0"))
    except InvalidOperation as error:
        raise ValueError(f"{symbol}: {name} {text!r}: expected a decimal number") from error
    if not value.is_finite() or value < 0:
        raise ValueError(f"{symbol}: {name} {text!r}: expected 0 or more")
    if value and abs(value.adjusted()) > DIGITS_MAX:  # int() of 1e999999 takes seconds
        raise ValueError(f"{symbol}: {name} {text!r}: expected at most {DIGITS_MAX} digits")
    return value


def _exponent(symbol: str, name: str, exponent: int) -> int:
    if not EXPONENT_MIN <= exponent <= 0:
        raise ValueError(f"{symbol}: {name}: expected 0 to {-EXPONENT_MIN} digits, not {-exponent}")
    return exponent


def _digits_of(value: Decimal) -> int:
    """Return the exponent that a number is written with."""
    return min(0, int(value.normalize().as_tuple().exponent))


def _least(value: Decimal, exponent: int) -> int:
    """Return the smallest mantissa that is not below a number."""
    return int(value.scaleb(-exponent).to_integral_value(rounding="ROUND_CEILING"))


# ---- instruments ---------------------------------------------------------------------------------


class _PairJson(msgspec.Struct):
    id: str
    base: str
    quote: str
    trade_status: str
    precision: int
    amount_precision: int
    min_base_amount: str | None = None
    min_quote_amount: str | None = None


class _ContractJson(msgspec.Struct):
    name: str
    order_price_round: str
    quanto_multiplier: str
    order_size_min: str | int | float
    type: str = "direct"
    enable_decimal: bool = False
    in_delisting: bool = False
    position_size: str | int | float | None = None
    status: str = "trading"


class _PairNameJson(msgspec.Struct):
    id: str


class _ContractNameJson(msgspec.Struct):
    name: str


_pair_decoder = msgspec.json.Decoder(_PairJson)
_contract_decoder = msgspec.json.Decoder(_ContractJson)
_pair_name_decoder = msgspec.json.Decoder(_PairNameJson)
_contract_name_decoder = msgspec.json.Decoder(_ContractNameJson)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_PAIR_STATUSES: Final = dict.fromkeys(("tradable", "buyable", "sellable"), Status.TRADING)
"""What may be bought or sold alone has a book that moves. All others do not trade."""
_CONTRACT_STATUSES: Final = {
    **dict.fromkeys(("trading", "delisting"), Status.TRADING),
    "delisted": Status.DELISTED,
}
"""Delisting: positions are only reduced. All others, prelaunch and circuit_breaker among them, do
not trade."""


def _pair(raw: msgspec.Raw, place: Place) -> Instrument:
    row = _pair_decoder.decode(raw)
    symbol = checked_symbol(row.id)
    price = _exponent(symbol, "precision", -row.precision)
    quantity = _exponent(symbol, "amount_precision", -row.amount_precision)
    venue, index = place
    return Instrument(
        index=index,
        venue=venue,
        symbol=symbol,
        price_exponent=price,
        quantity_exponent=quantity,
        name=Symbol(row.base, row.quote),
        quantity_min=_least(_decimal(symbol, "min_base_amount", row.min_base_amount), quantity),
        notional_min=_decimal(symbol, "min_quote_amount", row.min_quote_amount),
        status=_PAIR_STATUSES.get(row.trade_status, Status.HALTED),
    )


def _contract_status(row: _ContractJson) -> Status:
    """Know a contract that is gone: it is being delisted, and nobody holds any."""
    held = _decimal(row.name, "position_size", row.position_size)
    if row.in_delisting and row.position_size is not None and held == 0:
        return Status.DELISTED
    return _CONTRACT_STATUSES.get(row.status, Status.HALTED)


def _contract(raw: msgspec.Raw, place: Place) -> Instrument:
    row = _contract_decoder.decode(raw)
    symbol = checked_symbol(row.name)
    base, _, quote = symbol.rpartition("_")
    if row.type != "direct" or quote != USDT:
        raise ValueError(f"{symbol}: type {row.type!r}: expected direct, quoted in {USDT}")
    tick = _decimal(symbol, "order_price_round", row.order_price_round)
    multiplier = _decimal(symbol, "quanto_multiplier", row.quanto_multiplier)
    if tick <= 0 or multiplier <= 0:
        raise ValueError(f"{symbol}: tick {tick}, multiplier {multiplier}: expected more than 0")
    least = _decimal(symbol, "order_size_min", row.order_size_min)
    price = _exponent(symbol, "order_price_round", _digits_of(tick))
    digits = _digits_of(least) if row.enable_decimal else 0
    quantity = _exponent(symbol, "order_size_min", digits)
    venue, index = place
    return Instrument(
        index=index,
        venue=venue,
        symbol=symbol,
        price_exponent=price,
        quantity_exponent=quantity,
        tick_size=int(tick.scaleb(-price)),
        name=Symbol(base, quote, USDT),
        quantity_min=_least(least, quantity),
        multiplier=multiplier,
        status=_contract_status(row),
    )


def _parse(
    data: bytes,
    path: str,
    read: Callable[[msgspec.Raw, int], Instrument],
    name: Callable[[msgspec.Raw], str],
) -> InstrumentList:
    """Read a list; a row that cannot be read is left out, the others stand."""
    try:
        rows = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected a JSON array ({error}); ask {path} again"
        ) from error
    listed: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, raw in enumerate(rows):
        try:
            one = read(raw, index)
            if one.symbol in listed:
                raise ValueError(f"{one.symbol}: listed twice; the first row counts")
            listed[one.symbol] = one
        except (*UNREADABLE, ValueError) as error:
            left_out[_row_name(raw, name, index)] = str(error)
    return InstrumentList(listed, left_out)


def _row_name(raw: msgspec.Raw, name: Callable[[msgspec.Raw], str], index: int) -> str:
    try:
        return name(raw)
    except UNREADABLE:
        return f"row {index}"


def parse_pairs(data: bytes, venue: str) -> InstrumentList:
    """Read the list of currency pairs; raises ValueError where it is none as a whole."""
    return _parse(
        data,
        PAIRS_PATH,
        lambda raw, index: _pair(raw, (venue, index)),
        lambda raw: _pair_name_decoder.decode(raw).id,
    )


def parse_contracts(data: bytes, venue: str) -> InstrumentList:
    """Read the list of contracts settled in USDT; raises ValueError as `parse_pairs` does."""
    return _parse(
        data,
        CONTRACTS_PATH,
        lambda raw, index: _contract(raw, (venue, index)),
        lambda raw: _contract_name_decoder.decode(raw).name,
    )


# ---- bases ---------------------------------------------------------------------------------------


def pair_book_request(symbol: str, levels: int) -> HttpRequest:
    """Ask for a pair's book and its number."""
    query = {"currency_pair": checked_symbol(symbol), "limit": levels, "with_id": "true"}
    return HttpRequest(f"{PAIR_BOOK_PATH}?{urlencode(query)}")


def contract_book_request(symbol: str, levels: int) -> HttpRequest:
    """Ask for a contract's book and its number, sizes with their fractions."""
    query = {"contract": checked_symbol(symbol), "limit": levels, "with_id": "true"}
    return HttpRequest(f"{CONTRACT_BOOK_PATH}?{urlencode(query)}", headers=(DECIMAL,))


class _BaseJson(msgspec.Struct):
    id: int
    bids: msgspec.Raw
    asks: msgspec.Raw


class _LevelJson(msgspec.Struct):
    p: msgspec.Raw
    s: msgspec.Raw


_base_decoder = msgspec.json.Decoder(_BaseJson)
_objects_decoder = msgspec.json.Decoder(list[_LevelJson])


def _levels(side: msgspec.Raw, scale: tuple[int, int]) -> Any:
    """Read a side: pairs, or of contracts objects with keys in any order."""
    if bytes(side).lstrip(b"[ \t\r\n").startswith(b"{"):
        pairs = [(one.p, one.s) for one in _objects_decoder.decode(side)]
        side = msgspec.Raw(msgspec.json.encode(pairs))
    return read_levels(side, *scale)


def parse_base(data: bytes, path: str, price_exponent: int, quantity_exponent: int) -> Base:
    """Parse a book to exact mantissas at the instrument's exponents.

    Raises ValueError where it is no such reply or a number has more digits than the exponent.
    """
    scale = price_exponent, quantity_exponent
    try:
        reply = _base_decoder.decode(data)
        bids, asks = _levels(reply.bids, scale), _levels(reply.asks, scale)
    except UNREADABLE as error:
        raise ValueError(
            f"base {excerpt(data)}: expected the JSON of a book with its id ({error}); "
            f"ask {path} again"
        ) from error
    return Base(version=reply.id, bids=bids, asks=asks)
