"""The budget of an address: shared by processes that die, of files that others wrote."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib
from tickpath.shm.budget import FILE_NAME, LOCK_NAME, PAUSE_S_MAX, Budget, Kind, c_rate
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable


WHOSE = "api.venue.test:443", "10.0.0.1", "venue"
HEADER_SIZE, ENTRY_SIZE = 128, 512


@dataclass(frozen=True, slots=True)
class Rate:
    count: int
    per_s: float
    burst: int


RATE = Rate(20, 10.0, 10)  # one a second besides ten at once


class Time:
    def __init__(self) -> None:
        self.now_s, self.unix_s = 1_000.0, 1_800_000_000.0
        self.clock = Clock(lambda: int(self.now_s * NS_PER_S), lambda: int(self.unix_s * NS_PER_S))

    def pass_by(self, seconds: float) -> None:
        self.now_s += seconds
        self.unix_s += seconds


def taken(budget: Budget, count: int, kind: Kind = Kind.REST) -> int:
    """Count how many of so many may be spent now."""
    return sum(budget.take(WHOSE, kind, RATE, 1) == 0.0 for _ in range(count))


def test_budget_gives_a_burst_and_then_what_is_earned(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock)
    assert taken(one, 30) == RATE.burst
    assert one.take(WHOSE, Kind.REST, RATE, 1) == pytest.approx(1.0)
    of.pass_by(3.0)
    assert taken(one, 30) == 3
    of.pass_by(3600.0)
    assert taken(one, 30) == RATE.burst  # never more, however long nobody asked


def test_budget_no_window_has_more_than_the_limit(tmp_path: Path) -> None:
    of = Time()
    one, times = Budget(tmp_path, of.clock), list[float]()
    for _ in range(400):
        times += [of.now_s] * taken(one, 5)
        of.pass_by(0.13)
    worst = max(sum(at <= other < at + RATE.per_s for other in times) for at in times)
    assert RATE.count - 2 <= worst <= RATE.count


def test_budget_is_one_for_all_who_open_the_directory(tmp_path: Path) -> None:
    of = Time()
    one, other = Budget(tmp_path, of.clock), Budget(tmp_path, of.clock)
    assert taken(one, 6) + taken(other, 30) == RATE.burst
    assert Budget(None, of.clock).take(WHOSE, Kind.REST, RATE, 1) == 0.0


def test_budget_is_of_one_host_one_address_and_one_kind(tmp_path: Path) -> None:
    one = Budget(tmp_path, Time().clock)
    assert taken(one, 30) == RATE.burst
    assert taken(one, 30, Kind.CONNECTS) == RATE.burst
    for other in (("api.other.test:443", *WHOSE[1:]), (WHOSE[0], "10.0.0.2", "venue")):
        assert one.take(other, Kind.REST, RATE, 1) == 0.0


def test_budget_counts_weights(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock)
    assert one.take(WHOSE, Kind.REST, RATE, 8) == 0.0
    assert one.wait_s(WHOSE, Kind.REST, RATE, 5) == pytest.approx(3.0)
    assert one.take(WHOSE, Kind.REST, RATE, 2) == 0.0
    of.pass_by(9.0)
    assert one.take(WHOSE, Kind.REST, RATE, 15) == pytest.approx(1.0)  # heavier than a burst
    of.pass_by(1.0)
    assert one.take(WHOSE, Kind.REST, RATE, 15) == 0.0
    assert one.take(WHOSE, Kind.REST, RATE, 1) == pytest.approx(6.0)  # and costs all of it


def test_budget_spends_what_must_be_said_and_makes_the_others_wait(tmp_path: Path) -> None:
    one = Budget(tmp_path, Time().clock)
    for _ in range(12):
        one.spend(WHOSE, Kind.MESSAGES, RATE, 1)
    assert one.take(WHOSE, Kind.MESSAGES, RATE, 1) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("used", "left_s", "wait_s"),
    [
        (0, 0.0, 0.0),
        (10, 0.0, 0.0),
        (15, 0.0, 0.0),
        (19, 0.0, 0.0),
        (20, 0.0, 10.0),
        (99, 4.0, 4.0),
    ],
)
def test_budget_believes_the_venue(tmp_path: Path, used: int, left_s: float, wait_s: float) -> None:
    one = Budget(tmp_path, Time().clock)
    one.correct(WHOSE, Kind.REST, RATE, (used, left_s))
    assert one.wait_s(WHOSE, Kind.REST, RATE, 1) == pytest.approx(wait_s)
    left = min(RATE.burst, max(0, RATE.count - used)) if wait_s == 0 else 0
    assert taken(one, 30) == left


def test_budget_is_not_filled_by_what_the_venue_says(tmp_path: Path) -> None:
    one = Budget(tmp_path, Time().clock)
    assert taken(one, 30) == RATE.burst
    one.correct(WHOSE, Kind.REST, RATE, (0, 0.0))
    assert taken(one, 30) == 0


def test_budget_pauses_live_through_a_reboot_and_buckets_do_not(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock, "boot 1")
    taken(one, 30)
    one.pause(WHOSE, 600.0, "status 418")
    of.now_s = 5.0
    of.unix_s += 100.0
    after = Budget(tmp_path, of.clock, "boot 2")
    left_s, reason = after.paused(*WHOSE[:2])
    assert (round(left_s, 6), reason) == (500.0, "status 418")
    assert taken(after, 30) == RATE.burst
    of.unix_s -= 86_400.0  # set back: no longer than what was asked for
    assert Budget(tmp_path, of.clock, "boot 3").paused(*WHOSE[:2])[0] == pytest.approx(600.0)


def broken(path: Path, at: int, word: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(word)


@pytest.mark.parametrize(
    ("at", "word"),
    [(0, b"X"), (8, b"X"), (16, b"\7"), (20, b"\7"), (24, b"\7\7")],
    ids=["magic", "byte order", "version", "entries", "size"],
)
def test_budget_of_a_broken_header_is_built_anew(tmp_path: Path, at: int, word: bytes) -> None:
    of = Time()
    assert taken(Budget(tmp_path, of.clock), 30) == RATE.burst
    broken(tmp_path / FILE_NAME, at, word)
    after = Budget(tmp_path, of.clock)
    assert taken(after, 30) == RATE.burst
    assert taken(Budget(tmp_path, of.clock), 30) == 0  # and is one file again


def hostile_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:HEADER_SIZE])


def hostile_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def hostile_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def hostile_mode(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("make", [hostile_file, hostile_link, hostile_mode])
def test_budget_that_is_no_sound_file_is_replaced(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    of = Time()
    assert taken(Budget(tmp_path, of.clock), 30) == RATE.burst
    make(tmp_path / FILE_NAME)
    assert taken(Budget(tmp_path, of.clock), 30) == RATE.burst, "nothing of it is believed"
    assert (tmp_path / FILE_NAME).is_file()
    assert not (tmp_path / FILE_NAME).is_symlink()


def test_budget_that_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    Budget(tmp_path, Time().clock)
    hostile_folder(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME / "x").touch()
    with pytest.raises(Exception, match="rename of the budget"):
        Budget(tmp_path, Time().clock)


def test_budget_words_of_a_liar_cost_two_windows_at_most(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock)
    one.take(WHOSE, Kind.REST, RATE, 1)
    number = (int(lib.tp_budget_key(b"api.venue.test:443 10.0.0.1")) >> 1) % 256
    for at in (8, 32):  # the pause, and the bucket
        broken(
            tmp_path / FILE_NAME,
            HEADER_SIZE + number * ENTRY_SIZE + at,
            struct.pack("<Q", (1 << 64) - 1),
        )
    assert one.paused(*WHOSE[:2])[0] == 0.0  # longer than any: no pause of ours
    wait_s = one.wait_s(WHOSE, Kind.REST, RATE, 1)
    assert RATE.per_s < wait_s <= 2 * RATE.per_s + 1
    assert one.take(WHOSE, Kind.REST, RATE, 1) == pytest.approx(wait_s)
    of.pass_by(wait_s)
    assert one.take(WHOSE, Kind.REST, RATE, 1) == 0.0
    one.pause(WHOSE, 5.0, "status 429")
    assert one.paused(*WHOSE[:2])[0] == pytest.approx(5.0)


def test_budget_who_only_looks_forgives_nothing(tmp_path: Path) -> None:
    """Whatever rate it looks with: an older version of a venue's facts may run beside."""
    one = Budget(tmp_path, Time().clock)
    rate = Rate(6000, 60.0, 1000)
    one.correct(WHOSE, Kind.REST, rate, (6000, 50.0))
    owed_s = one.wait_s(WHOSE, Kind.REST, rate, 1)
    assert owed_s == pytest.approx(50.0, abs=0.1)
    assert one.wait_s(WHOSE, Kind.REST, Rate(20, 1.0, 10), 1) < 3.0
    assert one.wait_s(WHOSE, Kind.REST, rate, 1) == pytest.approx(owed_s)


def test_budget_cut_under_its_mapping_goes_on_alone(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock)
    os.truncate(tmp_path / FILE_NAME, 0)
    assert taken(one, 30) == RATE.burst
    assert taken(Budget(tmp_path, of.clock), 30) == RATE.burst
    assert not one.is_current()


def test_budget_full_table_gives_idle_entries_to_others(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock)
    for number in range(256):
        one.take((f"host{number}", "a", "v"), Kind.REST, RATE, 1)
    with pytest.raises(LocalError, match="full"):
        one.take(WHOSE, Kind.REST, RATE, 1)
    for number in range(255):
        one.pause((f"host{number}", "a", "v"), 60.0, "a ban")
    of.pass_by(30.0)
    assert taken(one, 30) == RATE.burst
    for number in range(255):
        assert one.paused(f"host{number}", "a")[1] == "a ban"
    assert len(list(one.entries())) == 256


def test_budget_says_what_was_used_in_this_window(tmp_path: Path) -> None:
    of = Time()
    one = Budget(tmp_path, of.clock)
    one.take(WHOSE, Kind.REST, RATE, 4)
    one.pause(WHOSE, 7.0, "status 429\n\x1b[2J")
    (entry,) = one.entries()
    assert (entry.host, entry.address, entry.venue) == WHOSE
    assert [(use.kind, use.used, use.limit, use.window_s) for use in entry.uses] == [
        ("rest", 4, 20, 10.0)
    ]
    assert entry.paused_s == pytest.approx(7.0)
    assert entry.reason == "status 429??[2J"
    of.pass_by(10.0)
    assert next(one.entries()).uses[0].used == 0


@pytest.mark.parametrize(
    "rate",
    [Rate(1, 1.0, 1), Rate(5, 1.0, 5), Rate(5, 0.0, 1), Rate(1 << 15, 60.0, 1), Rate(9, 1e7, 1)],
)
def test_budget_refuses_a_rate_that_is_none(rate: Rate) -> None:
    with pytest.raises(LocalError, match="a rate of"):
        c_rate(rate)


def test_budget_pause_has_an_end(tmp_path: Path) -> None:
    one = Budget(tmp_path, Time().clock)
    one.pause(WHOSE, 1e12, "x" * 1000)
    one.pause(WHOSE, 5.0, "a shorter one")
    left_s, reason = one.paused(*WHOSE[:2])
    assert left_s == pytest.approx(PAUSE_S_MAX)
    assert set(reason) == {"x"}


SPENDER = """
import sys
from pathlib import Path
from tickpath.shm.budget import Budget, Kind
sys.path.insert(0, sys.argv[3])
from tests.unit.test_shm_budget import Rate
one, count = Budget(Path(sys.argv[1])), 0
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    if one.take(("h", "a", "v"), Kind.REST, Rate(8000, 3600.0, 4000), 1) == 0.0:
        count += 1
        if count % 100 == 0:
            print(count, flush=True)
print(count, flush=True)
"""


def spender(directory: Path, tries: int) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SPENDER, str(directory), str(tries), root],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_budget_of_several_processes_some_of_which_are_killed(tmp_path: Path) -> None:
    """Together they get no more than there is; the dead hold nothing of what they did not spend."""
    victim, *others = [spender(tmp_path, 3000) for _ in range(3)]
    assert victim.stdout is not None
    assert victim.stdout.readline() == "ready\n"
    spent = int(victim.stdout.readline())
    victim.send_signal(signal.SIGKILL)
    rest = [int(line) for line in victim.stdout.read().split()]
    spent = max([spent, *rest])
    victim.wait()
    counts = [int((other.communicate()[0]).split()[-1]) for other in others]
    left = sum(
        Budget(tmp_path, SYSTEM).take(("h", "a", "v"), Kind.REST, Rate(8000, 3600.0, 4000), 1)
        == 0.0
        for _ in range(4001)
    )
    earned = 30  # of an hour's 4,000, in the seconds that this takes
    assert 4000 - 100 <= spent + sum(counts) + left <= 4000 + earned


def test_budget_builder_that_died_holds_nobody_back(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).touch()
    (tmp_path / f"{FILE_NAME}.new").write_bytes(b"half")
    assert Budget(tmp_path).take(WHOSE, Kind.REST, RATE, 1) == 0.0
