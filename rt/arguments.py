"""The arguments that check, plan and apply share: which tree, and what is asked of the host.

Called by: rt.check_command, tuning.plan_command, tuning.apply_command. Calls: rt.host, rt.topology,
rt.profile, rt.item.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.errors import RequestError
from tickpath.rt.host import Host, Output
from tickpath.rt.item import Context
from tickpath.rt.profile import (
    PROFILE_NAMES,
    PROFILE_PATH,
    Request,
    choose_profile,
    request_from_json,
)
from tickpath.rt.topology import read_topology

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --root and what is asked of the host."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="take the files of this tree for the machine's; no command is run",
    )
    parser.add_argument(
        "--profile",
        choices=PROFILE_NAMES,
        help=f"the trade-offs to take (default: {PROFILE_PATH}, else by the machine)",
    )
    parser.add_argument(
        "--isolated",
        metavar="LIST",
        help='CPUs for the hot path, as in "2-3,6"; "": none (default: up to half of the cores)',
    )
    parser.add_argument(
        "--nic",
        metavar="NAME",
        help='the trading interface, or "none" (default: one that carries no ssh session)',
    )
    parser.add_argument(
        "--huge-pages", metavar="N", type=int, help="2 MiB pages (default: by the profile)"
    )
    parser.add_argument(
        "--unthrottled-rt",
        action=argparse.BooleanOptionalAction,
        help="give real-time tasks the whole CPU (kernel.sched_rt_runtime_us=-1); needs a guard",
    )
    parser.add_argument(
        "--mitigations-off",
        action=argparse.BooleanOptionalAction,
        help="boot without CPU mitigations: a security decision, never taken for you",
    )
    parser.add_argument(
        "--idle-poll",
        action=argparse.BooleanOptionalAction,
        help="never idle (idle=poll): heat, and no turbo",
    )


def no_command(argv: Sequence[str]) -> Output:
    """Answer for a tree of files, on which no program can be run."""
    return Output(127, "", f"{argv[0]}: not run, the machine is a tree of files")


def make_host(args: argparse.Namespace) -> Host:
    """Return this machine, or the tree that was named. Raises RequestError where there is none."""
    root: Path = args.root
    if root == Path("/"):
        return Host()
    if not (root / "proc").is_dir():
        raise RequestError(f"--root {root}: no folder proc in it; expected a tree of a machine")
    return Host(root, no_command)


def make_context(args: argparse.Namespace, host: Host) -> Context:
    """Read the topology and settle what is asked: the arguments, above what apply has kept, above
    what the machine suggests. Raises RequestError."""
    topology = read_topology(host)
    kept = host.read(PROFILE_PATH)
    asked = request_from_arguments(args)
    # A different profile is a new question, which nothing kept answers.
    if kept is not None and args.profile is None:
        before = request_from_json(kept)
        given = {
            field.name: value
            for field in dataclasses.fields(Request)
            if (value := getattr(asked, field.name)) is not None
        }
        asked = dataclasses.replace(before, **given)
    return Context(host, topology, choose_profile(topology, asked))


def request_from_arguments(args: argparse.Namespace) -> Request:
    return Request(
        name=args.profile,
        isolated=args.isolated,
        nic=args.nic,
        huge_pages_2m=args.huge_pages,
        unthrottled_rt=args.unthrottled_rt,
        mitigations_off=args.mitigations_off,
        idle_poll=args.idle_poll,
    )
