"""What is asked of Binance's USD-M contracts by REST and what it answers: no I/O here.

What is said on the WebSocket is spot's (../binance/requests.py). Facts and their dates: README.md
beside this file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

import msgspec
from tickpath.proto.instrument import Instrument, Status, Symbol
from tickpath.proto.venue import UNREADABLE, InstrumentList, excerpt
from tickpath.proto.venues.binance.requests import checked_symbol, number, row_name, step

VENUE: Final = "binance_usdm"
WEBSOCKET_HOST: Final = "fstream.binance.com"
WEBSOCKET_PATH: Final = "/public/stream"
"""Combined: each message names its stream. The one without /public has no books any longer."""
REST_HOST: Final = "fapi.binance.com"
MESSAGES_PER_SECOND_MAX: Final = 10
"""Of ours on one connection, PONGs and other control frames included."""
BASE_LEVELS_MAX: Final = 1000
WEIGHT_MAX: Final = 2400
"""Request weight of one address in a minute."""
BASE_WEIGHTS: Final = ((50, 2), (100, 5), (500, 10), (1000, 20))
"""Of a base, by the levels asked for."""
EXCHANGE_INFO_PATH: Final = "/fapi/v1/exchangeInfo"
DEPTH_PATH: Final = "/fapi/v1/depth"
PING_PATH: Final = "/fapi/v1/ping"
TIME_PATH: Final = "/fapi/v1/time"
SPEEDS: Final = {
    "0ms": "depth@0ms",
    "100ms": "depth@100ms",
    "250ms": "depth",
    "500ms": "depth@500ms",
}
"""Streams of changes by how often they come."""
MS_PER_S: Final = 1000
_LIMIT: Final = re.compile(r"(?:^|&)limit=([0-9]{1,4})(?:&|$)")


def base_weight(levels: int) -> int:
    """Return the request weight of a base."""
    return next(weight for most, weight in BASE_WEIGHTS if levels <= most)


def weight(target: str) -> int:
    """Return the request weight of what is asked by this target, 20 where it is not known."""
    path, _, query = target.partition("?")
    levels = _LIMIT.search(query) if path == DEPTH_PATH else None
    return base_weight(min(int(levels[1]), BASE_LEVELS_MAX) if levels else BASE_LEVELS_MAX)


def base_target(symbol: str, levels: int) -> str:
    """Return the REST target of a book of so many levels a side."""
    return f"{DEPTH_PATH}?{urlencode({'symbol': checked_symbol(symbol), 'limit': levels})}"


# ---- the instrument list -------------------------------------------------------------------------


class _FilterJson(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: str = ""
    step_size: str = ""
    min_qty: str = ""
    notional: str = ""


class _ContractJson(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    contract_type: str
    delivery_date: int
    base_asset: str
    quote_asset: str
    margin_asset: str
    price_precision: int
    quantity_precision: int
    filters: list[_FilterJson] = []


class _ExchangeInfoJson(msgspec.Struct):
    symbols: list[msgspec.Raw]


_row_decoder = msgspec.json.Decoder(_ContractJson)
_list_decoder = msgspec.json.Decoder(_ExchangeInfoJson)
_STATUSES: Final = {
    "TRADING": Status.TRADING,
    "DELIVERED": Status.DELISTED,
    "CLOSE": Status.DELISTED,
}
"""All others, PENDING_TRADING, PRE_SETTLE, SETTLING and DELIVERING among them, do not trade."""
_PERPETUAL: Final = "PERPETUAL"


def _expiry(row: _ContractJson) -> str:
    """Return the day of delivery; "" for a perpetual, whatever else its type says of it."""
    if _PERPETUAL in row.contract_type:
        return ""
    if not row.contract_type:
        raise ValueError(f"{row.symbol}: no contractType: it is not open yet ({row.status})")
    try:
        day = datetime.fromtimestamp(row.delivery_date / MS_PER_S, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(
            f"{row.symbol}: deliveryDate {row.delivery_date}: no date in the calendar"
        ) from error
    return f"{day:%y%m%d}"


def _instrument(row: _ContractJson, index: int) -> Instrument:
    symbol = checked_symbol(row.symbol)
    found = {one.filter_type: one for one in row.filters}
    none = _FilterJson("")
    price, lot = found.get("PRICE_FILTER", none), found.get("LOT_SIZE", none)
    tick = number(symbol, "tickSize", price.tick_size)
    lot_step = number(symbol, "stepSize", lot.step_size)
    price_exponent, tick_size = step(symbol, "tickSize", tick, row.price_precision)
    quantity_exponent, lot_size = step(symbol, "stepSize", lot_step, row.quantity_precision)
    least = number(symbol, "minQty", lot.min_qty).scaleb(-quantity_exponent)
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=symbol,
        price_exponent=price_exponent,
        quantity_exponent=quantity_exponent,
        tick_size=tick_size,
        name=Symbol(row.base_asset, row.quote_asset, row.margin_asset, _expiry(row)),
        lot_size=lot_size,
        quantity_min=int(least.to_integral_value(rounding="ROUND_CEILING")),
        notional_min=number(symbol, "notional", found.get("MIN_NOTIONAL", none).notional),
        status=_STATUSES.get(row.status, Status.HALTED),
    )


def parse_instruments(data: bytes) -> InstrumentList:
    """Read the exchangeInfo reply; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    try:
        rows = _list_decoder.decode(data).symbols
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected exchangeInfo JSON ({error}); "
            f"ask {EXCHANGE_INFO_PATH} again"
        ) from error
    listed: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, raw in enumerate(rows):
        try:
            row = _row_decoder.decode(raw)
            if row.symbol in listed:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            listed[row.symbol] = _instrument(row, index)
        except (*UNREADABLE, ValueError) as error:
            left_out[row_name(raw, index)] = str(error)
    return InstrumentList(listed, left_out)
