"""Command lines of the kernel, judged by the kernel: booted alone, without a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm.kernel_boot import lint

if TYPE_CHECKING:
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
