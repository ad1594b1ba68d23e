"""Reading a host's limits from fake trees, and from this host."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt import limits

if TYPE_CHECKING:
    from pathlib import Path


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", ()),
        ("\n", ()),
        ("0", (0,)),
        ("0-3,8", (0, 1, 2, 3, 8)),
        (" 3 , 1-2 ", (1, 2, 3)),
        ("5-5", (5,)),
        ("8191", (8191,)),
    ],
)
def test_parse_cpu_list_kernel_form_gives_numbers(text: str, cpus: tuple[int, ...]) -> None:
    assert limits.parse_cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "'a' in the CPU list 'a': expected a number or a range"),
        ("0,,1", "'' in the CPU list"),
        ("1-", "expected a number or a range"),
        ("-1", "expected a number or a range"),
        ("3-1", "3 is above 1"),
        ("0-8192", "at most 8191"),
        ("0-99999999999999", "at most 8191"),
        ("\u0663", "expected a number or a range"),
    ],
)
def test_parse_cpu_list_broken_form_names_the_piece(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        limits.parse_cpu_list(text)


@given(st.sets(st.integers(0, 200)))
def test_format_cpu_list_parsed_again_is_the_same(cpus: set[int]) -> None:
    assert limits.parse_cpu_list(limits.format_cpu_list(cpus)) == tuple(sorted(cpus))


def test_throttling_default_host_loses_50_ms_and_names_the_remedy(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/sys/kernel/sched_rt_runtime_us": "950000\n",
            "proc/sys/kernel/sched_rt_period_us": "1000000\n",
            "sys/kernel/debug/sched/fair_server/cpu0/runtime": "50000000\n",
            "sys/kernel/debug/sched/fair_server/cpu1/runtime": "50000000\n",
        },
    )
    throttling = limits.read_throttling((0, 1), root)
    assert throttling.rt_lost_us_per_s == 50_000
    assert throttling.fair_server_cpus == (0, 1)
    said = limits.describe_throttling(throttling)
    assert said is not None
    assert "50 ms in each second" in said
    assert "sysctl -w kernel.sched_rt_runtime_us=-1" in said
    assert "cpu{0..1}/runtime" in said


def test_throttling_remedy_is_shell_that_bash_expands_to_the_cpus(tmp_path: Path) -> None:
    throttling = limits.Throttling(-1, 1_000_000, {0: 5, 1: 5, 2: 0, 4: 5})
    said = limits.describe_throttling(throttling)
    assert said is not None
    words = said.partition("for f in ")[2].partition(";")[0]
    done = subprocess.run(
        ["bash", "-c", f"printf '%s ' {words}"], capture_output=True, text=True, check=True
    )
    assert [word.split("/")[-2] for word in done.stdout.split()] == ["cpu0", "cpu1", "cpu4"]


@pytest.mark.parametrize(
    ("runtime", "period", "lost_us"),
    [(-1, 1_000_000, 0), (1_000_000, 1_000_000, 0), (0, 500_000, 1_000_000), (None, None, 0)],
)
def test_throttling_limit_gives_the_loss(
    runtime: int | None, period: int | None, lost_us: int
) -> None:
    assert limits.Throttling(runtime, period, {}).rt_lost_us_per_s == lost_us


def test_throttling_none_is_not_described(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/sys/kernel/sched_rt_runtime_us": "-1\n"})
    assert limits.describe_throttling(limits.read_throttling((0,), root)) is None


def test_throttling_of_this_host_agrees_with_sysctl() -> None:
    done = subprocess.run(
        ["sysctl", "-n", "kernel.sched_rt_runtime_us"], capture_output=True, text=True, check=True
    )
    assert limits.read_throttling((0,)).rt_runtime_us == int(done.stdout)


def test_privileges_capability_bits_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/status": "Name:\tx\nCapEff:\t0000008000803000\n"})
    assert limits.read_privileges(root).capabilities == {"NET_ADMIN", "NET_RAW", "SYS_NICE", "BPF"}


@pytest.mark.needs("root")
def test_privileges_of_root_hold_sys_nice() -> None:
    assert "SYS_NICE" in limits.read_privileges().capabilities


def test_isolated_cpus_absent_file_is_none(tmp_path: Path) -> None:
    assert limits.isolated_cpus(tmp_path) == ()


def test_order_cpus_isolated_then_whole_cores_then_house(tmp_path: Path) -> None:
    siblings = {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5", 2: "2,6", 6: "2,6"}
    files = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": text
        for cpu, text in siblings.items()
    }
    root = tree(tmp_path, files | {"sys/devices/system/cpu/isolated": "2,6\n"})
    assert limits.order_cpus((0, 1, 2, 4, 5, 6), root) == (6, 2, 4, 5, 1, 0)


def test_place_enough_cpus_gives_each_its_own() -> None:
    placed = limits.place(["reader", "one", "two"], [3, 2, 1, 0])
    assert [(each.cpu, each.may_spin) for each in placed] == [(3, True), (2, True), (1, True)]
    assert limits.describe_placement(placed) == (
        "CPU 3: reader, spinning; CPU 2: one, spinning; CPU 1: two, spinning"
    )


def test_place_few_cpus_leaves_the_first_alone_and_the_rest_share() -> None:
    placed = limits.place(["reader", "one", "two"], [1, 0])
    assert [each.may_spin for each in placed] == [True, False, False]
    assert placed[1].shares_with == ("two",)
    assert "CPU 0: one, two, taking turns" in limits.describe_placement(placed)


def test_place_without_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        limits.place(["reader"], [])
