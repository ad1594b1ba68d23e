"""Where rt looks, and whose word counts: every place that a kernel or systemd reads, no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath.rt.catalogue import all_items
from tickpath.rt.catalogue.process import group_budget
from tickpath.rt.check import judge_item
from tickpath.rt.command_line import in_force, parse_command_line
from tickpath.rt.host import Output
from tickpath.rt.item import Context, State
from tickpath.rt.loader import LOADER_GUID, read_loader
from tickpath.rt.persisted import persisted_command_line, read_persisted
from tickpath.rt.profile import Request, choose_profile
from tickpath.rt.reading import read_setting
from tickpath.rt.routes import read_carriers, ssh_ports
from tickpath.rt.setting import BootParameter, Ethtool, Sysctl, UnitState
from tickpath.rt.shell import shell_variables
from tickpath.rt.topology import read_topology

from tests.unit import rt_host
from tests.unit.rt_host import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from tickpath.rt.item import Item

V4_HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"
TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"
# 192.0.2.10 here, 198.51.100.7 there.
NEAR, FAR = "0A0200C0", "076433C6"


def make_context(tree: Tree, **request: object) -> Context:
    topology = read_topology(tree.host)
    return Context(tree.host, topology, choose_profile(topology, Request(**request)))  # type: ignore[arg-type] # the keywords are Request's own


def item(name: str) -> Item:
    return next(one for one in all_items() if one.id == name)


# ---- which word counts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (
            "isolcpus=managed_irq,domain,1 isolcpus=managed_irq,domain,2",
            "isolcpus",
            "managed_irq,domain,1",
        ),
        ("nohz_full=1 nohz_full=2-3", "nohz_full", "1"),
        ("nohz_full=x nohz_full=2", "nohz_full", "2"),
        ("isolcpus=nohz,domain,1 nohz_full=2", "nohz_full", None),
        ("isolcpus=domain,1 isolcpus=managed_irq,1", "isolcpus", "managed_irq,domain,1"),
        ("isolcpus=1", "isolcpus", "1"),
        ("irqaffinity=0 irqaffinity=0-1", "irqaffinity", "0-1"),
        ("rcu_nocbs=1 rcu_nocbs=3", "rcu_nocbs", "3"),
        ("quiet", "isolcpus", None),
    ],
)  # as tests/vm/test_1_command_lines.py saw Linux 6.1 do
def test_word_in_force_is_the_one_that_the_kernel_keeps(
    line: str, name: str, value: str | None
) -> None:
    found = in_force(name, parse_command_line(line))
    assert (None if found is None else found.value) == value


def test_list_that_comes_second_is_not_in_force(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("/proc/cmdline", "nohz_full=1 nohz_full=2-3")
    assert not read_setting(tree.host, BootParameter("nohz_full", "2-3")).is_live
    assert read_setting(tree.host, BootParameter("nohz_full", "1")).is_live


def test_list_that_the_kernel_did_not_take_is_not_in_force(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("/proc/cmdline", "isolcpus=domain,1")
    tree.write("/sys/devices/system/cpu/isolated", "\n")
    reading = read_setting(tree.host, BootParameter("isolcpus", "domain,1"))
    assert not reading.is_live
    assert reading.live == "isolcpus=1, and the kernel has none"


# ---- GRUB's settings are a shell's ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('GRUB_CMDLINE_LINUX="a=1 \\\nb=2"\n', "a=1 b=2"),
        ("GRUB_CMDLINE_LINUX='a=1\nb=2'\n", "a=1\nb=2"),
        ('X=y\nGRUB_CMDLINE_LINUX="q${X:+ isolcpus=3}${Z:+ no}${Z:-}"\n', "q isolcpus=3"),
        ('if [ -n "" ]; then GRUB_CMDLINE_LINUX=no; else GRUB_CMDLINE_LINUX=yes; fi\n', "yes"),
        (
            "D=`lsb_release -i -s 2> /dev/null || echo Debian`\nGRUB_CMDLINE_LINUX=a$D",
            "aDebian",
        ),
        ("GRUB_CMDLINE_LINUX=a\nGRUB_CMDLINE_LINUX+=' b'\necho hello\n", "a b"),
    ],
)
def test_grub_settings_are_read_as_a_shell_reads_them(tmp_path: Path, text: str, line: str) -> None:
    tree = Tree(tmp_path)
    tree.write("/etc/default/grub", text)
    assert persisted_command_line(tree.host) == line


@pytest.mark.parametrize(
    "attempt",
    [
        "kill -9 $$",
        "builtin kill -9 $$",
        "touch {marker}",
        "/bin/touch {marker}",
        "echo x > {marker}",
        "PATH=/bin; touch {marker}",
        "enable kill; kill -9 $$",
        "exec /bin/touch {marker}",
        ". /etc/profile",
    ],
)
def test_grub_settings_can_do_nothing_but_set(tmp_path: Path, attempt: str) -> None:
    marker = tmp_path / "made"
    text = f"A=1\n{attempt.format(marker=marker)}\nB=2\n"
    assert shell_variables((text,), ("A", "B")) == {"A": "1", "B": "2"}
    assert not marker.exists()


def test_grub_settings_without_end_are_followed_line_by_line() -> None:
    assert shell_variables(("A=1\nwhile :; do :; done\nB=2\n",), ("A", "B")) == {"A": "1", "B": "2"}


# ---- who booted ----------------------------------------------------------------------------------


def efi_variable(tree: Tree, name: str, text: str) -> None:
    path = tree.root / f"sys/firmware/efi/efivars/{name}-{LOADER_GUID}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x06\0\0\0" + text.encode("utf-16-le") + b"\0\0")


@pytest.mark.parametrize(
    ("line", "variables", "kind"),
    [
        ("BOOT_IMAGE=/vmlinuz-6.1 root=/dev/vda1", {}, "grub"),
        ("BOOT_IMAGE=(hd0,gpt2)/vmlinuz ro", {"LoaderInfo": "GRUB 2.12"}, "grub"),
        (
            "root=/dev/vda1 initrd=\\a\\initrd",
            {"LoaderInfo": "systemd-boot 252.30"},
            "systemd-boot",
        ),
        (
            "root=/dev/vda1",
            {"LoaderInfo": "systemd-boot 255", "StubInfo": "systemd-stub 255"},
            "unified kernel image",
        ),
        ("root=/dev/vda1", {"StubInfo": "systemd-stub 252"}, "unified kernel image"),
        ("root=/dev/vda1 initrd=\\EFI\\debian\\initrd.img", {}, "EFI stub"),
        ("root=/dev/vda1", {}, "unknown"),
    ],
)
def test_loader_is_named_by_what_it_left(
    tmp_path: Path, line: str, variables: dict[str, str], kind: str
) -> None:
    tree = Tree(tmp_path)
    tree.write("/proc/cmdline", line)
    for name, text in variables.items():
        efi_variable(tree, name, text)
    assert read_loader(tree.host).kind == kind


def test_old_grub_files_beside_systemd_boot_offer_no_remedy(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/cmdline", "root=/dev/vda1 initrd=\\a\\initrd")
    efi_variable(tree, "LoaderInfo", "systemd-boot 252.30")
    found = judge_item(item("cmd.isolcpus"), make_context(tree))
    assert found.state is State.UNSUPPORTED
    assert "systemd-boot 252.30 booted this machine" in found.desired
    assert "/etc/kernel/cmdline" in found.desired
    assert found.fix == ""


# ---- systemd's folders ---------------------------------------------------------------------------


def test_sysctl_in_usr_local_lib_is_persisted(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("/usr/lib/sysctl.d/50-a.conf", "vm.swappiness = 60")
    tree.write("/usr/local/lib/sysctl.d/50-a.conf", "vm.swappiness = 10")
    assert read_persisted(tree.host, Sysctl("vm.swappiness", "10")) == "10"
    tree.write("/etc/sysctl.d/50-a.conf", "# nothing")
    assert read_persisted(tree.host, Sysctl("vm.swappiness", "10")) is None


def test_mask_in_run_is_not_persisted(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for top, persisted in (("run", None), ("etc", "masked")):
        link = tmp_path / top / "systemd/system/fstrim.timer"
        link.parent.mkdir(parents=True)
        link.symlink_to("/dev/null")
        assert read_persisted(tree.host, UnitState("fstrim.timer", "masked")) == persisted


# ---- groups with real-time budgets ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "line", "subtree", "state", "fix"),
    [
        (
            "CONFIG_RT_GROUP_SCHED=y",
            "quiet",
            "cpu memory pids",
            State.CONFLICT,
            "boot a kernel without",
        ),
        (
            "CONFIG_RT_GROUP_SCHED=y\n# CONFIG_RT_GROUP_SCHED_DEFAULT_DISABLED is not set",
            "quiet",
            "cpu memory",
            State.CONFLICT,
            "boot with rt_group_sched=0",
        ),
        ("CONFIG_RT_GROUP_SCHED=y", "rt_group_sched=0", "cpu memory", State.OK, ""),
        ("CONFIG_RT_GROUP_SCHED=y", "quiet", "memory pids", State.OK, ""),
        ("# CONFIG_RT_GROUP_SCHED is not set", "quiet", "cpu", State.OK, ""),
        (
            "CONFIG_RT_GROUP_SCHED=y\nCONFIG_RT_GROUP_SCHED_DEFAULT_DISABLED=y",
            "rt_group_sched=1",
            "cpu",
            State.CONFLICT,
            "boot with rt_group_sched=0",
        ),
    ],
)
def test_rt_budget_of_groups_of_version_2_is_a_conflict(  # noqa: PLR0913, PLR0917 - a table's columns
    tmp_path: Path, config: str, line: str, subtree: str, state: State, fix: str
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    release = tree.host.read("/proc/sys/kernel/osrelease")
    tree.write(f"/boot/config-{release}", config)
    tree.write("/proc/cmdline", line)
    tree.write("/proc/self/cgroup", "0::/user.slice/session-1.scope")
    tree.write("/sys/fs/cgroup/cgroup.subtree_control", subtree)
    seen = group_budget(make_context(tree))
    assert seen.state is state
    assert seen.fix.startswith(fix) if fix else not seen.fix


# ---- channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("combined", ["n/a", "0"])
def test_channels_apart_are_each_reduced(tmp_path: Path, combined: str) -> None:
    tree = rt_host.stock_metal(tmp_path)
    nic = make_context(tree).profile.nic
    assert nic is not None
    table = (
        f"Channel parameters for {nic}:\nPre-set maximums:\nRX:\t\t16\nTX:\t\t16\nOther:\t\tn/a\n"
        f"Combined:\t{combined}\nCurrent hardware settings:\nRX:\t\t8\nTX:\t\t8\nOther:\t\tn/a\n"
        f"Combined:\t{combined}\n"
    )  # gve, ethtool 6.1
    tree.answers["ethtool", "-l", nic] = Output(0, table, "")
    settings = item("nic.channels").settings
    assert settings is not None
    wanted = settings(make_context(tree))
    assert wanted == (Ethtool(nic, "L", "rx", "1"), Ethtool(nic, "L", "tx", "1"))


# ---- how an operator came in ---------------------------------------------------------------------


def route(name: str, destination: str = "00000000", mask: str = "00000000") -> str:
    return f"{name}\t{destination}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0"


def connection(port: int, state: str = "01", inode: int = 77) -> str:
    near, far = f"{NEAR}:{port:04X}", f"{FAR}:C001" if state == "01" else "00000000:0000"
    queues = "00000000:00000000 00:00000000 00000000"
    return f"   0: {near} {far} {state} {queues}     0        0 {inode} 1"


def machine(tmp_path: Path, *routes: str, connections: tuple[str, ...]) -> Tree:
    tree = Tree(tmp_path)
    tree.write("/proc/net/route", "\n".join((V4_HEADER, *routes)))
    tree.write("/proc/net/tcp", "\n".join((TCP_HEADER, *connections)))
    return tree


def interface(tree: Tree, name: str, *lower: str, hardware: bool = False) -> None:
    folder = tree.root / "sys/class/net" / name
    folder.mkdir(parents=True)
    for one in lower:
        (folder / f"lower_{one}").symlink_to(f"../{one}")
    if hardware:
        (folder / "device").mkdir()


@pytest.mark.parametrize(
    ("files", "port"),
    [
        ({"/etc/ssh/sshd_config": "Port 2200"}, 2200),
        ({"/etc/ssh/sshd_config": "ListenAddress 192.0.2.10:2201"}, 2201),
        ({"/etc/ssh/sshd_config": "Include a/*", "/etc/ssh/a/b.conf": "Port 2202"}, 2202),
        (
            {
                "/usr/lib/systemd/system/ssh.socket": "[Socket]\nListenStream=22\n",
                "/etc/systemd/system/ssh.socket.d/p.conf": "ListenStream=\nListenStream=2203",
            },
            2203,
        ),
        ({"/run/systemd/generator/ssh.socket.d/a.conf": "ListenStream=[::]:2204\n"}, 2204),
        ({"/etc/systemd/system/sshd.socket": "[Socket]\nListenStream=0.0.0.0:2205\n"}, 2205),
    ],
)
def test_ssh_listens_where_any_of_its_files_says(
    tmp_path: Path, files: dict[str, str], port: int
) -> None:
    tree = machine(tmp_path, route("eth0"), connections=(connection(port),))
    interface(tree, "eth0", hardware=True)
    for name, text in files.items():
        tree.write(name, text)
    assert port in ssh_ports(tree.host)
    assert read_carriers(tree.host).ssh == {"eth0"}


def test_ssh_on_a_port_of_the_command_line_is_found_by_its_process(tmp_path: Path) -> None:
    tree = machine(tmp_path, route("eth0"), connections=(connection(2299, inode=4242),))
    interface(tree, "eth0", hardware=True)
    assert read_carriers(tree.host).ssh == frozenset()
    tree.write("/proc/321/comm", "sshd-session")
    (tree.root / "proc/321/fd").mkdir()
    (tree.root / "proc/321/fd/4").symlink_to("socket:[4242]")
    assert read_carriers(tree.host).ssh == {"eth0"}


def test_ssh_over_wireguard_is_carried_by_the_endpoints_interface(tmp_path: Path) -> None:
    tree = machine(
        tmp_path,
        route("wg0", "076433C6", "FFFFFFFF"),
        route("eth0"),
        route("eth1", "000200C0", "00FFFFFF"),
        connections=(connection(22).replace(NEAR, "0105010A"),),
    )
    interface(tree, "wg0")
    interface(tree, "eth0", hardware=True)
    interface(tree, "eth1", hardware=True)
    # Not told (no wg): the default route's.
    assert read_carriers(tree.host).ssh == {"wg0", "eth0"}
    said = Output(0, "pubkey=\t192.0.2.99:51820\n", "")
    tree.answers["wg", "show", "wg0", "endpoints"] = said
    assert "eth1" in read_carriers(tree.host).ssh


def test_ssh_over_a_tunnel_over_vlan_bridge_and_bond_reaches_the_nics(tmp_path: Path) -> None:
    tree = machine(
        tmp_path,
        route("tailscale0", "076433C6", "FFFFFFFF"),
        route("br0.5"),
        connections=(connection(22).replace(NEAR, "0105010A"),),
    )
    interface(tree, "tailscale0")
    interface(tree, "br0.5", "br0")
    interface(tree, "br0", "bond0")
    interface(tree, "bond0", "eth0", "eth1")
    interface(tree, "eth0", hardware=True)
    interface(tree, "eth1", hardware=True)
    assert {"eth0", "eth1"} <= read_carriers(tree.host).ssh
