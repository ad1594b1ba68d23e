"""Hold 0, 1 and 2, the numbers of the standard files, where who started us closed them.

`tickpath … 2>&-` leaves the number 2 free, and the next file that is opened gets it: a segment, a
recording, a socket, into which warnings would then be written. Called by: engine.cli, rt.command,
first of all. Source: POSIX.1-2017 open (the lowest number), Python's sys.stdin (None where closed).
"""

from __future__ import annotations

import os
import sys

NAMES = ("stdin", "stdout", "stderr")


def hold_standard_files() -> None:
    """Open /dev/null in place of each that is closed; children inherit it as they would a file."""
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
            if getattr(sys, name) is None:
                stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115 - it stays open
                setattr(sys, name, stream)
