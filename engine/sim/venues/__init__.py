"""The protocols of simulated venues, a file each, with its `DIALECT` (../dialect.py)."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickpath.engine.sim.dialect import Dialect


def dialect_names() -> tuple[str, ...]:
    """Return the venues that can be simulated, without importing any."""
    return tuple(sorted(one.name for one in pkgutil.iter_modules(__path__)))


def load_dialect(name: str) -> type[Dialect]:
    """Import one dialect; raises ValueError, which lists the known, for a name of none."""
    if name not in dialect_names():
        raise ValueError(f"venue {name!r}: expected one of {', '.join(dialect_names())}")
    dialect: type[Dialect] = import_module(f"{__name__}.{name}").DIALECT
    return dialect
