"""The feed handler of `bench burst`: the real hot path, feed, books, segment, over a memory link.

As engine/feed_handler/process.py builds it, but for the link. The hot thread runs at SCHED_FIFO on
its CPU where that is allowed, and sleeps while nothing is played.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.burst_exchange import (
    EXCHANGE_ADDRESS,
    EXCHANGE_PORT,
    FEED_HANDLER_ADDRESS,
    FRAME_SIZE_MAX,
    Connection,
    Exchange,
)
from tickpath.engine.bench.messages import Market, markets
from tickpath.engine.bench.tls_server import client_context
from tickpath.engine.bench.venues import bench_plan, bench_venue
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.engine.feed_handler.hot_path import HotPath
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BOOK_DEPTH_MAX
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import SegmentWriter

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from numpy.typing import NDArray

PORT_LOW = 61000
RING_COUNT = 1024
HISTOGRAMS = ("received_to_taken", "taken_to_decoded", "decoded_to_published")
IDLE_SPIN_NS, IDLE_SLEEP_NS = 1_000_000, 200_000
HUGE_PAGE = 2 << 20
TIMEOUT_S = 60.0
NEVER_NS = 1 << 60
PRIORITY = 10
BURST = 64  # TP_LINK_BURST_MAX: frames that the hot path takes at a time


def _aligned(size: int, alignment: int = 64) -> tuple[Any, Any]:
    """Return zeroed memory and an aligned pointer into it."""
    memory = np.zeros(size + alignment, dtype=np.uint8)
    return memory, ffi.cast("void *", memory.ctypes.data + alignment - 1 & -alignment)


class BurstFeedHandler:
    """One feed handler in memory with so many instruments, LIVE once constructed."""

    connection_count_min = 1

    def __init__(self, instruments: int, context: ssl.SSLContext, cpu: int) -> None:
        """Connect, subscribe and take the bases. Raises SystemSetupError when that fails."""
        self.markets: list[Market] = markets(instruments)
        self._kept: list[Any] = []
        self._cpu = cpu
        self._has_begun = False
        self._open_segment()
        try:
            self._open_feed()
            self._open_links()
            self._open_connections(context)
            self._start()
            self._has_begun = True
            self._wait(self._is_open, "open")
            self.send_all()
            self._wait(self._all_live, "LIVE")
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="hot", daemon=True)
        self._thread.start()

    def _is_open(self) -> bool:
        return all(one.upgraded for one in self._connections)

    @property
    def counters(self) -> Any:
        """Return the feed's counters."""
        return lib.tp_feed_counters(self.feed)

    def _open_segment(self) -> None:
        own = bench_venue()
        scale = (own.price_exponent, own.quantity_exponent)
        rows = [
            Instrument(index, own.venue.name, market.symbol, *scale)
            for index, market in enumerate(self.markets)
        ]
        layout = make_layout(rows, histograms=HISTOGRAMS)
        self.segment = SegmentWriter(f"bench-{os.getpid()}-{len(rows)}", layout)
        write_instruments(self.segment, rows)

    def _open_feed(self) -> None:
        pointer, own = self.segment.pointer, bench_venue()
        plan = bench_plan([market.symbol for market in self.markets])
        self._planned = plan.book_channels()
        self._connection_count = max(len(plan.connections), self.connection_count_min)
        config = ffi.new("struct tp_feed_config *")
        config.venues[0].venue = lib.tp_venue_find(own.venue.name.encode())
        config.instrument_count = len(self.markets)
        config.connection_count = self._connection_count
        config.silent_after_ns, config.settle_ns = NEVER_NS, 1
        config.ring = lib.tp_segment_ring_writer(pointer)
        config.snapshots = lib.tp_segment_snapshot_writer(pointer)
        config.clock = ffi.addressof(pointer.header, "clock")
        for place, hop in enumerate(HISTOGRAMS):
            setattr(config, hop, lib.tp_segment_histogram(pointer, place))
        memory, start = _aligned(lib.tp_feed_memory_size(config), HUGE_PAGE)
        self.feed = lib.tp_feed_init(start, config)
        self._kept += [memory, config]
        record = ffi.new("struct tp_instrument_record *")
        record.price_exponent, record.quantity_exponent = own.price_exponent, own.quantity_exponent
        record.tick_size = 1
        for index, (market, planned) in enumerate(zip(self.markets, self._planned, strict=True)):
            channel, number = planned.name.encode(), planned.connection
            if not lib.tp_feed_instrument_add(self.feed, index, record, channel, number):
                raise SystemSetupError(f"the feed refused instrument {index}, {market.symbol}")

    def _open_links(self) -> None:
        self._pair = ffi.gc(
            lib.tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE_MAX),
            lib.tp_memory_link_pair_destroy,
        )
        self._replay = ffi.new("struct tp_replay_link *")
        lib.tp_replay_link_init(self._replay, lib.tp_memory_link_end(self._pair, 0))
        self._netif = ffi.new("struct tp_netif *")
        self._flows = ffi.new("struct tp_netif_flow[]", self._connection_count)
        link = ffi.addressof(self._replay, "link")
        lib.tp_netif_init(self._netif, link, bytes(6), FEED_HANDLER_ADDRESS)
        lib.tp_netif_ports(self._netif, self._flows, PORT_LOW, self._connection_count)

    def _open_connections(self, context: ssl.SSLContext) -> None:
        self._context = client_context()
        self._handshake_worker = ffi.NULL
        self.hot = HotPath(self.feed, self.segment.pointer)
        loop = self.hot.loop
        loop.netif = self._netif
        loop.idle_spin_ns, loop.idle_sleep_ns = IDLE_SPIN_NS, IDLE_SLEEP_NS
        loop.connection_count = self._connection_count
        self._connections = [
            Connection(context, PORT_LOW + number) for number in range(self._connection_count)
        ]
        self._exchange = Exchange(
            lib.tp_memory_link_end(self._pair, 1),
            {PORT_LOW + number: one for number, one in enumerate(self._connections)},
        )
        for number in range(self._connection_count):
            self._offer(number)

    def _offer(self, number: int) -> None:
        config = ffi.new("struct tp_tcp_config *")
        lib.tp_tcp_config_init(config)
        config.local_address, config.remote_address = FEED_HANDLER_ADDRESS, EXCHANGE_ADDRESS
        config.local_port, config.remote_port = PORT_LOW + number, EXCHANGE_PORT
        memory, start = _aligned(lib.tp_tcp_memory_size(config))
        tcp = lib.tp_tcp_init(start, config)
        stream = ffi.new("struct tp_stream *")
        lib.tp_stream_init_tcp(stream, tcp)
        strings = [ffi.new("char[]", text) for text in (b"exchange.test", b"/ws", b"")]
        session = ffi.new("struct tp_session_config *")
        session.tls, session.server_name, session.websocket = self._context, strings[0], True
        session.handshake_worker = self._handshake_worker
        session.host, session.target, session.extra_headers = strings
        session.message_size_max, session.receive_window = 1 << 20, config.receive_buffer_size
        session.handshake_timeout_ns = int(TIMEOUT_S * 1e9)
        error = ffi.new("char[]", 256)
        handle = lib.tp_session_new(session, stream, error, 256)
        if handle == ffi.NULL:
            raise SystemSetupError(ffi.string(error).decode())
        self._kept += [memory, config, stream, ffi.gc(handle, lib.tp_session_free)]
        command = ffi.new("struct tp_command *", {"kind": lib.TP_COMMAND_CONNECT})
        command.connection, command.session = number, handle
        command.tcp, command.tcp_config = tcp, config[0]
        lib.tp_handover_command(ffi.addressof(self.hot.loop, "handover"), command)

    def _run(self) -> None:
        with suppress(OSError):  # a container may allow neither: said in the notes as best effort
            os.sched_setaffinity(0, {self._cpu})
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        self.hot.run()

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not done():
            self._exchange.step()
            self._give_bases()
            if time.monotonic() > end:
                raise SystemSetupError(
                    f"the feed handler in memory is not {what} after {TIMEOUT_S} s: "
                    f"{self._trouble()}"
                )
            self._pause(0.0001)

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _give_bases(self) -> None:
        wanted = ffi.new("uint32_t[16]")
        for index in wanted[0 : lib.tp_feed_base_wanted(self.feed, 0, wanted, 16)]:
            market = self.markets[index]
            bids, asks = (
                ffi.new("struct tp_level[]", list(side.items()))
                for side in (market.bids, market.asks)
            )
            base = ffi.new("struct tp_feed_base *")
            base.instrument, base.version = index, market.version
            base.bids, base.bid_count = bids, len(bids)
            base.asks, base.ask_count = asks, len(asks)
            while not lib.tp_feed_base_offer(self.feed, 0, base):
                self._pause(0.0001)

    def _all_live(self) -> bool:
        return all(
            lib.tp_feed_state(self.feed, index) == lib.TP_BOOK_LIVE
            for index in range(len(self.markets))
        )

    def _frame(self, index: int) -> bytes:
        connection = self._connections[self._planned[index].connection]
        return connection.message(self.markets[index].message(1, 1))

    def send_all(self) -> None:
        """Send one message of every instrument: it proves the subscription."""
        for index in range(len(self.markets)):
            self._exchange.send(self._frame(index))
            self._pause(0.00002)

    def play(self, count: int) -> NDArray[np.float64]:
        """Play so many messages; return nanoseconds a message, one figure a burst.

        Raises SystemSetupError unless each was applied and all books are right.
        """
        frames = [self._frame(index % len(self.markets)) for index in range(count)]
        offset = np.cumsum([0, *map(len, frames)], dtype=np.uint64)
        data = np.frombuffer(b"".join(frames), dtype=np.uint8).copy()
        bursts = -(-count // BURST)
        stamp = np.zeros(bursts + 1, dtype=np.uint64)
        replay = ffi.new("struct tp_replay *")
        replay.data = ffi.from_buffer("uint8_t[]", data)
        replay.offset = ffi.from_buffer("uint64_t[]", offset)
        replay.stamp = ffi.from_buffer("uint64_t[]", stamp)
        replay.frame_count = count
        before = self._applied()
        lib.tp_replay_link_play(self._replay, replay)
        end = time.monotonic() + TIMEOUT_S
        while not lib.tp_replay_link_finished(self._replay) and time.monotonic() < end:
            time.sleep(0.001)
        if self._applied() - before != count or not self._all_live():
            raise SystemSetupError(
                f"{self._applied() - before} of {count} messages were applied: {self._trouble()}"
            )
        self._check_books()
        sizes = np.full(bursts, BURST)
        sizes[-1] = count - (bursts - 1) * BURST
        took: NDArray[np.float64] = np.diff(stamp.astype(np.int64)) / sizes
        return took

    def _applied(self) -> int:
        return int(self.counters.levels) // 2

    def _trouble(self) -> str:
        parts = {
            "tp_feed_counters": self.counters,
            "tp_netif_counters": self._netif.counters,
            "tp_loop_counters": self.hot.loop.counters,
        }
        return ", ".join(
            f"{struct}.{name} {getattr(values, name)}"
            for struct, values in parts.items()
            for name, _ in ffi.typeof(f"struct {struct}").fields
            if getattr(values, name)
        )

    def _check_books(self) -> None:
        levels = ffi.new("struct tp_level[]", BOOK_DEPTH_MAX)
        for index, market in enumerate(self.markets):
            book = lib.tp_feed_book(self.feed, index)
            for side, known, best in (
                (lib.TP_SIDE_BID, market.bids, sorted(market.bids, reverse=True)),
                (lib.TP_SIDE_ASK, market.asks, sorted(market.asks)),
            ):
                count = lib.tp_book_top(book, side, levels, BOOK_DEPTH_MAX)
                found = [(one.price, one.quantity) for one in levels[0:count]]
                expected = [(price, known[price]) for price in best[:BOOK_DEPTH_MAX]]
                if found != expected:
                    raise SystemSetupError(f"book {index} is {found}, expected {expected}")

    def close(self) -> None:
        """End the hot thread and remove the segment."""
        if self._has_begun:
            self.hot.stop()
            self._thread.join()
        self.segment.close()
