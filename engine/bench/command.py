"""`tickpath bench NAME`: one question each, contenders in turn, ratios printed."""

from __future__ import annotations

import difflib
import importlib.util
import signal
import sys
from argparse import RawDescriptionHelpFormatter
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from types import FrameType

EXIT_SIGNAL = 128  # plus its number, as shells report it
BENCHES = {
    "echo": "256 B WebSocket echo: ours, C spinning on recv, picows, websockets, raw frames",
    "wire": "exchange's send call to book in a strategy: ours, picows + protobuf",
    "sparse": "the same at 100 to 10,000 messages a second: ours, without rehearsal, picows",
    "decode": "depth message to numbers: ours, what Python would use (protobuf: upb)",
    "record": "open a TLS record: ours, SSL_read (not of `tickpath record`: replay)",
    "replay": "recorded messages and events a second through the feed's code",
    "burst": "messages a second through the whole path with 1 to 1,000 instruments",
    "handshake": "the loop's longest turn while 63 connections do their TLS handshakes at once",
    "gap": "a lost message to LIVE again, on each venue's simulator, beyond its own time",
    "garbage": "a turn of the loop while a venue sends garbage, against a quiet one's",
    "ring": "an event from core to core, C to C: ours, the bare cache line",
    "ring-python": "an event into Python: ours, iceoryx2, os.pipe, pyzmq",
    "snapshot": "a book read while it is written a million times a second",
    "book": "update, best bid and ask, publish: ours, order_book, sortedcontainers",
    "sign": "an order judged, written and signed: ours, urlencode and hmac",
    "strategy": "an event to a native strategy's decision: Numba, C",
    "memory": "what a feed handler keeps resident, and each further connection",
    "join": "a late joiner's way to exact books of 1,000 instruments",
    "race": "four connections against the best of them, and what a copy costs",
    "relay": "book updates a second through a local Redis, and their age at the far end",
}

CONTENDERS_NEED = {
    "echo": ("picows",),
    "wire": ("picows",),
    "sparse": ("picows",),
    "book": ("order_book", "sortedcontainers"),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath bench`."""
    lines = "\n".join(f"  {name:<13}{text}" for name, text in BENCHES.items())
    parser = subparsers.add_parser(
        "bench",
        description=f"Measure one thing against its contenders.\n\n{lines}",
        epilog="example: tickpath bench decode --json",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true", help="one object a line: rows, then ratios")
    parser.add_argument(
        "--count",
        type=int,
        default=0,
        help="samples a contender (default: its own); of book each sample is 4096 updates, of "
        "relay one update, of echo, wire and sparse one message: begin small; of memory seconds",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns that each contender takes")


def run(args: argparse.Namespace) -> int:
    """Run one benchmark."""
    if args.name not in BENCHES:
        close = difflib.get_close_matches(args.name, BENCHES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(BENCHES)}"
        raise LocalError(f"benchmark {args.name!r}: {hint}")
    if args.count < 0 or args.rounds < 1:
        raise LocalError(
            f"--count {args.count} --rounds {args.rounds}: expected 0 or more, and 1 or more"
        )
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        return _measure(args)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that every segment, server and namespace goes, as after Ctrl-C."""
    sys.exit(EXIT_SIGNAL + number)


def _measure(args: argparse.Namespace) -> int:
    # Contenders run as processes of their own, where a missing package is a traceback of the child.
    for package in CONTENDERS_NEED.get(args.name, ()):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    bench = import_module(f"tickpath.engine.bench.{args.name.replace('-', '_')}")
    report = bench.measure(args.count, args.rounds)
    return int(report.print(as_json=args.json))
