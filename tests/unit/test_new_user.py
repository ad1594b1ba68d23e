"""What somebody new meets: help without an extra, a misspelt method, a second run, next steps."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tickpath.engine.cli import COMMANDS, main
from tickpath.engine.commands.demo import NEXT
from tickpath.engine.recording.format import unwritable
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.command import misspelt
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.supervisor import command as supervisor
from tickpath.netstack.transport import open_transport
from tickpath.proto.instrument import Instrument
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.segment import Segment, remove_dead

from tests.unit.recording.test_replay import session, write

INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6),)
INSTANCE = f"unit-new-{os.getpid():07d}"
WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
from tickpath.engine.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_pyarrow(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_PYARROW, *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_export_help_needs_no_pyarrow() -> None:
    done = without_pyarrow("export", "--help")
    assert done.returncode == 0, done.stderr
    assert "--format {parquet,csv,hftbacktest}" in done.stdout


def test_export_without_pyarrow_names_what_brings_it(tmp_path: Path) -> None:
    done = without_pyarrow("export", str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.endswith("pip install 'tickpath[export]'\n")


# ---- a strategy ----------------------------------------------------------------------------------


class Misspelt(Strategy):
    """One that means on_book."""

    def on_bok(self) -> None:
        """Never be called."""

    def on_lapped(self, lost: int) -> None:
        """Be called."""

    def once(self) -> None:
        """Be the user's own."""


class Strange(Strategy):
    """One whose method is like none."""

    def on_zzzzzzzz(self) -> None:
        """Never be called."""


def test_strategy_misspelt_method_is_named_with_the_likely_one() -> None:
    assert misspelt(Misspelt) == ["Misspelt.on_bok is never called: did you mean on_book?"]


def test_strategy_method_like_none_names_those_that_are_called() -> None:
    (line,) = misspelt(Strange)
    assert line.startswith("Strange.on_zzzzzzzz is never called: those that are: on_start, on_book")


def test_strategy_that_is_right_is_not_warned_of() -> None:
    assert misspelt(Strategy) == []


# ---- a second run --------------------------------------------------------------------------------


def config_of(tmp_path: Path) -> Path:
    path = tmp_path / "second.toml"
    path.write_text(
        f'instance = "{INSTANCE}"\n[network]\nbackend = "kernel"\n[[venue]]\nname = "mexc"\n'
        'host = "127.0.0.1"\nport = 9\nsymbols = ["BTCUSDT"]\n'
    )
    return path


def test_run_of_a_running_instance_is_refused_at_once_and_names_its_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a feed handler was started")

    monkeypatch.setattr(supervisor, "spawn", start)
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        feed.heartbeat()
        assert main(["run", str(config_of(tmp_path))]) == 3
    error = capsys.readouterr().err
    assert f"instance '{INSTANCE}' runs already, process {os.getpid()} (" in error
    assert "pytest" in error


DIES = f"""
import os, signal
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
feed = RehearsalFeed({INSTANCE!r}, (Instrument(0, "mexc", "BTCUSDT", -2, -6),))
feed.heartbeat()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_run_is_not_refused_for_what_a_dead_writer_left(tmp_path: Path) -> None:
    """One that was killed: its segment stands there, its heart beat a moment ago."""
    done = subprocess.run([sys.executable, "-P", "-c", DIES], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    try:
        with Segment(INSTANCE) as segment:
            assert segment.heartbeat_age_ns() < 60e9
        supervisor.refuse_second(INSTANCE, config_of(tmp_path))
        with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
            feed.heartbeat()
            with pytest.raises(SystemSetupError, match="runs already"):
                supervisor.refuse_second(INSTANCE, config_of(tmp_path))
    finally:
        remove_dead(INSTANCE)


# ---- words ---------------------------------------------------------------------------------------


def test_kernel_path_says_that_it_was_asked_for() -> None:
    with_reason = open_transport("127.0.0.1", "kernel")
    assert with_reason.description == "kernel sockets (asked for by backend kernel)"
    with_reason.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EEXIST, LocalError),
        (errno.ENOTDIR, LocalError),
        (errno.EACCES, SystemSetupError),
        (errno.EROFS, SystemSetupError),
        (errno.ENOSPC, SystemSetupError),
    ],
)
def test_out_that_cannot_be_written_blames_the_same_whatever_writes(
    number: int, kind: type[Exception]
) -> None:
    error = unwritable(Path("/x"), OSError(number, os.strerror(number)), "nothing is there")
    assert type(error) is kind
    assert str(error).startswith(f"--out /x: {os.strerror(number)}: nothing is there; expected")


def test_export_into_a_file_is_2(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    path = write(tmp_path / "a.ndjson", session()[0])
    assert main(["export", str(path), "--ndjson", "--out", str(file)]) == 2


def test_demo_ends_with_commands_that_exist() -> None:
    names = re.findall(r"`tickpath (\w+)", NEXT)
    assert len(names) >= 3
    assert [name for name in names if name not in COMMANDS] == []
