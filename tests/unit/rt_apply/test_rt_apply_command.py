"""`tickpath rt plan | apply | revert | promote` as they are called: options, output, statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tickpath.rt.command import main
from tickpath.rt.errors import HostError
from tickpath.rt.host import Host, Output, run_command
from tickpath.rt.tuning import apply_command, promote_command, revert_command
from tickpath.rt.tuning.journal import HOME, exclusive
from tickpath.rt.tuning.plan import Plan
from tickpath.rt.tuning.plan_files import DAEMON_REEXEC, DAEMON_RELOAD, SERVICE_FILE
from tickpath.rt.tuning.plan_step import Step
from tickpath.rt.tuning.promote import promotion_steps

from tests.unit.rt_apply.machine import STOCK, THP, FakeSystem, Programs, build, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tickpath.rt.item import Context

CPUS = {
    "/sys/devices/system/cpu/online": "0-3\n",
    "/proc/sys/kernel/osrelease": f"{STOCK}\n",
    "/proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1\n",
    "/proc/sys/kernel/random/boot_id": "boot-1\n",
    "/proc/cpuinfo": "flags\t\t: fpu hypervisor\n",
    "/proc/interrupts": "           CPU0       CPU1       CPU2       CPU3\n",
}
ONLY = ("--only", "vm.swappiness,vm.stat_interval,mem.ksm,cmd.isolcpus,cmd.skew_tick")


@pytest.fixture
def host(tmp_path: Path, quick_disk: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that `--root` names, with programs, seen as root."""
    root = build(tmp_path / "machine", CPUS)
    made = Host(root, Programs(root))
    for module in ("plan_request", "apply_command", "revert_command", "promote_command"):
        monkeypatch.setattr(f"tickpath.rt.tuning.{module}.make_host", lambda _: made)
    for module in ("apply_command", "revert_command", "promote_command"):
        monkeypatch.setattr(f"tickpath.rt.tuning.{module}.System", FakeSystem)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return root


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(capsys.readouterr().out)
    return loaded


def test_plan_json_has_the_exact_writes_and_writes_none(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(host)
    assert main(["plan", *ONLY, "--json"]) == 0
    plan = told(capsys)
    writes = plan["writes"]
    assert isinstance(writes, list)
    first = next(row for row in writes if row["target"] == "/proc/sys/vm/swappiness")
    assert first["command"] == "echo 10 > /proc/sys/vm/swappiness"
    assert (first["before"], first["after"], first["effect"]) == ("60", "10", "now")
    assert {row["effect"] for row in writes} == {"now", "reboot"}
    assert plan["reboot_required"] is True
    assert plan["refused"] == []
    assert snapshot(host) == before


def test_plan_table_shows_commands_diffs_and_the_reboot(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *ONLY]) == 0
    out = capsys.readouterr().out
    assert "echo 10 > /proc/sys/vm/swappiness    # now: 60; kept in /etc/sysctl.d" in out
    assert "    +vm.swappiness = 10" in out
    assert "grub-reboot tickpath-trial" in out
    assert "A reboot is needed" in out


def test_apply_json_tells_what_was_done_then_nothing(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(host)
    assert main(["plan", *ONLY, "--json"]) == 0
    planned = told(capsys)["writes"]
    assert main(["apply", *ONLY, "--json"]) == 0
    done = told(capsys)["writes"]
    assert isinstance(planned, list)
    assert isinstance(done, list)
    assert [row["command"] for row in done] == [row["command"] for row in planned]
    assert main(["apply", *ONLY, "--json"]) == 0
    second = told(capsys)
    assert second["writes"] == []
    assert second["reboot_required"] is True
    assert main(["revert", "--json"]) == 0
    reverted = told(capsys)
    assert reverted["refused"] == []
    assert snapshot(host) == before


def test_apply_whole_catalogue_then_revert_restores_every_byte(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(host)
    assert main(["apply", "--json", "--profile", "metal-irq", "--huge-pages", "64"]) == 0
    done = told(capsys)
    writes = done["writes"]
    assert isinstance(writes, list)
    assert len(writes) > 15
    assert done["not_taken"] == []
    assert main(["apply", "--json"]) == 0
    assert told(capsys)["writes"] == []
    assert main(["revert", "--json"]) == 0
    assert told(capsys)["refused"] == []
    assert snapshot(host) == before


def recorded(host: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Give the machine an interface and note each command that is run on it."""
    (host / "sys/class/net/eth0/device").mkdir()
    programs = Programs(host)
    asked: list[tuple[str, ...]] = []

    def run(argv: Sequence[str]) -> Output:
        asked.append(tuple(argv))
        return programs(argv)

    for module in ("plan_request", "apply_command", "revert_command"):
        made = Host(host, run)
        monkeypatch.setattr(f"tickpath.rt.tuning.{module}.make_host", lambda _, made=made: made)
    return asked


def test_plan_runs_no_command_twice(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recorded(host, monkeypatch)
    assert main(["plan", "--profile", "metal-irq", "--nic", "eth0"]) == 0
    assert len(asked) == len(set(asked))
    assert ("ethtool", "--json", "-c", "eth0") in asked
    assert [argv[4:] for argv in asked if argv[0] == "systemctl"] == [
        ("irqbalance.service", "fstrim.timer")
    ]


def test_apply_asks_anew_what_it_has_written(
    host: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What planning remembers is of before the writes."""
    asked = recorded(host, monkeypatch)
    words = ("--profile", "metal-irq", "--nic", "eth0", "--only", "network,services", "--json")
    assert main(["apply", *words]) == 0
    done = told(capsys)
    assert done["not_taken"] == []
    writes = done["writes"]
    assert isinstance(writes, list)
    assert {"ethtool", "unit"} <= {row["kind"] for row in writes}
    last_write = max(at for at, argv in enumerate(asked) if argv[:2] == ("ethtool", "-C"))
    assert ("ethtool", "--json", "-c", "eth0") in asked[last_write:]
    assert main(["apply", *words]) == 0
    assert told(capsys)["writes"] == []


def test_apply_and_revert_have_systemd_read_its_files_once(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drop-in of systemd asks for a daemon-reexec, the boot service for a daemon-reload."""
    asked = recorded(host, monkeypatch)
    for words in (["apply", "--profile", "metal-irq", "--nic", "eth0"], ["revert"]):
        asked.clear()
        assert main(words) == 0
        assert [argv for argv in asked if argv in (DAEMON_RELOAD, DAEMON_REEXEC)] == [DAEMON_REEXEC]


def test_apply_dry_run_writes_nothing(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(host)
    assert main(["apply", *ONLY, "--dry-run"]) == 0
    assert "echo 10 > /proc/sys/vm/swappiness" in capsys.readouterr().out
    assert snapshot(host) == before


def test_apply_not_root_is_refused_before_the_first_write(
    host: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(host)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["apply", *ONLY]) == 3
    assert "user 1000 may not write" in capsys.readouterr().err
    assert main(["revert"]) == 3
    assert main(["apply", "--isolated", "0-3"]) == 2
    assert "all of this machine" in capsys.readouterr().err
    assert snapshot(host) == before


@pytest.mark.parametrize("isolated", ["0", "0-3", "1,,2", "2-x", "9"])
def test_apply_bad_isolation_is_refused_with_status_2(
    host: Path, isolated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(host)
    assert main(["apply", "--isolated", isolated]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert snapshot(host) == before


def test_revert_with_something_left_says_both_values_with_status_1(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "--only", "vm.swappiness"]) == 0
    (host / "proc/sys/vm/swappiness").write_text("44\n")
    capsys.readouterr()
    assert main(["revert"]) == revert_command.EXIT_LEFT
    out = capsys.readouterr().out
    assert "/proc/sys/vm/swappiness: left as it is" in out
    assert "now '44', before '60'" in out
    assert "/etc/sysctl.d/60-tickpath.conf: restored" in out


def test_promote_before_the_trial_is_told_with_status_2(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "--only", "cmd.isolcpus"]) == 0
    assert main(["promote", "--json"]) == 2
    assert "not booted yet" in capsys.readouterr().err


def boot_the_trial(host: Path) -> None:
    """Put a line on trial, and be the boot that runs by it."""
    assert main(["apply", "--only", "cmd.isolcpus", "--isolated", "2-3"]) == 0
    drop_in = (host / "etc/default/grub.d/60-tickpath.cfg").read_text()
    words = drop_in.partition("TICKPATH_TRIAL='")[2].partition("'")[0]
    (host / "proc/cmdline").write_text(f"ro {words} tickpath.boot=trial panic=10\n")
    (host / "sys/devices/system/cpu/isolated").write_text("2-3\n")
    (host / "sys/kernel/realtime").write_text("1\n")


def test_promote_in_the_trial_makes_it_last(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boot_the_trial(host)
    capsys.readouterr()
    before = snapshot(host)
    assert main(["promote", "--dry-run", "--json"]) == 0
    assert told(capsys)["promoted"] is False
    assert snapshot(host) == before
    assert main(["promote", "--json"]) == 0
    assert told(capsys)["promoted"] is True
    assert "GRUB_DEFAULT=tickpath\n" in (host / "etc/default/grub.d/60-tickpath.cfg").read_text()


def test_promote_plans_while_no_other_may_write(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its plan and its writes an apply could put another line on trial."""
    boot_the_trial(host)
    real = promotion_steps

    def plan(context: Context) -> list[Step]:
        with pytest.raises(HostError, match="another `tickpath rt`"), exclusive(context.host):
            pass
        return real(context)

    monkeypatch.setattr(promote_command, "promotion_steps", plan)
    assert main(["promote", "--json"]) == 0


def test_promote_not_root_is_refused_after_the_check(
    host: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_the_trial(host)
    before = snapshot(host)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["promote"]) == 3
    assert "user 1000 may not write" in capsys.readouterr().err
    (host / "proc/cmdline").write_text("ro\n")
    assert main(["promote"]) == 2
    (host / "proc/cmdline").write_bytes(before["/proc/cmdline"][1])  # type: ignore[arg-type]  # its bytes
    assert snapshot(host) == before


def test_apply_boot_without_a_list_is_told_with_status_3(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "--boot"]) == 3
    assert "rt-boot.json is not there" in capsys.readouterr().err


def test_plan_of_a_tree_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    root = build(tmp_path / "machine", CPUS)
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "tickpath.rt",
            "plan",
            "--root",
            str(root),
            "--only",
            "mem.thp",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"echo never > {THP}" in done.stdout
    assert not (root / HOME.lstrip("/")).exists()


@pytest.mark.parametrize("module", [apply_command, promote_command, revert_command])
def test_help_has_an_example(module: object, capsys: pytest.CaptureFixture[str]) -> None:
    name = getattr(module, "__name__", "").rpartition(".")[2].removesuffix("_command")
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "example: tickpath rt" in capsys.readouterr().out


def test_run_command_slow_one_has_its_own_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickpath.rt.host.COMMAND_TIMEOUT_S", 0.05)
    assert run_command(("sleep", "0.5")).status == 124
    monkeypatch.setattr("tickpath.rt.host.SLOW_COMMANDS_S", {"sleep": 60})
    assert run_command(("sleep", "0.5")).status == 0


def kept_profile(host: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((host / "etc/tickpath/rt-profile.json").read_text())
    return loaded


def test_apply_takes_back_what_was_asked_for_before(host: Path) -> None:
    """Without --profile the rest of what was asked stays."""
    asked = ("--mitigations-off", "--idle-poll", "--huge-pages", "64", "--isolated", "3")
    assert main(["apply", "--only", "process", "--profile", "cloud", *asked]) == 0
    assert kept_profile(host)["mitigations_off"] is True
    again = ("--no-mitigations-off", "--huge-pages", "0")
    assert main(["apply", "--only", "process", *again]) == 0
    kept = kept_profile(host)
    assert (kept["mitigations_off"], kept["huge_pages_2m"]) == (False, 0)
    assert (kept["idle_poll"], kept["isolated"]) == (True, [3])


def test_apply_boot_service_of_a_program_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bundle was started from a download: after a boot nothing would be there to start."""
    bundle = tmp_path / "tickpath-rt.pyz"
    monkeypatch.setattr("tickpath.rt.tuning.plan.INSTALLED_BUNDLE", str(bundle))
    monkeypatch.setattr(sys, "argv", ["/root/tickpath-rt.pyz", "apply"])
    step = Step("file", SERVICE_FILE, None, "", "nic.coalesce")
    with pytest.raises(HostError, match="it is not there: put this program there first"):
        apply_command.refuse_service(Host(), Plan((step,), ()))
    apply_command.refuse_service(Host(), Plan((replace(step, target="/etc/sysctl.d/x"),), ()))
    bundle.touch()
    apply_command.refuse_service(Host(), Plan((step,), ()))
