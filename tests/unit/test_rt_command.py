"""`tickpath rt`: its subcommands, its errors, and the one file that a bare host runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli
from tickpath.rt import bundle, command
from tickpath.rt.catalogue import all_items
from tickpath.rt.errors import HostError, RequestError

from tests.unit import rt_host

if TYPE_CHECKING:
    from pathlib import Path

INTERPRETER = "/usr/bin/python3"  # the host's own, without the packages of .venv


def run_bundle(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INTERPRETER, "-I", str(path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={},
        cwd=path.parent,
    )


def test_bundle_in_a_clean_environment_shows_its_commands(tmp_path: Path) -> None:
    target = tmp_path / "rt.pyz"
    bundle.write_bundle(target)
    done = run_bundle(target, "--help")
    assert done.returncode == 0, done.stderr
    assert "example: tickpath rt check" in done.stdout
    assert done.stderr == ""


def test_bundle_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    bundle.write_bundle(tmp_path / "a.pyz")
    bundle.write_bundle(tmp_path / "b.pyz")
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "b.pyz").read_bytes()


def test_bundle_unknown_command_is_told_in_one_line(tmp_path: Path) -> None:
    target = tmp_path / "rt.pyz"
    bundle.write_bundle(target)
    done = run_bundle(target, "tune")
    assert done.returncode == 2
    assert done.stderr.startswith("tickpath: 'tune' is no command of rt: expected one of ")
    assert done.stderr.count("\n") == 1


def test_bundle_in_a_clean_environment_judges_a_host(tmp_path: Path) -> None:
    target = tmp_path / "rt.pyz"
    bundle.write_bundle(target)
    tree = rt_host.stock_metal(tmp_path / "host")
    done = run_bundle(target, "check", "--json", "--root", str(tree.root))
    assert done.returncode == 15, done.stderr
    assert len(json.loads(done.stdout)["items"]) == len(all_items())
    assert not list(tmp_path.rglob("__pycache__"))


def test_bundle_whose_reader_is_gone_ends_silently(tmp_path: Path) -> None:
    target = tmp_path / "rt.pyz"
    bundle.write_bundle(target)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [INTERPRETER, "-I", str(target), "check", "--list"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_command_on_a_terminal_without_unicode_still_tells(tmp_path: Path) -> None:
    tree = rt_host.stock_metal(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tickpath.rt", "check", "--all", "--root", str(tree.root)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 15, done.stderr
    assert "score: " in done.stdout


@pytest.mark.parametrize(("error", "status"), [(RequestError("CPU 9"), 2), (HostError("root"), 3)])
def test_command_error_is_told_by_its_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
) -> None:
    def fail(name: str | None, arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(command, "dispatch", fail)
    assert command.main(["check"]) == status
    assert capsys.readouterr().err == f"tickpath: {error}\n"


def test_command_through_the_one_tool_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rt", "tune\x1b[2J"]) == 2
    said = capsys.readouterr().err
    assert "is no command of rt" in said
    assert "\x1b" not in said
