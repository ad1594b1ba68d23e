"""What is asked of Kraken and what it answers, as bytes and records: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from tickpath.proto.instrument import ROW_STATUSES, Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN, parse_fixed
from tickpath.proto.venue import (
    UNREADABLE,
    Asked,
    InstrumentList,
    Meaning,
    Note,
    excerpt,
    pack_messages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.venue import Limits

VENUE: Final = "kraken"
WEBSOCKET_HOST: Final = "ws.kraken.com"
WEBSOCKET_PATH: Final = "/v2"
REST_HOST: Final = "api.kraken.com"
ASSET_PAIRS_PATH: Final = "/0/public/AssetPairs"
DEPTHS: Final = (10, 25, 100, 500, 1000)
# Kraken names none of the following for public channels; its documents name 200 symbols a
# connection for level3. What is chosen here is modest.
CHANNELS_PER_CONNECTION: Final = 200
CHANNELS_PER_MESSAGE: Final = 50
MESSAGES_PER_SECOND: Final = 10

_SYMBOL: Final = re.compile(r'[^\s/"\\:]{1,24}/[^\s/"\\:]{1,24}')
SYMBOL_SIZE_MAX: Final = 56
"""Bytes, as the decoder's."""
_RENAMED: Final = {"XBT": "BTC", "XDG": "DOGE"}
"""REST has the names of version 1 in `wsname`; version 2 refuses these two."""
_DIGITS_MAX: Final = -EXPONENT_MIN


class Kind(NamedTuple):
    """A kind of channel: its name, and what else a subscription of it says."""

    channel: str
    params: dict[str, Any]
    only_to_subscribe: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default, never changed


KINDS: Final = {
    **{f"book-{depth}": Kind("book", {"depth": depth}, {"snapshot": True}) for depth in DEPTHS},
    # At each change of the best bid and ask, not at each trade.
    "ticker": Kind("ticker", {"event_trigger": "bbo"}),
    "trade": Kind("trade", {}, {"snapshot": False}),
}
_PLACES: Final = {name: place for place, name in enumerate(KINDS)}
_PLACE_COUNT: Final = 8
"""A request's id has its kind as the remainder of a division by it: a refusal may name none."""


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of Kraken's."""
    is_short = len(symbol.encode()) <= SYMBOL_SIZE_MAX
    if not _SYMBOL.fullmatch(symbol) or not symbol.isprintable() or not is_short:
        raise ValueError(f"symbol {symbol!r}: expected one such as BTC/USD")
    return symbol


def channel(kind: str, symbol: str) -> str:
    """Return our name of a subscription, as in book-10:BTC/USD."""
    return f"{kind}:{checked_symbol(symbol)}"


def split(name: str) -> tuple[str, str]:
    """Return a channel's kind and symbol; raises ValueError for a name that is none of ours."""
    kind, _, symbol = name.partition(":")
    if kind not in KINDS:
        raise ValueError(f"channel {name!r}: expected one such as book-10:BTC/USD")
    return kind, checked_symbol(symbol)


def requests(method: str, channels: Sequence[str], *, request: int, limits: Limits) -> list[bytes]:
    """Return the messages that subscribe or unsubscribe; a message has one kind of channel."""
    symbols: dict[str, list[str]] = {}
    for name in channels:
        kind, symbol = split(name)
        symbols.setdefault(kind, []).append(symbol)
    messages: list[bytes] = []
    for kind, of_kind in symbols.items():

        def build(some: list[str], number: int, kind: str = kind) -> bytes:
            what = KINDS[kind]
            more = what.only_to_subscribe if method == "subscribe" else {}
            params = {"channel": what.channel, "symbol": some, **what.params, **more}
            number = number * _PLACE_COUNT + _PLACES[kind]
            return msgspec.json.encode({"method": method, "params": params, "req_id": number})

        messages += pack_messages(of_kind, build, limits, request + len(messages))
    return messages


def _kind_of(req_id: int | None) -> str | None:
    place = None if req_id is None else req_id % _PLACE_COUNT
    return next((name for name, number in _PLACES.items() if number == place), None)


class _Params(msgspec.Struct, frozen=True):
    symbol: tuple[str, ...] = ()


class _Request(msgspec.Struct):
    method: str = ""
    params: _Params = _Params()
    req_id: int | None = None


_request_decoder = msgspec.json.Decoder(_Request)


def asked(data: bytes) -> Asked | None:
    """Read a request of ours back: some refusals name its id alone."""
    try:
        said = _request_decoder.decode(data)
    except UNREADABLE:
        return None
    if said.req_id is None:
        return None
    kind = _kind_of(said.req_id) if said.method == "subscribe" else None
    names = () if kind is None else tuple(f"{kind}:{symbol}" for symbol in said.params.symbol)
    return Asked(said.req_id, names)


# ---- what is answered ----------------------------------------------------------------------------


class _Result(msgspec.Struct, frozen=True):
    channel: str = ""
    symbol: str = ""
    depth: int | None = None


class _System(msgspec.Struct):
    system: str = ""


class _Reply(msgspec.Struct):
    channel: str = ""
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    req_id: int | None = None
    result: _Result = _Result()
    data: msgspec.Raw = msgspec.Raw()


_reply_decoder = msgspec.json.Decoder(_Reply)
_status_decoder = msgspec.json.Decoder(tuple[_System, ...])


_SYSTEMS: Final = {
    "online": Status.TRADING,
    "post_only": Status.TRADING,
    "cancel_only": Status.CANCEL_ONLY,
}
"""All other words, maintenance among them: nothing is traded."""
_ALREADY: Final = "Already subscribed"


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer, a heartbeat or a status; what is none is BROKEN."""
    try:
        reply = _reply_decoder.decode(data)
        return (_note(reply),)
    except UNREADABLE as error:
        return (Note(meaning=Meaning.BROKEN, reason=f"{excerpt(data)}: {error}"),)


def _note(reply: _Reply) -> Note:
    if reply.channel:
        return _channel_note(reply)
    if reply.method == "pong":
        return Note(meaning=Meaning.HEARTBEAT, request=reply.req_id)
    if reply.success is not None and reply.method == "subscribe":
        return _subscription_note(reply)
    if reply.success and reply.method == "unsubscribe":  # confirms no subscription
        return Note(meaning=Meaning.ACKNOWLEDGEMENT, request=reply.req_id)
    if not reply.method and not reply.error:
        return Note(meaning=Meaning.UNKNOWN)
    reason = f"{reply.method}: {reply.error}" if reply.method else reply.error
    return Note(meaning=Meaning.NOTICE, request=reply.req_id, reason=reason)


def _subscription_note(reply: _Reply) -> Note:
    names = _named(reply.result, reply.req_id) if reply.success else _refused(reply)
    is_yes = reply.success or reply.error.startswith(_ALREADY)
    return Note(
        meaning=Meaning.ACKNOWLEDGEMENT if is_yes else Meaning.REFUSAL,
        channels=names,
        # A yes that names no channel must not count as one to all of its request's.
        request=reply.req_id if names or not is_yes else None,
        reason=reply.error,
    )


def _channel_note(reply: _Reply) -> Note:
    if reply.channel == "heartbeat":
        return Note(meaning=Meaning.HEARTBEAT)
    if reply.channel != "status":
        return Note(meaning=Meaning.UNKNOWN)
    systems = _status_decoder.decode(reply.data) if reply.data else ()
    words = [one.system for one in systems if one.system]
    if not words:
        return Note(meaning=Meaning.NOTICE)
    statuses = [_SYSTEMS.get(word, Status.HALTED) for word in words]
    troubles = [word for word in words if word != "online"]
    reason = f"the venue's system is in {', '.join(troubles)}" if troubles else ""
    gravest = max(statuses, key=ROW_STATUSES.index)
    return Note(meaning=Meaning.NOTICE, reason=reason, trading=gravest)


def _named(result: _Result, req_id: int | None) -> tuple[str, ...]:
    """Return the channel that a result names; an instrument's depth may stand in our id alone."""
    kind = result.channel if result.depth is None else f"{result.channel}-{result.depth}"
    if kind not in KINDS:
        kind = _kind_of(req_id) or ""
    known = kind in KINDS and KINDS[kind].channel == result.channel
    return (f"{kind}:{result.symbol}",) if known and result.symbol else ()


def _refused(reply: _Reply) -> tuple[str, ...]:
    """Return the refused channels; (): all of the request.

    Where a refusal names a symbol and not our request, all that may be meant.
    """
    symbol = reply.symbol or reply.result.symbol
    if not symbol:
        return ()
    kind = _kind_of(reply.req_id)
    return tuple(f"{name}:{symbol}" for name in ((kind,) if kind is not None else KINDS))


# ---- instruments ---------------------------------------------------------------------------------


class _PairJson(msgspec.Struct):
    wsname: str
    pair_decimals: int
    lot_decimals: int
    status: str = "online"
    tick_size: str | None = None
    ordermin: str = "0"
    costmin: str = "0"


class _ListJson(msgspec.Struct):
    error: tuple[str, ...] = ()
    result: dict[str, msgspec.Raw] = {}


_pair_decoder = msgspec.json.Decoder(_PairJson)
_list_decoder = msgspec.json.Decoder(_ListJson)
_STATUS: Final = {
    "online": Status.TRADING,
    "limit_only": Status.TRADING,
    "post_only": Status.TRADING,
    "reduce_only": Status.TRADING,
    "cancel_only": Status.CANCEL_ONLY,
    "delisted": Status.DELISTED,
}


def _instrument(row: _PairJson, index: int) -> Instrument:
    base, slash, quote = row.wsname.partition("/")
    base, quote = _RENAMED.get(base, base), _RENAMED.get(quote, quote)
    symbol = checked_symbol(base + slash + quote)
    for name, digits in (("pair_decimals", row.pair_decimals), ("lot_decimals", row.lot_decimals)):
        if not 0 <= digits <= _DIGITS_MAX:
            raise ValueError(f"{symbol}: {name} {digits}: expected 0 to {_DIGITS_MAX} digits")
    tick = 1 if row.tick_size is None else parse_fixed(row.tick_size, -row.pair_decimals)
    if tick < 1:
        raise ValueError(f"{symbol}: tick_size {row.tick_size}: expected more than 0")
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=symbol,
        price_exponent=-row.pair_decimals,
        quantity_exponent=-row.lot_decimals,
        tick_size=tick,
        name=Symbol(base, quote),
        quantity_min=parse_fixed(row.ordermin, -row.lot_decimals),
        notional_min=_decimal("costmin", row.costmin),
        status=_STATUS.get(row.status, Status.HALTED),
    )


def _decimal(name: str, text: str) -> Decimal:
    if not re.fullmatch(r"\d{1,18}(\.\d{1,18})?", text):
        raise ValueError(f"{name} {text!r}: expected a decimal number")
    return Decimal(text)


def parse_instruments(data: bytes) -> InstrumentList:
    """Read AssetPairs; a row that cannot be read is left out, the others stand.

    Raises ValueError for anything but such a reply.
    """
    try:
        listed = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of AssetPairs ({error}); "
            f"ask {ASSET_PAIRS_PATH} again"
        ) from error
    if listed.error:
        raise ValueError(f"instrument list: the venue says {', '.join(listed.error)}")
    instruments: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, (key, raw) in enumerate(listed.result.items()):
        try:
            row = _instrument(_pair_decoder.decode(raw), index)
            if row.symbol in instruments:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            instruments[row.symbol] = row
        except (*UNREADABLE, ValueError) as error:
            left_out[key] = str(error)
    return InstrumentList(instruments, left_out)
