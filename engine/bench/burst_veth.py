"""`bench burst` over a veth pair: the real feed handler against a sender that never waits.

All instruments walk alike (one market, its messages under every channel), so that one base does
for all. Messages are sealed beforehand; the kernel's TCP packs several into a segment.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tickpath.engine.bench.messages import Market, symbols
from tickpath.engine.bench.peers import PRIORITY, Bench, cpus, executable
from tickpath.engine.bench.venues import bench_plan, bench_venue
from tickpath.engine.client.reader import FeedReader, open_reader
from tickpath.engine.supervisor.child_process import stop
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS
from tickpath.proto.records import BOOK_DEPTH_MAX, BookState
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import remove_dead

if TYPE_CHECKING:
    from pathlib import Path

PORT = 8443
SEED = 1
TIMEOUT_S = 60.0


def _write_inputs(directory: Path, instruments: int, count: int) -> Market:
    """Write what peer_burst.c serves; return the market as it is after the last message."""
    names, own = symbols(instruments), bench_venue()
    (directory / "exchange_info.json").write_bytes(own.instrument_list(names))
    market = Market(names[0], SEED)
    (directory / "depth.json").write_bytes(own.base(market))
    planned = bench_plan(names).book_channels()
    channels = [one.name.encode() for one in planned]
    symbol_bytes = [name.encode() for name in names]
    with (directory / "messages.bin").open("wb") as file:
        for _ in range(count // instruments):
            message = market.message(1, 1)
            for index, channel in enumerate(channels):
                # All channels are equally long, so that no length in the message changes.
                data = message.replace(channels[0], channel).replace(
                    symbol_bytes[0], symbol_bytes[index]
                )
                file.write(struct.pack("<II", planned[index].connection, len(data)) + data)
    return market


def _write_config(bench: Bench, instance: str, instruments: int) -> Path:
    config = bench.path / "burst.toml"
    config.write_text(
        f"""\
instance = "{instance}"
[feed_handler]
cpu = {cpus()[1]}
priority = {PRIORITY}
[health]
silent_after_ms = 3600000 # the sender answers no pings
[network]
backend = "af_xdp"
[[venue]]
name = "{bench_venue().venue.name}"
host = "exchange.test"
port = {PORT}
symbols = {json.dumps(symbols(instruments))}
{bench_venue().settings_toml}
ca_file = "{bench.path / "ca.pem"}"
[venue.resolve]
"exchange.test:{PORT}" = "{EXCHANGE_ADDRESS}"
"""
    )
    return config


def _wait_live(reader: FeedReader, child: subprocess.Popen[str], instruments: int) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not all(
        reader.book(index).published_state is BookState.LIVE for index in range(instruments)
    ):
        if time.monotonic() > end or child.poll() is not None:
            raise SystemSetupError(f"{instruments} books are not LIVE after {TIMEOUT_S} s")
        time.sleep(0.05)


def _wait_applied(reader: FeedReader, version: int, instruments: int) -> int:
    """Wait until every book is at the version; return when the last of them was published."""
    end = time.monotonic() + TIMEOUT_S
    while any(reader.book(index).book_sequence != version for index in range(instruments)):
        if time.monotonic() > end:
            counters = {name: n for name, n in reader.shm.segment.counters().items() if n}
            raise SystemSetupError(f"not all messages were applied: {counters}")
        time.sleep(0.01)
    return max(int(reader.book(index).published_ns) for index in range(instruments))


def _check_books(reader: FeedReader, market: Market, instruments: int) -> None:
    bids = sorted(market.bids.items(), reverse=True)[:BOOK_DEPTH_MAX]
    asks = sorted(market.asks.items())[:BOOK_DEPTH_MAX]
    for index in range(instruments):
        book = reader.book(index)
        if (book.bids, book.asks, book.book_sequence) != (bids, asks, market.version):
            raise SystemSetupError(f"{book} at {book.book_sequence} is not the sender's book")


def measure_veth(bench: Bench, instruments: int, count: int) -> tuple[float, int]:
    """Return nanoseconds a message from first send to last book, and TCP's retransmissions."""
    count = max(count // instruments, 1) * instruments
    market = _write_inputs(bench.path, instruments, count)
    instance = f"bench-burst-{os.getpid()}-{instruments}"
    config = _write_config(bench, instance, instruments)
    files = [str(bench.path / name) for name in ("server.pem", "server.key")]
    connections = len(bench_plan(symbols(instruments)).connections)
    arguments = [EXCHANGE_ADDRESS, str(PORT), *files, str(connections), str(bench.path)]
    server = bench.start_server(
        [executable("peer_burst"), *arguments], fifo=False, stdin=subprocess.PIPE
    )
    command = [sys.executable, "-P", "-m", "tickpath.engine.feed_handler.process", str(config)]
    errors = (bench.path / "errors.txt").open("w")
    child = bench.pair.spawn(bench.pair.feed_handler, command, stderr=errors)
    try:
        with open_reader(instance, wait_s=TIMEOUT_S) as reader:
            _wait_live(reader, child, instruments)
            assert server.stdin is not None  # noqa: S101 # PIPE above
            server.stdin.write("\n")
            server.stdin.flush()
            last_ns = _wait_applied(reader, market.version, instruments)
            _check_books(reader, market, instruments)
        output, _ = server.communicate(timeout=TIMEOUT_S)
    except SystemSetupError as error:
        said = (bench.path / "errors.txt").read_text()[-800:]
        raise SystemSetupError(
            f"burst over veth, {instruments} instruments: {error}; {said}"
        ) from error
    finally:
        stop(child)
        stop(server)
        remove_dead(instance)
    _, start_ns, _, retransmits = output.split()
    return (last_ns - int(start_ns)) / count, int(retransmits)
