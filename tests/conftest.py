"""Capabilities that a test may need, and skips that cannot be mistaken for a pass.

A test says `@pytest.mark.needs("root", "netns")`. Where the host lacks one it is skipped with the
reason, which `-ra` lists and counts; with TICKPATH_SKIP_FAILS=1 (as in .ci/run) it fails instead.
At the end of `make test` the outcomes of the groups before pytest are printed (TICKPATH_GROUPS).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

# Tests assert behaviour, not wall-clock time: a busy host is no failure of a property.
settings.register_profile("tickpath", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A planted fault is caught by the first example that fails: nobody reads the smallest one.
settings.register_profile(
    "planted", settings.get_profile("tickpath"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("planted" if os.environ.get("TICKPATH_PLANTED") else "tickpath")

# No test waits because another one was told to: pauses of venues are kept by address and port.
RUN_DIRECTORY = tempfile.TemporaryDirectory(prefix="tickpath-tests-")
os.environ["TICKPATH_RUN_DIRECTORY"] = RUN_DIRECTORY.name

AF_XDP = getattr(socket, "AF_XDP", 44)  # linux/socket.h; Python has no name for it.


def lacks_root() -> str | None:
    return None if os.geteuid() == 0 else "root"


def lacks_netns() -> str | None:
    """Unshare a network namespace in a child: says whether this process may make one."""
    if shutil.which("unshare") is None:
        return "the unshare command (util-linux)"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"network namespaces: {done.stderr.strip()}"


def lacks_af_xdp() -> str | None:
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return f"AF_XDP sockets: {errno.errorcode.get(error.errno or 0, 'unknown')}"
    return None


def lacks_two_cpus() -> str | None:
    count = len(os.sched_getaffinity(0))
    return None if count >= 2 else f"two CPUs: this process may use {count}"


def lacks_program(name: str) -> str | None:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return None if found else f"the program {name}"


def lacks_ipsec_mb() -> str | None:
    """Say whether libipsec-mb, where it is built in, can run: it needs the AES instructions."""
    flags = re.search(r"^flags\s*:.*\baes\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return None if flags else "an x86-64 CPU with AES instructions, for libipsec-mb"


def lacks_qemu() -> str | None:
    """Say what the virtual machine of tests/vm cannot be made or run without."""
    tools = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "sfdisk", "mkfs.ext4", "ssh")
    lacking = [tool for tool in tools if lacks_program(tool)]
    if lacking:
        return f"for a virtual machine: {', '.join(lacking)}"
    return None if Path("/etc/debian_version").exists() else "Debian, whose mirror fills its disk"


def lacks_readers() -> str | None:
    """Say why hftbacktest and pandas are not to be had; makes their environment where it can."""
    from tests.readers import environment  # noqa: PLC0415 # only where a test asks for it

    return environment.lack()


PROBES: dict[str, Callable[[], str | None]] = {
    "root": lacks_root,
    "netns": lacks_netns,
    "af_xdp": lacks_af_xdp,
    "two_cpus": lacks_two_cpus,
    "nginx": lambda: lacks_program("nginx"),
    "spin": lambda: lacks_program("spin"),
    "ipsec_mb": lacks_ipsec_mb,
    "bpftool": lambda: lacks_program("bpftool"),
    "redis": lambda: lacks_program("redis-server"),
    "strace": lambda: lacks_program("strace"),
    "qemu": lacks_qemu,
    "setpriv": lambda: lacks_program("setpriv"),
    "systemd_analyze": lambda: lacks_program("systemd-analyze"),
    "rt_tests": lambda: lacks_program("cyclictest") or lacks_program("oslat"),
    "clang": lambda: lacks_program("clang-14"),
    "readers": lacks_readers,
}


@cache
def lack_of(capability: str) -> str | None:
    """Return what is missing for a capability, or None where the host has it."""
    if capability not in PROBES:
        raise pytest.UsageError(
            f"needs({capability!r}): unknown capability; expected one of {', '.join(PROBES)}"
        )
    return PROBES[capability]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        lacking = [lack for lack in map(lack_of, mark.args) if lack is not None]
        if lacking:
            pytest.skip(f"this host lacks {'; '.join(lacking)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("TICKPATH_SKIP_FAILS"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped where nothing may be: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    groups = os.environ.get("TICKPATH_GROUPS")
    if groups:
        terminalreporter.section("make test, before pytest")
        terminalreporter.write(groups)


END_S = 2.0
EXIT = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[EXIT] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End, though a failed test left a thread that waits for whom it will never meet.

    A server of a test whose client never came waits in accept, and the interpreter for it, for
    ever: the failure would be a hang.
    """
    end_s = time.monotonic() + END_S
    ours = (threading.main_thread(), threading.current_thread())
    left = [one for one in threading.enumerate() if one not in ours and not one.daemon]
    for thread in left:
        thread.join(max(0.0, end_s - time.monotonic()))
    stuck = [one.name for one in left if one.is_alive()]
    if stuck:
        print(f"still running, not waited for: {', '.join(stuck)}", file=sys.stderr)
        RUN_DIRECTORY.cleanup()
        sys.stdout.flush()
        os._exit(config.stash.get(EXIT, 0) or 1)
