"""Each benchmark runs with tiny counts and reports whole, well-formed rows."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tickpath.engine.bench import gap, garbage
from tickpath.engine.bench.command import BENCHES
from tickpath.engine.bench.measure import Report, at_least, at_most, row
from tickpath.engine.bench.venues import gap_venues
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

ROW_KEYS = ["bench", "contender", "case", "unit", "n", "min", "p50", "p99", "p999", "max"]
EXPECTED = {
    "decode": {("tickpath", case) for case in ("1+1", "10+10", "20+20")}
    | {
        (contender, case)
        for contender in ("tickpath", "msgspec")
        for case in (
            *(
                "bitget 2",
                "bitget 20",
                "binance-json 2",
                "binance-json 20",
                "binance-usdm 2",
                "binance-usdm 20",
                "bybit 2",
                "bybit 20",
                "coinbase 2",
            ),
            *("coinbase 20", "gate 2", "gate 20", "hyperliquid 20+20", "kraken 10", "okx 2"),
            "okx 20",
        )
    }
    | {(one, case) for one in ("tickpath", "zlib, msgspec") for case in ("htx 2", "htx 20")}
    | {(one, "sbe 10+10") for one in ("tickpath", "struct")},
    "record": {
        (contender, case) for contender in ("tickpath", "SSL_read") for case in ("256", "1400")
    },
    "replay": {("tickpath", case) for case in ("1x1+1", "100x1+1", "100x10+10")},
    "burst": {("tickpath", f"memory {count}") for count in (1, 10, 100, 1000)},
    "sign": {("tickpath", case) for case in ("mexc", "session", "risk", "limit")}
    | {("urlencode, hmac", "mexc"), ("SHA-256 block", "risk"), ("plain bucket", "limit")},
    "strategy": {(contender, "decide") for contender in ("c", "numba")},
    "handshake": {
        (contender, case)
        for contender in ("tickpath", "hot thread")
        for case in ("quiet", "63 handshakes")
    },
    "gap": {("tickpath", case) for case in ("binance rest", "kraken in-band", "mexc rest")}
    | {("simulator", case) for case in ("binance rest", "mexc rest")},
    "garbage": {
        ("tickpath", f"{venue} {kind}")
        for venue in ("binance", "kraken", "mexc")
        for kind in ("quiet", "cut off", "long: deep")
    },
    "wire": {(contender, "tls 1+1") for contender in ("tickpath", "picows")},
    "sparse": {
        (contender, f"{rate} a second")
        for contender in ("tickpath", "no rehearsal", "picows")
        for rate in (100, 1_000, 10_000)
    }
    | {("tickpath", "frame to decoded, 100 a second")},
    "echo": {
        (contender, case)
        for contender in ("tickpath", "c-spin", "picows", "websockets")
        for case in ("plain", "tls")
    }
    | {("raw-af_xdp", "plain")},
    "ring": {("tickpath", "64 B"), ("bare-line", "64 B"), ("tickpath", "publish")},
    "ring-python": {("tickpath", case) for case in ("C writer", "Python writer", "batched")}
    | {(contender, "Python writer") for contender in ("iceoryx2", "os.pipe", "pyzmq")},
    "snapshot": {("tickpath", case) for case in ("idle", "100 k/s", "1 M/s")},
    "book": {(name, "update") for name in ("tickpath", "order_book", "sortedcontainers")},
    "race": {
        (contender, f"{kind} {levels}")
        for levels in ("1+1", "10+10")
        for kind, contenders in (
            ("lag", ("tickpath", "connection 0")),
            ("cost", ("applied", "copy")),
        )
        for contender in contenders
    },
    "relay": {("tickpath", case) for case in ("1,000 a second", "100,000 a second", "flat out")}
    | {("redis-py, one by one", "1,000 a second")},
    "memory": {("tickpath", case) for case in ("kernel 1", "kernel 3")},
    "join": {("tickpath", case) for case in ("C", "Python", "open")},
}


def printed(report: Report, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert report.print(as_json=True) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def check(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(report, capsys)
    rows, ratios = lines[: len(report.rows)], lines[len(report.rows) :]
    found = {(one["contender"], one["case"]) for one in rows}
    assert found >= EXPECTED[report.bench]
    for one in rows:
        assert list(one) == ROW_KEYS
        assert one["unit"] == ("KiB" if report.bench == "memory" else "ns")
        assert one["n"] > 0
        assert 0 <= one["min"] <= one["p50"] <= one["p99"] <= one["p999"] <= one["max"]
    assert ratios
    for one, made in zip(ratios, report.ratios, strict=True):
        assert one["value"] >= 0
        assert (made.met is None) == (one["goal"] == "")
        # Printed is the verdict, or none where the load or too few samples allow none.
        assert one["met"] in (
            {made.met, None} if report.is_worthless else {report.judged(made).met}
        )


def measure(name: str) -> Callable[[int, int], Report]:
    bench = import_module(f"tickpath.engine.bench.{name.replace('-', '_')}")
    function: Callable[[int, int], Report] = bench.measure
    return function


@pytest.mark.parametrize("name", ["decode", "garbage", "handshake", "race", "record", "replay"])
def test_bench_in_memory_reports_whole_rows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(measure(name)(4, 2), capsys)


def test_bench_garbage_leaves_no_segment_where_books_do_not_come_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: garbage._Side) -> None:
        raise SystemSetupError("not LIVE")

    monkeypatch.setattr(garbage._Side, "make_live", fail)
    with pytest.raises(SystemSetupError, match="not LIVE"):
        garbage._Side(gap_venues()[0])
    assert left_by_us() == []


def test_bench_burst_from_memory_applies_every_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # the veth part has a test of its own
    check(measure("burst")(2000, 2), capsys)


def test_bench_gap_finds_every_book_live_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap, "SETTLED_S", 0.1)  # then a base waits longer on purpose
    monkeypatch.setattr(gap, "GAP_TIMEOUT_S", 60.0)
    check(measure("gap")(2, 1), capsys)
    assert left_by_us() == []


def test_bench_memory_without_root_measures_kernel_sockets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check(measure("memory")(1, 1), capsys)
    assert left_by_us() == []


@pytest.mark.parametrize("name", ["book", "join", "sign", "strategy"])
def test_bench_of_books_reports_whole_rows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(measure(name)(10, 1), capsys)


def left_by_us() -> list[str]:
    """List what this process's benchmarks left in shared memory; others may be running theirs."""
    names = [path.name for path in DIRECTORY.iterdir()]
    return [name for name in names if re.search(rf"bench\D*{os.getpid()}\b", name)]


@pytest.mark.needs("two_cpus")
@pytest.mark.parametrize(
    ("name", "count"), [("ring", 1000), ("ring-python", 500), ("snapshot", 1000)]
)
def test_bench_across_two_cpus_reports_whole_rows_and_leaves_nothing(
    name: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check(measure(name)(count, 1), capsys)
    assert left_by_us() == []


@pytest.mark.needs("root", "af_xdp")
@pytest.mark.parametrize(
    ("name", "count"),
    [("wire", 200), ("echo", 200), ("sparse", 20)],
)
def test_bench_over_a_veth_pair_reports_whole_rows(
    name: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    check(measure(name)(count, 1), capsys)


@pytest.mark.needs("redis")
def test_bench_relay_reports_whole_rows_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check(measure("relay")(200, 1), capsys)
    assert left_by_us() == []


def test_bench_names_are_modules_that_measure() -> None:
    assert set(BENCHES) == set(EXPECTED)
    assert all(callable(measure(name)) for name in BENCHES)


def test_row_summarises_known_samples() -> None:
    made = row("b", "c", "d", np.arange(1, 1002))
    assert (made.n, made.min, made.p50, made.p99, made.max) == (1001, 1, 501, 991, 1001)


def test_ratio_on_its_goal_is_met_and_beyond_it_is_not() -> None:
    assert at_most("b", "c", "d", 0.7, 0.7).met is True
    assert at_most("b", "c", "d", 0.71, 0.7).met is False
    assert at_least("b", "c", "d", 5, 5).met is True
    assert at_least("b", "c", "d", 4.99, 5).met is False
