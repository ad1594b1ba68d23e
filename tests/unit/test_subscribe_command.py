"""`tickpath subscribe` and `unsubscribe`: what they say, and by which status they end."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from tickpath.engine.cli import main
from tickpath.engine.feed_handler.changes import Outcome, Reply, Request, place_of
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = f"unit-subscribe-{os.getpid():07d}"


@pytest.fixture(autouse=True)
def run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TICKPATH_RUN_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, [Instrument(0, "mexc", "BTCUSDT", -2, -6)]) as one:
        yield one


def answering(*outcomes: Outcome) -> threading.Thread:
    """Answer the first request as a feed handler does."""
    place = place_of(INSTANCE)
    place.mkdir(exist_ok=True)

    def answer() -> None:
        ends = time.monotonic() + 10
        while not (found := list(place.glob("request-*"))) and time.monotonic() < ends:
            time.sleep(0.01)
        asked.append(msgspec.json.decode(found[0].read_bytes(), type=Request))
        found[0].unlink()
        new = place / "new"
        new.write_bytes(msgspec.json.encode(Reply(outcomes)))
        new.replace(place / found[0].name.replace("request", "answer"))

    asked.clear()
    thread = threading.Thread(target=answer)
    thread.start()
    return thread


asked: list[Request] = []


@pytest.mark.usefixtures("feed")
@pytest.mark.parametrize("command", ["subscribe", "unsubscribe"])
def test_command_asks_and_says_what_was_done(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    what = f"{command}d"
    thread = answering(Outcome("mexc:A", what), Outcome("mexc:B", "unchanged", "so already"))
    assert main([command, INSTANCE, "mexc:A", "mexc:B"]) == 0
    thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"mexc:A: {what}", "mexc:B: unchanged: so already"]
    assert "write it into the configuration to keep it" in lines[2]
    names = ("mexc:A", "mexc:B")
    assert asked == [Request(add=names) if command == "subscribe" else Request(remove=names)]
    assert not list(place_of(INSTANCE).iterdir())  # nothing is left behind


@pytest.mark.usefixtures("feed")
def test_command_says_what_was_refused_and_ends_by_2(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = (Outcome("mexc:A", "subscribed"), Outcome("mexc:X", "refused", "no such X"))
    thread = answering(*outcomes)
    assert main(["subscribe", INSTANCE, "mexc:A", "mexc:X"]) == 2
    thread.join()
    said = capsys.readouterr()
    assert "mexc:A: subscribed" in said.out
    assert "no such X" in said.err
    thread = answering(*outcomes)
    assert main(["subscribe", INSTANCE, "mexc:A", "mexc:X", "--json"]) == 2
    thread.join()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["name"], one["what"], one["why"]) for one in told] == [
        ("mexc:A", "subscribed", ""),
        ("mexc:X", "refused", "no such X"),
    ]


def test_command_of_no_such_instance_ends_by_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["subscribe", f"{INSTANCE}-no", "mexc:A"]) == 3
    assert f"{INSTANCE}-no" in capsys.readouterr().err


@pytest.mark.usefixtures("feed")
def test_command_of_what_is_no_feed_handler_ends_by_3(capsys: pytest.CaptureFixture[str]) -> None:
    """What reads a recording, or a relay, has books too, and takes no changes."""
    assert main(["unsubscribe", INSTANCE, "mexc:A"]) == 3
    assert "takes no changes" in capsys.readouterr().err


@pytest.mark.usefixtures("feed")
def test_command_that_nobody_answers_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    place_of(INSTANCE).mkdir()
    assert main(["subscribe", INSTANCE, "mexc:A", "--timeout", "0.2"]) == 3
    assert "does not look at" in capsys.readouterr().err
    assert not list(place_of(INSTANCE).iterdir())  # and is not done later


@pytest.mark.usefixtures("feed")
def test_command_whose_request_was_taken_says_what_it_waits_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = place_of(INSTANCE)
    place.mkdir()

    def take() -> None:
        while not (found := list(place.glob("request-*"))):
            time.sleep(0.01)
        found[0].unlink()

    thread = threading.Thread(target=take)
    thread.start()
    assert main(["subscribe", INSTANCE, "mexc:A", "--timeout", "0.5"]) == 1
    thread.join()
    assert "instrument list did not come" in capsys.readouterr().err


def test_command_without_a_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["subscribe", INSTANCE])
    assert ended.value.code == 2
    assert "VENUE:SYMBOL" in capsys.readouterr().err
