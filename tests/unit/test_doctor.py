"""tickpath doctor: what it concludes from planted hosts, and that it holds on this one."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli
from tickpath.engine.doctor import interface, kernel, privileges, software
from tickpath.engine.doctor.command import examine
from tickpath.engine.doctor.finding import Finding, Host, State
from tickpath.rt import limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPUINFO = "processor\t: 0\nflags\t\t: fpu {}\n"


def host(root: Path, files: dict[str, str], cpus: tuple[int, ...] = (0, 1, 2, 3)) -> Host:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(cpus, root)


SCHED = "sys/kernel/debug/sched"
KERNEL = "proc/sys/kernel"
CASES: list[tuple[Callable[[Host], Finding], dict[str, str], State, str]] = [
    (kernel.kernel_version, {f"{KERNEL}/osrelease": "6.1.0-25-amd64"}, State.OK, ""),
    (kernel.kernel_version, {f"{KERNEL}/osrelease": "5.18.0"}, State.OK, ""),
    (kernel.kernel_version, {f"{KERNEL}/osrelease": "5.17.9"}, State.WARN, "MTU at 1500"),
    (kernel.kernel_version, {f"{KERNEL}/osrelease": "5.8.18"}, State.FAIL, "5.18 or newer"),
    (kernel.preemption, {f"{KERNEL}/version": "#1 SMP PREEMPT_RT x"}, State.WARN, "6.5"),
    (
        kernel.preemption,
        {f"{KERNEL}/version": "#1 SMP PREEMPT_RT x", "proc/sys/net/core/busy_poll": "0"},
        State.OK,
        "",
    ),
    (
        kernel.preemption,
        {f"{KERNEL}/version": "#1 PREEMPT_DYNAMIC", f"{SCHED}/preempt": "(none) full"},
        State.WARN,
        "echo full",
    ),
    (kernel.isolation, {"sys/devices/system/cpu/isolated": "2-3"}, State.OK, ""),
    (kernel.isolation, {"sys/devices/system/cpu/isolated": ""}, State.WARN, "isolcpus="),
    (
        kernel.clocksource,
        {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
        State.WARN,
        "tsc=reliable",
    ),
    (kernel.clocksource, {}, State.UNKNOWN, "dmesg"),
    (
        kernel.governor,
        {"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave"},
        State.WARN,
        "echo performance",
    ),
    (kernel.real_time_throttling, {f"{KERNEL}/sched_rt_runtime_us": "-1"}, State.OK, ""),
    (
        kernel.real_time_throttling,
        {
            f"{KERNEL}/sched_rt_runtime_us": "950000",
            f"{KERNEL}/sched_rt_period_us": "1000000",
        },
        State.WARN,
        "sysctl -w kernel.sched_rt_runtime_us=-1",
    ),
    (kernel.fair_server, {f"{KERNEL}/osrelease": "6.1.0"}, State.OK, ""),
    (kernel.fair_server, {f"{KERNEL}/osrelease": "6.12.1"}, State.UNKNOWN, "mount -t debugfs"),
    (
        kernel.fair_server,
        {f"{KERNEL}/osrelease": "6.12.1", f"{SCHED}/fair_server/cpu2/runtime": "50000000"},
        State.WARN,
        "cpu2/runtime; do echo 0",
    ),
    (
        kernel.transparent_hugepages,
        {"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"},
        State.WARN,
        "echo madvise",
    ),
    (kernel.shared_memory, {}, State.FAIL, "mount -t tmpfs"),
    (privileges.bpf_jit, {"proc/sys/net/core/bpf_jit_enable": "0"}, State.WARN, "bpf_jit_enable=1"),
]


@pytest.mark.parametrize(("check", "files", "state", "remedy"), CASES)
def test_doctor_planted_host_gives_the_state_and_remedy(
    tmp_path: Path,
    check: Callable[[Host], Finding],
    files: dict[str, str],
    state: State,
    remedy: str,
) -> None:
    finding = check(host(tmp_path, files))
    assert finding.state is state, finding
    assert remedy in finding.remedy
    assert bool(finding.remedy) == bool(remedy)


def test_doctor_two_cpus_says_that_some_share(tmp_path: Path) -> None:
    finding = kernel.cpus(host(tmp_path, {}, cpus=(0, 1)))
    assert finding.state is State.WARN
    assert "share" in finding.remedy


def test_doctor_missing_capability_is_named_with_what_it_is_for() -> None:
    have = frozenset({"NET_ADMIN", "NET_RAW", "SYS_ADMIN", "IPC_LOCK"})
    finding = privileges.capabilities(limits.Privileges(have, 0, None))
    assert finding.state is State.WARN
    assert "missing SYS_NICE" in finding.read
    assert "BPF" not in finding.read  # CAP_SYS_ADMIN includes it
    assert "cap_sys_nice+ep" in finding.remedy


def test_doctor_no_capability_fails() -> None:
    finding = privileges.capabilities(limits.Privileges(frozenset(), 0, 8 << 20))
    assert finding.state is State.FAIL


def test_doctor_zero_copy_driver_is_told_from_feature_bits(tmp_path: Path) -> None:
    files = {"sys/class/net/eth9/mtu": "9000\n"}
    here = host(tmp_path, files)
    wide = interface.xdp_abilities(here, "eth9", {"eth9": 1 | 2 | 8 | 32})
    narrow = interface.xdp_abilities(here, "eth9", {"eth9": 1 | 2 | 8})
    none = interface.xdp_abilities(here, "eth9", {"eth9": 0})
    untold = interface.xdp_abilities(here, "eth9", {})
    assert (wide.state, wide.read) == (State.OK, "native, zero-copy")
    assert (narrow.state, narrow.remedy) == (State.WARN, "ip link set eth9 mtu 1500")
    assert none.read == "generic only"
    assert untold.state is State.UNKNOWN


def test_doctor_wide_ciphers_are_recognised(tmp_path: Path) -> None:
    flags = CPUINFO.format("aes pclmulqdq vaes vpclmulqdq avx512f")
    assert "512" in software.ciphers(host(tmp_path, {"proc/cpuinfo": flags})).read


def test_doctor_every_finding_of_this_host_is_complete() -> None:
    for finding in examine(Host(limits.available_cpus()), None):
        assert finding.check
        assert finding.read
        assert finding.where
        assert finding.why
        assert finding.remedy or finding.state in {State.OK, State.UNKNOWN}, finding


@pytest.mark.needs("root", "netns", "af_xdp")
def test_doctor_as_root_tries_xdp_and_leaves_no_interface() -> None:
    def links() -> set[str]:
        text = subprocess.run(
            ["ip", "-o", "link"], capture_output=True, text=True, check=True
        ).stdout
        return {line.split()[1] for line in text.splitlines()}

    before = links()
    have = limits.read_privileges()
    states = {each.check: each.state for each in privileges.veth_probe(have)}
    assert states == dict.fromkeys(
        ["bpf map", "XDP native on veth", "XDP generic on veth", "AF_XDP copy on veth"], State.OK
    )
    assert not [name for name in links() - before if "probe" in name]


def test_doctor_unprivileged_does_not_try_xdp() -> None:
    (finding,) = privileges.veth_probe(limits.Privileges(frozenset(), 0, None))
    assert finding.state is State.UNKNOWN
    assert "as root" in finding.remedy


def test_doctor_json_is_one_object_and_its_status_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = cli.main(["doctor", "--json", "--interface", "lo"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"check", "state", "read", "where", "why", "remedy"} == set(findings[0])
    assert status == (3 if any(each["state"] == "fail" for each in findings) else 0)
    assert findings[0]["check"].startswith("lo: ")


def test_doctor_unknown_interface_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--interface", "nope0"]) == 2
    said = capsys.readouterr().err
    assert "no interface 'nope0'" in said
    assert "lo" in said


def test_doctor_table_shows_a_remedy_for_each_lack(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--interface", "lo"])
    said = capsys.readouterr().out
    assert "to do" in said
    assert " ok, " in said
