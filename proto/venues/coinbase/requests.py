"""What is asked of Coinbase Advanced Trade and what it answers, as bytes and records: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
from tickpath._core import ffi
from tickpath.proto.instrument import SYMBOL_SIZE_MAX, Instrument, Status, Symbol
from tickpath.proto.records import DEPTH_LEVEL_COUNT_MAX, EXPONENT_MIN, parse_fixed
from tickpath.proto.venue import (
    UNREADABLE,
    Base,
    HttpRequest,
    InstrumentList,
    Meaning,
    Note,
    excerpt,
    pack_messages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.venue import Limits

VENUE: Final = "coinbase"
WEBSOCKET_HOST: Final = "advanced-trade-ws.coinbase.com"
WEBSOCKET_PATH: Final = "/"
REST_HOST: Final = "api.coinbase.com"
PRODUCTS_PATH: Final = "/api/v3/brokerage/market/products"
PRODUCTS_TARGET: Final = f"{PRODUCTS_PATH}?product_type=SPOT"
BOOK_PATH: Final = "/api/v3/brokerage/market/product_book"
BOOK, TRADES, TICKER, HEARTBEATS = "level2", "market_trades", "ticker", "heartbeats"
CHANNELS: Final = (BOOK, TRADES, TICKER)
CHANNELS_PER_CONNECTION: Final = 30
"""Ours: each subscription to a book brings a message of up to several MB."""
CHANNELS_PER_MESSAGE: Final = 10
MESSAGES_PER_SECOND: Final = 8
CONNECTS_PER_SECOND: Final = 8
REQUESTS_PER_SECOND: Final = 10
"""Of an address, without a login."""
IDLE_WITHOUT_CHANNEL_S: Final = 5
IDLE_S: Final = 60
CHECK_LEVELS: Final = 100
"""Of a side of the book that a quiet one is compared with."""
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""

_PRODUCT: Final = re.compile(r'[^\s"\\:/-]+(-[^\s"\\:/-]+){1,3}')


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of Coinbase's."""
    if (
        not _PRODUCT.fullmatch(symbol)
        or not symbol.isprintable()
        or len(symbol.encode()) > SYMBOL_SIZE_MAX
    ):
        raise ValueError(f"symbol {symbol!r}: expected a product such as BTC-USD")
    return symbol


def channel(kind: str, symbol: str) -> str:
    """Return our name of a subscription, as in level2:BTC-USD."""
    return f"{kind}:{checked_symbol(symbol)}"


def split(name: str) -> tuple[str, str]:
    """Return a channel's kind and symbol; raises ValueError for a name that is none of ours."""
    kind, _, symbol = name.partition(":")
    if kind not in CHANNELS:
        raise ValueError(f"channel {name!r}: expected one such as level2:BTC-USD")
    return kind, checked_symbol(symbol)


def requests(type_: str, channels: Sequence[str], *, request: int, limits: Limits) -> list[bytes]:
    """Return the messages that subscribe or unsubscribe; a message has one kind of channel."""
    products: dict[str, list[str]] = {}
    for name in channels:
        kind, symbol = split(name)
        products.setdefault(kind, []).append(symbol)
    messages: list[bytes] = []
    for kind, of_kind in products.items():

        def build(some: list[str], _number: int, kind: str = kind) -> bytes:
            return msgspec.json.encode({"type": type_, "product_ids": some, "channel": kind})

        messages += pack_messages(of_kind, build, limits, request + len(messages))
    return messages


GREETING: Final = msgspec.json.encode({"type": "subscribe", "channel": HEARTBEATS})
"""One message a second, so that no connection is closed for silence."""


# ---- what is said on the WebSocket ---------------------------------------------------------------


class _Event(msgspec.Struct):
    subscriptions: dict[str, list[str]] = {}


class _Head(msgspec.Struct):
    channel: str = ""
    type: str = ""
    message: str = ""
    reason: str = ""


class _Answer(msgspec.Struct):
    events: list[_Event] = []


_head_decoder = msgspec.json.Decoder(_Head)
_answer_decoder = msgspec.json.Decoder(_Answer)


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer, a heartbeat or an error; what is none of Coinbase's is BROKEN."""
    try:
        head = _head_decoder.decode(data)
        if head.channel == "subscriptions":
            return (_answered(_answer_decoder.decode(data)),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of Coinbase's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)
    if head.channel == HEARTBEATS:
        return (Note(meaning=Meaning.HEARTBEAT),)
    if head.channel or head.type != "error":
        return (Note(meaning=Meaning.UNKNOWN),)
    words = ": ".join(one for one in (head.message, head.reason) if one)
    return (Note(meaning=Meaning.REFUSAL, reason=words),)


def _answered(answer: _Answer) -> Note:
    """Read an answer: all that is subscribed to by now; what was refused is not there."""
    names = (
        f"{kind}:{product}"
        for event in answer.events
        for kind, products in event.subscriptions.items()
        if kind in CHANNELS
        for product in products
    )
    return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=tuple(names), is_all=True)


# ---- REST: the list of products ------------------------------------------------------------------


class _ProductJson(msgspec.Struct):
    product_id: str
    base_currency_id: str
    quote_currency_id: str
    base_increment: str
    quote_increment: str
    price_increment: str = ""
    base_min_size: str = "0"
    quote_min_size: str = "0"
    status: str = "online"
    alias: str = ""
    product_type: str = "SPOT"
    is_disabled: bool = False
    trading_disabled: bool = False
    cancel_only: bool = False
    view_only: bool = False
    auction_mode: bool = False


class _NameJson(msgspec.Struct):
    product_id: str = ""


class _ListJson(msgspec.Struct):
    products: list[msgspec.Raw]


_product_decoder = msgspec.json.Decoder(_ProductJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
_list_decoder = msgspec.json.Decoder(_ListJson)
DELISTED: Final = "delisted"
ONLINE: Final = ("online", "")


def _status(row: _ProductJson) -> Status:
    if row.status == DELISTED:
        return Status.DELISTED
    if row.status not in ONLINE or row.is_disabled or row.trading_disabled or row.view_only:
        return Status.HALTED
    if row.auction_mode:
        return Status.HALTED
    return Status.CANCEL_ONLY if row.cancel_only else Status.TRADING


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
    if value == 0:
        raise ValueError(f"{symbol}: {name} {text!r}: expected more than 0")
    exponent = min(0, int(value.normalize().as_tuple().exponent))
    if exponent < EXPONENT_MIN:
        raise ValueError(f"{symbol}: {name}: expected 0 to {-EXPONENT_MIN} digits, not {-exponent}")
    return exponent, int(value.scaleb(-exponent))


def _instrument(row: _ProductJson, index: int) -> Instrument:
    symbol = checked_symbol(row.product_id)
    if row.product_type != "SPOT":
        raise ValueError(f"{symbol}: {row.product_type}: expected a spot product")
    if row.alias:
        raise ValueError(f"{symbol}: its book comes as that of {row.alias}: ask for that")
    price_exponent, tick = _step(
        symbol, "price_increment", row.price_increment or row.quote_increment
    )
    quantity_exponent, lot = _step(symbol, "base_increment", row.base_increment)
    least = _decimal(symbol, "base_min_size", row.base_min_size).scaleb(-quantity_exponent)
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=symbol,
        price_exponent=price_exponent,
        quantity_exponent=quantity_exponent,
        tick_size=tick,
        name=Symbol(row.base_currency_id, row.quote_currency_id),
        lot_size=lot,
        quantity_min=int(least.to_integral_value(rounding="ROUND_CEILING")),
        notional_min=_decimal(symbol, "quote_min_size", row.quote_min_size),
        status=_status(row),
    )


def parse_instruments(data: bytes) -> InstrumentList:
    """Read the list; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    try:
        listed = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of products ({error}); "
            f"ask {PRODUCTS_PATH} again"
        ) from error
    instruments: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, raw in enumerate(listed.products):
        try:
            row = _instrument(_product_decoder.decode(raw), index)
            if row.symbol in instruments:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            instruments[row.symbol] = row
        except (*UNREADABLE, ValueError) as error:
            left_out[_name_of(raw) or f"row {index}"] = str(error)
    return InstrumentList(instruments, left_out)


def _name_of(raw: msgspec.Raw) -> str:
    try:
        return _name_decoder.decode(raw).product_id
    except UNREADABLE:
        return ""


# ---- REST: a book to compare with ----------------------------------------------------------------


def book_request(symbol: str) -> HttpRequest:
    """Ask for the best levels of a book."""
    product = quote(checked_symbol(symbol), safe="")
    return HttpRequest(f"{BOOK_PATH}?product_id={product}&limit={CHECK_LEVELS}")


class _LevelJson(msgspec.Struct):
    price: str
    size: str


class _BookJson(msgspec.Struct):
    product_id: str
    bids: list[_LevelJson]
    asks: list[_LevelJson]


class _BookReplyJson(msgspec.Struct):
    pricebook: _BookJson


_book_decoder = msgspec.json.Decoder(_BookReplyJson)


def parse_base(data: bytes, instrument: Instrument) -> Base:
    """Read a book to exact mantissas at the instrument's exponents; it has no number.

    Raises ValueError where it is none of this product's, ScaleError where a number does not fit.
    """
    try:
        book = _book_decoder.decode(data).pricebook
    except UNREADABLE as error:
        raise ValueError(
            f"book {excerpt(data)}: expected the JSON of a pricebook ({error}); ask {BOOK_PATH} "
            "again"
        ) from error
    if book.product_id != instrument.symbol:
        raise ValueError(f"book of {book.product_id}: expected that of {instrument.symbol}")
    return Base(version=0, bids=_levels(book.bids, instrument), asks=_levels(book.asks, instrument))


def _levels(rows: Sequence[_LevelJson], instrument: Instrument) -> Any:
    if len(rows) > DEPTH_LEVEL_COUNT_MAX:
        raise ValueError(f"book of {len(rows)} levels: expected at most {DEPTH_LEVEL_COUNT_MAX}")
    levels = ffi.new("struct tp_level[]", len(rows))
    for level, row in zip(levels, rows, strict=True):
        level.price = parse_fixed(row.price, instrument.price_exponent, "price")
        level.quantity = parse_fixed(row.size, instrument.quantity_exponent, "quantity")
    return levels
