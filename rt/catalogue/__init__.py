"""The catalogue: what a low-latency host should keep, one module an area.

declare has the forms; boot, cpu, memory, scheduler, interrupts, network, services, firmware and
process the items; tried says on which kernels their rules were. Called by: rt.check, tuning.plan.
Calls: the modules of this folder.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tickpath.rt.errors import RequestError

if TYPE_CHECKING:
    from tickpath.rt.item import Item

AREAS = (
    "boot",
    "cpu",
    "memory",
    "scheduler",
    "interrupts",
    "network",
    "services",
    "firmware",
    "process",
)


def all_items() -> tuple[Item, ...]:
    """Return the whole catalogue, in the order of AREAS."""
    modules = [import_module(f"tickpath.rt.catalogue.{area}") for area in AREAS]
    return tuple(item for module in modules for item in module.ITEMS)


def selected_items(only: str | None, option: str = "--only") -> tuple[Item, ...]:
    """Return the items of some areas or ids, "boot,mem.swap"; all of them for None.

    Raises RequestError, naming the option, for a word that is neither.
    """
    items = all_items()
    if only is None:
        return items
    wanted = {word.strip() for word in only.split(",")}
    unknown = wanted - {item.id for item in items} - set(AREAS)
    if unknown:
        raise RequestError(
            f"{option} {','.join(sorted(unknown))!r}: expected areas ({', '.join(AREAS)}) or ids "
            "as `tickpath rt check --list` shows them"
        )
    return tuple(item for item in items if item.id in wanted or item.area in wanted)
