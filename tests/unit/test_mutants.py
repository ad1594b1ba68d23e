"""The lists of planted faults: each can be planted in this tree, and names tests that are there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.run import (
    GRAVE,
    InvalidMutantError,
    Mutant,
    Outcome,
    choose,
    read_list,
    read_lists,
    report,
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


def test_choose_a_tenth_covers_all_in_ten_days() -> None:
    class Arguments:
        room = None
        only: tuple[str, ...] = ()
        tenth = 0

    found: list[Mutant] = []
    for Arguments.tenth in range(10):
        found += choose(MUTANTS, Arguments())  # type: ignore[arg-type]  # what choose looks at
    assert sorted(one.name for one in found) == sorted(one.name for one in MUTANTS)
