"""apply;revert is the identity on random machines and settings, also with somebody in between."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tickpath.rt.setting import (
    BootParameter,
    DropIn,
    Ethtool,
    KernelFile,
    Setting,
    Sysctl,
    UnitState,
)
from tickpath.rt.tuning import grub, plan_files
from tickpath.rt.tuning.apply import apply_steps
from tickpath.rt.tuning.revert import revert

from tests.unit.rt_apply.machine import (
    THP,
    Programs,
    build,
    disk_of,
    make_context,
    plan_for,
    snapshot,
    with_rt_kernel,
)

NUMBERS = st.integers(-1, 10_000).map(str)
OURS = (
    plan_files.SYSCTL_FILE,
    plan_files.TMPFILES_FILE,
    plan_files.BOOT_LIST,
    plan_files.SERVICE_FILE,
    grub.DROP_IN,
    "/etc/security/limits.d/60-tickpath.conf",
)


def sysctls() -> st.SearchStrategy[Setting]:
    names = st.sampled_from(["vm.swappiness", "vm.stat_interval", "kernel.sched_rt_runtime_us"])
    return st.builds(Sysctl, names, NUMBERS)


def kernel_files() -> st.SearchStrategy[Setting]:
    masks = st.sampled_from(["1", "3", "f", "00000003"])
    return st.one_of(
        st.builds(KernelFile, st.just(THP), st.sampled_from(["always", "madvise", "never"])),
        st.builds(KernelFile, st.just("/sys/devices/virtual/workqueue/cpumask"), masks),
        st.builds(KernelFile, st.just("/proc/irq/24/smp_affinity"), masks),
        st.builds(KernelFile, st.just("/sys/kernel/mm/ksm/run"), st.sampled_from("012")),
    )


def ethtools() -> st.SearchStrategy[Setting]:
    return st.one_of(
        st.builds(Ethtool, st.just("eth0"), st.just("C"), st.just("rx-usecs"), NUMBERS),
        st.builds(Ethtool, st.just("eth0"), st.just("L"), st.just("combined"), NUMBERS),
        st.builds(
            Ethtool, st.just("eth0"), st.just("K"), st.just("gro"), st.sampled_from(["on", "off"])
        ),
    )


def others() -> st.SearchStrategy[Setting]:
    text = st.text(st.characters(codec="utf-8"), max_size=40)
    return st.one_of(
        st.just(UnitState("irqbalance.service", "masked")),
        st.just(UnitState("fstrim.timer", "masked")),
        st.builds(DropIn, st.just("/etc/security/limits.d/60-tickpath.conf"), text),
        st.builds(DropIn, st.just("/etc/deep/er/60-tickpath.conf"), text),
        st.sampled_from(
            [
                BootParameter("isolcpus", "1-3"),
                BootParameter("nohz_full", "2"),
                BootParameter("skew_tick", "1"),
                BootParameter("nosoftlockup"),
            ]
        ),
    )


def name_of(setting: Setting) -> str:
    match setting:
        case Sysctl() | KernelFile() | DropIn():
            return setting.path
        case Ethtool():
            return setting.group + setting.name
        case UnitState():
            return setting.unit
        case BootParameter():
            return setting.name


SETTING_LISTS = st.lists(
    st.one_of(sysctls(), kernel_files(), ethtools(), others()), max_size=12, unique_by=name_of
)
EARLIER = st.dictionaries(
    st.sampled_from(OURS),
    st.tuples(st.binary(max_size=60), st.sampled_from([0o600, 0o640, 0o644])),
    max_size=3,
)


def plant(root: Path, earlier: dict[str, tuple[bytes, int]]) -> None:
    for name, (data, mode) in earlier.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    Programs(root).read_units(begins_anew=True)


class Scratch:
    """A machine for one example, gone at its end."""

    def __enter__(self) -> Path:
        self.folder = Path(tempfile.mkdtemp(prefix="rtapply"))
        return build(self.folder / "machine")

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


def run_apply(root: Path, wanted: list[Setting], partial: bool, rt: bool) -> None:
    context = make_context(root)
    context = with_rt_kernel(context) if rt else context
    plan = plan_for(context, wanted, partial)
    assert not plan.refusals, plan.refusals
    apply_steps(context, plan.steps, disk_of(context))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    EARLIER,
    st.lists(st.tuples(SETTING_LISTS, st.booleans(), st.booleans()), min_size=1, max_size=3),
)
@pytest.mark.slow
def test_apply_then_revert_is_the_identity(
    earlier: dict[str, tuple[bytes, int]], rounds: list[tuple[list[Setting], bool, bool]]
) -> None:
    with Scratch() as root, mock.patch.object(os, "fsync"):
        plant(root, earlier)
        before = snapshot(root)
        for wanted, partial, rt in rounds:
            run_apply(root, wanted, partial, rt)
        result = revert(disk_of(make_context(root)), "boot-1")
        assert result.left == []
        assert snapshot(root) == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EARLIER, SETTING_LISTS, st.booleans())
def test_apply_twice_writes_once(
    earlier: dict[str, tuple[bytes, int]], wanted: list[Setting], partial: bool
) -> None:
    with Scratch() as root, mock.patch.object(os, "fsync"):
        plant(root, earlier)
        run_apply(root, wanted, partial, False)
        context = make_context(root)
        assert plan_for(context, wanted, partial).steps == ()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SETTING_LISTS, st.data())
@pytest.mark.slow
def test_revert_leaves_just_what_somebody_changed(
    wanted: list[Setting], data: st.DataObject
) -> None:
    with Scratch() as root, mock.patch.object(os, "fsync"):
        before = snapshot(root)
        run_apply(root, wanted, False, False)
        after = snapshot(root)
        touched = [
            name
            for name in sorted(after)
            if after[name] != before.get(name)
            and after[name][0] == "file"
            and name.startswith(("/proc/sys/", "/etc/"))
        ]
        changed = data.draw(st.sets(st.sampled_from(touched)) if touched else st.just(set[str]()))
        for name in changed:
            (root / name.lstrip("/")).write_bytes(b"77777\n")
        result = revert(disk_of(make_context(root)), "boot-1")
        final = snapshot(root)
        assert {left.target for left in result.left if left.kind != "folder"} == changed
        for name in changed:
            assert final[name][1] == b"77777\n"
        still = {name for name in final if name not in before or final[name] != before[name]}
        above = {str(parent) for name in changed for parent in Path(name).parents}
        journal = {name for name in still if name.startswith("/var/lib/tickpath")}
        known = {"/fake/known.json"}  # what is left is known to systemd too
        assert still - changed - above - journal - known == set()
