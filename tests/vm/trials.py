"""Trials of rules that take more than a kernel alone: two boots of a guest, as a table.

Each trial spoils one thing, mends it (by `tickpath rt apply --only ITEM`, unless it says how), and
says what check and the kernel must then say. The guest has four CPUs in two cores of two threads,
each core a memory node of its own, and a network interface of each kind that is emulated. It is
booted twice, by the kernel's files of the disk: STOCK is Debian's cloud kernel with a command line
of mistakes, TUNED its real-time kernel with what the catalogue asks for.

Called by: test_1_trials, tests/unit/test_rt_tried. Calls: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STOCK: Final = "cloud"
TUNED: Final = "rt"
BASE_LINE: Final = "console=ttyS0 norandmaps quiet"
LINES: Final = {
    # A core split, CPU 0 isolated, a word that no kernel knows, one word twice, a clock given up.
    STOCK: "isolcpus=0,2 kthread_cpus=0 irqaffinity=0 irqaffinity=0-1 tsc=unstable",
    TUNED: "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1 "
    "tsc=reliable mitigations=off",
}
NIC: Final = "ens3"  # virtio
RINGS: Final = "ens6"  # vmxnet3, whose rings and LRO can be set
NEAR: Final = "enp65s1"  # virtio on a bus of memory node 0, which has CPU 0
FAR: Final = "enp129s1"  # of memory node 1, which has the isolated CPUs
LAB: Final = ("--profile", "vm-lab", "--isolated", "2-3")


@dataclass(frozen=True, slots=True)
class Trial:
    """A rule, the scripts that break and mend it, and what must be seen each time.

    states, effects: spoiled and mended; an effect is a regular expression that must be found in
    what the script `effect` prints. mend "" is apply. mended_words: () are the same words.
    """

    item: str
    spoil: str
    effect: str
    effects: tuple[str, str]
    mend: str = ""
    states: tuple[str, str] = ("drift", "ok")
    words: tuple[str, ...] = (*LAB, "--nic", "none")
    mended_words: tuple[str, ...] = ()
    window_s: int = 0  # in which effects are counted


@dataclass(frozen=True, slots=True)
class Booted:
    """A rule about what was booted: check and the kernel, in STOCK and in TUNED."""

    item: str
    effect: str
    effects: tuple[str, str]
    states: tuple[str, str] = ("drift", "ok")
    words: tuple[str, ...] = (*LAB, "--nic", "none")
    spoil: str = ""
    window_s: int = 0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A rule that a test of another file tries."""

    item: str
    by: str  # file of this folder, and function


CPU = "/sys/devices/system/cpu"
NET = f"/sys/class/net/{NIC}"
POLLS = "python3 -c 'import socket; print(socket.socket().getsockopt(1, 46))'"  # SO_BUSY_POLL
# What an interface or the random number device does when it is asked: an interrupt.
LAB_FOLDER: Final = "/run/lab"
SENT: Final = f"{LAB_FOLDER}/trials.json"
SCRIPT: Final = f"{LAB_FOLDER}/guest_trials.py"
HELPERS = {
    "/run/lab/arp.py": """\
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as arp:
    arp.bind((sys.argv[1], 0))
    arp.settimeout(10)
    mine = arp.getsockname()[4]
    ask = b"\\xff" * 6 + mine + bytes.fromhex("0806000108000604") + b"\\0\\1" + mine
    ask += socket.inet_aton("10.0.2.15") + bytes(6) + socket.inet_aton("10.0.2.2")
    for _ in range(8):
        arp.send(ask)
        arp.recv(100)
""",
    "/run/lab/spin.py": "while True: pass\n",
    "/run/lab/send.py": """\
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    while True: sender.sendto(b"x", ("127.0.0.1", 9))
""",
    # A program of XDP that passes each packet, attached in the driver.
    "/run/lab/xdp.py": """\
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 120)
    done = libc.syscall(321, command, buffer, 120)
    if done < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return done
code = ctypes.create_string_buffer(struct.pack("<QQ", 0x00000002000000B7, 0x95), 16)
licence = ctypes.create_string_buffer(b"GPL")
program = bpf(5, struct.pack("=IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence)))
bpf(28, struct.pack("=IIII", program, socket.if_nametoindex(sys.argv[1]), 37, 4))
print("attached")
""",
}
NOISE = f"{LAB_FOLDER}/noise"


def noise(script: str) -> str:
    """Start something in the background, which `quiet` ends."""
    return f"setsid bash -c {script!r} >/dev/null 2>&1 & echo $! >{NOISE}; sleep 1"


ENDED = f"kill -9 -$(cat {NOISE}); sleep 1; echo ended"


def spinner(cpu: int, priority: int = 0) -> str:
    class_ = f"chrt -f {priority} " if priority else ""
    return noise(f"exec taskset -c {cpu} {class_}python3 /run/lab/spin.py")


# Counts of one interrupt on CPU 3: do they rise? One that was moved comes to its old CPU once more.
RISES = """\
count() { awk -v row="$row:" '$1 == row {print $5}' /proc/interrupts; }
provoke; before=$(count); provoke; after=$(count)
[ "$after" -gt "$before" ] && echo CPU 3 is interrupted || echo CPU 3 is left alone
"""
RNG = """\
row=$(ls $(readlink -f /sys/bus/virtio/drivers/virtio_rng/virtio*)/../msi_irqs | tail -n 1)
provoke() { head -c 2048 /dev/hwrng >/dev/null; }
"""
RNG_AWAKE = noise("while :; do head -c 64 /dev/hwrng >/dev/null; sleep 0.02; done")
WIRE = f"""\
row=$(grep -w "$(basename $(readlink {NET}/device))-input.0" /proc/interrupts | cut -d: -f1 | xargs)
provoke() {{ ip link set {NIC} up; python3 /run/lab/arp.py {NIC}; }}
"""
MOVE = "echo {} >/proc/irq/$row/smp_affinity_list\n"
INTERRUPTED = ("CPU 3 is interrupted", "CPU 3 is left alone")
COUNT_S: Final = 2


def counted(row: str, table: str = "/proc/interrupts") -> str:
    """Print whether a row rises by more than 10 on CPU 3 within two seconds."""
    count = f"awk '$1 == \"{row}:\" {{print $5}}' {table}"
    return (
        f"a=$({count}); sleep 2; b=$({count}); [ $((b - a)) -gt 10 ] && echo often || echo seldom"
    )


# A group of units: those that the image lacks have a stand-in of their name (SET_UP).
UNITS: Final = {
    "svc.irqbalance": ("irqbalance.service",),
    "svc.apt_daily": ("apt-daily.timer", "apt-daily-upgrade.timer"),
    "svc.unattended_upgrades": ("unattended-upgrades.service",),
    "svc.fstrim": ("fstrim.timer",),
    "svc.e2scrub": ("e2scrub_all.timer", "e2scrub_reap.service"),
    "svc.man_db": ("man-db.timer",),
    "svc.dpkg_backup": ("dpkg-db-backup.timer",),
    "svc.thermald": ("thermald.service",),
    "svc.power_profiles": ("power-profiles-daemon.service", "ondemand.service"),
    "svc.update_notices": (
        *("motd-news.timer", "update-notifier-download.timer", "fwupd-refresh.timer"),
    ),
}
SET_UP: Final = f"""\
install -D -m 755 $ZIPAPP /opt/tickpath/tickpath-rt.pyz  # where its boot service looks for it
cd /usr/lib/systemd/system
for unit in {" ".join(unit for units in UNITS.values() for unit in units)}; do
  systemctl unmask --quiet $unit
  rm -f /etc/systemd/system/$unit
  name=${{unit%.*}}
  [ -e $unit ] && [ $unit != e2scrub_reap.service ] && continue
  printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >$name.service
  [ $unit = $name.timer ] && printf '[Timer]\\nOnActiveSec=1d\\n' >$unit
done
systemctl daemon-reload
"""


def unit_trial(item: str, units: tuple[str, ...]) -> Trial:
    """What is masked does not run, and cannot be started."""
    names = " ".join(units)
    return Trial(
        item,
        f"systemctl start {names}",
        f"systemctl start {names} 2>&1; systemctl is-active {names}",
        (r"\Aactive(\nactive)*\Z", r"is masked[^$]*(\n(inactive|failed))+\Z"),
    )


ON_STOCK: Final = (
    Trial(
        "net.busy_poll",
        "sysctl -w net.core.busy_poll=0",
        "cat /proc/sys/net/core/busy_poll",
        ("^0$", "^50$"),
        words=("--profile", "cloud", "--isolated", "2-3", "--nic", "none"),
    ),
    Trial(
        "net.busy_read",
        "sysctl -w net.core.busy_read=0",
        POLLS,  # a new socket begins with it
        ("^0$", "^50$"),
        words=("--profile", "cloud", "--isolated", "2-3", "--nic", "none"),
    ),
    Trial(
        "svc.affinity",  # systemd 252 reads it anew, and holds to what it was started with
        "",
        "systemd-run --quiet --pipe --wait grep Cpus_allowed_list /proc/self/status",
        (r"\t1,3$", r"\t1,3$"),
        states=("drift", "pending reboot"),
    ),
    Trial(
        "svc.pid1",
        "taskset -p 8 1",
        "systemd-run --quiet --pipe --wait grep Cpus_allowed_list /proc/self/status",
        (r"\t3$", r"\t0-1$"),
        mend="taskset -p 3 1",
    ),
)

ON_TUNED: Final = (
    Trial(
        "cpu.clocksource",
        "cd /sys/devices/system/clocksource/clocksource0; echo acpi_pm >current_clocksource",
        "dmesg | grep 'Switched to clocksource' | tail -n 1",
        ("acpi_pm$", "tsc$"),
    ),
    Trial(
        "mem.huge_node",
        "cd /sys/devices/system/node; echo 8 >node0/hugepages/hugepages-2048kB/nr_hugepages; "
        "echo 0 >node1/hugepages/hugepages-2048kB/nr_hugepages",
        "grep HugePages_Total /sys/devices/system/node/node1/meminfo",
        (" 0$", " 8$"),
        mend="echo 8 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
    ),
    Trial(
        "mem.swap",
        "dd if=/dev/zero of=/swap bs=1M count=16 status=none; chmod 600 /swap; mkswap -q /swap; "
        "swapon /swap",
        "grep SwapTotal /proc/meminfo",
        (" 163[0-9]+ kB", " 0 kB"),
        mend="swapoff /swap",
    ),
    Trial(
        "sched.rt_runtime",
        "sysctl -w kernel.sched_rt_runtime_us=950000; "
        + spinner(3, 10)
        + "; for i in $(seq 30); do dmesg | grep -q 'RT throttling activated' && break; sleep 1; "
        f"done; {ENDED}",
        "dmesg | grep -o 'RT throttling activated'; "
        "awk '/^rt_rq\\[3\\]/ {found = 1} found && /rt_runtime/ {print $3; exit}' "
        "/sys/kernel/debug/sched/debug",
        (r"activated\n950\.0", r"\n-?0\.000001$"),  # no limit is -1 ns
        words=(*LAB, "--nic", "none", "--unthrottled-rt"),
    ),
    Trial(
        "sched.unguarded",
        "sysctl -w kernel.sched_rt_runtime_us=-1; " + spinner(3, 10),
        f"sleep 8; chrt -p $(cat {NOISE})",
        ("SCHED_FIFO", "SCHED_OTHER"),
        mend="head -c 8 /dev/zero >/run/lab/beat; PYTHONPATH=$ZIPAPP setsid python3 -P -m "
        f"tickpath.rt.guard --tid $(cat {NOISE}) --beat /run/lab/beat:0 >/run/lab/guard 2>&1 & "
        "sleep 2",
        states=("conflict", "ok"),
    ),
    Trial(
        "process.priority",
        f"kill -9 -$(cat {NOISE}); sysctl -w kernel.sched_rt_runtime_us=950000; " + spinner(3, 60),
        f"chrt -p $(cat {NOISE})",
        ("priority: 60", "priority: 40"),
        mend=f"chrt -f -p 40 $(cat {NOISE})",
        states=("conflict", "ok"),
    ),
    Trial(
        "sched.strangers",
        f"kill -9 -$(cat {NOISE}); "
        + noise("exec taskset -c 3 sleep 1000")
        + f"; taskset -pc 0-3 $(cat {NOISE})",
        "ps -o psr= -C sleep",
        ("^ *3$", "^$"),
        mend=ENDED,
    ),
    Trial(
        "sched.dead_sysctls",
        "echo kernel.sched_min_granularity_ns=1 >/etc/sysctl.d/90-lab.conf",
        "sysctl -p /etc/sysctl.d/90-lab.conf 2>&1",
        ("sched_min_granularity_ns: No such file", "cannot open"),
        mend="rm /etc/sysctl.d/90-lab.conf",
    ),
    Trial("irq.affinity", RNG + MOVE.format(3), RNG + RISES, INTERRUPTED),
    Trial(
        "irq.nic",
        WIRE + MOVE.format(3),
        WIRE + RISES,
        INTERRUPTED,
        words=(*LAB, "--nic", NIC),
    ),
    Trial(
        "irq.devices",
        RNG + MOVE.format(3) + RNG_AWAKE,
        RNG + RISES,
        INTERRUPTED,
        mend=RNG + MOVE.format("0-1") + "sleep 1",
        window_s=COUNT_S,
    ),
    Trial(
        "irq.ipis",
        f"kill -9 -$(cat {NOISE}); mkfifo /run/lab/pipe; "
        + noise(
            "taskset -c 3 cat /run/lab/pipe & "
            "exec taskset -c 0 sh -c 'while :; do echo; sleep 0.005; done >/run/lab/pipe'"
        ),
        counted("RES") + "; " + counted("CAL"),
        ("often", r"\Aseldom\nseldom"),
        mend=ENDED,
        window_s=COUNT_S,
    ),
    Trial(
        "irq.nmis",
        "dmesg -n 1; " + noise("while :; do echo l >/proc/sysrq-trigger; sleep 0.05; done"),
        counted("NMI"),
        ("often", "seldom"),
        mend=ENDED,
        window_s=COUNT_S,
    ),
    Trial(
        "irq.softirqs",
        noise("exec taskset -c 3 python3 /run/lab/send.py"),
        counted("NET_RX", "/proc/softirqs"),
        ("often", "seldom"),
        mend=ENDED,
        window_s=COUNT_S,
    ),
    Trial(
        "nic.defer_hard_irqs",
        f"echo 7 >{NET}/napi_defer_hard_irqs",
        f"cat {NET}/napi_defer_hard_irqs",
        ("^7$", "^2$"),
        words=("--profile", "metal-busy-poll", "--isolated", "2-3", "--nic", NIC),
    ),
    Trial(
        "nic.gro_flush_timeout",
        f"echo 7 >{NET}/gro_flush_timeout",
        f"cat {NET}/gro_flush_timeout",
        ("^7$", "^200000$"),
        words=("--profile", "metal-busy-poll", "--isolated", "2-3", "--nic", NIC),
    ),
    Trial(
        "nic.threaded",
        f"ip link set {NIC} up; echo 1 >{NET}/threaded",
        # How often its threads slept, before and after packets.
        f"slept() {{ for t in $(pgrep napi/{NIC}); do grep ^voluntary /proc/$t/status; done; }}; "
        f'a=$(slept); python3 /run/lab/arp.py {NIC}; [ "$(slept)" != "$a" ] && '
        "echo received by a thread || echo received by no thread",
        ("by a thread", "by no thread"),
        words=(*LAB, "--nic", NIC),
    ),
    Trial(
        "net.rps",  # to CPU 1: this kernel takes no other mask than one of housekeeping CPUs
        f"{WIRE}{MOVE.format(0)}provoke; for q in {NET}/queues/rx-*/rps_cpus; do echo 2 >$q; done",
        "got() { awk 'NR == 2 {print $10}' /proc/net/softnet_stat; }; a=$(got); "
        f"ip link set {NIC} up; python3 /run/lab/arp.py {NIC}; [ $(got) != $a ] && echo handed on "
        "|| echo kept",
        ("handed on", "kept"),
        words=(*LAB, "--nic", NIC),
    ),
    Trial(
        "nic.rings",
        f"ethtool -G {RINGS} rx 256 tx 256",
        f"ethtool -g {RINGS} | tail -n 9 | grep -E '^(RX|TX):'",
        (r"RX:\s+256\nTX:\s+256", r"RX:\s+1024\nTX:\s+1024"),
        words=(*LAB, "--nic", RINGS),
    ),
    Trial(
        "nic.offloads",
        f"ethtool -K {RINGS} gro on lro on tso on gso on",
        f"ethtool -k {RINGS} | grep -E '^(tcp-seg|generic|large)'",
        (r"(: on\n?){4}|tcp.*on\n.*on\n.*on\n.*on", r"tcp.*off\n.*off.*\n.*off\n.*off"),
        words=(*LAB, "--nic", RINGS),
    ),
    Trial(
        "nic.node",
        "",
        f"cat /sys/class/net/{NEAR}/device/../numa_node /sys/class/net/{FAR}/device/../numa_node",
        (r"\A0\n1\Z", r"\A0\n1\Z"),
        mend=":",
        states=("conflict", "ok"),
        words=(*LAB, "--nic", NEAR),
        mended_words=(*LAB, "--nic", FAR),
    ),
    Trial(
        "nic.mtu",
        f"ip link set {NIC} mtu 9000",
        f"python3 /run/lab/xdp.py {NIC} 2>&1",
        ("Invalid argument", "attached"),
        mend=f"ip link set {NIC} mtu 3498",
        words=(*LAB, "--nic", NIC),
    ),
    Trial(
        "nic.ssh",
        "",
        "ip route get 10.0.2.2",
        (" dev ens2 ", " dev ens2 "),
        mend=":",
        states=("conflict", "ok"),
        words=(*LAB, "--nic", "ens2"),
        mended_words=(*LAB, "--nic", NIC),
    ),
    Trial(
        "net.netconsole",
        "mount -t configfs configfs /sys/kernel/config 2>/dev/null; modprobe netconsole; "
        f"ip link set {NIC} up; ip address add 10.0.2.15/24 dev {NIC}; "
        "mkdir /sys/kernel/config/netconsole/lab; cd /sys/kernel/config/netconsole/lab; "
        f"echo {NIC} >dev_name; echo 10.0.2.2 >remote_ip; echo 10.0.2.15 >local_ip; "
        "echo 1 >enabled",
        # A packet a line: the interface sends a few of its own, such as router solicitations.
        f"sent() {{ cat {NET}/statistics/tx_packets; }}; a=$(sent); "
        "for i in $(seq 20); do echo '<0>lab' >/dev/kmsg; done; "
        "sleep 1; [ $(sent) -ge $((a + 20)) ] && echo sent || echo kept",
        ("sent", "kept"),
        mend=f"echo 0 >/sys/kernel/config/netconsole/lab/enabled; ip address flush dev {NIC}",
    ),
    Trial(
        "svc.tuners",
        "cp /bin/sleep /root/tuned; " + noise("exec /root/tuned 1000"),
        "pgrep -c -x tuned",
        ("^1$", "^0$"),
        mend=ENDED,
        states=("conflict", "ok"),
    ),
    *(unit_trial(item, units) for item, units in UNITS.items()),
    Trial(
        "process.profile",
        "rm -f /etc/tickpath/rt-profile.json",
        "python3 $ZIPAPP check --json --window 0 --only cpu.count | grep -o '\"nic\": [^,]*'",
        ('"ens', "null"),
    ),
    Trial(
        "process.limits",
        "groupadd -f tickpath; useradd -m -G tickpath trader; rm -f /etc/security/limits.d/*",
        "su -l trader -c \"grep -E 'Max (realtime|locked)' /proc/self/limits\"",
        (r"priority +0 +0", r"memory +unlimited[^$]*priority +40"),
    ),
    Trial(
        "cpu.machine_check",
        "for c in /sys/devices/system/machinecheck/machinecheck*; do echo 0 >$c/ignore_ce; done",
        "cat /sys/devices/system/machinecheck/machinecheck*/ignore_ce",
        (r"\A(0\n?)+\Z", r"\A(1\n?)+\Z"),
    ),
    Trial(
        "cpu.count",
        f"for cpu in 1 3; do echo 0 >{CPU}/cpu$cpu/online; done",
        "grep -c ^processor /proc/cpuinfo",
        ("^2$", "^4$"),
        mend=f"for cpu in 1 3; do echo 1 >{CPU}/cpu$cpu/online; done",
        words=("--profile", "vm-lab", "--isolated", "", "--nic", "none"),
    ),
)

BOOTED: Final = (
    Booted("kernel.rt", "uname -v", ("PREEMPT_DYNAMIC", "PREEMPT_RT")),
    Booted(
        "rcu.offload",
        "dmesg | grep -o 'Offload RCU callbacks from CPUs: .*'",
        (r"\A\Z", r": 2-3\.$"),
    ),
    Booted(
        "cmd.unknown",
        "dmesg | grep -o 'Unknown kernel command line.*'",
        ("kthread_cpus=0", r"\A\Z"),
        ("conflict", "ok"),
    ),
    Booted(
        "cmd.duplicates",  # of these two it took the last
        "cat /proc/irq/default_smp_affinity",
        ("^3$", "^3$"),
        ("conflict", "ok"),
    ),
    Booted("cpu.isolated", f"cat {CPU}/isolated", ("^0,2$", "^2-3$")),
    Booted(
        "cpu.smt",
        f"cat {CPU}/cpu2/topology/thread_siblings_list",
        ("^2-3$",) * 2,
        ("conflict", "ok"),
    ),
    Booted("cpu.zero", f"cat {CPU}/isolated", ("^0,2$", "^2-3$"), ("conflict", "ok")),
    Booted(
        "cpu.tick",
        "count() { awk '$1 == \"LOC:\" {print $5}' /proc/interrupts; }; a=$(count); sleep 3; "
        f"b=$(count); echo $((b - a)) in 3 s; kill -9 -$(cat {NOISE})",
        ("^[0-9]{3,} in", "^[0-9]{1,2} in"),
        window_s=COUNT_S,
        spoil=spinner(3),
    ),
    Booted(
        "fw.tsc_marked",
        "dmesg | grep -o 'Marking TSC unstable.*'",
        ("due to boot parameter|via", r"\A\Z"),
    ),
    Booted(
        "net.rt_busy_poll",
        POLLS + " 2>&1 | tail -n 1",
        ("^0$", "Protocol not available"),
        ("ok", "conflict"),
        words=("--profile", "metal-busy-poll", "--isolated", "2-3", "--nic", "none"),
    ),
)

ELSEWHERE: Final = (
    Elsewhere(
        "boot.promoted",
        "test_3_provisioned.py::test_command_line_that_does_not_boot_falls_back_by_itself",
    ),
)
ALL: Final[tuple[Trial | Booted | Elsewhere, ...]] = (*BOOTED, *ON_STOCK, *ON_TUNED, *ELSEWHERE)
