"""apply, then revert: the machine is as it was, byte for byte, whatever lay there before."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tickpath.rt.catalogue.services import AFFINITY_PATH
from tickpath.rt.errors import HostError
from tickpath.rt.host import Output
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Sysctl, UnitState
from tickpath.rt.tuning import grub, plan_files
from tickpath.rt.tuning.apply import apply_boot_list, apply_steps
from tickpath.rt.tuning.journal import HOME, JOURNAL, LOCK, exclusive, read_journal
from tickpath.rt.tuning.revert import revert
from tickpath.rt.tuning.writing import BESIDE

from tests.unit.rt_apply.machine import (
    FILES,
    SETTINGS,
    THP,
    Programs,
    disk_of,
    in_boot,
    make_context,
    plan_for,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting


def apply(context: Context, settings: tuple[Setting, ...], partial: bool = False) -> list[str]:
    plan = plan_for(context, settings, partial)
    assert not plan.refusals, plan.refusals
    outcomes = apply_steps(context, plan.steps, disk_of(context))
    return [f"{each.status} {each.step.command}" for each in outcomes]


def read(root: Path, name: str) -> str:
    return (root / name.lstrip("/")).read_text()


def test_apply_makes_folders_for_all_to_read_on_a_hardened_host(machine: Path) -> None:
    context = make_context(machine)
    there = {path for path in machine.rglob("*") if path.is_dir()}
    before = os.umask(0o077)
    try:
        apply(context, SETTINGS)
    finally:
        os.umask(before)
    made = {path for path in machine.rglob("*") if path.is_dir()} - there
    assert made
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o755}


def test_apply_every_kind_of_setting_writes_it_where_it_belongs(machine: Path) -> None:
    context = make_context(machine)
    done = apply(context, SETTINGS)
    assert all(line.startswith("written ") for line in done)
    assert read(machine, "/proc/sys/vm/swappiness") == "10\n"
    assert read(machine, THP) == "always madvise [never]\n"
    assert "vm.swappiness = 10\n" in read(machine, plan_files.SYSCTL_FILE)
    assert f"w {THP} - - - - never\n" in read(machine, plan_files.TMPFILES_FILE)
    assert '"action": "eth0-TxRx-0"' in read(machine, plan_files.BOOT_LIST)
    assert (machine / "etc/systemd/system/irqbalance.service").readlink().name == "null"
    assert (machine / plan_files.SERVICE_LINK.lstrip("/")).is_symlink()
    menu = read(machine, grub.CONFIG)
    assert "isolcpus=managed_irq,domain,2-3" in " ".join(
        grub.entry_words(menu, "tickpath-trial") or ()
    )
    assert grub.next_entry((machine / "boot/grub/grubenv").read_bytes()) == "tickpath-trial"
    assert read(machine, "/etc/default/grub") == FILES["/etc/default/grub"]


def test_apply_channels_come_before_the_rest_of_the_nic(machine: Path) -> None:
    plan = plan_for(make_context(machine), SETTINGS)
    nic = [
        step.target for step in plan.steps if step.kind == "ethtool" or "class/net" in step.target
    ]
    assert nic[0] == "eth0 L combined"
    assert nic[-1].startswith("/sys/class/net")


def test_apply_second_time_writes_nothing(machine: Path) -> None:
    context = make_context(machine)
    apply(context, SETTINGS)
    before = snapshot(machine)
    assert apply(context, SETTINGS) == []
    assert snapshot(machine) == before


def test_revert_after_apply_restores_every_byte(machine: Path) -> None:
    before = snapshot(machine)
    context = make_context(machine)
    apply(context, SETTINGS)
    result = revert(disk_of(context), "boot-1")
    assert result.left == []
    assert snapshot(machine) == before


def test_revert_after_two_different_applies_restores_what_was_before_both(machine: Path) -> None:
    before = snapshot(machine)
    context = make_context(machine)
    apply(context, SETTINGS)
    apply(context, (Sysctl("vm.swappiness", "1"), KernelFile(THP, "always")))
    assert read(machine, "/proc/sys/vm/swappiness") == "1\n"
    assert revert(disk_of(context), "boot-1").left == []
    assert snapshot(machine) == before


def test_revert_files_of_ours_that_lay_there_come_back_with_mode_owner_and_time(
    machine: Path,
) -> None:
    path = machine / plan_files.SYSCTL_FILE.lstrip("/")
    path.write_bytes(b"# of an earlier tickpath\nvm.swappiness = 5\n\xff")
    path.chmod(0o640)
    os.utime(path, ns=(1_000_000_000, 2_000_000_003))
    before = snapshot(machine)
    context = make_context(machine)
    apply(context, SETTINGS)
    assert path.read_bytes() != before[plan_files.SYSCTL_FILE][1]
    assert path.stat().st_mode & 0o777 == 0o640
    assert revert(disk_of(context), "boot-1").left == []
    assert snapshot(machine) == before


def test_revert_value_that_somebody_changed_is_left_and_told(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"), Sysctl("vm.stat_interval", "10")))
    (machine / "proc/sys/vm/swappiness").write_text("33\n")
    result = revert(disk_of(context), "boot-1")
    assert [(left.target, left.now, left.previous) for left in result.left] == [
        ("/proc/sys/vm/swappiness", "33", "60")
    ]
    assert read(machine, "/proc/sys/vm/swappiness") == "33\n"
    assert read(machine, "/proc/sys/vm/stat_interval") == "1\n"
    assert [entry.target for entry in read_journal(context.host).open_entries] == [
        "/proc/sys/vm/swappiness"
    ]


def test_revert_file_that_somebody_changed_is_left_and_told(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"),))
    path = machine / plan_files.SYSCTL_FILE.lstrip("/")
    path.write_text("vm.swappiness = 11\n")
    result = revert(disk_of(context), "boot-1")
    assert [(left.target, left.previous) for left in result.left] == [
        (plan_files.SYSCTL_FILE, "not there")
    ]
    assert path.read_text() == "vm.swappiness = 11\n"


def test_revert_in_another_boot_leaves_live_values_and_asks_for_a_reboot(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"), UnitState("irqbalance.service", "masked")))
    result = revert(disk_of(context), "boot-2")
    assert result.left == []
    assert result.reboot_required
    assert read(machine, "/proc/sys/vm/swappiness") == "10\n"
    assert not (machine / plan_files.SYSCTL_FILE.lstrip("/")).exists()
    assert not (machine / "etc/systemd/system/irqbalance.service").is_symlink()


def test_revert_dry_run_tells_and_changes_nothing(machine: Path) -> None:
    context = make_context(machine)
    apply(context, SETTINGS)
    before = snapshot(machine)
    result = revert(disk_of(context), "boot-1", dry_run=True)
    assert {entry.target for entry in result.restored} >= {"/proc/sys/vm/swappiness", grub.DROP_IN}
    assert snapshot(machine) == before


def test_revert_without_an_apply_changes_nothing(machine: Path) -> None:
    before = snapshot(machine)
    assert revert(disk_of(make_context(machine)), "boot-1").restored == []
    assert snapshot(machine) == before


def test_revert_damaged_line_in_the_journal_is_told_and_the_rest_put_back(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"),))
    path = machine / JOURNAL.lstrip("/")
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n{broken\n" + rest)
    result = revert(disk_of(context), "boot-1")
    assert [left.target for left in result.left] == ["line 2"]
    assert read(machine, "/proc/sys/vm/swappiness") == "60\n"


def test_revert_menu_made_anew_since_is_made_once_more_without_us(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (BootParameter("nosoftlockup"),))
    menu = machine / "boot/grub/grub.cfg"
    menu.write_text(menu.read_text() + "# a kernel was installed\n")
    assert revert(disk_of(context), "boot-1").left == []
    assert "tickpath" not in menu.read_text()
    assert "gnulinux-6.1.0-50-amd64-advanced" in menu.read_text()


def test_revert_choice_that_grub_used_up_leaves_no_trace(machine: Path) -> None:
    (machine / "boot/grub/grubenv").write_text(
        "# GRUB Environment Block\nsaved_entry=x\n".ljust(1024, "#")
    )
    before = snapshot(machine)
    context = make_context(machine)
    apply(context, (BootParameter("nosoftlockup"),))
    Programs(machine).edit_environment("set", "next_entry=")  # what GRUB does as it boots
    assert revert(disk_of(context), "boot-1").left == []
    assert snapshot(machine) == before


def test_revert_choice_of_somebody_else_is_left(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (BootParameter("nosoftlockup"),))
    Programs(machine).edit_environment("set", "next_entry=memtest")
    result = revert(disk_of(context), "boot-1")
    assert [(left.target, left.now) for left in result.left] == [(grub.ENVIRONMENT, "memtest")]


def test_apply_partial_keeps_what_an_earlier_partial_wrote(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"), BootParameter("nosoftlockup")), partial=True)
    apply(context, (Sysctl("vm.stat_interval", "10"),), partial=True)
    apply(context, (Ethtool("eth0", "C", "rx-usecs", "0"),), partial=True)
    apply(context, (Ethtool("eth0", "K", "gro", "off"),), partial=True)
    kept = read(machine, plan_files.SYSCTL_FILE)
    assert "vm.swappiness = 10" in kept
    assert "vm.stat_interval = 10" in kept
    assert '"rx-usecs"' in read(machine, plan_files.BOOT_LIST)
    assert '"gro"' in read(machine, plan_files.BOOT_LIST)
    assert grub.parse_drop_in(read(machine, grub.DROP_IN)).wanted.words == ("nosoftlockup",)


def test_apply_whole_drops_from_our_files_what_is_no_longer_asked(machine: Path) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"), Sysctl("vm.stat_interval", "10")))
    apply(context, (Sysctl("vm.stat_interval", "10"),))
    assert "swappiness" not in read(machine, plan_files.SYSCTL_FILE)


def test_apply_driver_that_drops_a_value_is_told_and_not_asked_again(machine: Path) -> None:
    programs = Programs(machine, stubborn=frozenset({"rx-usecs"}))
    context = make_context(machine, programs)
    settings = (Ethtool("eth0", "C", "rx-usecs", "0"),)
    assert apply(context, settings)[0] == "kept ethtool -C eth0 rx-usecs 0"
    plan = plan_for(context, settings)
    assert plan.steps == ()
    assert "'3' is what the kernel keeps" in plan.skipped[0].why


def test_apply_kernel_that_refuses_a_value_is_told_and_the_rest_written(machine: Path) -> None:
    context = make_context(machine)
    done = apply(context, (KernelFile(THP, "sometimes"), Sysctl("vm.swappiness", "10")))
    assert f"failed echo sometimes > {THP}" in done
    assert read(machine, "/proc/sys/vm/swappiness") == "10\n"


def test_apply_what_the_kernel_lacks_is_skipped_with_the_reason(machine: Path) -> None:
    (machine / "proc/sys/vm/dirty_bytes").write_text("4096\n")
    settings: tuple[Setting, ...] = (
        Sysctl("kernel.sched_latency_ns", "1"),
        UnitState("thermald.service", "masked"),
        Sysctl("vm.dirty_ratio", "10"),
        Ethtool("eth0", "G", "rx-mini", "1"),
    )
    plan = plan_for(make_context(machine), settings)
    assert [step for step in plan.steps if step.kind != "file"] == []
    assert [each.why.split(":")[0] for each in plan.skipped] == [
        "this kernel does not have it",
        "there is no such unit",
        "/proc/sys/vm/dirty_bytes is 4096, which excludes it",
        "the driver does not report it, or ethtool is not installed",
    ]


def test_apply_value_that_a_later_file_of_another_overrides_is_told(machine: Path) -> None:
    (machine / "etc/sysctl.d/99-sysctl.conf").write_text("vm.swappiness = 30\n")
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"),))
    (skipped,) = plan_for(context, (Sysctl("vm.swappiness", "10"),)).skipped
    assert "gives '30' at boot" in skipped.why
    assert read(machine, "/etc/sysctl.d/99-sysctl.conf") == "vm.swappiness = 30\n"


def test_apply_boot_list_is_applied_again_and_finds_interrupts_by_name(machine: Path) -> None:
    context = make_context(machine)
    apply(context, SETTINGS)
    for name in ("/fake/ethtool.json", "/proc/irq/24/smp_affinity", "/proc/sys/vm/swappiness"):
        (machine / name.lstrip("/")).write_text(FILES[name])
    (machine / "sys/kernel/irq/24").rename(machine / "sys/kernel/irq/31")
    (machine / "proc/irq/24").rename(machine / "proc/irq/31")
    outcomes, skipped = apply_boot_list(context, disk_of(context))
    assert {each.status for each in outcomes} == {"written"}
    assert [each.step.target for each in outcomes] == [
        "eth0 L combined",
        "eth0 C rx-usecs",
        "eth0 K gro",
        "/proc/irq/31/smp_affinity",
    ]
    assert skipped == ()
    assert read(machine, "/proc/irq/31/smp_affinity") == "1\n"
    assert read(machine, "/proc/sys/vm/swappiness") == "60\n"


def test_apply_boot_list_that_is_not_there_names_it(machine: Path) -> None:
    context = make_context(machine)
    with pytest.raises(HostError, match="is not there"):
        apply_boot_list(context, disk_of(context))


def test_apply_journal_is_on_the_disk_before_the_write(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(machine)
    disk = disk_of(context)
    synced: dict[int, int] = {}
    seen: list[bool] = []
    journal = machine / JOURNAL.lstrip("/")

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    def store(path: Path, text: str) -> None:
        line = journal.read_bytes().splitlines()[-1]
        on_disk = synced[journal.stat().st_ino] == journal.stat().st_size
        seen.append(
            on_disk and path.name.encode() in line and journal.parent.stat().st_ino in synced
        )
        path.write_text(text)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(disk.system, "store", store)
    plan = plan_for(context, (Sysctl("vm.swappiness", "10"), Sysctl("vm.stat_interval", "10")))
    apply_steps(context, plan.steps, disk)
    assert seen == [True, True]


def test_apply_journal_in_later_boots_does_not_grow(machine: Path) -> None:
    context = make_context(machine)
    apply(context, SETTINGS)
    sizes = []
    for number in range(2, 5):
        (machine / "fake/ethtool.json").write_text(FILES["/fake/ethtool.json"])
        later = in_boot(context, f"boot-{number}")
        apply_boot_list(later, disk_of(later))
        sizes.append((machine / JOURNAL.lstrip("/")).stat().st_size)
    assert sizes[0] == sizes[1] == sizes[2]


def test_exclusive_while_another_holds_it_is_refused(machine: Path) -> None:
    host = make_context(machine).host
    with exclusive(host), pytest.raises(HostError, match="another `tickpath rt`"), exclusive(host):
        pass
    assert not (machine / LOCK.lstrip("/")).exists()


def test_apply_file_that_cannot_be_written_says_so_and_reverts(machine: Path) -> None:
    before = snapshot(machine)
    context = make_context(machine)
    disk = disk_of(context)

    def full(source: Path, target: Path) -> None:
        if target.name == "60-tickpath.conf":
            raise OSError(28, "No space left on device")
        type(disk.system).replace(disk.system, source, target)

    disk.system.replace = full  # type: ignore[method-assign]  # the disk is full from here on
    plan = plan_for(context, SETTINGS)
    with pytest.raises(HostError, match=r"60-tickpath\.conf: No space left.*rt revert"):
        apply_steps(context, plan.steps, disk)
    assert revert(disk_of(context), "boot-1").left == []
    assert snapshot(machine) == before


def test_apply_drop_in_restarts_nothing_when_it_is_there_already(machine: Path) -> None:
    path = machine / "etc/systemd/system.conf.d/60-tickpath.conf"
    path.parent.mkdir()
    path.write_text("[Manager]\n")
    setting = DropIn(
        "/etc/systemd/system.conf.d/60-tickpath.conf", "[Manager]\n", ("systemctl", "x")
    )
    assert apply(make_context(machine), (setting,)) == []
    assert not (machine / HOME.lstrip("/")).exists()


GOVERNOR = "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
HINT = "/sys/devices/system/cpu/cpufreq/policy0/energy_performance_preference"


def test_revert_value_that_another_one_blocks_is_put_back_after_it(machine: Path) -> None:
    """intel_pstate answers EBUSY to any hint but "performance" under the governor of that name."""
    for name, text in ((GOVERNOR, "powersave\n"), (HINT, "balance_performance\n")):
        path = machine / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = snapshot(machine)
    context = make_context(machine)
    apply(context, (KernelFile(GOVERNOR, "performance"), KernelFile(HINT, "performance")))
    disk = disk_of(context)

    def store(path: Path, text: str) -> None:
        blocked = read(machine, GOVERNOR).strip() == "performance" != text.strip()
        if str(path).endswith(HINT) and blocked:
            raise OSError(16, "Device or resource busy")
        path.write_text(text)

    disk.system.store = store  # type: ignore[method-assign]  # the kernel's rule
    assert revert(disk, "boot-1").left == []
    assert snapshot(machine) == before


def test_revert_value_that_the_kernel_does_not_take_back_is_left_and_told(machine: Path) -> None:
    """As nr_hugepages, of which pages are still in use."""
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"),))
    disk = disk_of(context)

    def store(path: Path, text: str) -> None:
        path.write_text(text.replace("60", "33"))

    disk.system.store = store  # type: ignore[method-assign]  # takes less than it is given
    (left,) = revert(disk, "boot-1").left
    assert (left.target, left.previous) == ("/proc/sys/vm/swappiness", "60")
    assert [entry.target for entry in read_journal(context.host).open_entries] == [left.target]


def test_revert_affinity_that_the_first_process_keeps_asks_for_a_reboot(machine: Path) -> None:
    """systemd sets its own mask by CPUAffinity=, and leaves it alone once the line is gone."""
    setting = DropIn(AFFINITY_PATH, "[Manager]\nCPUAffinity=0\n", ("systemctl", "daemon-reexec"))
    online = machine / "sys/devices/system/cpu/online"
    online.parent.mkdir(parents=True, exist_ok=True)
    online.write_text("0-3\n")
    status = machine / "proc/1/status"
    status.parent.mkdir()
    for allowed, expected in (("0-1", True), ("0-3", False)):
        context = make_context(machine)
        apply(context, (setting,))
        status.write_text(f"Name:\tsystemd\nCpus_allowed_list:\t{allowed}\n")
        result = revert(disk_of(context), "boot-1")
        assert (result.left, result.reboot_required) == ([], expected)


def test_apply_link_beside_a_file_of_ours_is_not_followed(machine: Path) -> None:
    """Where a whole file is prepared, a link to another's file must not lead the write there."""
    other = machine / "etc/passwd"
    other.write_text("root:x:0:0\n")
    beside = machine / (plan_files.SYSCTL_FILE + BESIDE).lstrip("/")
    beside.symlink_to(other)
    with pytest.raises(HostError, match="symbolic link"):
        apply(make_context(machine), (Sysctl("vm.swappiness", "10"),))
    assert other.read_text() == "root:x:0:0\n"


@pytest.mark.parametrize("name", ["/var/lib/tickpath", HOME, JOURNAL])
@pytest.mark.parametrize("planted", ["link", "writable"])
def test_revert_journal_that_others_may_write_is_refused(
    machine: Path, name: str, planted: str
) -> None:
    context = make_context(machine)
    apply(context, (Sysctl("vm.swappiness", "10"),))
    path = machine / name.lstrip("/")
    if planted == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    else:
        path.chmod(path.stat().st_mode | 0o020)
    before = snapshot(machine)
    with pytest.raises(HostError, match="another user than root may write there"):
        revert(disk_of(context), "boot-1")
    with pytest.raises(HostError, match="another user than root may write there"):
        apply(context, (Sysctl("vm.stat_interval", "10"),))
    assert snapshot(machine) == before


UNITS = (UnitState("irqbalance.service", "masked"), UnitState("fstrim.timer", "masked"))


def watched(machine: Path, broken: tuple[str, ...] = ()) -> tuple[Context, list[tuple[str, ...]]]:
    """Note what changes units; words in broken fail every command that has all of them."""
    programs = Programs(machine)
    changes: list[tuple[str, ...]] = []

    def run(argv: Sequence[str]) -> Output:
        if argv[1] not in {"show", "is-enabled", "is-active"}:
            changes.append(tuple(argv[1:]))
        if broken and set(broken) <= set(argv):
            return Output(1, "", "Access denied\n")
        return programs(argv)

    context = make_context(machine)
    return replace(context, host=replace(context.host, run=run)), changes


def test_units_are_changed_together_and_put_back_together(machine: Path) -> None:
    before = snapshot(machine)
    context, changes = watched(machine)
    apply(context, UNITS)
    assert changes == [("mask", "--now", "irqbalance.service", "fstrim.timer")]
    changes.clear()
    result = revert(disk_of(context), "boot-1")
    assert [entry.target for entry in result.restored] == ["fstrim.timer", "irqbalance.service"]
    back = ("fstrim.timer", "irqbalance.service")
    assert changes == [("unmask", *back), ("start", *back)]
    assert snapshot(machine) == before


def test_units_all_journaled_before_the_first_is_changed(machine: Path) -> None:
    context, _ = watched(machine)
    programs = context.host.run
    open_then: list[list[str]] = []

    def run(argv: Sequence[str]) -> Output:
        if argv[1] == "mask":
            entries = read_journal(make_context(machine).host).open_entries
            open_then.append([f"{one.target} {one.previous}" for one in entries])
        return programs(argv)

    apply(replace(context, host=replace(context.host, run=run)), UNITS)
    assert open_then == [["irqbalance.service enabled active", "fstrim.timer enabled active"]]


def test_unit_that_cannot_be_masked_keeps_no_other(machine: Path) -> None:
    context, _ = watched(machine, ("mask", "irqbalance.service"))
    plan = plan_for(context, UNITS)
    outcomes = apply_steps(context, plan.steps, disk_of(context))
    assert [(each.status, each.told) for each in outcomes] == [
        ("failed", "Access denied"),
        ("written", ""),
    ]


def test_unit_that_does_not_come_back_keeps_no_other(machine: Path) -> None:
    apply(make_context(machine), UNITS)
    context, _ = watched(machine, ("unmask", "irqbalance.service"))
    result = revert(disk_of(context), "boot-1")
    assert [entry.target for entry in result.restored] == ["fstrim.timer"]
    (left,) = result.left
    assert (left.target, left.why) == ("irqbalance.service", "systemctl did not bring it back")


def test_unit_masked_twice_is_judged_by_what_the_later_one_left(machine: Path) -> None:
    context, _ = watched(machine)
    apply(context, UNITS)
    context.host.run(("systemctl", "unmask", "fstrim.timer"))
    units = machine / "fake/units.json"
    units.write_text(
        units.read_text().replace('"fstrim.timer": ["enabled"', '"fstrim.timer": ["x"')
    )
    apply(context, UNITS)
    result = revert(disk_of(context), "boot-1")
    told = [(entry.target, entry.previous) for entry in result.restored]
    assert told == [("fstrim.timer", "x inactive"), ("irqbalance.service", "enabled active")]
    assert [(left.now, left.previous) for left in result.left] == [("x inactive", "enabled active")]
