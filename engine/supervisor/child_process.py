"""Children that die with their parent, `kill -9` included, in a network namespace or in ours.

Apart from sandbox, so that a supervisor starts without the netlink library.
Called by: app, sandbox, bench, tests. Calls: rt.parent_death, the kernel (setns(2), unshare(2)).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from tickpath.rt.parent_death import die_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLONE_NEWNET = 0x40000000  # sched.h


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _enter(namespace: int | None, parent: int) -> None:
    """Run in the child: join (fd) or leave (-1) a namespace, and die with the parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if namespace == -1:
        _check(libc.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)")
    elif namespace is not None:
        _check(libc.setns(namespace, CLONE_NEWNET), "setns")
    die_with(parent)


def spawn(
    command: Sequence[str], namespace: int | None = None, **options: object
) -> subprocess.Popen[str]:
    """Start a child in a namespace (an open fd; None: ours) that dies with this process."""
    enter: Callable[[], None] = partial(_enter, namespace, os.getpid())
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return] # options are Popen's own
        command,
        preexec_fn=enter,  # noqa: PLW1509 # no other hook runs in the child; we have no threads yet
        text=True,
        **options,
    )


def stop(child: subprocess.Popen[str], timeout_s: float = 3.0) -> int:
    """Ask a child to end, then make it. Returns its exit status."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()
