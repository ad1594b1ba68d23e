"""Records of reserved ports go once their owner is dead and their network namespace is gone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.cli import main
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.netstack import port_record

if TYPE_CHECKING:
    from pathlib import Path

CLAIM = """
import sys, pathlib
from tickpath.netstack import port_record
port_record.DIRECTORY = pathlib.Path(sys.argv[1])
port_record.PortRecords().claim({61000})
print("claimed", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.needs("root")


def test_port_record_goes_with_its_owner_and_its_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_record, "DIRECTORY", tmp_path)
    command = [sys.executable, "-P", "-c", CLAIM, str(tmp_path)]
    child = spawn(command, namespace=-1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "claimed\n"
        (record,) = tmp_path.glob("ports-*.*")
        assert port_record.orphans() == []  # its owner lives
        namespace = os.open(f"/proc/{child.pid}/ns/net", os.O_RDONLY)
        child.kill()
        child.wait()
        assert port_record.orphans() == []  # its namespace is held by us
        os.close(namespace)
        assert port_record.remove_orphans() == [record]
        assert not record.exists()
    finally:
        stop(child)


def test_clean_tells_the_records_that_it_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(port_record, "DIRECTORY", tmp_path)
    gone, held = (tmp_path / f"ports-cookie-{2**63 + n}.7-0" for n in range(2))
    gone.write_text("61000\n")
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["clean", "--dry-run", "--json"]) == 0
        assert gone.exists()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        # Other runs on this machine may have left segments: only these records are ours.
        ours = {one["instance"]: one["action"] for one in lines if str(tmp_path) in one["instance"]}
        assert ours == {str(gone): "would remove"}
        assert main(["clean", "--dry-run"]) == 0
        port_record.remove_orphans()
        assert not gone.exists()
        assert held.exists()
