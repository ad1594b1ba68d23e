"""Bitget's instrument lists, as they are asked for and read: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
from tickpath.proto.instrument import Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN
from tickpath.proto.venue import UNREADABLE, HttpRequest, InstrumentList, excerpt
from tickpath.proto.venues.bitget.requests import SPOT, USDT, checked_symbol

REST_HOST: Final = "api.bitget.com"
SYMBOLS_PATH: Final = "/api/v2/spot/public/symbols"
CONTRACTS_PATH: Final = "/api/v2/mix/market/contracts"
REQUESTS_PER_SECOND: Final = 20
"""Of one address, for either list."""
SUCCESS: Final = "00000"
SETTLE: Final = "USDT"
PERPETUAL, DELIVERY = "perpetual", "delivery"
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""
MS_PER_S: Final = 1000


class _SpotJson(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    quote_coin: str
    price_precision: str
    quantity_precision: str
    status: str
    min_trade_amount: str = ""
    min_trade_usdt: str = msgspec.field(name="minTradeUSDT", default="")


class _ContractJson(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    quote_coin: str
    price_place: str
    price_end_step: str
    volume_place: str
    size_multiplier: str
    symbol_type: str
    symbol_status: str
    support_margin_coins: tuple[str, ...] = ()
    min_trade_num: str = ""
    min_trade_usdt: str = msgspec.field(name="minTradeUSDT", default="")
    delivery_time: str = ""


class _NameJson(msgspec.Struct):
    symbol: str


class _ListJson(msgspec.Struct):
    code: str
    data: list[msgspec.Raw] | None = None
    msg: str = ""


_spot_decoder = msgspec.json.Decoder(_SpotJson)
_contract_decoder = msgspec.json.Decoder(_ContractJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
_list_decoder = msgspec.json.Decoder(_ListJson)
_DIGITS: Final = re.compile(r"\d{1,18}")
_STATUSES: Final = {
    SPOT: {"online": Status.TRADING, "offline": Status.DELISTED},
    USDT: {"normal": Status.TRADING, "off": Status.DELISTED},
}
"""All others (gray and halt; listed, maintain, limit_open and restrictedAPI) do not trade."""


def _decimal(symbol: str, name: str, text: str) -> Decimal:
    try:
        value = Decimal(text or "0")
    except InvalidOperation as error:
        raise ValueError(f"{symbol}: {name} {text!r}: expected a decimal number") from error
    if not value.is_finite() or value < 0:
        raise ValueError(f"{symbol}: {name} {text!r}: expected 0 or more")
    if value and abs(value.adjusted()) > DIGITS_MAX:  # int() of 1e999999 takes seconds
        raise ValueError(f"{symbol}: {name} {text!r}: expected at most {DIGITS_MAX} digits")
    return value


def _exponent(symbol: str, name: str, digits: str) -> int:
    """Return the exponent of numbers with so many digits behind the point."""
    if not _DIGITS.fullmatch(digits) or int(digits) > -EXPONENT_MIN:
        raise ValueError(f"{symbol}: {name} {digits!r}: expected 0 to {-EXPONENT_MIN} digits")
    return -int(digits)


def _mantissa(symbol: str, name: str, text: str, exponent: int) -> int:
    """Return a step as a mantissa; raises ValueError where it is none."""
    scaled = _decimal(symbol, name, text).scaleb(-exponent)
    if scaled != scaled.to_integral_value() or scaled == 0:
        raise ValueError(f"{symbol}: {name} {text!r}: expected a multiple of 1e{exponent}, not 0")
    return int(scaled)


def _least(symbol: str, name: str, text: str, exponent: int) -> int:
    scaled = _decimal(symbol, name, text).scaleb(-exponent)
    return int(scaled.to_integral_value(rounding="ROUND_CEILING"))


def _notional(symbol: str, quote: str, text: str) -> Decimal:
    """Return the least value of an order, which the venue counts in USDT, in units of the quote."""
    return _decimal(symbol, "minTradeUSDT", text) if quote == SETTLE else Decimal(0)


def _spot(raw: msgspec.Raw, venue: str, index: int) -> Instrument:
    row = _spot_decoder.decode(raw)
    symbol = checked_symbol(row.symbol)
    quantity_exponent = _exponent(symbol, "quantityPrecision", row.quantity_precision)
    return Instrument(
        index=index,
        venue=venue,
        symbol=symbol,
        price_exponent=_exponent(symbol, "pricePrecision", row.price_precision),
        quantity_exponent=quantity_exponent,
        name=Symbol(row.base_coin, row.quote_coin),
        quantity_min=_least(symbol, "minTradeAmount", row.min_trade_amount, quantity_exponent),
        notional_min=_notional(symbol, row.quote_coin, row.min_trade_usdt),
        status=_STATUSES[SPOT].get(row.status, Status.HALTED),
    )


def _expiry(row: _ContractJson) -> str:
    if row.symbol_type == PERPETUAL:
        return ""
    if row.symbol_type != DELIVERY:
        raise ValueError(
            f"{row.symbol}: symbolType {row.symbol_type!r}: expected {PERPETUAL} or {DELIVERY}"
        )
    if not _DIGITS.fullmatch(row.delivery_time):
        raise ValueError(f"{row.symbol}: deliveryTime {row.delivery_time!r}: expected a time in ms")
    try:
        day = datetime.fromtimestamp(int(row.delivery_time) / MS_PER_S, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(
            f"{row.symbol}: deliveryTime {row.delivery_time!r}: no date in the calendar"
        ) from error
    return f"{day:%y%m%d}"


def _contract(raw: msgspec.Raw, venue: str, index: int) -> Instrument:
    row = _contract_decoder.decode(raw)
    symbol = checked_symbol(row.symbol)
    if row.quote_coin != SETTLE or SETTLE not in row.support_margin_coins:
        raise ValueError(
            f"{symbol}: quoted in {row.quote_coin}, margin in {list(row.support_margin_coins)}: "
            f"expected {SETTLE} of both"
        )
    price_exponent = _exponent(symbol, "pricePlace", row.price_place)
    quantity_exponent = _exponent(symbol, "volumePlace", row.volume_place)
    steps = _mantissa(symbol, "priceEndStep", row.price_end_step, 0)
    return Instrument(
        index=index,
        venue=venue,
        symbol=symbol,
        price_exponent=price_exponent,
        quantity_exponent=quantity_exponent,
        tick_size=steps,
        name=Symbol(row.base_coin, row.quote_coin, SETTLE, _expiry(row)),
        lot_size=_mantissa(symbol, "sizeMultiplier", row.size_multiplier, quantity_exponent),
        quantity_min=_least(symbol, "minTradeNum", row.min_trade_num, quantity_exponent),
        notional_min=_notional(symbol, row.quote_coin, row.min_trade_usdt),
        status=_STATUSES[USDT].get(row.symbol_status, Status.HALTED),
    )


def instruments_request(market: str) -> HttpRequest:
    """Ask for all instruments of a market: one page."""
    if market == SPOT:
        return HttpRequest(SYMBOLS_PATH)
    return HttpRequest(f"{CONTRACTS_PATH}?productType={market}")


def parse_instruments(data: bytes, market: str, venue: str) -> InstrumentList:
    """Read a market's list; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    target = instruments_request(market).target
    try:
        listed = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of instruments ({error}); "
            f"ask {target} again"
        ) from error
    if listed.code != SUCCESS or listed.data is None:
        raise ValueError(f"instrument list: the venue says {listed.code}: {listed.msg}")
    read = _spot if market == SPOT else _contract
    instruments: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, raw in enumerate(listed.data):
        try:
            row = read(raw, venue, index)
            if row.symbol in instruments:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            instruments[row.symbol] = row
        except (*UNREADABLE, ValueError) as error:
            left_out[_row_name(raw, index)] = str(error)
    return InstrumentList(instruments, left_out)


def _row_name(raw: msgspec.Raw, index: int) -> str:
    try:
        return _name_decoder.decode(raw).symbol
    except UNREADABLE:
        return f"row {index}"
