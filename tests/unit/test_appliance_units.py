"""The systemd units: judged by systemd's own tools, and held to what the processes need."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tickpath.engine.cli import COMMANDS
from tickpath.rt.process import FIFO_PRIORITY_MAX
from tickpath.rt.tuning.plan_files import SERVICE

FILES = Path(__file__).resolve().parents[2] / "ansible/roles/appliance/files"
SERVICES = ("tickpath-feed-handler@.service", "tickpath-strategy@.service")
EXPOSURE_MAX = 3.0
LEVEL = re.compile(r"Overall exposure level for \S+: (?P<level>[\d.]+) ")


def settings(name: str) -> dict[str, list[str]]:
    """Return each key's values, in order."""
    found: dict[str, list[str]] = {}
    for line in (FILES / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.needs("systemd_analyze")
@pytest.mark.parametrize("name", SERVICES)
def test_unit_exposure_is_below_three(tmp_path: Path, name: str) -> None:
    unit = shutil.copy(FILES / name, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    (level,) = LEVEL.findall(done.stdout)
    assert float(level) < EXPOSURE_MAX


@pytest.mark.needs("systemd_analyze")
def test_units_have_no_key_or_value_that_systemd_does_not_know(tmp_path: Path) -> None:
    """Only the command is missing here: it is installed on the machines that run it."""
    units = [shutil.copy(path, tmp_path) for path in FILES.glob("*.*") if unit_file(path)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if str(tmp_path) in line or "tickpath" in line
        if "/opt/tickpath/current/bin/tickpath is not executable" not in line
    ]
    assert complaints == []


def unit_file(path: Path) -> bool:
    return path.name.startswith("tickpath") and path.suffix in {".service", ".target", ".slice"}


@pytest.mark.parametrize("name", SERVICES)
def test_unit_may_be_real_time_below_the_interrupts_and_is_fed_by_a_heartbeat(name: str) -> None:
    found = settings(name)
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) > 0
    # Who is real-time takes that itself: imports at FIFO starved a guest's housekeeping CPU.
    assert found["CPUSchedulingPolicy"] == ["other"]
    assert int(found["LimitRTPRIO"][0]) == FIFO_PRIORITY_MAX
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    # Ambient capabilities beyond the bounding set would never arrive.
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"]


@pytest.mark.parametrize("name", SERVICES)
def test_unit_runs_a_command_that_exists(name: str) -> None:
    (line,) = settings(name)["ExecStart"]
    program, command = line.split()[:2]
    assert program == "/opt/tickpath/current/bin/tickpath"
    assert command in COMMANDS


def test_reader_unit_reloads_by_the_signal_that_run_hears() -> None:
    assert settings("tickpath-feed-handler@.service")["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_strategy_unit_is_another_user_without_any_capability() -> None:
    reader, strategy = (settings(name) for name in SERVICES)
    assert strategy["User"] != reader["User"]
    assert strategy["CapabilityBoundingSet"] == [""]
    # Its only way to the books is the group that may read them.
    assert strategy["SupplementaryGroups"] == reader["Group"]
    assert strategy["Group"] != reader["Group"]
    assert "-/etc/tickpath/credentials" in strategy["InaccessiblePaths"][0]


def test_reader_unit_starts_after_its_interface_was_tuned() -> None:
    """Changed channels or rings reset the interface, and with it a reader that is there already."""
    (after,) = settings("tickpath-feed-handler@.service")["After"]
    assert SERVICE in after.split()
