"""A process that dies at any moment leaves a machine that revert puts back, byte for byte."""

from __future__ import annotations

import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest
from tickpath.rt.setting import KernelFile, Sysctl
from tickpath.rt.tuning import plan_files
from tickpath.rt.tuning.apply import apply_steps
from tickpath.rt.tuning.journal import JOURNAL, exclusive
from tickpath.rt.tuning.revert import revert

from tests.unit.rt_apply.machine import (
    KILLED,
    SETTINGS,
    THP,
    Programs,
    build,
    copy,
    disk_of,
    in_boot,
    make_context,
    plan_for,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

STEPS_MIN = 90  # of a whole apply: a smaller count means that the hook is not reached
LATER_STEPS_MIN = 20
PAIRS = 60


def dies_at(number: int) -> Callable[[], bool]:
    """Return what says, at the call of that number, that the process dies."""
    calls = itertools.count(1)
    return lambda: next(calls) == number


def in_child(work: Callable[[], None]) -> int:
    """Run in a process of its own; return its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def apply_until(root: Path, number: int) -> int:
    def work() -> None:
        before = dies_at(number)
        context = make_context(root, Programs(root, before))
        with exclusive(context.host):
            apply_steps(context, plan_for(context, SETTINGS).steps, disk_of(context, before))

    return in_child(work)


def revert_until(root: Path, number: int) -> int:
    def work() -> None:
        before = dies_at(number)
        context = make_context(root, Programs(root, before))
        with exclusive(context.host):
            revert(disk_of(context, before), "boot-1")

    return in_child(work)


def assert_reverts(root: Path, before: dict[str, tuple[object, ...]]) -> None:
    context = make_context(root)
    with exclusive(context.host):
        result = revert(disk_of(context), "boot-1")
    assert result.left == []
    assert snapshot(root) == before


@pytest.fixture
def earlier(tmp_path: Path, quick_disk: None) -> Path:
    """A machine where a file of ours lies from before, and one of our folders."""
    return build(
        tmp_path / "machine",
        {plan_files.SYSCTL_FILE: "vm.swappiness = 5\n", "/var/lib/tickpath/of-others": "x"},
    )


@pytest.mark.parametrize("variant", ["fresh", "earlier"])
def test_apply_killed_at_each_step_is_reverted_to_the_byte(
    variant: str, tmp_path: Path, quick_disk: None
) -> None:
    extra = {plan_files.SYSCTL_FILE: "x = 1\n", "/var/lib/tickpath/of-others": "x"}
    original = build(tmp_path / "machine", extra if variant == "earlier" else None)
    before = snapshot(original)
    for number in itertools.count(1):
        root = copy(original, tmp_path / str(number))
        status = apply_until(root, number)
        assert status in {0, KILLED}
        assert_reverts(root, before)
        if status == 0:
            break
    assert number > STEPS_MIN


def test_revert_killed_at_each_step_goes_on_the_next_time(earlier: Path, tmp_path: Path) -> None:
    before = snapshot(earlier)
    applied = copy(earlier, tmp_path / "applied")
    assert apply_until(applied, 0) == 0
    for number in itertools.count(1):
        root = copy(applied, tmp_path / str(number))
        status = revert_until(root, number)
        assert status in {0, KILLED}
        assert_reverts(root, before)
        if status == 0:
            break
    assert number > STEPS_MIN // 2


def test_apply_and_revert_both_killed_end_at_the_byte(earlier: Path, tmp_path: Path) -> None:
    before = snapshot(earlier)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    for number in range(PAIRS):
        root = copy(earlier, tmp_path / str(number))
        assert apply_until(root, chosen.randint(1, 150)) in {0, KILLED}
        assert revert_until(root, chosen.randint(1, 100)) in {0, KILLED}
        assert_reverts(root, before)


def test_apply_of_a_later_boot_killed_at_each_step_restores_every_file(
    earlier: Path, tmp_path: Path
) -> None:
    before = {name: found for name, found in snapshot(earlier).items() if is_kept(name)}
    applied = copy(earlier, tmp_path / "applied")
    assert apply_until(applied, 0) == 0
    changed = (Sysctl("vm.swappiness", "1"), KernelFile(THP, "always"))

    def apply_later(root: Path, number: int) -> int:
        def work() -> None:
            dies = dies_at(number)
            context = in_boot(make_context(root, Programs(root, dies)), "boot-2")
            with exclusive(context.host):
                apply_steps(context, plan_for(context, changed).steps, disk_of(context, dies))

        return in_child(work)

    for number in itertools.count(1):
        root = copy(applied, tmp_path / str(number))
        status = apply_later(root, number)
        context = in_boot(make_context(root), "boot-2")
        result = revert(disk_of(context), "boot-2")
        assert result.left == []
        assert result.reboot_required
        assert {name: found for name, found in snapshot(root).items() if is_kept(name)} == before
        if status == 0:
            break
    assert number > LATER_STEPS_MIN


def is_kept(name: str) -> bool:
    """Tell what outlives a boot."""
    return not name.startswith(("/proc/", "/sys/", "/fake/ethtool", "/run/"))


def files_of(root: Path) -> dict[str, tuple[object, ...]]:
    """Describe what an apply leaves, without what tells of its way there."""
    ways = ("journal", "/run/")
    return {
        name: found[:2]
        for name, found in snapshot(root).items()
        if not any(one in name for one in ways)
    }


def test_apply_killed_then_applied_again_ends_as_an_unkilled_one(
    earlier: Path, tmp_path: Path
) -> None:
    before = snapshot(earlier)
    whole = copy(earlier, tmp_path / "whole")
    assert apply_until(whole, 0) == 0
    wanted = files_of(whole)
    for number in range(1, 150, 7):
        root = copy(earlier, tmp_path / str(number))
        apply_until(root, number)
        assert apply_until(root, 0) == 0
        assert files_of(root) == wanted
        assert_reverts(root, before)


@pytest.mark.parametrize(("reached", "is_ours"), [(29, True), (65, False)])
def test_revert_count_that_a_kill_left_halfway_is_put_back(
    tmp_path: Path, reached: int, is_ours: bool
) -> None:
    """Seen in a virtual machine: 29 of 64 huge pages, and no line that tells what was read."""
    pages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    root = build(tmp_path / "machine", {pages: "0\n"})
    context = make_context(root)
    apply_steps(context, plan_for(context, (KernelFile(pages, "64"),)).steps, disk_of(context))
    journal = root / JOURNAL[1:]
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"reads": "64"' not in line))
    file = root / pages[1:]
    file.write_text(f"{reached}\n")
    result = revert(disk_of(context), "boot-1")
    assert file.read_text() == ("0\n" if is_ours else f"{reached}\n")
    assert [left.target for left in result.left] == ([] if is_ours else [pages])
