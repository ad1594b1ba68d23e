"""Columns of text for people: aligned by what a terminal shows, whole where nothing can wrap.

For tables that are also read by grep and awk: no line is cut or wrapped, whatever the terminal.
Called by: commands that print a table once. Pure.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GAP = "  "
_WIDE = frozenset("WF")


def width(text: str) -> int:
    """Return how many cells of a terminal a text takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in _WIDE)
        for one in text
    )


def aligned(names: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> list[str]:
    """Return a heading and a line a row; the first `left` columns begin at the left."""
    table = [tuple(names), *(tuple(row) for row in rows)]
    widths = [max(width(row[column]) for row in table) for column in range(len(names))]
    return [_line(row, widths, left) for row in table]


def _line(row: Sequence[str], widths: Sequence[int], left: int) -> str:
    cells = []
    for column, (text, size) in enumerate(zip(row, widths, strict=True)):
        pad = " " * (size - width(text))
        cells.append(text + pad if column < left else pad + text)
    return GAP.join(cells).rstrip()
