"""What is asked of HTX and what it answers, as bytes and records: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.proto.instrument import SYMBOL_SIZE_MAX, Instrument, Kind, Status, Symbol
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

VENUE: Final = "htx"
WEBSOCKET_HOST: Final = "api.huobi.pro"
BOOK_PATH, MARKET_PATH = "/feed", "/ws"
REST_HOST: Final = "api.huobi.pro"
INSTRUMENTS_PATH: Final = "/v1/settings/common/market-symbols"
REFRESH, BEST, TRADES = "mbp.refresh.20", "bbo", "trade.detail"
BOOKS: Final = {150: "mbp.150", 20: "mbp.20", 5: "mbp.5"}
"""Channels of changes by their levels a side."""
KINDS: Final = (*BOOKS.values(), REFRESH, BEST, TRADES)
CHANNELS_PER_CONNECTION: Final = 10
MESSAGES_PER_SECOND: Final = 10
"""Requests for a base may come every 100 ms on a connection; what is beyond is refused."""
GZIP_MAGIC: Final = b"\x1f\x8b"
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""

_SYMBOL: Final = re.compile(r"[a-z0-9]+")
_ASSET: Final = re.compile(r"[A-Z0-9]+")
_NAMED: Final = re.compile(r"invalid topic (?P<topic>\S+)")
"""In a refusal's words."""
_TOPIC: Final = re.compile(r"market\.(?P<symbol>[^.]*)\.(?P<kind>.*)")


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of HTX's."""
    if not _SYMBOL.fullmatch(symbol) or len(symbol) > SYMBOL_SIZE_MAX:
        raise ValueError(f"symbol {symbol!r}: expected small letters and digits, as in btcusdt")
    return symbol


def symbol_of(name: Symbol) -> str | None:
    """Write a canonical name; HTX spot lists nothing else."""
    assets = name.base + name.quote
    if name.kind is not Kind.SPOT or not _ASSET.fullmatch(assets):
        return None  # small letters are no name of an asset's, but of its symbol
    return f"{name.base}{name.quote}".lower()


def topic(kind: str, symbol: str) -> str:
    """Return the name of a subscription, which is the venue's own."""
    return f"market.{checked_symbol(symbol)}.{kind}"


def split(name: str) -> tuple[str, str]:
    """Return a topic's kind and symbol; raises ValueError for one that is none of ours."""
    match = _TOPIC.fullmatch(name)
    if match is None or match["kind"] not in KINDS:
        raise ValueError(f"channel {name!r}: expected one such as market.btcusdt.mbp.150")
    return match["kind"], checked_symbol(match["symbol"])


def request(op: str, name: str, number: int) -> bytes:
    """Write sub, unsub or req of one topic."""
    split(name)
    return msgspec.json.encode({op: name, "id": str(number)})


def requests(op: str, channels: Sequence[str], first: int) -> list[bytes]:
    """Write the messages that subscribe or unsubscribe, one a topic."""
    return [request(op, name, first + place) for place, name in enumerate(channels)]


# ---- what is said on the WebSocket ---------------------------------------------------------------


class _Request(msgspec.Struct):
    id: str
    sub: str = ""


class _Reply(msgspec.Struct, rename="kebab"):
    """What a refusal says is shown as it comes: its form is never a reason to lose it."""

    id: str | int | None = None
    status: str = ""
    subbed: str | None = None
    unsubbed: str | None = None
    ping: int | None = None
    pong: int | None = None
    err_code: str | int | None = None
    err_msg: str | int | None = None


_request_decoder = msgspec.json.Decoder(_Request)
_reply_decoder = msgspec.json.Decoder(_Reply)


def _number(text: str | int | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", str(text)) else None


def _words(*said: str | int | None) -> str:
    return ": ".join(str(word) for word in said if word not in (None, ""))


def asked(data: bytes) -> Asked | None:
    """Read a request of ours back: a refusal names its id, and the topic in words alone."""
    try:
        said = _request_decoder.decode(data)
    except UNREADABLE:
        return None
    number = _number(said.id)
    return None if number is None else Asked(number, (said.sub,) if said.sub else ())


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer or a ping; what is none of HTX's is BROKEN."""
    if data.startswith(GZIP_MAGIC):  # whoever inflates passes on what he refuses
        reason = "a message that is no whole gzip member was left out (hot.not_inflated counts)"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)
    try:
        return (_note(_reply_decoder.decode(data)),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of HTX's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _note(reply: _Reply) -> Note:
    number = _number(reply.id)
    if reply.status == "error":
        found = _NAMED.fullmatch(str(reply.err_msg))
        names = (found["topic"],) if found else ()
        reason = _words(reply.err_code, reply.err_msg)
        return Note(meaning=Meaning.REFUSAL, channels=names, request=number, reason=reason)
    if reply.subbed is not None:
        return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=(reply.subbed,), request=number)
    if reply.unsubbed is not None:  # confirms no subscription
        return Note(meaning=Meaning.ACKNOWLEDGEMENT)
    if reply.ping is not None:
        answer = msgspec.json.encode({"pong": reply.ping})
        return Note(meaning=Meaning.HEARTBEAT, answer=answer)
    return Note(meaning=Meaning.UNKNOWN if reply.pong is None else Meaning.HEARTBEAT)


# ---- REST: the instrument list -------------------------------------------------------------------


class _RowJson(msgspec.Struct):
    symbol: str
    bc: str
    qc: str
    pp: int
    ap: int
    state: str
    minoa: Decimal = Decimal(0)
    minov: Decimal = Decimal(0)
    at: str = "enabled"


class _NameJson(msgspec.Struct):
    symbol: str = ""


class _ListJson(msgspec.Struct, rename="kebab"):
    status: str
    data: list[msgspec.Raw] | None = None
    err_code: str | int | None = None
    err_msg: str | int | None = None


_row_decoder = msgspec.json.Decoder(_RowJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
_list_decoder = msgspec.json.Decoder(_ListJson)


def _exponent(symbol: str, name: str, digits: int) -> int:
    if not 0 <= digits <= -EXPONENT_MIN:
        raise ValueError(f"{symbol}: {name} {digits}: expected 0 to {-EXPONENT_MIN} digits")
    return -digits


def _checked(symbol: str, name: str, value: Decimal) -> Decimal:
    if not value.is_finite() or value < 0 or (value and abs(value.adjusted()) > DIGITS_MAX):
        raise ValueError(
            f"{symbol}: {name} {value}: expected 0 or more, of at most {DIGITS_MAX} digits"
        )
    return value


def _status(row: _RowJson) -> Status:
    if row.state == "offline":
        return Status.DELISTED
    return Status.TRADING if (row.state, row.at) == ("online", "enabled") else Status.HALTED


def _instrument(row: _RowJson, index: int) -> Instrument:
    symbol, name = checked_symbol(row.symbol), Symbol(row.bc.upper(), row.qc.upper())
    if symbol_of(name) != symbol:
        raise ValueError(f"{symbol}: it is of {row.bc} and {row.qc}: expected both in its name")
    quantity_exponent = _exponent(symbol, "ap", row.ap)
    least = _checked(symbol, "minoa", row.minoa).scaleb(-quantity_exponent)
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=symbol,
        price_exponent=_exponent(symbol, "pp", row.pp),
        quantity_exponent=quantity_exponent,
        name=name,
        quantity_min=int(least.to_integral_value(rounding="ROUND_CEILING")),
        notional_min=_checked(symbol, "minov", row.minov),
        status=_status(row),
    )


def instruments_request() -> HttpRequest:
    """Ask for all instruments."""
    return HttpRequest(INSTRUMENTS_PATH)


def _said(raw: msgspec.Raw) -> str:
    try:
        return _name_decoder.decode(raw).symbol
    except UNREADABLE:
        return ""


def parse_instruments(data: bytes) -> InstrumentList:
    """Read the list; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    try:
        listed = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of instruments ({error}); "
            f"ask {INSTRUMENTS_PATH} again"
        ) from error
    if listed.status != "ok":
        raise ValueError(
            "instrument list: the venue says "
            + _words(listed.status, listed.err_code, listed.err_msg)
        )
    if listed.data is None:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected rows as its data; ask {INSTRUMENTS_PATH} "
            "again"
        )
    instruments: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for place, raw in enumerate(listed.data):
        try:
            row: Any = _row_decoder.decode(raw)
            one = _instrument(row, len(instruments))
        except (*UNREADABLE, ValueError) as error:
            left_out[_said(raw) or f"row {place}"] = str(error)
            continue
        if one.symbol in instruments:
            left_out[one.symbol] = f"{one.symbol}: listed twice; the first row counts"
            continue
        instruments[one.symbol] = one
    return InstrumentList(instruments, left_out)
