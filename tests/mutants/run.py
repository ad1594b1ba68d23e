"""Plant one-line faults, one at a time, and fail where the tests do not see one.

`make mutants` runs all; `python tests/mutants/run.py --share 3/30` every thirtieth one from the
third on; `--room shm` those of a room; `--only NAME` one. A file `ROOM.toml` beside this one lists
the faults of a room:

    [[mutant]]
    name = "ring-lap-off-by-one"
    kind = "out of bounds"      # one of KINDS
    file = "shm/broadcast_ring.h"
    was = "behind > capacity"   # stands in the file once
    now = "behind >= capacity"
    caught_by = ["tests/unit/test_shm_reader.py", "c:shm", "fuzz:frame"]

A test is a file or node id of pytest, `c:` and a C test of meson, or `fuzz:` and a fuzzer, whose
seeds are then played and nothing else, so that it catches a fault each time or never. The tree that
the faults are planted in is a copy, in build/mutants. Put the test that catches it first: the
others then cost nothing.

A fault that no test saw is tried once more before it is said to live. A test that fails, crashes or
hangs has caught it; so a busy machine can hide a fault that lives, and never makes one up. The
tests that caught something are run without a fault in the end, for one that always fails would
catch everything. `--trust` does so only for those that hung, and judges nothing by a test that
hangs without a fault as well: what fails there fails in the rest of the suite.

`--seconds 360` ends it by then, its tree included, the faults of a kind that may never live first:
what it did not reach is named, and is no failure.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRATCH = ROOT / "build" / "mutants"
# What may never live, and what else a fault is.
GRAVE = frozenset({"wrong book", "out of bounds", "memory order", "order state", "money"})
KINDS = GRAVE | {"boundary", "lifetime", "protocol", "record", "refusal", "report", "schedule"}
CAUGHT_AT_LEAST = 0.95
# Tests that read or compile the sources themselves: they need no build of the tree.
READS_SOURCES = "tests/proofs/"
BUILD_TIMEOUT_S = 900.0
TEST_TIMEOUT_S = 150.0  # the longest of them takes 20 s on an idle machine
# What the suite tells its own tests: here a skip that fails would look like a catch, and events for
# longer than TEST_TIMEOUT_S like a test that hangs.
SUITE_ONLY = (
    *("TICKPATH_GROUPS", "TICKPATH_SKIP_FAILS", "STRESS_EVENTS"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS"),
)
PYTEST_RAN_NOTHING = frozenset({2, 3, 4, 5})  # interrupted, internal error, usage, no tests
TRIES = 2


class InvalidMutantError(Exception):
    """Say what is wrong with an entry of the lists."""


class OutOfTimeError(Exception):
    """Say that the time for all is over; raised by a tree in the midst of a build or a test."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault."""

    name: str
    kind: str
    file: str
    was: str
    now: str
    caught_by: tuple[str, ...]
    room: str

    def apply(self, text: str) -> str:
        """Return the file with the fault in it; raises InvalidMutantError."""
        count = text.count(self.was)
        if count != 1:
            raise InvalidMutantError(
                f"{self.room}.toml, {self.name}: `was` stands in {self.file} {count} times, "
                "expected once: write what stands there now"
            )
        return text.replace(self.was, self.now)


def read_list(path: Path) -> list[Mutant]:
    """Read a room's faults; raises InvalidMutantError."""
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text())["mutant"]
    return [_read_row(path.stem, row) for row in rows]


def _read_row(room: str, row: dict[str, Any]) -> Mutant:
    expected = {"name", "kind", "file", "was", "now", "caught_by"}
    where = f"{room}.toml, {row.get('name', '?')}"
    if set(row) != expected:
        raise InvalidMutantError(f"{where}: keys {sorted(row)}, expected {sorted(expected)}")
    if row["kind"] not in KINDS:
        raise InvalidMutantError(f"{where}: kind {row['kind']!r}, expected one of {sorted(KINDS)}")
    if not row["caught_by"] or row["was"] == row["now"]:
        raise InvalidMutantError(f"{where}: no test, or no fault")
    return Mutant(**{**row, "caught_by": tuple(row["caught_by"])}, room=room)


def read_lists() -> list[Mutant]:
    """Read all rooms; raises InvalidMutantError, also for a name that two have."""
    mutants = [one for path in sorted(HERE.glob("*.toml")) for one in read_list(path)]
    for name, count in Counter(one.name for one in mutants).items():
        if count > 1:
            raise InvalidMutantError(f"{name}: {count} of that name, expected one")
    return mutants


# ---- the copy of the tree ------------------------------------------------------------------------


def _listed_files() -> Iterator[str]:
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    yield from (name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


@dataclass(frozen=True, slots=True)
class _Done:
    status: int
    output: str


class Tree:
    """The copy, with an environment of its own that borrows the packages of the tree's."""

    def __init__(self, root: Path = SCRATCH, end_s: float = math.inf) -> None:
        """end_s: of time.monotonic(); what runs then is ended by OutOfTimeError."""
        self.root, self.end_s = root, end_s
        self._bin = root / ".venv" / "bin"
        self.environment = {
            **os.environ,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(root / ".venv"),
            "TICKPATH_PLANTED": "1",  # tests/conftest.py: shrinks no example that fails
        }
        for name in SUITE_ONLY:
            self.environment.pop(name, None)
        self.hung: set[str] = set()
        """Tests that were ended by their time."""

    def make(self) -> None:
        """Copy the tree and build it; what is the same from before stays, and is not rebuilt."""
        names = set(_listed_files())
        for name in names:
            self._copy(name)
        if not self._bin.exists():
            self._make_environment()
        if not (self.root / "build/dev/build.ninja").exists():
            words = ["meson", "setup", "build/dev", "--buildtype=debugoptimized"]
            words += ["-Db_ndebug=false", f"--prefix={self.root / '.venv'}"]
            self._must([*words, "-Dpython.install_env=venv"])
        if not self.build():
            raise SystemExit("mutants: the tree does not build without a fault")

    def _copy(self, name: str) -> None:
        source, target = ROOT / name, self.root / name
        if target.exists() and target.read_bytes() == source.read_bytes():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)

    def _make_environment(self) -> None:
        """Make a .venv whose packages are the tree's, all but tickpath."""
        own = ROOT / ".venv"
        site = next((own / "lib").glob("python3*/site-packages"))
        words = [str(own / "bin/python"), "-P", "-m", "venv", "--without-pip", ".venv"]
        self._must(words)
        mine = next((self.root / ".venv/lib").glob("python3*/site-packages"))
        others = self.root / "build" / "packages"  # a folder without tickpath, of links
        others.mkdir(parents=True, exist_ok=True)
        for entry in site.iterdir():
            if not entry.name.startswith("tickpath"):
                (others / entry.name).symlink_to(entry)
        lines = [str(others)]
        lines += [line for one in site.glob("*.pth") for line in one.read_text().splitlines()]
        (mine / "packages.pth").write_text("\n".join(lines) + "\n")
        for script in (own / "bin").iterdir():
            target = self._bin / script.name
            if target.exists() or target.is_symlink():
                continue
            data = script.read_bytes()
            target.write_bytes(data.replace(str(own).encode(), str(self.root / ".venv").encode()))
            target.chmod(0o755)

    def _must(self, words: Sequence[str]) -> None:
        done = self._run(words)
        if done.status != 0:
            raise SystemExit(
                f"mutants: failed: {' '.join(words)} (in {self.root}):\n{done.output[-3000:]}"
            )

    def _run(self, words: Sequence[str], timeout_s: float = BUILD_TIMEOUT_S) -> _Done:
        """Run a command; raises TimeoutExpired when all that it started was killed.

        Where the time for all is over first, OutOfTimeError: nobody knows whether it hangs.
        """
        left_s = self.end_s - time.monotonic()
        if left_s <= 0:
            raise OutOfTimeError
        with (
            tempfile.TemporaryFile("w+", errors="replace") as output,
            subprocess.Popen(
                words,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                status = process.wait(min(timeout_s, left_s))
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired) and left_s < timeout_s:
                    raise OutOfTimeError from error
                raise
            output.seek(0)
            return _Done(status, output.read())

    def build(self) -> bool:
        """Build what changed and put it in place."""
        if self._run(["ninja", "-C", "build/dev", "--quiet"]).status != 0:
            return False
        words = ["meson", "install", "-C", "build/dev", "--no-rebuild", "--quiet"]
        return self._run(words).status == 0

    def passes(self, test: str) -> bool:
        """Run one test; one that hangs has failed."""
        room, _, name = test.partition(":")
        if room == "c":
            words = ["meson", "test", "-C", "build/dev", "--quiet", "--timeout-multiplier=10", name]
        elif room == "fuzz":
            words = ["python", "tests/fuzz/run.py", "--seeds", name]
        else:
            words = ["pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not vm", test]
        try:
            done = self._run(words, TEST_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.hung.add(test)
            return False
        # A negative status is a crash, which is a failure; these say that no test ran at all.
        if room not in {"c", "fuzz"} and done.status in PYTEST_RAN_NOTHING:
            raise InvalidMutantError(
                f"{test}: pytest ended with status {done.status}:\n{done.output[-2000:]}"
            )
        return done.status == 0


# ---- the faults ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one fault fared: by which test it was caught, None where it lived."""

    mutant: Mutant
    caught_by: str | None
    seconds: float


def try_mutant(tree: Tree, mutant: Mutant) -> Outcome:
    """Plant a fault, run its tests until one fails, and take it out again."""
    started = time.monotonic()
    path = tree.root / mutant.file
    sound = path.read_text()
    path.write_text(mutant.apply(sound))
    try:
        caught = _catch(tree, mutant)
    finally:
        path.write_text(sound)
    return Outcome(mutant, caught, time.monotonic() - started)


def _catch(tree: Tree, mutant: Mutant) -> str | None:
    """Return the test that fails; those that read the sources are asked before the build."""
    at_once = [test for test in mutant.caught_by if test.startswith(READS_SOURCES)]
    caught = next((test for test in at_once if not tree.passes(test)), None)
    rest = [test for test in mutant.caught_by if test not in at_once]
    if caught is not None or not rest:
        return caught
    if not tree.build():
        raise InvalidMutantError(f"{mutant.room}.toml, {mutant.name}: does not compile")
    return next((test for test in rest * TRIES if not tree.passes(test)), None)


def fail_without_fault(tree: Tree, outcomes: Iterable[Outcome]) -> list[str]:
    """Return the tests that fail without any fault, twice: what they caught, they did not see."""
    tests = dict.fromkeys(one.caught_by for one in outcomes if one.caught_by is not None)
    if tests and not tree.build():
        raise SystemExit("mutants: the tree does not build without a fault")
    return [test for test in tests if not any(tree.passes(test) for _ in range(TRIES))]


def report(outcomes: Sequence[Outcome], unreached: int = 0) -> int:
    """Print what lived and the share that was caught; return the exit status.

    unreached: so many more faults were to be planted; they do not make those that lived a larger
    share.
    """
    lived = [one.mutant for one in outcomes if one.caught_by is None]
    for one in lived:
        grave = " (of a kind that may never live)" if one.kind in GRAVE else ""
        print(f"LIVED {one.room}/{one.name}: {one.kind}{grave}: {one.file}: {one.now.strip()}")
    share = 1.0 - len(lived) / len(outcomes)
    print(f"mutants: {len(outcomes) - len(lived)} of {len(outcomes)} caught, {share:.1%}")
    is_grave = any(one.kind in GRAVE for one in lived)
    is_enough = 1.0 - len(lived) / (len(outcomes) + unreached) >= CAUGHT_AT_LEAST
    return 1 if is_grave or not is_enough else 0


def choose(mutants: Sequence[Mutant], arguments: argparse.Namespace) -> list[Mutant]:
    """Return those that the command line asks for."""
    chosen = [
        one
        for one in mutants
        if (arguments.room is None or one.room == arguments.room)
        and (not arguments.only or one.name in arguments.only)
    ]
    if arguments.share is not None:
        number, of = arguments.share
        chosen = chosen[number % of :: of]
    return sorted(chosen, key=lambda one: one.kind not in GRAVE)


def parse_share(text: str) -> tuple[int, int]:
    """Read `3/30`; raises ArgumentTypeError."""
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and int(of) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: expected two whole numbers, as in 3/30")
    return int(number), int(of)


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="plant faults and see the tests catch them")
    parser.add_argument(
        "--share", type=parse_share, metavar="N/M", help="every Mth fault only, from the Nth on"
    )
    parser.add_argument("--room", help="the faults of one list only")
    parser.add_argument("--only", action="append", default=[], help="this fault only (repeatable)")
    parser.add_argument(
        "--trust", action="store_true", help="do not run the tests without a fault in the end"
    )
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="end by then; name what was not reached"
    )
    return parser.parse_args(words)


@dataclass(slots=True)
class Run:
    """What became of the faults."""

    outcomes: list[Outcome] = field(default_factory=list)
    invalid: int = 0
    unreached: list[Mutant] = field(default_factory=list)

    def plant(self, tree: Tree, mutants: Sequence[Mutant]) -> None:
        """Plant one after another, as long as there is time."""
        for number, mutant in enumerate(mutants, 1):
            where = f"{number}/{len(mutants)} {mutant.room}/{mutant.name}"
            try:
                self.outcomes.append(try_mutant(tree, mutant))
            except OutOfTimeError:
                self.unreached += mutants[number - 1 :]
                return
            except InvalidMutantError as error:
                self.invalid += 1
                print(f"{where}: INVALID: {error}", flush=True)
                continue
            found = self.outcomes[-1].caught_by
            said = "LIVED" if found is None else f"caught by {found}"
            print(f"{where}: {said}, {self.outcomes[-1].seconds:.0f} s", flush=True)

    def doubt(self, tree: Tree, *, is_trusted: bool) -> list[str]:
        """Return the tests that fail without a fault; what they caught is judged by none."""
        doubted = [one for one in self.outcomes if not is_trusted or one.caught_by in tree.hung]
        try:
            failing = fail_without_fault(tree, doubted)
        except OutOfTimeError:
            self.unreached += [one.mutant for one in doubted if one.caught_by is not None]
            failing = [one.caught_by for one in doubted if one.caught_by is not None]
            self.outcomes = [one for one in self.outcomes if one.caught_by not in failing]
            return []
        if failing:
            print("mutants: these fail without a fault:", *failing, sep="\n  ", flush=True)
        self.outcomes = [one for one in self.outcomes if one.caught_by not in failing]
        return failing


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    arguments = _parse(words)
    mutants = choose(read_lists(), arguments)
    if not mutants:
        raise InvalidMutantError("none of that room, name or share")
    started = time.monotonic()
    tree, run = Tree(end_s=started + arguments.seconds), Run()
    failing: list[str] = []
    try:
        tree.make()
    except OutOfTimeError:
        run.unreached = mutants
    else:
        print(f"mutants: {len(mutants)}; a tree for them: {time.monotonic() - started:.0f} s")
        run.plant(tree, mutants)
        failing = run.doubt(tree, is_trusted=arguments.trust)
    if run.unreached:
        names = [f"{one.room}/{one.name}" for one in run.unreached]
        said = f"mutants: {len(names)} not reached in {arguments.seconds:g} s:"
        print(said, *names, sep="\n  ", flush=True)
    status = report(run.outcomes, len(run.unreached)) if run.outcomes else 0
    return 2 if run.invalid or (failing and not arguments.trust) else status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InvalidMutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        sys.exit(2)
