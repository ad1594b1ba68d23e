"""rt's profile and topology: what is computed from planted machines, what is refused and why."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt import command
from tickpath.rt.errors import RequestError
from tickpath.rt.host import Host
from tickpath.rt.profile import (
    Profile,
    Request,
    choose_profile,
    request_from_json,
    to_json,
)
from tickpath.rt.topology import Topology, read_topology

from tests.unit import rt_host
from tests.unit.rt_host import CPU, Tree

if TYPE_CHECKING:
    from pathlib import Path


def test_topology_of_metal_has_its_cores_nodes_and_nics(tmp_path: Path) -> None:
    topology = read_topology(rt_host.stock_metal(tmp_path).host)
    assert topology.cpus == tuple(range(16))
    assert topology.siblings[3] == (3, 11)
    assert topology.nodes == {0: (0, 1, 2, 3, 8, 9, 10, 11), 1: (4, 5, 6, 7, 12, 13, 14, 15)}
    assert topology.hypervisor is None
    assert not topology.is_rt
    assert topology.version == (6, 1, 176)
    assert topology.kernel_config["CONFIG_NO_HZ_FULL"] == "y"
    management, trading = topology.nics
    assert (management.name, management.carries_ssh) == ("eth0", True)
    assert management.carries_default_route
    assert (trading.name, trading.driver, trading.node) == ("eth1", "ice", 1)
    assert (trading.queues, trading.irqs) == (8, (38,))
    assert not trading.carries_ssh


def test_topology_of_the_real_time_guest_is_what_was_measured(tmp_path: Path) -> None:
    topology = read_topology(rt_host.rt_guest(tmp_path).host)
    assert topology.is_rt
    assert topology.hypervisor == "QEMU"
    assert topology.nodes == {0: (0, 1)}
    assert topology.nics[0].node is None


def test_topology_ssh_over_a_vlan_of_a_bond_is_that_of_its_nics(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    text = (tmp_path / "proc/net/route").read_text().replace("eth0", "bond0.7")
    tree.write("/proc/net/route", text)
    tree.write("/sys/class/net/bond0.7/lower_bond0/x", "")
    tree.write("/sys/class/net/bond0/lower_eth1/x", "")
    nics = {nic.name: nic.carries_ssh for nic in read_topology(tree.host).nics}
    assert nics == {"eth0": False, "eth1": True}


def test_topology_ssh_on_its_own_port_and_by_ipv6_is_found(tmp_path: Path) -> None:
    """The rows are as /proc/net/tcp6 and ipv6_route of a real machine have them."""
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/etc/ssh/sshd_config", "#Port 22\nPort 2222\n")
    tree.write("/proc/net/tcp", "  sl\n")
    local = "000000FD000000000000000005000000"
    peer = "000000FD000000000000000009000000"
    tree.write("/proc/net/tcp6", f"  sl\n   0: {local}:08AE {peer}:D431 01 0 0 0 0 0 1\n")
    nothing = "0" * 32
    route = (
        f"fd000000000000000000000000000000 40 {nothing} 00 {nothing} 00000100 1 0 00000001 eth1\n"
    )
    tree.write("/proc/net/ipv6_route", route)
    nics = {nic.name: nic.carries_ssh for nic in read_topology(tree.host).nics}
    assert nics == {"eth0": False, "eth1": True}


def test_topology_of_this_machine_is_read_and_has_a_profile() -> None:
    topology = read_topology(Host())
    profile = choose_profile(topology, Request())
    assert set(profile.isolated) | set(profile.housekeeping) == set(topology.cpus)


def topology_of(path: Path) -> Topology:
    return read_topology(rt_host.stock_metal(path).host)


def test_profile_of_metal_isolates_the_nics_node(tmp_path: Path) -> None:
    profile = choose_profile(topology_of(tmp_path), Request())
    assert profile.name == "metal-irq"
    assert profile.isolated == (4, 5, 6, 7, 12, 13, 14, 15)
    assert profile.nic == "eth1"
    assert not profile.unthrottled_rt
    assert not profile.mitigations_off


def test_profile_of_guests_is_by_their_hypervisor(tmp_path: Path) -> None:
    lab = choose_profile(read_topology(rt_host.rt_guest(tmp_path / "a").host), Request())
    assert (lab.name, lab.isolated, lab.housekeeping) == ("vm-lab", (1,), (0,))
    cloud = choose_profile(read_topology(rt_host.cloud_guest(tmp_path / "b").host), Request())
    assert (cloud.name, cloud.wants_busy_poll, cloud.nic) == ("cloud", True, None)


def test_profile_of_one_cpu_isolates_nothing(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    rt_host.plant_cpus(tree, 1, None, {})
    assert choose_profile(read_topology(tree.host), Request()).isolated == ()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(isolated="0-15"), "are all of this machine"),
        (Request(isolated="0,8"), "CPU 0 stays with the kernel"),
        (Request(isolated="4-7"), "shares its core with CPU 12"),
        (Request(isolated="4,12,16"), "CPU 16 is not online"),
        (Request(isolated="4,,12"), "expected a number or a range"),
        (Request(isolated="4-,12"), "expected a number or a range"),
        (Request(isolated="4,N"), "'N'"),
        (Request(isolated="7-4"), "7 is above 4"),
        (Request(isolated="99999"), "at most 8191"),
        (Request(nic="eth9"), "'eth9' is not there: this machine has eth0, eth1"),
        (Request(nic="lo"), "'lo' is not there"),
        (Request(name="desktop"), "expected one of metal-irq"),
        (Request(huge_pages_2m=-1), "expected 0 or more"),
    ],
)
def test_profile_that_cannot_be_is_refused_with_the_reason(
    tmp_path: Path, request_: Request, reason: str
) -> None:
    with pytest.raises(RequestError) as caught:
        choose_profile(topology_of(tmp_path), request_)
    assert reason in str(caught.value)


def test_profile_just_valid_list_is_taken(tmp_path: Path) -> None:
    assert choose_profile(topology_of(tmp_path), Request(isolated="4,12")).isolated == (4, 12)
    assert choose_profile(topology_of(tmp_path / "b"), Request(isolated="")).isolated == ()


def test_profile_list_with_an_offline_cpu_is_refused(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write(f"{CPU}/online", "0-4,6-15")
    with pytest.raises(RequestError, match="CPU 5 is not online"):
        choose_profile(read_topology(tree.host), Request(isolated="4-6,12-14"))


@given(
    st.integers(1, 32),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sets(st.integers(0, 31), max_size=8),
)
def test_profile_computed_for_any_machine_is_one_that_is_taken(
    cores: int, threads: int, node_count: int, offline: set[int]
) -> None:
    """What is computed passes the checks on what is asked for."""
    cpus = tuple(cpu for cpu in range(cores * threads) if cpu not in offline or cpu == 0)
    siblings = {cpu: tuple(one for one in cpus if one % cores == cpu % cores) for cpu in cpus}
    nodes = {
        node: tuple(cpu for cpu in cpus if cpu % cores % node_count == node)
        for node in range(node_count)
    }
    topology = Topology(
        cpus=cpus,
        siblings=siblings,
        nodes={node: here for node, here in nodes.items() if here},
        nics=(),
        hypervisor=None,
        release="6.1.0",
        version=(6, 1, 0),
        is_rt=False,
        kernel_config={},
        rt_kernels=(),
        rt_kernel_config={},
        boot_id="",
        command_line="",
    )
    profile = choose_profile(topology, Request())
    assert 0 not in profile.isolated
    assert len({cpu % cores for cpu in profile.isolated}) <= max(1, cores // 2)
    again = choose_profile(topology, request_from_json(to_json(profile)))
    assert again == profile


def test_profile_written_and_read_asks_the_same(tmp_path: Path) -> None:
    topology = topology_of(tmp_path)
    asked = Request("metal-busy-poll", "6,14", "none", 7, True, True, True)
    profile: Profile = choose_profile(topology, asked)
    assert request_from_json(to_json(profile)) == dataclasses.replace(asked)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--isolated", "0-15"], "are all of this machine"),
        (["--nic", "eth9"], "is not there"),
        (["--window", "99"], "expected 0 to 60 seconds"),
        (["--only", "mem.gone"], "expected areas"),
        (["--explain", "gone"], "expected areas"),
    ],
)
def test_check_bad_request_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    assert command.main(["check", "--root", str(tree.root), *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tickpath: ")
    assert said.err.count("\n") == 1
    assert reason in said.err


def test_check_root_that_is_no_machine_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["check", "--root", str(tmp_path)]) == 2
    assert "no folder proc" in capsys.readouterr().err


def test_topology_ssh_that_answers_by_a_table_of_its_own_is_found_by_its_own_end(
    tmp_path: Path,
) -> None:
    """As clouds set up a second interface: `ip rule from 172.16.0.5 lookup 10001`. The main table,
    all that /proc/net/route has, sends the peer's packets by the first one."""
    tree = rt_host.stock_metal(tmp_path)
    route = tmp_path / "proc/net/route"
    subnet = "eth1\t000010AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    tree.write("/proc/net/route", f"{route.read_text().rstrip()}\n{subnet}")
    # 172.16.0.5:22 to 203.0.113.9
    tree.write("/proc/net/tcp", "  sl\n   0: 050010AC:0016 097100CB:D431 01 0:0 0:0 0 0 0 1\n")
    assert {nic.name: nic.carries_ssh for nic in read_topology(tree.host).nics}["eth1"]


@pytest.mark.parametrize(
    "line",
    [
        "ListenAddress 192.168.0.5:2222",
        "listenaddress [2001:db8::1]:2222",
        "Port 2222  # not the usual one",
        "Port=2222",
    ],
)
def test_topology_ssh_on_a_port_beside_its_address_is_found(tmp_path: Path, line: str) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/etc/ssh/sshd_config.d/site.conf", line)
    text = (tmp_path / "proc/net/tcp").read_text()
    tree.write("/proc/net/tcp", text.replace(":0016 ", ":08AE "))
    assert read_topology(tree.host).nics[0].carries_ssh


@pytest.mark.parametrize("line", ["ListenAddress 2001:db8::2222", "PortForwarding 2222"])
def test_topology_ssh_port_is_not_read_out_of_something_else(tmp_path: Path, line: str) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/etc/ssh/sshd_config", line)
    text = (tmp_path / "proc/net/tcp").read_text()
    tree.write("/proc/net/tcp", text.replace(":0016 ", ":08AE "))
    assert not read_topology(tree.host).nics[0].carries_ssh
