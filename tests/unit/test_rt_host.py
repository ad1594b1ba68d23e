"""Commands that change a host: they do not outlive who started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LATER_S = 0.5


@pytest.mark.slow
def test_systemctl_dies_with_a_killed_apply(tmp_path: Path) -> None:
    """One that went on would change units while a revert puts them back."""
    begun, done = tmp_path / "begun", tmp_path / "done"
    fake = tmp_path / "systemctl"
    fake.write_text(f"#!/bin/sh\ntouch {begun}\nsleep {LATER_S}\ntouch {done}\n")
    fake.chmod(0o755)
    program = "from tickpath.rt.host import run_command; run_command(('systemctl', 'mask', 'x'))"
    path = f"{tmp_path}:{os.environ['PATH']}"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], env={**os.environ, "PATH": path}
    ) as us:
        end = time.monotonic() + 20
        while not begun.exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert begun.exists()
        us.kill()
    time.sleep(3 * LATER_S)
    assert not done.exists()
