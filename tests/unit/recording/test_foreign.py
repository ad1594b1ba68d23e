"""Recordings of others: what their messages do not say, what is packed, what is in vain."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.recording import foreign
from tickpath.engine.recording.foreign import Message, inflated
from tickpath.engine.recording.format import Meta
from tickpath.engine.recording.left_out import LeftOut
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.recording.tap import Subscription
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path

SIZE_MAX = 1000


def line(t_ns: int, venue: str, text: Any, direction: str = "in") -> str:
    said = text if isinstance(text, str) else json.dumps(text, separators=(",", ":"))
    return json.dumps({"t_ns": t_ns, "venue": venue, "conn": 0, "dir": direction, "text": said})


def book(kind: str, count: int) -> dict[str, Any]:
    bids = [{"price": 100 - i, "qty": 1.5} for i in range(count)]
    asks = [{"price": 101 + i, "qty": 0.25} for i in range(count)]
    data = {"symbol": "BTC/USD", "bids": bids, "asks": asks, "checksum": 1}
    return {"channel": "book", "type": kind, "data": [data]}


@pytest.mark.parametrize(
    ("count", "is_late", "channel"),
    [
        (10, False, "book-10:BTC/USD"),
        (11, False, "book-25:BTC/USD"),
        (100, True, "book-100:BTC/USD"),
        (300, True, "book-500:BTC/USD"),
    ],
)
def test_depth_that_no_message_says_is_that_of_the_first_whole_book(
    tmp_path: Path, count: int, *, is_late: bool, channel: str
) -> None:
    before = [line(1, "kraken", book("update", 1))] if is_late else []
    path = tmp_path / "a.ndjson"
    path.write_text("\n".join([*before, line(2, "kraken", book("snapshot", count))]))
    (row,) = NdjsonRecording(path).meta.instruments
    assert row.channel == channel
    assert (row.price_exponent, row.quantity_exponent) == (0, -2)


def test_depth_that_was_acknowledged_is_taken(tmp_path: Path) -> None:
    result = {"channel": "book", "depth": 1000, "snapshot": True, "symbol": "BTC/USD"}
    answer = {"method": "subscribe", "result": result, "success": True}
    path = tmp_path / "a.ndjson"
    path.write_text("\n".join([line(1, "kraken", answer), line(2, "kraken", book("snapshot", 10))]))
    (row,) = NdjsonRecording(path).meta.instruments
    assert row.channel == "book-1000:BTC/USD"


# ---- messages that the venue packed --------------------------------------------------------------


def packed(data: bytes) -> Message:
    return Message(1, 1, "htx", 0, "in", False, data)


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = SimpleNamespace(compression=lib.TP_COMPRESSION_GZIP, message_size_max=SIZE_MAX)
    monkeypatch.setattr(foreign, "find_decoder", lambda _: SimpleNamespace(facts=facts))


@pytest.mark.usefixtures("packing")
def test_packed_message_is_undone_and_a_plain_one_left() -> None:
    assert inflated(packed(gzip.compress(b"{}"))) == b"{}"
    assert inflated(packed(b'{"ping":1}')) == b'{"ping":1}'
    assert inflated(packed(gzip.compress(bytes(SIZE_MAX)))) == bytes(SIZE_MAX)


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(bytes(SIZE_MAX + 1)),
        gzip.compress(bytes(1 << 24)),
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}") + b"x",
        b"\x1f\x8b\x08",
        b"\x1f\x8bxxxxxxxxxxxxxxxxxxxxxxx",
    ],
)
def test_packed_message_that_is_cut_a_bomb_or_broken_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"gzip: .*expected one whole member"):
        inflated(packed(data))


def test_message_of_a_venue_that_packs_nothing_stays_as_it_is() -> None:
    data = gzip.compress(b"{}")
    assert inflated(Message(1, 1, "mexc", 0, "in", False, data)) == data


# ---- headers -------------------------------------------------------------------------------------

ROW = Subscription(
    venue="okx",
    symbol="BTC-USDT",
    price_exponent=-1,
    quantity_exponent=-8,
    channel="books:BTC-USDT",
)


@pytest.mark.parametrize(
    ("connections", "said"),
    [(("mexc",), "expected 'mexc'"), (("nope",), "of nope: expected"), (("okx",) * 1025, "1025")],
)
def test_header_whose_connections_cannot_be_is_refused(
    connections: tuple[str, ...], said: str
) -> None:
    with pytest.raises(LocalError, match=said):
        Replayer(Meta(instruments=(ROW,), connections=connections))


def test_books_of_two_venues_that_were_left_out_are_two() -> None:
    """One took the other's place, by their symbol; nobody could say whose was never LIVE."""
    rows = (
        ROW,
        msgspec.structs.replace(ROW, venue="coinbase", channel="level2:BTC-USDT", connection=1),
    )
    replayer = Replayer(Meta(instruments=rows, connections=("okx", "coinbase")))
    replayer.c.messages = 1
    left_out = LeftOut()
    left_out.note(replayer)
    replayer.close()
    why = "never LIVE (starting: no base that its messages follow)"
    assert left_out.all_words() == [f"okx:BTC-USDT {why}", f"coinbase:BTC-USDT {why}"]


def test_header_may_name_the_venues_of_connections() -> None:
    Replayer(Meta(instruments=(ROW,), connections=("okx", "mexc"))).close()
