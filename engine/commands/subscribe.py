"""`tickpath subscribe` and `unsubscribe`: add and remove symbols of a running instance.

Called by: engine/cli.py; unsubscribe.py beside it. Calls: engine/feed_handler/changes.py, which the
feed handler answers by.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.engine.commands.connect_arguments import positive_seconds
from tickpath.engine.feed_handler.changes import Request, ask, names_of, place_of, read_answer
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError
from tickpath.shm.segment import Segment

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from tickpath.engine.feed_handler.changes import Reply

TIMEOUT_S: Final = 30.0
LOOK_S: Final = 0.05
LASTS: Final = (
    "It lasts until `tickpath run` starts the instance anew, over a reload and a crash of the feed "
    "handler too; write it into the configuration to keep it."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath subscribe`."""
    add_options(
        subparsers,
        "subscribe",
        "Have a running feed handler read more instruments of the venues that it reads.",
    )


def add_options(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, description: str
) -> None:
    """Add the options of either command."""
    parser = subparsers.add_parser(
        name,
        description=f"{description} The others stay as they are. {LASTS}",
        epilog=f"example: tickpath {name} demo {DEFAULT_NAME}:ETHUSDT {DEFAULT_NAME}:SOL/USDT. "
        "Status 2 where a name was refused (the others are done), 1 where the venue's list could "
        "not be had, 3 where the instance does not run.",
    )
    parser.add_argument("instance", help="its name (`tickpath stat` lists them)")
    parser.add_argument("names", nargs="+", metavar="VENUE:SYMBOL", help="of either kind of name")
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help="wait so long for the venue's list (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a name")


def run(args: argparse.Namespace) -> int:
    """Add and print; 0, or one of the three errors."""
    return change(args, Request(add=tuple(args.names)))


def change(args: argparse.Namespace, request: Request) -> int:
    """Ask, wait and print; raises LocalError for what was refused."""
    with Segment(args.instance) as segment:  # raises, saying why, where it cannot be read
        if not segment.writer_lives():
            raise SystemSetupError(
                f"instance {args.instance!r}: its feed handler is dead: start it by tickpath run"
            )
    place = place_of(args.instance)
    try:
        asked, answer = ask(place, request)
    except FileNotFoundError as error:
        raise SystemSetupError(
            f"instance {args.instance!r} takes no changes: {place} is not there: it is no feed "
            "handler of this version, or has another run directory (TICKPATH_RUN_DIRECTORY)"
        ) from error
    except OSError as error:
        raise SystemSetupError(f"{place}: {error.strerror or error}") from error
    reply = _await(answer, args.timeout)
    if reply is None:
        _raise_late(args, asked)
        raise AssertionError("it was raised")
    for one in reply.outcomes:
        if args.json:
            print(msgspec.json.encode(one).decode())
        elif one.what != "refused":
            print(f"{one.name}: {one.what}{f': {one.why}' if one.why else ''}")
    refused = [one.why for one in reply.outcomes if one.what == "refused"]
    if refused:
        raise LocalError("; ".join(refused))
    if not args.json and len(names_of(reply.outcomes, "unchanged")) < len(reply.outcomes):
        print(LASTS)
    return 0


def _await(answer: Path, timeout_s: float) -> Reply | None:
    ends_s = time.monotonic() + timeout_s
    while (reply := read_answer(answer)) is None and time.monotonic() < ends_s:
        time.sleep(LOOK_S)
    return reply


def _raise_late(args: argparse.Namespace, asked: Path) -> None:
    try:
        asked.unlink()
    except FileNotFoundError:
        raise RemoteError(
            f"instance {args.instance!r}: not done within {args.timeout:g} s: the venue's "
            "instrument list did not come; it is done once it comes (the log says when)"
        ) from None
    raise SystemSetupError(
        f"instance {args.instance!r}: its feed handler does not look at {asked.parent}: see its log"
    )
