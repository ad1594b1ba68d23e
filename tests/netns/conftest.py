"""Two throw-away network namespaces joined by a veth pair, and code run inside them.

Names carry the pid of the session, so that a later session can sweep what a killed one left.
Addresses come from 198.18.0.0/15 (RFC 2544: set aside for benchmarks).
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # linux/sched.h
NAMES = re.compile(r"^tp(\d+)n\d+[ab]$")
_serial = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One end of the pair: a network namespace, its interface and its address."""

    name: str
    interface: str
    address: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread inside and back; sockets stay where they were made."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(there)
            os.close(home)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a program inside and return its standard output."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a program inside with its standard output piped; the caller ends it."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], stdout=subprocess.PIPE, text=True
        )

    def mac(self) -> bytes:
        """Return the interface's address, six bytes."""
        text = self.run("cat", f"/sys/class/net/{self.interface}/address")
        return bytes.fromhex(text.strip().replace(":", ""))


@dataclass(frozen=True, slots=True)
class VethPair:
    """`a` runs what is tested, `b` plays the kernel peer; MTU 1500, one queue, both up."""

    a: Namespace
    b: Namespace


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _delete(name: str) -> None:
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _sweep_leftovers() -> None:
    """Delete the namespaces of sessions whose process is gone."""
    folder = Path("/run/netns")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    for name in names:
        found = NAMES.match(name)
        if found and not Path(f"/proc/{found[1]}").exists():
            _delete(name)


@pytest.fixture(scope="session")
def _swept() -> None:
    _sweep_leftovers()


@pytest.fixture
def veth_pair(_swept: None) -> Iterator[VethPair]:
    """Build namespaces a (198.18.0.1) and b (198.18.0.2) on one /24; gone after the test."""
    if os.geteuid() != 0:
        pytest.skip("this host lacks root: network namespaces")
    prefix = f"tp{os.getpid()}n{next(_serial)}"
    a = Namespace(f"{prefix}a", "va", "198.18.0.1")
    b = Namespace(f"{prefix}b", "vb", "198.18.0.2")
    atexit.register(_delete, a.name)
    atexit.register(_delete, b.name)
    try:
        for end in (a, b):
            _ip("netns", "add", end.name)
        one_queue = ("numtxqueues", "1", "numrxqueues", "1")
        _ip(
            *("link", "add", a.interface, "netns", a.name, *one_queue, "type", "veth"),
            *("peer", "name", b.interface, "netns", b.name, *one_queue),
        )
        for end in (a, b):
            _ip("-n", end.name, "address", "add", f"{end.address}/24", "dev", end.interface)
            _ip("-n", end.name, "link", "set", "lo", "up")
            _ip("-n", end.name, "link", "set", end.interface, "up")
        yield VethPair(a, b)
    finally:
        for end in (a, b):
            _delete(end.name)
            atexit.unregister(_delete)
