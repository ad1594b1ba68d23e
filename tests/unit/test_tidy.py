"""Style that no formatter holds: sizes, names, reasons for suppressions, files in pairs.

Each rule is a function from a tree to complaints, each complaint says the remedy, and each rule is
shown a planted violation.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 5
VAGUE = frozenset({"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"})
CODE = frozenset({".py", ".c", ".h", ".cdef", ".sh"})
# Written in pieces, so that this file passes its own rule.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("galaxy", "ansible", "com"),
        ("docker", "io"),
    )
)
PYTHON_SUPPRESSION = re.compile(
    r"#\s*noqa(?::\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*)?"
    r"|#\s*type:\s*ignore(?:\[[a-z0-9, -]*\])?"
)
C_SUPPRESSION = re.compile(
    r"NOLINT\w*(?:\([^)]*\))?"
    r"|#\s*pragma\s+(?:GCC|clang)\s+diagnostic\s+ignored\s+\"[^\"]*\""
    r"|clang-format off"
)
C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
REASON_LETTERS_MIN = 8
# `python -m tickpath` takes the current directory off the path itself.
UNSAFE_MODULE = re.compile(r"python3? -m tickpath\.")


@dataclass(frozen=True, slots=True)
class Tree:
    """The files to judge: their root, and their paths relative to it."""

    root: Path
    names: tuple[Path, ...]

    def text_files(self) -> Iterator[tuple[Path, str]]:
        for name in self.names:
            path = self.root / name
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                if b"\0" not in data and "corpus" not in name.parts:
                    yield name, data.decode(errors="replace")

    def code(self, *suffixes: str) -> Iterator[tuple[Path, str]]:
        wanted = suffixes or tuple(CODE)
        return ((name, text) for name, text in self.text_files() if name.suffix in wanted)


def this_tree() -> Tree:
    """List what git has or would have; ignored files are nobody's style."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return Tree(ROOT, tuple(sorted({Path(name) for name in listed.split("\0") if name})))


def check_file_length(tree: Tree) -> list[str]:
    return [
        f"{name}: {lines} lines of {FILE_LINES_MAX}; split it by what changes for one reason"
        for name, text in tree.code()
        if (lines := text.count("\n")) > FILE_LINES_MAX
    ]


def check_function_length(tree: Tree) -> list[str]:
    functions = [*python_functions(tree), *c_functions(tree)]
    return [
        f"{place}: {lines} lines of {FUNCTION_LINES_MAX}; keep decisions, move work to leaves"
        for place, lines in functions
        if lines > FUNCTION_LINES_MAX
    ]


def python_functions(tree: Tree) -> Iterator[tuple[str, int]]:
    for name, text in tree.code(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                last = node.end_lineno or node.lineno
                yield f"{name}:{node.lineno} {node.name}", last - node.lineno + 1


def c_functions(tree: Tree) -> Iterator[tuple[str, int]]:
    """Our clang-format style opens a function, and nothing else, by a brace in column 0."""
    for name, text in tree.code(".c", ".h"):
        opened = 0
        for number, line in enumerate(text.splitlines(), 1):
            if line == "{":
                opened = number
            elif line.startswith("}") and opened:
                yield f"{name}:{opened}", number - opened + 1
                opened = 0


def check_c_parameters(tree: Tree) -> list[str]:
    """ruff counts those of Python."""
    found = []
    for name, commented in tree.code(".c", ".h"):
        text = C_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), commented)
        for match in re.finditer(r"^\w[^\n;{}()#]*\(([^;{}]*)\)\n\{\n", text, re.MULTILINE):
            # A pointer and its count say one thing.
            names = [part.split()[-1] for part in match[1].split(",")]
            count = sum(not name.endswith(("count", "size", "capacity")) for name in names)
            if count > PARAMETERS_MAX:
                line = text.count("\n", 0, match.end() - 1)
                found.append(
                    f"{name}:{line}: {count} parameters of {PARAMETERS_MAX}; pass a struct instead"
                )
    return found


def check_doors(tree: Tree) -> list[str]:
    """Who comes to a folder reads its __init__.py: it names every module and every C file.

    Folders of venues are looked through by the programs, not listed. A folder of C alone whose
    files share a header of parts has its reading order there.
    """
    named: dict[Path, str] = {
        name.parent: ast.get_docstring(ast.parse(text)) or ""
        for name, text in tree.code(".py")
        if name.name == "__init__.py" and name.parts[0] != "tests" and name.parent.name != "venues"
    }
    doors = dict.fromkeys(named, "__init__.py")
    for name, text in tree.code(".h"):
        if name.stem.endswith("_parts"):
            named[name.parent], doors[name.parent] = text.partition("*/")[0], name.name
    return [
        f"{name.parent}/{doors[name.parent]}: no word of {name.name}; name it where it is read"
        for name in tree.names
        if name.suffix in {".py", ".c"} and name.parent in named and name.stem != "__init__"
        if not re.search(rf"(?<![\w-]){re.escape(name.stem)}(?![\w-])", named[name.parent])
    ]


def check_vague_names(tree: Tree) -> list[str]:
    return [
        f"{name}: a vague name; say what is in it (a noun of the field), or put it where it is used"
        for name in tree.names
        if VAGUE & {word for part in name.parts for word in re.split(r"[._-]", part)}
    ]


def check_cdef_has_header(tree: Tree) -> list[str]:
    return [
        f"{name}: no {name.stem}.h beside it, which the extension includes; add the header"
        for name in tree.names
        if name.suffix == ".cdef" and name.with_suffix(".h") not in tree.names
    ]


def check_final_newline(tree: Tree) -> list[str]:
    return [
        f"{name}: does not end with a newline; add one"
        for name, text in tree.text_files()
        if text and not text.endswith("\n")
    ]


def check_suppressions(tree: Tree) -> list[str]:
    found = []
    for name, text in tree.code(".py", ".c", ".h"):
        suppression = PYTHON_SUPPRESSION if name.suffix == ".py" else C_SUPPRESSION
        for number, line in enumerate(text.splitlines(), 1):
            match = suppression.search(line)
            if match and len(re.findall(r"[A-Za-z]", line[match.end() :])) < REASON_LETTERS_MIN:
                found.append(
                    f"{name}:{number}: {match[0]} without a reason; say on the line why the rule "
                    "is wrong here"
                )
    return found


def check_registry_hosts(tree: Tree) -> list[str]:
    return [
        f"{name}: names {host}; use the machine's own package configuration"
        for name, text in tree.text_files()
        for host in REGISTRIES
        if re.search(rf"\b{re.escape(host)}\b", text)
    ]


def check_venue_readme(tree: Tree) -> list[str]:
    """A venue's facts change under our feet, so each decoder has them with source and date."""
    return [
        f"{name.parent}: no README.md; write each fact of the venue with its source and date"
        for name in tree.names
        if name.parts[:2] == ("proto", "venues")
        and name.name == "decode.c"
        and name.parent / "README.md" not in tree.names
    ]


def check_safe_path(tree: Tree) -> list[str]:
    """`python -m` and `-c` put the current directory first on the path: whoever can write a
    json.py there would run as us, root maybe."""
    found = []
    for name, text in tree.code(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.List | ast.Tuple):
                words = [ast.unparse(one) for one in node.elts]
                found += [
                    f'{name}:{node.lineno}: {word} with {after}; put "-P" between them'
                    for word, after in itertools.pairwise(words)
                    if word == "sys.executable" and after in ("'-m'", "'-c'", "'-B'")
                ]
    for name, text in tree.text_files():
        for number, line in enumerate(text.splitlines(), 1):
            if UNSAFE_MODULE.search(line):
                found.append(f"{name}:{number}: python -m without -P; write python3 -P -m")
    return found


RULES: tuple[Callable[[Tree], list[str]], ...] = (
    check_file_length,
    check_function_length,
    check_c_parameters,
    check_doors,
    check_vague_names,
    check_cdef_has_header,
    check_final_newline,
    check_suppressions,
    check_registry_hosts,
    check_venue_readme,
    check_safe_path,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
def test_tidy_this_tree_keeps_the_rule(rule: Callable[[Tree], list[str]]) -> None:
    found = rule(this_tree())
    assert not found, "\n".join(found)


def planted(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(root, tuple(Path(name) for name in files))


def python_function(lines: int) -> str:
    return "def f():\n" + "    x = 1\n" * (lines - 1)


def c_function(lines: int) -> str:
    return "int f(void)\n{\n" + "    x();\n" * (lines - 2) + "}\n"


NO_QA = "# no" + "qa"
IGNORE = "# type: " + "ignore"
PRAGMA = "#pragma GCC diagnostic " + "ignored"
PYTHON_M = "python3 " + "-m"  # in pieces, as REGISTRIES

BROKEN: list[tuple[Callable[[Tree], list[str]], dict[str, str], str]] = [
    (check_file_length, {"shm/a.py": "x = 1\n" * 801}, "split"),
    (check_function_length, {"shm/a.py": python_function(71)}, "leaves"),
    (check_function_length, {"shm/a.c": c_function(71)}, "leaves"),
    (
        check_c_parameters,
        {"a.c": "\nint f(int a, int b, int c,\n  int d, int e, int g)\n{\n}\n"},
        "st",
    ),
    (check_doors, {"shm/__init__.py": "'ring.py'", "shm/clock.c": ""}, "word of clock.c"),
    (check_doors, {"rt/a/__init__.py": "", "rt/a/command.py": ""}, "word of command.py"),
    (check_doors, {"rt/__init__.py": "'sub_command'", "rt/command.py": ""}, "word of command.py"),
    (
        check_doors,
        {"a/b_parts.h": "/* c.c */ d", "a/c.c": "", "a/d.c": ""},
        "b_parts.h: no word of d",
    ),
    (check_vague_names, {"shm/string_utils.py": ""}, "noun"),
    (check_vague_names, {"shm/common/ring.py": ""}, "noun"),
    (check_cdef_has_header, {"shm/a.cdef": "", "shm/b.h": ""}, "a.h"),
    (check_final_newline, {"README.md": "no end"}, "add one"),
    (check_suppressions, {"a.py": f"x = 1  {NO_QA}: E501\n"}, "why"),
    (check_suppressions, {"a.py": f"x = 1  {IGNORE}[attr-defined]\n"}, "why"),
    (check_suppressions, {"a.c": f'{PRAGMA} "-Wconversion"\n'}, "why"),
    (check_registry_hosts, {"a.sh": f"curl https://{REGISTRIES[0]}/simple\n"}, "configuration"),
    (check_venue_readme, {"proto/venues/x/decode.c": ""}, "source and date"),
    (check_safe_path, {"a.py": 'x = [sys.executable, "-m", "y"]\n'}, "between them"),
    (check_safe_path, {"a.py": 'x = ["exec", sys.executable, "-c", y]\n'}, "between them"),
    (check_safe_path, {"docs/a.md": f"run {PYTHON_M} tickpath.rt check\n"}, "-P -m"),
]

SOUND: list[tuple[Callable[[Tree], list[str]], dict[str, str]]] = [
    (check_file_length, {"shm/a.py": "x = 1\n" * 800}),
    (check_function_length, {"shm/a.py": python_function(70), "shm/a.c": c_function(70)}),
    (check_c_parameters, {"a.c": "\nint f(int a, int b, int c,\n  int d, int e)\n{\n}\n"}),
    (check_doors, {"shm/__init__.py": "'clock.{h,c}'", "shm/clock.c": ""}),
    (check_doors, {"a/b_parts.h": "/* c.{h,c} */", "a/c.c": ""}),
    (check_doors, {"proto/venues/__init__.py": "", "proto/venues/one.py": "", "shm/lone.c": ""}),
    (check_vague_names, {"shm/ring.py": "", "shm/commonwealth.py": ""}),
    (check_cdef_has_header, {"shm/a.cdef": "", "shm/a.h": ""}),
    (check_final_newline, {"README.md": "an end\n", "py.typed": ""}),
    (check_suppressions, {"a.py": f"x = 1  {NO_QA}: E501 - the vector is one line in the RFC\n"}),
    (check_suppressions, {"a.c": f'{PRAGMA} "-Wpedantic" // cffi writes this, not we\n'}),
    (check_registry_hosts, {"a.sh": "pip install x\n"}),
    (check_venue_readme, {"proto/venues/x/decode.c": "", "proto/venues/x/README.md": ""}),
    (check_safe_path, {"a.py": 'x = [sys.executable, "-P", "-m", "y"], [sys.executable, path]\n'}),
    (
        check_safe_path,
        {"docs/a.md": f"{PYTHON_M} tickpath stat, {PYTHON_M[:-1]}P -m tickpath.rt\n"},
    ),
]


@pytest.mark.parametrize(("rule", "files", "remedy"), BROKEN)
def test_tidy_planted_violation_is_found(
    tmp_path: Path, rule: Callable[[Tree], list[str]], files: dict[str, str], remedy: str
) -> None:
    (found,) = rule(planted(tmp_path, files))
    assert next(iter(files)).split("/")[0] in found
    assert remedy in found


@pytest.mark.parametrize(("rule", "files"), SOUND)
def test_tidy_just_valid_tree_is_not_found(
    tmp_path: Path, rule: Callable[[Tree], list[str]], files: dict[str, str]
) -> None:
    assert rule(planted(tmp_path, files)) == []
