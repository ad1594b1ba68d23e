"""Who starts a command may have closed 0, 1 or 2, or stop to read: it works, or ends in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli

if TYPE_CHECKING:
    from pathlib import Path

TICKPATH = [sys.executable, "-P", "-m", "tickpath.engine.cli"]
RT = [sys.executable, "-P", "-m", "tickpath.rt"]
PRINTS = (
    *((TICKPATH, line) for line in ("venues", "doctor")),
    (RT, "check --list"),
)


def close_all(numbers: tuple[int, ...]) -> None:
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
@pytest.mark.parametrize(("program", "line"), PRINTS, ids=[line for _, line in PRINTS])
def test_closed_standard_file_changes_nothing(
    program: list[str], line: str, closed: tuple[int, ...]
) -> None:
    command = [*program, *line.split()]
    usual = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    done = subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
        preexec_fn=partial(close_all, closed),
    )
    assert done.returncode == usual.returncode, done.stderr
    assert done.stderr == (b"" if 2 in closed else usual.stderr)


def test_number_of_a_closed_standard_file_is_nobody_elses(tmp_path: Path) -> None:
    """Written to 2, a warning would stand in whichever file was opened next."""
    kept = tmp_path / "kept"
    script = (
        "import os, sys\nfrom tickpath.rt.standard_files import hold_standard_files\n"
        f"hold_standard_files()\nfile = open({str(kept)!r}, 'w')\n"
        "print('out')\nprint('warning', file=sys.stderr)\nos.write(2, b'of C')\n"
        "import subprocess\nsubprocess.run(['sh', '-c', 'echo child >&2'], check=True)\n"
        "file.write(str(file.fileno()))\n"
    )
    subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, preexec_fn=partial(close_all, (0, 1, 2))
    )
    assert kept.read_text().isdigit()
    assert int(kept.read_text()) > 2


@pytest.mark.parametrize(("program", "line"), PRINTS, ids=[line for _, line in PRINTS])
def test_stdout_of_another_encoding_takes_all_that_is_printed(
    program: list[str], line: str
) -> None:
    """`tickpath doctor` ended by a traceback where it came to a micro sign."""
    command = [*program, *line.split()]
    asked = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=False, env=asked)
    assert done.returncode == subprocess.run(command, capture_output=True, check=False).returncode
    assert done.stdout.isascii()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["5 \u00b5s \u2192 \U0001f4c8", "caf\udce9.toml"])
def test_text_that_an_encoding_does_not_have_stays_valid_json(text: str) -> None:
    script = (
        "import sys\nfrom tickpath.rt.standard_files import hold_standard_files\n"
        f"hold_standard_files()\nprint('\"' + {text!a} + '\"')\n"
    )
    asked = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, stdout=subprocess.PIPE, env=asked
    )
    assert json.loads(done.stdout) == text


@pytest.mark.parametrize(("program", "line"), PRINTS, ids=[line for _, line in PRINTS])
def test_reader_that_is_gone_is_one_status(program: list[str], line: str) -> None:
    """Where it was noticed: rich has a way of its own, by status 1."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*program, *line.split()], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (cli.EXIT_PIPE_CLOSED, b"")
