"""Whatever takes a symbol takes the venue's name and the canonical one, or says the nearest."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import open_reader
from tickpath.engine.commands import book
from tickpath.engine.commands.book import find_instance, parse_book
from tickpath.engine.commands.tail import _Tail
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.instrument_list import choose
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.sim.command import parse_instruments
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.faults import parse_fault
from tickpath.engine.sim.venues import load_dialect
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.top import view as top
from tickpath.engine.top.samples import Sample, book_row
from tickpath.engine.top.view import View
from tickpath.proto.instrument import Instrument, Symbol
from tickpath.proto.venue import InstrumentList
from tickpath.proto.venues import load_venue
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.client.reader import FeedReader

INSTANCE = f"unit-either-{os.getpid():07d}"
ROWS = [
    Instrument(0, "mexc", "ETHUSDT", -2, -6, name=Symbol("ETH", "USDT")),
    Instrument(1, "mexc", "BTCUSDT", -2, -6, name=Symbol("BTC", "USDT")),
]
CHANNEL = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT"


@pytest.fixture(scope="module")
def reader() -> Iterator[FeedReader]:
    with RehearsalFeed(INSTANCE, ROWS) as feed:
        feed.publish_top((1, 2), (3, 4), 1)
        feed.heartbeat()
        with open_reader(INSTANCE) as opened:
            yield opened


def of_reader(reader: FeedReader, name: str) -> str:
    index = reader.book(name).instrument
    assert reader.instrument(name).index == index
    return reader.instruments[index].symbol


def of_tail(reader: FeedReader, name: str) -> str:
    args = argparse.Namespace(symbol=[name], type=None, count=0, json=True, instance=INSTANCE)
    ((_, symbol),) = _Tail(reader, args)._asked
    return symbol


def of_list(_reader: FeedReader, name: str) -> str:
    """A configuration's symbol, looked up in the venue's list."""
    listed = InstrumentList({row.symbol: row for row in ROWS}, {})
    chosen = choose(VenueConfig(symbols=(name,)), listed, "venue[0]")
    for why in chosen.left_out.values():
        raise LocalError(why)
    return chosen.rows[0].symbol


def of_fault(_reader: FeedReader, name: str) -> str:
    dialect = load_dialect("mexc")
    sim = Exchange(dialect, Options(instruments=[row.symbol for row in ROWS], rate=0, depth=50))
    sim.do(parse_fault(f"mute:{name}"))
    (symbol,) = sim._message_faults.muted
    return symbol


DOORS: list[Callable[[FeedReader, str], str]] = [of_reader, of_tail, of_list, of_fault]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["BTCUSDT", "BTC/USDT"])
def test_door_takes_either_name(
    reader: FeedReader, door: Callable[[FeedReader, str], str], name: str
) -> None:
    assert door(reader, name) == "BTCUSDT"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["BTCUSTD", "BTC/USTD", "BTC/USDT:USDT"])
def test_door_says_the_nearest_of_a_name_that_is_not_there(
    reader: FeedReader, door: Callable[[FeedReader, str], str], name: str
) -> None:
    with pytest.raises((LookupError, LocalError), match=r"did you mean BTC/?USDT\?"):
        door(reader, name)


@pytest.mark.parametrize("name", ["BTCUSDT", "BTC/USDT"])
def test_book_command_finds_the_instance_by_either_name(
    reader: FeedReader, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "instances", lambda: [INSTANCE])  # others of this machine have it too
    asked = parse_book(f"mexc:{name}")
    assert asked.symbol == "BTCUSDT"
    assert find_instance(asked) == INSTANCE


@pytest.mark.parametrize("name", ["BTCUSDT", "BTC/USDT"])
def test_simulator_lists_an_instrument_of_either_name(name: str) -> None:
    assert parse_instruments(load_venue("mexc"), f"ETHUSDT,{name}") == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize("name", ["btcusdt", "btc/usdt"])
def test_top_filters_books_by_either_name(reader: FeedReader, name: str) -> None:
    books = tuple(book_row(reader, row, ()) for row in reader.instruments)
    view = View(sample=Sample(books=books), screen=top.INSTANCE, filter=name)
    assert [one.symbol for one in view.books()] == ["BTCUSDT"]


@pytest.mark.parametrize("name", ["BTCUSDT", "BTC/USDT"])
def test_line_of_a_base_names_its_book_by_either_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.ndjson"
    base = {"lastUpdateId": 5, "bids": [["10.1", "1"]], "asks": [["10.2", "2"]]}
    rows = [
        {"dir": "out", "text": json.dumps({"method": "SUBSCRIPTION", "params": [CHANNEL]})},
        {"dir": "base", "symbol": name, "text": json.dumps(base)},
    ]
    common = {"t_ns": 1, "venue": "mexc", "conn": 0}
    path.write_text("".join(json.dumps(common | row) + "\n" for row in rows))
    recording = NdjsonRecording(path)
    assert [row.symbol for row in recording.meta.instruments] == ["BTCUSDT"]
    assert b"BTCUSDT\n{" in b"".join(recording.batches())
