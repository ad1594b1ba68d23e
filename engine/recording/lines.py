"""The outcome of a replay as NDJSON: books, or events; numbers as exact decimal text.

Called by: replay.py. Calls: proto/records.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec
from tickpath._core import lib
from tickpath.proto.records import (
    EVENT_ASK,
    EVENT_SELL,
    EVENT_SIDELESS,
    BookState,
    EventType,
    SyncReason,
    format_fixed,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tickpath.engine.recording.format import Meta

WORD: Final = (1 << 64) - 1
CANCEL = int(lib.TP_ORDER_CANCEL)
_STATES = {int(state): state.name for state in BookState}
_REASONS = {int(reason): reason.name for reason in SyncReason}


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


class BookLines:
    """Write a line for each book whose best bid, best ask or state a message changed."""

    def __init__(self, meta: Meta, out: TextIO, wanted: tuple[int, int]) -> None:
        """Take where to write, and from which t_ns to which."""
        self._out, self._wanted = out, wanted
        self.follow(meta)

    def follow(self, meta: Meta) -> None:
        """Take the header of a file that goes on: instruments may have come."""
        self._names = [
            f'"venue":{_quoted(row.venue)},"symbol":{_quoted(row.symbol)}'
            for row in meta.instruments
        ]

    def __call__(self, tops: NDArray[Any]) -> None:
        """Write them; an empty side is null."""
        first, last = self._wanted
        lines = []
        for (
            t_ns,
            index,
            state,
            price,
            quantity,
            bid,
            bid_quantity,
            ask,
            ask_quantity,
        ) in tops.tolist():
            if not first <= t_ns <= last:
                continue
            lines.append(
                f'{{"t_ns":{t_ns},{self._names[index]},"state":"{_STATES[state]}",'
                f"{_side('bid', bid, bid_quantity, price, quantity)},"
                f"{_side('ask', ask, ask_quantity, price, quantity)}}}\n"
            )
        self._out.write("".join(lines))


def _side(name: str, price: int, quantity: int, price_exponent: int, quantity_exponent: int) -> str:
    if quantity == 0:
        return f'"{name}":null,"{name}_quantity":null'
    return (
        f'"{name}":"{format_fixed(price, price_exponent)}",'
        f'"{name}_quantity":"{format_fixed(quantity, quantity_exponent)}"'
    )


class IntentLines:
    """Write a line for each intent of a native strategy, and count them."""

    def __init__(self, meta: Meta, out: TextIO, wanted: tuple[int, int]) -> None:
        """Take where to write, and from which t_ns to which."""
        self._out, self._wanted = out, wanted
        self.follow(meta)

    def follow(self, meta: Meta) -> None:
        """Take the header of a file that goes on: instruments may have come."""
        self._rows = meta.instruments

    def __call__(self, intents: NDArray[Any]) -> None:
        """Write them; one that was refused may be of anything, so its numbers are left out."""
        first, last = self._wanted
        lines = []
        for index, t_ns, _, is_refused, intent in intents.tolist():
            if not first <= t_ns <= last:
                continue
            head = f'{{"t_ns":{t_ns},"index":{index}'
            lines.append(f"{head},{self._told(intent, is_refused=is_refused)}}}\n")
        self._out.write("".join(lines))

    def _told(self, intent: tuple[int, ...], *, is_refused: bool) -> str:
        order, price, quantity, instrument, verb, side, *exponents, _ = intent
        if is_refused:
            return f'"verb":"refused","order":{order}'
        row = self._rows[instrument]
        head = f'"venue":{_quoted(row.venue)},"symbol":{_quoted(row.symbol)}'
        if verb == CANCEL:
            return f'{head},"verb":"cancel","order":{order}'
        return (
            f'{head},"verb":"place","order":{order},"side":"{"ask" if side else "bid"}",'
            f'"price":"{format_fixed(price, exponents[0])}",'
            f'"quantity":"{format_fixed(quantity, exponents[1])}"'
        )


class EventLines:
    """Write a line for each event, as the ring has it."""

    def __init__(self, meta: Meta, out: TextIO, wanted: tuple[int, int]) -> None:
        """Take where to write, and from which t_ns to which."""
        self._out, self._wanted = out, wanted
        self.follow(meta)

    def follow(self, meta: Meta) -> None:
        """Take the header of a file that goes on: instruments may have come."""
        self._rows = meta.instruments

    def __call__(self, events: NDArray[Any]) -> None:
        """Write them."""
        first, last = self._wanted
        columns = (
            events["index"].tolist(),
            events["instrument"].tolist(),
            events["type"].tolist(),
            events["flags"].tolist(),
            events["price_exponent"].tolist(),
            events["quantity_exponent"].tolist(),
            events["received_ns"].tolist(),
            events["u"]["value"].tolist(),
        )
        self._out.write(
            "".join(
                f'{{"t_ns":{t_ns},"index":{index},{self._told(what, scale, values)}}}\n'
                for index, *what, price, quantity, t_ns, values in zip(*columns, strict=True)
                for scale in ((price, quantity),)
                if first <= t_ns <= last
            )
        )

    def _told(self, what: list[int], scale: tuple[int, int], value: list[int]) -> str:
        (instrument, kind, flags), (price, quantity) = what, scale
        row = self._rows[instrument]
        head = (
            f'"venue":{_quoted(row.venue)},"symbol":{_quoted(row.symbol)},'
            f'"type":"{EventType(kind).name}"'
        )
        match kind:
            case EventType.LEVEL:
                side = "ask" if flags & EVENT_ASK else "bid"
                return (
                    f'{head},"side":"{side}","price":"{format_fixed(value[0], price)}",'
                    f'"quantity":"{format_fixed(value[1], quantity)}","exchange_ns":{value[2]},'
                    f'"sequence":{value[3]}'
                )
            case EventType.TRADE:
                taker = "sell" if flags & EVENT_SELL else "buy"
                return (
                    f'{head},"taker":"{"" if flags & EVENT_SIDELESS else taker}",'
                    f'"price":"{format_fixed(value[0], price)}",'
                    f'"quantity":"{format_fixed(value[1], quantity)}","exchange_ns":{value[2]},'
                    f'"trade_id":{value[3] & WORD}'
                )
            case EventType.TOP | EventType.BEST:
                bid = _side("bid", value[0], value[1], price, quantity)
                ask = _side("ask", value[2], value[3], price, quantity)
                return f"{head},{bid},{ask}"
            case EventType.STATE:
                reason = _REASONS[value[1]]
                return f'{head},"state":"{_STATES[value[0]]}","reason":"{reason}"'
        return head
