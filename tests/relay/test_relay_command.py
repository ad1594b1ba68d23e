"""`tickpath relay` as a person starts it: two processes, a real Redis, signals, wrong usage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.cli import main
from tickpath.engine.client.reader import BookState, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.shm.segment import DIRECTORY, Segment, SegmentError

from tests.relay.conftest import INSTRUMENTS, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.relay.conftest import Server

INSTANCE = f"relay-command-{os.getpid():07d}"


def start(*words: str, log: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "tickpath.engine.cli",
        "relay",
        INSTANCE,
        *words,
        "--json",
    ]
    with log.open("w") as file:
        return spawn(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)


def is_there(name: str) -> bool:
    try:
        Segment(name).close()
    except SegmentError:
        return False
    return True


@pytest.mark.needs("redis")
def test_relay_command_carries_a_book_and_ends_on_sigterm(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    server, logs = servers("--requirepass", "right"), [tmp_path / "to.log", tmp_path / "from.log"]
    (tmp_path / "word").write_text("right\n")
    url, word = f"redis://127.0.0.1:{server.port}/0", ["--password-file", str(tmp_path / "word")]
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        feed.publish_top((100, 5), (101, 6), 2)
        feed.heartbeat()
        children = [
            start("--to", url, *word, log=logs[0]),
            start("--from", url, *word, "--as", f"{INSTANCE}-far", log=logs[1]),
        ]
        try:
            until(lambda: is_there(f"{INSTANCE}-far"), "the segment", feed.heartbeat)
            with open_reader(f"{INSTANCE}-far", stale_after_ns=10**9) as far:
                until(lambda: far.book(2).bid == (100, 5), "the book", feed.heartbeat)
                until(lambda: far.book(2).published_state == BookState.LIVE, "LIVE", feed.heartbeat)
            with Segment(f"{INSTANCE}.relay") as stats:
                until(lambda: stats.counters()["books"] >= len(INSTRUMENTS), "its counters")
            for child in children:
                child.send_signal(signal.SIGTERM)
            assert [child.wait(10) for child in children] == [0, 0]
        finally:
            for child in children:
                stop(child)
    said = [[json.loads(line)["event"] for line in log.read_text().splitlines()] for log in logs]
    assert (said[0][0], said[0][-1]) == ("connected", "stopped")
    assert said[1][-1] == "stopped"
    assert not list(DIRECTORY.glob(f"tickpath.{INSTANCE}*"))


@pytest.mark.needs("redis")
def test_relay_command_killed_leaves_what_clean_removes(
    tmp_path: Path, servers: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    url, far = f"redis://127.0.0.1:{servers().port}", f"{INSTANCE}-far"
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        feed.publish_top((100, 5), (101, 6), 2)
        children = [
            start("--to", url, log=tmp_path / "to.log"),
            start("--from", url, "--as", far, log=tmp_path / "from.log"),
        ]
        until(lambda: is_there(far), "the segment", feed.heartbeat)
        with open_reader(far, name=None) as reader:
            for child in children:
                child.kill()
                child.wait()
            until(lambda: not reader.book(2).is_live and reader.book(2).writer_silent_ns, "STALE")
        assert main(["clean", INSTANCE]) == 0
        assert main(["clean", far]) == 0
        said = capsys.readouterr().out
        assert f"kept {INSTANCE}: " in said
        assert f"removed {INSTANCE}.relay " in said
        assert f"removed {far} " in said
    assert not list(DIRECTORY.glob(f"tickpath.{INSTANCE}*"))


@pytest.mark.needs("redis")
def test_relay_command_wrong_password_is_status_1_in_one_line(
    servers: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = servers("--requirepass", "right")
    monkeypatch.setenv("TICKPATH_REDIS_PASSWORD", "wrong")
    with RehearsalFeed(INSTANCE, INSTRUMENTS):
        assert main(["relay", INSTANCE, "--to", f"redis://127.0.0.1:{server.port}"]) == 1
    said = capsys.readouterr().err
    assert "--password-file" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("side", ["--to", "--from"])
def test_relay_command_nobody_listening_at_start_is_tried_again(tmp_path: Path, side: str) -> None:
    with RehearsalFeed(INSTANCE, INSTRUMENTS):
        log = tmp_path / "log"
        words = ["--as", f"{INSTANCE}-far"] if side == "--from" else []
        child = start(side, "redis://127.0.0.1:1", *words, log=log)
        try:
            until(lambda: '"lost"' in log.read_text(), "its word")
            assert "127.0.0.1:1" in log.read_text()
            assert child.poll() is None
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 0
        finally:
            stop(child)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--to", "http://x"], "expected redis://host:port/0"),
        (["--to", "redis://u:secret@x"], "--password-file"),
        (["--to", "redis://u@x"], "without a password"),
        (["--to", "redis://x:99999"], "expected redis://host:port/0"),
        (["--to", "redis://x/y"], "expected redis://host:port/0"),
        (["--ca-file", "ca.pem"], "rediss://"),
        (["--cap", "0"], "expected 1 to"),
        (["--ring", "1000", "--from", "redis://x"], "power of two"),
        (["--stale-after-ms", "5", "--from", "redis://x"], "expected 200"),
        (["--as", "other"], "--from"),
        (["--password-file", "/nonexistent/word"], "/nonexistent/word: No such file"),
        (["--to", "rediss://x", "--ca-file", "/nonexistent/ca"], "/nonexistent/ca: No such file"),
        (["--from", "redis://x", "--as", "a b"], "expected 1 to 95 of"),
    ],
)
def test_relay_command_wrong_usage_is_status_2_with_the_remedy(
    words: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay", INSTANCE, *words]) == 2
    said = capsys.readouterr().err
    assert remedy in said
    assert "secret" not in said


def test_relay_command_absent_instance_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "unit-no-such"]) == 3
    assert "start its writer" in capsys.readouterr().err
