"""`tickpath export`: its options; the work is export.py's, which needs pyarrow.

Called by: engine/cli.py. Calls: export.py, once it runs: help needs no package.
"""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.engine.recording.inputs import add_input_arguments

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath export`."""
    parser = subparsers.add_parser(
        "export",
        description="Write a recording's events and books as columns.\n\n"
        "NAME.events.* has a row an event, NAME.books.* one for each message that changed a best\n"
        "price, its quantity or the state. Prices and quantities are exact: decimal(38, 18) in\n"
        "parquet, plain decimals in csv. hftbacktest has NAME.VENUE.SYMBOL.npz for each "
        "instrument:\nits depth and trades as hftbacktest 2 reads them.",
        epilog="examples: tickpath export recordings/ --format parquet --out columns/\n"
        "          tickpath export --tardis feeds/2026/11/01/ --format csv",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_input_arguments(parser)
    parser.add_argument("--format", choices=("parquet", "csv", "hftbacktest"), default="parquet")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="made if missing (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a file written")


def run(args: argparse.Namespace) -> int:
    """Export; 0, or an error. Raises ModuleNotFoundError where pyarrow is not installed."""
    if args.format == "hftbacktest":
        from tickpath.engine.recording import hftbacktest  # noqa: PLC0415 # needs no pyarrow

        return hftbacktest.run(args)
    from tickpath.engine.recording import export  # noqa: PLC0415 # only where it is to work

    return export.run(args)
