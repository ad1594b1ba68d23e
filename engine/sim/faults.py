"""What the simulated exchange does wrong on demand: names, texts, schedules.

Called by: exchange.py (does them), command.py (`--fault gap@5s`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tickpath.shm.errors import LocalError


class Fault(Enum):
    """One thing that may go wrong; `argument` in words where it takes one."""

    GAP = "gap"  # [:SYMBOL] one message is not sent
    DISCONNECT = "disconnect"  # TCP is reset under every WebSocket
    REFUSE = "refuse"  # :SYMBOL subscriptions of it are refused, with code 0
    ACCEPT = "accept"  # :SYMBOL ends refuse
    GARBAGE = "garbage"  # [:SYMBOL] a frame of the channel that is no protobuf
    HALF_FRAME = "half-frame"  # half a WebSocket frame, then silence
    DRIP = "drip"  # [:SECONDS] bytes trickle out
    CROSSED = "crossed"  # [:SYMBOL] a bid at the best ask, until the next message
    DUPLICATE = "duplicate"  # [:SYMBOL] the last message again
    OLD = "old"  # [:SYMBOL] a message of before, which others have followed, again
    SWAP = "swap"  # [:SYMBOL] one message is sent behind the next one
    CUT = "cut"  # [:SYMBOL] one message ends in its middle
    FLIP = "flip"  # [:SYMBOL] one message has another digit somewhere: for who has checksums
    BASE = "base"  # [:SYMBOL] a whole book that nobody asked for, where the stream has them
    PING_FLOOD = "ping-flood"  # [:COUNT] WebSocket pings back to back
    CLOSE = "close"  # [:CODE] a WebSocket close
    PAUSE = "pause"  # no pushes; all else is answered
    RESUME = "resume"  # ends pause
    SILENT = "silent"  # nothing is sent any more over the WebSockets that are open
    HALT = "halt"  # :SYMBOL the instrument list calls it halted
    REOPEN = "reopen"  # :SYMBOL ends halt
    DELIST = "delist"  # :SYMBOL the instrument list does not have it
    RELIST = "relist"  # :SYMBOL ends delist
    DEAFEN = "deafen"  # :SYMBOL subscriptions are acknowledged, and bring nothing from then on
    HEAR = "hear"  # :SYMBOL ends deafen
    MUTE = "mute"  # :SYMBOL its changes are not sent, all others are
    UNMUTE = "unmute"  # :SYMBOL ends mute
    RENUMBER = "renumber"  # [:SYMBOL] its versions begin anew at 1
    UNANSWERED = "unanswered"  # the next request of a WebSocket is done, and not answered
    ANSWER_LATE = "answer-late"  # [:SECONDS] what answers the next request comes so much later
    ANSWER_CUT = "answer-cut"  # the last answer to the next request ends in its middle
    SCALE = "scale"  # [:SYMBOL] its numbers get a digit more, or fewer, or are too large for them
    REST_LATE = "rest-late"  # [:SECONDS] the next answer comes so much later
    REST_LIMIT = "rest-limit"  # [:SECONDS] 429 with Retry-After for so long
    REST_ERROR = "rest-error"  # the next answer is a 503
    REST_MALFORMED = "rest-malformed"  # the next answer ends in its middle
    UPGRADE_LIMIT = "upgrade-limit"  # [:SECONDS] upgrades get 429 with Retry-After for so long
    REST_OLD = "rest-old"  # the next answer is the first one that was given to this request
    REST_DOUBLED = "rest-doubled"  # the next answer names a price twice, the last time as it is
    REST_ROWS = "rest-rows"  # the next answer that is a list has rows that nobody can read


HARMS_INSTRUMENT: Final = frozenset(
    {Fault.GAP, Fault.GARBAGE, Fault.CROSSED, Fault.DUPLICATE, Fault.RENUMBER, Fault.SCALE}
    | {Fault.OLD, Fault.SWAP, Fault.CUT, Fault.FLIP, Fault.BASE}
)
NEEDS_ARGUMENT: Final = frozenset(
    {Fault.REFUSE, Fault.ACCEPT, Fault.MUTE, Fault.UNMUTE, Fault.HALT, Fault.REOPEN}
    | {Fault.DELIST, Fault.RELIST, Fault.DEAFEN, Fault.HEAR}
)
TAKES_NUMBER: Final = frozenset(
    {Fault.DRIP, Fault.PING_FLOOD, Fault.CLOSE, Fault.REST_LATE, Fault.REST_LIMIT}
    | {Fault.UPGRADE_LIMIT, Fault.ANSWER_LATE}
)
TAKES_NOTHING: Final = frozenset(
    {Fault.DISCONNECT, Fault.HALF_FRAME, Fault.PAUSE, Fault.RESUME, Fault.SILENT}
    | {Fault.REST_ERROR, Fault.REST_MALFORMED, Fault.REST_OLD, Fault.REST_DOUBLED, Fault.REST_ROWS}
    | {Fault.UNANSWERED, Fault.ANSWER_CUT}
)
_SCHEDULED = re.compile(r"(?P<fault>[^@]+)@(?P<seconds>\d+(?:\.\d+)?)s?")


@dataclass(frozen=True, slots=True)
class Order:
    """A fault with its argument, and when it happens: seconds after the start."""

    fault: Fault
    argument: str = ""
    at_s: float = 0.0


def parse_fault(text: str) -> Order:
    """Parse KIND or KIND:ARGUMENT; raises LocalError."""
    name, _, argument = text.partition(":")
    try:
        fault = Fault(name)
    except ValueError:
        known = ", ".join(fault.value for fault in Fault)
        raise LocalError(f"fault {name!r}: expected one of {known}") from None
    if fault in NEEDS_ARGUMENT and not argument:
        raise LocalError(f"fault {name}: expected {name}:SYMBOL, for instance {name}:BTCUSDT")
    if fault in TAKES_NOTHING and argument:
        raise LocalError(f"fault {text!r}: {name} takes no argument; leave :{argument} out")
    if fault in TAKES_NUMBER and argument and not argument.isdigit():
        raise LocalError(f"fault {text!r}: expected a number after the colon")
    return Order(fault, argument)


def parse_scheduled_fault(text: str) -> Order:
    """Parse KIND[:ARGUMENT]@SECONDS, for instance gap@5s; raises LocalError."""
    match = _SCHEDULED.fullmatch(text)
    if match is None:
        raise LocalError(f"fault {text!r}: expected KIND[:ARGUMENT]@SECONDS, for instance gap@5s")
    order = parse_fault(match["fault"])
    return Order(order.fault, order.argument, float(match["seconds"]))
