"""Show the table of order_state.c, as docs/trading.md has it."""

from __future__ import annotations

from enum import IntEnum
from itertools import product

from tickpath._core import lib
from tickpath.proto.orders import OrderState


class Place(IntEnum):
    """An order's state, told apart by what is known of it."""

    NEW = int(lib.TP_AT_NEW)
    SENT = int(lib.TP_AT_SENT)
    ACKNOWLEDGED = int(lib.TP_AT_ACKNOWLEDGED)
    PARTLY_FILLED = int(lib.TP_AT_PARTLY_FILLED)
    CANCELLING_UNSEEN = int(lib.TP_AT_CANCELLING_UNSEEN)
    CANCELLING = int(lib.TP_AT_CANCELLING)
    UNKNOWN_UNSEEN = int(lib.TP_AT_UNKNOWN_UNSEEN)
    UNKNOWN_CANCEL_UNSEEN = int(lib.TP_AT_UNKNOWN_CANCEL_UNSEEN)
    UNKNOWN_SEEN = int(lib.TP_AT_UNKNOWN_SEEN)
    FILLED = int(lib.TP_AT_FILLED)
    CANCELLED = int(lib.TP_AT_CANCELLED)
    EXPIRED = int(lib.TP_AT_EXPIRED)
    REJECTED = int(lib.TP_AT_REJECTED)
    ABSENT = int(lib.TP_AT_ABSENT)


class Happening(IntEnum):
    """What is done to an order, or heard of it."""

    SENT = int(lib.TP_ON_SENT)
    UNSENT = int(lib.TP_ON_UNSENT)
    ACKNOWLEDGED = int(lib.TP_ON_ACKNOWLEDGED)
    REJECTED = int(lib.TP_ON_REJECTED)
    FILL = int(lib.TP_ON_FILL)
    FILLED = int(lib.TP_ON_FILLED)
    CANCEL_ASKED = int(lib.TP_ON_CANCEL_ASKED)
    CANCEL_REFUSED = int(lib.TP_ON_CANCEL_REFUSED)
    CANCELLED = int(lib.TP_ON_CANCELLED)
    EXPIRED = int(lib.TP_ON_EXPIRED)
    DOUBT = int(lib.TP_ON_DOUBT)
    FOUND_RESTING = int(lib.TP_ON_FOUND_RESTING)
    NOT_FOUND = int(lib.TP_ON_NOT_FOUND)


WORDS = {
    int(lib.TP_ORDER_MOVE_NONE): "·",
    int(lib.TP_ORDER_MOVE_ODD): "!",
    int(lib.TP_ORDER_MOVE_NEVER): "bug",
}


def state_at(place: Place) -> OrderState:
    """Return what strategies see of an order at this place."""
    return OrderState(int(lib.tp_order_state_at(place)))


def _name(name: str) -> str:
    return name.lower().replace("_", " ")


def table() -> str:
    """Return each place and happening with what follows, as a table of Markdown."""
    lines = [
        f"| place | {' | '.join(_name(on.name) for on in Happening)} |",
        f"|---{'|---' * len(Happening)}|",
    ]
    for place in Place:
        moves = (int(lib.tp_order_follow(place, on)) for on in Happening)
        cells = (WORDS.get(move) or _name(Place(move).name) for move in moves)
        lines.append(f"| **{_name(place.name)}** | {' | '.join(cells)} |")
    return "\n".join(lines)


def diagram() -> str:
    """Return which state follows which, as strategies see it, as a diagram of Mermaid."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for place, on in product(Place, Happening):
        move = int(lib.tp_order_follow(place, on))
        if move not in WORDS:
            pair = (state_at(place).name, state_at(Place(move)).name)
            word = _name(on.name)
            if pair[0] != pair[1] and word not in arrows.setdefault(pair, []):
                arrows[pair].append(word)
    lines = ["stateDiagram-v2", "    [*] --> NEW: journaled"]
    lines += [f"    {a} --> {b}: {', '.join(words)}" for (a, b), words in arrows.items() if words]
    return "\n".join(lines)
