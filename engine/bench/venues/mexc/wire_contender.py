"""The other contender of `bench wire`: picows on uvloop, protobuf, the book in Python.

`ADDRESS:PORT CA_FILE INSTANCE SYMBOL`. What a good Python program would do with the same messages:
parse with protobuf, keep a dict and a sorted list of prices a side, then publish the two level
events, the best bid and ask and the 20 best levels a side to a segment, by the same C functions.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import struct
import sys
import time
import urllib.request
from bisect import bisect_left, insort
from typing import Any

import picows
import uvloop
from tickpath._core import ffi, lib
from tickpath.engine.bench.venues.mexc.bench import BENCH
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import (
    ASKS_WORD,
    BIDS_WORD,
    BOOK_DEPTH_MAX,
    BOOK_HEAD_STRUCT,
    BOOK_WORDS,
    EVENT_STRUCT,
    BookState,
    EventType,
)
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.shm.segment import SegmentWriter

LEVELS = struct.Struct(f"<{2 * BOOK_DEPTH_MAX}q")
HEARTBEAT_S = 0.02
ASK = 1
SCALE = (BENCH.price_exponent, BENCH.quantity_exponent)


def mantissa(text: str) -> int:
    """Turn MEXC's decimal, which has all its fraction digits, into an integer."""
    return int(text.replace(".", ""))


class Side:
    """Quantities by price, and the prices sorted so that the best is last."""

    def __init__(self, sign: int) -> None:
        self.sign = sign  # 1: bids, the highest price is best; -1: asks
        self.quantities: dict[int, int] = {}
        self.keys: list[int] = []

    def set_level(self, price: int, quantity: int) -> None:
        """Set an absolute quantity; 0 removes the level."""
        key = price * self.sign
        if quantity == 0:
            if self.quantities.pop(price, None) is not None:
                del self.keys[bisect_left(self.keys, key)]
            return
        if price not in self.quantities:
            insort(self.keys, key)
        self.quantities[price] = quantity

    def top(self) -> list[int]:
        """Return price, quantity, price, quantity, ... of the best levels, padded with zeros."""
        sign, quantities = self.sign, self.quantities
        flat: list[int] = []
        for key in self.keys[: -BOOK_DEPTH_MAX - 1 : -1]:
            flat += (key * sign, quantities[key * sign])
        return flat + [0] * (2 * BOOK_DEPTH_MAX - len(flat))


class Publisher:
    """One instrument's segment."""

    def __init__(self, instance: str, symbol: str) -> None:
        rows = [
            Instrument(0, BENCH.venue.name, symbol, BENCH.price_exponent, BENCH.quantity_exponent)
        ]
        self.segment = SegmentWriter(instance, make_layout(rows))
        write_instruments(self.segment, rows)
        self.segment.ready()
        self._ring = lib.tp_segment_ring_writer(self.segment.pointer)
        self._table = lib.tp_segment_snapshot_writer(self.segment.pointer)
        self._words = ffi.new("uint64_t[]", BOOK_WORDS)
        self._book = memoryview(ffi.buffer(self._words))
        self._event_words = ffi.new("uint64_t[7]")
        self._event = memoryview(ffi.buffer(self._event_words))

    def publish(
        self, version: int, times: tuple[int, int], sides: tuple[Side, Side], changes: list[Any]
    ) -> None:
        """Publish the snapshot, then one event a changed level, then the best bid and ask."""
        exchange_ns, received_ns = times
        published_ns = time.monotonic_ns()
        bids, asks = sides[0].top(), sides[1].top()
        counts = (min(len(side.keys), BOOK_DEPTH_MAX) for side in sides)
        stamps = (received_ns, received_ns, published_ns, published_ns, received_ns, 0)
        rest = (0, 0, BookState.LIVE, 0, *counts, *SCALE, 0, 1)
        BOOK_HEAD_STRUCT.pack_into(self._book, 0, version, exchange_ns, *stamps, *rest)
        LEVELS.pack_into(self._book, 8 * BIDS_WORD, *bids)
        LEVELS.pack_into(self._book, 8 * ASKS_WORD, *asks)
        after = self._ring.next + len(changes) + 1
        lib.tp_snapshot_publish(self._table, 0, after, self._words, BOOK_WORDS)
        for flags, price, quantity in changes:
            level = (price, quantity, exchange_ns, version)
            head = (0, EventType.LEVEL, flags, *SCALE, 0, received_ns, published_ns)
            EVENT_STRUCT.pack_into(self._event, 0, *head, *level)
            lib.tp_ring_publish(self._ring, self._event_words)
        best = (bids[0], bids[1], asks[0], asks[1])
        head = (0, EventType.TOP, 0, *SCALE, 0, received_ns, published_ns)
        EVENT_STRUCT.pack_into(self._event, 0, *head, *best)
        lib.tp_ring_publish(self._ring, self._event_words)


class Feed(picows.WSListener):
    """Messages to books; those before the base are kept."""

    def __init__(self, publisher: Publisher, channel: str) -> None:
        self.publisher, self.channel = publisher, channel
        self.sides = (Side(1), Side(-1))
        self.version = 0
        self.kept: list[bytes] = []

    def on_ws_frame(self, _transport: Any, frame: Any) -> None:
        """Apply a binary message."""
        if frame.msg_type != picows.WSMsgType.BINARY:
            return
        if self.version == 0:
            self.kept.append(frame.get_payload_as_bytes())
            return
        self.apply(frame.get_payload_as_bytes())

    def apply(self, data: bytes) -> None:
        """Parse, check the order, change the book, publish."""
        received_ns = time.monotonic_ns()
        wrapper = PushDataV3ApiWrapper()
        wrapper.ParseFromString(data)
        depths = wrapper.publicAggreDepths
        first, last = int(depths.fromVersion), int(depths.toVersion)
        if wrapper.channel != self.channel or last <= self.version:
            return
        if first > self.version + 1:
            raise RuntimeError(f"gap: version {first} after {self.version}")
        changes = []
        for flags, side, items in (
            (0, self.sides[0], depths.bids),
            (ASK, self.sides[1], depths.asks),
        ):
            for item in items:
                price, quantity = mantissa(item.price), mantissa(item.quantity)
                side.set_level(price, quantity)
                changes.append((flags, price, quantity))
        self.version = last
        times = (wrapper.sendTime * 1_000_000, received_ns)
        self.publisher.publish(last, times, self.sides, changes)

    def load(self, base: Any) -> None:
        """Replace the book by a base and go on with what was kept."""
        for side, rows in zip(self.sides, (base["bids"], base["asks"]), strict=True):
            for price, quantity in rows:
                side.set_level(mantissa(price), mantissa(quantity))
        self.version = base["lastUpdateId"]
        now_ns = time.monotonic_ns()
        self.publisher.publish(self.version, (0, now_ns), self.sides, [])
        for data in self.kept:
            self.apply(data)


async def follow(where: str, context: ssl.SSLContext, publisher: Publisher, symbol: str) -> None:
    """Subscribe, fetch the base, then let the loop run until the far end leaves."""
    feed = Feed(publisher, requests.depth_channel(symbol, BENCH.settings.speed))
    transport, _ = await picows.ws_connect(lambda: feed, f"wss://{where}/ws", ssl_context=context)
    transport.send(picows.WSMsgType.TEXT, requests.subscribe_request([feed.channel]))

    def fetch() -> Any:
        url = f"https://{where}{requests.base_path(symbol)}"
        with urllib.request.urlopen(url, context=context) as answer:
            return json.load(answer)

    feed.load(await asyncio.get_running_loop().run_in_executor(None, fetch))
    gc.collect()
    gc.freeze()
    gc.disable()
    closed = asyncio.ensure_future(transport.wait_disconnected())
    while not closed.done():
        publisher.segment.heartbeat()
        await asyncio.wait([closed], timeout=HEARTBEAT_S)


def main(where: str, ca_file: str, instance: str, symbol: str) -> None:
    """Run until the far end leaves."""
    context = ssl.create_default_context(cafile=ca_file)
    publisher = Publisher(instance, symbol)
    try:
        uvloop.run(follow(where, context, publisher, symbol))
    finally:
        publisher.segment.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
