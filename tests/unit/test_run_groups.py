"""`make test` runs every group whatever fails, sums up before pytest's closing line, and fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MAKEFILE = """
good:
\t@echo good ran
bad:
\t@false
tests:
\t@{python} -P -m pytest -q -p no:cacheprovider test_planted.py
"""


def run_groups(folder: Path, *groups: str, test: str = "pass") -> tuple[int, str]:
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_planted.py").write_text(f"def test_planted(): {test}\n")
    (folder / "Makefile").write_text(MAKEFILE.format(python=sys.executable))
    done = subprocess.run(
        [TESTS / "run_groups.sh", *groups], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_groups_after_a_failed_one_run_and_all_are_summed_up(tmp_path: Path) -> None:
    status, said = run_groups(tmp_path, "bad", "good", "tests")
    assert status == 1
    assert "good ran" in said
    assert re.search(r"^bad: FAILED in \d+ s\ngood: passed in \d+ s$", said, re.MULTILINE)
    assert re.fullmatch(r"1 passed in [\d.]+s", said.splitlines()[-1])


def test_groups_that_pass_but_the_tests_do_not_fail(tmp_path: Path) -> None:
    status, said = run_groups(tmp_path, "good", "tests", test="assert False")
    assert status == 1
    assert "good: passed" in said
    assert re.fullmatch(r"1 failed in [\d.]+s", said.splitlines()[-1])


def test_groups_that_all_pass_pass(tmp_path: Path) -> None:
    status, said = run_groups(tmp_path, "good", "tests")
    assert status == 0
    assert said.splitlines()[-1].startswith("1 passed")
