"""Pack rt into one file that a bare host's python3 (3.11 or newer) runs, without installing.

`python -P -m tickpath.rt.bundle OUT.pyz`, or `make zipapp`. Each module is in it as source, and
compiled for the Python that packs: a host with that Python imports it without compiling, which is
most of what a short command takes; any other Python finds a foreign number in it and takes the
source. The same sources and the same Python give the same bytes.
Called by: `make zipapp`, the Ansible roles. Calls: nothing of ours; packs the folder it lies in.
Source: PEP 552 (the compiled file), the zipimport module (which file is taken).
"""

from __future__ import annotations

import marshal
import sys
import zipfile
from importlib.util import MAGIC_NUMBER, source_hash
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
BY_UNCHECKED_HASH = (1).to_bytes(4, "little")  # not by the source's time, and never compared
# Later formats share objects by how often this process happens to refer to them.
MARSHAL_FORMAT = 2


def write_bundle(target: Path) -> None:
    """Write the executable archive of all modules of rt."""
    room = Path(__file__).parent
    with target.open("wb") as out:
        out.write(SHEBANG)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            add_module(archive, "__main__.py", MAIN.encode())
            add_module(archive, "tickpath/__init__.py", b"")
            for path in sorted(room.rglob("*.py")):
                add_module(archive, f"tickpath/rt/{path.relative_to(room)}", path.read_bytes())
    target.chmod(0o755)


def add_module(archive: zipfile.ZipFile, name: str, source: bytes) -> None:
    """Add a module's source and, where it can be stored, its code."""
    add(archive, name, source)
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    try:
        body = marshal.dumps(code, MARSHAL_FORMAT)
    except ValueError:  # Python 3.14 has constants (slices) that this format has no form for
        return
    add(archive, f"{name}c", MAGIC_NUMBER + BY_UNCHECKED_HASH + source_hash(source) + body)


def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


def main(argv: list[str]) -> int:
    """Write the archive that is named."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -P -m tickpath.rt.bundle OUT.pyz", file=sys.stderr)
        return 2
    write_bundle(Path(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
