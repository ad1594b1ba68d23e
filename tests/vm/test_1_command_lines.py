"""Command lines of the kernel, judged by the kernel: booted alone, without a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath.rt.catalogue import all_items
from tickpath.rt.item import Context
from tickpath.rt.profile import Request, choose_profile
from tickpath.rt.setting import BootParameter
from tickpath.rt.topology import read_topology

from tests.unit import rt_host
from tests.vm.kernel_boot import lint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


def words_for(tree: Tree, request: Request) -> tuple[list[str], int]:
    """Return all words that the catalogue wants of a machine, and how many CPUs it has."""
    topology = read_topology(tree.host)
    context = Context(tree.host, topology, choose_profile(topology, request))
    settings = [one for item in all_items() if item.settings for one in item.settings(context)]
    words = [one.word for one in settings if isinstance(one, BootParameter)]
    return words, len(topology.cpus)


def metal_with_rt_kernel(root: Path) -> Tree:
    tree = rt_host.stock_metal(root)
    tree.write("/boot/vmlinuz-6.1.0-50-rt-amd64", "")
    tree.write("/boot/config-6.1.0-50-rt-amd64", rt_host.CONFIG)
    return tree


def metal_with_busy_polling(root: Path) -> Tree:
    return rt_host.stock_metal(root, busy_poll=True)


@pytest.mark.parametrize(
    ("plant", "request_", "flavour"),
    [
        (metal_with_rt_kernel, Request("metal-irq", idle_poll=True, mitigations_off=True), "rt"),
        (metal_with_busy_polling, Request("metal-busy-poll"), "cloud"),
        (rt_host.cloud_guest, Request("cloud"), "cloud"),
        (rt_host.rt_guest, Request("vm-lab"), "rt"),
    ],
    ids=["metal-irq", "metal-busy-poll", "cloud", "vm-lab"],
)
def test_lint_words_of_each_profile_are_known_to_the_kernel(
    disk: Image,
    tmp_path: Path,
    plant: Callable[[Path], Tree],
    request_: Request,
    flavour: str,
) -> None:
    tree = plant(tmp_path)
    for name in tree.host.glob("/boot/config-*"):  # what it lacks is not asked of it
        tree.write(name, disk.config(flavour))
    words, cpus = words_for(tree, request_)
    assert words
    verdict = lint(disk.kernel(flavour), " ".join(words), cpus=cpus)
    assert (verdict.unknown, verdict.complaints) == ((), ()), " ".join(words)
