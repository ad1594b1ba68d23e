"""Rules about the kernel, judged by the kernel: booted alone, without a disk.

What is wanted of the command line and of the files of /proc and /sys; rt/catalogue/tried.py says
of which items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath.rt.catalogue import all_items
from tickpath.rt.catalogue.tried import TRIED
from tickpath.rt.command_line import in_force, parse_command_line
from tickpath.rt.item import Context
from tickpath.rt.profile import Request, choose_profile
from tickpath.rt.reading import same
from tickpath.rt.setting import BootParameter, KernelFile, Sysctl
from tickpath.rt.topology import read_topology

from tests.unit import rt_host
from tests.vm import trials
from tests.vm.kernel_boot import ask, lint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tickpath.rt.setting import Setting

    from tests.unit.rt_host import Tree
    from tests.vm.image import Image

pytestmark = [pytest.mark.vm, pytest.mark.needs("qemu")]


def test_lint_wrong_words_are_named_by_the_kernel(disk: Image) -> None:
    words = (
        "isolcpus=managed_irq,domane,1 nohz_full=1-9 kthread_cpus=0 idle=pol hugepagesz=3M "
        "mce=bogus transparent_hugepage=nevr rcu_nocbs=0-7"
    )
    verdict = lint(disk.kernel("rt"), words)
    assert set(verdict.unknown) == {
        "nohz_full=1-9",
        "kthread_cpus=0",
        "mce=bogus",
        "transparent_hugepage=nevr",
    }
    assert set(verdict.complaints) == {
        "isolcpus: Skipped unknown flag domane",
        "Housekeeping: nohz_full= or isolcpus= incorrect CPU range",
        "Malformed early option 'idle'",
        "HugeTLB: unsupported hugepagesz=3M",
        "mce: mce argument bogus ignored. Please use /sys",
        "rcu: rcu_nocbs= bad CPU range, all CPUs set",
    }


def test_lint_every_cpu_isolated_is_refused_by_the_kernel(disk: Image) -> None:
    verdict = lint(disk.kernel("rt"), "isolcpus=managed_irq,domain,0-1")
    assert verdict.complaints == ("Housekeeping: must include one present CPU, using boot CPU:0",)


def wanted_by_item(tree: Tree, request: Request) -> dict[str, list[Setting]]:
    """Return what each item of the catalogue wants of a machine."""
    topology = read_topology(tree.host)
    context = Context(tree.host, topology, choose_profile(topology, request))
    return {
        item.id: list(item.settings(context)) for item in all_items() if item.settings is not None
    }


def words_for(wanted: dict[str, list[Setting]]) -> dict[str, list[str]]:
    """Return the words of the command line among it, by item."""
    words = {
        name: [one.word for one in settings if isinstance(one, BootParameter)]
        for name, settings in wanted.items()
    }
    return {name: some for name, some in words.items() if some}


def said_of(flavour: str) -> set[str]:
    in_a_guest = {trial.item for trial in trials.ALL}
    tried_here = {name for name, kernels in TRIED.items() if flavour in kernels}
    return tried_here - in_a_guest


def metal_with_rt_kernel(root: Path) -> Tree:
    tree = rt_host.stock_metal(root)
    tree.write("/boot/vmlinuz-6.1.0-50-rt-amd64", "")
    tree.write("/boot/config-6.1.0-50-rt-amd64", rt_host.CONFIG)
    return tree


def metal_with_busy_polling(root: Path) -> Tree:
    return rt_host.stock_metal(root, busy_poll=True)


PROFILES = [
    (metal_with_rt_kernel, Request("metal-irq", idle_poll=True, mitigations_off=True), "rt"),
    (metal_with_busy_polling, Request("metal-busy-poll"), "cloud"),
    (rt_host.cloud_guest, Request("cloud"), "cloud"),
    (rt_host.rt_guest, Request("vm-lab"), "rt"),
]


def as_built(tree: Tree, disk: Image, flavour: str) -> Tree:
    """Have it the options that a kernel was built with: what it lacks is not asked of it."""
    for name in tree.host.glob("/boot/config-*"):
        tree.write(name, disk.config(flavour))
    return tree


@pytest.mark.parametrize(
    ("plant", "request_", "flavour"),
    PROFILES,
    ids=["metal-irq", "metal-busy-poll", "cloud", "vm-lab"],
)
def test_lint_words_of_each_profile_are_known_to_the_kernel(
    disk: Image,
    tmp_path: Path,
    plant: Callable[[Path], Tree],
    request_: Request,
    flavour: str,
) -> None:
    tree = as_built(plant(tmp_path), disk, flavour)
    words = [one for some in words_for(wanted_by_item(tree, request_)).values() for one in some]
    assert words
    cpus = len(read_topology(tree.host).cpus)
    verdict = lint(disk.kernel(flavour), " ".join(words), cpus=cpus)
    assert (verdict.unknown, verdict.complaints) == ((), ()), " ".join(words)


ISOLATED = "/sys/devices/system/cpu/isolated"
NOHZ_FULL = "/sys/devices/system/cpu/nohz_full"


# Words, and what the kernel then has as isolated and as nohz_full.
TWICE = [
    ("isolcpus=managed_irq,domain,1 isolcpus=managed_irq,domain,2", "1", "(null)"),
    ("nohz_full=1 nohz_full=2-3", "", "1"),
    ("isolcpus=domain,1 isolcpus=managed_irq,1", "1", "(null)"),
    ("isolcpus=nohz,domain,1 nohz_full=2", "1", "1"),
    ("nohz_full=2 isolcpus=nohz,domain,1", "", "2"),
    ("isolcpus=1 nohz_full=2 nohz_full=2 isolcpus=3", "1", "2"),
]


@pytest.mark.parametrize(
    ("flavour", "case"), [*(("cloud", case) for case in TWICE), ("rt", TWICE[0]), ("rt", TWICE[1])]
)
def test_isolation_given_twice_is_judged_as_the_kernel_does(
    disk: Image, tmp_path: Path, flavour: str, case: tuple[str, str, str]
) -> None:
    words, isolated, nohz_full = case
    told = ask(disk.kernel(flavour), words, [ISOLATED, NOHZ_FULL], tmp_path)
    assert told == {ISOLATED: isolated, NOHZ_FULL: nohz_full}
    parameters = parse_command_line(words)
    ours = in_force("nohz_full", parameters)
    if "nohz," in words and ours is None:  # that list is one of isolcpus=
        assert nohz_full == isolated
    else:
        assert ("(null)" if ours is None else ours.value) == nohz_full
    ours = in_force("isolcpus", parameters)
    assert ("" if ours is None else (ours.value or "").split(",")[-1]) == isolated


@pytest.mark.parametrize("flavour", ["rt", "cloud"])
def test_other_words_given_twice_count_by_their_last(
    disk: Image, tmp_path: Path, flavour: str
) -> None:
    words = (
        "irqaffinity=0 irqaffinity=0-1 psi=0 psi=1 processor.max_cstate=1 processor.max_cstate=4 "
        "rcupdate.rcu_normal_after_boot=1 rcupdate.rcu_normal_after_boot=0"
    )
    wanted = {
        "/proc/irq/default_smp_affinity": "3",
        "/sys/module/processor/parameters/max_cstate": "4",
        "/sys/module/rcupdate/parameters/rcu_normal_after_boot": "0",
    }
    if flavour == "cloud":
        words += " preempt=none preempt=full"
        wanted["/sys/kernel/debug/sched/preempt"] = "none voluntary (full)"
        # This kernel bounds it by the states that ACPI has.
        del wanted["/sys/module/processor/parameters/max_cstate"]
    told = ask(disk.kernel(flavour), words, [*wanted, "/proc/pressure/cpu"], tmp_path)
    assert told.pop("/proc/pressure/cpu").startswith("some avg10=")
    assert {path: text.strip() for path, text in told.items()} == wanted


@pytest.mark.parametrize("flavour", ["rt", "cloud"])
def test_items_are_tried_on_this_kernel_as_they_say(
    disk: Image, tmp_path: Path, flavour: str
) -> None:
    """Each value is written, and the kernel then has it; words are judged by the profiles above."""
    words = {
        name
        for number, (plant, request, kernel) in enumerate(PROFILES)
        if kernel == flavour
        for name in words_for(
            wanted_by_item(as_built(plant(tmp_path / str(number)), disk, flavour), request)
        )
    }
    wanted = wanted_by_item(rt_host.rt_guest(tmp_path / "guest"), Request("vm-lab"))
    metal = wanted_by_item(rt_host.stock_metal(tmp_path / "metal"), Request("metal-irq"))
    for name, settings in metal.items():  # of a machine with other CPUs, what names none of them
        wanted[name] = wanted.get(name) or [one for one in settings if isinstance(one, Sysctl)]
    files = {
        name: [one for one in settings if isinstance(one, Sysctl | KernelFile)]
        for name, settings in wanted.items()
        if settings and all(isinstance(one, Sysctl | KernelFile) for one in settings)
    }
    trials = {one.path: one.value for settings in files.values() for one in settings}
    told = ask(
        disk.kernel(flavour), "isolcpus=managed_irq,domain,1", [], tmp_path, list(trials.items())
    )
    held = {
        name
        for name, settings in files.items()
        if all(told.get(one.path) and same(one, told[one.path]) for one in settings)
    }
    assert words | held == said_of(flavour)
