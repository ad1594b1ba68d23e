"""The build keeps its promises: assertions stay on, every module is installed, setup is quiet."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("proto", "shm", "rt", "netstack", "engine")
PACKAGE = Path("engine/package")  # what lies beside the rooms
BUILD = ROOT / "build" / f"cp{sys.version_info.major}{sys.version_info.minor}"


def test_build_configured_without_assertions_is_refused(tmp_path: Path) -> None:
    """See docs/adr/0001."""
    done = subprocess.run(
        ["meson", "setup", str(tmp_path / "build"), str(ROOT), "-Db_ndebug=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "asserts stay on" in done.stdout + done.stderr


def named_by_meson(path: Path) -> bool:
    listing = path.parent / "meson.build"
    return listing.is_file() and f"'{path.name}'" in listing.read_text()


def place(path: Path) -> Path:
    """Where a module is installed below tickpath/: its own folder, but for the package's front."""
    relative = path.relative_to(ROOT)
    return Path(relative.name) if relative.parent == PACKAGE else relative


def test_build_installs_every_python_module_at_its_own_place() -> None:
    if not BUILD.is_dir():
        pytest.skip(f"no build folder {BUILD}: run make setup")
    listed = subprocess.run(
        ["meson", "introspect", "--installed", str(BUILD)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed: dict[str, str] = json.loads(listed)
    modules = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    # A module that meson.build names and does not install is a tool of the build.
    wanted = [path for path in modules if str(path) in installed or not named_by_meson(path)]
    missing = [str(path.relative_to(ROOT)) for path in wanted if str(path) not in installed]
    assert not missing, f"add to py.install_sources of the folder's meson.build: {missing}"
    misplaced = [
        f"{path.relative_to(ROOT)} goes to {installed[str(path)]}"
        for path in wanted
        if not installed[str(path)].endswith(f"/tickpath/{place(path)}")
    ]
    assert not misplaced, f"correct the subdir: of {misplaced}"


@pytest.mark.parametrize("name", ["packages.debian", "packages-test.debian"])
def test_packages_each_has_a_reason(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    bare = [line for line in lines if line and not line.startswith("#") and "  # " not in line]
    assert not bare, f"say in a comment what needs it: {bare}"


@pytest.mark.slow
def test_setup_a_second_time_is_silent_and_leaves_the_environment_alone() -> None:
    stamp = ROOT / ".venv" / "tickpath-setup"
    if not stamp.is_file():
        pytest.skip("this tree was not set up by setup.sh")
    before = stamp.stat().st_mtime_ns
    done = subprocess.run([ROOT / "setup.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


PAGES = ("README.md", "docs/contributing.md", "docs/operations.md")


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_make_targets_that_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= targets, f"{page} names make targets that do not exist: {named - targets}"


def test_pre_commit_hooks_call_what_setup_installs() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    hooks = [hook for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}  # downloads nothing
    for hook in hooks:
        program = hook["entry"].split()[0]
        assert shutil.which(program if "/" not in program else ROOT / program), program
