"""A child that dies with its parent, `kill -9` included.

Called by: rt.host, engine.child_process, in the child between fork and exec. Calls: the kernel.
Source: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # sys/prctl.h


def die_with(parent: int) -> None:
    """Have the kernel end this process with its parent. Raises OSError where it will not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # It died before the call. 0: it is in another PID namespace, where ours are not its numbers.
    if os.getppid() not in (parent, 0):
        os._exit(1)
