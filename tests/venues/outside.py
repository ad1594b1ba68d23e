"""The venue of the tests, outside of the tree as its users' would be: compiled, found, named.

Imported by conftest.py, and by tests of tests/sim, before any test asks for a venue's name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tickpath.proto.venues import FOLDERS_VARIABLE, venue_names

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUTSIDE = ("toy",)
DOCUMENT = ROOT / "docs" / "contributing.md"


def documented_command() -> str:
    """Return the command that the document gives for compiling a venue's folder."""
    (found,) = re.findall(r"^(cc .*\\\n.*_decoder\.so.*)$", DOCUMENT.read_text(), re.M)
    return str(found)


@cache
def install() -> tempfile.TemporaryDirectory[str]:
    """Copy the folders to a new one, compile them there, and have all processes find it; once."""
    place = tempfile.TemporaryDirectory(prefix="tickpath-venues-")
    for name in OUTSIDE:
        folder = Path(place.name) / name
        shutil.copytree(HERE / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run(
            ["bash", "-euc", documented_command()],
            cwd=ROOT,
            env=os.environ | {"VENUE": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{documented_command()}\n{done.stderr}")
    os.environ[FOLDERS_VARIABLE] = place.name
    venue_names.cache_clear()
    return place


def samples_path(name: str) -> Path:
    """Return a venue's samples in this tree."""
    home = HERE if name in OUTSIDE else ROOT / "proto" / "venues"
    return home / name / "samples.ndjson"
