"""Feed handler and strategy as their systemd units run them: users, capabilities, a manager.

setpriv and a mount namespace stand in for the service manager: the same users and groups,
capabilities, limits, no_new_privs, /run/tickpath of the feed handler's own, read-only /proc/sys but
for the one file, and a datagram socket that is told what the units tell.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.supervisor.command import GUARD_PRIORITY
from tickpath.engine.supervisor.feed_handler_watch import HOT_THREAD_NAME
from tickpath.shm.segment import DIRECTORY

from tests.netns.rig import (
    LIVE,
    PATIENCE_S,
    TICKPATH,
    Exchange,
    Settings,
    Supervised,
    VethPair,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "netns", "af_xdp", "two_cpus", "setpriv")

SYMBOLS = ("BTCUSDT", "ETHUSDT")
FEED_HANDLER, STRATEGY, FEED_GROUP = 64101, 64102, 64100  # users and groups that need no names
CAPABILITIES = ("net_admin", "net_raw", "perfmon", "bpf")
CAPABILITY_BITS = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39  # linux/capability.h
INSTEAD_BITS = 1 << 23 | 1 << 14
RESERVED_PORTS = "/proc/sys/net/ipv4/ip_local_reserved_ports"
# What RuntimeDirectory=, ProtectSystem=strict and ProtectKernelTunables= make of the tree.
CONFINE = f"""\
mount -t tmpfs -o uid={FEED_HANDLER},gid={FEED_GROUP},mode=0750 tmpfs /run/tickpath
mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys
mount --bind {RESERVED_PORTS} {RESERVED_PORTS} && mount -o remount,rw,bind {RESERVED_PORTS}
exec "$@"
"""
# MemoryDenyWriteExecute=, for this process and all that it becomes or starts; sys/prctl.h
NO_CODE_OF_ITS_OWN = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
os.execvp(sys.argv[1], sys.argv[1:])
"""


# LimitRTPRIO= and LimitMEMLOCK= of the units. Who may not raise limits (a container without
# CAP_SYS_RESOURCE) gives the capabilities that stand for the same.
LIMITS = ["prlimit", "--rtprio=40", "--memlock=unlimited"]
INSTEAD = ("sys_nice", "ipc_lock")


def may_raise_limits() -> bool:
    """Try it on a process of no consequence."""
    return subprocess.run([*LIMITS, "true"], capture_output=True, check=False).returncode == 0


def as_user(user: int, groups: str, *capabilities: str) -> list[str]:
    """Return the words that run a command as a unit of ours would."""
    words = ["setpriv"]
    if may_raise_limits():
        words = [*LIMITS, *words]
    else:
        capabilities += INSTEAD
    names = ",".join(f"+{name}" for name in capabilities)
    group, _, others = groups.partition(",")
    words += [f"--reuid={user}", f"--regid={group}"]
    words += [f"--groups={others}"] if others else ["--clear-groups"]
    words += ["--no-new-privs", "--pdeathsig=KILL", f"--bounding-set=-all{names and ',' + names}"]
    words += [f"--inh-caps=-all{names and ',' + names}", *ambient(names)]
    return [*words, sys.executable, "-P", "-c", NO_CODE_OF_ITS_OWN]


def ambient(names: str) -> list[str]:
    return [f"--ambient-caps=-all,{names}"] if names else ["--ambient-caps=-all"]


class Manager:
    """The socket that units tell, and what came: it reads at once, as a service manager does."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        Path(self.path).chmod(0o666)
        self.came: list[str] = []
        self.seen = 0
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        while said := self.socket.recv(4096).decode():
            self.came.append(said)

    def words(self) -> list[str]:
        """Return the words that put this manager into a unit's environment."""
        return ["env", f"NOTIFY_SOCKET={self.path}", "WATCHDOG_USEC=400000"]

    def wait_for(self, text: str) -> str:
        """Wait until a datagram, after the last that was waited for, holds the text."""

        def found() -> str:
            for position in range(self.seen, len(self.came)):
                if text in self.came[position]:
                    self.seen = position + 1
                    return self.came[position]
            return ""

        return str(until(f"{text!r} to the manager", found))

    def close(self) -> None:
        """End the thread by an empty datagram."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self.thread.join(PATIENCE_S)
        self.socket.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="tickpath-service-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def manager(place: Path) -> Iterator[Manager]:
    one = Manager(place)
    yield one
    one.close()


@pytest.fixture
def feed_handler(place: Path, manager: Manager) -> Iterator[tuple[VethPair, Supervised]]:
    Path("/run/tickpath").mkdir(mode=0o755, exist_ok=True)
    prefix = ["unshare", "--mount", "sh", "-ec", CONFINE, "sh", *manager.words()]
    prefix += as_user(FEED_HANDLER, str(FEED_GROUP), *CAPABILITIES)
    cpu = max(os.sched_getaffinity(0))
    settings = Settings(
        symbols=SYMBOLS, feed_handler=f"spin = false\npriority = 9\ncpu = {cpu}", prefix=prefix
    )
    with VethPair.open() as pair:
        Exchange(pair, place, "--instruments", ",".join(SYMBOLS), "--rate", "200")
        yield pair, Supervised(pair, place, settings)
    for left in DIRECTORY.glob(f"tickpath.e2e-{os.getpid()}-{place.name}*"):
        left.unlink()


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def tries(user: int, groups: str, code: str, path: Path) -> str:
    """Run a line of Python on a path as somebody; returns what it raised, or "did it"."""
    words = [*as_user(user, groups), sys.executable, "-P", "-c"]
    program = f"import sys\ntry:\n    {code}\nexcept OSError as error:\n    print(error.strerror)\n"
    program += "else:\n    print('did it')"
    done = subprocess.run(
        [*words, program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_feed_handler_unprivileged_user_runs_the_whole_path_over_af_xdp(
    feed_handler: tuple[VethPair, Supervised], manager: Manager
) -> None:
    _, supervised = feed_handler
    supervised.watch().wait_state(LIVE)
    assert "path: AF_XDP" in supervised.program.text
    assert "runs" in manager.wait_for("READY=1\nSTATUS=")
    manager.wait_for("WATCHDOG=1")
    pid = supervised.feed_handler_pid
    said = status_of(pid)
    assert said["Uid"].split() == [str(FEED_HANDLER)] * 4
    assert said["NoNewPrivs"] == "1"
    bits = CAPABILITY_BITS | (0 if may_raise_limits() else INSTEAD_BITS)
    assert {int(said[name], 16) for name in ("CapEff", "CapBnd", "CapAmb")} == {bits}
    (hot,) = (
        int(task.name)
        for task in Path(f"/proc/{pid}/task").glob("*")
        if (task / "comm").read_text().strip() == HOT_THREAD_NAME
    )
    assert os.sched_getscheduler(hot) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    # The guard goes ahead of ordinary processes, and nothing that it starts inherits that.
    supervisor = supervised.program.process.pid
    assert os.sched_getscheduler(supervisor) == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    assert os.sched_getparam(supervisor).sched_priority == GUARD_PRIORITY
    feed = DIRECTORY / f"tickpath.{supervised.instance}"
    about = feed.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (FEED_HANDLER, FEED_GROUP, 0o640)
    assert supervised.program.end() == 0
    manager.wait_for("STOPPING=1")


def test_strategy_of_another_user_reads_the_feed_and_cannot_write_it(
    feed_handler: tuple[VethPair, Supervised], place: Path, manager: Manager
) -> None:
    pair, supervised = feed_handler
    supervised.watch().wait_state(LIVE)
    manager.wait_for("READY=1")
    groups = f"{STRATEGY},{FEED_GROUP}"
    words = ["strategy", "tickpath.engine.strategy.spread:Spread", "--block", "--priority", "8"]
    command = [*manager.words(), *as_user(STRATEGY, groups), *TICKPATH, *words]
    command += ["--instance", supervised.instance]
    program = start(pair, pair.feed_handler, place / "strategy.log", command)
    assert "STATUS=Spread: running" in manager.wait_for("READY=1")
    pid = program.process.pid
    assert status_of(pid)["Uid"].split() == [str(STRATEGY)] * 4
    assert int(status_of(pid)["CapEff"], 16) == (0 if may_raise_limits() else INSTEAD_BITS)
    assert os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    assert int(status_of(pid)["VmLck"].split()[0]) > 0

    feed = DIRECTORY / f"tickpath.{supervised.instance}"
    assert tries(STRATEGY, groups, "open(sys.argv[1], 'rb')", feed) == "did it"
    assert tries(STRATEGY, groups, "open(sys.argv[1], 'r+b')", feed) == "Permission denied"
    removal = "__import__('os').unlink(sys.argv[1])"
    assert tries(STRATEGY, groups, removal, feed) == "Operation not permitted"  # sticky folder
    assert tries(STRATEGY, str(STRATEGY), "open(sys.argv[1], 'rb')", feed) == "Permission denied"
    assert program.end() == 0
    manager.wait_for("STOPPING=1")


def test_feed_handler_that_hangs_is_not_called_alive_and_another_is_started(
    feed_handler: tuple[VethPair, Supervised], manager: Manager
) -> None:
    _, supervised = feed_handler
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    first = supervised.feed_handler_pid
    os.kill(first, signal.SIGSTOP)
    said = manager.wait_for("STATUS=")
    while "starting another" not in said:
        said = manager.wait_for("STATUS=")
    assert "killed by signal 9" in said
    until("another feed handler", lambda: supervised.feed_handler_pid != first)
    manager.wait_for("WATCHDOG=1")
