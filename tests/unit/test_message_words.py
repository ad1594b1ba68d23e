"""Messages for people: no exception's own text where it is a Python repr, held over all sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "netstack", "proto", "rt", "shm")
# What prints as "[Errno 13] Permission denied: 'x'"; of others the text is the message.
WITH_NUMBERS = {
    *("OSError", "PermissionError", "FileNotFoundError", "ConnectionError", "IsADirectoryError"),
    *("FileExistsError", "NotADirectoryError", "BlockingIOError", "ProcessLookupError"),
}


def names_of(kind: ast.expr | None) -> set[str]:
    parts = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return {one.id for one in parts if isinstance(one, ast.Name)}


def printed_whole(tree: ast.AST) -> list[int]:
    """Return the lines where a caught OSError is put into a text as it is."""
    found: list[int] = []
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or not names_of(handler.type) & WITH_NUMBERS:
            continue
        found += [
            node.lineno
            for node in ast.walk(handler)
            if isinstance(node, ast.FormattedValue)
            and isinstance(node.value, ast.Name)
            and node.value.id == handler.name
        ]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_no_message_has_the_repr_of_a_system_error(room: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in printed_whole(ast.parse(path.read_text()))
    }
    assert not found, "write {error.strerror or error}"


def test_repr_of_a_system_error_is_seen() -> None:
    text = "try:\n    f()\nexcept (OSError, ValueError) as e:\n    print(f'no: {e}')\n"
    assert printed_whole(ast.parse(text)) == [4]
    assert printed_whole(ast.parse(text.replace("{e}", "{e.strerror or e}"))) == []
    assert printed_whole(ast.parse(text.replace("(OSError, ValueError)", "KeyError"))) == []


def test_folder_of_the_name_of_a_strategy_is_called_one(tmp_path: Path) -> None:
    """Python imports any folder as a package that is empty and has no file."""
    (tmp_path / "mine").mkdir()
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "strategy", "mine:Mine"]
    done = subprocess.run(
        [*command, "--instance", "none"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"Mine is not there in the folder {tmp_path / 'mine'}; derive it" in done.stderr
