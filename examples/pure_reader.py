"""Follow a segment with the standard library alone: sixty lines, from docs/shared-memory.md.

    python pure_reader.py /dev/shm/tickpath.mexc

Prints a line of JSON per message: the best bid and ask after it. Not for trading: x86-64 only, some
microseconds an event. It shows that the layout needs no library of ours.
"""

import json
import mmap
import sys
import time
import zlib
from pathlib import Path
from struct import unpack_from

NAMES = "schema table counter_names histogram_names live counters histograms index cells ring"
LAPPED = object()


class Segment:
    def __init__(self, path):
        with Path(path).open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        magic, order, major = unpack_from("=8sQH", self.map)
        static, total = unpack_from("=QQ", self.map, 24)
        if (magic, order, major) != (b"TICKPATH", 0x0102030405060708, 1) or total > len(self.map):
            raise ValueError(f"{path}: not a segment of layout 1, or truncated")
        self.at = {
            n: unpack_from("=QII", self.map, 216 + 16 * i) for i, n in enumerate(NAMES.split())
        }
        if any(offset + count * size > total for offset, count, size in self.at.values()):
            raise ValueError(f"{path}: a section leaves the file")
        self.live, (table, count, size) = self.at["live"][0], self.at["table"]
        if unpack_from("=II", self.map, self.live) != (1, zlib.crc32(self.map[:static])):
            raise ValueError(f"{path}: not ready, ended, or damaged")
        rows = (unpack_from("=16s32s", self.map, table + i * size) for i in range(count))
        self.symbols = [symbol.rstrip(b"\0").decode() for _, symbol in rows]

    def word(self, offset):
        return unpack_from("=Q", self.map, offset)[0]

    def take(self, index):
        """Return event `index` as a tuple, None if it has not come, LAPPED if it is gone."""
        start, count, size = self.at["ring"]
        slot, whole = start + index % count * size, 2 * index + 2
        if (before := self.word(slot)) != whole:
            return None if before < whole else LAPPED
        event = unpack_from("=IHHQQ4q", self.map, slot + 8)
        return event if self.word(slot) == whole else LAPPED

    def snapshot(self, k):
        """Return (ring index, state, bids, asks) of instrument k, or None before the first."""
        while version := self.word(self.at["index"][0] + 8 * k):
            cell = self.at["cells"][0] + (4 * k + version % 4) * self.at["cells"][2]
            before, ring_index, *book = unpack_from("=QQ5QIHHII80q", self.map, cell)
            if before == self.word(cell) == 2 * version:
                levels = list(zip(book[10::2], book[11::2], strict=True))
                return ring_index, book[6], levels[: book[8]], levels[20 : 20 + book[9]]
        return None


def follow(segment):
    """Yield (symbol, best bid, best ask), (price, quantity) mantissas, until the writer is gone."""
    position = None
    while segment.word(segment.live) & 0xFFFFFFFF == 1 and not segment.word(segment.live + 8):
        if position is None:  # join: first the position, then the snapshots
            position = segment.word(segment.live + 256)
            books = [segment.snapshot(k) for k in range(len(segment.symbols))]
            for symbol, book in zip(segment.symbols, books, strict=True):
                if book and book[1] == 1:  # LIVE
                    yield symbol, *(side[0] if side else (0, 0) for side in book[2:])
        event = segment.take(position)
        if event is LAPPED:
            position = None
        elif event is None:
            time.sleep(0.0001)
        else:
            book = books[event[0]]
            if event[1] == 2 and not (book and position < book[0]):
                yield segment.symbols[event[0]], event[5:7], event[7:9]
            position += 1


if __name__ == "__main__":
    for symbol, bid, ask in follow(Segment(sys.argv[1])):
        print(json.dumps({"symbol": symbol, "bid": bid, "ask": ask}), flush=True)
