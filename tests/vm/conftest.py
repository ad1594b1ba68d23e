"""The stages of a guest's life, as fixtures: one disk, one guest, each stage reached once.

A guest is dear, so that one serves a whole run. The files of tests are numbered in the order of the
stages: a fresh server, a provisioned one, one that was put back. The times of all phases stand at
the end. Calls: image, machine, lab, playbook, snapshot.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import pytest

from tests.vm import image, lab, phases, snapshot
from tests.vm.machine import Machine
from tests.vm.phases import phase
from tests.vm.playbook import CARRIED_WHOLE, ROOT, Play, run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.image import Image

ZIPAPP = "/root/tickpath-rt.pyz"


class Item(TypedDict):
    """A row of `tickpath rt check --json`, as far as tests look at it."""

    id: str
    state: str
    desired: str
    live: str | None
    why: str
    fix: str


class Check(TypedDict):
    """What `tickpath rt check --json` says."""

    score: float
    items: list[Item]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A server that nobody has tuned."""

    state: dict[str, str]
    check: Check


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The same server after site.yml: what check mode foretold, what was done, its score."""

    foretold: Play
    done: Play
    check: Check


@dataclass(frozen=True, slots=True)
class PutBack:
    """The same server after revert.yml and a reboot."""

    play: Play
    state: dict[str, str]


def check_host(machine: Machine) -> Check:
    """Ask the guest for its score, by the zipapp and its own python3."""
    with phase("rt check"):
        # 10 and more: the worst severity that is not well.
        words = "--profile vm-lab --isolated 1 --nic ens3 --json"
        said = machine.shell(f"python3 {ZIPAPP} check {words} || [ $? -ge 10 ]")
    check: Check = json.loads(said)
    return check


@pytest.fixture(scope="session")
def disk() -> Iterator[Image]:
    """Return the disk, made first where the cache lacks it, which takes root."""
    with image.borrow() as borrowed:
        yield borrowed


@pytest.fixture(scope="session")
def machine(disk: Image) -> Iterator[Machine]:
    """Boot a guest on its stock kernel, with an exchange beside it."""
    with Machine.start(disk.disk, disk.host_key) as guest:
        with phase("lab set-up"):
            lab.prepare(guest)
        yield guest


@pytest.fixture(scope="session")
def release() -> None:
    """Build what Ansible brings: the zipapp, and tickpath installed with all it needs."""
    make = [sys.executable, "-P", "-m", "tickpath.rt.bundle", "build/tickpath-rt.pyz"]
    with phase("zipapp and wheels"):
        subprocess.run(make, cwd=ROOT, check=True)
        subprocess.run(
            [sys.executable, "ansible/release.py", "build/release"], cwd=ROOT, check=True
        )


@pytest.fixture(scope="session")
def fresh(machine: Machine, release: None) -> Fresh:
    """Look at the server before anything is tuned."""
    machine.put((ROOT / "build" / "tickpath-rt.pyz").read_bytes(), ZIPAPP)
    return Fresh(snapshot.take(machine), check_host(machine))


@pytest.fixture(scope="session")
def provisioned(machine: Machine, fresh: Fresh) -> Provisioned:
    """Provision by site.yml, in check mode and then in earnest: reboot and promotion included."""
    variables = lab.VARIABLES | CARRIED_WHOLE
    foretold = run_playbook(machine, "site", "--check", "--diff", variables=variables)
    done = run_playbook(machine, "site", variables=lab.VARIABLES).require()
    return Provisioned(foretold.require(), done, check_host(machine))


@pytest.fixture(scope="session")
def put_back(machine: Machine, provisioned: Provisioned) -> PutBack:
    """Undo it by revert.yml, and reboot."""
    words = {"tickpath_reboot_ok": True}
    play = run_playbook(machine, "revert", variables=words, plain=True).require()
    return PutBack(play, snapshot.take(machine))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = phases.table()
    if lines:
        terminalreporter.section("virtual machine: phases")
        terminalreporter.write_line("\n".join(lines))
