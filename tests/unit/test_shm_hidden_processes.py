"""Processes that /proc hides from each other, as systemd's ProtectProc= does, are not dead."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CONSUMER = """
import sys
from pathlib import Path
from tickpath.engine.commands.clean import writer_of
from tickpath.shm.reader import Reader
reader = Reader("unit", directory=Path(sys.argv[1]))
print(reader.register("other") or reader.unregistered_because, flush=True)
print(reader.segment.writer_lives(), flush=True)
print(writer_of(Path(sys.argv[1], "tickpath.unit")), flush=True)
sys.stdin.read()
"""

# A writer that may not trace, and a consumer of another user: neither sees the other in /proc.
WRITER = """
import json, os, subprocess, sys
from pathlib import Path
from tickpath._core import lib
from tickpath.shm.control_segment import ControlSegment, consumers
from tickpath.shm.segment import SegmentLayout, SegmentWriter

directory = Path(sys.argv[1])
said = {}
layout = SegmentLayout(schema="x", ring_capacity=8, mode=0o640, group=65534)
with SegmentWriter("unit", layout, directory=directory) as writer:
    control = ControlSegment(writer)
    writer.ready()
    consumer = subprocess.Popen(
        [sys.executable, "-P", "-c", sys.argv[2], str(directory)],
        user=65534, group=65534, extra_groups=[],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    said["registered"] = consumer.stdout.readline().strip()
    said["writer lives"] = consumer.stdout.readline().strip()
    kept = f"its writer has it open (pid {os.getpid()})"
    said["kept"] = consumer.stdout.readline().strip() == kept
    said["hidden"] = not os.access(f"/proc/{consumer.pid}/stat", os.F_OK)
    said["alive"] = [one.is_alive for one in consumers(writer, directory=directory)]
    said["reaped"] = lib.tp_control_reap(control.pointer)
    consumer.kill()
    consumer.wait()
    said["alive, killed"] = [one.is_alive for one in consumers(writer, directory=directory)]
    said["reaped, killed"] = lib.tp_control_reap(control.pointer)
    control.close()
print(json.dumps(said))
"""


@pytest.mark.needs("root", "netns", "setpriv")
@pytest.mark.parametrize("hidepid", ["invisible", "noaccess"])
def test_hidden_consumer_keeps_its_slot_and_sees_its_writer_alive(hidepid: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tickpath-test-") as made:
        Path(made).chmod(0o755)
        mount = f'mount -t proc -o hidepid={hidepid},gid=65533 proc /proc && exec "$@"'
        blind = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
        command = ["unshare", "--mount", "sh", "-c", mount, "sh", *blind]
        done = subprocess.run(
            [*command, sys.executable, "-P", "-c", WRITER, made, CONSUMER],
            capture_output=True,
            text=True,
            check=True,
        )
    assert json.loads(done.stdout) == {
        "registered": "True",
        "writer lives": "True",
        "kept": True,
        "hidden": True,
        "alive": [True],
        "reaped": 0,
        "alive, killed": [False],
        "reaped, killed": 1,
    }
