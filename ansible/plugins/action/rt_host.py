"""Bring the zipapp to the target when the module of the same name asks for it.

Even in check mode the target must run rt, and on a fresh host it is not there yet: then it is
copied to the task's temporary folder, which Ansible removes. A target that already has these very
bytes costs one round trip.

Called by: Ansible, for each task tickpath.host.rt_host. Calls: plugins/modules/rt_host.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase  # type: ignore[attr-defined]  # mypy sees our folder

MODULE = "tickpath.host.rt_host"
# ansible/plugins/action/rt_host.py of the tree, also when reached through a link.
BUILT = Path(__file__).resolve().parents[3] / "build" / "tickpath-rt.pyz"


class ActionModule(ActionBase):  # type: ignore[misc]  # the base has no types
    """Run the module, and once more with the zipapp if that is what it lacked."""

    TRANSFERS_FILES = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the module's result; raises AnsibleActionFail where no zipapp was built."""
        super().run(tmp, task_vars)
        zipapp = Path(self._task.args.get("zipapp") or BUILT)
        try:
            sha256 = hashlib.sha256(zipapp.read_bytes()).hexdigest()
        except OSError as error:
            raise AnsibleActionFail(
                f"no zipapp of `tickpath rt` at {zipapp} ({error.strerror}): run `make zipapp`, "
                "or name one with zipapp="
            ) from error
        arguments = {**self._task.args, "zipapp_sha256": sha256}
        result = self._ask(arguments, task_vars)
        if not result.get("zipapp_wanted"):
            return result
        arguments["zipapp_upload"] = self._upload(zipapp)
        return self._ask(arguments, task_vars)

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=arguments, task_vars=task_vars
        )
        return result

    def _upload(self, zipapp: Path) -> str:
        """Copy the zipapp to the target's temporary folder, readable by who runs the module."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        remote: str = self._connection._shell.join_path(folder, "tickpath-rt.pyz")
        self._transfer_file(str(zipapp), remote)
        self._fixup_perms2((folder, remote))
        return remote
