"""Say where the C reader's headers and library lie.

`python3 -P -m tickpath.engine.strategy.c_reader` prints the arguments for a C compiler.
Called by: users' builds, tests.
"""

from __future__ import annotations

from pathlib import Path

import tickpath._core

HEADER = "tickpath-reader.h"
LIBRARY = "libtickpath-reader.a"
CLOCK_GETTIME = "-D_POSIX_C_SOURCE=200809L"  # -std=c11 alone hides it


def compiler_arguments() -> list[str]:
    """Return options and the library's path, for an installed or an editable tickpath.

    Raises FileNotFoundError where the library is missing.
    """
    core = Path(tickpath._core.__file__).parent
    installed = core / "include"
    if (installed / HEADER).is_file():
        includes, library = [installed], core / "lib" / LIBRARY
    else:  # editable: the core lies in the build folder, the headers in the rooms
        root = Path(__file__).resolve().parents[2]
        includes, library = [root, root / "engine" / "strategy"], core / "shm" / LIBRARY
    if not library.is_file():
        raise FileNotFoundError(f"{library} is missing: install tickpath again (make setup)")
    return [CLOCK_GETTIME, *(f"-isystem{path}" for path in includes), str(library)]


if __name__ == "__main__":
    print(" ".join(compiler_arguments()))
