"""The lists of planted faults: each can be planted in this tree, and names tests that are there."""

from __future__ import annotations

import argparse
import ast
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.run import (
    GRAVE,
    InvalidMutantError,
    Mutant,
    Outcome,
    OutOfTimeError,
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
    return kind == "c" or text_of(test) is not None


def text_of(test: str) -> str | None:
    """Return the text of a file of tests, or of one function in it; None: it is not there."""
    name, _, function = test.partition("::")
    path = ROOT / name
    if not path.is_file():
        return "" if path.is_dir() else None
    text = path.read_text()
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    found = [ast.get_source_segment(text, node) for node in functions if node.name == function]
    return text if not function else next(iter(found), None)


@pytest.mark.parametrize("room", sorted({one.room for one in MUTANTS}))
def test_no_test_fails_for_a_fault_by_its_line_alone(room: str) -> None:
    """One that wants that line in the source fails whatever is there instead, and sees no fault."""
    for mutant in (one for one in MUTANTS if one.room == room):
        sound = (ROOT / mutant.file).read_text()
        faulty = mutant.apply(sound)
        for test in mutant.caught_by:
            if not test.startswith(("c:", "fuzz:")):
                quoted = [one for one in literals(test) if one in sound and one not in faulty]
                assert quoted == [], f"{mutant.name}: {test}"


def literals(test: str) -> list[str]:
    """Return the texts in a test that are long enough to be a line of source."""
    nodes = ast.walk(ast.parse(text_of(test) or ""))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [one for one in texts if isinstance(one, str) and len(one) > 12]


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
    assert report(outcomes, unreached=20) == 0


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


@pytest.mark.parametrize("name", ["TICKPATH_SKIP_FAILS", "STRESS_EVENTS"])
def test_what_the_suite_asks_of_its_tests_is_not_asked_under_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A skip that fails, or a test that takes longer than its time, would look like a catch."""
    monkeypatch.setenv(name, "1")
    assert name not in Tree(tmp_path).environment


class Timed(Planted):
    """A tree whose time is over once so many tests have run; all of them fail."""

    def __init__(self, root: Path, tests: int, hung: set[str]) -> None:
        super().__init__(root, {"c:shm": [True] * tests})
        self.left, self.hung = tests, hung

    def make(self) -> None:
        """Nothing is built."""

    def passes(self, test: str) -> bool:
        self.left -= 1
        if self.left < 0:
            raise OutOfTimeError
        return super().passes(test)


@pytest.mark.parametrize(
    ("tests", "hung", "said"),
    [
        (0, set[str](), ["mutants: 3 not reached in 360 s:", "shm/x", "shm/y", "shm/z"]),
        (2, set[str](), ["mutants: 1 not reached in 360 s:", "shm/z", "mutants: 2 of 2 caught"]),
        (3, set[str](), ["mutants: 3 of 3 caught"]),
        # Whether it passes without a fault is not known of a test that hung.
        (3, {"c:shm"}, ["mutants: 3 not reached in 360 s:", "shm/x", "shm/y", "shm/z"]),
    ],
)
def test_faults_that_the_time_did_not_reach_are_named_and_fail_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tests: int, hung: set[str], said: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Tree", lambda end_s: Timed(tmp_path, tests, hung))
        patch.setattr(run, "read_lists", lambda: [planted(name, "report") for name in "xyz"])
        assert run.main(["--trust", "--seconds", "360"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    told = [line.partition(",")[0] for line in lines if "/3 " not in line]
    assert told[1:] == said
    assert (tmp_path / "shm/x.c").read_text() == "a"


def test_command_may_print_any_bytes(tmp_path: Path) -> None:
    """A test of bytes that are no UTF-8 shows them where it fails: the runner ended by that."""
    tree = Tree(tmp_path, time.monotonic() + 60)
    done = tree._run(["bash", "-c", r"printf 'caf\xe9'; exit 1"])
    assert (done.status, done.output) == (1, "caf\ufffd")


def test_command_that_the_time_for_all_ends_has_not_hung(tmp_path: Path) -> None:
    with pytest.raises(OutOfTimeError):
        Tree(tmp_path, time.monotonic() + 0.2)._run(["sleep", "300"])
    with pytest.raises(OutOfTimeError):
        Tree(tmp_path, time.monotonic())._run(["true"])


def test_faults_that_may_never_live_come_first() -> None:
    chosen = choose(MUTANTS, argparse.Namespace(room=None, only=(), share=None))
    is_grave = [one.kind in GRAVE for one in chosen]
    assert is_grave == sorted(is_grave, reverse=True)
    assert 0 < sum(is_grave) < len(MUTANTS)


def test_test_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    script = "sleep 300 & echo $! > new && mv new pid; wait"
    for limit_s in (1.0, 10.0, 100.0):  # a busy host may start bash late
        with pytest.raises(subprocess.TimeoutExpired):
            tree._run(["bash", "-c", script], limit_s)
        if (tmp_path / "pid").exists():
            break
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
