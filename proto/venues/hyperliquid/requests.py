"""What is asked of Hyperliquid and what it answers, as bytes and records: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi
from tickpath.proto.instrument import SYMBOL_SIZE_MAX, Instrument, Kind, Status, Symbol
from tickpath.proto.records import parse_fixed
from tickpath.proto.venue import (
    UNREADABLE,
    Base,
    HttpRequest,
    InstrumentList,
    Meaning,
    Note,
    excerpt,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VENUE: Final = "hyperliquid"
HOST: Final = "api.hyperliquid.xyz"
WEBSOCKET_PATH: Final = "/ws"
INFO_PATH: Final = "/info"
BOOK, FAST, BEST, TRADES = "l2Book", "l2Book-fast", "bbo", "trades"
"""Our names of channels. The venue calls the first two l2Book, one of them with "fast"."""
CHANNELS: Final = (BOOK, FAST, BEST, TRADES)
DEPTHS: Final = {BOOK: 20, FAST: 5}
"""Levels a side of what is sent."""
CONNECTIONS: Final = 10
SUBSCRIPTIONS: Final = 1_000
"""Of an address: they are shared out over its connections."""
MESSAGES_PER_SECOND: Final = 30
"""2,000 a minute of an address."""
BOOK_WEIGHT, OTHER_WEIGHT = 2, 20
IDLE_S: Final = 60
PING: Final = b'{"method":"ping"}'
QUOTE: Final = "USDC"
"""What perpetuals of the first exchange are quoted in and settled in."""
SPOT_QUOTES: Final = (QUOTE, "USDH", "USDE", "USDT0")
COLLATERAL_USDC: Final = 0
PERP_DIGITS, SPOT_DIGITS = 6, 8
"""Of prices behind the point, less those of sizes; and no price has more than five figures."""
BASE_ASSET_SIZE_MAX, QUOTE_ASSET_SIZE_MAX = 31, 15

_COIN: Final = re.compile(r'[^\s"\\]+')


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of Hyperliquid's."""
    if (
        not _COIN.fullmatch(symbol)
        or not symbol.isprintable()
        or len(symbol.encode()) > SYMBOL_SIZE_MAX
    ):
        raise ValueError(
            f"symbol {symbol!r}: expected a coin such as BTC, or a spot pair such as PURR/USDC or "
            "@107"
        )
    return symbol


def symbol_of(name: Symbol) -> str | None:
    """Write a canonical name: perpetuals by their coin, spot as the few pairs that have a name.

    Other spot pairs have a number alone (@107): the list tells which has which canonical name.
    """
    if name.kind is Kind.SPOT:
        return f"{name.base}/{name.quote}" if name.quote in SPOT_QUOTES else None
    is_perpetual = not name.expiry and (name.quote, name.settle) == (QUOTE, QUOTE)
    return name.base if is_perpetual else None


def channel(kind: str, symbol: str) -> str:
    """Return our name of a subscription, as in l2Book:BTC."""
    return f"{kind}:{checked_symbol(symbol)}"


def split(name: str) -> tuple[str, str]:
    """Return a channel's kind and symbol; raises ValueError for a name that is none of ours."""
    kind, _, symbol = name.partition(":")
    if kind not in CHANNELS:
        raise ValueError(f"channel {name!r}: expected one such as l2Book:BTC")
    return kind, checked_symbol(symbol)


def requests(method: str, channels: Sequence[str]) -> list[bytes]:
    """Return the messages that subscribe or unsubscribe: one a channel, without an id."""
    return [
        msgspec.json.encode({"method": method, "subscription": _subscription(name)})
        for name in channels
    ]


def _subscription(name: str) -> dict[str, object]:
    kind, symbol = split(name)
    if kind == FAST:
        return {"type": BOOK, "coin": symbol, "fast": True}
    return {"type": kind, "coin": symbol}


# ---- what is said on the WebSocket ---------------------------------------------------------------


class _Subscription(msgspec.Struct, rename="camel"):
    type: str = ""
    coin: str = ""
    fast: bool | None = None
    n_sig_figs: int | None = None
    mantissa: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return our name of it, where it has one."""
        kind = FAST if self.type == BOOK and self.fast else self.type
        is_ours = kind in CHANNELS and self.coin and self.n_sig_figs is None
        return (f"{kind}:{self.coin}",) if is_ours else ()


class _Answer(msgspec.Struct):
    method: str = ""
    subscription: _Subscription = msgspec.field(default_factory=_Subscription)


class _Message(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


_message_decoder = msgspec.json.Decoder(_Message)
_answer_decoder = msgspec.json.Decoder(_Answer)
_subscription_decoder = msgspec.json.Decoder(_Subscription)
_text_decoder = msgspec.json.Decoder(str)
SUBSCRIBED, UNSUBSCRIBED = "Already subscribed", "Already unsubscribed"


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer, a pong or an error; what is none of Hyperliquid's is BROKEN."""
    try:
        message = _message_decoder.decode(data)
        match message.channel:
            case "pong":
                return (Note(meaning=Meaning.HEARTBEAT),)
            case "subscriptionResponse":
                return (_answered(_answer_decoder.decode(message.data)),)
            case "error":
                return (_error(_text_decoder.decode(message.data)),)
            case _:
                return (Note(meaning=Meaning.UNKNOWN),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of Hyperliquid's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _answered(answer: _Answer) -> Note:
    """Read an answer: the end of a subscription confirms none."""
    is_new = answer.method == "subscribe"
    return Note(
        meaning=Meaning.ACKNOWLEDGEMENT, channels=answer.subscription.names if is_new else ()
    )


def _error(words: str) -> Note:
    """Read an error, which has what it is about behind its words, as JSON; some have none."""
    names = _named(words)
    if words.startswith(SUBSCRIBED):
        return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=names)
    if words.startswith(UNSUBSCRIBED):
        return Note(meaning=Meaning.NOTICE, reason=words)
    return Note(meaning=Meaning.REFUSAL, channels=names, reason=words)


def _named(words: str) -> tuple[str, ...]:
    """Return the channel that an error names: a subscription, or a request around one."""
    data = words[words.find("{") :].encode()
    try:
        whole = _answer_decoder.decode(data)
        return whole.subscription.names or _subscription_decoder.decode(data).names
    except UNREADABLE:
        return ()


# ---- POST /info: lists and books -----------------------------------------------------------------


def info(**fields: object) -> HttpRequest:
    """Ask for something that is public."""
    return HttpRequest(INFO_PATH, msgspec.json.encode(fields))


SPOT_REQUEST: Final = info(type="spotMeta")
PERPETUALS_REQUEST: Final = info(type="meta")


class _PerpetualJson(msgspec.Struct, rename="camel"):
    name: str
    sz_decimals: int
    is_delisted: bool | None = None


class _TokenJson(msgspec.Struct, rename="camel"):
    name: str
    index: int
    sz_decimals: int


class _PairJson(msgspec.Struct):
    name: str
    tokens: tuple[int, int]


class _NameJson(msgspec.Struct):
    name: str = ""


class _ListJson(msgspec.Struct, rename="camel"):
    universe: list[msgspec.Raw]
    tokens: list[msgspec.Raw] | None = None
    """Those of spot pairs; the list of perpetuals has none."""
    collateral_token: int = COLLATERAL_USDC


_list_decoder = msgspec.json.Decoder(_ListJson)
_perpetual_decoder = msgspec.json.Decoder(_PerpetualJson)
_token_decoder = msgspec.json.Decoder(_TokenJson)
_pair_decoder = msgspec.json.Decoder(_PairJson)
_name_decoder = msgspec.json.Decoder(_NameJson)


def _digits(symbol: str, of_sizes: int, most: int) -> tuple[int, int]:
    """Return the exponents of prices and sizes: as fine as any price of it may be."""
    if not 0 <= of_sizes <= most:
        raise ValueError(f"{symbol}: szDecimals {of_sizes}: expected 0 to {most}")
    return of_sizes - most, -of_sizes


def _perpetual(raw: msgspec.Raw, index: int, collateral: int) -> Instrument:
    row = _perpetual_decoder.decode(raw)
    price, quantity = _digits(row.name, row.sz_decimals, PERP_DIGITS)
    name = Symbol(row.name, QUOTE, QUOTE) if collateral == COLLATERAL_USDC else None
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=checked_symbol(row.name),
        price_exponent=price,
        quantity_exponent=quantity,
        name=name,
        status=Status.DELISTED if row.is_delisted else Status.TRADING,
    )


def _pair(raw: msgspec.Raw, index: int, tokens: dict[int, _TokenJson]) -> Instrument:
    row = _pair_decoder.decode(raw)
    base, quote = (tokens.get(number) for number in row.tokens)
    if base is None or quote is None:
        raise ValueError(f"{row.name}: tokens {row.tokens}: expected two of the list's")
    price, quantity = _digits(row.name, base.sz_decimals, SPOT_DIGITS)
    is_named = (
        len(base.name.encode()) <= BASE_ASSET_SIZE_MAX
        and len(quote.name.encode()) <= QUOTE_ASSET_SIZE_MAX
    )
    return Instrument(
        index=index,
        venue=VENUE,
        symbol=checked_symbol(row.name),
        price_exponent=price,
        quantity_exponent=quantity,
        name=Symbol(base.name, quote.name) if is_named else None,
    )


def _tokens(rows: Sequence[msgspec.Raw]) -> Iterator[tuple[int, _TokenJson]]:
    """Read tokens; one that cannot be read is missing where a pair is of it."""
    for raw in rows:
        try:
            token = _token_decoder.decode(raw)
        except UNREADABLE:
            continue
        yield token.index, token


def parse_instruments(data: bytes) -> InstrumentList:
    """Read a list; a row that cannot be read is left out, the others stand.

    That of perpetuals is the first page, that of spot pairs the second. Raises ValueError for
    anything but such a reply.
    """
    try:
        listed = _list_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"instrument list {excerpt(data)}: expected the JSON of meta or spotMeta ({error}); "
            f"ask {INFO_PATH} again"
        ) from error
    instruments: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    tokens = None if listed.tokens is None else dict(_tokens(listed.tokens))
    for index, raw in enumerate(listed.universe):
        try:
            row = (
                _perpetual(raw, index, listed.collateral_token)
                if tokens is None
                else _pair(raw, index, tokens)
            )
            if row.symbol in instruments:
                raise ValueError(f"{row.symbol}: listed twice; the first row counts")
            instruments[row.symbol] = row
        except (*UNREADABLE, ValueError) as error:
            left_out[_name_of(raw) or f"row {index}"] = str(error)
    more = SPOT_REQUEST if tokens is None else None
    return InstrumentList(instruments, left_out, more)


def _name_of(raw: msgspec.Raw) -> str:
    try:
        return _name_decoder.decode(raw).name
    except UNREADABLE:
        return ""


class _LevelJson(msgspec.Struct):
    px: str
    sz: str


class _BookJson(msgspec.Struct):
    coin: str
    levels: tuple[list[_LevelJson], list[_LevelJson]]


_book_decoder = msgspec.json.Decoder(_BookJson | None)


def parse_base(data: bytes, instrument: Instrument) -> Base:
    """Read a book to exact mantissas at the instrument's exponents; it has no number.

    Raises ValueError where it is none of this coin's, ScaleError where a number does not fit.
    """
    try:
        book = _book_decoder.decode(data)
    except UNREADABLE as error:
        raise ValueError(
            f"book {excerpt(data)}: expected the JSON of l2Book ({error}); ask {INFO_PATH} again"
        ) from error
    if book is None or book.coin != instrument.symbol:
        whose = "no coin" if book is None else book.coin
        raise ValueError(f"book of {whose}: expected that of {instrument.symbol}")
    bids, asks = (_levels(side, instrument) for side in book.levels)
    return Base(version=0, bids=bids, asks=asks)


def _levels(rows: Sequence[_LevelJson], instrument: Instrument) -> Any:
    levels = ffi.new("struct tp_level[]", len(rows))
    for level, row in zip(levels, rows, strict=True):
        level.price = parse_fixed(row.px, instrument.price_exponent, "price")
        level.quantity = parse_fixed(row.sz, instrument.quantity_exponent, "quantity")
    return levels
