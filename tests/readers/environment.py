"""An environment of its own for the readers of our exports: they want an old numpy.

    python -m tests.readers.environment

makes it where the cache lacks it: some 60 MB to fetch, 350 MB on disk, a minute. hftbacktest is
installed without what it only plots and converts with. The cache is TICKPATH_READERS_CACHE, else
tickpath/readers of the user's cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

REQUIREMENTS: Final = ("numpy>=2.0,<2.3", "numba~=0.61", "pandas>=2.2,<3")
ALONE: Final = ("hftbacktest==2.4.4",)
"""Without what they depend on."""
CACHE_VARIABLE: Final = "TICKPATH_READERS_CACHE"
PATIENCE_S: Final = 900


class EnvironmentMissingError(Exception):
    """Raised where it is not there and cannot be made, with the reason."""


def folder() -> Path:
    """Return where it is, or would be: by what stands in it."""
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(named) if named else base / "tickpath" / "readers"
    wanted = "\n".join((*REQUIREMENTS, *ALONE, sys.version.split()[0], _base_python()))
    return cache / hashlib.sha256(wanted.encode()).hexdigest()[:16]


def _base_python() -> str:
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def interpreter() -> Path:
    """Return its Python, making it first where it is missing; raises EnvironmentMissingError."""
    place = folder()
    python, stamp = place / "bin" / "python", place / "made"
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(place, ignore_errors=True)
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
            _run([_base_python(), "-m", "venv", str(place)])
            _run([*pip, *REQUIREMENTS])
            _run([*pip, "--no-deps", *ALONE])
            stamp.touch()
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissingError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise EnvironmentMissingError(f"{' '.join(command)}: {last}")


def lack() -> str | None:
    """Return why it cannot be had, or None."""
    try:
        interpreter()
    except EnvironmentMissingError as error:
        return f"an environment for hftbacktest and pandas ({error})"
    return None


if __name__ == "__main__":
    reason = lack()
    print(reason or folder())
    sys.exit(reason is not None)
