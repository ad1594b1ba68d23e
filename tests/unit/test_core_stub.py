"""What mypy knows of _core and _bench is what they are, and mypy refuses what C would not take."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tickpath import _bench, _core

ROOT = Path(__file__).resolve().parents[2]
TYPINGS = ROOT / "typings" / "tickpath"


def classes(module: str) -> dict[str, dict[str, ast.stmt]]:
    """Return the members of each class of a stub."""
    tree = ast.parse((TYPINGS / f"{module}.pyi").read_text())
    return {
        node.name: {member_name(member): member for member in node.body}
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def member_name(member: ast.stmt) -> str:
    if isinstance(member, ast.FunctionDef):
        return member.name
    return ast.unparse(member).partition(":")[0]


def test_stub_names_every_function_and_constant() -> None:
    ours, theirs = set(dir(_core.lib)), set(dir(_bench.lib))
    assert set(classes("_core")["Lib"]) == ours
    assert set(classes("_bench")["Lib"]) == theirs - ours


def test_stub_functions_take_as_many_arguments_as_in_c() -> None:
    for name, node in classes("_core")["Lib"].items():
        if isinstance(node, ast.FunctionDef):
            kind: Any = _core.ffi.typeof(getattr(_core.lib, name))
            arguments = [one for one in node.args.posonlyargs + node.args.args if one.arg != "self"]
            assert len(arguments) == len(kind.args), name


def is_opaque(struct: str) -> bool:
    """Ask before its fields: cffi 2.1 aborts the process on those of an opaque struct."""
    try:
        _core.ffi.sizeof(struct)
    except _core.ffi.error:
        return True
    return False


def test_stub_structs_have_the_fields_of_c() -> None:
    stub = classes("_core")
    for name in (one for one in _core.ffi.list_types()[1] if not one.startswith("$")):
        fields: list[str] = []
        if not is_opaque(f"struct {name}"):
            fields = [field for field, _ in _core.ffi.typeof(f"struct {name}").fields]
        members = stub["".join(word.capitalize() for word in name.split("_"))]
        assert [member for member in members if member != "..."] == fields, name


WRONG = {
    "lib.tp_waker_run()": "Too few arguments",
    "lib.tp_wakerinit": "has no attribute",
    "lib.TP_NOTHING": "has no attribute",
    'lib.tp_segment_schema_hash("text")': "incompatible type",
    "lib.tp_histogram_bucket(1.5)": "incompatible type",
    'lib.tp_waker_stop(ffi.new("struct tp_ring_gate *"))': "incompatible type",
    'ffi.new("struct tp_ring_gate *").limmit': "has no attribute",
    "value: str = lib.tp_histogram_bucket(1)": "Incompatible types in assignment",
}
RIGHT = (
    'lib.tp_segment_schema_hash(b"text")',
    "lib.tp_waker_stop(ffi.NULL)",
    'lib.tp_waker_stop(ffi.new("struct tp_waker *"))',
    'limit: int = ffi.new("struct tp_ring_gate *").limit',
)


@pytest.mark.slow
def test_stub_lets_mypy_refuse_what_c_would_not_take(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    lines = [*WRONG, *RIGHT]
    planted.write_text("from tickpath._core import ffi, lib\n" + "\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", "--no-pretty", f"--cache-dir={tmp_path}", planted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    for number, (line, complaint) in enumerate(zip(errors, WRONG.values(), strict=True), 2):
        assert f"planted.py:{number}:" in line
        assert complaint in line
