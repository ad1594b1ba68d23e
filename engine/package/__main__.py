"""`python -m tickpath`: the same as the `tickpath` script.

Installed as tickpath/__main__.py. Python puts the current directory first on its path for `-m`, so
that a json.py beside a configuration file would be run in place of the standard library's, as root
maybe: it is taken off before anything is imported. Calls: engine/cli.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; return its exit status."""
    if not sys.flags.safe_path:  # with -P it is not there
        del sys.path[0]
    from tickpath.engine.cli import main as run  # noqa: PLC0415 # only now is the path safe

    return run()


if __name__ == "__main__":
    sys.exit(main())
