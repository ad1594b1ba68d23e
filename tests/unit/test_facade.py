"""What stands in `tickpath` itself, and the import paths of the version before."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import tickpath
import tickpath.engine.client.feeds
import tickpath.engine.client.reader
import tickpath.engine.strategy
import tickpath.engine.strategy.compiled
import tickpath.proto.records

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {
    "Book": tickpath.engine.client.reader.Book,
    "BookState": tickpath.engine.client.reader.BookState,
    "Event": tickpath.engine.client.reader.Event,
    "EventType": tickpath.engine.client.reader.EventType,
    "Side": tickpath.proto.records.Side,
    "Strategy": tickpath.engine.strategy.Strategy,
    "cancel": tickpath.engine.strategy.compiled.cancel,
    "native": tickpath.engine.strategy.compiled.native,
    "open_reader": tickpath.engine.client.reader.open_reader,
    "place": tickpath.engine.strategy.compiled.place,
}
USER = """\
from tickpath import Book, BookState, Event, EventType, Strategy, open_reader


class Mine(Strategy):
    def on_event(self, event: Event) -> None:
        assert event.type == EventType.TOP


with open_reader("mexc") as reader:
    book: Book = reader.book("BTCUSDT")
    state: BookState = book.published_state
reveal_type(open_reader)
"""


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    command = [sys.executable, "-P", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_facade_import_alone_brings_no_other_module(tmp_path: Path) -> None:
    program = "import sys; had = set(sys.modules); import tickpath; print(set(sys.modules) - had)"
    assert run("-c", program, cwd=tmp_path).stdout == "{'tickpath'}\n"


@pytest.mark.parametrize(("name", "thing"), NAMES.items())
def test_facade_name_is_the_thing_itself(name: str, thing: object, tmp_path: Path) -> None:
    assert getattr(tickpath, name) is thing
    assert name in dir(tickpath)
    # First asked for in a fresh interpreter, as programs do.
    assert run("-c", f"from tickpath import {name}", cwd=tmp_path).returncode == 0


def test_facade_star_import_is_the_names_and_the_version() -> None:
    assert {*tickpath.__all__} == {*NAMES, "__version__"}


def test_facade_other_name_is_none_of_its() -> None:
    with pytest.raises(AttributeError, match="module 'tickpath' has no attribute 'open_write'"):
        tickpath.open_write  # type: ignore[attr-defined] # noqa: B018 # that is what is tested


@pytest.mark.slow
def test_facade_types_are_seen_in_a_users_file(tmp_path: Path) -> None:
    """By the installed package and its py.typed, as users have it."""
    (tmp_path / "mine.py").write_text(USER)
    done = run("-m", "mypy", "--strict", "mine.py", cwd=tmp_path)
    notes = [line for line in done.stdout.splitlines() if line.startswith("mine.py")]
    assert len(notes) == 1, done.stdout + done.stderr
    assert "Revealed type is" in notes[0]
    assert "FeedReader" in notes[0]
    (tmp_path / "mine.py").write_text(
        USER.replace("BTCUSDT", "x").replace("reader.book(", "reader.bok(")
    )
    assert (
        '"FeedReader" has no attribute "bok"'
        in run("-m", "mypy", "--strict", "mine.py", cwd=tmp_path).stdout
    )


@pytest.mark.parametrize("name", ["reader", "feeds"])
def test_old_import_path_warns_with_the_new_one_and_has_the_same_things(name: str) -> None:
    sys.modules.pop(f"tickpath.engine.{name}", None)
    new = importlib.import_module(f"tickpath.engine.client.{name}")
    with pytest.warns(
        DeprecationWarning, match=rf"is now tickpath\.engine\.client\.{name}:"
    ) as told:
        old = importlib.import_module(f"tickpath.engine.{name}")
    assert len(told) == 1
    assert old.__all__ == new.__all__
    assert all(getattr(old, one) is getattr(new, one) for one in new.__all__)


def test_old_import_path_warns_where_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from tickpath.engine.reader import open_reader\n")
    done = run("-W", "error::DeprecationWarning:__main__", "mine.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "DeprecationWarning: tickpath.engine.reader is now" in done.stderr
