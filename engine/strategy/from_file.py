"""A strategy's .py file as a module with a name of its own, here and in spawned children.

`…/queue.py` becomes `tickpath.engine.strategy.from_file.queue`: it takes nobody's place in
sys.modules, whatever the file is called. Processes that multiprocessing starts anew (spawn,
forkserver) import what a strategy's functions are pickled by, which is that name: importing this
module, its parent, puts the finder there, and the environment says which file it is. The file's
folder comes last on the path: what lies beside it can be imported, and hides nothing that the
standard library or an installed package has.

Those processes begin by `python -c`, which puts the current directory first on the path before it
has imported anything: a types.py there would be run, as root maybe. So they begin by -P, as all
children of ours do. Called by: command, and Python's import in children.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

VARIABLE = "TICKPATH_STRATEGY_FILE"
# Not public, and the one place that spawn, forkserver and the resource tracker ask.
FLAGS = "_args_from_interpreter_flags"
__path__: list[str] = []  # Python imports names below a module that has one


def module_name(path: Path) -> str:
    """Return the full name of a file's module."""
    return f"{__name__}.{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}"


class Finder:
    """Find the one module below this one."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the strategy's file, None for all other names."""
        file = os.environ.get(VARIABLE)
        if file is None or name != module_name(Path(file)):
            return None
        return spec_from_file_location(name, file)


sys.meta_path.append(Finder)  # at import: a child imports this module only for what it finds


def keep_children_safe() -> None:
    """Let multiprocessing start its processes by -P, whatever this one was started by."""
    from multiprocessing import util  # noqa: PLC0415 - of a strategy's process alone

    of_before: Callable[[], list[str]] = getattr(util, FLAGS)
    if "-P" not in of_before():
        setattr(util, FLAGS, lambda: [*of_before(), "-P"])


def import_file(path: Path) -> ModuleType:
    """Import a strategy's file; raises what its code raises."""
    whole = path.resolve()
    folder = os.fspath(whole.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    os.environ[VARIABLE] = os.fspath(whole)
    sys.modules.pop(module_name(whole), None)  # another file of this name
    return importlib.import_module(module_name(whole))
