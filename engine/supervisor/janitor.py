"""A process that removes files after whoever started it, however that one ended.

Its stdin is a pipe from its starter: the end of that, by `kill -9` too, sets it to work. Used by
`demo` and `book`. Calls: netstack/port_record, in the process.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Arguments: a folder to remove, then patterns of files.
_PROGRAM = """
import glob, pathlib, shutil, sys, time
from tickpath.netstack.port_record import remove_orphans
sys.stdin.buffer.read()
for _ in range(2):  # a child that dies with its parent may be about to make one more file
    for pattern in sys.argv[2:]:
        for path in glob.glob(pattern): pathlib.Path(path).unlink(missing_ok=True)
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    remove_orphans()  # a namespace may have died, the record of the ports reserved there did not
    time.sleep(0.2)
"""


def segments_of(instance: str) -> list[Path]:
    """Name what an instance's processes leave in shared memory, as patterns; no other one's."""
    name = f"tickpath.{instance}"
    return [DIRECTORY / name, DIRECTORY / f"{name}.*"]


def start_janitor(directory: Path, instance: str) -> Callable[[], None]:
    """Have a folder and an instance's segments removed after us; returns what dismisses it."""
    patterns = [str(path) for path in segments_of(instance)]
    command = [sys.executable, "-P", "-c", _PROGRAM, str(directory), *patterns]
    # Its own session: neither Ctrl-C nor our death ends it; the end of its stdin does.
    janitor = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def dismiss() -> None:
        if janitor.stdin is not None:
            janitor.stdin.close()
        janitor.wait()

    return dismiss
