"""What is asked of Binance spot and what it answers, as bytes and records: no I/O here.

Facts and their dates: README.md beside this file.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from tickpath.proto.base_levels import read_levels
from tickpath.proto.instrument import SYMBOL_SIZE_MAX, Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN
from tickpath.proto.venue import UNREADABLE, Asked, Base, InstrumentList, Meaning, Note, excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

VENUE: Final = "binance"
WEBSOCKET_HOST: Final = "stream.binance.com"
WEBSOCKET_PATH: Final = "/stream"
"""Combined: each message names its stream."""
REST_HOST: Final = "api.binance.com"
STREAMS_PER_CONNECTION_MAX: Final = 1024
STREAMS_PER_REQUEST_MAX: Final = 256
"""Ours: a connection's streams in four requests, which leaves its first second one PONG."""
MESSAGES_PER_SECOND_MAX: Final = 5
"""Of ours on one connection, PONGs and other control frames included."""
CONNECTION_AGE_MAX_S: Final = 24 * 3600
BASE_LEVELS_MAX: Final = 5000
BASE_LEVELS_DEFAULT: Final = 1000
WEIGHT_MAX: Final = 6000
"""Request weight of one address in a minute."""
BASE_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (5000, 250))
"""Of a base, by the levels asked for."""
LIST_WEIGHT: Final = 20
CONNECTS_PER_5_MIN: Final = 300
"""Of one address."""
USED_FIELD: Final = "x-mbx-used-weight-1m"
USED_FORM: Final = re.compile(r"[0-9]{1,9}")
EXCHANGE_INFO_PATH: Final = "/api/v3/exchangeInfo"
EXCHANGE_INFO_TARGET: Final = f"{EXCHANGE_INFO_PATH}?showPermissionSets=false"
DEPTH_PATH: Final = "/api/v3/depth"
PING_PATH: Final = "/api/v3/ping"
TIME_PATH: Final = "/api/v3/time"
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""
PING_REQUEST: Final = 0
"""The id of our pings; requests that ask for something have greater ones."""

# Symbols and assets may be other than ASCII; what stream names and targets are made of is not.
_SYMBOL = re.compile(r'[^\sa-z@/"\\]+')


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be no symbol of Binance's."""
    if not _SYMBOL.fullmatch(symbol) or len(symbol.encode()) > SYMBOL_SIZE_MAX:
        raise ValueError(
            f"symbol {symbol!r}: expected up to {SYMBOL_SIZE_MAX} bytes in upper case such as "
            "BTCUSDT; Binance's exchangeInfo has the names"
        )
    return symbol


def stream(symbol: str, what: str) -> str:
    """Name a stream: all symbols in them are in lower case."""
    return f"{checked_symbol(symbol).lower()}@{what}"


def depth_stream(symbol: str, speed: str = "100ms") -> str:
    """Name the stream of changes of a book, every 100 ms or every second."""
    return stream(symbol, "depth@100ms" if speed == "100ms" else "depth")


def request(method: str, streams: Sequence[str], number: int) -> bytes:
    """Return the text that subscribes or ends subscriptions."""
    return msgspec.json.encode({"method": method, "params": streams, "id": number})


def ping() -> bytes:
    """Ask for a property of the connection: a small question that is always answered."""
    asked = {"method": "GET_PROPERTY", "params": ["combined"], "id": PING_REQUEST}
    return msgspec.json.encode(asked)


# ---- what is said on the WebSocket ---------------------------------------------------------------


class _Request(msgspec.Struct):
    method: str
    id: int
    params: tuple[str, ...] = ()


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Event(msgspec.Struct):
    e: str = ""


class _Reply(msgspec.Struct):
    id: int | str | None = None
    result: Any = msgspec.UNSET
    error: _Error | None = None
    code: int | None = None
    msg: str = ""
    stream: str = ""
    data: _Event | None = None
    e: str = ""


_request_decoder = msgspec.json.Decoder(_Request)
_reply_decoder = msgspec.json.Decoder(_Reply)
_Strings = tuple[str, ...]


def asked(data: bytes) -> Asked | None:
    """Read a request of ours back."""
    try:
        said = _request_decoder.decode(data)
    except UNREADABLE:
        return None
    return Asked(said.id, said.params if said.method == "SUBSCRIBE" else ())


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer or a notice; what is no JSON object of theirs is BROKEN."""
    try:
        return (_note(_reply_decoder.decode(data)),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of Binance's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _note(reply: _Reply) -> Note:
    number = reply.id if isinstance(reply.id, int) else None
    error = reply.error or (None if reply.code is None else _Error(reply.code, reply.msg))
    if error is not None:
        # The connection itself said no to a ping: none of its subscriptions are meant.
        meaning = Meaning.NOTICE if number == PING_REQUEST else Meaning.REFUSAL
        return Note(meaning=meaning, request=number, reason=error.msg, code=error.code)
    if reply.result is None:
        return Note(meaning=Meaning.ACKNOWLEDGEMENT, request=number)
    if isinstance(reply.result, list):
        names = msgspec.convert(reply.result, _Strings)
        return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=names)
    if isinstance(reply.result, bool):
        return Note(meaning=Meaning.HEARTBEAT, request=number)
    event = reply.e or (reply.data.e if reply.data is not None else "")
    if event == "serverShutdown":
        reason = "serverShutdown: this connection will be closed by the venue"
        return Note(meaning=Meaning.NOTICE, reason=reason, is_ending=True)
    return Note(meaning=Meaning.UNKNOWN)


# ---- REST: the instrument list -------------------------------------------------------------------


class _FilterJson(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: str = ""
    step_size: str = ""
    min_qty: str = ""
    min_notional: str = ""


class _SymbolJson(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    base_asset_precision: int
    quote_precision: int
    quote_asset_precision: int | None = None
    filters: list[_FilterJson] = []


class _NameJson(msgspec.Struct):
    symbol: str


class _ExchangeInfoJson(msgspec.Struct):
    symbols: list[msgspec.Raw]


_row_decoder = msgspec.json.Decoder(_SymbolJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
_list_decoder = msgspec.json.Decoder(_ExchangeInfoJson)
_STATUSES: Final = {"TRADING": Status.TRADING, "CANCEL_ONLY": Status.CANCEL_ONLY}
"""All others, END_OF_DAY, HALT and BREAK among them, do not trade."""


def number(symbol: str, name: str, text: str) -> Decimal:
    """Read a number of the list; raises ValueError where it is none that a row can have."""
    try:
        value = Decimal(text or "0")
    except InvalidOperation as error:
        raise ValueError(f"{symbol}: {name} {text!r}: expected a decimal number") from error
    if not value.is_finite() or value < 0:
        raise ValueError(f"{symbol}: {name} {text!r}: expected 0 or more")
    if value and abs(value.adjusted()) > DIGITS_MAX:  # int() of 1e999999 takes seconds
        raise ValueError(f"{symbol}: {name} {text!r}: expected at most {DIGITS_MAX} digits")
    return value


def step(symbol: str, name: str, value: Decimal, digits: int) -> tuple[int, int]:
    """Return the exponent that a step's numbers are written with, and the step's mantissa.

    digits: where there is no such step.
    """
    exponent = -digits
    if value > 0:
        exponent = min(0, int(value.normalize().as_tuple().exponent))
    if not EXPONENT_MIN <= exponent <= 0:
        raise ValueError(f"{symbol}: {name}: expected 0 to {-EXPONENT_MIN} digits, not {-exponent}")
    return exponent, int(value.scaleb(-exponent)) or 1


def _instrument(row: _SymbolJson, index: int) -> Instrument:
    symbol = checked_symbol(row.symbol)
    found = {one.filter_type: one for one in row.filters}
    none = _FilterJson("")
    price, lot = found.get("PRICE_FILTER", none), found.get("LOT_SIZE", none)
    notional = found.get("NOTIONAL") or found.get("MIN_NOTIONAL", none)
    tick = number(symbol, "tickSize", price.tick_size)
    lot_step = number(symbol, "stepSize", lot.step_size)
    price_exponent, tick_size = step(symbol, "tickSize", tick, row.quote_precision)
    quantity_exponent, lot_size = step(symbol, "stepSize", lot_step, row.base_asset_precision)
    least = number(symbol, "minQty", lot.min_qty).scaleb(-quantity_exponent)
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=symbol,
        price_exponent=price_exponent,
        quantity_exponent=quantity_exponent,
        tick_size=tick_size,
        name=Symbol(row.base_asset, row.quote_asset),
        lot_size=lot_size,
        quantity_min=int(least.to_integral_value(rounding="ROUND_CEILING")),
        notional_min=number(symbol, "minNotional", notional.min_notional),
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


def row_name(raw: msgspec.Raw, index: int) -> str:
    """Return what a row of the list calls itself, or which one it is."""
    try:
        return _name_decoder.decode(raw).symbol
    except UNREADABLE:
        return f"row {index}"


# ---- REST: bases ---------------------------------------------------------------------------------


def weight(target: str) -> int:
    """Return the request weight of what is asked by this target."""
    path, _, query = target.partition("?")
    levels = re.search(r"(?:^|&)limit=([0-9]{1,4})(?:&|$)", query)
    if path == DEPTH_PATH and levels is not None and int(levels[1]) <= BASE_LEVELS_MAX:
        return base_weight(int(levels[1]))
    return LIST_WEIGHT


def base_weight(levels: int) -> int:
    """Return the request weight of a base."""
    return next(weight for most, weight in BASE_WEIGHTS if levels <= most)


def base_target(symbol: str, levels: int) -> str:
    """Return the REST target of a book of 1 to 5000 levels a side."""
    if not 1 <= levels <= BASE_LEVELS_MAX:
        raise ValueError(f"levels {levels}: expected 1 to {BASE_LEVELS_MAX}")
    return f"{DEPTH_PATH}?{urlencode({'symbol': checked_symbol(symbol), 'limit': levels})}"


class _BaseJson(msgspec.Struct, rename="camel"):
    last_update_id: int
    bids: msgspec.Raw
    asks: msgspec.Raw


_base_decoder = msgspec.json.Decoder(_BaseJson)


def parse_base(data: bytes, price_exponent: int, quantity_exponent: int) -> Base:
    """Parse the depth reply to exact mantissas at the instrument's exponents.

    Raises ValueError where it is no such reply or a number has more digits than the exponent.
    """
    try:
        reply = _base_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"base {excerpt(data)}: expected depth JSON ({error}); ask {DEPTH_PATH} again"
        ) from error
    return Base(
        version=reply.last_update_id,
        bids=read_levels(reply.bids, price_exponent, quantity_exponent),
        asks=read_levels(reply.asks, price_exponent, quantity_exponent),
    )
