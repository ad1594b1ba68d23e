"""A user's own type check, against the installed package: types are there, and mistakes found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "top_of_book.py"


def mypy(folder: Path, source: str) -> tuple[int, str]:
    (folder / "strategy.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", "--strict", "strategy.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_typed_strategy_passes_and_a_mistake_in_it_does_not(tmp_path: Path) -> None:
    source = EXAMPLE.read_text()
    assert mypy(tmp_path, source) == (0, "Success: no issues found in 1 source file\n")
    status, said = mypy(tmp_path, source.replace("book.bid,", "book.bdi,"))
    assert status == 1
    assert '"Book" has no attribute "bdi"' in said
