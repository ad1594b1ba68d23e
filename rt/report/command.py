"""`tickpath rt report`: write one self-contained HTML page of what check and measure printed.

Called by: rt.command, the playbooks. Calls: rt.report.page.
"""

from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.report.page import Findings, write_page

if TYPE_CHECKING:
    import argparse

    from tickpath.rt.report.page import Json

INPUT_BYTES_MAX = 256 << 20
KEYS = {"check": ("items",), "measure": ("runs", "ab")}  # one of them is in what each prints
FILES = {
    "check": "what `tickpath rt check --json` printed",
    "measure": "what `tickpath rt measure --json` printed",
    "before-check": "the same of before, to compare with",
    "before-measure": "the same of before, to compare with",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report`."""
    parser = subparsers.add_parser(
        "report",
        description="Write one HTML page of score, items and histograms, before and after. It "
        "holds all that it needs: no network, no script.",
        epilog="example: tickpath rt check --json > check.json\n"
        "         tickpath rt measure --json > measure.json\n"
        "         tickpath rt report --check check.json --measure measure.json --output host.html",
        formatter_class=RawDescriptionHelpFormatter,
    )
    for name, what in FILES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    parser.add_argument("--title", default="Real-time host", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")


def run(args: argparse.Namespace) -> int:
    """Read, write, end."""
    read = {name: load(getattr(args, name.replace("-", "_"))) for name in FILES}
    for name, found in read.items():
        command = name.removeprefix("before-")
        if found is not None and not any(key in found for key in KEYS[command]):
            raise RequestError(f"--{name}: not what `tickpath rt {command} --json` prints")
    if read["check"] is None and read["measure"] is None:
        raise RequestError("nothing to report: expected --check FILE, --measure FILE or both")
    after = Findings(read["check"], read["measure"])
    page = write_page(args.title, after, Findings(read["before-check"], read["before-measure"]))
    if args.output is None:
        sys.stdout.write(page)
        return 0
    try:
        args.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise HostError(f"{args.output}: {error.strerror}: choose another --output") from error
    print(f"report: {args.output}, {len(page.encode()):,} bytes", file=sys.stderr)
    return 0


def load(path: Path | None) -> Json | None:
    """Read a JSON object. Raises RequestError saying what is wrong with the file."""
    if path is None:
        return None
    try:
        if path.stat().st_size > INPUT_BYTES_MAX:
            raise RequestError(f"{path}: larger than {INPUT_BYTES_MAX} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"{path}: {type(value).__name__}, expected an object, as --json prints")
    return value
