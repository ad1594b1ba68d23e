"""Planted machines for rt: trees of /proc, /sys and /etc, and the answers of commands.

Texts are as the kernel, ethtool 6.1 and Debian 12 print them. `metal`: two sockets with memory
nodes, four cores each with two threads, a trading NIC (ice) on node 1, another that carries ssh.
`stock` is as installed; `tuned_metal` as an administrator would leave it, written by hand here and
not taken from the catalogue. `rt_guest`: Debian 12's real-time kernel in a virtual machine of two
CPUs. `cloud_guest`: ENA, busy polling. Called by: test_rt_*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tickpath.rt.counters import Deltas
from tickpath.rt.host import Host, Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CPU = "/sys/devices/system/cpu"
LOG = "[0.0] Linux version 6.1.0\n[0.0] Command line: BOOT_IMAGE=/boot/vmlinuz\n"
UNKNOWN_LOG = (
    '[0.0] Unknown kernel command line parameters "BOOT_IMAGE=/boot/vmlinuz kthread_cpus=0", will '
    "be passed to user space.\n"
)
FLAGS = "fpu tsc msr constant_tsc nonstop_tsc"
ISOLATED = "4-7,12-15"  # node 1 whole
HOUSEKEEPING = "0-3,8-11"
CONFIG = """\
CONFIG_CPU_ISOLATION=y
CONFIG_NO_HZ_FULL=y
CONFIG_PSI=y
CONFIG_RCU_NOCB_CPU=y
CONFIG_X86_MCE=y
# CONFIG_RT_GROUP_SCHED is not set
"""
RT_WORDS = (
    f"isolcpus=managed_irq,domain,{ISOLATED} nohz_full={ISOLATED} rcu_nocbs={ISOLATED} "
    f"rcu_nocb_poll irqaffinity={HOUSEKEEPING} skew_tick=1 tsc=reliable nosoftlockup "
    "mce=ignore_ce intel_idle.max_cstate=0 processor.max_cstate=1 idle=poll mitigations=off psi=0 "
    "rcutree.nohz_full_patience_delay=1000"
)
BUSY_WORDS = f"{RT_WORDS} preempt=full rcupdate.rcu_normal_after_boot=1"
UNITS = (
    *("irqbalance.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("unattended-upgrades.service", "fstrim.timer", "e2scrub_all.timer", "e2scrub_reap.service"),
    *("man-db.timer", "dpkg-db-backup.timer", "thermald.service"),
    *("power-profiles-daemon.service", "ondemand.service", "motd-news.timer"),
    *("update-notifier-download.timer", "fwupd-refresh.timer"),
)
RINGS = """\
Ring parameters for {nic}:
Pre-set maximums:
RX:		8160
RX Mini:	n/a
RX Jumbo:	n/a
TX:		8160
Current hardware settings:
RX:		{size}
RX Mini:	n/a
RX Jumbo:	n/a
TX:		{size}
RX Buf Len:		n/a
"""
COALESCING = """\
Coalesce parameters for {nic}:
Adaptive RX: {adaptive}  TX: {adaptive}
stats-block-usecs: n/a

rx-usecs: {usecs}
rx-frames: n/a

tx-usecs: {usecs}
"""
FEATURES = """\
Features for {nic}:
rx-checksumming: on
tcp-segmentation-offload: {joined}
	tx-tcp-segmentation: {joined}
generic-segmentation-offload: {joined}
generic-receive-offload: {joined}
large-receive-offload: off [fixed]
ntuple-filters: {ntuple}
"""
CHANNELS = """\
Channel parameters for {nic}:
Pre-set maximums:
RX:		8
TX:		8
Other:		1
Combined:	8
Current hardware settings:
RX:		0
TX:		0
Other:		1
Combined:	{count}
"""
PAUSE = "Pause parameters for {nic}:\nAutonegotiate:\toff\nRX:\t\t{pause}\nTX:\t\t{pause}\n"


@dataclass
class Tree:
    """A machine that is being planted."""

    root: Path
    answers: dict[tuple[str, ...], Output] = field(default_factory=dict)

    @property
    def host(self) -> Host:
        return Host(self.root, self.run)

    def run(self, argv: Sequence[str]) -> Output:
        return self.answers.get(tuple(argv), Output(127, "", f"{argv[0]}: not planted"))

    def write(self, name: str, text: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n" if text and not text.endswith("\n") else text)

    def write_all(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            self.write(name, text)

    def link(self, name: str, target: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def answer(self, words: str, text: str) -> None:
        self.answers[tuple(words.split())] = Output(0, text, "")

    def unit(self, name: str, state: str, active: str) -> None:
        self.write(f"/usr/lib/systemd/system/{name}", "[Unit]")
        if state == "masked":
            self.link(f"/etc/systemd/system/{name}", "/dev/null")
        shown = f"ActiveState={active}\nUnitFileState={state}\n"
        self.answer(f"systemctl show -p ActiveState,UnitFileState {name}", shown)

    def thread(self, tid: int, name: str, stat: str, allowed: str) -> None:
        """Plant a process of one thread. stat: "STATE FLAGS CPU PRIORITY POLICY"."""
        state, flags, cpu, priority, policy = stat.split()
        fields = [state, *["0"] * 5, flags, *["0"] * 29, cpu, priority, policy, *["0"] * 11]
        self.write(f"/proc/{tid}/comm", name)
        self.write(f"/proc/{tid}/cmdline", name.replace(" ", "\0"))
        self.write(f"/proc/{tid}/task/{tid}/stat", f"{tid} ({name}) {' '.join(fields)}")
        self.write(
            f"/proc/{tid}/task/{tid}/status", f"Name:\t{name}\nCpus_allowed_list:\t{allowed}"
        )
        if tid == 1:
            self.write("/proc/1/status", f"Name:\t{name}\nCpus_allowed_list:\t{allowed}")

    def nic(self, name: str, driver: str, node: int, queues: int) -> None:
        folder = f"/sys/class/net/{name}"
        self.write_all(
            {
                f"{folder}/mtu": "1500",
                f"{folder}/napi_defer_hard_irqs": "0",
                f"{folder}/gro_flush_timeout": "0",
                f"{folder}/threaded": "0",
                f"{folder}/device/numa_node": str(node),
            }
        )
        self.link(f"{folder}/device/driver", f"../../../../bus/pci/drivers/{driver}")
        for queue in range(queues):
            self.write(f"{folder}/queues/rx-{queue}/rps_cpus", "0000")

    def ethtool(self, nic: str, group: str, text: str) -> None:
        """Answer as ethtool 6.1, which refuses --json for most groups."""
        self.answers["ethtool", "--json", f"-{group}", nic] = Output(1, "", "bad command line")
        self.answer(f"ethtool -{group} {nic}", text)


def deltas(busy: bool, cpus: Sequence[int], hypervisor: bool = False) -> Deltas:
    """Plant one second of counters: a noisy or a quiet one."""
    row = dict.fromkeys(cpus, 250 if busy else 0)
    return Deltas(
        seconds=1.0,
        interrupts={name: dict(row) for name in ("38", "LOC", "CAL", "NMI")},
        interrupt_texts={"38": "PCI-MSIX-0000:01:00.0 1-edge ice-eth1-TxRx-0"},
        softirqs={name: dict(row) for name in ("TIMER", "NET_RX")},
        idle_states={"POLL": dict.fromkeys(cpus, 9), "C6": dict(row)},
        steal_ticks=dict.fromkeys(cpus, 5 if busy else 0) if hypervisor else {},
        context_switches=50_000 * len(cpus) if busy else 300,
        smi={} if hypervisor else dict.fromkeys(cpus, 1 if busy else 0),
    )


def plant_cpus(
    tree: Tree, count: int, siblings_apart: int | None, nodes: Mapping[int, str]
) -> None:
    tree.write(f"{CPU}/online", f"0-{count - 1}")
    tree.write(f"{CPU}/isolated", "")
    tree.write(f"{CPU}/nohz_full", "(null)")
    for cpu in range(count):
        core = cpu % siblings_apart if siblings_apart else cpu
        both = f"{core},{core + siblings_apart}" if siblings_apart else str(core)
        tree.write(f"{CPU}/cpu{cpu}/topology/thread_siblings_list", both)
        tree.write(f"{CPU}/cpu{cpu}/power/pm_qos_resume_latency_us", "0")
    for node, cpus in nodes.items():
        tree.write(f"/sys/devices/system/node/node{node}/cpulist", cpus)


def plant_kernel(tree: Tree, release: str, banner: str, config: str) -> None:
    tree.write_all(
        {
            "/proc/sys/kernel/osrelease": release,
            "/proc/sys/kernel/version": banner,
            "/proc/sys/kernel/random/boot_id": "b" * 36,
            f"/boot/config-{release}": config,
            f"/boot/vmlinuz-{release}": "",
            "/etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
        }
    )


def plant_common(tree: Tree) -> None:
    """Plant what every Debian has, as installed."""
    sysctls = {
        "kernel/sched_rt_runtime_us": "950000",
        "kernel/nmi_watchdog": "1",
        "kernel/soft_watchdog": "1",
        "kernel/hung_task_timeout_secs": "120",
        "kernel/timer_migration": "1",
        "kernel/sched_autogroup_enabled": "1",
        "kernel/sched_schedstats": "1",
        "kernel/numa_balancing": "1",
        "net/core/bpf_jit_enable": "0",
        "net/core/bpf_jit_harden": "2",
        "vm/swappiness": "60",
        "vm/stat_interval": "1",
        "vm/dirty_ratio": "20",
        "vm/dirty_background_ratio": "10",
        "vm/dirty_bytes": "0",
        "vm/dirty_background_bytes": "0",
        "vm/compaction_proactiveness": "20",
        "vm/zone_reclaim_mode": "1",
    }
    tree.write_all({f"/proc/sys/{name}": value for name, value in sysctls.items()})
    tree.write_all(
        {
            "/proc/swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 999 0 -2\n",
            "/proc/self/cgroup": "0::/user.slice\n",
            "/proc/irq/default_smp_affinity": "ffff",
            "/sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
            "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag": "1",
            "/sys/kernel/mm/ksm/run": "1",
            "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0",
            "/sys/devices/virtual/workqueue/cpumask": "ffff",
            "/sys/bus/workqueue/devices/writeback/cpumask": "ffff",
            "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
            "/sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet",
            "/sys/module/rcutree/parameters/nohz_full_patience_delay": "0",
            "/etc/sysctl.d/local.conf": "kernel.sched_min_granularity_ns = 1\n# vm.gone = 1\n",
        }
    )
    (tree.root / "run/systemd/system").mkdir(parents=True)
    tree.answer("dmesg", LOG + UNKNOWN_LOG + "[0.1] tsc: Marking TSC unstable due to check\n")
    for unit in UNITS:
        tree.unit(unit, "enabled", "active")
    tree.thread(1, "systemd", "S 4194560 0 0 0", "0-15")


def plant_metal_hardware(tree: Tree) -> None:
    plant_cpus(tree, 16, 8, {0: "0-3,8-11", 1: "4-7,12-15"})
    tree.write("/proc/cpuinfo", f"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: {FLAGS}\n")
    for policy in range(16):
        folder = f"{CPU}/cpufreq/policy{policy}"
        tree.write(f"{folder}/scaling_governor", "powersave")
        tree.write(f"{folder}/energy_performance_preference", "balance_performance")
        tree.write(f"/sys/devices/system/machinecheck/machinecheck{policy}/ignore_ce", "0")
        tree.write(f"{CPU}/cpu{policy}/thermal_throttle/core_throttle_count", "7")
        tree.write(f"/sys/kernel/debug/sched/fair_server/cpu{policy}/runtime", "50000000")
    for node in (0, 1):
        pool = f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
        tree.write(f"{pool}/nr_hugepages", "0")
    tree.write_all(
        {
            f"{CPU}/intel_pstate/min_perf_pct": "25",
            f"{CPU}/intel_uncore_frequency/package_00_die_00/min_freq_khz": "800000",
            f"{CPU}/intel_uncore_frequency/package_00_die_00/max_freq_khz": "2400000",
            "/sys/class/dmi/id/sys_vendor": "Dell Inc.",
            "/sys/module/pcie_aspm/parameters/policy": "[default] performance powersave",
        }
    )


def plant_networks(tree: Tree) -> None:
    tree.nic("eth0", "igb", 0, 4)
    tree.nic("eth1", "ice", 1, 8)
    route = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    route += "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n"
    route += "eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    route += "eth1 0000010A 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
    tree.write("/proc/net/route", route)
    ssh = "  sl local rem st\n   0: 0500A8C0:0016 0900A8C0:D431 01 0:0 0:0 0 0 0 1\n"
    tree.write("/proc/net/tcp", ssh)
    table = " ".join(f"CPU{cpu}" for cpu in range(16)) + "\n"
    for irq, action in ((16, "ahci"), (38, "ice-eth1-TxRx-0"), (40, "nvme0q1")):
        table += f"{irq}: {' '.join(['0'] * 16)} PCI-MSIX-0000:01:00.0 {irq}-edge {action}\n"
        tree.write(f"/proc/irq/{irq}/smp_affinity_list", "0-15")
        tree.write(f"/sys/kernel/irq/{irq}/actions", action)
    tree.write("/proc/interrupts", table)
    tree.write("/sys/class/net/eth1/device/msi_irqs/38", "msix")


def plant_ethtool(tree: Tree, nic: str, tuned: bool) -> None:
    switch = "off" if tuned else "on"
    tree.ethtool(nic, "g", RINGS.format(nic=nic, size=1024 if tuned else 2048))
    usecs = 0 if tuned else 50
    tree.ethtool(nic, "c", COALESCING.format(nic=nic, adaptive=switch, usecs=usecs))
    ntuple = "on" if tuned else "off"
    tree.ethtool(nic, "k", FEATURES.format(nic=nic, joined=switch, ntuple=ntuple))
    tree.ethtool(nic, "l", CHANNELS.format(nic=nic, count=1 if tuned else 8))
    tree.ethtool(nic, "a", PAUSE.format(nic=nic, pause=switch))


def stock_metal(root: Path, busy_poll: bool = False) -> Tree:
    """Plant bare metal as installed: Debian 12, or for busy polling a 6.12 kernel."""
    tree = Tree(root)
    release = "6.12.90-amd64" if busy_poll else "6.1.0-50-amd64"
    banner = f"#1 SMP PREEMPT_DYNAMIC Debian {'6.12.90-1' if busy_poll else '6.1.176-1'} (2026)"
    options = "CONFIG_PREEMPT_DYNAMIC=y\nCONFIG_NET_RX_BUSY_POLL=y\n" if busy_poll else ""
    plant_kernel(tree, release, banner, CONFIG + options)
    tree.write("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro quiet audit=0 audit=1")
    plant_common(tree)
    plant_metal_hardware(tree)
    plant_networks(tree)
    plant_ethtool(tree, "eth1", tuned=False)
    if busy_poll:
        tree.write("/proc/sys/net/core/busy_poll", "0")
        tree.write("/proc/sys/net/core/busy_read", "0")
    tree.thread(900, "cron", "S 4194304 5 0 0", "0-15")
    tree.thread(901, "greedy) R 1", "R 4194304 6 80 1", "6")
    tree.thread(902, "tuned", "S 4194304 1 0 0", "0-3")
    return tree


def tuned_metal(root: Path, busy_poll: bool = False) -> Tree:
    """Plant the same machine as an expert would have left it."""
    tree = stock_metal(root, busy_poll)
    words = BUSY_WORDS if busy_poll else RT_WORDS
    if not busy_poll:
        rt_banner = "#1 SMP PREEMPT_RT Debian 6.1.176-1 (2026)"
        plant_kernel(tree, "6.1.0-50-rt-amd64", rt_banner, CONFIG)
        tree.write("/sys/kernel/realtime", "1")
    tree.write(
        "/proc/cmdline",
        f"BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro quiet {words} tickpath.boot=lasting",
    )
    tree.write("/etc/default/grub.d/60-tickpath.cfg", f"TICKPATH_LASTING='{words}'\n")
    tune_sysctls(tree, busy_poll)
    tune_files(tree, busy_poll)
    for unit in UNITS:
        tree.unit(unit, "masked", "inactive")
    plant_ethtool(tree, "eth1", tuned=True)
    tree.answer("dmesg", LOG)
    tree.thread(1, "systemd", "S 4194560 0 0 0", HOUSEKEEPING)
    tree.thread(900, "cron", "S 4194304 3 0 0", HOUSEKEEPING)
    tree.thread(901, "strategy", "R 4194304 6 40 1", "6")
    tree.thread(902, "agetty", "S 4194304 1 0 0", "0-3")
    tree.thread(903, "python3 -P -m tickpath.rt.guard", "S 4194304 1 0 0", "0-3")
    for index, cpu in enumerate((4, 5, 6, 7, 12, 13, 14, 15)):
        tree.thread(50 + index, f"rcuop/{cpu}", "S 2129984 1 0 0", HOUSEKEEPING)
    return tree


def tune_sysctls(tree: Tree, busy_poll: bool) -> None:
    tuned = {
        "kernel.sched_rt_runtime_us": "-1",
        "kernel.nmi_watchdog": "0",
        "kernel.soft_watchdog": "0",
        "kernel.hung_task_timeout_secs": "600",
        "kernel.timer_migration": "0",
        "kernel.sched_autogroup_enabled": "0",
        "kernel.sched_schedstats": "0",
        "kernel.numa_balancing": "0",
        "net.core.bpf_jit_enable": "1",
        "net.core.bpf_jit_harden": "0",
        "vm.swappiness": "1",
        "vm.stat_interval": "120",
        "vm.dirty_ratio": "10",
        "vm.dirty_background_ratio": "3",
        "vm.compaction_proactiveness": "0",
        "vm.zone_reclaim_mode": "0",
    }
    if busy_poll:
        tuned |= {"net.core.busy_poll": "50", "net.core.busy_read": "50"}
    for name, value in tuned.items():
        tree.write("/proc/sys/" + name.replace(".", "/"), value)
    lines = "".join(f"{name} = {value}  # tuned\n" for name, value in tuned.items())
    tree.write("/etc/sysctl.d/90-site.conf", lines)
    tree.write("/etc/sysctl.d/local.conf", "-kernel.sched_min_granularity_ns = 1\n")


def tune_files(tree: Tree, busy_poll: bool) -> None:
    isolated = (4, 5, 6, 7, 12, 13, 14, 15)
    kept = {
        "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]",
        "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag": "0",
        "/sys/kernel/mm/ksm/run": "0",
        "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "1024",
        "/sys/devices/virtual/workqueue/cpumask": "0f0f",
        "/sys/bus/workqueue/devices/writeback/cpumask": "0f0f",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
        "/proc/irq/default_smp_affinity": "0f0f",
        f"{CPU}/intel_pstate/min_perf_pct": "100",
        f"{CPU}/intel_uncore_frequency/package_00_die_00/min_freq_khz": "2400000",
        "/sys/module/pcie_aspm/parameters/policy": "default [performance] powersave",
        **{f"{CPU}/cpu{cpu}/power/pm_qos_resume_latency_us": "n/a" for cpu in isolated},
        **{f"/sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime": "0" for cpu in isolated},
    }
    if busy_poll:
        kept["/sys/class/net/eth1/napi_defer_hard_irqs"] = "2"
        kept["/sys/class/net/eth1/gro_flush_timeout"] = "200000"
    for cpu in range(16):
        folder = f"{CPU}/cpufreq/policy{cpu}"
        kept[f"{folder}/scaling_governor"] = "performance"
        kept[f"{folder}/energy_performance_preference"] = "performance"
        kept[f"/sys/devices/system/machinecheck/machinecheck{cpu}/ignore_ce"] = "1"
        tree.write(f"{CPU}/cpu{cpu}/thermal_throttle/core_throttle_count", "0")
    tree.write_all(kept)
    tree.write("/etc/tmpfiles.d/site.conf", tmpfiles(kept))
    tree.write("/etc/tickpath/rt-boot.json", BOOT_JSON)
    tree.write_all(
        {
            "/proc/swaps": "Filename Type Size Used Priority\n",
            f"{CPU}/isolated": ISOLATED,
            f"{CPU}/nohz_full": ISOLATED,
            "/proc/irq/16/smp_affinity_list": "0",
            "/proc/irq/38/smp_affinity_list": HOUSEKEEPING,
            "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages": "512",
            "/etc/systemd/system.conf.d/60-tickpath.conf": AFFINITY,
            "/etc/security/limits.d/60-tickpath.conf": LIMITS,
        }
    )


def tmpfiles(kept: Mapping[str, str]) -> str:
    """Write tmpfiles.d lines: what is written, which is the bracketed word of what is read."""
    lines = ""
    for path, text in kept.items():
        value = text.partition("[")[2].partition("]")[0] or text
        lines += f"w {path} - - - - {value}\n"
    return lines


AFFINITY = """\
# Written by tickpath rt: services run on the housekeeping CPUs, unless their unit says
# otherwise.
[Manager]
CPUAffinity=0-3,8-11
"""
LIMITS = """\
# Written by tickpath rt: who belongs to the group may use SCHED_FIFO below the kernel's threaded
# interrupts (50), and lock memory. Services have their own limits in their units.
@tickpath - rtprio 40
@tickpath - memlock unlimited
"""
BOOT_JSON = """\
{"settings": [
 {"kind": "Ethtool", "interface": "eth1", "group": "G", "name": "rx", "value": "1024"},
 {"kind": "Ethtool", "interface": "eth1", "group": "G", "name": "tx", "value": "1024"},
 {"kind": "Ethtool", "interface": "eth1", "group": "C", "name": "adaptive-rx", "value": "off"},
 {"kind": "Ethtool", "interface": "eth1", "group": "C", "name": "adaptive-tx", "value": "off"},
 {"kind": "Ethtool", "interface": "eth1", "group": "C", "name": "rx-usecs", "value": "0"},
 {"kind": "Ethtool", "interface": "eth1", "group": "C", "name": "tx-usecs", "value": "0"},
 {"kind": "Ethtool", "interface": "eth1", "group": "K", "name": "gro", "value": "off"},
 {"kind": "Ethtool", "interface": "eth1", "group": "K", "name": "gso", "value": "off"},
 {"kind": "Ethtool", "interface": "eth1", "group": "K", "name": "tso", "value": "off"},
 {"kind": "Ethtool", "interface": "eth1", "group": "K", "name": "ntuple", "value": "on"},
 {"kind": "Ethtool", "interface": "eth1", "group": "L", "name": "combined", "value": "1"},
 {"kind": "Ethtool", "interface": "eth1", "group": "A", "name": "rx", "value": "off"},
 {"kind": "Ethtool", "interface": "eth1", "group": "A", "name": "tx", "value": "off"}
]}
"""


def rt_guest(root: Path) -> Tree:
    """Plant Debian 12's real-time kernel under plain QEMU, isolated by its command line."""
    tree = Tree(root)
    banner = "#1 SMP PREEMPT_RT Debian 6.1.176-1 (2026)"
    plant_kernel(tree, "6.1.0-50-rt-amd64", banner, CONFIG + "CONFIG_NETCONSOLE=m\n")
    plant_common(tree)
    plant_cpus(tree, 2, None, {})
    words = "isolcpus=managed_irq,domain,1 nohz_full=1 rcu_nocbs=1 irqaffinity=0 kthread_cpus=0"
    tree.write("/proc/cmdline", f"BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro {words}")
    tree.write_all(
        {
            "/proc/cpuinfo": "flags : fpu tsc hypervisor\n",
            "/sys/class/dmi/id/sys_vendor": "QEMU",
            "/sys/kernel/realtime": "1",
            f"{CPU}/isolated": "1",
            f"{CPU}/nohz_full": "1",
            "/proc/irq/default_smp_affinity": "1",
            "/proc/irq/26/smp_affinity_list": "1",
            "/sys/kernel/irq/26/actions": "virtio2-req.1",
            "/proc/sys/kernel/sched_rt_runtime_us": "-1",
        }
    )
    tree.nic("eth0", "virtio_net", -1, 1)
    tree.thread(1, "systemd", "S 4194560 0 0 0", "0")
    return tree


def cloud_guest(root: Path) -> Tree:
    """Plant an instance with ENA, in which one NIC carries everything, ssh too."""
    tree = Tree(root)
    banner = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.73-1 (2026)"
    options = "CONFIG_NET_RX_BUSY_POLL=y\nCONFIG_RT_GROUP_SCHED=y\n"
    plant_kernel(tree, "6.12.73+deb13-cloud-amd64", banner, CONFIG + options)
    plant_common(tree)
    plant_cpus(tree, 8, 4, {})
    tree.write_all(
        {
            "/proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro quiet",
            "/proc/cpuinfo": f"flags : {FLAGS} hypervisor\n",
            "/sys/class/dmi/id/sys_vendor": "Amazon EC2",
            "/proc/sys/net/core/busy_poll": "50",
            "/proc/sys/net/core/busy_read": "50",
            "/sys/devices/virtual/workqueue/cpumask": "11",
            "/proc/self/cgroup": "4:cpu,cpuacct:/app\n0::/\n",
            "/sys/fs/cgroup/cpu/app/cpu.rt_runtime_us": "0",
            "/proc/net/route": "Iface\nens5 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n",
            "/proc/net/tcp": "  sl\n   0: 0500000A:0016 0900000B:D431 01 0 0 0 0 0 1\n",
        }
    )
    tree.nic("ens5", "ena", -1, 8)
    tree.write("/sys/class/net/ens5/mtu", "9001")
    return tree
