"""What a venue says in its own words (shutdown, maintenance, errors), as lines of the log.

The same words are said once in AGAIN_S; of different ones, LINES_MAX within WINDOW_S: what was left
out is counted in the next line. Words are foreign: cut, and without what a terminal would obey. No
I/O. Called by: subscriptions.py beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

AGAIN_S: Final = 60.0
LINES_MAX: Final = 10
WINDOW_S: Final = 10.0
WORDS_MAX: Final = 300
KNOWN_MAX: Final = 256


def clean(words: str) -> str:
    """Return them as one printable line."""
    line = "".join(one if one.isprintable() else " " for one in words[: WORDS_MAX + 1]).strip()
    return f"{line[:WORDS_MAX]}..." if len(words) > WORDS_MAX else line


@dataclass(slots=True)
class Notices:
    """What was said of late."""

    _last_s: dict[str, float] = field(default_factory=dict)
    _window_s: float = float("-inf")
    _lines: int = 0
    _untold: int = 0

    def take(self, connection: int, words: str, now_s: float) -> list[str]:
        """Return what to say of a notice: a line, or nothing."""
        said = clean(words)
        if not said:
            return []
        if now_s - self._window_s >= WINDOW_S:
            self._window_s, self._lines = now_s, 0
        if now_s - self._last_s.get(said, float("-inf")) < AGAIN_S or self._lines >= LINES_MAX:
            self._untold += 1
            return []
        self._lines += 1
        self._last_s.pop(said, None)
        self._last_s[said] = now_s
        if len(self._last_s) > KNOWN_MAX:
            del self._last_s[next(iter(self._last_s))]
        untold, self._untold = self._untold, 0
        more = f" ({untold:,} more notices since the last line)" if untold else ""
        return [f"connection {connection}: {said}{more}"]
