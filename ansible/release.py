"""Build the release that the appliance role installs: one zip of wheels, nothing to fetch.

    python ansible/release.py build/release          (or `make wheelhouse`)

Takes the versions that this environment has, so that a host runs what was tested here. The same
contents give the same name. Called by: make. Calls: pip.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
ITSELF = "tickpath"
EARLIEST = (1980, 1, 1, 0, 0, 0)  # of the ZIP format: no time of day gets into the file


def versions_needed() -> dict[str, str]:
    """Return name and version of all that tickpath needs at run time, as installed here."""
    found: dict[str, str] = {}
    waiting = [ITSELF]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        installed = importlib.metadata.distribution(name)
        found[name] = installed.version
        for text in installed.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def pip(*words: str) -> None:
    """Run pip; its own words tell what failed."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"  # meson and ninja
    subprocess.run(command, cwd=PROJECT, check=True, env={**os.environ, "PATH": path})


def fetch_wheels(folder: Path, versions: dict[str, str]) -> None:
    """Build tickpath's wheel, gather the others', and pip's own to install them with."""
    build = PROJECT / "build" / f"cp{sys.version_info.major}{sys.version_info.minor}"
    pip("wheel", "--no-deps", "--no-build-isolation", f"--config-settings=build-dir={build}",
        "--wheel-dir", str(folder), ".")  # fmt: skip
    others = [f"{name}=={version}" for name, version in versions.items() if name != ITSELF]
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), *others)
    with tempfile.TemporaryDirectory() as aside:
        pip("wheel", "--no-deps", "--wheel-dir", aside, f"pip=={importlib.metadata.version('pip')}")
        (wheel,) = Path(aside).glob("pip-*.whl")
        wheel.rename(folder / "pip.whl")


def digest(folder: Path) -> str:
    """Name the contents: a wheel's members, not its bytes, which hold the time it was built."""
    summed = hashlib.sha256()
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in sorted(archive.infolist(), key=lambda one: one.filename):
                summed.update(f"{wheel.name} {member.filename} {member.CRC:08x}\n".encode())
    return summed.hexdigest()[:8]


def write_release(target: Path, wheels: Path, requirements: str) -> None:
    """Pack the wheels, what to install of them, and last the mark that all of it was unpacked."""
    with zipfile.ZipFile(target, "w") as archive:  # wheels are compressed already
        for wheel in sorted(wheels.glob("*.whl")):
            add(archive, f"wheels/{wheel.name}", wheel.read_bytes())
        add(archive, "wheels/requirements.txt", requirements.encode())
        add(archive, "wheels/complete", b"")


def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


def main(argv: list[str]) -> int:
    """Write the one release of the folder, in place of an earlier one; print its path."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python ansible/release.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(argv[0]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    versions = versions_needed()
    with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as made:
        wheels = Path(made) / "wheels"
        fetch_wheels(wheels, versions)
        lines = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
        name = f"{ITSELF}-{versions[ITSELF]}-{digest(wheels)}.zip"
        new = Path(made) / name
        write_release(new, wheels, lines)
        for old in folder.glob(f"{ITSELF}-*.zip"):
            old.unlink()
        new.rename(folder / name)
    print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
