"""One side of a contender of `tickpath bench ring-python`, as a process of its own.

    python -P -m tickpath.engine.bench.ring_contender read|write CONTENDER COUNT PACE_NS FOLDER

The reader says "ready" and spins until COUNT messages or half a second of silence; it leaves its
times in FOLDER/took.bin. The writer waits for a line on its standard input, then writes a 64-byte
message every PACE_NS, its first word the time just before (CLOCK_MONOTONIC, which all processes
share). Called by: engine/bench/ring_python.py.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._core import ffi, lib
from tickpath.engine.bench.lanes import instruments
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.shm.reader import Reader, Result
from tickpath.shm.segment import SegmentNotReadyError, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 64
SILENT_NS = 500_000_000
FIRST_NS = 60_000_000_000  # a writer on a busy host is long in coming
PIPE_NAME, ZMQ_NAME = "pipe", "zmq"
IOX_SERVICE = "tickpath/bench"
_STAMP = struct.Struct("=q56x")


def instance(folder: Path) -> str:
    """Name the segment after the folder, which no other run has."""
    return f"bench-ring-python-{folder.name}"


def iceoryx2_prefix(folder: Path) -> str:
    """Return how the names of iceoryx2's shared memory begin, in this run only."""
    return f"{folder.name}_iox2_"


class _Payload(ctypes.Structure):
    _fields_ = (("word", ctypes.c_int64 * 8),)


def _tickpath_writer(folder: Path) -> Callable[[int], None]:
    segment = SegmentWriter(instance(folder), make_layout(instruments(1)))
    write_instruments(segment, instruments(1))
    segment.ready()
    ring, event = lib.tp_segment_ring_writer(segment.pointer), ffi.new("uint64_t[7]")
    publish, kept = lib.tp_ring_publish, segment
    words = memoryview(ffi.buffer(event)).cast("B").cast("q")

    def send(stamp: int, _kept: Any = kept) -> None:
        words[0] = stamp
        publish(ring, event)

    return send


def _tickpath_reader(folder: Path) -> Callable[[], int | None]:
    for _turn in range(10_000):
        try:
            reader = Reader(instance(folder))
            break
        except SegmentNotReadyError:
            time.sleep(0.001)
    else:
        raise SystemExit("no segment")
    poll, event, found = reader.poll, reader.event, Result.EVENT

    def receive() -> int | None:
        return event[1] if poll() == found else None

    return receive


def _iceoryx2_service(folder: Path) -> Any:
    iceoryx2: Any = import_module("iceoryx2")
    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    config = iceoryx2.config.default()
    config.global_cfg.root_path = iceoryx2.Path.new(str(folder))  # its files go with ours
    config.global_cfg.prefix = iceoryx2.FileName.new(iceoryx2_prefix(folder))
    node = iceoryx2.NodeBuilder.new().config(config).create(iceoryx2.ServiceType.Ipc)
    builder = node.service_builder(iceoryx2.ServiceName.new(IOX_SERVICE))
    return node, builder.publish_subscribe(_Payload).open_or_create()


def _iceoryx2_writer(folder: Path) -> Callable[[int], None]:
    node, service = _iceoryx2_service(folder)
    publisher = service.publisher_builder().create()

    def send(stamp: int, _kept: Any = node) -> None:
        sample = publisher.loan_uninit()
        payload = _Payload()
        payload.word[0] = stamp
        sample.write_payload(payload).send()

    return send


def _iceoryx2_reader(folder: Path) -> Callable[[], int | None]:
    node, service = _iceoryx2_service(folder)
    subscriber = service.subscriber_builder().create()

    def receive(_kept: Any = node) -> int | None:
        sample = subscriber.receive()
        return None if sample is None else int(sample.payload().contents.word[0])

    return receive


def _pipe_writer(folder: Path) -> Callable[[int], None]:
    pipe = os.open(folder / PIPE_NAME, os.O_WRONLY)
    pack, write = _STAMP.pack, os.write

    def send(stamp: int) -> None:
        write(pipe, pack(stamp))

    return send


def _pipe_reader(folder: Path) -> Callable[[], int | None]:
    os.mkfifo(folder / PIPE_NAME)
    pipe = os.open(folder / PIPE_NAME, os.O_RDONLY | os.O_NONBLOCK)
    unpack, read = _STAMP.unpack, os.read

    def receive() -> int | None:
        try:
            data = read(pipe, SIZE)
        except BlockingIOError:
            return None
        return int(unpack(data)[0]) if data else None  # empty: no writer yet, or no more

    return receive


def _pyzmq_writer(folder: Path) -> Callable[[int], None]:
    zmq: Any = import_module("zmq")
    socket = zmq.Context.instance().socket(zmq.PUSH)
    socket.connect(f"ipc://{folder / ZMQ_NAME}")
    pack, write = _STAMP.pack, socket.send

    def send(stamp: int) -> None:
        write(pack(stamp))

    return send


def _pyzmq_reader(folder: Path) -> Callable[[], int | None]:
    zmq: Any = import_module("zmq")
    socket = zmq.Context.instance().socket(zmq.PULL)
    socket.bind(f"ipc://{folder / ZMQ_NAME}")
    unpack, read, again = _STAMP.unpack, socket.recv, zmq.Again

    def receive() -> int | None:
        try:
            return int(unpack(read(zmq.NOBLOCK))[0])
        except again:
            return None

    return receive


WRITERS = {
    "tickpath": _tickpath_writer,
    "iceoryx2": _iceoryx2_writer,
    "os.pipe": _pipe_writer,
    "pyzmq": _pyzmq_writer,
}
READERS = {
    "tickpath": _tickpath_reader,
    "iceoryx2": _iceoryx2_reader,
    "os.pipe": _pipe_reader,
    "pyzmq": _pyzmq_reader,
}


def write(send: Callable[[int], None], count: int, pace_ns: int) -> None:
    """Send `count` stamps, one every `pace_ns`."""
    now = time.monotonic_ns
    due = now()
    for _ in range(count):
        due += pace_ns
        while now() < due:
            pass
        send(now())
    time.sleep(0.1)  # what is under way arrives before this end goes


def read(receive: Callable[[], int | None], count: int) -> list[int]:
    """Return the time that each message took; fewer than `count` after a silence."""
    now = time.monotonic_ns
    took: list[int] = []
    heard = now() + FIRST_NS
    while len(took) < count:
        stamp = receive()
        if stamp is None:
            if now() - heard > SILENT_NS:
                break
            continue
        heard = now()
        took.append(heard - stamp)
    return took


def main(side: str, contender: str, count: str, pace_ns: str, folder: str) -> None:
    """Run one side."""
    gc.disable()
    place = Path(folder)
    if side == "write":
        # Ours and the pipe's name: each needs the other side first, so each waits a little.
        send = _when_ready(lambda: WRITERS[contender](place))
        sys.stdin.readline()
        write(send, int(count), int(pace_ns))
        return
    receive = READERS[contender](place)
    print("ready", flush=True)
    np.array(read(receive, int(count)), dtype=np.int64).tofile(place / "took.bin")
    (place / PIPE_NAME).unlink(missing_ok=True)


def _when_ready(make: Callable[[], Callable[[int], None]]) -> Callable[[int], None]:
    for _ in range(10_000):
        try:
            return make()
        except FileNotFoundError:
            time.sleep(0.001)
    raise SystemExit("the reader did not come")


if __name__ == "__main__":
    main(*sys.argv[1:])
