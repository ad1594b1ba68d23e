"""How long does it take to open one TLS 1.3 AES-128-GCM record?

Ours is tp_tls_input, the whole path from the record's first byte to plaintext in the message
buffer; the other is SSL_read, whose records lie in its BIO beforehand. Both timed in C, a batch of
records that lie behind each other a sample, in turn. One thread, no I/O.
"""

from __future__ import annotations

import ssl
from typing import Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.measure import OURS, Report, at_least, progress, progress_end, row
from tickpath.engine.bench.tls_server import (
    CIPHER,
    FLIGHT_SIZE,
    TlsServer,
    client_context,
    server_context,
)
from tickpath.shm.errors import SystemSetupError

CASES = {"256": (256, 4.5), "1400": (1400, 4.0)}  # bytes of plaintext, goal
BATCH = 64  # records a sample
COUNT = 2000  # samples a contender
OTHER = "SSL_read"
RECORD_ROOM = 16384 + 512  # what tp_tls_input may ask for


class _Client:
    """What both contenders share: a server that seals for them, and room for plaintext."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.server = TlsServer(context)
        self._flight = ffi.new("uint8_t[]", FLIGHT_SIZE)
        self._size = BATCH * max(size for size, _ in CASES.values()) + RECORD_ROOM
        self._room = ffi.new("uint8_t[]", self._size)

    def _span(self, data: bytes) -> Any:
        self._kept = ffi.from_buffer("uint8_t[]", data)
        return ffi.new("struct tp_span *", {"data": self._kept, "size": len(data)})

    def measure(self, plaintext: bytes) -> float:
        """Return nanoseconds a record; checks the plaintext."""
        sealed = b"".join(self.server.seal(plaintext) for _ in range(BATCH))
        took = self._open(self._span(sealed)[0], BATCH * len(plaintext))
        if took == 0 or bytes(self._room[0 : len(plaintext)]) != plaintext:
            raise SystemSetupError(f"{type(self).__name__}: a record was not opened")
        return float(took) / BATCH

    def _open(self, sealed: Any, size: int) -> int:
        raise NotImplementedError


class _Ours(_Client):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context)
        self._context = client_context()
        self._tls = ffi.gc(lib.tp_tls_new(self._context, b"exchange.test"), lib.tp_tls_free)
        self._buffer = ffi.new("struct tp_buffer *")
        self.server.shake_hands(self._exchange)
        self.layer = ffi.string(lib.tp_tls_record_layer_name(self._tls)).decode()
        self.allocated = 0

    def _reset(self) -> None:
        self._buffer.data, self._buffer.capacity = self._room, self._size
        self._buffer.head = self._buffer.tail = 0

    def _exchange(self, data: bytes) -> bytes:
        self._reset()
        span = self._span(data)
        while span.size > 0 and lib.tp_tls_input(self._tls, span, self._buffer) == lib.TP_OK:
            pass
        size = lib.tp_tls_output(self._tls, self._flight, FLIGHT_SIZE)
        return bytes(self._flight[0:size])

    def _open(self, sealed: Any, size: int) -> int:
        self._reset()
        before = lib.tp_bench_heap_bytes()
        took = lib.tp_bench_tls_open(self._tls, sealed, self._buffer, size)
        self.allocated += abs(int(lib.tp_bench_heap_bytes()) - int(before))
        return int(took)


class _OpenSsl(_Client):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context)
        self._ssl = ffi.gc(lib.tp_bench_ssl_new(), lib.tp_bench_ssl_free)
        self.server.shake_hands(self._exchange)

    def _exchange(self, data: bytes) -> bytes:
        span = self._span(data)[0]
        size = lib.tp_bench_ssl_exchange(self._ssl, span, self._flight, FLIGHT_SIZE)
        return bytes(self._flight[0:size])

    def _open(self, sealed: Any, size: int) -> int:
        return int(lib.tp_bench_ssl_open(self._ssl, sealed, self._room, size))


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds a record; `count` samples a contender, each the mean of a batch."""
    context = server_context()
    ours, theirs = _Ours(context), _OpenSsl(context)
    report = Report("record")
    report.notes = [
        f"nanoseconds a record, {CIPHER}, each sample the mean of {BATCH} records in a row",
        f"ours opens with {ours.layer}; {OTHER} is {ssl.OPENSSL_VERSION}",
        "timed in C, one thread, in turn",
    ]
    per_round = max(1, (count or COUNT) // rounds)
    for case, (size, goal) in CASES.items():
        plaintext = bytes(i & 0xFF for i in range(size))
        took: dict[str, list[float]] = {OURS: [], OTHER: []}
        for turn in range(rounds):
            progress(f"record {case}: round {turn + 1} of {rounds}")
            for _ in range(per_round):
                took[OURS].append(ours.measure(plaintext))
                took[OTHER].append(theirs.measure(plaintext))
        report.rows += [row("record", name, case, np.array(all_)) for name, all_ in took.items()]
        ratio = report.find(OTHER, case).p50 / report.find(OURS, case).p50
        report.ratios.append(at_least("record", case, f"p50 {OTHER} / ours", ratio, goal))
    progress_end()
    report.notes.append(f"allocated while opening: {ours.allocated} bytes")
    return report
