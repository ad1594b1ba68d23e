"""What the simulated venue's stream does wrong on demand: lost, doubled, late, cut or altered.

Of one instrument at a time; the changes themselves are the book's and happen all the same. No I/O
and no clock. Called by: exchange.py, with every message that a change of a book makes and with what
answers a request. Calls: connection.py (`frame`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from tickpath.engine.sim.connection import frame
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.faults import Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from tickpath.engine.sim.faults import Order

KEPT_MAX: Final = 6
"""Messages of each channel: the oldest of them is what comes again as an old one."""
LATE_S: Final = 2.0
WIRE_CUTS: Final = 0.5
"""Of the messages that are cut, where they are packed: the member itself, not its text."""
NEXT_MESSAGE: Final = frozenset({Fault.GAP, Fault.SWAP, Fault.CUT, Fault.FLIP})
"""They harm the next message of an instrument."""
NEXT_ANSWER: Final = frozenset({Fault.UNANSWERED, Fault.ANSWER_LATE, Fault.ANSWER_CUT})
"""They harm what answers the next request that changes what a client listens to."""

Frames = list[tuple[str, bytes]]
"""Channels, and what is sent over each."""


class MessageFaults:
    """Spoils the messages that come after an order; one order, one message."""

    def __init__(
        self, generator: random.Random, wire: Callable[[Message], Message] | None = None
    ) -> None:
        """`wire` packs a message, where the venue does."""
        self.muted: set[str] = set()
        self._wire = wire
        self._random = generator
        self._orders: dict[str, list[Fault]] = {}
        self._answers: deque[Order] = deque()
        self._held: dict[str, Frames] = {}
        self._kept: dict[str, deque[bytes]] = {}

    def harm_next(self, symbol: str, fault: Fault) -> None:
        """Let a fault of NEXT_MESSAGE happen to an instrument's next message."""
        self._orders.setdefault(symbol, []).append(fault)

    def spoil(self, symbol: str, pushed: Sequence[tuple[str, Message]]) -> Frames:
        """Return what is sent of what a change made; the venue said it, lost or not."""
        if not pushed or symbol in self.muted:
            return []
        orders = self._orders.get(symbol)
        fault = orders.pop(0) if orders else None
        if fault is Fault.GAP:
            return []
        sent = [(channel, self._framed(message, fault)) for channel, message in pushed]
        for channel, framed in sent:
            self._kept.setdefault(channel, deque(maxlen=KEPT_MAX)).append(framed)
        if fault is Fault.SWAP and symbol not in self._held:
            self._held[symbol] = sent
            return []
        return sent + self._held.pop(symbol, [])

    def _framed(self, message: Message, fault: Fault | None) -> bytes:
        """Return it as it is sent; a packed one is cut before it was packed, or afterwards."""
        if self._wire is None:
            return frame(self._altered(message, fault))
        if fault is Fault.CUT and self._random.random() < WIRE_CUTS:
            return frame(cut(self._wire(message)))
        return frame(self._wire(self._altered(message, fault)))

    def _altered(self, message: Message, fault: Fault | None) -> Message:
        if fault is Fault.CUT:
            return cut(message)
        return self._flipped(message) if fault is Fault.FLIP else message

    def _flipped(self, message: Message) -> Message:
        """Return it with another digit somewhere; one without digits stays as it is."""
        places = [at for at, byte in enumerate(message.data) if 0x30 <= byte <= 0x39]
        if not places:
            return message
        data, at = bytearray(message.data), self._random.choice(places)
        data[at] = self._random.choice([byte for byte in range(0x30, 0x3A) if byte != data[at]])
        return Message(bytes(data), message.is_text)

    def again(self, channel: str, fault: Fault) -> bytes:
        """Return the frame that DUPLICATE or OLD sends once more; b"": there is none."""
        kept = self._kept.get(channel)
        if not kept:
            return b""
        return kept[-1] if fault is Fault.DUPLICATE else kept[0]

    def harm_answer(self, order: Order) -> None:
        """Let a fault of NEXT_ANSWER happen."""
        self._answers.append(order)

    def spoil_answers(self, answers: list[Message]) -> tuple[list[Message], float]:
        """Return what is sent in the place of the answers to a request, and how late."""
        if not self._answers:
            return answers, 0.0
        order = self._answers.popleft()
        if order.fault is Fault.UNANSWERED:
            return [], 0.0
        if order.fault is Fault.ANSWER_LATE:
            return answers, float(order.argument or LATE_S)
        return [*answers[:-1], *map(cut, answers[-1:])], 0.0


def cut(message: Message) -> Message:
    """Return the first half of a message."""
    return Message(message.data[: len(message.data) // 2], message.is_text)
