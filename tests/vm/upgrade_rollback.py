"""A new version beside the present one, and back: run by name, since it takes ten minutes.

pytest -m vm -s tests/vm/upgrade_rollback.py
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm import lab
from tests.vm.playbook import ROOT, run_playbook
from tests.vm.test_3_provisioned import FEED_HANDLER_UNIT, wait_for_books

if TYPE_CHECKING:
    from tests.vm.conftest import Provisioned
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.needs("qemu", "root")]


def versions_of(machine: Machine) -> tuple[str, set[str]]:
    """Return the version that is current, and those by which the units run."""
    units = " ".join((FEED_HANDLER_UNIT, *(f"tickpath-strategy@{name}" for name in lab.STRATEGIES)))
    said = machine.shell(
        "readlink /opt/tickpath/current\n"
        f"for unit in {units}; do\n"
        "  tr '\\0' '\\n' </proc/$(systemctl show -P MainPID $unit)/cmdline | head -n 1\ndone"
    )
    current, *programs = said.splitlines()
    assert len(programs) == 1 + len(lab.STRATEGIES)
    return Path(current).name, {Path(program).parents[1].name for program in programs}


def test_upgrade_and_rollback_change_the_version_that_runs(
    machine: Machine, provisioned: Provisioned, tmp_path: Path
) -> None:
    refused = run_playbook(machine, "rollback", variables=lab.VARIABLES)
    assert refused.status != 0
    assert "there is no version before the present one" in refused.output
    (release,) = (ROOT / "build" / "release").glob("tickpath-*.zip")
    other = shutil.copy(release, tmp_path / "tickpath-0.1.0-other.zip")
    run_playbook(
        machine, "upgrade", variables=lab.VARIABLES | {"appliance_release": str(other)}
    ).require()
    assert versions_of(machine) == ("tickpath-0.1.0-other", {"tickpath-0.1.0-other"})
    wait_for_books(machine)
    run_playbook(machine, "rollback", variables=lab.VARIABLES).require()
    assert versions_of(machine) == (release.stem, {release.stem})
    wait_for_books(machine)
