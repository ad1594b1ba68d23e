"""The protocols of simulated venues, a file each, with its `DIALECT` (../dialect.py).

A venue outside of the tree (proto/venues) has its own beside its `venue.py`, as `dialect.py`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tickpath.proto import venues

if TYPE_CHECKING:
    from tickpath.engine.sim.dialect import Dialect


def dialect_names() -> tuple[str, ...]:
    """Return the venues that can be simulated, without importing any."""
    ours = {one.name for one in pkgutil.iter_modules(__path__)}
    others = {name for name in venues.venue_names() if find_spec(_outside(name)) is not None}
    return tuple(sorted(ours | others))


def _outside(name: str) -> str:
    return f"{venues.__name__}.{name}.dialect"


def load_dialect(name: str) -> type[Dialect]:
    """Import one dialect; raises ValueError, which lists the known, for a name of none."""
    if name not in dialect_names():
        raise ValueError(f"venue {name!r}: expected one of {', '.join(dialect_names())}")
    is_ours = find_spec(f"{__name__}.{name}") is not None
    place = f"{__name__}.{name}" if is_ours else _outside(name)
    dialect: type[Dialect] = import_module(place).DIALECT
    return dialect
