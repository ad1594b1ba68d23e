"""From the command line to a plan: what plan and apply share.

Called by: plan_command, apply_command. Calls: rt.arguments, rt.catalogue, rt.remembered, plan,
journal.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from tickpath.rt.arguments import add_arguments, make_context, make_host
from tickpath.rt.catalogue import selected_items
from tickpath.rt.errors import HostError
from tickpath.rt.remembered import remembering, units_asked
from tickpath.rt.tuning.journal import Log, read_journal
from tickpath.rt.tuning.plan import Options, collect, make_plan
from tickpath.rt.tuning.plan_boot import trial_state

if TYPE_CHECKING:
    import argparse

    from tickpath.rt.host import Host
    from tickpath.rt.item import Context
    from tickpath.rt.tuning.plan import Plan
    from tickpath.rt.tuning.plan_step import Skipped, Step


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of the host, and how to tell it."""
    add_arguments(parser)
    parser.add_argument(
        "--only",
        metavar="NAME,…",
        help="areas (boot, cpu, memory, …) or items (cmd.isolcpus); what our files say of the "
        "rest stays",
    )
    parser.add_argument(
        "--allow-ssh-nic",
        action="store_true",
        help="retune the interface that ssh came in over too, at the risk of losing it",
    )
    parser.add_argument(
        "--rt-kernel-later",
        action="store_true",
        help="do not refuse because the RT kernel is not installed: it will be before apply",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def plan_from(args: argparse.Namespace) -> tuple[Context, Plan]:
    """Read the host and plan. Raises RequestError, HostError.

    Programs are asked once while planning; the context that is returned asks anew, for what writes.
    """
    host = make_host(args)
    context = make_context(args, remembering(host))
    wanted = collect(context, selected_items(args.only))
    context = units_asked(context, [each.setting for each in wanted])
    options = Options(
        partial=args.only is not None,
        allow_ssh_nic=args.allow_ssh_nic,
        rt_kernel_later=args.rt_kernel_later,
    )
    plan = make_plan(context, wanted, read_log(host), options)
    return replace(context, host=host), plan


def read_log(host: Host) -> Log:
    """Read the journal; whoever may not read it may plan without."""
    try:
        return read_journal(host)
    except HostError:
        return Log()


def step_row(step: Step) -> dict[str, str | None]:
    """Describe a step for programs."""
    return {
        "item": step.item,
        "kind": step.kind,
        "target": step.target,
        "before": step.before,
        "after": step.after,
        "effect": step.effect,
        "command": step.command,
        "persisted_in": step.persisted_in,
        "diff": step.diff,
    }


def plan_object(context: Context, plan: Plan) -> dict[str, object]:
    """Describe a plan for programs; after its application, trial tells what came of it."""
    trial = trial_state(context)
    return {
        "writes": [step_row(step) for step in plan.steps],
        "skipped": [asdict(each) for each in plan.skipped],
        "refused": [str(refusal) for refusal in plan.refusals],
        "reboot_required": plan.reboot_required,
        "trial": trial,
        "profile": asdict(context.profile),
    }


def step_lines(step: Step) -> list[str]:
    """Describe a step for people: the write, what it replaces, and a file's diff."""
    notes = []
    if step.before is not None and step.kind in {"kernel", "ethtool", "unit", "grub-next"}:
        notes.append(f"now: {step.before.strip() or 'none'}")
    if step.persisted_in not in {"", step.target}:
        notes.append(f"kept in {step.persisted_in}")
    if step.effect == "reboot":
        notes.append("takes effect at the next boot")
    if step.item:
        notes.append(step.item)
    lines = [f"{step.command}" + (f"    # {'; '.join(notes)}" if notes else "")]
    return lines + [f"    {line}" for line in step.diff.splitlines()]


def skipped_lines(skipped: tuple[Skipped, ...]) -> list[str]:
    if not skipped:
        return []
    return ["", "Skipped:"] + [f"  {each.item}: {each.target}: {each.why}" for each in skipped]
