"""The shape of a machine: CPUs, siblings, memory nodes, NICs with their queues, kernel, hypervisor.

Read once, never changed. Called by: rt.check, tuning.plan. Calls: rt.host, rt.limits, rt.routes.
Source: Documentation/admin-guide/cputopology.rst, Documentation/ABI/testing/sysfs-class-net,
proc(5); the vendors' names in DMI as systemd-detect-virt(1) knows them.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.limits import parse_cpu_list
from tickpath.rt.routes import read_carriers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.rt.host import Host

CPU_FOLDER = "/sys/devices/system/cpu"
NODE_FOLDER = "/sys/devices/system/node"
NIC_FOLDER = "/sys/class/net"
# What the firmware tables of virtual machines begin with, and how we call it.
HYPERVISOR_VENDORS: Mapping[str, str] = {
    "Amazon EC2": "Amazon EC2",
    "Google": "Google Compute Engine",
    "Microsoft Corporation": "Hyper-V",
    "QEMU": "QEMU",
    "VMware": "VMware",
    "innotek": "VirtualBox",
    "Xen": "Xen",
    "OpenStack": "OpenStack",
    "Alibaba Cloud": "Alibaba Cloud",
    "DigitalOcean": "DigitalOcean",
    "Hetzner": "Hetzner",
}


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface with hardware behind it. irqs: interrupt numbers of its queues."""

    name: str
    driver: str
    node: int | None  # None: no memory node told
    queues: int
    irqs: tuple[int, ...]
    carries_default_route: bool
    carries_ssh: bool  # an established connection to sshd came in over it


@dataclass(frozen=True, slots=True)
class Topology:
    """The machine as the kernel tells it."""

    cpus: tuple[int, ...]  # online
    siblings: Mapping[int, tuple[int, ...]]  # CPU to those of its core, itself included
    nodes: Mapping[int, tuple[int, ...]]  # memory node to its CPUs
    nics: tuple[Nic, ...]
    hypervisor: str | None  # None: bare metal
    release: str  # uname -r
    version: tuple[int, int, int]  # of the kernel
    is_rt: bool  # PREEMPT_RT is running
    kernel_config: Mapping[str, str]  # CONFIG_X to y, m, n or a value; empty: not readable
    rt_kernels: tuple[str, ...]  # releases of the real-time kernels in /boot
    rt_kernel_config: Mapping[str, str]  # of the last of them; empty where is_rt, or not readable
    boot_id: str
    command_line: str


def read_topology(host: Host) -> Topology:
    """Read the machine's shape; what cannot be read is left empty, never guessed."""
    cpus = read_cpus(host)
    release = host.read("/proc/sys/kernel/osrelease") or ""
    banner = host.read("/proc/sys/kernel/version") or ""
    is_rt = host.read("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in banner.split()
    rt_kernels = installed_rt_kernels(host)
    waiting = rt_kernels[-1:] if not is_rt else ()
    return Topology(
        cpus=cpus,
        siblings={cpu: read_siblings(host, cpu, cpus) for cpu in cpus},
        nodes=read_nodes(host, cpus),
        nics=read_nics(host),
        hypervisor=read_hypervisor(host),
        release=release,
        version=kernel_version(release, banner, host.read("/proc/version_signature") or ""),
        is_rt=is_rt,
        kernel_config=read_kernel_config(host, release),
        rt_kernels=rt_kernels,
        rt_kernel_config=read_kernel_config(host, waiting[0], running=False) if waiting else {},
        boot_id=host.read("/proc/sys/kernel/random/boot_id") or "",
        command_line=host.read("/proc/cmdline") or "",
    )


def read_list(host: Host, name: str) -> tuple[int, ...]:
    """Read a file in the kernel's list format; () where it is not there or holds something else
    ("(null)", as nohz_full says for none)."""
    try:
        return parse_cpu_list(host.read(name) or "")
    except ValueError:
        return ()


def read_cpus(host: Host) -> tuple[int, ...]:
    online = read_list(host, f"{CPU_FOLDER}/online")
    if online:
        return online
    folders = (path.rpartition("/")[2] for path in host.glob(f"{CPU_FOLDER}/cpu[0-9]*"))
    return tuple(sorted(int(name[3:]) for name in folders if name[3:].isdigit())) or (0,)


def read_siblings(host: Host, cpu: int, cpus: tuple[int, ...]) -> tuple[int, ...]:
    together = read_list(host, f"{CPU_FOLDER}/cpu{cpu}/topology/thread_siblings_list")
    return tuple(one for one in together if one in cpus) or (cpu,)


def read_nodes(host: Host, cpus: tuple[int, ...]) -> Mapping[int, tuple[int, ...]]:
    """Read the memory nodes that have CPUs; one node of all CPUs where the kernel tells none."""
    nodes: dict[int, tuple[int, ...]] = {}
    for path in host.glob(f"{NODE_FOLDER}/node[0-9]*/cpulist"):
        here = tuple(cpu for cpu in read_list(host, path) if cpu in cpus)
        if here:
            nodes[int(path.split("/")[-2][4:])] = here
    return nodes or {0: cpus}


def read_nics(host: Host) -> tuple[Nic, ...]:
    """Read the interfaces that have a device behind them."""
    carriers = read_carriers(host)
    named = interrupt_names(host.read("/proc/interrupts") or "")
    return tuple(
        Nic(
            name=name,
            driver=(host.link(f"{NIC_FOLDER}/{name}/device/driver") or "").rpartition("/")[2],
            node=read_node(host, name),
            queues=len(host.glob(f"{NIC_FOLDER}/{name}/queues/rx-*")),
            irqs=read_nic_irqs(host, name, named),
            carries_default_route=name in carriers.default_route,
            carries_ssh=name in carriers.ssh,
        )
        for name in host.names(NIC_FOLDER)
        if host.exists(f"{NIC_FOLDER}/{name}/device")
    )


def read_node(host: Host, name: str) -> int | None:
    for place in ("device", "device/.."):  # a virtio device lies below its PCI function
        text = host.read(f"{NIC_FOLDER}/{name}/{place}/numa_node")
        if text is not None and text.isdigit():
            return int(text)
    return None


def read_nic_irqs(host: Host, name: str, named: Mapping[int, str]) -> tuple[int, ...]:
    """List the interrupts of a NIC: those of its PCI function, else those that carry its name."""
    for place in ("device/msi_irqs", "device/../msi_irqs"):
        numbers = [int(one) for one in host.names(f"{NIC_FOLDER}/{name}/{place}") if one.isdigit()]
        wired = tuple(sorted(number for number in numbers if number in named))
        if wired:
            return wired
    device = (host.link(f"{NIC_FOLDER}/{name}/device") or "").rpartition("/")[2] or name
    pattern = re.compile(rf"(?<![\w.])({re.escape(name)}|{re.escape(device)})(?![\w.])")
    return tuple(number for number, text in named.items() if pattern.search(text))


def interrupt_names(table: str) -> Mapping[int, str]:
    """Return what /proc/interrupts says behind the counts of each numbered interrupt."""
    header, _, rows = table.partition("\n")
    columns = len(header.split())
    named: dict[int, str] = {}
    for row in rows.splitlines():
        number, colon, rest = row.partition(":")
        if colon and number.strip().isdigit():
            named[int(number)] = " ".join(rest.split()[columns:])
    return named


def read_hypervisor(host: Host) -> str | None:
    """Name what this kernel runs under; None on bare metal.

    The vendor alone proves nothing: a cloud's bare metal has it too. The CPU's flag does, where the
    architecture has one.
    """
    vendor = host.read("/sys/class/dmi/id/sys_vendor") or ""
    product = host.read("/sys/class/dmi/id/product_name") or ""
    known = next(
        (said for start, said in HYPERVISOR_VENDORS.items() if vendor.startswith(start)), None
    )
    flags = cpu_flags(host)
    if "hypervisor" in flags:
        return known or vendor or "a hypervisor that does not report its name"
    if host.read("/sys/hypervisor/type") == "xen":
        return "Xen"
    if flags or product.endswith(".metal"):
        return None
    return known


def cpu_flags(host: Host) -> frozenset[str]:
    """Return the flags of the first CPU; empty where the architecture (arm64) has no such list."""
    for line in (host.read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def kernel_version(release: str, banner: str, signature: str) -> tuple[int, int, int]:
    """Return the upstream version that a kernel was built from; (0, 0, 0) where none is told.

    A distribution's release name stays at "6.1.0-50" while its source moves: Debian tells the
    source in the banner ("Debian 6.1.176-1"), Ubuntu in /proc/version_signature.
    """
    debian = re.search(r"\bDebian (\d+)\.(\d+)(?:\.(\d+))?", banner)
    ubuntu = re.search(r"^Ubuntu \S+ (\d+)\.(\d+)(?:\.(\d+))?", signature)
    match = debian or ubuntu or re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


def read_kernel_config(host: Host, release: str, running: bool = True) -> Mapping[str, str]:
    """Read the options a kernel was built with; empty where nothing tells them."""
    packed = host.read_bytes("/proc/config.gz") if running else None
    text = ""
    if packed is not None:
        try:
            text = gzip.decompress(packed).decode(errors="replace")
        except (OSError, EOFError):
            text = ""
    if not text:
        text = host.read(f"/boot/config-{release}") or ""
    options = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    unset = re.findall(r"^# (CONFIG_\w+) is not set$", text, re.MULTILINE)
    return dict.fromkeys(unset, "n") | {name: value.strip('"') for name, _, value in options}


def installed_rt_kernels(host: Host) -> tuple[str, ...]:
    """List the releases of the real-time kernels in /boot."""
    patterns = ("/boot/vmlinuz-*-rt*", "/boot/vmlinuz-*-realtime*")
    paths = [path for pattern in patterns for path in host.glob(pattern)]
    return tuple(path.rpartition("/")[2].removeprefix("vmlinuz-") for path in paths)
