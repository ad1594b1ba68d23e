"""Ask each program once: under a check or a plan nothing changes, and items share answers.

Never for a host that is being written to: what is read back there has changed since.
Called by: rt.check_command, tuning.plan_request, tuning.apply (--boot). Calls: rt.host, rt.reading.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING

from tickpath.rt.host import Output
from tickpath.rt.reading import unit_question
from tickpath.rt.setting import UnitState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tickpath.rt.host import Host
    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting


def remembering(host: Host) -> Host:
    """Return a host that runs a command when it is first asked for, and then knows its answer."""

    @cache
    def run_once(argv: tuple[str, ...]) -> Output:
        return host.run(argv)

    def run_words(argv: Sequence[str]) -> Output:
        return run_once(tuple(argv))

    return dataclasses.replace(host, run=run_words)


def units_asked(context: Context, settings: Iterable[Setting]) -> Context:
    """Ask systemd for all units at once: starting its client is what takes long."""
    units = [setting.unit for setting in settings if isinstance(setting, UnitState)]
    if not units:
        return context
    host = context.host
    done = host.run(unit_question(*units))
    blocks = done.stdout.strip().split("\n\n")
    if done.status != 0 or len(blocks) != len(units):
        return context  # each is asked for by itself then
    answers = {
        unit_question(unit): Output(0, block, "") for unit, block in zip(units, blocks, strict=True)
    }

    def run_words(argv: Sequence[str]) -> Output:
        known = answers.get(tuple(argv))
        return host.run(argv) if known is None else known

    return dataclasses.replace(context, host=dataclasses.replace(host, run=run_words))
