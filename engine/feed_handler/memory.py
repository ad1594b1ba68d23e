"""What a feed handler's memory is for: the named needs by which its pools are sized, and their sum.

All of it is there from the start and stays (`feed_handler.lock_memory`): a pool counts by its size.
Called by: process.py beside it (makes the pools), supervisor/command.py (`run --check` prints the
sum).
Calls: the C sizes of netstack/session_memory.h and engine/feed.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import make_layout
from tickpath.engine.config.schema import INLINE_NATIVE
from tickpath.engine.feed_handler.plan import CONNECTIONS_MAX
from tickpath.engine.recording.tap import SUFFIX as TAP_SUFFIX
from tickpath.engine.recording.tap import make_tap_layout
from tickpath.proto.instrument import Instrument
from tickpath.proto.venues.decoder import find_decoder
from tickpath.rt import process
from tickpath.shm.errors import LocalError
from tickpath.shm.segment import DIRECTORY, segment_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tickpath.engine.config.schema import Config
    from tickpath.engine.feed_handler.plan import Plan

KIB, MIB = 1 << 10, 1 << 20
# What a connection may have in flight to us: 80 Mbit/s at a round trip of 100 ms.
RECEIVE_WINDOW = 1 << 20
# Subscriptions and pings, in messages of at most 16 KiB.
SEND_BUFFER = 128 * KIB
# Ten times what a delta of hundreds of levels takes; what is larger borrows one of the large
# buffers until it is read. Two: one connection reads its bases while another has a burst.
USUAL_MESSAGE_BYTES = 128 * KIB
LARGE_COUNT = 2
UMEM_BYTES = 8 * MIB  # of netstack's link: 4096 frames of 2048 bytes
# The interpreter and its libraries, ours, OpenSSL and libipsec-mb, and what Python keeps of 30
# instruments; with AF_XDP libbpf too. Measured: `tickpath bench memory`.
PROGRAM_BYTES, AF_XDP_PROGRAM_BYTES = 36 * MIB, 3 * MIB
# Numba and its LLVM, where a strategy in Python is compiled: measured, docs/strategies.md.
NUMBA_BYTES = 140 * MIB
THREADS = 3  # hot, handshakes, waker
VENUE_THREADS = 2  # bases; of each request under way, mostly one
# Counters and their names, histograms, and the control segment beside it.
COUNTERS_BYTES = 128 * KIB
BLOCK_BYTES = 512  # of st_blocks, stat(2)
# Records, keys, OpenSSL's state and pipes of one connection.
TLS_BYTES = 320 * KIB
# Of an understudy's session: itself, its message buffer, its TCP's two.
UNDERSTUDY_BYTES = 384 * KIB


@dataclass(frozen=True, slots=True)
class Need:
    """One use of memory."""

    name: str
    size: int


def feed_config(config: Config, books: int, connections: int) -> Any:
    """Return a `struct tp_feed_config *` with all that its memory's size depends on."""
    feed = ffi.new("struct tp_feed_config *")
    for place, venue in enumerate(config.venues):
        feed.venues[place].venue = find_decoder(venue.name)
    feed.instrument_count, feed.connection_count = books, connections
    feed.buffer_pool_bytes = config.health.keep_bytes or 0
    feed.keep_ns = int(config.health.keep_s * 1e9)
    feed.races = any(venue.seats > 1 for venue in config.venues)
    return feed


def session_config(config: Config, connections: int) -> Any:
    """Return the `struct tp_session_memory_config *` of the buffers of all connections."""
    decoders = [find_decoder(venue.name) for venue in config.venues]
    largest = max(int(decoder.facts.message_size_max) for decoder in decoders)
    sessions = ffi.new("struct tp_session_memory_config *")
    sessions.session_count, sessions.receive_window = connections, RECEIVE_WINDOW
    sessions.usual_message_size = min(USUAL_MESSAGE_BYTES, largest)
    sessions.message_size_max = largest
    sessions.large_count = LARGE_COUNT if largest > USUAL_MESSAGE_BYTES else 0
    return sessions


class SessionMemory:
    """The message buffers of all connections; outlives their sessions."""

    def __init__(self, config: Config, connections: int) -> None:
        """Map them. Raises LocalError for more connections than there can be."""
        sessions = session_config(config, connections)
        size = lib.tp_session_memory_size(sessions)
        if size == 0:
            raise LocalError(
                f"{connections} connections: expected 1 to {lib.TP_SESSION_MEMORY_BUFFERS_MAX}: "
                "leave instruments out, or run one more instance"
            )
        self._memory, _ = process.map_memory(size, huge_pages=config.feed_handler.huge_pages)
        self.pointer = lib.tp_session_memory_init(ffi.from_buffer(self._memory), sessions)

    def counters(self) -> dict[str, int]:
        """Count how often a large buffer was borrowed, refused, and how many are out now."""
        return {
            "borrowed": int(lib.tp_session_memory_borrowed(self.pointer)),
            "refused": int(lib.tp_session_memory_refused(self.pointer)),
            "in_use": int(lib.tp_session_memory_in_use(self.pointer)),
        }


COUNTERS = ("borrowed", "refused", "in_use")


def rehearsal_size(feed: Any) -> int:
    """Return what an understudy takes: a feed, a loop, and a session of each cipher and of none."""
    kinds = int(lib.TP_UNDERSTUDY_KIND_COUNT)
    return int(lib.tp_rehearsal_size(feed)) + kinds * UNDERSTUDY_BYTES + (kinds - 1) * TLS_BYTES


def needs(config: Config, books: int, connections: int) -> list[Need]:
    """Return what a feed handler of so many books and connections takes, by name."""
    sessions, feed = session_config(config, connections), feed_config(config, books, connections)
    usual = lib.tp_session_buffer_size(sessions.usual_message_size, RECEIVE_WINDOW)
    large = lib.tp_session_buffer_size(sessions.message_size_max, RECEIVE_WINDOW)
    book = lib.tp_book_memory_size(ffi.new("struct tp_book_config *", {"tick_size": 1}))
    kernel = config.network.backend == "kernel"
    stream = 2 * lib.TP_STREAM_SOCKET_BUFFER_SIZE if kernel else RECEIVE_WINDOW + SEND_BUFFER
    threads = THREADS + len(config.venues) * VENUE_THREADS
    found = [
        Need("program and libraries", PROGRAM_BYTES + (0 if kernel else AF_XDP_PROGRAM_BYTES)),
        Need("thread stacks", threads * process.THREAD_STACK_BYTES),
        Need("commands and notes", int(lib.tp_loop_size(max(1, connections)))),
        Need(f"message buffers of {connections} connections", connections * int(usual)),
        Need(f"{sessions.large_count} large message buffers", sessions.large_count * int(large)),
        Need("socket buffers" if kernel else "TCP buffers", connections * stream),
        Need("TLS", connections * TLS_BYTES),
        Need(f"{books} books", books * int(book)),
        Need("kept messages, bases", int(lib.tp_feed_memory_size(feed)) - books * int(book)),
    ]
    if any(
        one.placement == INLINE_NATIVE and one.source.rpartition(":")[0].endswith(".py")
        for one in config.strategies
    ):
        found.append(Need("Numba", NUMBA_BYTES))
    if kernel:
        return found
    if config.feed_handler.rehearse != "off" and config.feed_handler.spin:
        found.append(Need("rehearsal", rehearsal_size(feed)))
    return [*found, Need("frames", UMEM_BYTES)]


def connections_max(plan: Plan, places: int) -> int:
    """Return how many connections there may be once all places are taken, those of now included.

    Instruments that come fill what has room first.
    """
    symbols = max(1, sum(symbol is not None for symbol in plan.symbols))
    each = -(-len(plan.channels) // symbols)
    rooms = len(plan.connections) // plan.race * plan.capacity - len(plan.channels)
    more = -(-max(0, (places - symbols) * each - rooms) // max(1, plan.capacity))
    return min(len(plan.connections) + more * plan.race, CONNECTIONS_MAX)


def connections_of(plans: Sequence[Plan], spare: int) -> list[int]:
    """Return for each venue of a feed how many there may be, should it take all spare places.

    Those who come first have what is left over of the process's.
    """
    rest = CONNECTIONS_MAX - sum(len(plan.connections) for plan in plans)
    counts = []
    for plan in plans:
        here = len(plan.connections)
        most = connections_max(plan, sum(one is not None for one in plan.symbols) + spare)
        most = min(most, here + max(0, rest))
        counts.append(most - most % plan.race)  # whole races
        rest -= counts[-1] - here
    return counts


def shared_needs(config: Config, books: int) -> list[Need]:
    """Return what stands in shared memory: the segment, and the raw one where messages are tapped.

    Counters are counted generously: their names are the writer's.
    """
    rows = [Instrument(index, "", "", 0, 0) for index in range(books)]
    layout = make_layout(rows, spare_rows=0, ring_capacity=config.shm.ring_capacity)
    found = [Need("segment", segment_size(layout) + COUNTERS_BYTES)]
    if config.record.tap:
        tap = make_tap_layout(books, config.record.ring_capacity)
        found.append(Need("raw messages", segment_size(tap)))
    return found


def shared_shortage(config: Config, found: Sequence[Need], directory: Path = DIRECTORY) -> str:
    """Say what is missing in /dev/shm, "" where nothing is.

    What stands there under the instance's own names is replaced, and given back first where there
    is no room for both.
    """
    needed = sum(one.size for one in found)
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    for name in (config.instance, config.instance + TAP_SUFFIX):
        with contextlib.suppress(OSError):
            free += (directory / f"tickpath.{name}").stat().st_blocks * BLOCK_BYTES
    if needed <= free:
        return ""
    return (
        f"{directory} has {free / MIB:.0f} MiB free, expected {needed / MIB:.0f}: remove what is "
        "not needed (tickpath clean), set smaller ring_capacity, or enlarge it (mount -o "
        f"remount,size=... {directory}; in a container --shm-size)"
    )


def describe(found: Sequence[Need], what: str = "memory") -> str:
    """Say the sum in one line: "memory: 62 MiB: program and libraries 36.0, ..."."""
    parts = ", ".join(f"{one.name} {one.size / MIB:.1f}" for one in found if one.size)
    return f"{what}: {sum(one.size for one in found) / MIB:.0f} MiB: {parts}"
