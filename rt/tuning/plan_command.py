"""`tickpath rt plan`: print each write that apply would do, in order. Nothing is written.

Called by: rt.command. Calls: plan_request.
"""

from __future__ import annotations

import argparse
import json

from tickpath.rt.tuning.plan_request import (
    add_plan_arguments,
    plan_from,
    plan_object,
    skipped_lines,
    step_lines,
)

EPILOG = """\
example: tickpath rt plan --profile metal-irq --isolated 2-3 --nic eth0
Exit status: 0 a plan, also an empty one; 2 or 3 it would be refused,
with the reason."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `plan`."""
    parser = subparsers.add_parser(
        "plan",
        help="print each write that apply would do",
        description="Print each write that `apply` would do, in order: its effect now or at the "
        "next boot, where it is kept, what is skipped and why. Nothing is written.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_plan_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the plan, then raise its first refusal if it has one."""
    context, plan = plan_from(args)
    if args.json:
        print(json.dumps(plan_object(context, plan)))
    else:
        lines = [line for step in plan.steps for line in step_lines(step)]
        lines = lines or ["Nothing to write: this host is as the profile wants it."]
        lines += skipped_lines(plan.skipped)
        if plan.refusals:
            lines += ["", "Refused:", *(f"  {refusal}" for refusal in plan.refusals)]
        elif plan.reboot_required:
            lines += ["", "A reboot is needed; `tickpath rt promote` afterwards makes it last."]
        print("\n".join(lines))
    if plan.refusals:
        raise plan.refusals[0]
    return 0
