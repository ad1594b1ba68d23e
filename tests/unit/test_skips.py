"""A skip names what the host lacks; a skip where none may be, and a hang, are failures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"


def run_pytest(folder: Path, test: str, *, skip_fails: bool) -> tuple[int, str]:
    shutil.copy(CONFTEST, folder)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers = needs\naddopts = -ra -p no:cacheprovider"
    )
    (folder / "test_planted.py").write_text(f"import pytest\n{test}\ndef test_planted(): pass\n")
    environment = {key: value for key, value in os.environ.items() if key != "TICKPATH_SKIP_FAILS"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", str(folder)],
        cwd=folder,
        env=environment | ({"TICKPATH_SKIP_FAILS": "1"} if skip_fails else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_skip_is_counted_with_its_reason(tmp_path: Path) -> None:
    status, said = run_pytest(tmp_path, '@pytest.mark.skip("no such NIC")', skip_fails=False)
    assert status == 0
    assert "1 skipped" in said
    assert "no such NIC" in said


def test_skip_where_nothing_may_be_skipped_fails(tmp_path: Path) -> None:
    status, said = run_pytest(tmp_path, '@pytest.mark.skip("no such NIC")', skip_fails=True)
    assert status == 1
    assert "1 error" in said
    assert "no such NIC" in said


def test_needs_unknown_capability_is_an_error(tmp_path: Path) -> None:
    status, said = run_pytest(tmp_path, '@pytest.mark.needs("warp")', skip_fails=False)
    assert status != 0
    assert "unknown capability" in said


def test_thread_that_never_ends_is_a_failure_and_no_hang(tmp_path: Path) -> None:
    test = (
        "import threading\n"
        "def test_left():\n"
        "    threading.Thread(target=threading.Event().wait, name='waiter').start()\n"
    )
    status, said = run_pytest(tmp_path, test, skip_fails=False)
    assert status == 1
    assert "2 passed" in said
    assert "still running, not waited for: waiter" in said
