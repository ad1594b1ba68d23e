"""The project's playbooks, run against the guest as a person runs them: what changed, what failed.

Ansible sends each task's code anew and starts a Python for it, two to ten seconds a task under
emulation. So that the long playbooks fit a test, mitogen carries their tasks to one Python that
stays in the guest: the same modules, roles and variables. The short ones go the plain way, ssh.

Called by: conftest, the tests. Calls: machine, phases.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.machine import DIES_WITH_US
from tests.vm.phases import phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.vm.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 1800  # five minutes here; emulation may be slower elsewhere
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*?)\] \**$")
DONE = re.compile(
    r"^(changed|ok|failed|fatal): \[lab(?: -> [^\]]*)?\](?:[:!]?.*?=> \(item=(.*?)\))?"
)
RECAP = re.compile(r"^lab\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")
SLOW_S = 8.0
# For site.yml where nothing reboots: its first play is carried too.
CARRIED_WHOLE: dict[str, object] = {"tickpath_strategy": "mitogen_linear"}
# What explains a unit that does not start; the exchange tells its status each second.
DIAGNOSIS = """
systemctl --failed --no-pager --no-legend
for unit in $(systemctl list-units --all --plain --no-legend 'tickpath-*' lab-exchange.service |
    cut -d' ' -f1); do
  journalctl --no-pager --output=short-monotonic --unit=$unit | grep -v '"event":"status"' |
    tail -n 15
done
ls -l /dev/shm; uptime
"""


@dataclass(frozen=True, slots=True)
class Play:
    """A playbook's end. changed: "role : task" or "role : task (item)", in order."""

    status: int
    changed: tuple[str, ...]
    recap_changed: int | None  # None: it did not get to its recap
    output: str

    def require(self) -> Play:
        """Return itself where it succeeded; else raise with the end of its output."""
        if self.status != 0:
            raise RuntimeError(f"ansible-playbook ended with {self.status}:\n{self.output[-6000:]}")
        return self


def run_playbook(
    machine: Machine,
    name: str,
    *words: str,
    variables: Mapping[str, object] | None = None,
    plain: bool = False,
) -> Play:
    """Run ansible/playbooks/NAME.yml on the guest with the lab's inventory; plain: by ssh alone."""
    given = {
        **(variables or {}),
        "ansible_host": "lab",
        "ansible_port": machine.port,
        "ansible_ssh_common_args": f"-F {machine.ssh_config}",
        "mitogen_ssh_compression": False,  # it would inflate, emulated, what is compressed already
    }
    argv = [
        *DIES_WITH_US,
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", "inventories/lab-vm", "-e", json.dumps(given), *words),
        f"playbooks/{name}.yml",
    ]
    title = " ".join((name, *words))
    with phase(f"ansible {title}"):
        log = ROOT / "build" / "vm" / f"{title.replace(' ', '')}.log"
        play = _follow(argv, log, {} if plain else carried_by_mitogen())
    if play.status != 0:
        play = replace(play, output=f"{play.output}\n{machine.shell(DIAGNOSIS, check=False)}")
    return play


def carried_by_mitogen() -> dict[str, str]:
    """Return the environment in which Ansible hands its tasks to mitogen."""
    spec = find_spec("ansible_mitogen")
    if spec is None or spec.origin is None:
        raise RuntimeError("mitogen is not installed: make setup")
    plugins = Path(spec.origin).parent / "plugins" / "strategy"
    return {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": "mitogen_linear"}


def _follow(argv: list[str], log: Path, extra: Mapping[str, str]) -> Play:
    """Run a playbook, keep its output in a log with times, and name the slow tasks at once."""
    fixed = {
        **{"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        # A Python starts in seconds there, with all else that the guest does.
        "ANSIBLE_TIMEOUT": "60",
    }
    environment = {**os.environ, **fixed, **extra}
    started = time.monotonic()
    task, since, lines = "", started, list[str]()
    with (
        log.open("w") as file,
        subprocess.Popen(
            argv,
            cwd=ROOT / "ansible",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as ansible,
    ):
        assert ansible.stdout is not None
        deadline = threading.Timer(TIMEOUT_S, ansible.kill)
        deadline.daemon = True  # a run that is interrupted does not wait for it
        deadline.start()
        for line in ansible.stdout:
            lines.append(line)
            now = time.monotonic()
            file.write(f"{now - started:7.1f} {line}")
            file.flush()
            if match := TASK.match(line) or RECAP.match(line):
                if now - since > SLOW_S:
                    print(f"vm:   {task}: {now - since:.1f} s", file=sys.__stderr__, flush=True)
                task, since = match[1], now
        deadline.cancel()
    return parse(ansible.returncode, "".join(lines))


def parse(status: int, output: str) -> Play:
    """Read Ansible's default output."""
    task, changed, recap = "", list[str](), None
    for line in output.splitlines():
        if match := TASK.match(line):
            task = match[1]
        elif match := DONE.match(line):
            if match[1] == "changed":
                changed.append(f"{task} ({match[2]})" if match[2] else task)
        elif match := RECAP.match(line):
            recap = int(match[2])
    return Play(status, tuple(changed), recap, output)
