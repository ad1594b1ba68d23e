"""The module tickpath.host.rt_host against a tree of a machine: real Ansible, real zipapp, no mock.

The tree is a 4-CPU machine with the values that Debian 12 starts with; rt reads and writes below it
(--root) and runs no command there.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tickpath.rt.bundle import write_bundle
from tickpath.rt.catalogue import all_items

from tests.unit.test_ansible_roles import ANSIBLE, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

AREA_ROLES = ("boot_parameters", "cpu_isolation", "irq_affinity", "nic", "hugepages", "limits")
ASKED = {"profile": "cloud", "isolated": "2-3", "nic": "none"}
# What Documentation/admin-guide/sysctl/vm.rst and the kernel's own defaults give.
FILES = {
    "proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.1.0-50-amd64 root=/dev/vda1 ro quiet\n",
    "proc/version": "Linux version 6.1.0-50-amd64\n",
    "proc/sys/kernel/osrelease": "6.1.0-50-amd64\n",
    "proc/sys/kernel/random/boot_id": "7c1d0f6e-5f0b-4c51-9d3a-2f6f0b9a1e12\n",
    "proc/sys/vm/swappiness": "60\n",
    "proc/sys/vm/stat_interval": "1\n",
    "proc/sys/vm/compaction_proactiveness": "20\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/node/node0/cpulist": "0-3\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "etc/os-release": "ID=debian\nVERSION_ID=12\n",
}
MEMORY = ("vm.swappiness", "vm.stat_interval", "vm.compaction_proactiveness")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    root = tmp_path / "machine"
    cpus = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu}\n"
        for cpu in range(4)
    }
    for name, text in {**FILES, **cpus}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in ("sys/class/net", "run", "var/lib"):
        (root / folder).mkdir(parents=True)
    return root


class Target:
    """A host of Ansible whose machine is the tree."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.installed = folder / "opt" / "tickpath-rt.pyz"
        self.zipapp = folder / "tickpath-rt.pyz"
        write_bundle(self.zipapp)

    def play(self, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
        """Run tasks of the module in one play; returns what each left. check: in check mode."""
        steps: list[dict[str, Any]] = []
        for number, options in enumerate(tasks):
            module = {
                "root": str(self.root),
                "path": str(self.installed),
                "zipapp": str(self.zipapp),
                "request": ASKED,
                "only": list(MEMORY),
                **options,
            }
            steps.append(
                {
                    "name": "Ask",
                    "check_mode": module.pop("check", False),
                    "tickpath.host.rt_host": module,
                    "register": f"left_{number}",
                    "failed_when": False,
                }
            )
        names = ", ".join(f"left_{number}" for number in range(len(tasks)))
        left = self.folder / "left.json"
        kept = {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(left)}
        steps.append({"name": "Keep", "ansible.builtin.copy": kept})
        play = {"name": "Try", "hosts": "all", "gather_facts": False, "tasks": steps}
        book = self.folder / "play.yml"
        book.write_text(yaml.safe_dump([play]))
        done = run("ansible-playbook", "-i", "it,", "-c", "local", str(book))
        assert done.returncode == 0, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(left.read_text())
        return found

    def contents(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def target(machine: Path, tmp_path: Path) -> Target:
    return Target(machine, tmp_path)


def targets(left: dict[str, Any]) -> list[str]:
    return [write["target"] for write in left["writes"]]


def test_module_check_mode_predicts_each_write_and_writes_nothing(target: Target) -> None:
    before = target.contents()
    (told,) = target.play({"check": True})
    assert target.contents() == before
    assert not target.installed.exists()
    assert told["changed"], told
    assert {"/proc/sys/vm/swappiness", "/proc/sys/vm/stat_interval"} <= set(targets(told))
    assert "/proc/sys/vm/swappiness: 60\n" in told["diff"]["before"]

    done, again = target.play({}, {})
    assert done["changed"]
    assert targets(done) == targets(told)
    assert done["diff"] == told["diff"]
    assert target.installed.read_bytes() == target.zipapp.read_bytes()
    for write in done["writes"]:
        if write["kind"] in {"kernel", "file"}:
            found = target.contents()[write["target"].lstrip("/")]
            assert found.strip() == write["after"].strip()
    assert (again["changed"], again["writes"]) == (False, [])


def test_module_reverted_puts_every_byte_back(target: Target) -> None:
    before = target.contents()
    target.play({})
    assert target.contents() != before
    predicted, undone, again = target.play(
        {"check": True, "state": "reverted"}, {"state": "reverted"}, {"state": "reverted"}
    )
    assert (predicted["changed"], undone["changed"], again["changed"]) == (True, True, False)
    left = {
        name: text
        for name, text in target.contents().items()
        if not name.startswith(("var/lib/tickpath", "run/"))  # the journal and the lock
    }
    assert left == before


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"isolated": "0-1"}, "CPU 0 stays with the kernel"),
    ({"isolated": "0-3"}, "are all of this machine"),
    ({"isolated": "2-"}, "isolated CPUs"),
    ({"isolated": "2,x"}, "isolated CPUs"),
    ({"isolated": "9"}, "CPU 9 is not online"),
    ({"nic": "eth9"}, "'eth9' is not there"),
    ({"huge_pages": -1}, "expected 0 or more"),
    ({"profile": "fast"}, "value of profile must be one of"),
]


@pytest.mark.parametrize("state", ["planned", "applied"])
def test_module_requests_that_cannot_be_are_refused_before_the_first_write(
    target: Target, state: str
) -> None:
    before = target.contents()
    left = target.play(*({"state": state, "request": {**ASKED, **wrong}} for wrong, _ in WRONG))
    for told, (_, reason) in zip(left, WRONG, strict=True):
        assert reason in told["msg"]
        assert not told.get("changed")
    target.root.joinpath("run/tickpath-rt.lock").unlink(missing_ok=True)
    assert target.contents() == before


def test_module_checked_tells_the_score_and_refuses_a_lower_one(target: Target) -> None:
    asked = {**ASKED, "allow_ssh_nic": True}
    left, refused = target.play(
        {"state": "checked", "request": asked}, {"state": "checked", "minimum_score": 101}
    )
    assert 0 <= left["score"] <= 100
    assert not left["changed"]
    assert len(left["answer"]["items"]) >= 60
    assert "101 are asked" in refused["msg"]


def test_module_without_a_built_zipapp_names_the_command_that_makes_it(target: Target) -> None:
    target.zipapp.unlink()
    with pytest.raises(AssertionError, match="make zipapp"):
        target.play({})


def test_module_what_it_installs_is_for_all_to_read_on_a_hardened_host(target: Target) -> None:
    before = os.umask(0o077)
    try:
        (done,) = target.play({})
    finally:
        os.umask(before)
    assert done["changed"]
    for path in (target.installed.parent, target.installed):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path


def test_module_brings_the_zipapp_again_only_when_it_differs(target: Target) -> None:
    target.play({})
    with zipfile.ZipFile(target.zipapp, "a") as archive:
        archive.comment = b"other bytes, the same code"
    left, again = target.play({}, {})
    assert (left["changed"], left["writes"], again["changed"]) == (True, [], False)
    assert target.installed.read_bytes() == target.zipapp.read_bytes()


def chosen_by_roles() -> dict[str, list[str]]:
    return {
        role: yaml.safe_load((ANSIBLE / "roles" / role / "defaults/main.yml").read_text())[
            f"{role}_items"
        ]
        for role in AREA_ROLES
    }


def test_roles_together_choose_every_item_that_is_set() -> None:
    chosen = {name for names in chosen_by_roles().values() for name in names}
    left_out = [
        item.id
        for item in all_items()
        if item.settings is not None and not {item.id, item.area} & chosen
    ]
    assert not left_out, f"no role writes {left_out}"
    known = {item.id for item in all_items()} | {item.area for item in all_items()}
    assert chosen <= known


def test_site_playbook_tunes_every_area_in_one_pass() -> None:
    site = (ANSIBLE / "playbooks" / "site.yml").read_text()
    found = re.findall(r"role: tickpath\.host\.(\w+)", site)
    assert found == ["rt_kernel", "tuning", "appliance", "monitoring"]
    tuning = yaml.safe_load((ANSIBLE / "roles/tuning/defaults/main.yml").read_text())
    assert tuning["tuning_items"] == []  # all


def test_module_takes_back_a_trade_off_that_is_no_longer_asked_for(target: Target) -> None:
    """The host keeps what it was asked; a later no must reach it, and silence must not."""
    kept = target.root / "etc/tickpath/rt-profile.json"

    def mitigations_off() -> bool:
        return bool(json.loads(kept.read_text())["mitigations_off"])

    target.play({"only": ["process"], "request": {"profile": "cloud", "mitigations_off": True}})
    assert mitigations_off()
    target.play({"only": ["process"], "request": {}})
    assert mitigations_off()
    (checked,) = target.play({"state": "checked", "request": {}})
    assert checked["answer"]["profile"]["mitigations_off"] is True
    assert {"isolated", "housekeeping"} <= set(checked["answer"]["profile"])
    target.play({"only": ["process"], "request": {"mitigations_off": False}})
    assert not mitigations_off()
