"""Build the release that the appliance role unpacks on hosts: one zip, nothing to fetch or compile.

    python ansible/release.py build/release          (or `make wheelhouse`)

Takes the versions that this environment has, so that a host runs what was tested here: their wheels
are installed by pip into a folder, and what comes of it is packed, compiled. A host then needs no
pip, and its units, which may not write there, import compiled modules. The same wheels give the
same name. Called by: make. Calls: pip, compileall.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
ITSELF = "tickpath"
SITE_PACKAGES = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
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
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"  # meson and ninja
    subprocess.run(command, cwd=PROJECT, check=True, env={**os.environ, "PATH": path})


def fetch_wheels(folder: Path, versions: dict[str, str]) -> None:
    """Build tickpath's wheel and gather the others'."""
    build = PROJECT / "build" / f"cp{sys.version_info.major}{sys.version_info.minor}"
    pip("wheel", "--no-deps", "--no-build-isolation", f"--config-settings=build-dir={build}",
        "--wheel-dir", str(folder), ".")  # fmt: skip
    others = [f"{name}=={version}" for name, version in versions.items() if name != ITSELF]
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), *others)


def install(wheels: Path, versions: dict[str, str], folder: Path, name: str) -> None:
    """Install the wheels into a folder, and compile them as what they will be on the host.

    Their modules are never looked at again for being newer: a version's folder does not change.
    """
    names = [f"{name}=={version}" for name, version in versions.items()]
    pip("install", "--no-index", "--find-links", str(wheels), "--no-deps", "--no-compile",
        "--target", str(folder), *names)  # fmt: skip
    shutil.rmtree(folder / "bin")  # scripts that name this machine's Python
    for tests in sorted(folder.rglob("tests")):  # a fifth of all files
        if tests.is_dir() and tests.relative_to(folder).parts[0] != ITSELF:
            shutil.rmtree(tests)
    lasting = f"/opt/tickpath/versions/{name}/{SITE_PACKAGES}"
    compiled = [sys.executable, "-P", "-m", "compileall", "-q", "-j", "0", "-s", str(folder)]
    compiled += ["-p", lasting, "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(compiled, check=True)


def digest(folder: Path) -> str:
    """Name the contents: how they are made, and of what: a wheel's members, not its bytes, which
    hold the time it was built."""
    summed = hashlib.sha256(Path(__file__).read_bytes() + SITE_PACKAGES.encode())
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in sorted(archive.infolist(), key=lambda one: one.filename):
                summed.update(f"{wheel.name} {member.filename} {member.CRC:08x}\n".encode())
    return summed.hexdigest()[:8]


def write_release(target: Path, tree: Path) -> None:
    """Pack what was installed, and last the mark that all of it was unpacked."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            add(archive, f"{SITE_PACKAGES}/{path.relative_to(tree)}", path.read_bytes())
        add(archive, "complete", b"")


def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
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
        wheels, tree = Path(made) / "wheels", Path(made) / "tree"
        fetch_wheels(wheels, versions)
        release = folder / f"{ITSELF}-{versions[ITSELF]}-{digest(wheels)}.zip"
        if not release.exists():
            install(wheels, versions, tree, release.stem)
            write_release(Path(made) / release.name, tree)
            for old in folder.glob(f"{ITSELF}-*.zip"):
                old.unlink()
            (Path(made) / release.name).rename(release)
    print(release)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
