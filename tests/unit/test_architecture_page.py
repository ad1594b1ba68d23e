"""What pages say is there, is: each invariant's test, files, functions, links, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tickpath.engine.bench.command import BENCHES
from tickpath.engine.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
SECTION = PAGE.read_text().partition("## Invariants")[2].partition("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| ")][1:]
HOLDER = re.compile(r"`(tests/[\w/.]+)(?:::(\w+))?`")
# Names of files and folders of ours; a bare one is looked for in every room.
FILE = re.compile(r"`([\w/]+\.(?:c|h|py|toml|md))`")
ROOMS = ("proto", "shm", "rt", "netstack", "engine", "tests", "docs")


def missing(cell: str) -> list[str]:
    """Return which tests named in a cell are not there."""
    return [
        f"{path}::{name}"
        for path, name in HOLDER.findall(cell)
        if not (ROOT / path).exists() or (name and f"{name}(" not in (ROOT / path).read_text())
    ]


def test_invariants_are_read_from_the_page() -> None:
    assert len(ROWS) >= 19
    assert {len(row) for row in ROWS} == {3}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row[0])[:40])
def test_invariant_names_a_test_that_exists(row: list[str]) -> None:
    assert HOLDER.search(row[2]), row
    assert missing(row[2]) == []


def test_invariant_whose_test_is_gone_is_found() -> None:
    assert missing("`tests/unit/test_cli.py::test_nothing_of_this_name`")
    assert missing("`tests/unit/test_no_such_file.py`")


def test_files_that_the_page_names_exist() -> None:
    gone = []
    for name in set(FILE.findall(PAGE.read_text())):
        found = [ROOT / name] if "/" in name else [p for r in ROOMS for p in (ROOT / r).rglob(name)]
        found += [ROOT / name, *(ROOT / room / name for room in ROOMS)]
        if not any(path.exists() for path in found):
            gone.append(name)
    assert gone == []


def test_functions_that_the_page_names_exist() -> None:
    sources = "\n".join(
        path.read_text() for room in ROOMS[:5] for path in (ROOT / room).rglob("*.[ch]")
    )
    names = set(re.findall(r"`(tp_\w+)`", PAGE.read_text()))
    assert names
    assert [name for name in names if f"{name}(" not in sources and f" {name}" not in sources] == []


PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_names_all_benchmarks_and_commands() -> None:
    text = (ROOT / "README.md").read_text()
    (row,) = re.findall(r"^\| `tickpath bench NAME` \|(.*)$", text, re.M)
    assert set(re.findall(r"`([\w-]+)`", row)) == set(BENCHES)
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `tickpath"))
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", table)] == []


def test_decisions_are_numbered_one_by_one() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert numbers == [f"{number:04}" for number in range(1, len(pages) + 1)]
    assert [page.read_text()[2:6] for page in pages] == numbers
