"""What single records do to a replay's books, and which cannot be: the replayer in this process."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.client.reader import BookState
from tickpath.engine.recording.format import Meta, pack_record
from tickpath.engine.recording.replayer import BrokenRecordError, Replayer

from tests.unit.feed.conftest import Venue
from tests.unit.recording.test_replay import ROWS, live_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

META = Meta(instruments=ROWS, instance_id="one")
Row = tuple[int, int, int, bytes]


def states_of(rows: list[Row]) -> list[str]:
    """Play (t_ns, kind, opcode, payload) rows of connection 0: the states of the first book."""
    states: list[str] = []

    def keep(tops: NDArray[Any]) -> None:
        states.extend(BookState(int(row["state"])).name for row in tops if row["instrument"] == 0)

    replayer = Replayer(META, on_tops=keep)
    try:
        replayer.play(
            b"".join(pack_record(kind, opcode, 0, t, data) for t, kind, opcode, data in rows)
        )
    finally:
        replayer.close()
    return states


@pytest.mark.parametrize(
    ("kind", "payload", "is_hole"),
    [
        (lib.TP_RECORD_GAP, struct.pack("<QQ", 0, 7), True),
        (lib.TP_RECORD_GAP, struct.pack("<QQ", 1, 7), False),  # events are made anew
        (lib.TP_RECORD_OVERSIZE, struct.pack("<Q", 1 << 20), True),
        (lib.TP_RECORD_DOWN, b"", True),
    ],
)
def test_book_behind_a_hole_of_raw_messages_is_stale(
    kind: int, payload: bytes, is_hole: bool
) -> None:
    rows = live_rows(Venue(), 100, 20)
    rows.insert(10, (109, kind, 0, payload))
    states = states_of(rows)
    assert states[0] == "LIVE"
    assert ("STALE" in states) == is_hole


def test_message_behind_a_connections_end_opens_it_not_again() -> None:
    rows = live_rows(Venue(), 100, 20)
    assert "LIVE" in states_of(rows)
    assert "LIVE" not in states_of([(99, lib.TP_RECORD_DOWN, 0, b""), *rows])
    again = [(99, lib.TP_RECORD_DOWN, 0, b""), (99, lib.TP_RECORD_UP, 0, b""), *rows]
    assert "LIVE" in states_of(again)


def book(instrument: int) -> bytes:
    return bytes(ffi.buffer(ffi.new("struct tp_record_book *", {"instrument": instrument})))


@pytest.mark.parametrize("beyond", [0, 1 << 20])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: pack_record(lib.TP_RECORD_BASE, 0, 0, 1, book(n)), id="base"),
        pytest.param(
            lambda n: pack_record(lib.TP_RECORD_CHECKPOINT, 0, 0, 1, book(n)), id="checkpoint"
        ),
        pytest.param(
            lambda n: pack_record(lib.TP_RECORD_CONFIRMED, 0, 0, 1, struct.pack("<Q", n)),
            id="confirmed",
        ),
        pytest.param(
            lambda n: pack_record(lib.TP_RECORD_REFUSED, 0, 0, 1, struct.pack("<Q", n)),
            id="refused",
        ),
    ],
)
def test_record_of_an_instrument_that_is_not_there_is_broken(make: Any, beyond: int) -> None:
    replayer = Replayer(META)
    replayer.play(make(len(ROWS) - 1))  # the last one is there
    with pytest.raises(BrokenRecordError):
        replayer.play(make(len(ROWS) + beyond))
    replayer.close()


@pytest.mark.parametrize("connection", [1, 255])
def test_record_of_a_connection_that_is_not_there_is_broken(connection: int) -> None:
    replayer = Replayer(META)
    replayer.play(pack_record(lib.TP_RECORD_UP, 0, 0, 1, b""))
    with pytest.raises(BrokenRecordError):
        replayer.play(pack_record(lib.TP_RECORD_UP, 0, connection, 1, b""))
    replayer.close()
