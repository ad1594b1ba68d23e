"""Pack rt into one file that a bare host's python3 (3.11 or newer) runs, without installing.

`python -m tickpath.rt.bundle OUT.pyz`, or `make zipapp`. The same sources give the same bytes.
Called by: `make zipapp`, the Ansible roles. Calls: nothing of ours; packs the folder it lies in.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/env python3\n"
PYTHON_MIN = (3, 11)
MAIN = f"""\
import sys

if sys.version_info < {PYTHON_MIN}:
    sys.exit("tickpath rt needs python3 {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer; this is "
             + sys.version.split()[0])
from tickpath.rt.command import main

sys.exit(main())
"""
EARLIEST = (1980, 1, 1, 0, 0, 0)  # of the ZIP format: no time of day gets into the file


def write_bundle(target: Path) -> None:
    """Write the executable archive of all .py files of rt."""
    room = Path(__file__).parent
    with target.open("wb") as out:
        out.write(SHEBANG)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            add(archive, "__main__.py", MAIN)
            add(archive, "tickpath/__init__.py", "")
            for path in sorted(room.rglob("*.py")):
                add(archive, f"tickpath/rt/{path.relative_to(room)}", path.read_text())
    target.chmod(0o755)


def add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, text)


def main(argv: list[str]) -> int:
    """Write the archive that is named."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m tickpath.rt.bundle OUT.pyz", file=sys.stderr)
        return 2
    write_bundle(Path(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
