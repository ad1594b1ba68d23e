"""What was concluded of quiet books is in the tap: a replay asks nobody and concludes the same."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import Meta, pack_record
from tickpath.engine.recording.replayer import BrokenRecordError, Replayer
from tickpath.engine.recording.tap import Subscription

from tests.unit.feed.conftest import (
    BID,
    GAP,
    LIVE,
    MS,
    PRICE_EXPONENT,
    QUANTITY_EXPONENT,
    SECOND,
    SILENT,
    STALE,
    STATE,
    SYNCING,
    WS_BINARY,
    Rig,
    Venue,
    channel,
)
from tests.unit.test_message_ring import Ring

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

AFTER, LIMIT, GRACE = 30 * SECOND, 60 * SECOND, 2 * SECOND
UNVERIFIED = int(lib.TP_SYNC_REASON_UNVERIFIED)
VERIFIED = int(lib.TP_EVENT_VERIFIED)
META = Meta(
    instruments=(
        Subscription(
            venue="mexc",
            symbol="COIN0USDT",
            price_exponent=PRICE_EXPONENT,
            quantity_exponent=QUANTITY_EXPONENT,
            channel=channel(0).decode(),
            tick_size=1,
            connection=0,
        ),
    ),
    ticks=True,
)


class Recorded(Rig):
    """A rig that keeps, in order, all that was done to its feed, as the hot path taps it."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.ring = Ring(directory, slots=1 << 12)
        tap = ffi.new("struct tp_tap *", {"segment": self.ring.writer.pointer})
        self.records: list[bytes] = []
        self.kept = tap
        super().__init__(
            directory,
            tap=tap,
            **{
                "verify_after_ns": AFTER,
                "verify_limit_ns": LIMIT,
                "silent_after_ns": 0,
                **config,
            },
        )

    def up(self, connection: int = 0) -> None:
        self.records.append(pack_record(lib.TP_RECORD_UP, 0, connection, self.now, b""))
        super().up(connection)

    def message(self, data: bytes, connection: int = 0, opcode: int = WS_BINARY) -> int:
        result = super().message(data, connection, opcode)
        self._drain()
        self.records.append(pack_record(lib.TP_RECORD_IN, opcode, connection, self.now, data))
        return result

    def tick(self, after_ns: int = 0) -> None:
        self.now += after_ns
        changed = lib.tp_feed_tick(self.feed, self.now)
        self._drain()
        if changed:
            self.records.append(pack_record(lib.TP_RECORD_TICK, 0, 0, self.now, b""))

    def _drain(self) -> None:
        self.ring.drain()
        self.records += [
            pack_record(tag & 0xFF, tag >> 8 & 0xFF, tag >> 16, time_ns, payload)
            for tag, time_ns, payload in self.ring.taken()
        ]

    def close(self) -> None:
        super().close()
        self.ring.close()


def live_through(rig: Recorded, venue: Venue) -> None:
    """Be found equal, deaf, different, unanswered, and proved again."""
    rig.up()
    rig.message(venue.step())
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    out = ffi.new("uint32_t[]", 4)

    def ask() -> None:
        rig.tick(AFTER + 1)
        assert lib.tp_feed_check_wanted(rig.feed, 0, out, 4) == 1

    def sync() -> None:
        assert rig.wanted() == [0]
        rig.offer(venue.version, *venue.book)
        rig.tick(MS)

    ask()
    rig.offer(venue.version, *venue.book)
    rig.tick(MS)
    ask()
    venue.step([(BID, venue.middle - 1, 99)])
    rig.offer(venue.version, *venue.book)
    rig.tick(MS)
    rig.tick(GRACE + 1)
    rig.message(venue.step())
    sync()
    ask()
    rig.offer(venue.version, {1: 1}, {2: 1})
    rig.tick(MS)
    sync()
    rig.tick(AFTER + 1)
    rig.tick(LIMIT)
    lib.tp_feed_base_failed(rig.feed, 0, 0)
    rig.tick(MS)
    rig.message(venue.step())


def replayed(
    rig: Recorded, meta: Meta = META
) -> tuple[list[tuple[int, list[int]]], dict[str, Any]]:
    """Return what a replay of all that was done to a feed publishes, and its book's record."""
    again: list[tuple[int, list[int]]] = []

    def keep(rows: NDArray[Any]) -> None:
        for row in rows:
            raw = row.tobytes()  # the ring's index, then struct tp_event
            again.append((raw[10], list(struct.unpack_from("<4Q", raw, 32))))

    replayer = Replayer(meta, on_events=keep)
    records = b"".join(rig.records)
    assert replayer.play(records) == len(records)
    replayer.hand_on()
    state = int(lib.tp_feed_state(replayer.feed, 0)), int(lib.tp_feed_reason(replayer.feed, 0))
    assert replayer.c.bases_refused == 0
    replayer.close()
    return again, {"state": state}


@pytest.mark.parametrize("kept_s", [1, 3])
def test_replay_keeps_messages_for_as_long_as_the_feed_did(tmp_path: Path, kept_s: int) -> None:
    """A base that meets what is kept for long, and is too old for what is kept for less."""
    rig, venue = Recorded(tmp_path, keep_ns=kept_s * SECOND), Venue()
    rig.up()
    for _ in range(5):
        rig.message(venue.step(versions=1))
        rig.now += SECOND // 2
    assert rig.wanted() == [0]
    base = venue.version - 4
    rig.offer(base, *venue.history[base])
    rig.tick(MS)
    assert rig.state()[0] == (SYNCING if kept_s == 1 else LIVE)
    live = [(kind, values) for kind, _, values in rig.events()]
    meta = msgspec.structs.replace(META, keep_ns=kept_s * SECOND)
    assert replayed(rig, meta) == (live, {"state": rig.state()})
    other = msgspec.structs.replace(META, keep_ns=(4 - kept_s) * SECOND)
    assert replayed(rig, other)[0] != live, "the budget decides"
    rig.close()


@pytest.mark.parametrize("kept", [1 << 12, 1 << 20])
def test_replay_keeps_as_many_bytes_as_the_feed_did(tmp_path: Path, kept: int) -> None:
    rig, venue = Recorded(tmp_path, buffer_pool_bytes=kept), Venue()
    assert lib.tp_feed_pool_bytes(rig.config) == kept
    rig.up()
    first = venue.version
    for _ in range(60):
        rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(first, *venue.history[first])
    rig.tick(MS)
    assert rig.state()[0] == (SYNCING if kept < 1 << 20 else LIVE)
    live = [(kind, values) for kind, _, values in rig.events()]
    meta = msgspec.structs.replace(META, keep_bytes=kept)
    assert replayed(rig, meta) == (live, {"state": rig.state()})
    rig.close()


def test_replay_of_verdicts_publishes_what_was_published(tmp_path: Path) -> None:
    rig, venue = Recorded(tmp_path), Venue()
    live_through(rig, venue)
    live = [(kind, values) for kind, _, values in rig.events()]
    assert [values[1] for kind, values in live if kind == VERIFIED] == [1, 0, 0]
    states = [tuple(values[:2]) for kind, values in live if kind == STATE]
    assert [reason for state, reason in states if state != LIVE][-3:] == [SILENT, GAP, UNVERIFIED]
    assert [state for state, _ in states][-7:] == [LIVE, *(SYNCING, LIVE) * 2, STALE, LIVE]
    assert replayed(rig)[0] == live
    rig.close()


@pytest.mark.parametrize("verdict", [0, 5, 255])
def test_replay_refuses_a_verdict_that_is_none(verdict: int) -> None:
    replayer = Replayer(META)
    with pytest.raises(BrokenRecordError):
        replayer.play(pack_record(lib.TP_RECORD_VERDICT, verdict, 0, 1, bytes(16)))
    replayer.close()


def test_replay_refuses_a_verdict_on_no_instrument() -> None:
    replayer = Replayer(META)
    with pytest.raises(BrokenRecordError):
        replayer.play(pack_record(lib.TP_RECORD_VERDICT, 1, 0, 1, b"\x01" + bytes(15)))
    replayer.close()
