"""Instruments that come and go in a recording: its files, and replays of them."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import RAW, FileWriter, Meta, RecordingFile, pack_record
from tickpath.engine.recording.left_out import LeftOut
from tickpath.engine.recording.recorded import continues, recorded_runs
from tickpath.engine.recording.recorder import Recorder, RecordOptions
from tickpath.engine.recording.replayer import BrokenRecordError, Replayer
from tickpath.engine.recording.tap import Subscription, TapOptions, TapWriter
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BookState, EventType, SyncReason
from tickpath.proto.venues import load_venue
from tickpath.shm.errors import LocalError

from tests.unit.feed.conftest import PRICE_EXPONENT, QUANTITY_EXPONENT, Venue, channel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

INSTANCE = f"unit-rows-{os.getpid():07d}"
MS = 1_000_000
LIVE, STALE, SYNCING = int(BookState.LIVE), int(BookState.STALE), int(BookState.SYNCING)


def subscription(instrument: int, **fields: Any) -> Subscription:
    return Subscription(
        venue="mexc",
        symbol=f"COIN{instrument}USDT",
        price_exponent=PRICE_EXPONENT,
        quantity_exponent=QUANTITY_EXPONENT,
        channel=channel(instrument).decode(),
        **fields,
    )


def row(t_ns: int, instrument: int, generation: int, *, leaves: bool = False) -> bytes:
    one = ffi.new("struct tp_feed_row *")
    one.record.venue, one.record.symbol = b"mexc", f"COIN{instrument}USDT".encode()
    one.record.price_exponent, one.record.quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    one.record.tick_size = 1
    one.record.status = lib.TP_INSTRUMENT_REMOVED if leaves else lib.TP_INSTRUMENT_TRADING
    one.instrument, one.generation, one.channel = instrument, generation, channel(instrument)
    return pack_record(lib.TP_RECORD_ROW, 0, 0, t_ns, bytes(ffi.buffer(one)))


def base(t_ns: int, venue: Venue) -> bytes:
    bids, asks = venue.book
    head = ffi.new("struct tp_record_book *")
    head.instrument, head.version = venue.instrument, venue.version
    head.bid_count, head.ask_count = len(bids), len(asks)
    levels = ffi.new("struct tp_level[]", [*sorted(bids.items())[::-1], *sorted(asks.items())])
    payload = bytes(ffi.buffer(head)) + bytes(ffi.buffer(levels))
    return pack_record(lib.TP_RECORD_BASE, 0, 0, t_ns, payload)


def joined(t_ns: int, venue: Venue, generation: int = 1) -> list[bytes]:
    """Return an instrument's first moments: it comes, speaks and gets its base."""
    return [
        row(t_ns, venue.instrument, generation),
        pack_record(lib.TP_RECORD_IN, 2, 0, t_ns + MS, venue.step()),
        base(t_ns + 2 * MS, venue),
    ]


class Replay:
    def __init__(self, meta: Meta, **words: Any) -> None:
        self.events: list[tuple[int, int, int]] = []
        self.replayer = Replayer(meta, on_events=self._take, **words)

    def _take(self, events: NDArray[Any]) -> None:
        for event in events:
            first, second = event["u"]["value"][:2].tolist()
            self.events.append((int(event["instrument"]), int(event["type"]), first * 100 + second))

    def state(self, instrument: int) -> tuple[int, int]:
        feed = self.replayer.feed
        return lib.tp_feed_state(feed, instrument), lib.tp_feed_reason(feed, instrument)

    def states(self, instrument: int) -> list[int]:
        kind = int(EventType.STATE)
        return [value for one, of, value in self.events if (one, of) == (instrument, kind)]


@pytest.fixture
def meta() -> Meta:
    return Meta(
        instruments=(subscription(0), subscription(1, is_awaited=True)),
        instruments_max=3,
        connections_max=2,
        changes_rows=True,
        instance_id="1",
        ticks=True,
    )


def up(t_ns: int) -> bytes:
    return pack_record(lib.TP_RECORD_UP, 0, 0, t_ns, b"")


def test_replay_instrument_of_a_row_record_comes_when_it_came(meta: Meta) -> None:
    one = Replay(meta)
    first, second = Venue(), Venue(seed=1, instrument=1)
    before = [
        up(MS),
        pack_record(lib.TP_RECORD_IN, 2, 0, 2 * MS, first.step()),
        base(3 * MS, first),
    ]
    one.replayer.play(b"".join(before))
    assert [instrument for instrument, *_ in one.events if instrument] == []
    one.replayer.play(b"".join(joined(10 * MS, second)))
    assert (1, EventType.INSTRUMENT, 100 + lib.TP_ROW_ADDED) in one.events
    assert one.state(0) == one.state(1) == (LIVE, 0)
    one.replayer.play(row(20 * MS, 1, 2, leaves=True))
    assert one.state(1) == (STALE, SyncReason.REMOVED)
    one.replayer.play(b"".join(joined(30 * MS, second, 3)))
    assert one.state(1) == (LIVE, 0)
    assert one.replayer.counters.unknown_channel == 0
    one.replayer.close()


def test_replay_shows_readers_the_rows_that_came(meta: Meta) -> None:
    from tickpath.engine.client.reader import open_reader  # noqa: PLC0415 - one test's

    one = Replay(meta, instance=INSTANCE)
    try:
        with open_reader(INSTANCE) as reader:
            third = Venue(seed=2, instrument=2)
            one.replayer.play(b"".join([up(MS), *joined(2 * MS, third)]))
            assert [row.symbol for row in reader.instruments] == [
                "COIN0USDT",
                "COIN1USDT",
                "COIN2USDT",
            ]
            for _ in range(100):  # a busy host may hold us up for longer than a writer is silent
                one.replayer.heartbeat()
                book = reader.book("COIN2USDT")
                if book.state is BookState.LIVE:
                    break
            assert book.state is BookState.LIVE
            one.replayer.play(row(20 * MS, 2, 2, leaves=True))
            assert reader.instruments[2].status.value == "removed"
            assert reader.book(2).reason is SyncReason.REMOVED
    finally:
        one.replayer.close()


def test_replay_that_lost_a_row_record_takes_the_headers(meta: Meta) -> None:
    one = Replay(meta)
    second = Venue(seed=1, instrument=1)
    one.replayer.play(up(MS) + pack_record(lib.TP_RECORD_GAP, 0, 0, 2 * MS, bytes(16)))
    message = pack_record(lib.TP_RECORD_IN, 2, 0, 3 * MS, second.step())
    one.replayer.play(message + base(4 * MS, second))
    assert one.state(1) == (LIVE, 0)
    one.replayer.close()


@pytest.mark.parametrize("place", [248, 256, 260, 264, 375])
def test_replay_row_record_that_cannot_be_is_refused(meta: Meta, place: int) -> None:
    one = Replay(meta)
    good = row(MS, 1, 1)
    broken = {
        248: good[: 16 + 248] + bytes(8) + good[16 + 256 :],  # generation 0
        256: good[: 16 + 256] + b"\x03" + good[16 + 257 :],  # instrument 3 of 3
        260: good[: 16 + 260] + b"\x02" + good[16 + 261 :],  # connection 2 of 2
        264: good[: 16 + 264] + b"x" * 112,  # a channel without an end
        375: pack_record(lib.TP_RECORD_ROW, 0, 0, MS, good[16:-8]),  # cut
    }[place]
    with pytest.raises(BrokenRecordError):
        one.replayer.play(broken)
    one.replayer.close()


def test_replay_row_that_the_feed_refused_is_counted_and_all_goes_on(meta: Meta) -> None:
    """As it was live: the place has no book, what is said of it says nothing."""
    one = Replay(meta)
    first = Venue()
    place = 16 + 264  # of the channel
    refused = row(2 * MS, 1, 1)
    refused = refused[:place] + b"no channel\0" + refused[place + 11 :]
    listing = struct.pack("<IIQ", 1, 3, 2)
    records = [
        up(MS),
        refused,
        pack_record(lib.TP_RECORD_LISTED, 0, 0, 3 * MS, listing),
        pack_record(lib.TP_RECORD_IN, 2, 0, 4 * MS, first.step()),
        base(5 * MS, first),
    ]
    data = b"".join(records)
    assert one.replayer.play(data) == len(data)
    assert one.state(0) == (LIVE, 0)
    assert one.replayer.c.rows_refused == 1
    left_out = LeftOut()
    left_out.note(one.replayer)
    assert "1 row of which no book is made" in left_out.all_words()
    one.replayer.close()


def test_replay_goes_on_with_a_header_that_has_more(meta: Meta) -> None:
    first = msgspec.structs.replace(meta, instruments=meta.instruments[:1], changes_rows=False)
    assert continues(first, meta)
    assert not continues(meta, first)
    other = subscription(0, tick_size=1)
    other = msgspec.structs.replace(other, symbol="OTHER")
    assert not continues(first, msgspec.structs.replace(meta, instruments=(other,)))
    told: list[int] = []
    one = Replayer(first)
    one.on_meta.append(lambda new: told.append(len(new.instruments)))
    one.go_on_with(meta)
    assert told == [2]
    assert one.meta is meta
    one.close()


def test_replay_reads_a_connection_that_came_by_its_venue(meta: Meta) -> None:
    """A header names it before the row comes; of a single venue the decoder would be the same."""
    first = msgspec.structs.replace(meta, instruments=meta.instruments[:1], changes_rows=False)
    name = load_venue("binance").channels("COIN1USDT", load_venue("binance").settings())[0]
    other = msgspec.structs.replace(
        subscription(1, is_awaited=True), venue="binance", channel=name, connection=1
    )
    later = msgspec.structs.replace(meta, instruments=(*first.instruments, other))
    one = Replay(first)
    one.replayer.go_on_with(later)
    came = ffi.new("struct tp_feed_row *")
    came.record.venue, came.record.symbol = b"binance", b"COIN1USDT"
    came.record.price_exponent, came.record.quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    came.record.tick_size, came.record.status = 1, lib.TP_INSTRUMENT_TRADING
    came.instrument, came.generation, came.connection, came.channel = 1, 1, 1, name.encode()
    one.replayer.play(
        pack_record(lib.TP_RECORD_ROW, 0, 0, MS, bytes(ffi.buffer(came)))
        + pack_record(lib.TP_RECORD_UP, 0, 1, 2 * MS, b"")
    )
    assert one.state(1) == (SYNCING, SyncReason.STARTING)
    assert lib.tp_feed_counters(one.replayer.feed).unknown_channel == 0
    wrong = msgspec.structs.replace(other, connection=0)
    with pytest.raises(
        LocalError, match="expected 'mexc', as other instruments of its connection 0"
    ):
        one.replayer.go_on_with(
            msgspec.structs.replace(meta, instruments=(*first.instruments, wrong))
        )
    one.replayer.close()


def test_replay_seeks_in_no_file_that_changes_rows(meta: Meta, tmp_path: Path) -> None:
    """What comes after a ROW record is not understood without it."""
    path = tmp_path / "a.tpr"
    writer = FileWriter(path, msgspec.structs.replace(meta, checkpoint_every_ns=MS))
    for t_ns in (MS, 1000 * MS, 2000 * MS):
        writer.append(RAW, row(t_ns, 1, 1), 1, (t_ns, t_ns))
    writer.close()
    ((_, batches),) = ((one, list(of)) for one, of in recorded_runs(path, from_ns=1500 * MS))
    assert sum(len(batch) for batch in batches) == 3 * (16 + 376)


# ---- the recorder --------------------------------------------------------------------------------


class Writer:
    """A feed handler's two segments, in this process."""

    def __init__(self) -> None:
        rows = [subscription(0)]
        self.feed = RehearsalFeed(
            INSTANCE,
            [Instrument(0, "mexc", "COIN0USDT", PRICE_EXPONENT, QUANTITY_EXPONENT)],
            ring_capacity=1 << 10,
        )
        options = TapOptions(
            ring_capacity=1 << 10,
            checkpoint_every_s=1,
            silent_after_ns=10**9,
            keep_ns=7 * 10**9,
            keep_bytes=1 << 21,
            spare_rows=2,
            connections_max=3,
        )
        self.tap = TapWriter(INSTANCE, rows, options)
        self.tap.ready()

    def record(self, data: bytes) -> None:
        header = ffi.new("struct tp_message_header *")
        ffi.memmove(header, data[:16], 16)
        span = ffi.new("struct tp_span *")
        payload = ffi.from_buffer("uint8_t[]", data[16 : 16 + header.size] or b"\0")
        span.data, span.size = payload, header.size
        piece = ffi.new("struct tp_message_piece *", (payload, header.size))
        ring = lib.tp_segment_ring_writer(self.tap.segment.pointer)
        assert lib.tp_message_publish(ring, header, piece, 1)

    def now_ns(self) -> int:
        return self.tap.segment.now_ns()

    def close(self) -> None:
        self.tap.close()
        self.feed.close()


@pytest.fixture
def writer() -> Iterator[Writer]:
    one = Writer()
    yield one
    one.close()


def record(writer: Writer, directory: Path) -> Recorder:
    options = RecordOptions(flush_s=0.0)
    recorder = Recorder(instance=INSTANCE, directory=directory, options=options)
    recorder.open()
    while recorder.step():
        pass
    return recorder


def headers(directory: Path) -> list[Meta]:
    found = []
    for path in sorted(directory.iterdir()):
        with RecordingFile(path) as file:
            found.append(file.meta)
    return found


def test_recorder_begins_a_file_where_a_row_comes(writer: Writer, tmp_path: Path) -> None:
    writer.record(up(writer.now_ns()))
    recorder = record(writer, tmp_path)
    writer.tap.write(1, subscription(1))
    writer.record(row(writer.now_ns(), 1, 1))
    while recorder.step():
        pass
    writer.tap.write(1, subscription(1, is_removed=True))
    writer.record(row(writer.now_ns(), 1, 2, leaves=True))
    while recorder.step():
        pass
    recorder.close()
    first, second, third = headers(tmp_path)
    assert first.instruments == (subscription(0),)
    assert (first.instruments_max, first.connections_max, first.changes_rows) == (3, 3, False)
    assert (first.keep_ns, first.keep_bytes) == (7 * 10**9, 1 << 21)
    # The header has the rows as they were; what its own records do to them is theirs.
    assert second.instruments == (subscription(0), subscription(1, is_awaited=True))
    assert third.instruments == (subscription(0), subscription(1))
    assert second.changes_rows
    assert third.changes_rows
    assert continues(first, second)
    assert continues(second, third)


def test_recorder_that_rewinds_reads_of_rows_as_they_were(writer: Writer, tmp_path: Path) -> None:
    writer.record(up(writer.now_ns()))
    writer.tap.write(1, subscription(1))
    writer.record(row(writer.now_ns(), 1, 1))
    recorder = record(writer, tmp_path)
    recorder.close()
    (only,) = headers(tmp_path)
    assert only.begin_ns == 0
    assert only.instruments == (subscription(0), subscription(1, is_awaited=True))
