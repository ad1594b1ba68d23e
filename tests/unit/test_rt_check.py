"""tickpath rt check: what it concludes from planted machines, and that it holds on this one."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.rt import command
from tickpath.rt.catalogue import AREAS, all_items, selected_items
from tickpath.rt.catalogue.scheduler import stalls
from tickpath.rt.catalogue.tried import KERNELS, TRIED, UNTRIED
from tickpath.rt.check import NOT_WELL, Report, check_host, judge_item
from tickpath.rt.errors import RequestError
from tickpath.rt.host import Host, Output
from tickpath.rt.item import Context, Finding, Severity, State
from tickpath.rt.profile import PROFILE_PATH, Request, choose_profile, to_json
from tickpath.rt.reading import unit_question
from tickpath.rt.remembered import units_asked
from tickpath.rt.setting import UnitState
from tickpath.rt.topology import read_topology
from tickpath.rt.tuning.journal import Log
from tickpath.rt.tuning.plan import collect, make_plan

from tests.unit import rt_host
from tests.unit.rt_host import CPU, Tree
from tests.vm import trials as trials_of_vm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tickpath.rt.counters import Deltas

    from tests.vm.trials import Booted, Elsewhere, Trial

METAL = Request(
    "metal-irq", huge_pages_2m=1024, unthrottled_rt=True, mitigations_off=True, idle_poll=True
)
BUSY = Request(
    "metal-busy-poll",
    huge_pages_2m=1024,
    unthrottled_rt=True,
    mitigations_off=True,
    idle_poll=True,
)
ITEMS_MIN = 60


def context_of(tree: Tree, request: Request, deltas: Deltas | None = None) -> Context:
    topology = read_topology(tree.host)
    return Context(tree.host, topology, choose_profile(topology, request), deltas)


def judged(tree: Tree, request: Request, deltas: Deltas | None = None) -> dict[str, Finding]:
    context = context_of(tree, request, deltas)
    return {item.id: judge_item(item, context) for item in all_items()}


def judge(tree: Tree, name: str, request: Request | None = None) -> Finding:
    (item,) = selected_items(name)
    return judge_item(item, context_of(tree, request or Request()))


def stock(path: Path, request: Request) -> dict[str, Finding]:
    tree = rt_host.stock_metal(path, busy_poll=request is BUSY)
    return judged(tree, request, rt_host.deltas(True, range(16)))


def tuned(path: Path, request: Request) -> dict[str, Finding]:
    tree = rt_host.tuned_metal(path, busy_poll=request is BUSY)
    profile = choose_profile(read_topology(tree.host), request)
    tree.write(PROFILE_PATH, to_json(profile))
    return judged(tree, request, rt_host.deltas(False, range(16)))


def half_a_core(path: Path) -> dict[str, Finding]:
    """Isolate badly: threads without their siblings, CPU 0 among them, far from the NIC."""
    tree = rt_host.stock_metal(path)
    tree.write(f"{CPU}/isolated", "0-2")
    tree.write("/proc/cmdline", "isolcpus=0-2 netconsole=@/,@10.0.0.1/")
    tree.write("/etc/default/grub.d/60-tickpath.cfg", "TICKPATH_TRIAL='isolcpus=0-2'\n")
    tree.write("/sys/class/net/eth1/mtu", "9000")
    tree.write("/sys/class/net/eth1/napi_defer_hard_irqs", "2")
    tree.write("/sys/class/net/eth1/gro_flush_timeout", "200000")
    tree.write("/sys/class/net/eth1/threaded", "1")
    tree.write("/sys/class/net/eth1/queues/rx-0/rps_cpus", "ffff")
    tree.write("/proc/sys/kernel/sched_rt_runtime_us", "-1")
    tree.write("/proc/cpuinfo", "vendor_id : GenuineIntel\nflags : fpu tsc\n")
    return judged(tree, Request("metal-irq", isolated="2,10", nic="eth1"))


def cloud(path: Path, busy: bool) -> dict[str, Finding]:
    tree = rt_host.cloud_guest(path)
    return judged(tree, Request(nic="ens5"), rt_host.deltas(busy, range(8), hypervisor=True))


SCENARIOS: dict[str, Callable[[Path], dict[str, Finding]]] = {
    "stock metal": lambda path: stock(path, METAL),
    "tuned metal": lambda path: tuned(path, METAL),
    "stock metal, busy polling": lambda path: stock(path, BUSY),
    "tuned metal, busy polling": lambda path: tuned(path, BUSY),
    "half a core": half_a_core,
    "real-time guest": lambda path: judged(rt_host.rt_guest(path), Request("metal-busy-poll")),
    "busy cloud guest": lambda path: cloud(path, True),
    "quiet cloud guest": lambda path: cloud(path, False),
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Finding]]:
    return {name: run(tmp_path_factory.mktemp("host")) for name, run in SCENARIOS.items()}


@pytest.mark.parametrize("name", [item.id for item in all_items()])
def test_item_is_well_on_one_machine_and_not_on_another(
    findings: dict[str, dict[str, Finding]], name: str
) -> None:
    states = {scenario: found[name].state for scenario, found in findings.items()}
    assert State.OK in states.values(), states
    assert NOT_WELL & set(states.values()), states


def test_finding_that_is_not_well_says_all_that_a_person_needs(
    findings: dict[str, dict[str, Finding]],
) -> None:
    for found in findings.values():
        for each in found.values():
            assert each.desired, each
            assert each.why, each
            if each.state in NOT_WELL:
                assert each.fix, each
                assert each.where, each
                assert each.live, each


def test_metal_tuned_by_hand_has_nothing_left(findings: dict[str, dict[str, Finding]]) -> None:
    for scenario in ("tuned metal", "tuned metal, busy polling"):
        left = [each for each in findings[scenario].values() if each.state in NOT_WELL]
        assert left == []


def test_catalogue_is_large_and_each_id_and_area_is_known() -> None:
    items = all_items()
    assert len(items) >= ITEMS_MIN
    assert len({item.id for item in items}) == len(items)
    assert {item.area for item in items} == set(AREAS)
    assert all((item.settings is None) != (item.observe is None) for item in items)


def test_selection_by_area_and_id_takes_both() -> None:
    chosen = {item.id for item in selected_items("firmware,mem.swap")}
    assert "mem.swap" in chosen
    assert "fw.smi" in chosen
    assert "mem.ksm" not in chosen
    with pytest.raises(RequestError, match=r"mem\.gone"):
        selected_items("mem.gone")


def test_parameter_in_grub_and_not_booted_is_pending(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write(
        "/etc/default/grub.d/60-tickpath.cfg",
        "TICKPATH_TRIAL='isolcpus=managed_irq,domain,4-7,12-15'\n",
    )
    found = judge(tree, "cmd.isolcpus")
    assert found.state is State.PENDING_REBOOT
    assert found.live == "-"
    assert found.fix == "reboot"
    assert judge(tree, "cpu.isolated").state is State.PENDING_REBOOT


def test_parameter_booted_and_not_in_grub_is_drift(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/cmdline", "ro skew_tick=1")
    assert judge(tree, "cmd.skew_tick").state is State.DRIFT
    tree.write(
        "/etc/default/grub",
        'GRUB_CMDLINE_LINUX="quiet"\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX skew_tick=1"\n',
    )
    assert judge(tree, "cmd.skew_tick").state is State.OK


def test_callbacks_that_stay_on_hot_cpus_are_mended_where_the_cause_is(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)

    def fix(command_line: str) -> str:
        tree.write("/proc/cmdline", command_line)
        found = judge(tree, "rcu.offload")
        assert (found.state, found.desired) == (State.DRIFT, "4-7,12-15")
        return found.fix

    assert fix("ro") == "tickpath rt apply --only cmd.rcu_nocbs, then reboot"
    assert fix("ro rcu_nocbs=4") == fix("ro")
    assert "dmesg" in fix("ro rcu_nocbs=4-7,12-15")
    (tmp_path / "etc/default/grub").unlink(missing_ok=True)
    assert fix("ro").startswith("boot with rcu_nocbs=4-7,12-15")


def test_sysctl_live_and_in_no_file_is_drift(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/sys/kernel/timer_migration", "0")
    found = judge(tree, "kernel.timer_migration")
    assert found.state is State.DRIFT
    assert (found.desired, found.persisted, found.live) == ("0", "-", "0")


def test_sysctl_of_a_later_file_wins(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/sys/kernel/timer_migration", "0")
    tree.write("/etc/sysctl.d/10-a.conf", "kernel.timer_migration=0")
    assert judge(tree, "kernel.timer_migration").state is State.OK
    tree.write("/usr/lib/sysctl.d/50-b.conf", "kernel/timer_migration = 1")
    assert judge(tree, "kernel.timer_migration").state is State.DRIFT
    tree.write("/etc/sysctl.d/50-b.conf", "# hides the vendor's")
    assert judge(tree, "kernel.timer_migration").state is State.OK


def test_file_that_root_alone_reads_is_unknown(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    path = tmp_path / "proc/sys/kernel/timer_migration"
    path.unlink()
    path.mkdir()  # there, and not readable as a file, for root too
    assert judge(tree, "kernel.timer_migration").state is State.UNKNOWN


def test_absent_knob_is_unsupported_with_its_reason(tmp_path: Path) -> None:
    found = judged(rt_host.rt_guest(tmp_path), Request())
    assert found["cpu.governor"].state is State.UNSUPPORTED
    assert "no frequency scaling here" in found["cpu.governor"].desired
    assert found["cmd.cstates"].state is State.UNSUPPORTED
    assert "QEMU" in found["cmd.cstates"].desired


def test_kernel_without_nohz_full_is_unsupported(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/boot/config-6.1.0-50-amd64", "CONFIG_CPU_ISOLATION=y\n")
    found = judge(tree, "cmd.nohz_full", Request("metal-busy-poll"))
    assert found.state is State.UNSUPPORTED
    assert "CONFIG_NO_HZ_FULL" in found.desired


def test_score_is_not_lowered_by_what_is_unsupported(tmp_path: Path) -> None:
    context = context_of(rt_host.rt_guest(tmp_path), Request())
    items = selected_items("cpu.governor,cpu.isolated,cpu.zero")
    report = check_host(context, items)
    assert [each.state for each in report.findings].count(State.UNSUPPORTED) == 1
    assert report.score == 100


def test_score_weighs_by_severity(tmp_path: Path) -> None:
    """CPU 0 isolated (critical, 5) against whole cores (high, 3): 3 of 8 is 37 %."""
    tree = rt_host.rt_guest(tmp_path)
    tree.write(f"{CPU}/isolated", "0")
    report = check_host(context_of(tree, Request()), selected_items("cpu.smt,cpu.zero"))
    assert report.score == 37
    assert report.worst is Severity.CRITICAL
    assert report.areas == {"cpu": 37}


@pytest.mark.parametrize(
    ("level", "plant"),
    [
        ("high", lambda tree: None),
        ("medium", lambda tree: tree.write("/proc/cpuinfo", "flags : hypervisor")),
        ("low", lambda tree: tree.write("/proc/cmdline", "nested_pvm=1")),
    ],
)
def test_confidence_falls_by_what_hides_the_hardware(
    tmp_path: Path, level: str, plant: Callable[[Tree], None]
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    plant(tree)
    context = context_of(tree, Request(), rt_host.deltas(False, range(16)))
    report = check_host(context, selected_items("mem.swap"), is_root=lambda: True)
    assert report.confidence.level == level
    assert bool(report.confidence.reasons) == (level != "high")


def test_confidence_without_root_is_low(tmp_path: Path) -> None:
    context = context_of(rt_host.stock_metal(tmp_path), Request())
    report = check_host(context, selected_items("mem.swap"), is_root=lambda: False)
    assert report.confidence.level == "low"
    assert any("not root" in reason for reason in report.confidence.reasons)


# The fix is in 6.12.82, 6.18.23, 6.19.13 and 7.0; before 6.9 the fault was not there yet.
@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((6, 1, 176), False),
        ((6, 8, 12), False),
        ((6, 9, 0), True),
        ((6, 11, 99), True),
        ((6, 12, 81), True),
        ((6, 12, 82), False),
        ((6, 15, 4), True),
        ((6, 18, 22), True),
        ((6, 18, 44), False),
        ((6, 19, 12), True),
        ((6, 19, 13), False),
        ((7, 0, 0), False),
    ],
)
def test_workqueue_stall_is_known_by_the_release(
    version: tuple[int, int, int], expected: bool
) -> None:
    assert stalls(version) is expected


def test_workqueue_mask_is_not_asked_for_on_a_kernel_that_hangs(tmp_path: Path) -> None:
    found = judged(rt_host.cloud_guest(tmp_path), Request(nic="ens5"))
    assert found["wq.cpumask"].state is State.UNSUPPORTED
    assert found["wq.stall"].state is State.CONFLICT
    assert "6.12.82" in found["wq.stall"].fix


@pytest.mark.parametrize(
    ("release", "banner", "remedy"),
    [
        ("6.1.0-50-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.1.176-1", "from Linux 6.5 on"),
        ("6.12.90-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.12.90-1", "CONFIG_NETCONSOLE"),
        ("6.12.90-tiny", "#1 SMP PREEMPT_DYNAMIC", "CONFIG_NET_RX_BUSY_POLL"),
    ],
)
def test_busy_poll_asked_of_a_kernel_without_is_a_conflict(
    tmp_path: Path, release: str, banner: str, remedy: str
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    rt_host.plant_kernel(tree, release, banner, rt_host.CONFIG)
    found = judge(tree, "net.rt_busy_poll", Request("metal-busy-poll"))
    assert found.state is State.CONFLICT
    assert remedy in found.fix


def test_unknown_word_of_the_kernels_log_is_named(tmp_path: Path) -> None:
    tree = rt_host.rt_guest(tmp_path)
    found = judge(tree, "cmd.unknown")
    assert found.state is State.CONFLICT
    assert found.live == "kthread_cpus=0"
    tree.answer("dmesg", "[9.9] the beginning has been overwritten\n")
    assert judge(tree, "cmd.unknown").state is State.UNKNOWN


def test_managed_interrupt_is_not_asked_to_move(tmp_path: Path) -> None:
    """Measured in a guest: virtio2-req.1 stays on CPU 1 in spite of isolcpus=managed_irq."""
    assert judge(rt_host.rt_guest(tmp_path), "irq.affinity").state is State.UNSUPPORTED


def test_interrupt_of_the_nic_goes_to_its_node_where_that_keeps_house(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    (item,) = selected_items("irq.nic")
    assert item.settings is not None
    context = context_of(tree, Request(isolated="6-7,14-15", nic="eth1"))
    assert [setting.value for setting in item.settings(context)] == ["4-5,12-13"]  # type: ignore[union-attr]  # only kernel files


def test_nic_that_carries_ssh_is_a_conflict_and_never_chosen(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    assert context_of(tree, Request()).profile.nic == "eth1"
    assert judge(tree, "nic.ssh", Request(nic="eth0")).state is State.CONFLICT
    cloud_tree = rt_host.cloud_guest(tmp_path / "cloud")
    assert context_of(cloud_tree, Request()).profile.nic is None


def test_limits_in_bytes_are_not_overwritten_by_ratios(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/sys/vm/dirty_bytes", "1000000")
    tree.write("/proc/sys/vm/dirty_ratio", "0")
    found = judge(tree, "vm.dirty_ratio")
    assert found.state is State.UNSUPPORTED
    assert "dirty_bytes" in found.desired


def run_on_tree(tree: Tree, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = command.main(["check", "--root", str(tree.root), *words])
    return status, capsys.readouterr().out


def test_list_is_a_catalogue_for_programs_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    status, out = run_on_tree(tree, capsys, "--list", "--json")
    rows = json.loads(out)["items"]
    assert status == 0
    assert [row["id"] for row in rows] == [item.id for item in all_items()]
    by_id = {row["id"]: row for row in rows}
    assert by_id["cmd.isolcpus"]["kind"] == "set"
    assert by_id["cmd.unknown"]["kind"] == "seen"
    assert {row["severity"] for row in rows} == {"low", "medium", "high", "critical"}


def test_command_json_has_score_and_items(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = run_on_tree(rt_host.stock_metal(tmp_path), capsys, "--json")
    told = json.loads(out)
    assert status == 10 + Severity.CRITICAL
    assert 0 <= told["score"] < 50
    assert len(told["items"]) == len(all_items())
    for item in told["items"]:
        assert {"id", "state", "desired", "live", "why", "fix", "tried", "untried"} <= set(item)
        assert item["state"] in set(State)


@pytest.mark.parametrize(
    ("only", "status"),
    [
        ("cpu.count", 0),
        ("cmd.skew_tick", 11),
        ("mem.ksm", 12),
        ("mem.swap", 13),
        ("cmd.isolcpus", 15),
    ],
)
def test_command_exit_status_is_the_greatest_severity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], only: str, status: int
) -> None:
    assert run_on_tree(rt_host.stock_metal(tmp_path), capsys, "--only", only)[0] == status


def test_command_table_ends_with_the_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = run_on_tree(rt_host.stock_metal(tmp_path), capsys, "--all")
    assert "\x1b" not in out  # not a terminal
    assert "score: " in out
    assert out.index("profile metal-irq: isolated 4-7,12-15") < out.index("score: ")
    assert all(item.id in out for item in all_items())


def test_command_explain_has_the_lines_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = run_on_tree(rt_host.stock_metal(tmp_path), capsys, "--explain", "mem.ksm")
    assert "echo 0 > /sys/kernel/mm/ksm/run" in out
    assert "why " in out
    assert "trial      tried on Linux 6.1 PREEMPT_RT, Linux 6.1 cloud\n" in out


def test_command_explain_says_where_no_kernel_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = run_on_tree(rt_host.stock_metal(tmp_path), capsys, "--explain", "cpu.governor")
    assert "trial      not tried: needs bare metal: an emulated CPU has one frequency\n" in out


@pytest.mark.parametrize(
    ("allowed", "state"), [("0-15", "pending reboot"), ("0-3,8-11", "ok"), ("gone", "ok")]
)
def test_affinity_that_systemd_was_not_started_with_is_pending(
    tmp_path: Path, allowed: str, state: str
) -> None:
    """Read anew, system.conf moves neither the first process nor what it starts."""
    tree = rt_host.tuned_metal(tmp_path)
    tree.thread(1, "systemd", "S 4194560 0 20 0", allowed)
    finding = judge(tree, "svc.affinity")
    assert (finding.state, finding.fix) == (state, "reboot" if state != "ok" else "")


def test_each_item_was_tried_or_says_what_that_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {item.id for item in all_items()}
    assert set(TRIED) | set(UNTRIED) == ids
    assert set(TRIED) & set(UNTRIED) == set()
    assert {one for kernels in TRIED.values() for one in kernels} == set(KERNELS)
    tree = rt_host.stock_metal(tmp_path)
    for row in json.loads(run_on_tree(tree, capsys, "--list", "--json")[1])["items"]:
        kinds = [key for key in ("tried", "untried") if row[key]]
        assert kinds == ["tried" if row["id"] in TRIED else "untried"], row
    text = " ".join(run_on_tree(tree, capsys, "--list")[1].split())
    assert text.count("(tried on Linux 6.1 ") == len(TRIED)
    assert text.count("(not tried: needs ") == len(UNTRIED)


def test_item_is_tried_only_where_a_script_tries_it() -> None:
    """What a kernel alone shows, tests/vm/test_1_command_lines.py holds against the same list."""
    groups: tuple[tuple[Sequence[Trial | Booted | Elsewhere], tuple[str, ...]], ...] = (
        (trials_of_vm.BOOTED, ("rt", "cloud")),
        (trials_of_vm.ON_TUNED, ("rt",)),
        (trials_of_vm.ON_STOCK, ("cloud",)),
        (trials_of_vm.ELSEWHERE, ("rt",)),
    )
    for trials, kernels in groups:
        for trial in trials:
            assert TRIED[trial.item] == kernels, trial.item
    items = [trial.item for trial in trials_of_vm.ALL]
    assert len(items) == len(set(items))


def test_command_text_of_a_file_does_not_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/sys/vm/swappiness", "60\x1b[2J")
    assert "\x1b" not in run_on_tree(tree, capsys)[1]


def test_command_judges_by_the_profile_that_was_applied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    asked = Request("metal-busy-poll", isolated="6,14", nic="none")
    tree.write(PROFILE_PATH, to_json(choose_profile(read_topology(tree.host), asked)))
    profile = json.loads(run_on_tree(tree, capsys, "--json")[1])["profile"]
    assert (profile["name"], profile["isolated"]) == ("metal-busy-poll", [6, 14])
    profile = json.loads(run_on_tree(tree, capsys, "--json", "--isolated", "7,15")[1])["profile"]
    assert (profile["name"], profile["isolated"]) == ("metal-busy-poll", [7, 15])
    profile = json.loads(run_on_tree(tree, capsys, "--json", "--profile", "vm-lab")[1])["profile"]
    assert profile["isolated"] == [4, 5, 6, 7, 12, 13, 14, 15]


def test_command_broken_kept_profile_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write(PROFILE_PATH, '{"name": "metal-irq"}')
    assert command.main(["check", "--root", str(tree.root)]) == 2
    assert PROFILE_PATH in capsys.readouterr().err


def writes_of(trace: str) -> list[str]:
    """List the calls that opened something for writing, /dev/null aside."""
    return [
        line
        for line in trace.splitlines()
        if ("O_WRONLY" in line or "O_RDWR" in line or "O_CREAT" in line)
        and "/dev/null" not in line
        and " = -1 " not in line
    ]


@pytest.mark.needs("strace")
def test_check_of_this_machine_opens_nothing_for_writing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    opens = "trace=open,openat,creat,truncate,rename,renameat2,unlink,unlinkat,mkdir,mkdirat"
    strace = ("strace", "-f", "-qq", "-e", opens, "-o", str(trace))
    check = (sys.executable, "-P", "-B", "-m", "tickpath.rt", "check", "--json", "--window", "0.1")
    done = subprocess.run(
        [*strace, *check],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or done.returncode > 10, done.stderr
    told = json.loads(done.stdout)
    assert len(told["items"]) == len(all_items())
    text = trace.read_text()
    assert "/proc/interrupts" in text  # the trace saw what was done
    assert writes_of(text) == []
    assert not any(call in text for call in ("rename", "unlink", "mkdir", "truncate"))


def test_report_of_nothing_to_weigh_has_no_score(tmp_path: Path) -> None:
    context = context_of(rt_host.rt_guest(tmp_path), Request())
    report: Report = check_host(context, selected_items("cpu.governor"))
    assert report.score is None
    assert report.worst is None


def plant_trial(tree: Tree, drop_in: str, chosen: str, booted: str) -> None:
    tree.write("/etc/default/grub.d/60-tickpath.cfg", drop_in)
    tree.write("/boot/grub/grubenv", f"# GRUB Environment Block\nnext_entry={chosen}\n####")
    tree.write("/proc/cmdline", f"ro quiet {booted}")


TRIAL = "TICKPATH_TRIAL='skew_tick=1'\nTICKPATH_TRIAL_KERNEL='stock'\n"
LASTING = "TICKPATH_LASTING='skew_tick=1'\nTICKPATH_LASTING_KERNEL='stock'\n"


@pytest.mark.parametrize(
    ("drop_in", "chosen", "booted", "state"),
    [
        ("", "", "", State.UNSUPPORTED),
        (TRIAL, "tickpath-trial", "", State.PENDING_REBOOT),
        (TRIAL, "", "skew_tick=1 tickpath.boot=trial", State.DRIFT),
        (TRIAL, "", "", State.CONFLICT),
        (LASTING, "", "skew_tick=1 tickpath.boot=trial", State.OK),
        (LASTING, "", "skew_tick=1 tickpath.boot=lasting", State.OK),
        (LASTING, "", "", State.DRIFT),
    ],
)
def test_trial_of_a_command_line_is_followed(
    tmp_path: Path, drop_in: str, chosen: str, booted: str, state: State
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    plant_trial(tree, drop_in, chosen, booted)
    assert judge(tree, "boot.promoted").state is state


def planned(tree: Tree, request: Request) -> tuple[set[str], set[str]]:
    """Return the items for which apply would write, and those for which it would write now."""
    context = context_of(tree, request)
    plan = make_plan(context, collect(context, all_items()), Log())
    every = {name for step in plan.steps for name in step.item.split(",")}
    live = {"kernel", "ethtool", "unit"}
    return every, {step.item for step in plan.steps if step.kind in live}


def test_check_and_plan_agree_on_a_stock_machine(tmp_path: Path) -> None:
    """What check calls drift, apply mends."""
    tree = rt_host.stock_metal(tmp_path)
    settable = {item.id for item in all_items() if item.settings is not None}
    wrong = {name for name, each in judged(tree, METAL).items() if each.state in NOT_WELL}
    assert wrong & settable <= planned(tree, METAL)[0]


def test_check_and_plan_agree_on_a_tuned_machine(tmp_path: Path) -> None:
    """What check calls well, apply leaves as it is."""
    tree = rt_host.tuned_metal(tmp_path)
    tree.write(PROFILE_PATH, to_json(choose_profile(read_topology(tree.host), METAL)))
    wrong = {name for name, each in judged(tree, METAL).items() if each.state in NOT_WELL}
    assert wrong == set()
    assert planned(tree, METAL)[1] == set()


def test_kernel_configurations_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/boot/vmlinuz-6.1.0-50-rt-amd64", "")
    tree.write("/boot/config-6.1.0-50-rt-amd64", "CONFIG_PSI=y\n")
    read: list[str] = []
    real = Host.read

    def reading(host: Host, name: str) -> str | None:
        read.append(name)
        return real(host, name)

    monkeypatch.setattr(Host, "read", reading)
    context = context_of(tree, METAL)
    check_host(context, all_items())
    make_plan(context, collect(context, all_items()), Log())
    configurations = sorted(name for name in read if name.startswith("/boot/config-"))
    running = f"/boot/config-{context.topology.release}"
    assert configurations == sorted([running, "/boot/config-6.1.0-50-rt-amd64"])
    assert judge(tree, "cmd.mce", METAL).desired == "the kernel was built without CONFIG_X86_MCE"


def test_units_asked_at_once_are_told_as_one_by_one(tmp_path: Path) -> None:
    tree = rt_host.tuned_metal(tmp_path)
    tree.unit("thermald.service", "masked", "active")
    context = context_of(tree, METAL)
    items = selected_items("services")
    alone = [judge_item(item, context) for item in items]
    settings = [each for item in items if item.settings for each in item.settings(context)]
    units = [each.unit for each in settings if isinstance(each, UnitState)]
    blocks = [tree.run(unit_question(unit)).stdout for unit in units]
    questions: list[tuple[str, ...]] = []

    def run(argv: Sequence[str]) -> Output:
        questions.append(tuple(argv))
        return Output(0, "\n".join(blocks), "")

    host = dataclasses.replace(tree.host, run=run)
    together = units_asked(dataclasses.replace(context, host=host), settings)
    assert [judge_item(item, together) for item in items] == alone
    assert questions == [unit_question(*units)]
    assert next(each for each in alone if each.id == "svc.thermald").state is State.DRIFT


def test_rt_kernel_installed_is_pending_once_it_is_chosen(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    assert "apt-get install linux-image-rt-amd64" in judge(tree, "kernel.rt").fix
    tree.write("/boot/vmlinuz-6.1.0-50-rt-amd64", "")
    assert judge(tree, "kernel.rt").state is State.DRIFT
    tree.write(
        "/etc/default/grub.d/60-tickpath.cfg", "TICKPATH_TRIAL=''\nTICKPATH_TRIAL_KERNEL=rt\n"
    )
    assert judge(tree, "kernel.rt").state is State.PENDING_REBOOT


@pytest.mark.parametrize(
    ("place", "allowed", "state"),
    [
        ("6", "6", State.OK),  # pinned there
        ("6", "0-3", State.OK),  # moved away, and has slept since
        ("3", "0-15", State.OK),  # elsewhere
        ("6", "0-15", State.DRIFT),
    ],
)
def test_stranger_is_who_may_run_there_and_elsewhere(
    tmp_path: Path, place: str, allowed: str, state: State
) -> None:
    tree = rt_host.tuned_metal(tmp_path)
    tree.thread(900, "cron", f"S 4194304 {place} 0 0", allowed)
    assert judge(tree, "sched.strangers").state is state


@pytest.mark.parametrize(
    ("words", "guards"),
    [
        (("/usr/bin/python3", "-m", "tickpath.rt.guard", "--tid", "7"), True),
        (("/usr/bin/python3", "-P", "-m", "tickpath.rt.guard", "--tid", "7"), True),
        (("/opt/tickpath/current/bin/python3", "/opt/x/bin/tickpath", "run", "mexc.toml"), True),
        (("/usr/bin/stalld", "-p"), True),
        (("vi", "/root/stalld.conf"), False),
        (("grep", "-r", "tickpath run /etc"), False),
        (("tickpath", "replay", "run "), False),
    ],
)
def test_unguarded_takes_for_a_guard_only_what_is_one(
    tmp_path: Path, words: tuple[str, ...], guards: bool
) -> None:
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/sys/kernel/sched_rt_runtime_us", "-1")
    tree.write("/proc/77/cmdline", "\0".join(words) + "\0")
    expected = State.OK if guards else State.CONFLICT
    assert judge(tree, "sched.unguarded").state is expected


@pytest.mark.parametrize(("live", "desired"), [("0", "0"), ("120", "600"), ("900", "900")])
def test_hung_task_timeout_that_is_off_stays_off(tmp_path: Path, live: str, desired: str) -> None:
    """0: no checking is done (admin-guide/sysctl/kernel.rst)."""
    tree = rt_host.stock_metal(tmp_path)
    tree.write("/proc/sys/kernel/hung_task_timeout_secs", live)
    assert judge(tree, "kernel.hung_task_timeout").desired == desired
