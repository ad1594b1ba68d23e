"""A server that nobody has tuned: judged, refused what cannot be, tuned halfway and put back."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm import snapshot
from tests.vm.conftest import ZIPAPP
from tests.vm.phases import phase

if TYPE_CHECKING:
    from tests.vm.conftest import Fresh
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.needs("qemu", "root")]

LINES_BEFORE_KILL = 20
FOR_ALL = "/tmp/rt.pyz"  # noqa: S108  # in the guest, where nobody else is
INSTALLED = "/opt/tickpath/tickpath-rt.pyz"

# Each with a word of the reason that a person has to be told.
REFUSED = {
    "every CPU": ("--profile vm-lab --isolated 0-1", "CPU 0"),
    "a CPU that is not there": ("--profile vm-lab --isolated 1,7", "7"),
    "a list with a letter": ("--profile vm-lab --isolated 1-x", "1-x"),
    "a list with a hole": ("--profile vm-lab --isolated 1,,1", "1,,1"),
    "no such interface": ("--profile vm-lab --nic eth9", "eth9"),
    "the interface of this ssh": ("--profile vm-lab --nic ens2", "ens2"),
}


def apply(words: str = "--profile vm-lab --isolated 1 --nic ens3") -> str:
    return f"python3 {ZIPAPP} apply {words}"


def refusal(machine: Machine, command: str) -> tuple[int, str]:
    """Return the status and the last line on stderr of what should be refused."""
    said = machine.shell(f"({command}) 2>&1 >/dev/null | tail -n 1; echo ${{PIPESTATUS[0]}}")
    text, status = said.rstrip("\n").rsplit("\n", 1)
    return int(status), text


def test_check_fresh_server_names_each_lack(fresh: Fresh) -> None:
    items = fresh.check["items"]
    assert len(items) >= 60
    assert {"kernel.rt", "cmd.isolcpus"} <= {i["id"] for i in items if i["state"] == "drift"}
    assert all(item["why"] for item in items)
    assert 0 <= fresh.check["score"] < 80


@pytest.mark.parametrize("name", REFUSED)
def test_apply_impossible_request_is_refused(machine: Machine, fresh: Fresh, name: str) -> None:
    words, reason = REFUSED[name]
    status, text = refusal(machine, apply(words))
    assert (status in (2, 3), reason in text) == (True, True), f"{status}: {text}"


def test_apply_without_root_is_refused(machine: Machine, fresh: Fresh) -> None:
    machine.shell(f"install -m 755 {ZIPAPP} {FOR_ALL}")
    command = f"setpriv --reuid=nobody --clear-groups {apply()}".replace(ZIPAPP, FOR_ALL)
    status, text = refusal(machine, command)
    machine.shell(f"rm {FOR_ALL}")
    assert (status in (2, 3), "root" in text) == (True, True), f"{status}: {text}"


def test_apply_on_a_read_only_sys_is_refused(machine: Machine, fresh: Fresh) -> None:
    inside = f"mount -o remount,ro,bind /sys && exec {apply()}"
    status, text = refusal(machine, f"unshare --mount sh -c {shlex.quote(inside)}")
    assert (status in (2, 3), "/sys" in text) == (True, True), f"{status}: {text}"


def test_apply_killed_halfway_then_reverted_leaves_the_server_as_it_was(
    machine: Machine, fresh: Fresh
) -> None:
    """The refusals before count too: none of them may have written anything."""
    journal = "/var/lib/tickpath/rt/journal.jsonl"
    with phase("apply killed, revert"):
        killed = machine.shell(
            f"install -D -m 755 {ZIPAPP} {INSTALLED}\n"  # where its boot service will look for it
            f"{apply()} >/tmp/apply 2>&1 & pid=$!\n"
            f"for i in $(seq 3000); do\n"
            f"  [ $(cat {journal} 2>/dev/null | wc -l) -ge {LINES_BEFORE_KILL} ] && break\n"
            "  kill -0 $pid || break; sleep 0.02\n"
            "done\n"
            f"kill -9 $pid; wait $pid; echo $?; cat {journal}",
            check=False,
        ).splitlines()
        assert killed[0] == "137", f"it ended before: {machine.shell('cat /tmp/apply')}"
        assert len(killed) > LINES_BEFORE_KILL
        result = json.loads(machine.shell(f"python3 {ZIPAPP} revert --json"))
        machine.shell(f"rm -r {Path(INSTALLED).parent}")
    assert result["refused"] == []
    assert snapshot.differences(fresh.state, snapshot.take(machine)) == {}
