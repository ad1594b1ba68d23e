"""Pauses that a venue asked for: over restarts and processes, whatever the clock does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.loop.pauses import (
    LENGTH_S_MAX,
    Pauses,
    Whose,
    own_address,
    pause_text,
    run_directory,
)
from tickpath.proto.venue import Rate
from tickpath.shm.budget import FILE_NAME, Kind
from tickpath.shm.clock import NS_PER_S, Clock

if TYPE_CHECKING:
    from pathlib import Path

HOST, ADDRESS = "api.venue.test:443", "10.0.0.1"


class Time:
    """Both clocks of a host, moved apart at will."""

    def __init__(self) -> None:
        self.monotonic_s, self.unix_s = 1_000.0, 1_800_000_000.0
        self.clock = Clock(
            lambda: int(self.monotonic_s * NS_PER_S), lambda: int(self.unix_s * NS_PER_S)
        )

    def pass_by(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.unix_s += seconds


def pauses(directory: Path, of: Time, boot: str = "boot 1") -> Pauses:
    return Pauses(of.clock, directory, boot)


def test_pause_is_known_to_the_next_start_and_ends_by_itself(tmp_path: Path) -> None:
    of = Time()
    pauses(tmp_path, of).note(HOST, ADDRESS, 60.0, "status 429")
    of.pass_by(20)
    assert pauses(tmp_path, of).find(HOST, ADDRESS) == (40.0, "status 429")
    of.pass_by(40)
    assert pauses(tmp_path, of).find(HOST, ADDRESS) == (0.0, "")


def test_pause_is_of_one_host_and_one_address(tmp_path: Path) -> None:
    one = pauses(tmp_path, Time())
    one.note(HOST, ADDRESS, 60.0, "status 429")
    assert one.find("api.other.test:443", ADDRESS)[0] == 0
    assert one.find(HOST, "10.0.0.2")[0] == 0


def test_pause_is_only_ever_made_longer(tmp_path: Path) -> None:
    of = Time()
    first, second = pauses(tmp_path, of), pauses(tmp_path, of)
    first.note(HOST, ADDRESS, 60.0, "a ban")
    second.note(HOST, ADDRESS, 5.0, "status 429")
    assert second.find(HOST, ADDRESS) == (60.0, "a ban")
    first.note(HOST, ADDRESS, 90.0, "a longer ban")
    assert second.find(HOST, ADDRESS) == (90.0, "a longer ban")


@pytest.mark.parametrize("step_s", [-86_400.0, 86_400.0])
def test_pause_of_this_boot_does_not_care_for_the_time_of_day(
    tmp_path: Path, step_s: float
) -> None:
    of = Time()
    pauses(tmp_path, of).note(HOST, ADDRESS, 60.0, "status 429")
    of.pass_by(10)
    of.unix_s += step_s
    assert pauses(tmp_path, of).find(HOST, ADDRESS)[0] == 50.0


def test_pause_of_another_boot_goes_by_the_time_of_day(tmp_path: Path) -> None:
    of = Time()
    pauses(tmp_path, of).note(HOST, ADDRESS, 600.0, "a ban")
    of.monotonic_s = 5.0
    of.unix_s += 100
    assert pauses(tmp_path, of, "boot 2").find(HOST, ADDRESS)[0] == 500.0
    of.unix_s -= 86_400  # of this boot by now: the time of day does not count
    assert pauses(tmp_path, of, "boot 2").find(HOST, ADDRESS)[0] == 500.0
    # Set back: no more than what was asked for.
    assert pauses(tmp_path, of, "boot 3").find(HOST, ADDRESS)[0] == 600.0


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"length_s":1e300,"reason":"x","boot":"","monotonic_ns":1}'],
)
def test_pause_broken_record_is_none_and_is_replaced(tmp_path: Path, data: bytes) -> None:
    of = Time()
    one = pauses(tmp_path, of)
    one.note(HOST, ADDRESS, 60.0, "status 429")
    (tmp_path / FILE_NAME).write_bytes(data)
    other = pauses(tmp_path, of)
    assert other.find(HOST, ADDRESS)[0] == 0
    other.note(HOST, ADDRESS, 30.0, "status 429")
    assert pauses(tmp_path, of).find(HOST, ADDRESS)[0] == 30.0


def test_pause_that_no_venue_asks_for_is_cut(tmp_path: Path) -> None:
    one = pauses(tmp_path, Time())
    one.note(HOST, ADDRESS, 1e12, "status 429")
    assert one.find(HOST, ADDRESS)[0] == LENGTH_S_MAX
    one.note("other", ADDRESS, -5.0, "status 429")
    assert one.find("other", ADDRESS)[0] == 0


def test_pause_without_a_directory_is_kept_by_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = pauses(tmp_path / "file" / "below", Time())
    one.note(HOST, ADDRESS, 60.0, "status 429")
    assert one.find(HOST, ADDRESS)[0] == 60.0


def test_pause_of_a_directory_that_was_emptied_is_known_to_who_was_told(tmp_path: Path) -> None:
    of = Time()
    one = pauses(tmp_path, of)
    one.note(HOST, ADDRESS, 60.0, "a ban")
    (tmp_path / FILE_NAME).unlink()
    assert one.find(HOST, ADDRESS)[0] == 60.0
    other = pauses(tmp_path, of)
    assert other.find(HOST, ADDRESS)[0] == 0.0
    assert not list(tmp_path.glob(FILE_NAME))  # who only looks builds nothing
    other.note(HOST, ADDRESS, 90.0, "a longer ban")
    assert one.find(HOST, ADDRESS) == (90.0, "a longer ban")  # and finds the new one


def test_pause_follows_no_link(tmp_path: Path) -> None:
    of = Time()
    pauses(tmp_path / "a", of).note(HOST, ADDRESS, 60.0, "status 429")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE_NAME).symlink_to(tmp_path / "a" / FILE_NAME)
    assert pauses(tmp_path / "b", of).find(HOST, ADDRESS)[0] == 0


NOTE = """
import sys
from pathlib import Path
from tickpath.engine.loop.pauses import Pauses
one = Pauses(directory=Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    one.note("h", "a", 1000.0 + number, "x" * 150)
    if number == 0:
        print("began", flush=True)
"""


def test_pause_is_known_to_another_process_however_its_writer_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", NOTE, str(tmp_path), "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        here = Pauses(directory=tmp_path)
        ends = time.monotonic() + 0.3
        while time.monotonic() < ends:
            assert here.find("h", "a")[0] > 999
        os.kill(writer.pid, signal.SIGKILL)
    assert Pauses(directory=tmp_path).find("h", "a")[0] > 999
    here.note("h", "a", 10_000_000.0 / 10, "longer")  # the lock died with its owner
    assert Pauses(directory=tmp_path).find("h", "a")[1] == "longer"


def test_budget_of_a_directory_is_one_and_without_it_our_own(tmp_path: Path) -> None:
    of, whose, rate = Time(), Whose(HOST, ADDRESS, "venue"), Rate(4, 1.0, 2)
    one, other = pauses(tmp_path, of), pauses(tmp_path, of)
    assert [each.take(whose, Kind.REST, rate) for each in (one, other)] == [0.0, 0.0]
    assert one.take(whose, Kind.REST, rate) == other.wait_s(whose, Kind.REST, rate) == 0.5
    (tmp_path / "file").touch()
    alone = pauses(tmp_path / "file" / "below", of)
    assert [alone.take(whose, Kind.REST, rate) for _ in range(3)] == [0.0, 0.0, 0.5]


def test_budget_that_could_not_be_opened_is_tried_again_later(tmp_path: Path) -> None:
    of, whose, rate = Time(), Whose(HOST, ADDRESS, "venue"), Rate(4, 1.0, 2)
    place = tmp_path / "run"
    place.touch()
    one = pauses(place, of)
    one.spend(whose, Kind.REST, rate, 2)
    place.unlink()
    assert one.take(whose, Kind.REST, rate) > 0
    assert not place.exists()
    of.pass_by(6.0)
    assert one.take(whose, Kind.REST, rate) == 0.0
    assert (place / FILE_NAME).exists()


def test_budget_full_of_pauses_makes_nobody_fail(tmp_path: Path) -> None:
    one = pauses(tmp_path, Time())
    for number in range(257):
        one.note(f"host{number}", ADDRESS, 60.0, "status 429")
    whose, rate = Whose(HOST, ADDRESS, "venue"), Rate(4, 1.0, 2)
    assert one.take(whose, Kind.REST, rate) == 0.0


# ---- several users -------------------------------------------------------------------------------

USER, STRANGER = 65534, 65533
AS_USER = """
import sys
from pathlib import Path
from tickpath.engine.loop.pauses import Pauses
one = Pauses(directory=Path(sys.argv[1]))
print(one.find("h", "a"))
one.note("h", "a", 5000.0, "by the user")
print(one.find("h", "a"))
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A run directory of a user's own, which that user can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.parent != folder:
            folder.chmod(folder.stat().st_mode | 0o011)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o755)
    os.chown(directory, USER, -1)
    return directory


def as_user(directory: Path) -> list[str]:
    command = [sys.executable, "-P", "-c", AS_USER, str(directory)]
    done = subprocess.run(
        command, user=USER, group=USER, extra_groups=[], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.needs("root")
def test_pause_that_root_noted_is_heeded_by_the_user_who_can_make_it_longer(theirs: Path) -> None:
    """Root runs `tickpath instruments` beside the user's feed handler, of the same address."""
    Pauses(directory=theirs).note("h", "a", 1000.0, "by root")
    before, after = as_user(theirs)
    assert "by root" in before
    assert "by the user" in after
    assert Pauses(directory=theirs).find("h", "a")[1] == "by the user"


@pytest.mark.needs("root")
@pytest.mark.parametrize(("owner", "is_heeded"), [(0, True), (USER, True), (STRANGER, False)])
def test_pause_is_that_of_root_or_of_the_directorys_user(
    theirs: Path, owner: int, *, is_heeded: bool
) -> None:
    """Where others may write, they must not be able to hold a feed handler back."""
    Pauses(directory=theirs).note("h", "a", 1000.0, "status 429")
    record = theirs / FILE_NAME
    os.chown(record, owner, -1)
    before, _ = as_user(theirs)
    assert ("status 429" in before) == is_heeded
    os.chown(record, owner, -1)
    assert (Pauses(directory=theirs).find("h", "a")[0] > 0) == is_heeded


def test_own_address_is_the_one_that_packets_leave_with() -> None:
    assert own_address("127.0.0.1", 443) == "127.0.0.1"


def test_run_directory_is_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TICKPATH_RUN_DIRECTORY", str(tmp_path))
    assert run_directory() == tmp_path


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.2, "0.2 s"),
        (1.0, "1 s"),
        (9.94, "9.9 s"),
        (10.4, "10 s"),
        (1795.6, "1796 s"),
    ],
)
def test_pause_is_written_in_seconds_or_tenths(seconds: float, text: str) -> None:
    assert pause_text(seconds) == text
