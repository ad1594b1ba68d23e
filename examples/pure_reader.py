"""Follow a segment with the standard library alone: eighty lines, from docs/shared-memory.md.

    python pure_reader.py /dev/shm/tickpath.mexc

Prints a line of JSON per message: symbol, state, best bid and ask after it as mantissas, and the
decimal exponents of price and quantity; STALE when the writer fell silent. Not for trading: x86-64
only, some microseconds an event. It shows that the layout needs no library of ours. A file that is
cut right between the look at its size and the read after it still ends this program by SIGBUS: the
page says what a program does that must not end so.
"""

import json
import mmap
import os
import sys
import time
import zlib
from struct import unpack_from

FIELDS, SILENT_NS = ("symbol", "state", "bid", "ask", "scale"), 100_000_000
KNOWN = b"TICKPATH", 0x0102030405060708, 2, 0x2DAFA98293F958B7, 94
NAMES = "schema table counter_names histogram_names live counters histograms index cells ring"
SIZES, STATES = (1, 256, 48, 48, 384, 8, 8256, 8, 768, 64), ("SYNCING", "LIVE", "STALE", "CROSSED")


def expect(what, found, wanted):
    if found != wanted:
        raise ValueError(f"{what}: {found}, expected {wanted}")


class Segment:
    def __init__(self, path):
        self.file, self.total, self.at = os.open(path, os.O_RDONLY | os.O_NONBLOCK), 376, {}
        self.map = mmap.mmap(self.file, 0, prot=mmap.PROT_READ)
        expect("magic, byte order, layout, schema, words", self.read("=8sQH22xQ20xI", 0), KNOWN)
        static, self.total = self.read("=QQ", 24)
        end = min(static, self.total)
        for i, (name, size) in enumerate(zip(NAMES.split(), SIZES, strict=True)):
            at, count, found = self.at[name] = self.read("=QII", 216 + 16 * i)
            is_inside = 376 <= at <= at + count * size <= (end if i in (0, 2, 3) else self.total)
            expect(f"{name}, {count} at {at}: entry size, inside", (found, is_inside), (size, True))
        self.live, rows = self.at["live"][0], self.at["table"][1]
        found = *(self.at[n][1] for n in ("live", "index", "cells")), self.at["ring"][1].bit_count()
        expect("live lines, index, cells, bits of the ring's count", found, (1, rows, 4 * rows, 1))
        expect("state, CRC-32", self.read("=II", self.live), (1, zlib.crc32(self.map[:end])))

    def read(self, form, at):  # most truncations are told here, and do not end in a SIGBUS
        expect("bytes in the file", min(os.fstat(self.file).st_size, self.total), self.total)
        return unpack_from(form, self.map, at)

    def symbols(self):
        """Return the instruments as they are now; bounded tries, should a row never hold still."""
        (at, rows, _), names = self.at["table"], []
        for k in range(min(rows, self.read("=16xI", self.live)[0])):
            for _ in range(1000):
                before, name = self.read("=Q16x72s", at + 256 * k)
                if before % 2 == 0 < before == self.read("=Q", at + 256 * k)[0]:
                    break
            names.append(name.partition(b"\0")[0].decode("utf-8", "replace"))
        return names

    def take(self, index):
        """Return event `index`, None if it has not come, [] if it is gone: lapped."""
        slot, whole = self.at["ring"][0] + index % self.at["ring"][1] * 64, 2 * index + 2
        before, *event = self.read("=QHBBbbHQQ4q", slot)
        is_whole = before == whole == self.read("=Q", slot)[0]
        return event if is_whole else None if before < whole else []

    def snapshot(self, k):
        """Return ring index, state, bids, asks, scale of instrument k; version 0: an empty cell."""
        for _ in range(1000):
            version = self.read("=Q", self.at["index"][0] + 8 * k)[0]
            cell = self.at["cells"][0] + (4 * k + version % 4) * 768
            before, index, *book = self.read("=QQ64x2x2xHHHHbb34x80q", cell)
            if before == 2 * version == self.read("=Q", cell)[0]:
                (state, _, *counts, price, quantity), mantissas = book[:6], book[6:]
                levels = list(zip(mantissas[::2], mantissas[1::2], strict=True))
                sides = levels[:20][: counts[0]], levels[20:][: counts[1]]
                return index, STATES[state if state < 4 else 2], *sides, (price, quantity)
        raise ValueError(f"snapshot {k}: version {version}, its cell {before}, expected twice it")


def line(symbol, book):
    return symbol, book[1], *(tuple(side[0]) if side else (0, 0) for side in book[2:4]), book[4]


def follow(segment):
    """Yield (symbol, state, best bid, best ask, scale) with (price, quantity), until it ended."""
    position = is_alive = beat = None  # not alive before the heartbeat moves
    while (live := segment.read("=I4xQ112xQ120xQ", segment.live))[:2] == (1, 0):
        if live[2] != beat:
            is_alive, beat, since = None if beat is None else True, live[2], time.monotonic_ns()
        elif is_alive is not False and time.monotonic_ns() - since > SILENT_NS:
            position, is_alive = None, False
            yield from (line(symbol, (0, "STALE", [], [], (0, 0))) for symbol in segment.symbols())
        if is_alive and position is None:  # join: first the position, then the snapshots
            position, symbols = live[3], segment.symbols()
            yield from map(line, symbols, books := [*map(segment.snapshot, range(len(symbols)))])
        if (event := segment.take(position) if is_alive else None) is None:
            time.sleep(0.0001)
        elif not event:
            position = None
        else:
            (k, kind, _, *scale, _), value, position = event[:6], event[8:], position + 1
            if kind == 8:  # a row was added or changed: rows and books anew
                position = None
            elif 1 < kind < 5 and k < len(books) and position > books[k][0]:  # not in the snapshot
                top = *books[k][:2], [value[:2]], [value[2:]], tuple(scale)
                books[k] = top if kind == 2 else segment.snapshot(k)  # STATE, CLEAR: all anew
                yield line(symbols[k], books[k])


if __name__ == "__main__":
    sys.excepthook = lambda _, error, __: print("pure_reader.py:", error, file=sys.stderr)
    expect("number of arguments", len(sys.argv) - 1, 1)
    for told in follow(Segment(sys.argv[1])):
        print(json.dumps(dict(zip(FIELDS, told, strict=True))), flush=True)
