"""Checks of the interpreter, the optional packages and the ciphers. Called by: command."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import sysconfig
from typing import TYPE_CHECKING

from tickpath.engine.doctor.finding import Finding, Host, State
from tickpath.engine.doctor.kernel import cpu_flags

if TYPE_CHECKING:
    from collections.abc import Iterator

# name: (what lacks without it, where it comes from)
PACKAGES: dict[str, tuple[str, str]] = {
    "uvloop": ("the simulator is slower", "pip install uvloop"),
    "websockets": ("the simulator and a contender of `tickpath bench`", "pip install websockets"),
    "picows": ("a contender of `tickpath bench`", "pip install 'tickpath[bench]'"),
}
PROGRAMS: dict[str, tuple[str, str]] = {
    "ip": ("the demo makes its namespaces with it", "apt-get install iproute2"),
    "ethtool": ("offloads of a real interface are set with it", "apt-get install ethtool"),
    "openssl": ("the simulator's certificates are made with it", "apt-get install openssl"),
}


def check(host: Host) -> Iterator[Finding]:
    """Yield the findings of this file."""
    yield python_build(host)
    yield ciphers(host)
    for name, (lack, remedy) in PACKAGES.items():
        found = importlib.util.find_spec(name) is not None
        yield presence(f"Python package {name}", found, lack, remedy)
    for name, (lack, remedy) in PROGRAMS.items():
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is not None
        yield presence(f"program {name}", found, lack, remedy)


def presence(check_name: str, found: bool, lack: str, remedy: str) -> Finding:
    return Finding(
        check_name,
        State.OK if found else State.WARN,
        "there" if found else "missing",
        "import path" if check_name.startswith("Python") else "/usr/sbin:/usr/bin:/sbin:/bin",
        lack,
        "" if found else remedy,
    )


def python_build(host: Host) -> Finding:
    flag = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    # Debian builds with profile-guided optimisation and LTO, and does not record it there.
    debian = sys.base_prefix == "/usr" and host.text("etc/debian_version") is not None
    optimised = flag or debian
    return Finding(
        "Python",
        State.OK if optimised else State.WARN,
        f"{platform.python_version()}, "
        + ("optimised" if optimised else "built without --enable-optimizations"),
        f"sysconfig CONFIG_ARGS of {sys.base_prefix}",
        "a plain build reads rings 20 to 35 % slower",
        "" if optimised else "make clean setup PYTHON=/usr/bin/python3",
    )


def ciphers(host: Host) -> Finding:
    flags = cpu_flags(host)
    if platform.machine() != "x86_64":
        state, read = State.WARN, f"{platform.machine()}: libcrypto opens the records"
    elif {"aes", "pclmulqdq"} <= flags:
        wide = {"vaes", "vpclmulqdq", "avx512f"} <= flags
        state, read = State.OK, "AES in hardware" + (", 512 bits wide" if wide else "")
    else:
        state, read = State.WARN, "no AES instructions"
    return Finding(
        "ciphers",
        state,
        read,
        "/proc/cpuinfo",
        "TLS records are opened with libipsec-mb, 256 bytes in about 40 ns with wide AES",
        "" if state is State.OK else "nothing to do: slower, not wrong",
    )
