"""What is asked of Bybit and what it answers, as bytes and records: no I/O here.

Facts and their dates: README.md beside this file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from tickpath.proto.instrument import SYMBOL_SIZE_MAX, Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN
from tickpath.proto.venue import (
    UNREADABLE,
    Asked,
    HttpRequest,
    InstrumentList,
    Meaning,
    Note,
    excerpt,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

WEBSOCKET_HOST: Final = "stream.bybit.com"
REST_HOST: Final = "api.bybit.com"
SPOT, LINEAR = "spot", "linear"
"""What the venue calls a category: of each a WebSocket path and an instrument list."""
DEPTHS: Final = (50, 200, 1000)
CHANNELS_PER_CONNECTION: Final = 100
"""Ours: all that fits the 21,000 characters of topics that a connection may have, in ten requests
at ten topics each, which is what a second takes."""
CHANNELS_PER_MESSAGE: Final = 10
"""Of spot; others name no limit."""
ARGUMENTS_SIZE_MAX: Final = 21_000
MESSAGES_PER_SECOND: Final = 10
"""Ours: none is documented."""
CONNECTIONS_MAX: Final = 1000
INSTRUMENTS_PATH: Final = "/v5/market/instruments-info"
TIME_PATH: Final = "/v5/market/time"
PAGE_SIZE: Final = 1000
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""
PING_REQUEST: Final = "0"
"""The id of our pings; requests that ask for something have greater ones."""

# Such as BTCUSDT, 1000PEPEUSDT, BTCPERP, BTC-26DEC25: what topics and targets are made of is not.
_SYMBOL: Final = re.compile(r'[^\sa-z./"\\%&?]+')


def websocket_path(category: str) -> str:
    """Return the WebSocket path of a category's public data."""
    return f"/v5/public/{category}"


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be no symbol of Bybit's."""
    if not _SYMBOL.fullmatch(symbol) or len(symbol.encode()) > SYMBOL_SIZE_MAX:
        raise ValueError(
            f"symbol {symbol!r}: expected up to {SYMBOL_SIZE_MAX} bytes in upper case such as "
            "BTCUSDT; Bybit's instruments-info has the names"
        )
    return symbol


def topic(kind: str, symbol: str) -> str:
    """Name a topic, as in orderbook.50.BTCUSDT."""
    return f"{kind}.{checked_symbol(symbol)}"


def request(op: str, topics: Sequence[str], number: int) -> bytes:
    """Return the text that subscribes or ends subscriptions."""
    return msgspec.json.encode({"req_id": str(number), "op": op, "args": topics})


def ping() -> bytes:
    """Return the text that is answered with a pong."""
    return msgspec.json.encode({"req_id": PING_REQUEST, "op": "ping"})


# ---- what is said on the WebSocket ---------------------------------------------------------------


class _Request(msgspec.Struct):
    req_id: str
    op: str
    args: tuple[str, ...] = ()


class _Reply(msgspec.Struct):
    topic: str | None = None
    success: bool | None = None
    ret_msg: str = ""
    op: str = ""
    req_id: str | None = None


_request_decoder = msgspec.json.Decoder(_Request)
_reply_decoder = msgspec.json.Decoder(_Reply)
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ALREADY: Final = "error:already subscribed"
"""What refuses a request whose topic, named behind it, is subscribed to."""


def _number(req_id: str | None) -> int | None:
    return int(req_id) if req_id is not None and _NUMBER.fullmatch(req_id) else None


def asked(data: bytes) -> Asked | None:
    """Read a request of ours back."""
    try:
        said = _request_decoder.decode(data)
    except UNREADABLE:
        return None
    number = _number(said.req_id)
    if number is None:
        return None
    return Asked(number, said.args if said.op == "subscribe" else ())


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer; what is no JSON object of theirs is BROKEN."""
    try:
        return (_note(_reply_decoder.decode(data)),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of Bybit's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _note(reply: _Reply) -> Note:
    """Say what an answer means; one bad topic has its whole request refused, whatever it names."""
    number = _number(reply.req_id)
    if reply.topic is not None:
        return Note(meaning=Meaning.UNKNOWN)
    if reply.success is False:
        is_refusal = reply.op in ("", "subscribe")
        if is_refusal and reply.ret_msg.startswith(_ALREADY):
            name = reply.ret_msg.partition("topic:")[2]
            names = (name,) if name else ()
            return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=names, request=number)
        reason = reply.ret_msg if is_refusal else f"{reply.op}: {reply.ret_msg}"
        meaning = Meaning.REFUSAL if is_refusal else Meaning.NOTICE
        return Note(meaning=meaning, request=number, reason=reason)
    if "pong" in (reply.op, reply.ret_msg):
        return Note(meaning=Meaning.HEARTBEAT, request=number)
    if reply.success and reply.op in ("subscribe", "unsubscribe"):
        return Note(meaning=Meaning.ACKNOWLEDGEMENT, request=number)
    return Note(meaning=Meaning.UNKNOWN)


# ---- REST: the instrument list -------------------------------------------------------------------


class _PriceJson(msgspec.Struct, rename="camel"):
    tick_size: str


class _LotJson(msgspec.Struct, rename="camel"):
    base_precision: str = ""
    qty_step: str = ""
    min_order_qty: str = ""
    min_order_amt: str = ""
    min_notional_value: str = ""


class _RowJson(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    price_filter: _PriceJson
    lot_size_filter: _LotJson
    settle_coin: str = ""
    contract_type: str = ""
    delivery_time: str = "0"


class _NameJson(msgspec.Struct):
    symbol: str


class _PageJson(msgspec.Struct, rename="camel"):
    category: str = ""
    rows: list[msgspec.Raw] = msgspec.field(name="list", default_factory=list)
    next_page_cursor: str | None = None


class _ListJson(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw()


_row_decoder = msgspec.json.Decoder(_RowJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
_page_decoder = msgspec.json.Decoder(_PageJson)
_list_decoder = msgspec.json.Decoder(_ListJson)
_STATUSES: Final = {"Trading": Status.TRADING, "Closed": Status.DELISTED}
"""All others, PreLaunch and Delivering among them, do not trade."""
_PERPETUAL, _DATED = "LinearPerpetual", "LinearFutures"
MS_PER_S: Final = 1000


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


def _step(symbol: str, name: str, text: str) -> tuple[int, int]:
    """Return the exponent that a step's numbers are written with, and the step's mantissa."""
    value = _decimal(symbol, name, text)
    if value <= 0:
        raise ValueError(f"{symbol}: {name} {text!r}: expected more than 0")
    exponent = min(0, int(value.normalize().as_tuple().exponent))
    if exponent < EXPONENT_MIN:
        raise ValueError(f"{symbol}: {name}: expected 0 to {-EXPONENT_MIN} digits, not {-exponent}")
    return exponent, int(value.scaleb(-exponent))


def _name(row: _RowJson, category: str) -> Symbol:
    if category == SPOT:
        return Symbol(row.base_coin, row.quote_coin)
    if row.contract_type not in (_PERPETUAL, _DATED):
        raise ValueError(
            f"{row.symbol}: contractType {row.contract_type!r}: expected {_PERPETUAL} or {_DATED}"
        )
    expiry = ""
    if row.contract_type == _DATED:
        if not _NUMBER.fullmatch(row.delivery_time):
            raise ValueError(f"{row.symbol}: deliveryTime {row.delivery_time!r}: expected a time")
        try:
            day = datetime.fromtimestamp(int(row.delivery_time) / MS_PER_S, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise ValueError(
                f"{row.symbol}: deliveryTime {row.delivery_time!r}: no date in the calendar"
            ) from error
        expiry = f"{day:%y%m%d}"
    return Symbol(row.base_coin, row.quote_coin, row.settle_coin or row.quote_coin, expiry)


def _instrument(row: _RowJson, category: str, place: tuple[str, int]) -> Instrument:
    """Make a row; place: the venue's name, and the number."""
    symbol, lot = checked_symbol(row.symbol), row.lot_size_filter
    price_exponent, tick_size = _step(symbol, "tickSize", row.price_filter.tick_size)
    step = ("basePrecision", lot.base_precision) if category == SPOT else ("qtyStep", lot.qty_step)
    quantity_exponent, lot_size = _step(symbol, *step)
    least = _decimal(symbol, "minOrderQty", lot.min_order_qty).scaleb(-quantity_exponent)
    notional = lot.min_order_amt or lot.min_notional_value
    venue, index = place
    return Instrument(
        index=index,
        venue=venue,
        symbol=symbol,
        price_exponent=price_exponent,
        quantity_exponent=quantity_exponent,
        tick_size=tick_size,
        name=_name(row, category),
        lot_size=lot_size,
        quantity_min=int(least.to_integral_value(rounding="ROUND_CEILING")),
        notional_min=_decimal(symbol, "minimum value", notional),
        status=_STATUSES.get(row.status, Status.HALTED),
    )


def instruments_request(category: str, cursor: str = "") -> HttpRequest:
    """Ask for a page of the instrument list; spot has one page and no limit."""
    query: dict[str, Any] = {"category": category}
    if category != SPOT:
        query["limit"] = PAGE_SIZE
    if cursor:
        query["cursor"] = cursor
    return HttpRequest(f"{INSTRUMENTS_PATH}?{urlencode(query)}")


def parse_instruments(data: bytes, category: str, venue: str) -> InstrumentList:
    """Read a page of instruments-info; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    try:
        reply = _list_decoder.decode(data)
        page = _page_decoder.decode(reply.result) if reply.ret_code == 0 else _PageJson()
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of instruments-info ({error}); "
            f"ask {INSTRUMENTS_PATH} again"
        ) from error
    if reply.ret_code != 0:
        raise ValueError(f"instrument list: the venue says {reply.ret_code}, {reply.ret_msg}")
    if page.category not in ("", category):
        raise ValueError(f"instrument list: of {page.category}, expected {category}")
    listed: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, raw in enumerate(page.rows):
        try:
            row = _row_decoder.decode(raw)
            if row.symbol in listed:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            listed[row.symbol] = _instrument(row, category, (venue, index))
        except (*UNREADABLE, ValueError) as error:
            left_out[_row_name(raw, index)] = str(error)
    cursor = page.next_page_cursor
    more = instruments_request(category, cursor) if cursor and category != SPOT else None
    return InstrumentList(listed, left_out, more)


def _row_name(raw: msgspec.Raw, index: int) -> str:
    try:
        return _name_decoder.decode(raw).symbol
    except UNREADABLE:
        return f"row {index}"
