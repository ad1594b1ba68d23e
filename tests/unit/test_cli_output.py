"""A full disk under stdout is one line and status 3; a parser's complaint names its command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tickpath.engine.cli import main

FULL = Path("/dev/full")  # every write fails with ENOSPC: full(4)


@pytest.mark.parametrize("words", [["--version"], ["clean", "unit-no-such"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_cli_stdout_that_is_full_is_one_line_and_status_3(
    words: list[str], unbuffered: str
) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tickpath.engine.cli", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (
        3,
        "tickpath: reading or writing failed: No space left on device\n",
    )


def test_cli_unknown_option_leads_to_the_help_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["stat", "--foo"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("see tickpath stat --help\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--password-file", "/nope"], "--password-file /nope: No such file or directory"),
        (["--from", "rediss://h/0", "--ca-file", "/nope"], "--ca-file /nope: No such file"),
        (["--from", "redis://h/0", "--as", "a b"], "instance name 'a b': expected 1 to 95"),
    ],
)
def test_relay_wrong_argument_is_told_before_it_connects(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["relay", "unit-no-such", *words]) == 2
    assert said in capsys.readouterr().err
