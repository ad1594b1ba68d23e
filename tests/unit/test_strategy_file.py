"""What `tickpath strategy file.py:Class` gives the file, and what the file must not take."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.strategy.command import load_strategy
from tickpath.engine.strategy.from_file import module_name
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = f"file-{os.getpid()}"
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
WORKS = """
import multiprocessing, queue, sys
import numpy
from beside import FACTOR
from tickpath.engine.strategy import Strategy

def times(x): return FACTOR * x

class Works(Strategy):
    def on_start(self):
        for way in ("spawn", "forkserver", "fork"):
            with multiprocessing.get_context(way).Pool(1) as pool:
                print(way, pool.map(times, [1, 2]), flush=True)
        print(queue.SimpleQueue.__name__, numpy.int64(7), sys.modules["queue"] is queue)
"""


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        yield feed


SCRIPT, MODULE = ["tickpath"], [sys.executable, "-P", "-m", "tickpath"]


@pytest.mark.parametrize(
    ("name", "command", "here"),
    [
        ("mine.py", SCRIPT, "/"),
        ("mine.py", SCRIPT, "."),  # in the file's own folder
        ("mine.py", MODULE, "."),
        ("queue.py", SCRIPT, "."),
        ("numpy.py", SCRIPT, "."),
        ("my-own.v2.py", SCRIPT, "/"),
    ],
)
def test_file_imports_what_is_beside_it_in_all_its_processes(
    feed: RehearsalFeed, tmp_path: Path, name: str, command: list[str], here: str
) -> None:
    # Hides nothing of the product's own imports, nor of a child's, which begin with types.
    for planted in ("msgspec", "pickle", "types", "signal", "selectors", "runpy"):
        (tmp_path / f"{planted}.py").write_text("raise SystemExit('planted')\n")
    (tmp_path / name).write_text(WORKS)
    (tmp_path / "beside.py").write_text("FACTOR = 3\n")
    words = ["strategy", f"{tmp_path / name}:Works", "--instance", INSTANCE]
    done = subprocess.run(
        [*command, *words, "--seconds", "0.2", "--block"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=tmp_path / here,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == [
        "spawn [3, 6]",
        "forkserver [3, 6]",
        "fork [3, 6]",
        "SimpleQueue 7 True",
    ]


def test_file_takes_nobodys_place_in_the_modules(tmp_path: Path) -> None:
    import queue  # noqa: PLC0415 # the one whose place is at stake

    source = "from tickpath.engine.strategy import Strategy\nclass S(Strategy): n = {}\n"
    for number, folder in enumerate(("a", "b")):
        path = tmp_path / folder / "queue.py"
        path.parent.mkdir()
        path.write_text(source.format(number))
        found = load_strategy(f"{path}:S")
        assert found.__module__ == module_name(path) == "tickpath.engine.strategy.from_file.queue"
        assert vars(found)["n"] == number
    assert sys.modules["queue"] is queue


def test_file_that_lacks_a_module_is_told_where_it_may_lie(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import no_such_thing\n")
    with pytest.raises(LocalError) as raised:
        load_strategy(f"{path}:S")
    assert str(raised.value).endswith(
        f"it imports no_such_thing, which is not there: install it for {sys.executable}, or put "
        f"it into {tmp_path}"
    )


@pytest.mark.parametrize("name", ["of_anybody.py", ".", "__pycache__"])
@pytest.mark.parametrize("source", ["of_anybody.py:Mine", "of_anybody:Mine"])
def test_code_that_anybody_may_write_is_refused_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str
) -> None:
    (tmp_path / "of_anybody.py").write_text(
        "from tickpath.engine.strategy import Strategy\nclass Mine(Strategy): pass\n"
    )
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load_strategy(source).__name__ == "Mine"  # whoever owns it
    sys.path.remove(str(tmp_path))
    (tmp_path / name).chmod(0o1777)
    with pytest.raises(LocalError, match=r"others may write .*root: (chmod go-w|move it)"):
        load_strategy(source)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load_strategy(source).__name__ == "Mine"
