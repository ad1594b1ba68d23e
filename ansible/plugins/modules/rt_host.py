#!/usr/bin/python
"""The one module around `tickpath rt`: run it on the target, tell Ansible what it answered.

All decisions are rt's own: this module hands the request to `python3 tickpath-rt.pyz …`, and turns
the answer's writes into `changed` and a diff. Check mode asks for the plan instead of applying it.

Called by: plugins/action/rt_host.py (brings the zipapp). Calls: the zipapp, as a program.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: rt_host
short_description: Check, tune and undo a host's real-time settings with tickpath rt
version_added: 0.1.0
description:
  - Runs C(tickpath rt) on the target from one zipapp, which needs nothing but python3 there.
  - What is wanted is computed on the target from its topology and I(request); a request that would
    isolate CPU 0 or all CPUs, or tune a NIC that is not there or that the connection runs over, is
    refused before anything is written, with the reason.
  - Each previous value is journaled on the target before it is overwritten.
    I(state=reverted) puts all of them back.
author:
  - The tickpath authors
options:
  state:
    description:
      - C(applied) writes what is missing; with check mode it only reports.
      - C(planned) tells what C(applied) would write, and never writes.
      - C(checked) judges and scores the host.
      - C(reverted) undoes what was applied, as far as it is still ours.
      - C(promoted) keeps a kernel and command line that were booted once, if its checks pass.
    type: str
    choices: [applied, planned, checked, reverted, promoted]
    default: applied
  request:
    description:
      - What is asked of the host. What is left out stays as it was asked before; else, and where a
        profile is named, rt computes it from the machine.
    type: dict
    default: {}
    suboptions:
      profile:
        description: The trade-offs to take.
        type: str
        choices: [metal-irq, metal-busy-poll, cloud, vm-lab]
      isolated:
        description: CPUs for the hot path as a list of the kernel ("2-5,7").
        type: str
      nic:
        description: The trading interface, or "none".
        type: str
      huge_pages:
        description: Huge pages of 2 MiB to reserve.
        type: int
      unthrottled_rt:
        description: Give real-time tasks the whole CPU; only with the starvation guard.
        type: bool
      mitigations_off:
        description: Boot without CPU mitigations, a security decision.
        type: bool
      idle_poll:
        description: Never idle; heat, and no turbo.
        type: bool
      allow_ssh_nic:
        description: Tune I(nic) even though the connection runs over it, which may cut it.
        type: bool
        default: false
  only:
    description: Areas ("boot") or items ("cmd.isolcpus") to write; empty, all.
    type: list
    elements: str
    default: []
  minimum_score:
    description: With I(state=checked), a lower score fails.
    type: int
    default: 0
  zipapp:
    description:
      - The zipapp on the controller, made by C(make zipapp). Left out, C(build/tickpath-rt.pyz)
        of the tree that this collection lies in.
    type: path
  path:
    description:
      - Where the zipapp is kept on the target. It is installed when something is written; check
        mode, C(planned) and C(checked) run it from a temporary place.
    type: path
    default: /opt/tickpath/tickpath-rt.pyz
  root:
    description: Judge and write below this folder instead of the machine itself; for tests.
    type: path
  zipapp_sha256:
    description: Filled in by the action plugin.
    type: str
  zipapp_upload:
    description: Filled in by the action plugin.
    type: path
attributes:
  check_mode:
    description: The plan is made and told, nothing is written.
    support: full
  diff_mode:
    description: Each write with its previous and its new value.
    support: full
"""

EXAMPLES = r"""
- name: Tell what would be written
  tickpath.host.rt_host:
    state: planned
    request:
      profile: metal-irq

- name: Isolate CPUs 2 to 5
  tickpath.host.rt_host:
    request:
      profile: metal-irq
      isolated: 2-5
    only: [cmd.isolcpus, cmd.nohz_full, cmd.rcu_nocbs]

- name: Refuse a host that scores less than 90
  tickpath.host.rt_host:
    state: checked
    minimum_score: 90
"""

RETURN = r"""
writes:
  description: What was written, or would be, in order.
  returned: when state is not checked
  type: list
  elements: dict
reboot_required:
  description: Whether something of it only counts after a reboot.
  returned: when state is not checked
  type: bool
score:
  description: 0 to 100, weighted by severity; what the host cannot have does not count.
  returned: when state is checked
  type: int
answer:
  description: The whole answer of C(tickpath rt).
  returned: always
  type: dict
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

VERBS = {
    "applied": "apply",
    "planned": "plan",
    "checked": "check",
    "reverted": "revert",
    "promoted": "promote",
}
WRITING = frozenset({"applied", "reverted", "promoted"})
CHOOSING = frozenset({"applied", "planned", "checked"})  # states that take a request
# Statuses that come with a whole answer: check tells the host's state by it, revert that something
# was left since somebody else changed it.
TELLING = {"checked": range(256), "reverted": range(2)}
PROFILES = ["metal-irq", "metal-busy-poll", "cloud", "vm-lab"]
# The host keeps what it was asked: only a plain no takes these back.
TAKEN_BACK = frozenset({"unthrottled_rt", "mitigations_off", "idle_poll"})
REQUEST = {
    "profile": {"type": "str", "choices": PROFILES},
    "isolated": {"type": "str"},
    "nic": {"type": "str"},
    "huge_pages": {"type": "int"},
    "unthrottled_rt": {"type": "bool"},
    "mitigations_off": {"type": "bool"},
    "idle_poll": {"type": "bool"},
    "allow_ssh_nic": {"type": "bool", "default": False},
}


def make_module() -> AnsibleModule:
    """Declare the parameters; AnsibleModule ends the program on a wrong one."""
    return AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": list(VERBS), "default": "applied"},
            "request": {"type": "dict", "default": {}, "options": REQUEST},
            "only": {"type": "list", "elements": "str", "default": []},
            "minimum_score": {"type": "int", "default": 0},
            "zipapp": {"type": "path"},
            "path": {"type": "path", "default": "/opt/tickpath/tickpath-rt.pyz"},
            "root": {"type": "path"},
            "zipapp_sha256": {"type": "str", "no_log": False},
            "zipapp_upload": {"type": "path"},
        },
        supports_check_mode=True,
    )


def digest(path: Path) -> str | None:
    """Return a file's SHA-256, or None where there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def install(upload: str, path: Path) -> None:
    """Put the zipapp in its place by a rename: whoever runs it finds a whole one."""
    os.umask(0o022)  # not the session's: the appliance's users pass through this folder
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=".tickpath-rt-")
    os.close(descriptor)
    shutil.copyfile(upload, made)
    Path(made).chmod(0o755)
    Path(made).replace(path)


def provide(module: AnsibleModule) -> tuple[str, bool]:
    """Return the zipapp to run and whether the installed one is (or would be) replaced.

    Without the right one at hand the module ends, and asks the action plugin to bring it.
    """
    parameters = module.params
    path, wanted = Path(parameters["path"]), parameters["zipapp_sha256"]
    installed = digest(path)
    if installed is not None and wanted in (None, installed):
        return str(path), False
    upload = parameters["zipapp_upload"]
    if upload is None and wanted is not None:
        module.exit_json(changed=False, zipapp_wanted=True)
    if upload is None:
        module.fail_json(msg=f"no zipapp at {path}: let the action plugin bring it (zipapp=…)")
    writing = parameters["state"] in WRITING
    if writing and not module.check_mode:
        install(upload, path)
        return str(path), True
    return upload, writing


def arguments(parameters: dict[str, Any], *, check_mode: bool) -> list[str]:
    """Build the words after the zipapp."""
    state = str(parameters["state"])
    verb = "plan" if check_mode and state == "applied" else VERBS[state]
    words = [verb, "--json"]
    if verb == "plan":
        # The role rt_kernel installs it between the plan and its application.
        words.append("--rt-kernel-later")
    if check_mode and state in ("reverted", "promoted"):
        words.append("--dry-run")
    if state in CHOOSING:
        request = dict(parameters["request"])
        if verb == "check":
            request.pop("allow_ssh_nic", None)  # nothing is written: nothing to allow
        words += request_words(request)
    only = parameters["only"]
    if isinstance(only, list) and only and state in ("applied", "planned"):
        words += ["--only", ",".join(only)]
    if parameters["root"] is not None:
        words += ["--root", str(parameters["root"])]
    return words


def request_words(request: dict[str, Any]) -> list[str]:
    """Turn what is asked into options: flags, and names with their values where given."""
    words: list[str] = []
    for name, value in request.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is False and name in TAKEN_BACK:
            words.append("--no-" + option.removeprefix("--"))
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words


def ask(module: AnsibleModule, zipapp: str) -> dict[str, object]:
    """Run rt and return its answer; a refusal ends the module with rt's own words."""
    words = arguments(module.params, check_mode=module.check_mode)
    status, out, err = module.run_command([sys.executable, zipapp, *words])
    try:
        answer = json.loads(out)
    except ValueError:
        reason = err.strip() or f"tickpath rt {' '.join(words)}: no answer, status {status}"
        module.fail_json(msg=reason, rc=status)
    if status not in TELLING.get(module.params["state"], range(1)):
        module.fail_json(msg=err.strip() or f"tickpath rt ended with {status}", answer=answer)
    if not isinstance(answer, dict):
        module.fail_json(msg=f"tickpath rt {words[0]} answered no object", answer=answer)
    return dict(answer)


def difference(writes: list[dict[str, object]]) -> dict[str, str]:
    """Tell the writes as Ansible's diff: one line each, what was and what is."""

    def lines(key: str) -> str:
        return "".join(f"{write.get('target')}: {told(write.get(key))}\n" for write in writes)

    return {
        "before_header": "host",
        "after_header": "host, tuned",
        "before": lines("before"),
        "after": lines("after"),
    }


def told(value: object) -> str:
    """Write a value in a line; what was not there is said."""
    return "(absent)" if value is None else str(value).rstrip("\n").replace("\n", "\n    ")


def summary(answer: dict[str, object], state: str) -> dict[str, object]:
    """Pick what playbooks use out of rt's answer."""
    key = "restored" if state == "reverted" else "writes"
    found = answer.get(key, [])
    writes = found if isinstance(found, list) else []
    result: dict[str, object] = {"answer": answer}
    if state == "checked":
        return {**result, "changed": False, "score": answer.get("score")}
    return {
        **result,
        "changed": bool(writes) and state != "planned",
        "writes": writes,
        "reboot_required": bool(answer.get("reboot_required")),
        "diff": difference(writes),
    }


def warnings(answer: object) -> list[str]:
    """Tell what the kernel or a driver did not take, and what revert left to its new owner."""
    found = answer if isinstance(answer, dict) else {}
    not_taken = [
        f"{one['target']}: {one['status']}: {one['told']}" for one in found.get("not_taken", [])
    ]
    left = [one for one in found.get("refused", []) if isinstance(one, dict)]
    told_left = [f"{one['target']}: left as it is: {one['why']}" for one in left]
    return not_taken + told_left + [str(note) for note in found.get("notes", [])]


def main() -> None:
    """Bring the zipapp into place, ask it, answer Ansible."""
    module = make_module()
    zipapp, replaced = provide(module)
    state = module.params["state"]
    result = summary(ask(module, zipapp), state)
    result["changed"] = bool(result["changed"]) or replaced
    for told in warnings(result["answer"]):
        module.warn(told)
    score, least = result.get("score"), module.params["minimum_score"]
    if state == "checked" and (not isinstance(score, int | float) or score < least):
        module.fail_json(
            msg=f"the host scores {score} of 100, {least} are asked: `tickpath rt check` on it "
            "names each item, the reason and the command that fixes it",
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
