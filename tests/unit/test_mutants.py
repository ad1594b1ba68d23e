"""The lists of planted faults: each can be planted in this tree, and names tests that are there."""

from __future__ import annotations

import argparse
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.run import (
    GRAVE,
    InvalidMutantError,
    Mutant,
    Outcome,
    Tree,
    choose,
    fail_without_fault,
    parse_share,
    read_list,
    read_lists,
    report,
    try_mutant,
)

ROOT = Path(__file__).parents[2]
MUTANTS = read_lists()
COUNT_LEAST, ROOM_COUNT_LEAST = 150, 5


def test_mutants_are_enough_in_every_room() -> None:
    assert len(MUTANTS) >= COUNT_LEAST
    for room, count in Counter(one.room for one in MUTANTS).items():
        assert count >= ROOM_COUNT_LEAST, room


@pytest.mark.parametrize("room", sorted({one.room for one in MUTANTS}))
def test_mutants_fit_this_tree(room: str) -> None:
    for mutant in MUTANTS:
        if mutant.room == room:
            mutant.apply((ROOT / mutant.file).read_text())  # raises where it does not
            for test in mutant.caught_by:
                assert is_there(test), f"{mutant.name}: {test} is not there"


def is_there(test: str) -> bool:
    kind, _, name = test.partition(":")
    if kind == "fuzz":
        return (ROOT / f"tests/fuzz/fuzz_{name}.c").is_file()
    return kind == "c" or (ROOT / test.partition("::")[0]).exists()


def planted(name: str, kind: str) -> Mutant:
    return Mutant(name, kind, "shm/x.c", "a", "b", ("c:shm",), "shm")


def test_report_fails_where_a_grave_one_lives(capsys: pytest.CaptureFixture[str]) -> None:
    grave = sorted(GRAVE)[0]
    caught = [Outcome(planted(str(i), "report"), "c:shm", 1.0) for i in range(99)]
    assert report([*caught, Outcome(planted("x", "report"), None, 1.0)]) == 0
    assert report([*caught, Outcome(planted("x", grave), None, 1.0)]) == 1
    assert "LIVED shm/x" in capsys.readouterr().out


def test_report_fails_where_too_many_live() -> None:
    outcomes = [Outcome(planted(str(i), "report"), "c:shm", 1.0) for i in range(94)]
    outcomes += [Outcome(planted(f"lived {i}", "report"), None, 1.0) for i in range(6)]
    assert report(outcomes) == 1


def test_mutant_that_fits_twice_or_nowhere_is_refused() -> None:
    for text in ("", "a a"):
        with pytest.raises(InvalidMutantError, match="expected once"):
            planted("x", "report").apply(text)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('name = "x"\nkind = "odd"', "keys"),
        ('name = "x"\nkind = "odd"\nfile = "a"\nwas = "a"\nnow = "b"\ncaught_by = ["c"]', "kind"),
        (
            'name = "x"\nkind = "report"\nfile = "a"\nwas = "a"\nnow = "b"\ncaught_by = []',
            "no test",
        ),
        (
            'name = "x"\nkind = "report"\nfile = "a"\nwas = "a"\nnow = "a"\ncaught_by = ["c"]',
            "no fault",
        ),
    ],
)
def test_list_with_an_error_is_refused(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "room.toml"
    path.write_text(f"[[mutant]]\n{row}\n")
    with pytest.raises(InvalidMutantError, match=said):
        read_list(path)


def test_choose_shares_cover_each_once() -> None:
    found: list[Mutant] = []
    for number in range(1, 8):
        share = argparse.Namespace(room=None, only=(), share=parse_share(f"{number}/7"))
        found += choose(MUTANTS, share)
    assert sorted(one.name for one in found) == sorted(one.name for one in MUTANTS)


@pytest.mark.parametrize("text", ["3", "3/0", "/3", "-1/3", "a/b"])
def test_share_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected two whole numbers"):
        parse_share(text)


class Planted:
    """A tree whose tests fail as a table says: by turn, a test that is used up fails no more."""

    def __init__(self, root: Path, fails: dict[str, list[bool]]) -> None:
        self.root, self.fails, self.builds = root, fails, 0
        (root / "shm").mkdir()
        (root / "shm/x.c").write_text("a")

    def build(self) -> bool:
        self.builds += 1
        return True

    def passes(self, test: str) -> bool:
        turns = self.fails.get(test, [])
        return not (turns.pop(0) if turns else False)


@pytest.mark.parametrize(
    ("fails", "caught"),
    [([], None), ([True], "c:shm"), ([False, True], "c:shm"), ([False, False, True], None)],
)
def test_fault_that_no_test_saw_is_tried_once_more(
    tmp_path: Path, fails: list[bool], caught: str | None
) -> None:
    tree = Planted(tmp_path, {"c:shm": fails})
    outcome = try_mutant(tree, planted("x", "report"))  # type: ignore[arg-type]  # what it uses
    assert outcome.caught_by == caught
    assert (tmp_path / "shm/x.c").read_text() == "a"


@pytest.mark.parametrize(("fails", "failing"), [([], []), ([True], []), ([True, True], ["c:shm"])])
def test_what_caught_a_fault_must_pass_without_one(
    tmp_path: Path, fails: list[bool], failing: list[str]
) -> None:
    tree = Planted(tmp_path, {"c:shm": fails})
    outcomes = [Outcome(planted("x", "report"), "c:shm", 1.0)]
    outcomes.append(Outcome(planted("y", "report"), None, 1.0))
    assert fail_without_fault(tree, outcomes) == failing  # type: ignore[arg-type]  # what it uses
    assert tree.builds == 1


def test_skip_that_fails_the_suite_catches_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKPATH_SKIP_FAILS", "1")
    assert "TICKPATH_SKIP_FAILS" not in Tree(tmp_path).environment


def test_test_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    script = "sleep 300 & echo $! > pid; wait"
    with pytest.raises(subprocess.TimeoutExpired):
        tree._run(["bash", "-c", script], 1.0)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
