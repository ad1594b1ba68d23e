"""`tickpath rt revert`: put back what apply changed.

Called by: rt.command. Calls: revert.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.arguments import make_host
from tickpath.rt.tuning.journal import exclusive
from tickpath.rt.tuning.plan_refusals import refuse_user
from tickpath.rt.tuning.revert import revert
from tickpath.rt.tuning.writing import Disk, System

if TYPE_CHECKING:
    from tickpath.rt.tuning.revert import Reverted

EPILOG = """\
example: tickpath rt revert --dry-run
Exit status: 0 all is as it was before; 1 something is left, since somebody else changed it after us
(both values are shown); 3 this machine lacks something."""
EXIT_LEFT = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `revert`."""
    parser = subparsers.add_parser(
        "revert",
        help="put back what apply changed, byte for byte",
        description="Put back what `apply` changed, backwards and byte for byte, as far as it is "
        "still as `apply` left it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root", metavar="DIR", type=Path, default=Path("/"), help="a tree instead of this machine"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be put back")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def run(args: argparse.Namespace) -> int:
    """Revert and tell. Raises HostError."""
    host = make_host(args)
    disk = Disk(host, System())
    boot = host.read("/proc/sys/kernel/random/boot_id") or ""
    if args.dry_run:
        result = revert(disk, boot, dry_run=True)
    else:
        refusal = refuse_user(os.geteuid())
        if refusal is not None:
            raise refusal
        with exclusive(host):
            result = revert(disk, boot)
    if args.json:
        print(json.dumps(result_object(result)))
    else:
        print("\n".join(result_lines(result, args.dry_run)))
    return EXIT_LEFT if result.left else 0


def result_object(result: Reverted) -> dict[str, object]:
    return {
        "restored": [
            {"item": entry.item, "kind": entry.kind, "target": entry.target}
            for entry in result.restored
        ],
        "refused": [asdict(left) for left in result.left],
        "notes": result.notes,
        "reboot_required": result.reboot_required,
    }


def result_lines(result: Reverted, dry_run: bool) -> list[str]:
    verb = "would be restored" if dry_run else "restored"
    lines = [f"{entry.target}: {verb}" for entry in result.restored]
    lines = lines or ["Nothing to put back."]
    lines += [
        f"{left.target}: left as it is: {left.why}; now {left.now!r}, before {left.previous!r}"
        for left in result.left
    ]
    lines += result.notes
    if result.reboot_required:
        lines.append("Reboot to be rid of what stays in force until then.")
    return lines
