"""Checks of what this process may do.

Called by: command. Calls: rt.limits; xdp_probe in a process of its own.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tickpath.engine.doctor.finding import Finding, Host, State
from tickpath.rt import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

AF_XDP = 44  # linux/socket.h
PROBE = "tickpath.engine.doctor.xdp_probe"
PROBE_TIMEOUT_S = 20
UMEM_BYTES = 64 << 20  # what a feed handler of one queue maps and locks at most
NEEDED: dict[str, str] = {
    "NET_ADMIN": "attach an XDP program",
    "NET_RAW": "open an AF_XDP socket",
    "BPF": "load an XDP program",
    "PERFMON": "have the kernel's verifier accept it: it computes with pointers",
    "SYS_NICE": "run at SCHED_FIFO",
    "IPC_LOCK": "lock memory",
}


def check(host: Host) -> Iterator[Finding]:
    """Yield the findings of this file; without root the probe is left out, and said to be."""
    privileges = limits.read_privileges(host.root)
    yield capabilities(privileges)
    yield memlock(privileges)
    yield af_xdp_socket()
    yield bpf_jit(host)
    yield from veth_probe(privileges)


def capabilities(privileges: limits.Privileges) -> Finding:
    have = privileges.capabilities
    # CAP_SYS_ADMIN was the whole of these two before Linux 5.8 and still includes them.
    included = {"BPF", "PERFMON"} if "SYS_ADMIN" in have else set()
    missing = [name for name in NEEDED if name not in have | included]
    for_xdp = {"NET_ADMIN", "NET_RAW", "BPF", "PERFMON"} & set(missing)
    state = State.FAIL if for_xdp else State.WARN if missing else State.OK
    return Finding(
        "capabilities",
        state,
        f"uid {os.geteuid()}, "
        + (f"missing {', '.join(missing)}" if missing else "all that are needed"),
        "/proc/self/status",
        "needed to "
        + "; ".join(NEEDED[name] for name in (missing or NEEDED))
        + ". Without the first four only kernel sockets are left",
        ""
        if not missing
        else "run as root, or: setcap "
        + ",".join(f"cap_{name.lower()}" for name in missing)
        + "+ep on the interpreter",
    )


def memlock(privileges: limits.Privileges) -> Finding:
    limit = privileges.memlock_bytes
    enough = privileges.may_lock_all_memory or (limit is not None and limit >= UMEM_BYTES)
    return Finding(
        "locked memory",
        State.OK if enough else State.WARN,
        "unlimited"
        if limit is None
        else f"{limit >> 10} KiB"
        + (", not counted with CAP_IPC_LOCK" if privileges.may_lock_all_memory else ""),
        "getrlimit(RLIMIT_MEMLOCK)",
        "frames are locked in memory, and so is all of a real-time process",
        "" if enough else "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)",
    )


def af_xdp_socket() -> Finding:
    remedies = {
        errno.EPERM: "run as root, or with CAP_NET_RAW",
        errno.EAFNOSUPPORT: "use a kernel with CONFIG_XDP_SOCKETS=y (Debian's has it)",
    }
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW, 0).close()
    except OSError as error:
        state, read = State.FAIL, f"{error.strerror}"
        remedy = remedies.get(error.errno or 0, "see the error; seccomp or a sandbox may forbid it")
    else:
        state, read, remedy = State.OK, "can be created", ""
    return Finding(
        "AF_XDP socket", state, read, "socket(AF_XDP)", "frames come and go through it", remedy
    )


def bpf_jit(host: Host) -> Finding:
    value = limits.read_integer(host.root, "proc/sys/net/core/bpf_jit_enable")
    state = State.UNKNOWN if value is None else State.OK if value else State.WARN
    return Finding(
        "BPF compiler",
        state,
        "not readable" if value is None else "on" if value else "off",
        "/proc/sys/net/core/bpf_jit_enable",
        "an interpreted XDP program costs several times as much on every frame",
        "sysctl -w net.core.bpf_jit_enable=1" if value == 0 else "",
    )


def veth_probe(privileges: limits.Privileges) -> Iterator[Finding]:
    """Try XDP for real, in a namespace and on a pair that end with the probing process."""
    where = "a throw-away veth pair"
    why = "shows that this kernel and its security settings let an XDP program and a port through"
    if "SYS_ADMIN" not in privileges.capabilities:
        yield Finding("XDP on veth", State.UNKNOWN, "not tried", where, why, "run doctor as root")
        return
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        results: dict[str, str | None] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        read = str(error.stderr).strip()[-200:]
        yield Finding("XDP on veth", State.UNKNOWN, read, where, why, "allow network namespaces")
        return
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        yield Finding("XDP on veth", State.UNKNOWN, str(error), where, why, "run it again")
        return
    for step, complaint in results.items():
        yield Finding(
            f"{step} on veth" if "XDP" in step else step,
            State.FAIL if complaint else State.OK,
            complaint or "works",
            where,
            why,
            "look for a security module, seccomp or kernel.unprivileged_bpf_disabled"
            if complaint
            else "",
        )
