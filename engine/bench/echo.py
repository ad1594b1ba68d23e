"""How long does a 256 B WebSocket message take there and back?

Far end: peer.c, spinning on kernel sockets, on the first CPU. Contenders in turn on the second,
one message in flight: ours over AF_XDP, a C client that spins on recv(), picows and websockets on
uvloop (both sleep in epoll), and raw frames by AF_XDP as the floor.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    Row,
    at_least,
    at_most,
    interleave,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.peers import Bench, executable, module
from tickpath.engine.supervisor.child_process import stop
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, INTERFACE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COUNT, SIZE = 50_000, 256
PORT = {"plain": "9000", "tls": "9443"}
CONTENDERS = (OURS, "c-spin", "picows", "websockets")


def _command(contender: str, case: str, count: int, bench: Bench) -> list[str]:
    output, ca = str(bench.path / "took.bin"), str(bench.path / "ca.pem")
    tls = [ca] if case == "tls" else []
    if contender == "c-spin":
        client = [executable("peer"), "client", EXCHANGE_ADDRESS, PORT[case]]
        return [*client, str(SIZE), str(count), output, *tls]
    scheme = "wss" if case == "tls" else "ws"
    url = f"{scheme}://{EXCHANGE_ADDRESS}:{PORT[case]}/"
    return module("echo_contender", contender, url, str(SIZE), str(count), output, *tls)


def _measure_case(bench: Bench, case: str, count: int, rounds: int) -> list[Row]:
    taken: dict[str, list[NDArray[np.uint64]]] = defaultdict(list)
    for turn in range(rounds):
        for contender in CONTENDERS:
            progress(f"echo {case}: round {turn + 1} of {rounds}: {contender}")
            command = _command(contender, case, count // rounds, bench)
            taken[contender].append(bench.run_contender(command, bench.path / "took.bin"))
    return [row("echo", contender, case, interleave(taken[contender])) for contender in CONTENDERS]


def _measure_floor(bench: Bench, count: int) -> Row:
    reflector = bench.start_server([executable("peer"), "reflect", INTERFACE])
    progress("echo: raw frames")
    output = bench.path / "took.bin"
    url = f"ws://{EXCHANGE_ADDRESS}/"
    command = module("echo_contender", "raw-af_xdp", url, str(SIZE), str(count), str(output))
    try:
        samples = bench.run_contender(command, output)
    finally:
        stop(reflector)
    return row("echo", "raw-af_xdp", "plain", samples)


def _ratios(report: Report) -> None:
    for case, limit in (("plain", 0.83), ("tls", 0.70)):
        ours = report.find(OURS, case)
        spin, picows = report.find("c-spin", case), report.find("picows", case)
        websockets = report.find("websockets", case)
        report.ratios += [
            at_most("echo", case, "p50 ours / c-spin", ours.p50 / spin.p50, limit),
            at_least("echo", case, "p50 picows / ours", picows.p50 / ours.p50, 5),
            Ratio("echo", case, "p50 websockets / ours", round(websockets.p50 / ours.p50, 2)),
            at_most("echo", case, "p99 ours / p50 picows", ours.p99 / picows.p50, 1),
        ]
    floor = report.find("raw-af_xdp", "plain").p50 / report.find(OURS, "plain").p50
    report.ratios.append(Ratio("echo", "plain", "p50 raw frames / ours", round(floor, 3)))


def measure(count: int, rounds: int) -> Report:
    """Return the figures of all contenders, round trips in nanoseconds."""
    report = Report("echo")
    report.notes = [
        "round trips, one in flight; both ends pinned, SCHED_FIFO",
        "tickpath, c-spin, raw-af_xdp and the far end spin; picows and websockets sleep in epoll",
        "a veth pair, not a NIC: the far end is the kernel's TCP in both directions",
    ]
    bench = Bench.open()
    peer = executable("peer")
    try:
        plain = bench.start_server([peer, "server", EXCHANGE_ADDRESS, PORT["plain"]])
        report.rows += _measure_case(bench, "plain", count or COUNT, rounds)
        stop(plain)
        keys = [str(bench.path / "server.pem"), str(bench.path / "server.key")]
        bench.start_server([peer, "server", EXCHANGE_ADDRESS, PORT["tls"], *keys])
        report.rows += _measure_case(bench, "tls", count or COUNT, rounds)
        report.rows.append(_measure_floor(bench, count or COUNT))
    finally:
        progress_end()
        bench.close()
    _ratios(report)
    return report
