"""What is asked of OKX and what it answers, as bytes and records: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

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
    pack_messages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.venue import Limits

VENUE: Final = "okx"
WEBSOCKET_HOST: Final = "ws.okx.com"
WEBSOCKET_PORT: Final = 8443
WEBSOCKET_PATH: Final = "/ws/v5/public"
REST_HOST: Final = "www.okx.com"
INSTRUMENTS_PATH: Final = "/api/v5/public/instruments"
SPOT, SWAP = "SPOT", "SWAP"
BOOKS: Final = {400: "books", 5: "books5"}
"""Channels of books by their levels a side."""
BEST, TRADES = "bbo-tbt", "trades"
CHANNELS: Final = (*BOOKS.values(), BEST, TRADES)
CHANNELS_PER_CONNECTION: Final = 29
"""The documents recommend less than 30 channels of 400 levels."""
CHANNELS_PER_MESSAGE: Final = 29
MESSAGE_SIZE_MAX: Final = 64 << 10
"""Of the channels that a request names."""
MESSAGES_PER_SECOND: Final = 10
"""Ours: the venue limits what is said in an hour."""
REQUESTS_PER_HOUR: Final = 480
IDLE_S: Final = 30
PING, PONG = b"ping", b"pong"
ENDING: Final = 64008  # the connection will soon be closed for a service upgrade
DIGITS_MAX: Final = 36
"""Of a number of the list, before or behind the point: twice what a mantissa can have."""

_SYMBOL: Final = re.compile(r'[^\s"\\:/-]+(-[^\s"\\:/-]+){1,4}')
_SWAP_SUFFIX: Final = "-SWAP"
_INVERSE_QUOTE: Final = "USD"


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of OKX's."""
    if (
        not _SYMBOL.fullmatch(symbol)
        or not symbol.isprintable()
        or len(symbol.encode()) > SYMBOL_SIZE_MAX
    ):
        raise ValueError(f"symbol {symbol!r}: expected one such as BTC-USDT or BTC-USDT-SWAP")
    return symbol


def symbol_of(name: Symbol) -> str | None:
    """Write a canonical name: spot and perpetual swaps; those quoted in USD are settled in coin."""
    if name.kind is Kind.SPOT:
        return f"{name.base}-{name.quote}"
    wanted = Kind.INVERSE if name.quote == _INVERSE_QUOTE else Kind.LINEAR
    if name.expiry or name.kind is not wanted:
        return None
    return f"{name.base}-{name.quote}{_SWAP_SUFFIX}"


def channel(kind: str, symbol: str) -> str:
    """Return our name of a subscription, as in books:BTC-USDT."""
    return f"{kind}:{checked_symbol(symbol)}"


def split(name: str) -> tuple[str, str]:
    """Return a channel's kind and symbol; raises ValueError for a name that is none of ours."""
    kind, _, symbol = name.partition(":")
    if kind not in CHANNELS:
        raise ValueError(f"channel {name!r}: expected one such as books:BTC-USDT")
    return kind, checked_symbol(symbol)


def requests(op: str, channels: Sequence[str], *, request: int, limits: Limits) -> list[bytes]:
    """Return the messages that subscribe or unsubscribe."""

    def build(names: list[str], number: int) -> bytes:
        parts = map(split, names)
        args = [{"channel": kind, "instId": symbol} for kind, symbol in parts]
        return msgspec.json.encode({"id": str(number), "op": op, "args": args})

    return pack_messages(channels, build, limits, request)


# ---- what is said on the WebSocket ---------------------------------------------------------------


class _Arg(msgspec.Struct, rename="camel"):
    channel: str = ""
    inst_id: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return our name of it, where it has one."""
        known = self.channel in CHANNELS and self.inst_id
        return (f"{self.channel}:{self.inst_id}",) if known else ()


class _Request(msgspec.Struct):
    id: str
    op: str
    args: tuple[_Arg, ...] = ()


class _Reply(msgspec.Struct, rename="camel"):
    event: str = ""
    id: str | int | None = None
    arg: _Arg = msgspec.field(default_factory=_Arg)
    code: str | int = ""
    msg: str = ""


_request_decoder = msgspec.json.Decoder(_Request)
_reply_decoder = msgspec.json.Decoder(_Reply)
_NAMED: Final = re.compile(r"channel:\s*(?P<channel>[^\s,]+),\s*instId:\s*(?P<symbol>\S+)")
"""In an error's words; 60018: "... channel:books,instId:NOPE-USDT doesn't exist. ...\""""


def _number(text: str | int | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", str(text)) else None


def asked(data: bytes) -> Asked | None:
    """Read a request of ours back."""
    try:
        said = _request_decoder.decode(data)
    except UNREADABLE:
        return None
    number = _number(said.id)
    if number is None:
        return None
    names = (name for arg in said.args for name in arg.names) if said.op == "subscribe" else ()
    return Asked(number, tuple(names))


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer, a ping, a pong or a notice; what is none of OKX's is BROKEN."""
    if data == PONG:
        return (Note(meaning=Meaning.HEARTBEAT),)
    if data == PING:  # none was seen; an answer costs nothing
        return (Note(meaning=Meaning.HEARTBEAT, answer=PONG),)
    try:
        return (_note(_reply_decoder.decode(data)),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of OKX's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _note(reply: _Reply) -> Note:
    number, code = _number(reply.id), _number(reply.code) or 0
    reason = f"{code}: {reply.msg}" if code else reply.msg
    match reply.event:
        case "":
            return Note(meaning=Meaning.UNKNOWN)
        case "subscribe":  # one for each channel: the request's others have their own
            names = reply.arg.names
            number = number if names else None  # one that names none is no yes to all of them
            return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=names, request=number)
        case "unsubscribe":  # confirms no subscription
            return Note(meaning=Meaning.ACKNOWLEDGEMENT)
        case "error":
            names = reply.arg.names or _named(reply.msg)
            return Note(
                meaning=Meaning.REFUSAL, channels=names, request=number, reason=reason, code=code
            )
        case _:
            return Note(
                meaning=Meaning.NOTICE,
                reason=reason or reply.event,
                is_ending=code == ENDING,
                code=code,
            )


def _named(words: str) -> tuple[str, ...]:
    """Return the channel that an error names in its words."""
    found = _NAMED.search(words)
    return () if found is None else _Arg(found["channel"], found["symbol"].rstrip(".")).names


# ---- REST: the instrument list -------------------------------------------------------------------


class _RowJson(msgspec.Struct, rename="camel"):
    inst_id: str
    inst_type: str
    tick_sz: str
    lot_sz: str
    min_sz: str = "0"
    state: str = "live"
    base_ccy: str = ""
    quote_ccy: str = ""
    settle_ccy: str = ""
    inst_family: str = ""
    uly: str = ""
    ct_val: str = ""
    ct_mult: str = ""


class _NameJson(msgspec.Struct, rename="camel"):
    inst_id: str = ""
    inst_type: str = ""


class _ListJson(msgspec.Struct):
    code: str
    data: list[msgspec.Raw] = []
    msg: str = ""


_row_decoder = msgspec.json.Decoder(_RowJson)
_name_decoder = msgspec.json.Decoder(_NameJson)
_list_decoder = msgspec.json.Decoder(_ListJson)
_STATUSES: Final = {
    "live": Status.TRADING,
    "post_only": Status.TRADING,
    "expired": Status.DELISTED,
}
"""All others, suspend, preopen, rebase, settlement and test among them, do not trade."""


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


def _name(row: _RowJson) -> Symbol:
    """Return the canonical name; raises ValueError where it is not the one that instId says."""
    if row.inst_type == SPOT:
        name = Symbol(row.base_ccy, row.quote_ccy)
    else:
        base, _, quote = (row.inst_family or row.uly).partition("-")
        name = Symbol(base, quote, row.settle_ccy)
    if row.inst_type not in (SPOT, SWAP) or symbol_of(name) != row.inst_id:
        raise ValueError(f"{row.inst_id}: {row.inst_type} {name}: expected spot or a swap so named")
    return name


def _instrument(row: _RowJson, index: int) -> Instrument:
    symbol, name = checked_symbol(row.inst_id), _name(row)
    price_exponent, tick_size = _step(symbol, "tickSz", row.tick_sz)
    quantity_exponent, lot_size = _step(symbol, "lotSz", row.lot_sz)
    least = _decimal(symbol, "minSz", row.min_sz).scaleb(-quantity_exponent)
    multiplier = Decimal(1)
    if row.inst_type == SWAP:  # quantities are contracts
        value, times = (
            _decimal(symbol, "ctVal", row.ct_val),
            _decimal(symbol, "ctMult", row.ct_mult),
        )
        multiplier = value * times
        if multiplier == 0:
            raise ValueError(
                f"{symbol}: ctVal {row.ct_val!r}, ctMult {row.ct_mult!r}: expected both"
            )
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=symbol,
        price_exponent=price_exponent,
        quantity_exponent=quantity_exponent,
        tick_size=tick_size,
        name=name,
        lot_size=lot_size,
        quantity_min=int(least.to_integral_value(rounding="ROUND_CEILING")),
        multiplier=multiplier,
        status=_STATUSES.get(row.state, Status.HALTED),
    )


def instruments_request(kind: str) -> HttpRequest:
    """Ask for all instruments of a kind."""
    return HttpRequest(f"{INSTRUMENTS_PATH}?instType={kind}")


def parse_instruments(data: bytes) -> InstrumentList:
    """Read a list; a row that cannot be read is left out, the others stand.

    That of spot is the first page, that of swaps the second. Raises ValueError for anything but
    such a reply.
    """
    try:
        listed = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of instruments ({error}); "
            f"ask {INSTRUMENTS_PATH} again"
        ) from error
    if listed.code != "0":
        raise ValueError(f"instrument list: the venue says {listed.code}: {listed.msg}")
    instruments: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for index, raw in enumerate(listed.data):
        said = _said(raw)
        kinds[said.inst_type] += 1
        try:
            row = _instrument(_row_decoder.decode(raw), index)
            if row.symbol in instruments:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            instruments[row.symbol] = row
        except (*UNREADABLE, ValueError) as error:
            left_out[said.inst_id or f"row {index}"] = str(error)
    is_spot = bool(kinds) and kinds.most_common(1)[0][0] == SPOT  # one odd row turns no page
    more = instruments_request(SWAP) if is_spot else None
    return InstrumentList(instruments, left_out, more)


def _said(raw: msgspec.Raw) -> _NameJson:
    try:
        return _name_decoder.decode(raw)
    except UNREADABLE:
        return _NameJson()
