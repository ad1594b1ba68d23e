"""Binance's SBE streams in a whole deployment: whole books, other exponents, a newer schema."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venue import BaseSource

from tests.sim.deployment import RECOVERY_S, SYNCING, Deployment, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Deployment]

SYMBOL = "BTCUSDT"
Sbe: Any = load_dialect("binance_sbe")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(dialect: Any = Sbe, **settings: Any) -> Deployment:
        own = msgspec.convert(settings, Sbe.venue.settings)
        setup = Setup(
            seed=1, directory=tmp_path, dialect=dialect, symbols=(SYMBOL,), settings=own, rate=40.0
        )
        made.append(Deployment(setup))
        assert made[-1].run(RECOVERY_S, made[-1].are_live)
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def test_sbe_whole_books_need_no_base_and_mend_themselves(make: Make) -> None:
    deployment = make(book="depth20", trades=True, best=True)
    assert Sbe.venue.base_from(msgspec.convert({"book": "depth20"}, Sbe.venue.settings)) is (
        BaseSource.IN_BAND
    )
    deployment.run(5.0)
    assert deployment.are_live()
    counters = deployment.counters
    assert counters.trades > 50
    assert counters.bests > 50
    deployment.order(f"garbage:{SYMBOL}")
    assert deployment.run(1.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    assert counters.broken == 1
    deployment.stop()


class Newer(Sbe):  # type: ignore[misc] # a class that is loaded
    """A version to come: blocks are longer, and something stands behind the symbol."""

    def pushes(self, symbol: str, delta: Any, now_ns: int) -> list[tuple[str, Message]]:
        """Write what each stream says of a change, eight bytes more in each."""
        found = []
        for channel, message in super().pushes(symbol, delta, now_ns):
            length, template, schema, version = struct.unpack_from("<HHHH", message.data)
            head = struct.pack("<HHHH", length + 3, template, schema, version + 1)
            block, rest = message.data[8 : 8 + length], message.data[8 + length :]
            found.append((channel, Message(head + block + b"new" + rest + b"\x04more", False)))
        return found


def test_sbe_newer_version_of_the_schema_is_followed_and_said(make: Make) -> None:
    deployment = make(Newer)
    deployment.run(5.0)
    assert deployment.are_live()
    deployment.order(f"gap:{SYMBOL}")
    assert deployment.run(1.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    counters = deployment.counters
    assert counters.broken == counters.unknown_body == counters.unknown_channel == 0

    def is_said() -> bool:
        return any("new field schema 1 version 1" in line for line in deployment.story)

    assert deployment.run(60.0, is_said)
    deployment.stop()


class Another(Sbe):  # type: ignore[misc] # a class that is loaded
    """Between its changes it sends messages of a schema that nobody knows."""

    def pushes(self, symbol: str, delta: Any, now_ns: int) -> list[tuple[str, Message]]:
        """Write each change, and the same under another schema's number."""
        found = []
        for channel, message in super().pushes(symbol, delta, now_ns):
            other = message.data[:4] + struct.pack("<H", 3) + message.data[6:]
            found += [(channel, Message(other, False)), (channel, message)]
        return found


def test_sbe_message_of_another_schema_is_counted_and_moves_nothing(make: Make) -> None:
    deployment = make(Another)
    deployment.run(5.0)
    assert deployment.are_live()
    counters = deployment.counters
    assert counters.unknown_channel > 50
    assert counters.broken == counters.gaps == 0
    deployment.stop()


class Moved(Sbe):  # type: ignore[misc] # a class that is loaded
    """From some moment on all that it sends is of a schema that nobody knows."""

    has_moved = False

    def pushes(self, symbol: str, delta: Any, now_ns: int) -> list[tuple[str, Message]]:
        """Write each change, under another schema's number once it has moved."""
        found = super().pushes(symbol, delta, now_ns)
        if not Moved.has_moved:
            return list(found)
        head = struct.pack("<H", 3)
        return [(name, Message(one.data[:4] + head + one.data[6:], False)) for name, one in found]


@pytest.mark.parametrize("book", ["depth", "depth20"])
def test_sbe_stream_that_moves_to_another_schema_keeps_no_book_live(
    make: Make, monkeypatch: pytest.MonkeyPatch, book: str
) -> None:
    """Its frames keep the connection awake: the books' own silence is what ends them."""
    monkeypatch.setattr(Moved, "has_moved", False)
    deployment = make(Moved, book=book)
    monkeypatch.setattr(Moved, "has_moved", True)
    assert deployment.run(10.0, lambda: not deployment.are_live())
    deployment.run(5.0)
    assert not deployment.are_live()
    assert deployment.counters.unknown_channel > 50
    monkeypatch.setattr(Moved, "has_moved", False)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.stop()
