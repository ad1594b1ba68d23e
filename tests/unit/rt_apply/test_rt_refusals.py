"""What cannot be is refused before the first write: not a byte changes, and the reason is told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.host import Output
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Setting, Sysctl
from tickpath.rt.tuning.journal import Log
from tickpath.rt.tuning.plan import Options, make_plan
from tickpath.rt.tuning.plan_refusals import HUGE_PAGES, refuse_user

from tests.unit.rt_apply.machine import (
    RT,
    Programs,
    make_context,
    plan_for,
    snapshot,
    want,
    with_nic,
    with_rt_kernel,
)


def refusals(root: Path, *settings: Setting) -> list[tuple[type, str]]:
    before = snapshot(root)
    plan = plan_for(make_context(root), settings)
    assert snapshot(root) == before
    return [(type(refusal), str(refusal)) for refusal in plan.refusals]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (BootParameter("isolcpus", "0-3"), "these are all CPUs of this machine"),
        (BootParameter("isolcpus", "managed_irq,domain,1-3,0"), "these are all CPUs"),
        (BootParameter("nohz_full", "0-1"), "CPU 0 stays with the kernel"),
        (BootParameter("rcu_nocbs", "0"), "CPU 0 stays with the kernel"),
        (BootParameter("isolcpus", "domain,2,x"), "'x' in the CPU list"),
        (BootParameter("isolcpus", "1,,2"), "'' in the CPU list"),
        (BootParameter("isolcpus", "3-2"), "3 is above 2"),
        (BootParameter("nohz_full", "2-4"), "CPU 4 is not online; this machine has 0-3"),
        (BootParameter("irqaffinity", "7"), "CPU 7 is not online"),
        (BootParameter("isolcpus", "domain"), "no CPU is named"),
        (BootParameter("isolcpus"), "no CPU is named"),
        (Ethtool("eth7", "C", "rx-usecs", "0"), "'eth7' is not there: this machine has eth0"),
        (DropIn("/etc/sysctl.conf", "x"), "is not a file of ours"),
        (DropIn("/usr/tickpath.conf", "x"), "is not a file of ours"),
        (DropIn("/etc/tickpath/../passwd", "x"), "is not a file of ours"),
        (Sysctl("vm.swappiness", "1\nkernel.panic = 1"), "is not one printable line"),
        (Sysctl("vm.swappiness", " "), "is not one printable line"),
        (Sysctl("vm swappiness", "1"), "is not the name of a kernel setting"),
        (KernelFile("/sys/../etc/passwd", "1"), "is not the name of a kernel setting"),
    ],
)
def test_plan_request_that_cannot_be_is_refused(
    machine: Path, setting: Setting, words: str
) -> None:
    ((kind, text),) = refusals(machine, setting, Sysctl("vm.stat_interval", "10"))
    assert kind is RequestError
    assert words in text


@pytest.mark.parametrize("value", ["1-3", "managed_irq,domain,2-3", "nohz,domain,1"])
def test_plan_isolation_that_keeps_cpu_0_is_accepted(machine: Path, value: str) -> None:
    assert refusals(machine, BootParameter("isolcpus", value)) == []


def test_plan_isolation_behind_another_list_is_refused(machine: Path) -> None:
    """The kernel keeps the first list, and GRUB puts the distribution's words first."""
    (machine / "etc/default/grub.d").mkdir(parents=True, exist_ok=True)
    other = machine / "etc/default/grub.d/10-other.cfg"
    other.write_text('GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT nohz_full=1"\n')
    ((kind, text),) = refusals(machine, BootParameter("nohz_full", "2-3"))
    assert kind is RequestError
    assert "nohz_full=1 comes before it" in text
    assert "remove that from /etc/default/grub.d/10-other.cfg" in text
    assert refusals(machine, BootParameter("nohz_full", "1")) == []


@pytest.mark.parametrize(("pages", "is_refused"), [(511, False), (512, True), (99_999_999, True)])
def test_plan_huge_pages_of_all_memory_are_refused(
    machine: Path, pages: int, is_refused: bool
) -> None:
    (machine / "proc/meminfo").write_text("MemTotal:        1048576 kB\nMemFree: 1 kB\n")
    found = refusals(machine, KernelFile(HUGE_PAGES, str(pages)))
    assert [kind for kind, _ in found] == [RequestError] * is_refused
    assert all("this machine has 1024 MiB; expected fewer than 512" in text for _, text in found)


def test_plan_boot_parameter_with_a_quote_is_refused(machine: Path) -> None:
    with pytest.raises(RequestError, match="a quote or an unprintable"):
        plan_for(make_context(machine), (BootParameter("x", "it's"),))


def test_plan_items_at_odds_are_refused(machine: Path) -> None:
    ((kind, text),) = refusals(
        machine, Sysctl("vm.swappiness", "1"), KernelFile("/proc/sys/vm/swappiness", "2")
    )
    assert kind is RequestError
    assert "item.0 wants '1'" in text


def test_plan_nic_that_carries_ssh_is_refused_unless_allowed(machine: Path) -> None:
    context = with_nic(make_context(machine), carries_ssh=True)
    wanted = want((Ethtool("eth0", "L", "combined", "1"),))
    (refusal,) = make_plan(context, wanted, Log()).refusals
    assert isinstance(refusal, RequestError)
    assert "reached by ssh over eth0" in str(refusal)
    assert make_plan(context, wanted, Log(), Options(allow_ssh_nic=True)).refusals == ()


def test_plan_nic_that_carries_ssh_and_is_tuned_already_is_accepted(machine: Path) -> None:
    context = with_nic(make_context(machine), carries_ssh=True)
    assert make_plan(context, want((Ethtool("eth0", "L", "combined", "4"),)), Log()).refusals == ()


def test_plan_workqueue_mask_on_a_kernel_that_stalls_is_refused(machine: Path) -> None:
    context = make_context(machine)
    context = replace(context, topology=replace(context.topology, version=(6, 12, 40)))
    wanted = want((KernelFile("/sys/devices/virtual/workqueue/cpumask", "1"),))
    (refusal,) = make_plan(context, wanted, Log()).refusals
    assert "Linux 6.12.40 can stall" in str(refusal)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Output(0, "linux-image-rt-amd64:\n  Candidate: (none)\n", ""),
            "archive has no linux-image-rt",
        ),
        (Output(0, "", ""), "the archive has no"),
        (Output(0, "  Candidate: 6.1.176-1\n", ""), "apt-get install linux-image-rt-amd64 (the"),
    ],
)
def test_plan_rt_kernel_that_is_not_installed_is_refused(
    machine: Path, answer: Output, words: str
) -> None:
    (machine / f"boot/vmlinuz-{RT}").unlink()
    programs = Programs(machine, answers={"apt-cache": answer, "dpkg": Output(0, "amd64\n", "")})
    context = with_rt_kernel(make_context(machine, programs))
    before = snapshot(machine)
    (refusal,) = plan_for(context, (BootParameter("skew_tick", "1"),)).refusals
    assert isinstance(refusal, HostError)
    assert words in str(refusal)
    assert snapshot(machine) == before


@pytest.mark.parametrize(
    ("answers", "gone", "words"),
    [
        ({}, "boot/grub/grub.cfg", "need GRUB as Debian sets it up"),
        ({}, "etc/grub.d/10_linux", "need GRUB as Debian sets it up"),
        ({"grub-mkconfig": Output(127, "", "")}, None, "grub-mkconfig is not installed"),
        ({"grub-probe": Output(0, "btrfs\n", "")}, None, "GRUB cannot write to"),
        ({"grub-probe": Output(0, "lvm\n", "")}, None, "lies on lvm"),
    ],
)
def test_plan_boot_loader_that_could_not_fall_back_is_refused(
    machine: Path, answers: dict[str, Output], gone: str | None, words: str
) -> None:
    if gone:
        (machine / gone).unlink()
    context = make_context(machine, Programs(machine, answers=answers))
    (refusal,) = plan_for(context, (BootParameter("skew_tick", "1"),)).refusals
    assert isinstance(refusal, HostError)
    assert words in str(refusal)
    assert plan_for(context, (Sysctl("vm.swappiness", "1"),)).refusals == ()


def test_plan_link_in_the_place_of_our_file_is_refused(machine: Path) -> None:
    (machine / "etc/sysctl.d/60-tickpath.conf").symlink_to("99-sysctl.conf")
    ((kind, text),) = refusals(machine, Sysctl("vm.swappiness", "10"))
    assert kind is HostError
    assert "is a link or a folder" in text


# The children import from this folder's tests, and -P keeps the current directory out.
WITH_TESTS = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}

READ_ONLY = """
import subprocess, sys
from pathlib import Path
from tickpath.rt.setting import KernelFile, Sysctl
from tests.unit.rt_apply.machine import THP, make_context, plan_for, snapshot
root = Path(sys.argv[1])
place = str(root / sys.argv[2])
subprocess.run(["mount", "--bind", place, place], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
before = snapshot(root)
plan = plan_for(make_context(root), (KernelFile(THP, "never"), Sysctl("vm.swappiness", "10")))
assert snapshot(root) == before
print("\\n".join(f"{type(refusal).__name__}: {refusal}" for refusal in plan.refusals))
"""


@pytest.mark.needs("root", "netns")
@pytest.mark.parametrize(
    ("place", "told"), [("sys", "/sys is read-only"), ("proc/sys", "/proc/sys is read-only")]
)
def test_plan_read_only_kernel_files_are_refused(machine: Path, place: str, told: str) -> None:
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-P", "-c", READ_ONLY, str(machine), place],
        env=WITH_TESTS,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("HostError: ")
    assert told in line


WITHOUT_RIGHTS = """
import sys
from pathlib import Path
from tickpath.rt.setting import Sysctl
from tests.unit.rt_apply.machine import make_context, plan_for
plan = plan_for(make_context(Path(sys.argv[1])), (Sysctl("vm.swappiness", "10"),))
print([step.kind for step in plan.steps], plan.skipped[0].why)
"""


@pytest.mark.needs("root", "netns")
def test_plan_root_of_a_container_without_rights_skips_and_says_why(machine: Path) -> None:
    path = machine / "proc/sys/vm/swappiness"
    os.chown(path, 65534, 65534)
    path.chmod(0o644)
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            sys.executable,
            "-P",
            "-c",
            WITHOUT_RIGHTS,
            str(machine),
        ],
        env=WITH_TESTS,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not even root may write it here" in done.stdout


def test_refuse_user_other_than_root_says_who_and_what_to_do() -> None:
    assert refuse_user(0) is None
    assert "user 1000 may not write the host's settings: run as root" in str(refuse_user(1000))
