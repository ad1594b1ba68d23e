"""Network: the trading interface, and busy polling.

Source: Documentation/networking/{napi,scaling,af_xdp}.rst, ethtool(8); net/Kconfig
(NET_RX_BUSY_POLL: not with PREEMPT_RT before 6.5, later not with NETCONSOLE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    missing_sysctl,
    sysctl,
    sysctl_at_least,
    sysctl_at_most,
    target_config,
    without_nic,
)
from tickpath.rt.catalogue.interrupts import chosen_nic
from tickpath.rt.ethtool_answer import fixed_features, read_answer, read_maximum
from tickpath.rt.item import Severity, State
from tickpath.rt.limits import format_cpu_list
from tickpath.rt.setting import Ethtool, KernelFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting

AREA = Area("network")
NET = "/sys/class/net"
BUSY_POLL = "/proc/sys/net/core/busy_poll"
RT_BUSY_POLL_SINCE = (6, 5, 0)
RING_SIZE = 1024
MTU_MAX = 3498  # a page less XDP headroom, Ethernet header and skb_shared_info
DEFER_HARD_IRQS = "2"
FLUSH_TIMEOUT_NS = "200000"


def nic_file(
    name: str, busy: str, otherwise: str = "0"
) -> Callable[[Context], tuple[Setting, ...]]:
    """Want a file of the interface, with one value under busy polling and another without."""

    def want(context: Context) -> tuple[Setting, ...]:
        path = f"{NET}/{context.profile.nic}/{name}"
        value = busy if context.profile.wants_busy_poll else otherwise
        return (KernelFile(path, value),) if context.host.exists(path) else ()

    return want


def receive_steering(context: Context) -> tuple[Setting, ...]:
    paths = context.host.glob(f"{NET}/{context.profile.nic}/queues/rx-*/rps_cpus")
    return tuple(KernelFile(path, "0") for path in paths)


def ethtool_settings(context: Context, group: str, wanted: dict[str, str]) -> tuple[Setting, ...]:
    """Want those settings of a group that the driver tells."""
    nic = context.profile.nic
    if nic is None:
        return ()
    told = read_answer(context.host, nic, group)
    settings = []
    for name, value in wanted.items():
        if name in told:
            settings.append(make_ethtool(nic, group, name, value))
    return tuple(settings)


def make_ethtool(nic: str, group: str, name: str, value: str) -> Ethtool:
    match group:
        case "G" | "C" | "K" | "L" | "A":
            return Ethtool(nic, group, name, value)
    raise ValueError(f"ethtool group {group!r}: expected G, C, K, L or A")


def rings(context: Context) -> tuple[Setting, ...]:
    nic = context.profile.nic or ""
    limits = read_maximum(context.host, nic, "G")
    wanted = {
        name: str(min(RING_SIZE, int(limits[name])))
        for name in ("rx", "tx")
        if limits.get(name, "").isdigit()
    }
    return ethtool_settings(context, "G", wanted)


def coalescing(context: Context) -> tuple[Setting, ...]:
    wanted = {"adaptive-rx": "off", "adaptive-tx": "off", "rx-usecs": "0", "tx-usecs": "0"}
    return ethtool_settings(context, "C", wanted)


def offloads(context: Context) -> tuple[Setting, ...]:
    wanted = {"lro": "off", "gro": "off", "tso": "off", "gso": "off", "ntuple": "on"}
    fixed = fixed_features(context.host, context.profile.nic or "")
    return ethtool_settings(
        context, "K", {name: value for name, value in wanted.items() if name not in fixed}
    )


def pause(context: Context) -> tuple[Setting, ...]:
    return ethtool_settings(context, "A", {"rx": "off", "tx": "off"})


def channels(context: Context) -> tuple[Setting, ...]:
    """Want one queue: combined, or one of each where the driver has them apart (gve)."""
    limits = read_maximum(context.host, context.profile.nic or "", "L")
    apart = limits.get("combined", "0") == "0" and {"rx", "tx"} <= limits.keys()
    wanted = {"rx": "1", "tx": "1"} if apart else {"combined": "1"}
    return ethtool_settings(context, "L", wanted)


def shared_nic(context: Context) -> str | None:
    nic = chosen_nic(context)
    if nic is None or not nic.carries_default_route:
        return None
    return f"{nic.name} carries the machine's other traffic too: one queue would be too few"


def kernel_without_busy_poll(context: Context) -> Seen:
    where = (BUSY_POLL, "/proc/sys/kernel/version")
    desired = "busy polling" if context.profile.wants_busy_poll else "this profile does not poll"
    present = context.host.exists(BUSY_POLL)
    topology = context.topology
    live = f"{topology.release}, busy polling {'there' if present else 'absent'}"
    if not context.profile.wants_busy_poll:
        return Seen(State.UNSUPPORTED, desired, live, where)
    if present:
        return Seen(State.OK, desired, live, where)
    if not topology.is_rt:
        fix = "boot a kernel with CONFIG_NET_RX_BUSY_POLL (Debian's ordinary ones have it)"
    elif topology.version < RT_BUSY_POLL_SINCE:
        fix = "PREEMPT_RT has it from Linux 6.5 on: boot another kernel, or take profile metal-irq"
    else:
        fix = (
            "PREEMPT_RT has it without CONFIG_NETCONSOLE only: boot another kernel, or take "
            "profile metal-irq"
        )
    return Seen(State.CONFLICT, desired, live, where, fix)


def netconsole(context: Context) -> Seen:
    where = ("/sys/module/netconsole", "/proc/cmdline")
    words = context.topology.command_line
    # A module without parameters beside it is only loadable; a target makes it print.
    targets = [
        path
        for path in context.host.glob("/sys/kernel/config/netconsole/*/enabled")
        if context.host.read(path) == "1"
    ]
    if " netconsole=" not in f" {words}" and not targets:
        return Seen(State.OK, "no target", "none", where)
    fix = "remove netconsole= from the command line, or rmdir its target in configfs"
    return Seen(State.DRIFT, "no target", "prints to the network", where, fix)


def near_nic(context: Context) -> Seen:
    nic = chosen_nic(context)
    where = (f"{NET}/{context.profile.nic}/device/numa_node", "/sys/devices/system/node")
    desired = "hot CPUs on the NIC's memory node"
    if nic is None or nic.node is None or not context.profile.isolated:
        return Seen(State.UNSUPPORTED, "no memory node reported, or nothing isolated", None, where)
    local = context.topology.nodes.get(nic.node, ())
    far = [cpu for cpu in context.profile.isolated if cpu not in local]
    if not far:
        return Seen(State.OK, desired, f"node {nic.node}", where)
    live = f"{nic.name} on node {nic.node}, CPU {format_cpu_list(far)} elsewhere"
    candidates = [cpu for cpu in local if cpu in context.profile.housekeeping and cpu]
    fix = f"isolate CPUs of node {nic.node}: --isolated with some of {format_cpu_list(candidates)}"
    return Seen(State.CONFLICT, desired, live, where, fix)


def mtu(context: Context) -> Seen:
    nic = context.profile.nic
    where = (f"{NET}/{nic}/mtu",)
    desired = f"at most {MTU_MAX}"
    text = context.host.read(where[0]) if nic else None
    if text is None or not text.isdigit():
        return Seen(State.UNSUPPORTED, desired, text, where)
    if int(text) <= MTU_MAX:
        return Seen(State.OK, desired, text, where)
    return Seen(State.DRIFT, desired, text, where, f"ip link set {nic} mtu 1500")


def reached_over(context: Context) -> Seen:
    nic = chosen_nic(context)
    desired = "no ssh session over the trading interface"
    where = ("/proc/net/tcp", "/proc/net/tcp6", "/proc/net/route")
    if nic is None:
        return Seen(State.UNSUPPORTED, desired, None, where)
    if not nic.carries_ssh:
        return Seen(State.OK, desired, f"{nic.name} carries none", where)
    fix = "come in over another interface or a console, or choose another --nic"
    return Seen(State.CONFLICT, desired, f"{nic.name} carries one", where, fix)


def busy_poll_absent_in_target(context: Context) -> str | None:
    if not context.profile.wants_busy_poll:
        return "this profile does not poll"
    config = target_config(context)
    if config and config.get("CONFIG_NET_RX_BUSY_POLL") != "y":
        return "the kernel was built without CONFIG_NET_RX_BUSY_POLL"
    return None


ITEMS = (
    AREA.seen(
        "net.rt_busy_poll",
        Severity.CRITICAL,
        "busy polling of AF_XDP needs a kernel that has it, and many real-time kernels do not",
        kernel_without_busy_poll,
    ),
    AREA.setting(
        "net.busy_poll",
        Severity.LOW,
        "poll() on an ordinary socket looks into the NIC's queue before it sleeps",
        sysctl_at_least("net.core.busy_poll", 50),
        busy_poll_absent_in_target,
        missing_sysctl("net.core.busy_poll"),
    ),
    AREA.setting(
        "net.busy_read",
        Severity.LOW,
        "recv() on an ordinary socket looks into the NIC's queue before it sleeps",
        sysctl_at_least("net.core.busy_read", 50),
        busy_poll_absent_in_target,
        missing_sysctl("net.core.busy_read"),
    ),
    AREA.setting(
        "nic.defer_hard_irqs",
        Severity.HIGH,
        "under busy polling the NIC does not interrupt; without it nothing may be deferred",
        nic_file("napi_defer_hard_irqs", DEFER_HARD_IRQS),
        without_nic,
    ),
    AREA.setting(
        "nic.gro_flush_timeout",
        Severity.HIGH,
        "under busy polling the timer helps where a feed handler stopped; else it adds delay",
        nic_file("gro_flush_timeout", FLUSH_TIMEOUT_NS),
        without_nic,
    ),
    AREA.setting(
        "nic.threaded",
        Severity.LOW,
        "receive work runs where the interrupt came in, not in a thread that must be scheduled",
        nic_file("threaded", "0"),
        without_nic,
    ),
    AREA.setting(
        "net.rps",
        Severity.MEDIUM,
        "no packet is handed to another CPU by an interrupt",
        receive_steering,
        without_nic,
    ),
    AREA.setting(
        "nic.rings",
        Severity.MEDIUM,
        "large enough for a burst, small enough for the cache",
        rings,
        without_nic,
    ),
    AREA.setting(
        "nic.coalesce",
        Severity.HIGH,
        "the NIC reports a packet at once, and does not wait for a second one",
        coalescing,
        without_nic,
    ),
    AREA.setting(
        "nic.offloads",
        Severity.HIGH,
        "packets are not gathered into larger ones; XDP needs LRO off; ntuple steers flows",
        offloads,
        without_nic,
    ),
    AREA.setting(
        "nic.pause",
        Severity.LOW,
        "a full switch does not stop this NIC's sending",
        pause,
        without_nic,
    ),
    AREA.setting(
        "nic.channels",
        Severity.MEDIUM,
        "a port of AF_XDP serves one queue: all packets must come in there",
        channels,
        without_nic,
        shared_nic,
    ),
    AREA.seen(
        "nic.node",
        Severity.HIGH,
        "a packet of the other node's NIC crosses the link between the sockets",
        near_nic,
        without_nic,
    ),
    AREA.seen(
        "nic.mtu",
        Severity.MEDIUM,
        "a larger frame does not fit one buffer of XDP",
        mtu,
        without_nic,
    ),
    AREA.seen(
        "nic.ssh",
        Severity.MEDIUM,
        "retuning drops the link for a moment, and with it who is logged in over it",
        reached_over,
        without_nic,
    ),
    AREA.seen(
        "net.netconsole",
        Severity.MEDIUM,
        "kernel messages go out over the network, with interrupts off",
        netconsole,
    ),
    AREA.setting(
        "net.bpf_jit",
        Severity.HIGH,
        "the XDP program runs as machine code, not interpreted",
        sysctl("net.core.bpf_jit_enable", "1"),
        missing_sysctl("net.core.bpf_jit_enable"),
    ),
    AREA.setting(
        "net.bpf_jit_harden",
        Severity.LOW,
        "programs of root are not slowed by blinded constants",
        sysctl_at_most("net.core.bpf_jit_harden", 1),
        missing_sysctl("net.core.bpf_jit_harden"),
    ),
)
