"""What is asked of MEXC spot v3 and what it answers, as bytes and records: no I/O here.

WebSocket requests and replies are JSON text (pushes are protobuf: decode.h); bases and the
instrument list are REST JSON. Facts and their dates: README.md beside this file.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import msgspec
from tickpath.proto.base_levels import read_levels
from tickpath.proto.instrument import Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN, parse_fixed
from tickpath.proto.venue import UNREADABLE, Base, InstrumentList, Meaning, Note, excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable

VENUE: Final = "mexc"
WEBSOCKET_HOST: Final = "wbs-api.mexc.com"
WEBSOCKET_PATH: Final = "/ws"
REST_HOST: Final = "api.mexc.com"
SUBSCRIPTIONS_PER_CONNECTION_MAX: Final = 30
REQUESTS_PER_SECOND_MAX: Final = 100
"""Client messages a second on one connection."""
CONNECTION_AGE_MAX_S: Final = 24 * 3600
IDLE_WITHOUT_SUBSCRIPTION_S: Final = 30
"""The venue closes a connection that has no subscription for so long."""
IDLE_WITHOUT_DATA_S: Final = 60
BASE_LEVELS_MAX: Final = 5000
BASE_LEVELS_SENT_MAX: Final = 2000  # whatever is asked; nothing in the answer says so
BASE_LEVELS_DEFAULT: Final = 1000
BASE_REQUESTS_MAX: Final = 500
"""REST requests of one endpoint, by address, in each BASE_REQUESTS_WINDOW_S."""
BASE_REQUESTS_WINDOW_S: Final = 10
SPEEDS: Final = ("10ms", "100ms")
LIMITED_DEPTHS: Final = (5, 10, 20)
EXCHANGE_INFO_PATH: Final = "/api/v3/exchangeInfo"
PING_PATH: Final = "/api/v3/ping"
TIME_PATH: Final = "/api/v3/time"
DEPTH_PATH: Final = "/api/v3/depth"

_SYMBOL = re.compile(r"[^\sa-z@,\[\]]{1,31}")
_REFUSED = re.compile(
    r"Not (?:Un)?Subscribed successfully!\s*\[(?P<channels>[^\]]*)\]\.?"
    r"(?:\s*Reason\s*[:：]\s*(?P<reason>.*))?",  # noqa: RUF001 - MEXC sends a full-width colon
    re.IGNORECASE | re.DOTALL,
)
# One host says it in words, and both in one message where it took some of them.
_ACCEPTED = re.compile(
    r"(?<!Not )(?:Un)?Subscribed successful(?:ly)?!\s*\[(?P<channels>[^\]]*)\]", re.IGNORECASE
)


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be no symbol of MEXC's."""
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(
            f"symbol {symbol!r}: expected up to 31 upper-case characters such as BTCUSDT; "
            "MEXC's instrument list has the names"
        )
    return symbol


def checked_speed(speed: str) -> str:
    if speed not in SPEEDS:
        raise ValueError(f"speed {speed!r}: expected one of {', '.join(SPEEDS)}")
    return speed


def depth_channel(symbol: str, speed: str = "100ms") -> str:
    """Return the channel of aggregated depth deltas; speed is 10ms or 100ms."""
    return f"spot@public.aggre.depth.v3.api.pb@{checked_speed(speed)}@{checked_symbol(symbol)}"


def increase_channel(symbol: str) -> str:
    """Return the channel of single changes, a version each."""
    return f"spot@public.increase.depth.v3.api.pb@{checked_symbol(symbol)}"


def increase_batch_channel(symbol: str) -> str:
    """Return the channel of batches of such changes."""
    return f"spot@public.increase.depth.batch.v3.api.pb@{checked_symbol(symbol)}"


def limited_depth_channel(symbol: str, levels: int) -> str:
    """Return the channel of whole books of 5, 10 or 20 levels."""
    if levels not in LIMITED_DEPTHS:
        raise ValueError(f"levels {levels}: expected one of {LIMITED_DEPTHS}")
    return f"spot@public.limit.depth.v3.api.pb@{checked_symbol(symbol)}@{levels}"


def deals_channel(symbol: str, speed: str = "100ms") -> str:
    """Return the channel of aggregated deals; speed is 10ms or 100ms."""
    return f"spot@public.aggre.deals.v3.api.pb@{checked_speed(speed)}@{checked_symbol(symbol)}"


def book_ticker_channel(symbol: str, speed: str = "100ms") -> str:
    """Return the channel of the aggregated best bid and ask; speed is 10ms or 100ms."""
    return f"spot@public.aggre.bookTicker.v3.api.pb@{checked_speed(speed)}@{checked_symbol(symbol)}"


def book_ticker_batch_channel(symbol: str) -> str:
    """Return the channel of batches of best bids and asks."""
    return f"spot@public.bookTicker.batch.v3.api.pb@{checked_symbol(symbol)}"


def _request(method: str, channels: Iterable[str]) -> bytes:
    names = list(channels)
    if not 1 <= len(names) <= SUBSCRIPTIONS_PER_CONNECTION_MAX:
        raise ValueError(
            f"{len(names)} channels in one request: expected 1 to "
            f"{SUBSCRIPTIONS_PER_CONNECTION_MAX}, MEXC's limit a connection; use more connections"
        )
    return msgspec.json.encode({"method": method, "params": names})


def subscribe_request(channels: Iterable[str]) -> bytes:
    """Return the text message that subscribes; at most 30 channels, else ValueError."""
    return _request("SUBSCRIPTION", channels)


def unsubscribe_request(channels: Iterable[str]) -> bytes:
    """Return the text message that ends subscriptions."""
    return _request("UNSUBSCRIPTION", channels)


def ping_request() -> bytes:
    """Return the text message that is answered with PONG and keeps the connection."""
    return b'{"method":"PING"}'


class _ReplyJson(msgspec.Struct):
    msg: str = ""
    code: int = 0


_reply_decoder = msgspec.json.Decoder(_ReplyJson)


def _channels(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read a text message of MEXC's; what is no such JSON object is BROKEN."""
    try:
        reply = _reply_decoder.decode(data)
    except UNREADABLE as error:
        reason = (
            f"reply {excerpt(data, 200)}: expected a JSON object with code and msg ({error}); "
            "close the connection"
        )
        return (Note(meaning=Meaning.BROKEN, reason=reason),)
    if reply.code != 0:
        return (Note(meaning=Meaning.REFUSAL, reason=reply.msg, code=reply.code),)
    if refused := _REFUSED.search(reply.msg):
        reason = (refused["reason"] or "").strip()
        accepted = _ACCEPTED.search(reply.msg)
        notes = [_note(Meaning.ACKNOWLEDGEMENT, accepted["channels"])] if accepted else []
        return (*notes, _note(Meaning.REFUSAL, refused["channels"], reason))
    if reply.msg == "PONG":
        return (Note(meaning=Meaning.HEARTBEAT),)
    accepted = _ACCEPTED.search(reply.msg)
    names = _channels(accepted["channels"] if accepted else reply.msg)
    if names and all(name.startswith("spot@") for name in names):
        return (Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=names),)
    return (Note(meaning=Meaning.NOTICE, reason=reply.msg),)


def _note(meaning: Meaning, channels: str, reason: str = "") -> Note:
    return Note(meaning=meaning, channels=_channels(channels), reason=reason)


class _SymbolJson(msgspec.Struct, rename="camel"):
    symbol: str
    base_asset: str
    quote_asset: str
    base_asset_precision: int
    quote_precision: int
    base_size_precision: str = "0"
    quote_amount_precision: str = "0"
    status: str | int = "1"
    trade_side_type: str | int = 1


class _NameJson(msgspec.Struct):
    symbol: str


class _ExchangeInfoJson(msgspec.Struct):
    symbols: list[msgspec.Raw]


_row_decoder = msgspec.json.Decoder(_SymbolJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
TRADE_SIDES_CLOSED: Final = "4"  # of tradeSideType: 1 both, 2 buys alone, 3 sells alone
_STATUS = {
    "1": Status.TRADING,
    "ENABLED": Status.TRADING,
    "3": Status.DELISTED,
}


def _fraction_digits(step: str) -> int:
    _, _, fraction = step.partition(".")
    return len(fraction.rstrip("0"))


def _status(row: _SymbolJson) -> Status:
    status = _STATUS.get(str(row.status), Status.HALTED)
    is_closed = str(row.trade_side_type) == TRADE_SIDES_CLOSED
    return Status.HALTED if is_closed and status is Status.TRADING else status


def _instrument(row: _SymbolJson, index: int) -> Instrument:
    checked_symbol(row.symbol)
    quantity_digits = max(row.base_asset_precision, _fraction_digits(row.base_size_precision))
    for name, digits in (("quotePrecision", row.quote_precision), ("quantity", quantity_digits)):
        if not 0 <= digits <= -EXPONENT_MIN:
            raise ValueError(
                f"{row.symbol}: {name} {digits}: expected 0 to {-EXPONENT_MIN} digits; "
                "leave this instrument out"
            )
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=row.symbol,
        price_exponent=-row.quote_precision,
        quantity_exponent=-quantity_digits,
        name=Symbol(row.base_asset, row.quote_asset),
        quantity_min=parse_fixed(row.base_size_precision, -quantity_digits),
        notional_min=_decimal(row.quote_amount_precision),
        status=_status(row),
    )


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"quoteAmountPrecision {text!r}: expected a decimal number") from error
    if not value.is_finite():
        raise ValueError(f"quoteAmountPrecision {text!r}: expected a decimal number")
    return value


def parse_instruments(data: bytes) -> InstrumentList:
    """Read the exchangeInfo reply; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    try:
        rows = msgspec.json.decode(data, type=_ExchangeInfoJson).symbols
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
            left_out[_row_name(raw, index)] = str(error)
    return InstrumentList(listed, left_out)


def _row_name(raw: msgspec.Raw, index: int) -> str:
    try:
        return _name_decoder.decode(raw).symbol
    except UNREADABLE:
        return f"row {index}"


def base_path(symbol: str, levels: int = BASE_LEVELS_DEFAULT) -> str:
    """Return the REST target of a book base of 1 to 5000 levels a side."""
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
