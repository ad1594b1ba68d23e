"""Hold 0, 1 and 2, the numbers of the standard files, and let them take any text.

`tickpath … 2>&-` leaves the number 2 free, and the next file that is opened gets it: a segment, a
recording, a socket, into which warnings would then be written. And a stdout of another encoding
than UTF-8, or a file's name that is none, must not end a command in the midst of its output.

Called by: engine.cli, rt.command, feed handlers, the simulator, first of all. Source: POSIX.1-2017
open (the lowest number), Python's sys.stdin (None where closed), RFC 8259 section 7 (escapes).
"""

from __future__ import annotations

import codecs
import io
import os
import select
import struct
import sys

NAMES = ("stdin", "stdout", "stderr")


def hold_standard_files() -> None:
    """Open /dev/null in place of each that is closed; children inherit it as they would a file.

    What an encoding does not have is written as an escape, which is valid JSON too.
    """
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
            if getattr(sys, name) is None:
                stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115 - it stays open
                setattr(sys, name, stream)
    codecs.register_error("tickpath", _escape)
    for written in (sys.stdout, sys.stderr):
        if isinstance(written, io.TextIOWrapper):
            written.reconfigure(errors="tickpath")


def stdout_has_no_reader() -> bool:
    """Say whether stdout is a pipe that nobody reads any more, as of `tickpath … | head`."""
    look = select.poll()
    look.register(1, 0)  # POLLERR comes unasked
    return any(what & (select.POLLERR | select.POLLHUP) for _, what in look.poll(0))


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write \\u00b5 for what the encoding does not have, two of them for what is beyond U+FFFF."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", units)), error.end
