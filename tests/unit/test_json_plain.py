"""Escapes that no text needs, against Python's json; a feed reads them as it reads others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.proto.venues import load_venue, venue_names

from tests.unit.feed.conftest import LIVE, WS_TEXT, Rig
from tests.venues.outside import samples_path

if TYPE_CHECKING:
    from pathlib import Path


def plain(data: bytes) -> bytes:
    out = ffi.new("uint8_t[]", len(data) + 1)
    return bytes(out[0 : lib.tp_json_plain(data, len(data), out)])


def in_place(data: bytes) -> bytes:
    text = ffi.new("uint8_t[]", data)
    return bytes(text[0 : lib.tp_json_plain(text, len(data), text)])


def escaped(text: str) -> str:
    """Write every character of every string as an escape of its own."""
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)) + '"'


def dumps(value: Any) -> str:
    """Write JSON with nothing but escapes in its strings."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{escaped(k)}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    return escaped(value) if isinstance(value, str) else json.dumps(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('ab/\\"é币', max_size=3), inner)
    ),
    max_leaves=8,
)


@given(values)
def test_plain_text_means_what_it_meant(value: Any) -> None:
    for text in (dumps(value), json.dumps(value), json.dumps(value).replace("/", "\\/")):
        made = plain(text.encode())
        assert json.loads(made) == value
        assert in_place(text.encode()) == made
        assert plain(made) == made


def test_only_escapes_that_must_stay_are_left() -> None:
    assert plain(rb'{"\u0073":"BTC\/USD \u5e01\ud83d\ude00"}') == '{"s":"BTC/USD 币😀"}'.encode()
    for stays in (rb'"\u0022\u005c\u0000\u001f\n\"\\u0041"', rb'"\ud800x"', rb'"\udc00"', b'"\\'):
        assert plain(stays) == stays
    for broken in (rb'"\u12"', rb'"\u12g4"', rb"\u004", b"\\"):
        assert plain(broken) == broken


@given(st.binary(max_size=200))
def test_any_bytes_are_no_longer_than_they_were(data: bytes) -> None:
    assert len(plain(data)) <= len(data)
    assert in_place(data) == plain(data)


# ---- a feed --------------------------------------------------------------------------------------


def feed_of(venue: str, path: Path) -> Rig:
    """Return a feed that is subscribed to what the venue's samples are of."""
    rig = Rig(path, venue=lib.tp_venue_find(venue.encode()), added=0)
    own = load_venue(venue)
    symbol = own.example_symbol
    assert rig.add(0, own.channels(symbol, own.settings())[0].encode())
    rig.up()
    return rig


def samples(venue: str) -> list[str]:
    lines = map(json.loads, samples_path(venue).read_text().splitlines())
    return [line["text"] for line in lines if line.get("text", "").startswith("{")]


@pytest.mark.parametrize("venue", [name for name in venue_names() if name != "toy"])
def test_feed_reads_samples_with_escapes_as_those_without(venue: str, tmp_path: Path) -> None:
    """Counters and book are the same, message by message: nothing is left out without a word."""
    rigs = []
    for name in ("as_sent", "escaped"):
        (tmp_path / name).mkdir()
        rigs.append(feed_of(venue, tmp_path / name))
    as_sent, other = rigs
    for text in samples(venue):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if "e+" in text.lower() or json.loads(json.dumps(value)) != value:
            continue
        results = (
            as_sent.message(json.dumps(value).encode(), opcode=WS_TEXT),
            other.message(dumps(value).encode(), opcode=WS_TEXT),
        )
        assert results[0] == results[1], text
        assert [rig.state(0) for rig in rigs] == [as_sent.state(0)] * 2, text
    assert other.counters.escaped > 0
    for name in ("control", "unknown_channel", "unknown_body", "broken", "unreadable", "levels"):
        assert getattr(other.counters, name) == getattr(as_sent.counters, name), name
    for rig in rigs:
        rig.close()


def test_book_follows_messages_with_escapes(tmp_path: Path) -> None:
    """The venue's router found no such symbol: the book stayed LIVE without its changes."""
    rig = Rig(tmp_path, venue=lib.tp_venue_find(b"bybit"), added=0)
    assert rig.add(0, b"orderbook.50.BTCUSDT")
    rig.up()

    def say(kind: str, number: int, bid: str) -> None:
        book = {"s": "BTCUSDT", "b": [["1.00", bid]], "a": [["2.00", "1"]], "u": number, "seq": 7}
        whole = {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1, "data": book, "cts": 1}
        rig.message(dumps(whole).encode(), opcode=WS_TEXT)

    say("snapshot", 5, "1")
    say("delta", 6, "3")
    assert rig.state()[0] == LIVE
    assert rig.levels()[0] == {100: 300_000_000}
    rig.close()
