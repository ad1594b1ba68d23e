"""Books in shared memory against the exchange's own, over AF_XDP, TLS, WebSocket and protobuf."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import open_reader
from tickpath.engine.commands import stat
from tickpath.engine.sim.market import instrument_names

from tests.netns.rig import Exchange, Settings, Supervised, VethPair, assert_truth

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "netns", "af_xdp")

FLOW_S = 1.5


def assert_hops_begin_at_the_frame(run: Supervised, counters: dict[str, int]) -> None:
    """Hop zero of nearly all messages: the first frames come before the clocks are compared."""
    status = stat.sample(run.instance)
    hops = status.hops
    assert counters["hot.stamped"] > 500
    assert hops["received_to_taken"].n > 0.9 * hops["taken_to_decoded"].n > 400
    assert 0 < hops["received_to_taken"].p50 < 1_000_000_000
    assert 0 < counters["hop_zero.error_ns"] < 10_000_000
    assert "received_to_taken" in stat.format_status(status)
    with open_reader(run.instance) as reader:
        books = [reader.book(one.index) for one in reader.instruments]
    assert any(book.is_hop_zero for book in books)
    for book in books:
        assert book.received_ns <= book.taken_ns <= book.decoded_ns <= book.published_ns
        assert book.is_hop_zero or book.received_ns == book.taken_ns


@pytest.mark.parametrize(
    ("count", "options"), [(4, ()), (40, ()), (2, ("--tls12",)), (2, ("--plain",))]
)
def test_books_after_flow_equal_the_exchanges(
    tmp_path: Path, count: int, options: tuple[str, ...]
) -> None:
    with VethPair.open() as pair:
        exchange = Exchange(pair, tmp_path, "--instruments", str(count), "--rate", "2000", *options)
        venue = "tls = false" if exchange.plain else ""
        symbols = [str(name) for name in instrument_names(count)]  # the venue has its own names
        run = Supervised(pair, tmp_path, Settings(symbols=symbols, venue=venue))
        try:
            watcher = run.watch()
            for _ in range(2 if count >= 4 else 1):
                time.sleep(FLOW_S)
                exchange.fault("pause")
                assert_truth(exchange, watcher)
                exchange.fault("resume")
            assert "path: AF_XDP" in run.program.text
            assert "expected a JSON object" not in run.program.text  # 30 channels acknowledged
            counters = run.counters()
            assert counters["hot.connects"] == -(-count // 30)
            assert counters["feed.messages"] > 500
            assert counters["feed.gaps"] == counters["feed.broken"] == 0
            assert counters["netif.bad_checksum"] == counters["netif.bad_tcp"] == 0
            assert_hops_begin_at_the_frame(run, counters)
            watcher.reader.close()
        finally:
            status = run.end()
        assert status == 0, run.program.text
        assert run.files() == []
