"""A command line on trial: our entry, one boot, the fall back, and what makes it last."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.host import Output
from tickpath.rt.setting import BootParameter, Sysctl
from tickpath.rt.tuning import grub
from tickpath.rt.tuning.apply import apply_steps
from tickpath.rt.tuning.grub import Line, Lines
from tickpath.rt.tuning.promote import promotion_steps
from tickpath.rt.tuning.revert import revert

from tests.unit.rt_apply.machine import (
    RT,
    STOCK,
    Programs,
    disk_of,
    make_context,
    plan_for,
    snapshot,
    with_rt_kernel,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tickpath.rt.item import Context

WORDS = (BootParameter("isolcpus", "2-3"), BootParameter("nosoftlockup"))
OTHER = (BootParameter("isolcpus", "3"),)
LINES = st.builds(
    Line,
    st.lists(
        st.from_regex(r"[a-z._-]{1,9}(=[a-z0-9,-]{1,9}|=\"[a-z ]{1,5}\")?", fullmatch=True)
    ).map(tuple),
    st.sampled_from(["rt", "stock"]),
)


def apply(context: Context, settings: tuple[BootParameter | Sysctl, ...]) -> None:
    plan = plan_for(context, settings)
    assert not plan.refusals, plan.refusals
    apply_steps(context, plan.steps, disk_of(context))


def menu(root: Path) -> str:
    return (root / "boot/grub/grub.cfg").read_text()


def boot(root: Path, isolated: str = "2-3") -> Context:
    """Do as GRUB does: take the entry chosen for once, forget it; the kernel tells its line."""
    environment = root / "boot/grub/grubenv"
    chosen = grub.next_entry(environment.read_bytes()) if environment.exists() else None
    if chosen:
        Programs(root).edit_environment("set", "next_entry=")
    drop_in = root / grub.DROP_IN.lstrip("/")
    lasting = "GRUB_DEFAULT=tickpath\n" in (drop_in.read_text() if drop_in.exists() else "")
    entry = chosen or ("tickpath" if lasting else f"gnulinux-{STOCK}-advanced-1111")
    if not chosen and not lasting and "set default=tickpath-fallback" in menu(root):
        entry = "tickpath-fallback"
    words = grub.entry_words(menu(root), entry)
    assert words is not None, entry
    (root / "proc/cmdline").write_text(" ".join(words[1:]) + "\n")
    path = root / "sys/devices/system/cpu/isolated"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(isolated + "\n" if "isolcpus" in " ".join(words) else "\n")
    context = make_context(root)
    release = words[1].rpartition("vmlinuz-")[2]
    return replace(
        context, topology=replace(context.topology, release=release, is_rt="-rt-" in release)
    )


def entry_of(context: Context) -> str | None:
    return grub.booted_entry(context.topology.command_line)


@given(st.none() | LINES, st.none() | LINES)
def test_parse_drop_in_of_what_was_written_is_the_same(
    trial: Line | None, lasting: Line | None
) -> None:
    text = grub.format_drop_in(Lines(trial, lasting), STOCK)
    assert grub.parse_drop_in(text) == Lines(trial, lasting)


@given(st.text())
def test_parse_drop_in_any_text_is_borne(text: str) -> None:
    grub.parse_drop_in(text)
    grub.parse_fallback(text)
    grub.next_entry(text.encode(errors="replace"))
    grub.entry_words(text, "tickpath")


def test_apply_new_line_boots_once_then_falls_back_by_itself(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    trial = boot(machine)
    assert entry_of(trial) == "trial"
    assert {"isolcpus=2-3", "nosoftlockup", "panic=10", "quiet"} <= set(
        trial.topology.command_line.split()
    )
    again = boot(machine)
    assert entry_of(again) is None
    assert "isolcpus" not in again.topology.command_line
    with pytest.raises(RequestError, match="fell back by itself"):
        promotion_steps(again)


def test_promote_after_the_trial_makes_it_last(machine: Path) -> None:
    before = snapshot(machine)
    apply(make_context(machine), WORDS)
    trial = boot(machine)
    steps = promotion_steps(trial)
    apply_steps(trial, steps, disk_of(trial))
    assert "tickpath-trial" not in menu(machine)
    for _ in range(2):
        context = boot(machine)
        assert entry_of(context) == "lasting"
        assert "panic=10" not in context.topology.command_line
        assert promotion_steps(context) == []
        assert plan_for(context, WORDS).steps == ()
    result = revert(disk_of(context), "boot-2")
    assert result.left == []
    assert result.reboot_required
    (machine / "proc/cmdline").write_bytes(before["/proc/cmdline"][1])  # type: ignore[arg-type]  # its bytes
    (machine / "sys/devices/system/cpu/isolated").unlink()
    for folder in ("sys/devices/system/cpu", "sys/devices/system"):
        (machine / folder).rmdir()
    assert snapshot(machine) == before


def test_apply_changed_line_leaves_the_lasting_one_as_the_way_back(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    trial = boot(machine)
    apply_steps(trial, promotion_steps(trial), disk_of(trial))
    lasting = boot(machine)
    apply(lasting, OTHER)
    trial = boot(machine, "3")
    assert "isolcpus=3" in trial.topology.command_line
    assert entry_of(boot(machine)) == "lasting"
    assert "isolcpus=2-3" in boot(machine).topology.command_line


def test_apply_second_time_before_the_reboot_writes_nothing(machine: Path) -> None:
    context = make_context(machine)
    apply(context, WORDS)
    assert plan_for(context, WORDS).steps == ()


def test_apply_after_a_trial_that_failed_chooses_it_once_more(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    boot(machine)
    fallen_back = boot(machine)
    (step,) = plan_for(fallen_back, WORDS).steps
    assert (step.kind, step.after) == ("grub-next", "tickpath-trial")


def test_apply_while_the_trial_runs_writes_nothing(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    assert plan_for(boot(machine), WORDS).steps == ()


def test_apply_without_words_after_a_promotion_ends_it(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    trial = boot(machine)
    apply_steps(trial, promotion_steps(trial), disk_of(trial))
    apply(boot(machine), (Sysctl("vm.swappiness", "10"),))
    assert entry_of(boot(machine)) is None
    assert plan_for(boot(machine), (Sysctl("vm.swappiness", "10"),)).steps == ()


def test_apply_rt_kernel_that_heads_the_menu_is_not_booted_by_default(machine: Path) -> None:
    context = with_rt_kernel(make_context(machine))
    apply(context, WORDS)
    trial = boot(machine)
    assert trial.topology.release == RT
    fallen_back = boot(machine)
    assert fallen_back.topology.release == STOCK
    assert "tickpath-fallback" in menu(machine)


def test_apply_stock_profile_takes_the_stock_kernel(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    assert boot(machine).topology.release == STOCK


def test_apply_word_that_the_hosts_own_line_has_is_left_to_it(machine: Path) -> None:
    (machine / "etc/default/grub").write_text('GRUB_CMDLINE_LINUX="nosoftlockup quiet"\n')
    plan = plan_for(make_context(machine), WORDS)
    drop_in = next(step for step in plan.steps if step.target == grub.DROP_IN)
    assert grub.parse_drop_in(drop_in.after).wanted.words == ("isolcpus=2-3",)


def test_apply_menu_without_our_entry_is_refused_and_reverts(machine: Path) -> None:
    (machine / "etc/grub.d/10_linux").write_text("#!/bin/sh\n")
    before = snapshot(machine)
    context = make_context(machine)
    plan = plan_for(context, WORDS)
    with pytest.raises(HostError, match="made no entry 'tickpath-trial'"):
        apply_steps(context, plan.steps, disk_of(context))
    assert revert(disk_of(context), "boot-1").left == []
    assert snapshot(machine) == before


def test_apply_menu_with_a_wrong_line_keeps_the_old_one(machine: Path) -> None:
    before = snapshot(machine)
    programs = Programs(machine, answers={"grub-script-check": Output(1, "", "syntax error")})
    context = make_context(machine, programs)
    plan = plan_for(context, WORDS)
    with pytest.raises(HostError, match="grub-script-check: syntax error"):
        apply_steps(context, plan.steps, disk_of(context))
    assert menu(machine).encode() == before["/boot/grub/grub.cfg"][1]
    assert revert(disk_of(context), "boot-1").left == []
    assert snapshot(machine) == before


def test_promote_where_a_later_file_sets_another_default_says_so(machine: Path) -> None:
    (machine / "etc/default/grub.d").mkdir()
    (machine / "etc/default/grub.d/90-mine.cfg").write_text("GRUB_DEFAULT=2\n")
    apply(make_context(machine), WORDS)
    trial = boot(machine)
    steps = promotion_steps(trial)
    with pytest.raises(HostError, match=r"a later file of /etc/default/grub\.d sets"):
        apply_steps(trial, steps, disk_of(trial))


def test_promote_before_the_reboot_says_so(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    with pytest.raises(RequestError, match="was not booted yet: reboot"):
        promotion_steps(make_context(machine))


def test_promote_without_an_apply_says_so(machine: Path) -> None:
    with pytest.raises(RequestError, match="nothing is on trial"):
        promotion_steps(make_context(machine))


def test_promote_trial_that_does_not_hold_says_what(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    trial = boot(machine, "3")
    programs = Programs(
        machine,
        answers={
            "dmesg": Output(
                0,
                'Unknown kernel command line parameters "x="a b" nosoftlockup splash", will be',
                "",
            )
        },
    )
    trial = replace(trial, host=replace(trial.host, run=programs))
    with pytest.raises(RequestError, match="reads '3', and isolcpus=2-3") as caught:
        promotion_steps(trial)
    assert "this kernel does not know nosoftlockup." in str(caught.value)


def test_promote_lasting_line_that_another_default_hides_says_so(machine: Path) -> None:
    apply(make_context(machine), WORDS)
    trial = boot(machine)
    apply_steps(trial, promotion_steps(trial), disk_of(trial))
    (machine / "proc/cmdline").write_text("root=UUID=1 ro\n")
    elsewhere = make_context(machine)
    with pytest.raises(RequestError, match="another GRUB_DEFAULT"):
        promotion_steps(elsewhere)


def test_revert_tells_of_the_rt_kernel_that_heads_the_menu_now(machine: Path) -> None:
    apply(with_rt_kernel(make_context(machine)), WORDS)
    context = boot(machine)
    notes = revert(disk_of(context), "boot-2").notes
    assert any(f"/boot/vmlinuz-{RT} stays installed" in note for note in notes)


def test_promote_trial_that_lacks_words_or_the_kernel_is_refused(machine: Path) -> None:
    apply(with_rt_kernel(make_context(machine)), WORDS)
    trial = boot(machine)
    words = trial.topology.command_line.replace("nosoftlockup ", "")
    for changes, told in (
        ({"command_line": words}, "/proc/cmdline lacks nosoftlockup"),
        ({"is_rt": False, "release": STOCK}, f"{STOCK} is no RT kernel"),
    ):
        other = replace(trial, topology=replace(trial.topology, **changes))
        with pytest.raises(RequestError, match="the trial is not promoted") as caught:
            promotion_steps(other)
        assert told in str(caught.value)
