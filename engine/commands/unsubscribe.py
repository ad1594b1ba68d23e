"""`tickpath unsubscribe`: the other half of subscribe.py beside it.

Called by: engine/cli.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.engine.commands.subscribe import add_options, change
from tickpath.engine.feed_handler.changes import Request

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath unsubscribe`."""
    add_options(
        subparsers,
        "unsubscribe",
        "Have a running feed handler read instruments no more: readers see them as removed.",
    )


def run(args: argparse.Namespace) -> int:
    """Remove and print; 0, or one of the three errors."""
    return change(args, Request(remove=tuple(args.names)))
