"""Names of keys from the bytes that a terminal sends (xterm's control sequences; ECMA-48).

Called by: engine/top/command.py. Pure.
"""

from __future__ import annotations

SEQUENCES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",  # the same in application mode
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
}
CONTROLS = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b": "escape",
}
LENGTHS = sorted({len(one) for one in SEQUENCES}, reverse=True)


def read_keys(data: str) -> list[str]:
    """Return the keys in what one read gave: names as above, or the character itself.

    A lone escape is the Esc key: a terminal sends a sequence in one piece. Unknown sequences and
    control characters are left out.
    """
    found, place = [], 0
    while place < len(data):
        known = (data[place : place + size] for size in LENGTHS)
        sequence = next((one for one in known if one in SEQUENCES), None)
        if sequence:
            found.append(SEQUENCES[sequence])
            place += len(sequence)
            continue
        if data[place] == "\x1b" and place + 1 < len(data) and data[place + 1] in "[O":
            place += _unknown(data, place)
            continue
        one = data[place]
        if one in CONTROLS:
            found.append(CONTROLS[one])
        elif one.isprintable():
            found.append(one)
        place += 1
    return found


def _unknown(data: str, place: int) -> int:
    """Return the length of a sequence without a name: it ends with a letter or a tilde."""
    end = place + 2
    while end < len(data) and not (data[end].isalpha() or data[end] == "~"):
        end += 1
    return end + 1 - place
