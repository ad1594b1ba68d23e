"""What is asked of Gate's WebSockets and what they answer, as bytes and records: no I/O here.

A channel of ours is named "spot.obu.50:BTC_USDT": the venue's own, the levels of a book, and the
instrument. Facts and their dates: README.md beside this file. REST: listing.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.proto.instrument import SYMBOL_SIZE_MAX
from tickpath.proto.venue import UNREADABLE, Asked, Meaning, Note, excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPOT, FUTURES = "spot", "futures"
"""Markets, as channels' names begin."""
SPOT_HOST, SPOT_PATH = "api.gateio.ws", "/ws/v4/"
USDT_HOST, USDT_PATH = "fx-ws.gateio.ws", "/v4/ws/usdt"
OBU, UPDATE, TRADES, TICKER = "obu", "order_book_update", "trades", "book_ticker"
SPEEDS: Final = {20: "20ms", 100: "100ms"}
"""Of order_book_update, by its levels."""
OBU_DEPTHS: Final = (50, 400)
CHANNELS_PER_CONNECTION: Final = 100
"""Ours: no limit is documented."""
CHANNELS_PER_MESSAGE: Final = 20
"""Ours, of obu, trades and book_ticker; order_book_update takes one instrument a message."""
MESSAGES_PER_SECOND: Final = 20
"""Ours: 22 at once were answered (captures of 2021 and 2023), and no limit is documented."""
CONNECTIONS_MAX: Final = 300
IDLE_S: Final = 30.0
"""A connection on which we say nothing for 30.5 s is closed."""
DECIMAL: Final = ("X-Gate-Size-Decimal", "1")
"""The header with which sizes of contracts may have fractions, and are strings."""

# Such as BTC_USDT, 1INCH_USDT, 币安人生_USDT: what names, payloads and targets are made of is not.
_SYMBOL: Final = re.compile(r'[^\sa-z_.:/"\\%&?]+_[^\sa-z_.:/"\\%&?]+')
_ALREADY: Final = re.compile(r"Alert sub ob\.(.+)\.(\d+)")
"""What refuses a request whose name is subscribed to."""


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be no symbol of Gate's."""
    if not _SYMBOL.fullmatch(symbol) or len(symbol.encode()) > SYMBOL_SIZE_MAX:
        raise ValueError(
            f"symbol {symbol!r}: expected up to {SYMBOL_SIZE_MAX} bytes in upper case such as "
            "BTC_USDT; Gate's lists of currency pairs and contracts have the names"
        )
    return symbol


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of ours, parted."""

    market: str
    kind: str
    depth: int
    """0: of trades and best prices."""
    symbol: str

    def __str__(self) -> str:
        depth = f".{self.depth}" if self.depth else ""
        return f"{self.market}.{self.kind}{depth}:{self.symbol}"

    @property
    def wire(self) -> str:
        """Return the venue's own name of the channel."""
        return f"{self.market}.{self.kind}"


def book_channel(market: str, depth: int, symbol: str) -> str:
    """Name the channel of a book to a depth."""
    kind = OBU if depth in OBU_DEPTHS else UPDATE
    return str(Channel(market, kind, depth, checked_symbol(symbol)))


def other_channel(market: str, kind: str, symbol: str) -> str:
    """Name the channel of an instrument's trades or best prices."""
    return str(Channel(market, kind, 0, checked_symbol(symbol)))


def split(name: str) -> Channel:
    """Part a channel's name of ours; raises ValueError where it is none."""
    wire, colon, symbol = name.partition(":")
    market, _, rest = wire.partition(".")
    kind, _, depth = rest.partition(".")
    depths = {OBU: OBU_DEPTHS, UPDATE: tuple(SPEEDS)}.get(kind, ())
    is_sound = depth in map(str, depths) if depths else kind in (TRADES, TICKER) and not depth
    if not colon or market not in (SPOT, FUTURES) or not is_sound:
        raise ValueError(f"channel {name!r}: expected one such as spot.obu.50:BTC_USDT")
    return Channel(market, kind, int(depth or 0), checked_symbol(symbol))


# ---- what we say ---------------------------------------------------------------------------------


def payload_of(channels: Sequence[Channel]) -> list[str]:
    """Return what names channels of one kind in a request."""
    first = channels[0]
    if first.kind == OBU:
        return [f"ob.{one.symbol}.{one.depth}" for one in channels]
    if first.kind != UPDATE:
        return [one.symbol for one in channels]
    (one,) = channels
    levels = [str(one.depth)] if one.market == FUTURES else []
    return [one.symbol, SPEEDS[one.depth], *levels]


def request(event: str, names: Sequence[str], number: int, time_s: int) -> bytes:
    """Return the text that subscribes to channels of one kind, or ends that."""
    channels = [split(name) for name in names]
    said = {"time": time_s, "id": number, "channel": channels[0].wire, "event": event}
    return msgspec.json.encode(said | {"payload": payload_of(channels)})


def together(channels: Iterable[str]) -> list[list[str]]:
    """Group what may stand in one request: a kind of channel each, an order_book_update alone."""
    groups: dict[str, list[str]] = {}
    for name in channels:
        one = split(name)
        groups.setdefault(name if one.kind == UPDATE else one.wire, []).append(name)
    return list(groups.values())


def ping(market: str, time_s: int) -> bytes:
    """Return the text that is answered with a pong."""
    return msgspec.json.encode({"time": time_s, "channel": f"{market}.ping"})


# ---- what it answers -----------------------------------------------------------------------------


class _Request(msgspec.Struct):
    id: int
    channel: str
    event: str = ""
    payload: tuple[str, ...] = ()


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Reply(msgspec.Struct):
    channel: str = ""
    event: str = ""
    id: Any = None
    payload: Any = None
    error: Any = None
    result: Any = None


_request_decoder = msgspec.json.Decoder(_Request)
_reply_decoder = msgspec.json.Decoder(_Reply)


def channels_of(wire: str, payload: object) -> tuple[str, ...]:
    """Return the channels of ours that a payload names; () where it names none."""
    market, _, kind = wire.partition(".")
    if not isinstance(payload, list | tuple) or not payload:
        return ()
    texts = [str(one) for one in payload]
    if kind == UPDATE:
        speed = {said: depth for depth, said in SPEEDS.items()}
        depth = speed.get(texts[1], 0) if len(texts) > 1 else 0
        names = [f"{wire}.{depth}:{texts[0]}"]
    elif kind == OBU:
        names = [_obu_channel(market, text) for text in texts]
    else:
        names = [f"{wire}:{text}" for text in texts]
    return tuple(name for name in names if _is_ours(name))


def _obu_channel(market: str, text: str) -> str:
    """Read ob.BTC_USDT.50."""
    symbol, _, depth = text.removeprefix("ob.").rpartition(".")
    return f"{market}.{OBU}.{depth}:{symbol}"


def _is_ours(name: str) -> bool:
    try:
        split(name)
    except ValueError:
        return False
    return True


def asked(data: bytes) -> Asked | None:
    """Read a request of ours back: an answer may name its id alone, or nothing."""
    try:
        said = _request_decoder.decode(data)
    except UNREADABLE:
        return None
    names = channels_of(said.channel, said.payload) if said.event == "subscribe" else ()
    return Asked(said.id, names)


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer or a notice; what is no JSON object of theirs is BROKEN."""
    try:
        return _notes(_reply_decoder.decode(data))
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of Gate's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _notes(reply: _Reply) -> tuple[Note, ...]:
    number = reply.id if isinstance(reply.id, int) and not isinstance(reply.id, bool) else None
    result = reply.result if isinstance(reply.result, dict) else {}
    if reply.channel.endswith(".pong"):
        return (Note(meaning=Meaning.HEARTBEAT),)
    if reply.channel.endswith(".system"):
        words = str(result.get("msg") or result.get("type") or "a notice without words")
        return (Note(meaning=Meaning.NOTICE, reason=words),)
    status = result.get("status")
    if reply.error is not None or status == "fail":
        return _failure(reply, number)
    if status == "success" and reply.event == "subscribe":
        names = channels_of(reply.channel, reply.payload)
        return (Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=names, request=number),)
    if status == "success" and reply.event == "unsubscribe":
        return (Note(meaning=Meaning.ACKNOWLEDGEMENT),)
    return (Note(meaning=Meaning.UNKNOWN),)


def _failure(reply: _Reply, number: int | None) -> tuple[Note, ...]:
    """Say what an error means: of several channels it does not say which one is at fault."""
    try:
        error = msgspec.convert(reply.error or {}, _Error)
    except msgspec.ValidationError:
        error = _Error(message=str(reply.error))
    named = channels_of(reply.channel, reply.payload)
    reason = f"{error.code}, {error.message}" if error.message else "refused without a reason"
    already = _ALREADY.match(error.message)
    if already is not None:
        market = reply.channel.partition(".")[0]
        known = (f"{market}.{OBU}.{already[2]}:{already[1]}",)
        others = tuple(name for name in named if name not in known)
        yes = Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=known, request=number, reason=reason)
        no = Note(meaning=Meaning.REFUSAL, channels=others, reason=reason, code=error.code)
        return (yes, no) if others else (yes,)
    if reply.event not in ("", "subscribe") or reply.channel.endswith(".ping"):
        return (Note(meaning=Meaning.NOTICE, reason=f"{reply.channel}: {reason}"),)
    names = named if len(named) == 1 or number is None else ()
    return (
        Note(
            meaning=Meaning.REFUSAL, channels=names, request=number, reason=reason, code=error.code
        ),
    )
