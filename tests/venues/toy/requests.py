"""What is asked of the toy and what it answers, as bytes and records: no I/O here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from tickpath.proto.instrument import Instrument, Status, Symbol
from tickpath.proto.records import EXPONENT_MIN
from tickpath.proto.venue import UNREADABLE, InstrumentList, Meaning, Note, excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "toy"
PREFIX: Final = "book."
INSTRUMENTS_PATH: Final = "/instruments"
_SYMBOL: Final = re.compile(r"[A-Z0-9]{1,12}-[A-Z0-9]{1,12}")
_DIGITS_MAX: Final = -EXPONENT_MIN


def checked_symbol(symbol: str) -> str:
    """Return it; raises ValueError where it can be none of the toy's."""
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"symbol {symbol!r}: expected one such as BTC-USDT")
    return symbol


def request(op: str, channels: Sequence[str], number: int) -> bytes:
    """Return a message that subscribes or unsubscribes."""
    return msgspec.json.encode({"op": op, "channels": channels, "id": number})


def pong(number: int | None) -> bytes:
    """Return what a ping of the venue's is answered with: its own number."""
    return msgspec.json.encode({"op": "pong", "id": number})


class _Reply(msgspec.Struct):
    op: Literal["subscribed", "unsubscribed", "refused", "ping", "pong", "notice"]
    channels: tuple[str, ...] = ()
    id: int | None = None
    reason: str = ""


_MEANINGS: Final = {
    "subscribed": Meaning.ACKNOWLEDGEMENT,
    "unsubscribed": Meaning.ACKNOWLEDGEMENT,
    "refused": Meaning.REFUSAL,
    "ping": Meaning.HEARTBEAT,
    "pong": Meaning.HEARTBEAT,
    "notice": Meaning.NOTICE,
}
_reply_decoder = msgspec.json.Decoder(_Reply)


def parse_notes(data: bytes) -> tuple[Note, ...]:
    """Read an answer; what is none is BROKEN."""
    try:
        reply = _reply_decoder.decode(data)
    except UNREADABLE as error:
        return (Note(meaning=Meaning.BROKEN, reason=f"{excerpt(data)}: {error}"),)
    return (
        Note(
            meaning=_MEANINGS[reply.op],
            channels=reply.channels,
            request=reply.id,
            reason=reply.reason,
            answer=pong(reply.id) if reply.op == "ping" else b"",
        ),
    )


class _Row(msgspec.Struct):
    symbol: str
    price_digits: int
    quantity_digits: int
    open: bool = True


def parse_instruments(data: bytes) -> InstrumentList:
    """Read the list; raises ValueError where it is none."""
    try:
        rows = msgspec.json.decode(data, type=list[msgspec.Raw])
    except UNREADABLE as error:
        raise ValueError(f"instrument list {excerpt(data)}: {error}") from error
    listed: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for index, raw in enumerate(rows):
        try:
            row = msgspec.json.decode(raw, type=_Row)
        except UNREADABLE as error:
            left_out[f"row {index}"] = str(error)  # one bad row spoils no other
            continue
        digits = (row.price_digits, row.quantity_digits)
        if not _SYMBOL.fullmatch(row.symbol) or not all(0 <= n <= _DIGITS_MAX for n in digits):
            left_out[row.symbol] = f"{row}: expected a name such as BTC-USDT, 0 to 18 digits"
            continue
        base, _, quote = row.symbol.partition("-")
        listed[row.symbol] = Instrument(
            index=index,
            venue=NAME,
            symbol=row.symbol,
            price_exponent=-row.price_digits,
            quantity_exponent=-row.quantity_digits,
            name=Symbol(base, quote),
            status=Status.TRADING if row.open else Status.HALTED,
        )
    return InstrumentList(listed, left_out)
