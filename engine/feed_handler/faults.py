"""What goes wrong in one venue's part of a feed handler by nobody's leave: it ends no other's.

An error that is foreseen is the caller's, who knows what follows. What is left is a bug, of ours or
of a venue's folder, that some message, row or moment brought to light. It ends what it happened in
and nothing else: one message, one turn. It is counted (`venues.faults`), and said with its place in
the code: the same one once in AGAIN_S. No I/O. Called by: venue_feed.py, bases.py and process.py
beside it; any thread.
"""

from __future__ import annotations

import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tickpath.shm.clock import Clock

AGAIN_S: Final = 60.0
KNOWN_MAX: Final = 64
WORDS_MAX: Final = 200


@dataclass(slots=True)
class _Said:
    next_s: float
    untold: int = 0


class Faults:
    """Those of one venue."""

    def __init__(self, log: Callable[[str], None], clock: Clock) -> None:
        """Know none; `log` takes one line."""
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._said: dict[str, _Said] = {}
        self.count = 0

    def take(self, what: str, error: BaseException, follows: str) -> None:
        """Count an error; say what ended by it, the cause and what follows."""
        cause = describe(error)
        key = f"{what}: {cause}"
        with self._lock:
            self.count += 1
            said, now_s = self._said.get(key), self._clock.now_s()
            if said is not None and now_s < said.next_s:
                said.untold += 1
                return
            more = (
                f" ({said.untold:,} more since the last such line)" if said and said.untold else ""
            )
            self._said.pop(key, None)
            self._said[key] = _Said(now_s + AGAIN_S)
            if len(self._said) > KNOWN_MAX:
                del self._said[next(iter(self._said))]
        self._log(f"{key}: {follows}; the other venues go on{more}")

    @contextmanager
    def kept(self, what: str, follows: str) -> Iterator[None]:
        """End the block by whatever error it raises, and go on behind it."""
        try:
            yield
        except Exception as error:
            self.take(what, error, follows)


def describe(error: BaseException) -> str:
    """Name an error and where it was raised, as one line."""
    words = " ".join(str(error).split())[:WORDS_MAX]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    name = type(error).__name__
    return f"{name}: {words}{where}" if words else f"{name}{where}"
