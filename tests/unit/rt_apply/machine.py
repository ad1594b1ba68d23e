"""A machine as a tree of files: what tuning.plan, tuning.apply and tuning.revert are tested on.

Its kernel files take writes as the kernel does ("never" into "always [madvise] never"); ethtool,
systemctl and GRUB's tools answer from files of the same tree, so that a copy of the tree is the
whole machine, and a process that dies leaves it as a real one would.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tickpath.rt.host import Host, Output
from tickpath.rt.item import Context
from tickpath.rt.profile import Profile
from tickpath.rt.setting import (
    BootParameter,
    DropIn,
    Ethtool,
    KernelFile,
    Setting,
    Sysctl,
    UnitState,
)
from tickpath.rt.topology import Nic, Topology
from tickpath.rt.tuning.journal import read_journal
from tickpath.rt.tuning.plan import Options, make_plan
from tickpath.rt.tuning.plan_step import Wanted
from tickpath.rt.tuning.writing import Disk, System

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tickpath.rt.tuning.plan import Plan

STOCK = "6.1.0-50-amd64"
RT = "6.1.0-50-rt-amd64"
KILLED = 99
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
GRUB_BLOCK = 1024

FILES: dict[str, str] = {
    "/proc/cmdline": f"BOOT_IMAGE=/boot/vmlinuz-{STOCK} root=UUID=1 ro quiet\n",
    "/proc/sys/vm/swappiness": "60\n",
    "/proc/sys/vm/stat_interval": "1\n",
    "/proc/sys/vm/dirty_ratio": "20\n",
    "/proc/sys/vm/dirty_bytes": "0\n",
    "/proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    "/proc/sys/kernel/sched_rt_runtime_us": "950000\n",
    "/proc/irq/24/smp_affinity": "f\n",
    "/sys/kernel/irq/24/actions": "eth0-TxRx-0\n",
    THP: "always [madvise] never\n",
    "/sys/kernel/mm/ksm/run": "0\n",
    "/sys/devices/virtual/workqueue/cpumask": "f\n",
    "/sys/class/net/eth0/napi_defer_hard_irqs": "0\n",
    "/etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
    "/etc/sysctl.d/99-sysctl.conf": "kernel.panic = 0\n",
    "/boot/grub/grub.cfg": "# made by an image builder, once\n",
    f"/boot/vmlinuz-{STOCK}": "kernel",
    f"/boot/vmlinuz-{RT}": "kernel",
    "/usr/lib/systemd/system/irqbalance.service": "[Service]\n",
    "/usr/lib/systemd/system/fstrim.timer": "[Timer]\n",
    "/run/systemd/system/.keep": "",
    "/var/lib/.keep": "",
    "/etc/systemd/system/multi-user.target.wants/.keep": "",
    "/fake/ethtool.json": json.dumps(
        {
            "L": {"combined": "4"},
            "G": {"rx": "256", "tx": "256"},
            "C": {"rx-usecs": "3", "adaptive-rx": "on"},
            "K": {"generic-receive-offload": "on", "large-receive-offload": "off"},
        }
    ),
    "/fake/units.json": json.dumps(
        {"irqbalance.service": ["enabled", "active"], "fstrim.timer": ["enabled", "active"]}
    ),
}
HEADER = """\
#!/bin/sh
for x in "$FAKE_ROOT/etc/default/grub" "$FAKE_ROOT"/etc/default/grub.d/*.cfg; do
    [ -e "$x" ] && . "$x"
done
echo "set default=\\"$GRUB_DEFAULT\\""
"""
# The shape of what Debian's 10_linux prints; the words of the command line come from outside.
TEN_LINUX = """\
#!/bin/sh
for release in 6.1.0-50-rt-amd64 6.1.0-50-amd64; do
[ -e "$FAKE_ROOT/boot/vmlinuz-$release" ] || continue
cat <<END
menuentry 'Debian GNU/Linux, with Linux $release' --class debian $menuentry_id_option \
'gnulinux-$release-advanced-1111' {
	echo	'Loading Linux $release ...'
	linux	/boot/vmlinuz-$release root=UUID=1111 ro  $GRUB_CMDLINE_LINUX_DEFAULT
	initrd	/boot/initrd.img-$release
}
END
done
"""

SETTINGS: tuple[Setting, ...] = (
    UnitState("irqbalance.service", "masked"),
    UnitState("fstrim.timer", "masked"),
    Sysctl("vm.swappiness", "10"),
    Sysctl("vm.stat_interval", "10"),
    Sysctl("net.ipv4.tcp_rmem", "4096 131072 8388608"),
    KernelFile(THP, "never"),
    KernelFile("/sys/devices/virtual/workqueue/cpumask", "1"),
    KernelFile("/proc/irq/24/smp_affinity", "1"),
    KernelFile("/sys/class/net/eth0/napi_defer_hard_irqs", "2"),
    Ethtool("eth0", "C", "rx-usecs", "0"),
    Ethtool("eth0", "L", "combined", "1"),
    Ethtool("eth0", "K", "gro", "off"),
    DropIn(
        "/etc/systemd/system.conf.d/60-tickpath.conf",
        "[Manager]\nCPUAffinity=0\n",
        ("systemctl", "daemon-reexec"),
    ),
    BootParameter("isolcpus", "managed_irq,domain,2-3"),
    BootParameter("nosoftlockup"),
)


class FakeSystem(System):
    """The system calls, with kernel files that behave as the kernel's do."""

    def __init__(self, before: Callable[[], bool] = lambda: False) -> None:
        self.before = before  # tells, before each call, whether the process dies now

    def die_now(self) -> None:
        if self.before():
            os._exit(KILLED)

    def write(self, descriptor: int, data: bytes) -> None:
        if self.before():
            os.write(descriptor, data[: len(data) // 2])
            os._exit(KILLED)
        super().write(descriptor, data)

    def store(self, path: Path, text: str) -> None:
        self.die_now()
        now = path.read_text()
        if "[" in now:
            word = text.strip()
            choices = now.replace("[", "").replace("]", "").split()
            if word not in choices:
                raise OSError(22, "Invalid argument")
            text = " ".join(f"[{one}]" if one == word else one for one in choices) + "\n"
        super().store(path, text)

    def truncate(self, descriptor: int, size: int) -> None:
        self.die_now()
        super().truncate(descriptor, size)

    def replace(self, source: Path, target: Path) -> None:
        self.die_now()
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self.die_now()
        super().unlink(path)

    def link(self, path: Path, target: str) -> None:
        self.die_now()
        super().link(path, target)

    def make_folder(self, path: Path) -> None:
        self.die_now()
        super().make_folder(path)

    def remove_folder(self, path: Path) -> None:
        self.die_now()
        super().remove_folder(path)


@dataclass(slots=True)
class Programs:
    """ethtool, systemctl and GRUB's tools over one tree."""

    root: Path
    before: Callable[[], bool] = lambda: False
    stubborn: frozenset[str] = frozenset()  # ethtool settings that the driver drops silently
    answers: dict[str, Output] | None = None

    def __call__(self, argv: Sequence[str]) -> Output:
        if self.answers and argv[0] in self.answers:
            return self.answers[argv[0]]
        answer = Output(127, "", f"{argv[0]}: not installed")
        match list(argv):
            case ["ethtool", "--json", option, _]:
                state = self.load("ethtool").get(option[1:].upper(), {})
                answer = Output(0, json.dumps([{"ifname": "eth0", **state}]), "")
            case ["ethtool", option, _, name, value]:
                answer = self.set_ethtool(option[1:], name, value)
            case ["systemctl", verb, *rest]:
                answer = self.systemctl(verb, rest)
            case ["grub-mkconfig"]:
                answer = self.make_menu()
            case ["grub-editenv", _, verb, text]:
                answer = self.edit_environment(verb, text)
            case ["grub-probe", "--target=fs", _]:
                answer = Output(0, "ext2\n", "")
            case ["grub-mkconfig" | "grub-script-check" | "grub-probe" | "dmesg", *_]:
                answer = Output(0, "", "")
        return answer

    def die_now(self) -> None:
        if self.before():
            os._exit(KILLED)

    def load(self, name: str) -> dict[str, dict[str, str]]:
        loaded: dict[str, dict[str, str]] = json.loads(
            (self.root / f"fake/{name}.json").read_text()
        )
        return loaded

    def save(self, name: str, state: object) -> None:
        (self.root / f"fake/{name}.json").write_text(json.dumps(state))

    def set_ethtool(self, group: str, name: str, value: str) -> Output:
        self.die_now()
        state = self.load("ethtool")
        long_name = {"gro": "generic-receive-offload", "lro": "large-receive-offload"}.get(
            name, name
        )
        if name not in self.stubborn:
            state[group][long_name] = value
        self.save("ethtool", state)
        return Output(0, "", "")

    def systemctl(self, verb: str, rest: Sequence[str]) -> Output:
        if verb in {"daemon-reload", "daemon-reexec"}:
            self.die_now()
            self.read_units(verb == "daemon-reexec")
            return Output(0, "", "")
        if verb == "show":
            told = (self.unit_state(unit) for unit in rest[2:])
            lines = [f"ActiveState={active}\nUnitFileState={state}\n" for state, active in told]
            return Output(0, "\n".join(lines), "")
        if verb in {"is-enabled", "is-active"}:
            return Output(0, self.unit_state(rest[0])[verb == "is-active"] + "\n", "")
        named = [one for one in rest if not one.startswith("-")]
        if verb in {"mask", "unmask"}:
            self.link_units(verb, named)
        if verb != "unmask":
            for unit in named:
                self.die_now()
                units = self.units()
                enabled = units.get(unit, ["not-found"])[0]
                units[unit] = [enabled, "active" if verb == "start" else "inactive"]
                self.save("units", units)
        return Output(0, "", "")

    def units(self) -> dict[str, list[str]]:
        loaded: dict[str, list[str]] = json.loads((self.root / "fake/units.json").read_text())
        return loaded

    def unit_state(self, unit: str) -> tuple[str, str]:
        enabled, active = self.units().get(unit, ["not-found", "inactive"])
        masked = (self.root / f"etc/systemd/system/{unit}").is_symlink()
        return "masked" if masked else enabled, active

    def link_units(self, verb: str, units: Sequence[str]) -> None:
        """Mask or unmask, then have systemd read its files."""
        self.die_now()
        for unit in units:
            masked = self.root / f"etc/systemd/system/{unit}"
            if verb == "unmask":
                masked.unlink()
            elif not masked.is_symlink():
                masked.symlink_to("/dev/null")
        self.read_units()

    def read_units(self, begins_anew: bool = False) -> None:
        """Note the files that systemd now knows; its own only as it begins anew."""
        folder = self.root / "etc/systemd"
        paths = [path for path in sorted(folder.rglob("*")) if not path.name.endswith("~")]
        units = [path for path in paths if path.is_relative_to(folder / "system")]
        known = self.load("known") if (self.root / "fake/known.json").exists() else {}
        known["units"] = texts_of(self.root, units)
        if begins_anew:
            known["own"] = texts_of(self.root, [path for path in paths if path not in units])
        self.save("known", known)

    def make_menu(self) -> Output:
        environment = {
            **os.environ,
            "FAKE_ROOT": str(self.root),
            "GRUB_CMDLINE_LINUX_DEFAULT": "quiet",
            "GRUB_DEFAULT": "0",
            "TICKPATH_DROP_IN": str(self.root / "etc/default/grub.d/60-tickpath.cfg"),
            "TICKPATH_TEN_LINUX": str(self.root / "etc/grub.d/10_linux"),
        }
        text = ""
        for path in sorted((self.root / "etc/grub.d").iterdir()):
            if not path.name.endswith("~") and os.access(path, os.X_OK):
                done = subprocess.run(
                    [str(path)], env=environment, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    return Output(1, text, done.stderr)
                text += f"### BEGIN {path.name}\n{done.stdout}### END\n"
        return Output(0, text, "")

    def edit_environment(self, verb: str, text: str) -> Output:
        """Do as grub-editenv does: in place, padded to 1024 bytes with "#"."""
        self.die_now()
        path = self.root / "boot/grub/grubenv"
        name, _, value = text.partition("=")
        lines = (
            path.read_text().rstrip("#").splitlines()
            if path.exists()
            else ["# GRUB Environment Block"]
        )
        kept = [line for line in lines if not line.startswith(f"{name}=")]
        if verb == "set":
            at = next(
                (i for i, line in enumerate(lines) if line.startswith(f"{name}=")), len(lines)
            )
            kept.insert(at, f"{name}={value}")
        path.write_text(("\n".join(kept) + "\n").ljust(GRUB_BLOCK, "#"))
        return Output(0, "", "")


def texts_of(root: Path, paths: Sequence[Path]) -> dict[str, str]:
    """Return what files and links say, by the paths of the machine."""
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_text(errors="replace")
        for path in paths
        if not path.is_dir()
    }


def build(root: Path, extra: dict[str, str] | None = None) -> Path:
    """Put the machine's files below a folder."""
    for name, text in {**FILES, **(extra or {})}.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, text in (("00_header", HEADER), ("10_linux", TEN_LINUX)):
        script = root / "etc/grub.d" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
        script.chmod(0o755)
    Programs(root).read_units(begins_anew=True)
    return root


def make_context(root: Path, programs: Programs | None = None) -> Context:
    """Look at a tree as a machine of four CPUs and one NIC."""
    host = Host(root, programs or Programs(root))
    nic = Nic("eth0", "ixgbe", 0, 4, (24,), carries_default_route=False, carries_ssh=False)
    cpus = (0, 1, 2, 3)
    topology = Topology(
        cpus=cpus,
        siblings={cpu: (cpu,) for cpu in cpus},
        nodes={0: cpus},
        nics=(nic,),
        hypervisor=None,
        release=STOCK,
        version=(6, 1, 176),
        is_rt=False,
        kernel_config={},
        rt_kernels=(),
        rt_kernel_config={},
        boot_id="boot-1",
        command_line=host.read("/proc/cmdline") or "",
    )
    profile = Profile("metal-irq", (2, 3), (0, 1), "eth0", False, False, 0, False)
    return Context(host, topology, profile)


def with_rt_kernel(context: Context) -> Context:
    """Let the profile want a real-time kernel."""
    return replace(context, profile=replace(context.profile, wants_rt_kernel=True))


def in_boot(context: Context, boot_id: str) -> Context:
    return replace(context, topology=replace(context.topology, boot_id=boot_id))


def with_nic(context: Context, **changes: bool) -> Context:
    nic = replace(context.topology.nics[0], **changes)  # type: ignore[arg-type]  # two booleans
    return replace(context, topology=replace(context.topology, nics=(nic,)))


def want(settings: Sequence[Setting]) -> tuple[Wanted, ...]:
    return tuple(Wanted(f"item.{index}", setting) for index, setting in enumerate(settings))


def plan_for(context: Context, settings: Sequence[Setting], partial: bool = False) -> Plan:
    return make_plan(context, want(settings), read_journal(context.host), Options(partial))


def disk_of(context: Context, before: Callable[[], bool] = lambda: False) -> Disk:
    return Disk(context.host, FakeSystem(before))


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Describe each path: kind, bytes, mode, owner; the time of change of ordinary files."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = "/" + str(path.relative_to(root))
        status = path.lstat()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", status.st_mode)
        else:
            timed = not re.match(r"/(proc|sys|fake|run)/|/boot/grub/grubenv", name)
            found[name] = (
                "file",
                path.read_bytes(),
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns if timed else 0,
            )
    return found


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target
