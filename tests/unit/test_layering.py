"""Who may import whom, for Python imports and C includes alike (docs/architecture.md, Rooms)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tickpath import _bench, _core

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "tickpath"
MAY_USE: dict[str, frozenset[str]] = {
    "proto": frozenset({"proto"}),
    "shm": frozenset({"shm"}),
    "rt": frozenset({"rt"}),
    "netstack": frozenset({"netstack", "shm"}),
    "engine": frozenset({"engine", "netstack", "proto", "rt", "shm"}),
}
# Not installed: they use the package as any user does, by its full name. ansible/ uses only the
# installed command.
OUTSIDE: dict[str, frozenset[str]] = {
    "tests": frozenset(MAY_USE),
    "examples": frozenset(MAY_USE),
    "ansible": frozenset(),
}
BENCH_MODULE, BENCH_FOLDER = f"{PACKAGE}._bench", Path("engine", "bench")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def violations(root: Path) -> list[str]:
    """List the breaches below `root`, each with its place and its remedy."""
    found: list[str] = []
    for room, allowed in (MAY_USE | OUTSIDE).items():
        for path in sorted((root / room).rglob("*.py")):
            found += python_violations(path, path.relative_to(root), room, allowed)
        if room in MAY_USE:
            for path in sorted((root / room).rglob("*.[ch]")):
                found += c_violations(path, path.relative_to(root), room)
    return found


def python_violations(path: Path, place: Path, room: str, allowed: frozenset[str]) -> list[str]:
    found = []
    for line, module in imported_modules(ast.parse(path.read_text()), place):
        first, _, rest = module.partition(".")
        where = f"{place}:{line}"
        if first in MAY_USE:
            found.append(
                f"{where}: imports {module}, which makes a second module object; "
                f"import {PACKAGE}.{module}"
            )
        if f"{module}.".startswith(f"{BENCH_MODULE}.") and (
            room in MAY_USE and BENCH_FOLDER not in place.parents
        ):
            found.append(f"{where}: imports {module}; only engine/bench may: use {PACKAGE}._core")
        target = rest.partition(".")[0]
        if first == PACKAGE and target in MAY_USE and target not in allowed:
            found.append(f"{where}: imports {module}; {remedy(room, target, allowed)}")
    return found


def imported_modules(tree: ast.Module, place: Path) -> list[tuple[int, str]]:
    """Full names of what a file imports, with lines; relative imports resolved."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = (PACKAGE, *place.parts[: -node.level])
                base = ".".join([*package, *([base] if base else [])])
            # `from tickpath import engine` names the room only after `import`.
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def c_violations(path: Path, place: Path, room: str) -> list[str]:
    found = []
    text = path.read_text()
    for match in INCLUDE.finditer(text):
        target = match[1].partition("/")[0]
        where = f"{place}:{text.count(chr(10), 0, match.start()) + 1}"
        if target not in MAY_USE:
            found.append(
                f'{where}: includes "{match[1]}"; write the path from the root: "{room}/…"'
            )
        elif target not in MAY_USE[room]:
            found.append(f'{where}: includes "{match[1]}"; {remedy(room, target, MAY_USE[room])}')
    return found


def remedy(room: str, target: str, allowed: frozenset[str]) -> str:
    known = ", ".join(sorted(allowed - {room})) or "no other room"
    return f"{room}/ may use {known}: hand what it needs of {target}/ in from engine/"


def test_layering_of_this_tree_has_no_violation() -> None:
    found = violations(ROOT)
    assert not found, "\n".join(found)


def bench_functions() -> set[str]:
    text = "".join(path.read_text() for path in (ROOT / BENCH_FOLDER).glob("*.cdef"))
    return set(re.findall(r"\b(tp_\w+)\(", text))


def test_layering_product_holds_no_code_of_the_benchmarks() -> None:
    names = bench_functions()
    assert names <= set(dir(_bench.lib))
    code = Path(_core.__file__).read_bytes()
    found = {name for name in names if name in dir(_core.lib) or name.encode() in code}
    assert not found, f"keep engine/bench out of what _core links: {sorted(found)}"


def plant(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "remedy_words"),
    [
        ("shm/ring.py", "from tickpath.engine import book\n", "no other room"),
        ("shm/ring.py", "from tickpath import engine\n", "no other room"),
        ("shm/ring.py", "def f():\n    import tickpath.proto.records\n", "no other room"),
        ("netstack/tcp/x.py", "from tickpath.proto import records\n", "may use shm"),
        ("netstack/tcp/x.py", "from ...engine import book\n", "may use shm"),
        ("rt/process.py", "import tickpath.shm.errors\n", "no other room"),
        ("tests/unit/test_x.py", "import netstack.tcp\n", "import tickpath.netstack.tcp"),
        ("engine/x.py", "from shm import ring\n", "import tickpath.shm.ring"),
        ("ansible/x.py", "import tickpath.rt.process\n", "no other room"),
        ("engine/x.py", "from tickpath._bench import lib\n", "only engine/bench"),
        ("shm/x.py", "from tickpath import _bench\n", "only engine/bench"),
        ("proto/x.c", '#include "shm/clock.h"\n', "no other room"),
        ("netstack/x.h", '  #  include "engine/feed/feed.h"\n', "may use shm"),
        ("netstack/tcp/x.c", '#include "connection.h"\n', "from the root"),
    ],
)
def test_layering_planted_violation_is_found(
    tmp_path: Path, name: str, text: str, remedy_words: str
) -> None:
    plant(tmp_path, name, text)
    (found,) = violations(tmp_path)
    assert name in found
    assert remedy_words in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("netstack/tcp/x.py", "from tickpath.shm.errors import LocalError\n"),
        ("netstack/tcp/x.py", "from . import connection\n"),
        ("engine/x.py", "import tickpath.netstack.session\nfrom tickpath._core import lib\n"),
        ("engine/bench/x.py", "from tickpath._bench import lib\n"),
        ("rt/x.py", "import protobuf, os\n"),
        (
            "netstack/x.c",
            '#include <engine.h>\n#include "shm/clock.h"\n#include "netstack/span.h"\n',
        ),
    ],
)
def test_layering_allowed_use_is_not_found(tmp_path: Path, name: str, text: str) -> None:
    plant(tmp_path, name, text)
    assert violations(tmp_path) == []
