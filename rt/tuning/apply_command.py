"""`tickpath rt apply`: write the plan, each previous value journaled first.

Called by: rt.command, tickpath-rt.service (--boot). Calls: plan_request, apply.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.arguments import make_host
from tickpath.rt.errors import HostError
from tickpath.rt.item import Context
from tickpath.rt.profile import Request, choose_profile
from tickpath.rt.topology import read_topology
from tickpath.rt.tuning.apply import apply_boot_list, apply_steps
from tickpath.rt.tuning.journal import JOURNAL, exclusive
from tickpath.rt.tuning.plan import INSTALLED_BUNDLE, service_program
from tickpath.rt.tuning.plan_files import SERVICE_FILE
from tickpath.rt.tuning.plan_refusals import refuse_user
from tickpath.rt.tuning.plan_request import (
    add_plan_arguments,
    plan_from,
    plan_object,
    skipped_lines,
    step_lines,
    step_row,
)
from tickpath.rt.tuning.writing import Disk, System

if TYPE_CHECKING:
    from tickpath.rt.host import Host
    from tickpath.rt.tuning.apply import Outcome
    from tickpath.rt.tuning.plan import Plan
    from tickpath.rt.tuning.plan_step import Skipped

EPILOG = f"""\
Each previous value goes into {JOURNAL} before its write; a second run writes
nothing. A new command line or kernel is booted once: after the reboot, `tickpath rt promote` makes
it last; without that, or if it does not boot, the machine is back at the old one.

example: tickpath rt apply --profile metal-irq --isolated 2-3 --nic eth0
Exit status: 0 written, or nothing to write; 2 what is asked for is refused; 3 this machine lacks
something (root, a writable /sys, GRUB). Refused is always before the first write."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `apply`."""
    parser = subparsers.add_parser(
        "apply",
        help="write the plan, each previous value journaled",
        description="Write what `plan` prints, as root.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_plan_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="stop before the first write")
    parser.add_argument(
        "--boot",
        action="store_true",
        help="apply only what no standard file keeps (run by tickpath-rt.service)",
    )


def run(args: argparse.Namespace) -> int:
    """Plan and write. Raises RequestError, HostError."""
    refusal = None if args.dry_run else refuse_user(os.geteuid())
    if args.boot:
        return run_boot(args)
    if refusal is not None:
        plan_from(args)  # a request that cannot be is told first: root would not mend it
        raise refusal
    if args.dry_run:
        context, plan = plan_from(args)
        refuse(plan)
        tell(args.json, context, plan, None)
        return 0
    with exclusive(make_host(args)):
        context, plan = plan_from(args)
        refuse(plan)
        refuse_service(context.host, plan)
        outcomes = apply_steps(context, plan.steps, Disk(context.host, System()), progress)
    tell(args.json, context, plan, outcomes)
    return 0


def run_boot(args: argparse.Namespace) -> int:
    """Apply the list of the boot service."""
    refusal = refuse_user(os.geteuid())
    if refusal is not None:
        raise refusal
    host = make_host(args)
    topology = read_topology(host)
    # What was planned counts, not what a profile would be today: its interface may be gone.
    context = Context(host, topology, choose_profile(topology, Request()))
    outcomes, skipped = apply_boot_list(context, Disk(host, System()))
    print("\n".join([*outcome_lines(outcomes), *skipped_lines(skipped)]) or "Nothing to write.")
    return 0


def refuse(plan: Plan) -> None:
    if plan.refusals:
        raise plan.refusals[0]


def refuse_service(host: Host, plan: Plan) -> None:
    """Refuse to have a program started at each boot that is not there.

    Only apply asks: Ansible plans by a copy in a temporary folder, and installs it before it
    applies.
    """
    if host.root != Path("/") or all(step.target != SERVICE_FILE for step in plan.steps):
        return
    program = service_program(host)
    if not host.exists(program):
        raise HostError(
            f"{SERVICE_FILE} is to run {program} at each boot, and it is not there: put this "
            f"program there first (install -D -m 755 tickpath-rt.pyz {INSTALLED_BUNDLE})"
        )


def progress(text: str) -> None:
    print(f"tickpath: {text}", file=sys.stderr)


def tell(as_json: bool, context: Context, plan: Plan, outcomes: tuple[Outcome, ...] | None) -> None:
    """Print what was done, or with outcomes None what would be."""
    skipped: tuple[Skipped, ...] = plan.skipped
    if as_json:
        told = plan_object(context, plan)
        if outcomes is not None:
            told["writes"] = [step_row(each.step) for each in outcomes if each.status == "written"]
            told["not_taken"] = [
                step_row(each.step) | {"status": each.status, "told": each.told}
                for each in outcomes
                if each.status != "written"
            ]
        print(json.dumps(told))
        return
    if outcomes is None:
        lines = [line for step in plan.steps for line in step_lines(step)]
    else:
        lines = outcome_lines(outcomes)
    lines = lines or ["Nothing to write: this host is as the profile wants it."]
    lines += skipped_lines(skipped)
    if plan.reboot_required:
        lines += ["", "Reboot, then `tickpath rt promote`: the new line is booted once till then."]
    print("\n".join(lines))


def outcome_lines(outcomes: tuple[Outcome, ...]) -> list[str]:
    lines: list[str] = []
    for each in outcomes:
        lines.append(each.step.command)
        if each.status == "kept":
            lines.append(f"    refused by the kernel: it reads {each.told!r} afterwards")
        elif each.status == "failed":
            lines.append(f"    failed: {each.told}")
    return lines
