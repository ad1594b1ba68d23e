"""How long each phase of a run took: said as it ends, and again as one table when all is over.

Called by: image, machine, conftest and the tests. Calls: nothing.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_done: list[tuple[str, float]] = []


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Time what is done inside, also where it fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        _done.append((name, seconds))
        # pytest captures sys.stderr; a run of minutes has to show that it moves.
        print(f"vm: {name}: {seconds:.1f} s", file=sys.__stderr__, flush=True)


def table() -> list[str]:
    """Return one line a phase, in the order in which they ended."""
    width = max((len(name) for name, _ in _done), default=0)
    return [f"{name:<{width}} {seconds:7.1f} s" for name, seconds in _done]
