"""The logic of join and hand-over, every interleaving, by Spin; and that Spin sees each breakage.

The models are join.pml and hand_over.pml; each mutant takes one part of the protocol away.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEPTH_MAX = 100_000
JOIN_MUTANTS = (
    "NO_ODD_MARK",
    "NO_RECHECK",
    "ANY_EVEN_SEQUENCE",
    "EVENT_BEFORE_SNAPSHOT",
    "SNAPSHOT_BEFORE_POSITION",
)
HAND_OVER_MUTANTS = ("NO_LOCK", "RENAME_BEFORE_READY", "NO_LOOK_WHEN_SILENT")

pytestmark = pytest.mark.needs("spin")


def check(model: str, folder: Path, mutant: str | None = None) -> tuple[int, int, str]:
    """Return the errors found, the states visited, and Spin's own words."""
    define = [f"-D{mutant}"] if mutant else []
    subprocess.run(["spin", *define, "-a", HERE / model], cwd=folder, check=True)
    # -w: the code that Spin writes is not ours to mend
    subprocess.run(["gcc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"], cwd=folder, check=True)
    run = subprocess.run(
        ["./pan", f"-m{DEPTH_MAX}"], cwd=folder, capture_output=True, text=True, check=False
    )
    errors = re.search(r"errors: (\d+)", run.stdout)
    states = re.search(r"(\d+) states, stored", run.stdout)
    assert errors, run.stdout
    assert states, run.stdout
    assert "max search depth too small" not in run.stdout
    return int(errors[1]), int(states[1]), run.stdout


@pytest.mark.parametrize("model", ["join.pml", "hand_over.pml"])
def test_model_with_all_parts_has_no_error(model: str, tmp_path: Path) -> None:
    errors, states, words = check(model, tmp_path)
    assert errors == 0, words
    assert states > 500  # it did explore
    # Every statement was reached: a model that cannot get somewhere proves nothing about it.
    assert not re.search(r"unreached in proctype reader\n\t[^(]", words), words


@pytest.mark.parametrize("mutant", JOIN_MUTANTS)
def test_join_without_one_of_its_parts_fails(mutant: str, tmp_path: Path) -> None:
    assert check("join.pml", tmp_path, mutant)[0] > 0


@pytest.mark.parametrize("mutant", HAND_OVER_MUTANTS)
def test_hand_over_without_one_of_its_parts_fails(mutant: str, tmp_path: Path) -> None:
    assert check("hand_over.pml", tmp_path, mutant)[0] > 0
