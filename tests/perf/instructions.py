"""How many instructions does one item cost, in this build and in another one?

    python tests/perf/instructions.py CASE... [--against TREE] [--functions]

An item is a message (burst, decode, replay), a record, an update (book) or a round trip (echo,
plain: without TLS).
Counts come from callgrind over TREE/.venv/bin/python: two runs of different length a case, and what
one item more costs is their difference, so that connecting and loading do not count. Only what the
case asks about is counted, see CASES. --functions lists what each function costs by itself, those
of both builds side by side. Not a test; a case takes about a minute a build. callgrind has no
AVX-512: the paths for narrower registers are counted.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve()
TURN_NS = 20_000  # virtual time of a burst of 64
SESSION = (
    *("tp_session_send", "tp_session_output", "tp_netif_input", "tp_session_segment"),
    "tp_session_next",
)


@dataclass(frozen=True, slots=True)
class Case:
    """What is counted, and the counts of the shorter and the longer run."""

    functions: tuple[str, ...]
    counts: tuple[int, int]
    size: int


CASES = {
    "burst1": Case(("tp_hot_path_turn",), (1280, 7680), 1),
    "burst10": Case(("tp_hot_path_turn",), (1280, 7680), 10),
    "burst100": Case(("tp_hot_path_turn",), (1280, 7680), 100),
    "decode1": Case(("tp_bench_decode",), (256, 1280), 1),
    "decode10": Case(("tp_bench_decode",), (256, 1280), 10),
    "decode20": Case(("tp_bench_decode",), (256, 1280), 20),
    "binance1": Case(("tp_bench_decode",), (256, 1280), 1),
    "binance10": Case(("tp_bench_decode",), (256, 1280), 10),
    "record256": Case(("tp_bench_tls_open",), (64, 1088), 256),
    "record1400": Case(("tp_bench_tls_open",), (64, 1088), 1400),
    "book": Case(("tp_bench_book",), (4096, 12288), 0),
    "replay1": Case(("tp_replayer_run",), (1000, 4000), 1),
    "echo": Case(SESSION, (200, 1200), 256),
    "plain": Case(SESSION, (200, 1200), 256),
}


# ---- the driver: runs under callgrind, in either build


class _Turns:
    """Plays the hot thread: a turn where a bench would sleep."""

    def __init__(self) -> None:
        self.now_ns = time.monotonic_ns()
        self.reader: Any = None

    def turn(self, _seconds: float = 0) -> None:
        self.now_ns += TURN_NS
        if self.reader is not None:
            hot = self.reader.hot
            self.reader.lib.tp_hot_path_turn(getattr(hot, "handle", hot), self.now_ns)


def _bench(name: str) -> Any:
    """Return a module of the build that is measured."""
    return import_module(f"tickpath.engine.bench.{name}")


def _burst_module() -> Any:
    """Return the module of the feed handler in memory; older trees call it a reader."""
    try:
        return _bench("burst_feed_handler")
    except ModuleNotFoundError:
        stub = _bench("burst_reader")
        stub.BurstFeedHandler = stub.BurstReader
        stub.BurstReader._give_bases = stub.BurstReader._give_snapshots
        return stub


class _Plain:
    """Stands where the far end's TLS is: bytes go through as they are."""

    connected = True

    def __init__(self, _context: object) -> None:
        self._came = b""

    def exchange(self, data: bytes) -> bytes:
        self._came += data
        return b""

    def read(self) -> bytes:
        came, self._came = self._came, b""
        return came

    def seal(self, plaintext: bytes) -> bytes:
        return plaintext

    def check(self) -> None:
        """There is no cipher to look at."""


def _reader(instruments: int) -> tuple[Any, _Turns]:
    """Return a connected feed handler that has no thread; `play` turns as it waits."""
    stub = _burst_module()
    turns = _Turns()
    stub.threading = SimpleNamespace(
        Thread=lambda **_: SimpleNamespace(start=lambda: None, join=lambda: None)
    )
    stub.time = SimpleNamespace(monotonic=time.monotonic, sleep=turns.turn)
    stub.TIMEOUT_S = 600

    def wait(reader: Any, done: Any, _what: str) -> None:
        turns.reader = reader
        while not done():
            reader._exchange.step()
            reader._give_bases()
            turns.turn()

    kind: Any = type("Reader", (stub.BurstFeedHandler,), {"_wait": wait, "lib": stub.lib})
    return kind(instruments, _bench("tls_server").server_context(), 0), turns


def _burst(instruments: int, count: int) -> None:
    reader, _ = _reader(instruments)
    reader.play(count)
    reader.close()


def _decode(levels: int, count: int) -> None:
    tree = _bench("decode")
    all_markets = tree.markets(tree.MARKETS)
    ours = tree._Ours(all_markets, list(tree.round_robin(all_markets, tree.BATCH, levels)))
    for _ in range(count // tree.BATCH):
        ours()


def _binance(levels: int, count: int) -> None:
    tree, own = _bench("decode"), _bench("venues.binance.bench").BENCH
    all_markets = tree.markets(tree.MARKETS, own)
    ours = tree._Ours(all_markets, list(tree.round_robin(all_markets, tree.BATCH, levels)), own)
    for _ in range(count // tree.BATCH):
        ours()


def _record(size: int, count: int) -> None:
    tree = _bench("record")
    ours = tree._Ours(_bench("tls_server").server_context())
    for _ in range(count // tree.BATCH):
        ours.measure(bytes(i & 0xFF for i in range(size)))


def _book(_size: int, count: int) -> None:
    tree = _bench("book")
    with _bench("lanes").segment() as (segment, _):
        ours = tree._Ours(segment, tree.flow(tree.BATCH))
        for _ in range(count // tree.BATCH):
            ours()


def _replay(levels: int, count: int) -> None:
    tree = _bench("replay")
    all_markets = tree.markets(10)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.tpr"
        tree.write_recording(path, all_markets, count, levels)
        tree._play(path, all_markets, count)


def _plain(size: int, count: int) -> None:
    """As `echo`, without TLS."""
    stub = _burst_module()
    stub.client_context = lambda: stub.ffi.NULL
    _bench("burst_exchange").TlsServer = _Plain
    _echo(size, count)


def _echo(size: int, count: int) -> None:
    """Send a message and take one of the same size, without a loop, over the memory link."""
    reader, turns = _reader(1)
    ffi, lib = _burst_module().ffi, reader.lib
    wanted = ffi.typeof("struct tp_session *")
    session = next(
        one for one in reader._kept if isinstance(one, ffi.CData) and ffi.typeof(one) is wanted
    )
    link, netif = ffi.addressof(reader._replay, "link"), reader._netif
    frames, segment = ffi.new("struct tp_frame[64]"), ffi.new("struct tp_tcp_segment *")
    message, taken = ffi.new("struct tp_ws_message *"), ffi.new("size_t *")
    payload = bytes(i & 0xFF for i in range(size))
    memory = ffi.from_buffer("uint8_t[]", payload)
    span = ffi.new("struct tp_span *", {"data": memory, "size": size})
    for _ in range(count):
        turns.now_ns += TURN_NS
        taken[0] = 0
        assert lib.tp_session_send(session, 2, span[0], taken) == lib.TP_OK
        lib.tp_session_output(session, netif, turns.now_ns)
        lib.tp_link_tx_kick(link)
        reader._exchange.step()
        reader._exchange.send(reader._connections[0].message(payload))
        frame_count = lib.tp_link_rx_burst(link, frames, 64)
        for i in range(frame_count):
            if lib.tp_netif_input(netif, ffi.addressof(frames, i), segment) != ffi.NULL:
                lib.tp_session_segment(session, segment, turns.now_ns)
        lib.tp_link_rx_release(link, frames, frame_count)
        assert lib.tp_session_next(session, message) == lib.TP_OK
        assert message.payload.size == size
        assert lib.tp_session_next(session, message) == lib.TP_NEED_MORE
    reader.close()


DRIVERS = {
    "burst": _burst,
    "decode": _decode,
    "binance": _binance,
    "record": _record,
    "book": _book,
    "replay": _replay,
    "echo": _echo,
    "plain": _plain,
}


# ---- counting


def _count(tree: Path, name: str, count: int, out: Path) -> int:
    """Return the instructions of one run."""
    counted = [f"--toggle-collect={one}" for one in CASES[name].functions]
    command = [
        *("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no"),
        *counted,
        *(str(tree / ".venv/bin/python"), str(HERE), "--drive", str(count), name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
    return int(found[1])


def _functions(out: Path) -> Counter[str]:
    """Return what each function takes by itself; clones that the compiler made count as one."""
    command = ["callgrind_annotate", "--threshold=100", "--show-percs=no", str(out)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    costs: Counter[str] = Counter()
    for cost, function in re.findall(r"^ *([\d,]+) +\S*?:(\w+)", said, re.MULTILINE):
        costs[function] += int(cost.replace(",", ""))
    return costs


def _measure(tree: Path, name: str, folder: Path) -> tuple[float, dict[str, float]]:
    """Return instructions an item, and each function's part of them."""
    few, many = CASES[name].counts
    outs = folder / "few", folder / "many"
    totals = [_count(tree, name, n, out) for n, out in zip((few, many), outs, strict=True)]
    before, after = map(_functions, outs)
    each = {one: (after[one] - before[one]) / (many - few) for one in after}
    return (totals[1] - totals[0]) / (many - few), each


def _print_functions(found: list[dict[str, float]]) -> None:
    names = {name for each in found for name, cost in each.items() if cost >= 1}
    for name in sorted(names, key=lambda one: -max(each.get(one, 0) for each in found)):
        print(f"  {name:40}", *(f"{each.get(name, 0):10.1f}" for each in found))


def main() -> None:
    """Print a line a case: this build, and with --against the other one and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--against", type=Path, metavar="TREE", help="another built tree")
    parser.add_argument("--functions", action="store_true")
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive is not None:
        name = args.case[0]
        DRIVERS[name.rstrip("0123456789")](CASES[name].size, args.drive)
        sys.stdout.flush()
        os._exit(0)  # what the interpreter tidies up is not the question
    trees = [HERE.parents[2], *([args.against.resolve()] if args.against else [])]
    for name in args.case or CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = [_measure(tree, name, Path(folder)) for tree in trees]
        ratio = f"  ratio {found[0][0] / found[1][0]:.4f}" if args.against else ""
        print(f"{name:12}", *(f"{total:10.1f}" for total, _ in found), ratio, flush=True)
        if args.functions:
            _print_functions([each for _, each in found])


if __name__ == "__main__":
    main()
