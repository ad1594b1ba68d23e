"""What does an order cost on its way out: judged, let through its rates, written and signed?

Ours in C, timed there; the contender is what a good Python program does for the same request:
urlencode and hmac.digest, timed in Python, which is where its user is. Judging is set against one
block of SHA-256, a rate against a plain bucket of tokens in C. Another order each time, a batch a
sample, one thread, no I/O, all in the cache. Both requests are compared, less their time.
"""

from __future__ import annotations

import gc
import hmac
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.measure import (
    OURS,
    Report,
    at_least,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 400  # samples a contender
BATCH = int(lib.TP_BENCH_SIGN_ORDERS)
PYTHON, BLOCK, BUCKET = "urlencode, hmac", "SHA-256 block", "plain bucket"
KEY = b"45d0b3c26f2644f19bfb98b07741b2f5"
HEADERS = (
    " HTTP/1.1\r\nHost: api.mexc.com\r\nX-MEXC-APIKEY: mx0aBYs33eIilxBWC5\r\n"
    "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n"
)


def python_request(number: int) -> bytes:
    """Return a request as a Python program makes it."""
    query = urlencode(
        {
            "recvWindow": 5000,
            "symbol": "BTCUSDT",
            "newClientOrderId": f"tp0000abcd00000007{number:08x}",
            "side": "BUY",
            "type": "LIMIT",
            "quantity": "0.0015",
            "price": "67123.45",
            "timestamp": 1644489390087 + number,
        }
    )
    signature = hmac.digest(KEY, query.encode(), "sha256").hex()
    return f"POST /api/v3/order?{query}&signature={signature}{HEADERS}".encode()


def _python() -> int:
    start = time.perf_counter_ns()
    for number in range(1, BATCH + 1):
        python_request(number)
    return time.perf_counter_ns() - start


def _in_c(bench: Any, which: int) -> Callable[[], int]:
    def run() -> int:
        took = int(lib.tp_bench_sign_run(bench, which))
        if took == 0:
            raise SystemSetupError("sign: an order of the benchmark was refused")
        return took

    return run


def _check(bench: Any) -> None:
    """Raise unless our request is the other one, but for the time and what follows of it."""
    text = ffi.new("char[]", int(lib.TP_BENCH_SIGN_TEXT_MAX))
    size = lib.tp_bench_sign_text(bench, text)
    ours = bytes(ffi.buffer(text, size))
    query = parse_qs(ours.partition(b"?")[2].partition(b" ")[0].decode())
    number = int(query["newClientOrderId"][0][-8:], 16)
    if ours != python_request(number):
        raise SystemSetupError(f"sign: the requests differ: ours {ours!r}")


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds an order, each sample the mean of a batch."""
    report = Report("sign")
    report.notes = [
        "nanoseconds an order of MEXC (HTTPS, HMAC) or of a session of Binance (not signed); "
        f"each sample the mean of {BATCH}",
        "risk: all checks of an order that is allowed, two rates among them; limit: one rate",
    ]
    bench = ffi.gc(lib.tp_bench_sign_new(), lib.tp_bench_sign_free)
    cases: dict[tuple[str, str], Callable[[], int]] = {
        (OURS, "mexc"): _in_c(bench, lib.TP_BENCH_SIGN_MEXC),
        (PYTHON, "mexc"): _python,
        (OURS, "session"): _in_c(bench, lib.TP_BENCH_SIGN_SESSION),
        (OURS, "risk"): _in_c(bench, lib.TP_BENCH_SIGN_RISK),
        (BLOCK, "risk"): _in_c(bench, lib.TP_BENCH_SIGN_BLOCK),
        (OURS, "limit"): _in_c(bench, lib.TP_BENCH_SIGN_LIMIT),
        (BUCKET, "limit"): _in_c(bench, lib.TP_BENCH_SIGN_BUCKET),
    }
    took: dict[tuple[str, str], list[float]] = {key: [] for key in cases}
    cases[OURS, "mexc"]()
    _check(bench)
    gc.disable()
    try:
        for turn in range(rounds):
            for (name, case), run in cases.items():
                progress(f"sign: round {turn + 1} of {rounds}: {case}, {name}")
                run()  # warm-up, left out
                samples = max(1, (count or COUNT) // rounds)
                took[name, case] += [run() / BATCH for _ in range(samples)]
    finally:
        gc.enable()
    progress_end()
    report.rows = [row("sign", name, case, np.array(all_)) for (name, case), all_ in took.items()]
    _judge(report)
    return report


def _judge(report: Report) -> None:
    p50 = {(one.contender, one.case): one.p50 for one in report.rows}
    python = p50[PYTHON, "mexc"]
    block = p50[BLOCK, "risk"]
    what = f"p50 {PYTHON} / ours"
    report.ratios += [
        at_least("sign", "mexc", what, python / p50[OURS, "mexc"], 8),
        at_least("sign", "session", what, python / p50[OURS, "session"], 20),
        # Two blocks of what changes, and the outer one.
        at_most(
            "sign", "mexc", "p50 ns beyond 3 blocks", max(0.0, p50[OURS, "mexc"] - 3 * block), 150
        ),
        at_most("sign", "risk", f"p50 ours / {BLOCK}", p50[OURS, "risk"] / block, 1),
        at_most(
            "sign", "limit", f"p50 ours / {BUCKET}", p50[OURS, "limit"] / p50[BUCKET, "limit"], 2
        ),
    ]
