"""`tickpath tail`: follow the events of an instance, as people read them or as NDJSON.

A reader like any other: slow output means laps, which are told, never a slower feed. Prices and
quantities are exact decimals. Called by: engine/cli.py. Calls: engine/client/reader.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tickpath.engine.client.reader import RESTARTED, open_reader
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.proto.instrument import ROW_STATUSES
from tickpath.proto.records import BookState, EventType, RowChange, SyncReason, format_fixed
from tickpath.proto.venues import DEFAULT_NAME, find_symbol
from tickpath.shm.errors import LocalError
from tickpath.shm.reader import Result

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from tickpath.engine.client.reader import Event, FeedReader
    from tickpath.proto.instrument import Instrument

WAIT_NS = 20_000_000
TYPES = {kind.name.lower(): int(kind) for kind in EventType}
STATUSES = {place: status.value for place, status in enumerate(ROW_STATUSES) if status}
_WORD = (1 << 64) - 1
TROUBLES = {
    int(Result.SILENT): "writer silent",
    int(Result.ALIVE): "writer alive",
    RESTARTED: "writer restarted",
}

REST = {  # of a line for people, by the event's type
    "level": "{side} {price} x {quantity}",
    "top": "{bid_quantity} x {bid} | {ask} x {ask_quantity}",
    "best": "{bid_quantity} x {bid} | {ask} x {ask_quantity}",
    "trade": "{taker} {price} x {quantity}",
    "state": "{state} {reason}  {at}",
    "instrument": "{change}",
    "status": "{status}",
    "verified": "equal: {is_equal}",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath tail`."""
    parser = subparsers.add_parser(
        "tail",
        description="Follow the events of an instance from now on, until Ctrl-C.",
        epilog="Prices and quantities are exact decimals; --json has them as text. "
        f"Example: tickpath tail {DEFAULT_NAME} --symbol BTCUSDT --type top --json",
    )
    parser.add_argument("instance", help="instance name (tickpath stat lists them)")
    parser.add_argument(
        "--symbol",
        action="append",
        metavar="SYMBOL",
        help="only this one, as in BTCUSDT or BTC/USDT; may be given again",
    )
    parser.add_argument(
        "--type", action="append", choices=tuple(TYPES), help="only this type; may be given again"
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N events")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print events and troubles; 0 after --count or a signal."""
    if args.count < 0:
        raise LocalError(f"--count {args.count}: expected 1 or more, 0 for no end")
    stop = StopFlag()
    with (
        EndSignals(stop.set, "the reader of its output"),
        open_reader(args.instance, name="tail") as reader,
    ):
        _Tail(reader, args).run(stop)
    return 0


class _Tail:
    """One follower: its filters, and how it prints."""

    def __init__(self, reader: FeedReader, args: argparse.Namespace) -> None:
        self._reader = reader
        self._types = {TYPES[name] for name in args.type or TYPES}
        self._left = args.count
        self._format: Callable[[dict[str, Any]], str] = json.dumps if args.json else self._as_text
        reader.set_wait(WAIT_NS, block=True)
        try:
            asked = [find_symbol(reader.instruments, text) for text in args.symbol or []]
        except ValueError as error:
            raise LocalError(f"--symbol: {error}: see `tickpath dump {args.instance}`") from error
        self._asked = {(one.venue, one.symbol) for one in asked}

    def run(self, stop: StopFlag) -> None:
        """Look until told to stop; output goes out whenever there is nothing to read."""
        unsent = False
        while not stop.is_set():
            result = self._reader.next()
            if result == Result.EVENT:
                try:
                    unsent |= self._show(self._reader.event)
                except ValueError:  # numbers that cannot be; the others are shown
                    self._print({"event": f"broken event {self._reader.event.index}"})
                if self._left < 0:
                    break
            elif result == Result.LAPPED:
                self._print({"event": "lapped", "lost": self._reader.lost})
            elif result in TROUBLES:
                self._print({"event": TROUBLES[result]})
            elif unsent:
                print(end="", flush=True)
                unsent = False
        print(end="", flush=True)

    def _show(self, event: Event) -> bool:
        instruments = self._reader.instruments
        if event.instrument >= len(instruments) or event.type not in self._types:
            return False  # also a type that a newer minor version added
        instrument = instruments[event.instrument]
        if self._asked and (instrument.venue, instrument.symbol) not in self._asked:
            return False
        told = describe(event, instrument)
        if event.type == EventType.STATE:  # a state is looked up beside other logs
            offset_ns = int(self._reader.shm.segment.header.clock.realtime_offset_ns)
            told["at"] = wall_time((event.published_ns + offset_ns) / 1e9)
        print(self._format(told))
        if self._left:
            self._left = self._left - 1 or -1
        return True

    def _print(self, trouble: dict[str, Any]) -> None:
        print(self._format(trouble), flush=True)

    def _as_text(self, told: dict[str, Any]) -> str:
        if "index" not in told:
            lost = f": {told['lost']:,} events lost" if "lost" in told else ""
            return f"-- {told['event']}{lost}"
        rest = REST.get(told["event"], "").format(**told)
        venues = {one.venue for one in self._reader.instruments}
        name = told["symbol"] if len(venues) == 1 else f"{told['venue']}:{told['symbol']}"
        return f"{told['index']:>10} {name:<14} {told['event']:<6} {rest}"


def describe(event: Event, instrument: Instrument) -> dict[str, Any]:
    """Return an event's fields by name; prices and quantities as decimal text."""
    told: dict[str, Any] = {
        "index": event.index,
        "event": EventType(event.type).name.lower(),
        "venue": instrument.venue,
        "symbol": instrument.symbol,
        "received_ns": event.received_ns,
        "published_ns": event.published_ns,
    }
    price, quantity = event.price_exponent, event.quantity_exponent
    first, second, third, fourth = event.value
    if event.type == EventType.LEVEL:
        told["side"] = "ask" if event.is_ask else "bid"
        told |= {"price": format_fixed(first, price), "quantity": format_fixed(second, quantity)}
        told |= {"exchange_ns": third, "book_sequence": fourth}
    elif event.type == EventType.TRADE:
        told |= {"taker": event.taker, "price": format_fixed(first, price)}
        told |= {"quantity": format_fixed(second, quantity)}
        told |= {"exchange_ns": third, "trade_id": fourth & _WORD}
    elif event.type in (EventType.TOP, EventType.BEST):
        told |= {"bid": format_fixed(first, price), "bid_quantity": format_fixed(second, quantity)}
        told |= {"ask": format_fixed(third, price), "ask_quantity": format_fixed(fourth, quantity)}
    elif event.type == EventType.STATE:
        told |= {"state": BookState(first).name, "reason": SyncReason(second).name}
    elif event.type == EventType.MESSAGE:
        told |= {"taken_ns": first, "decoded_ns": second}
        told |= {"exchange_ns": third, "book_sequence": fourth}
    elif event.type == EventType.INSTRUMENT:
        told |= {"change": RowChange(second).name.lower(), "generation": first}
    elif event.type == EventType.STATUS:
        told |= {"status": STATUSES.get(first, "unknown"), "exchange_ns": third}
    elif event.type == EventType.VERIFIED:
        told |= {"is_equal": event.is_equal, "verified_ns": first, "book_sequence": fourth}
    return told
