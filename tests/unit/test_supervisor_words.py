"""What `tickpath run` says of a feed handler that ended, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tickpath.engine.supervisor.command import Supervisor

if TYPE_CHECKING:
    from tickpath.engine.config.schema import Config


def supervisor(*, as_json: bool = False) -> Any:
    one = Supervisor(cast("Config", SimpleNamespace(instance="x")), Path("x"), as_json=as_json)
    one._stop.set()  # so that it does not wait before a restart
    return one


@pytest.mark.parametrize(
    ("status", "because", "words"),
    [
        (-9, "", "killed by signal 9; restarting in 0.0 s"),
        (1, "", "ended with status 1; restarting in 0.0 s"),
        (
            -9,
            "its heartbeat stopped 2.0 s ago",
            "killed by signal 9 from this supervisor, since its heartbeat stopped 2.0 s ago; "
            "restarting in 0.0 s",
        ),
    ],
)
def test_restart_is_said_in_plain_words(
    capfd: pytest.CaptureFixture[str], status: int, because: str, words: str
) -> None:
    one = supervisor()
    one._killed_because = because
    one._restart(status, 1.0)
    one._restart(1, 1.0)
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith(f" feed handler {words}")
    assert second.endswith(" feed handler ended with status 1; restarting in 0.2 s")


def test_restart_as_json_keeps_its_keys(capfd: pytest.CaptureFixture[str]) -> None:
    supervisor(as_json=True)._restart(-9, 1.0)
    told = json.loads(capfd.readouterr().out)
    assert (told["event"], told["by"], told["restart_in_s"]) == ("ended", "signal 9", 0.0)
