"""`tickpath rt`: its subcommands, its errors, and the one file that a bare host runs."""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli
from tickpath.rt import bundle, command
from tickpath.rt.catalogue import all_items
from tickpath.rt.errors import HostError, RequestError

from tests.unit import rt_host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INTERPRETER = "/usr/bin/python3"  # the host's own, without the packages of .venv
SHOW_TRACEBACK = """\
import sys
sys.path.insert(0, sys.argv[1])
from tickpath.rt.limits import parse_cpu_list
parse_cpu_list("none")
"""


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


def test_bundle_written_by_another_process_has_the_same_bytes(tmp_path: Path) -> None:
    """What else a process has loaded, and how it hashes texts, must not show."""
    bundle.write_bundle(tmp_path / "a.pyz")
    subprocess.run(
        [sys.executable, "-P", "-m", "tickpath.rt.bundle", str(tmp_path / "b.pyz")],
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "b.pyz").read_bytes()


def rewritten(source: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive, each member as it is changed; None leaves it out."""
    target = source.with_name("rewritten.pyz")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def test_bundle_runs_compiled_where_this_python_compiled_it(tmp_path: Path) -> None:
    bundle.write_bundle(tmp_path / "rt.pyz")
    broken = rewritten(
        tmp_path / "rt.pyz", lambda name, data: data if name.endswith(".pyc") else b"not Python"
    )
    done = run_bundle(broken, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    only = rewritten(tmp_path / "rt.pyz", lambda name, data: data if name[-1] == "c" else None)
    assert run_bundle(only, "check", "--list").returncode == 0


def test_bundle_compiled_by_another_python_runs_from_its_sources(tmp_path: Path) -> None:
    bundle.write_bundle(tmp_path / "rt.pyz")
    foreign = rewritten(
        tmp_path / "rt.pyz",
        lambda name, data: b"\0\0\r\n" + data[4:] if name.endswith(".pyc") else data,
    )
    done = run_bundle(foreign, "check", "--list")
    assert (done.returncode, done.stderr) == (0, "")


def test_bundle_compiled_names_files_by_their_place_in_it(tmp_path: Path) -> None:
    """A traceback names no path of the machine that packed."""
    bundle.write_bundle(tmp_path / "rt.pyz")
    done = subprocess.run(
        [INTERPRETER, "-I", "-c", SHOW_TRACEBACK, str(tmp_path / "rt.pyz")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert 'File "tickpath/rt/limits.py", line' in done.stderr


def test_bundle_whose_code_has_no_form_is_of_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise ValueError("unmarshallable object")

    monkeypatch.setattr(marshal, "dumps", refuse)
    bundle.write_bundle(tmp_path / "rt.pyz")
    done = run_bundle(tmp_path / "rt.pyz", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_bundle_unknown_command_is_told_in_one_line(tmp_path: Path) -> None:
    target = tmp_path / "rt.pyz"
    bundle.write_bundle(target)
    done = run_bundle(target, "tune")
    assert done.returncode == 2
    assert done.stderr.startswith("tickpath: 'tune' is no command of rt; ")
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
        [sys.executable, "-P", "-m", "tickpath.rt", "check", "--all", "--root", str(tree.root)],
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
