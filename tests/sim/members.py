"""What may happen to one connection of a race while the others go on: lags, losses, ends.

A `Member` is a connection of the simulated venue whose bytes all come later by `lag_s`, in their
order. `harm` does a fault to one of an exchange's, which the exchange's own would do to all.
Called by: deployment.py, campaign.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from tickpath.engine.sim.connection import Connection
from tickpath.engine.sim.faults import parse_fault

if TYPE_CHECKING:
    import random

    from tickpath.engine.sim.connection import Service
    from tickpath.engine.sim.exchange import Exchange

LAG_MAX_S: Final = 0.03
STALL_S: Final = 0.4
OWN: Final = ("lose", "lose", "repeat", "stall", "garbled")
CONNECTION: Final = ("disconnect", "disconnect", "half-frame", "drip", "close", "silent")
KINDS: Final = (*OWN, *CONNECTION)
# What each is called where counters are held to what was done.
ALIKE: Final = {"lose": "gap", "repeat": "duplicate", "garbled": "garbage"}


class Member(Connection):
    """One connection of a race."""

    def __init__(self, service: Service, lag_s: float) -> None:
        super().__init__(service)
        self.lag_s = lag_s
        self.losing = self.repeating = self.garbling = 0
        self._late: deque[bytes] = deque()

    def push(self, frame: bytes) -> None:
        """Queue a framed message, unless it is lost here."""
        if self.losing:
            self.losing -= 1
            return
        if self.garbling:
            self.garbling -= 1
            frame = frame[:-9] + b"?" * 9
        for _ in range(1 + bool(self.repeating)):
            super().push(frame)
        self.repeating = max(0, self.repeating - 1)

    def write(self, data: bytes) -> None:
        """Send it so much later; nothing overtakes."""
        self._late.append(data)
        self._service.later(self.lag_s, self._let_out)

    def _let_out(self) -> None:
        super().write(self._late.popleft())

    def _drip_on(self, pauses: int) -> None:
        """Let out what waited before what comes late: it is older."""
        if pauses <= 0 and self._held is not None:
            rest, self._held = b"".join(self._held), None
            super().write(rest)
            return
        super()._drip_on(pauses)

    def stall(self) -> None:
        """Hold back all for a while."""
        lag_s, self.lag_s = self.lag_s, STALL_S

        def go_on() -> None:
            self.lag_s = lag_s

        self._service.later(STALL_S, go_on)


def harm_any(exchange: Exchange, kind: str, generator: random.Random) -> None:
    """Do a fault of CONNECTION to one of all that are open."""
    if exchange._websockets:
        order = parse_fault(kind)
        one = generator.choice(list(exchange._websockets.values()))
        exchange._harm_connection(order.fault, order.argument, one)


def harm(exchange: Exchange, kind: str, generator: random.Random) -> None:
    """Do a fault to one connection that is open, if there is one."""
    there = [one for one in exchange._websockets.values() if isinstance(one, Member)]
    if not there:
        return
    member = generator.choice(there)
    match kind:
        case "lose":
            member.losing += generator.randrange(1, 4)
        case "repeat":
            member.repeating += 1
        case "garbled":
            member.garbling += 1
        case "stall":
            member.stall()
        case _:
            order = parse_fault(kind)
            exchange._harm_connection(order.fault, order.argument, member)
