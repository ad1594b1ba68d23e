"""Where `tickpath demo` runs its processes and strategies, and why.

Two strategies, the same on every host; only their placement differs. Where each can spin on a core
of its own, both are split. Elsewhere the C one runs inline, in the feed handler's hot thread, and
the Python one split beside it, so that both ways to a strategy are seen.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tickpath.engine.commands.live_view import SPREAD_STRATEGY
from tickpath.engine.strategy.library import check_writers
from tickpath.shm.errors import LocalError

NATIVE_STRATEGY = "crossing"
LIBRARY = Path(__file__).with_name("libcrossing.so")  # examples/crossing.c of the project
PARAMETERS = {"spread_min": 1, "quantity": 1000}
SPREAD_MODULE = "tickpath.engine.commands.spread"  # examples/spread.py of the project
STRATEGIES = (SPREAD_STRATEGY, NATIVE_STRATEGY)


@dataclass(frozen=True, slots=True)
class Placed:
    """Which CPU each process runs on, and in words why."""

    feed_handler: int | None
    strategies: dict[str, int | None]
    """The CPU of each that is a process of its own; None: any."""
    others: int
    strategies_spin: bool
    text: str

    @property
    def inline(self) -> tuple[str, ...]:
        """Name the strategies that run in the feed handler."""
        return tuple(name for name in STRATEGIES if name not in self.strategies)


def place_processes(cpus: tuple[int, ...]) -> Placed:
    """Give the feed handler a CPU of its own if there are two; split strategies spin, or sleep."""
    inline = f"strategy {NATIVE_STRATEGY} runs inline native, in the feed handler's hot thread"
    if len(cpus) == 1:
        text = (
            f"one CPU ({cpus[0]}): all share it, nobody spins; latencies are the scheduler's; "
            f"{inline}; strategy {SPREAD_STRATEGY} is split"
        )
        return Placed(None, {SPREAD_STRATEGY: None}, cpus[0], strategies_spin=False, text=text)
    feed_handler, *free, others = cpus  # the worthiest first
    if len(free) >= len(STRATEGIES):
        chosen = dict(zip(STRATEGIES, free, strict=False))
        text = (
            f"feed handler spins on CPU {feed_handler}, strategies are split and spin on "
            f"{tuple(chosen.values())}, the rest on {others}"
        )
        return Placed(feed_handler, {**chosen}, others, strategies_spin=True, text=text)
    text = (
        f"{len(cpus)} CPUs: the feed handler spins on CPU {feed_handler}; {inline}; strategy "
        f"{SPREAD_STRATEGY} is split and shares CPU {others} with the exchange and this view, so "
        "it sleeps until the feed handler's waker wakes it: its hop is the kernel's wake-up, not "
        "the path (see `tickpath bench wire`)"
    )
    split: dict[str, int | None] = {SPREAD_STRATEGY: others}
    return Placed(feed_handler, split, others, strategies_spin=False, text=text)


def native_source(directory: Path) -> str:
    """Return the C strategy as `tickpath run` and `tickpath strategy` take it.

    Root runs no library that another user may write. Where a user installed this package and root
    runs it, root has trusted its Python already: then a copy in the demo's own folder is run.
    """
    library = LIBRARY
    try:
        check_writers(library)
    except LocalError:
        library = directory / LIBRARY.name
        if not library.exists():  # a process may run it already: never written over
            shutil.copy(LIBRARY, library)
    return f"{library}:{NATIVE_STRATEGY}"


def words_of(name: str, source: str) -> list[str]:
    """Return what `tickpath strategy` is called with to run a strategy split; source: the C one."""
    if name == SPREAD_STRATEGY:
        return [f"{SPREAD_MODULE}:CrossVenueSpread"]
    parameters = [f"--parameter={key}={value}" for key, value in PARAMETERS.items()]
    return [source, *parameters]


def section_of(name: str, source: str) -> str:
    """Return the [[strategy]] of one that runs inline."""
    parameters = ", ".join(f"{key} = {value}" for key, value in PARAMETERS.items())
    return f"""\
[[strategy]]
name = "{name}"
source = '{source}'
placement = "inline-native"
trust_strategy = true
parameters = {{ {parameters} }}
"""
