"""What is asked of Bitget and what it answers, as bytes and records: no I/O here.

Facts, sources and the date they were read: README.md beside this file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.proto.instrument import SYMBOL_SIZE_MAX
from tickpath.proto.venue import UNREADABLE, Meaning, Note, excerpt, pack_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.venue import Limits

WEBSOCKET_HOST: Final = "ws.bitget.com"
CLASSIC_PATH, UTA_PATH = "/v2/ws/public", "/v3/ws/public"
SPOT, USDT = "SPOT", "USDT-FUTURES"
"""What the venue calls a market (instType); the unified WebSocket in lower case."""
UTA: Final = "uta."
"""What our names of the unified WebSocket's channels begin with."""
BOOKS: Final = {
    500: "books",
    1000: "uta.books",
    5: "books5",
    15: "books15",
    50: "uta.books50",
}
"""Channels of books by their levels a side."""
CHANGED: Final = ("books", "uta.books")
"""Those of which changes come; all others come whole."""
BEST, TRADES = ("books1", "uta.books1"), ("trade", "uta.publicTrade")
"""Of each WebSocket."""
CHANNELS: Final = (*BOOKS.values(), *BEST, *TRADES)
CHANNELS_PER_CONNECTION: Final = 50
"""The documents recommend less; 1,000 is the limit."""
CHANNELS_PER_MESSAGE: Final = 10
"""Ours: 25 and more of the unified WebSocket ended the connection."""
MESSAGE_SIZE_MAX: Final = 4096
MESSAGES_PER_SECOND: Final = 10
REQUESTS_PER_HOUR: Final = 240
CONNECTIONS_MAX: Final = 100
CONNECTS_PER_5_MIN: Final = 300
"""Of one address."""
CONNECTION_AGE_MAX_S: Final = 24 * 3600
IDLE_S: Final = 120
"""A connection without a ping of ours for so long is closed."""
PING, PONG = b"ping", b"pong"

# Such as BTCUSDT or 1000BONKUSDT: what names of channels and targets are made of is not.
_SYMBOL: Final = re.compile(r'[^\sa-z:./"\\%&?]+')


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of Bitget's."""
    if not _SYMBOL.fullmatch(symbol) or len(symbol.encode()) > SYMBOL_SIZE_MAX:
        raise ValueError(
            f"symbol {symbol!r}: expected up to {SYMBOL_SIZE_MAX} bytes in upper case such as "
            "BTCUSDT; Bitget's instrument list has the names"
        )
    return symbol


def is_uta(name: str) -> bool:
    """Tell a channel of the unified WebSocket from one of the classic one."""
    return name.startswith(UTA)


def channel(kind: str, symbol: str) -> str:
    """Return our name of a subscription, as in books:BTCUSDT."""
    return f"{kind}:{checked_symbol(symbol)}"


def split(name: str) -> tuple[str, str]:
    """Return a channel's kind and symbol; raises ValueError for a name that is none of ours."""
    kind, _, symbol = name.partition(":")
    if kind not in CHANNELS:
        raise ValueError(f"channel {name!r}: expected one such as books:BTCUSDT")
    return kind, checked_symbol(symbol)


def argument(market: str, kind: str, symbol: str) -> dict[str, str]:
    """Write what names a channel on its WebSocket."""
    if is_uta(kind):
        topic = kind.removeprefix(UTA)
        return {"instType": market.lower(), "topic": topic, "symbol": symbol}
    return {"instType": market, "channel": kind, "instId": symbol}


def requests(
    op: str, channels: Sequence[str], *, market: str, request: int, limits: Limits
) -> list[bytes]:
    """Return the messages that subscribe or unsubscribe; they have no number."""

    def build(names: list[str], _: int) -> bytes:
        args = [argument(market, *split(name)) for name in names]
        return msgspec.json.encode({"op": op, "args": args})

    return pack_messages(channels, build, limits, request)


# ---- what is said on the WebSocket ---------------------------------------------------------------


class Arg(msgspec.Struct, rename="camel"):
    """What names a channel, on either WebSocket."""

    inst_type: str = ""
    channel: str = ""
    inst_id: str = ""
    topic: str = ""
    symbol: str = ""

    def names(self, market: str) -> tuple[str, ...]:
        """Return our name of it, where it has one on this market."""
        for kind, symbol, of in (
            (self.channel, self.inst_id, market),
            (f"{UTA}{self.topic}", self.symbol, market.lower()),
        ):
            if kind in CHANNELS and symbol and self.inst_type == of:
                return (f"{kind}:{symbol}",)
        return ()


class _Reply(msgspec.Struct):
    event: str = ""
    arg: Arg = msgspec.field(default_factory=Arg)
    code: str | int = ""
    msg: str = ""
    op: str = ""


_reply_decoder = msgspec.json.Decoder(_Reply)
_arg_decoder = msgspec.json.Decoder(Arg)
_CODE: Final = re.compile(r"\d{1,9}")


def parse_notes(data: bytes, market: str) -> tuple[Note, ...]:
    """Read an answer, a ping, a pong or a notice; what is none of Bitget's is BROKEN."""
    if data == PONG:
        return (Note(meaning=Meaning.HEARTBEAT),)
    if data == PING:  # none was seen; an answer costs nothing
        return (Note(meaning=Meaning.HEARTBEAT, answer=PONG),)
    try:
        return (_note(_reply_decoder.decode(data), market),)
    except UNREADABLE as error:
        reason = f"reply {excerpt(data, 200)}: expected a JSON object of Bitget's ({error})"
        return (Note(meaning=Meaning.BROKEN, reason=reason),)


def _note(reply: _Reply, market: str) -> Note:
    code = int(reply.code) if _CODE.fullmatch(str(reply.code)) else 0
    reason = f"{code}: {reply.msg}" if code else reply.msg
    match reply.event:
        case "":
            return Note(meaning=Meaning.UNKNOWN)
        case "subscribe":  # one for each channel
            return Note(meaning=Meaning.ACKNOWLEDGEMENT, channels=reply.arg.names(market))
        case "unsubscribe":  # confirms no subscription
            return Note(meaning=Meaning.ACKNOWLEDGEMENT)
        case "error" if reply.op != "unsubscribe":
            names = reply.arg.names(market) or _named(reply.msg, market)
            return Note(meaning=Meaning.REFUSAL, channels=names, reason=reason, code=code)
        case _:
            return Note(meaning=Meaning.NOTICE, reason=reason or reply.event, code=code)


def _named(words: str, market: str) -> tuple[str, ...]:
    """Return the channel that an error of the unified WebSocket names in its words: as JSON."""
    try:
        return _arg_decoder.decode(words[: words.rfind("}") + 1].encode()).names(market)
    except UNREADABLE:
        return ()
