"""What a process owns, and a child that it forks does not.

A fork copies every Python object, also those whose other half lies outside of this process: a
segment's file and lock, a place among a feed's consumers, a socket to the service manager, a signal
handler. The child's copy would end the parent's thing when the child ends. So whatever owns such a
half says `own(self)` once it has it; in each forked child, before `fork` returns there, `disown`
makes the copy a bystander, whose methods and `close` touch nothing outside of the child.

While a thread is about to take such a half, nobody knows it as yet: a child that another thread
forks then would keep its open file, and a lock that is the open file's lives as long as one of its
descriptors, in whichever process. So whoever takes a lock of the kernel's does it `with taking`:
`fork` waits until it is owned, or given back (at most 3 s, for a lossless registration that its
feed does not answer).

A signal that comes to a child before its handlers are those of before would be noted by the
parent's, and forgotten: multiprocessing, which waits for the child that it told to end, would wait
for ever. So signals are blocked from before `fork` until all is disowned.

Called by: each owner in shm, netstack and engine. A program that is executed (subprocess, spawn)
inherits nothing: all descriptors are closed on exec. What a child may do: docs/operations.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import weakref
from typing import Final, Protocol


class Owned(Protocol):
    """What has a half outside of the process."""

    def disown(self) -> None:
        """Become a bystander, in a forked child; also after close, and half made."""


taking: Final = threading.RLock()
"""No child is forked while another thread has it; `with` it around what takes a lock, until `own`
or the release. Reentrant: a signal handler may fork."""

_owned: dict[int, weakref.ref[Owned]] = {}  # by identity: an owner need not be hashable


def own(thing: Owned) -> None:
    """Have `thing.disown()` called in each child that this process forks from now on."""
    key = id(thing)
    _owned[key] = weakref.ref(thing, lambda _: _owned.pop(key, None))


def _disown_all() -> None:
    # A copy first: a collection in between would take owners out of the table.
    things = [one() for one in list(_owned.values())]
    _owned.clear()
    with contextlib.ExitStack() as stack:  # each of them, whatever another one raises
        for thing in things:
            if thing is not None:
                stack.callback(thing.disown)


_forking = threading.local()  # mask: of the thread that forks, as it was


def _block_signals() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


# At import: once a process, never undone. Those before a fork run from the last to the first, those
# behind it from the first on. Behind a fork the child's one thread is the lock's holder.
os.register_at_fork(before=_block_signals)
os.register_at_fork(
    before=taking.acquire, after_in_parent=taking.release, after_in_child=taking.release
)
os.register_at_fork(after_in_child=_disown_all)
os.register_at_fork(after_in_parent=_unblock_signals, after_in_child=_unblock_signals)
