"""The simulated market: never crossed, contiguous, reproducible; each delta tells all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath.engine.sim.faults import Fault, Order, parse_fault, parse_scheduled_fault
from tickpath.engine.sim.market import LEVELS_MAX, Book, Side, instrument_names
from tickpath.engine.sim.market import make_book as make_named_book
from tickpath.proto.instrument import Symbol
from tickpath.shm.errors import LocalError


def make_book(symbol: str, depth: int, seed: int) -> Book:
    return make_named_book(symbol, Symbol(symbol.removesuffix("USDT"), "USDT"), depth, seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, LEVELS_MAX), st.integers(40, 300))
def test_book_steps_stay_coherent(seed: int, levels: int, depth: int) -> None:
    book = make_book("BTCUSDT", depth, seed)
    copies = {True: dict(book.bids.quantities), False: dict(book.asks.quantities)}
    version = book.version
    for _ in range(200):
        delta = book.step(levels)
        assert delta.first_version == version + 1
        assert delta.last_version >= delta.first_version
        assert 1 <= len(delta.bids) + len(delta.asks) <= levels
        version = delta.last_version
        for is_bid, changes in ((True, delta.bids), (False, delta.asks)):
            for price, quantity in changes:
                copies[is_bid][price] = quantity
                if quantity == 0:
                    del copies[is_bid][price]
        assert copies[True] == book.bids.quantities
        assert copies[False] == book.asks.quantities
        assert max(copies[True]) < min(copies[False])
        assert min(copies[True]) > 0
        assert book.bids.prices == sorted(copies[True])
        assert depth // 2 <= len(copies[True]) <= depth + LEVELS_MAX


def test_book_same_seed_walks_the_same_way() -> None:
    one, same, other = (make_book("ETHUSDT", 50, seed) for seed in (3, 3, 4))
    steps = [[book.step(3) for _ in range(50)] for book in (one, same, other)]
    assert steps[0] == steps[1] != steps[2]


def test_book_that_counts_messages_walks_alike_and_is_numbered_one_by_one() -> None:
    by_changes, by_messages = (make_book("BTCUSDT", 60, 5) for _ in range(2))
    by_messages.counts_messages = True
    first = by_messages.version
    for number in range(1, 200):
        other, delta = by_changes.step(5), by_messages.step(5)
        assert (delta.first_version, delta.last_version) == (first + number, first + number)
        assert (delta.bids, delta.asks) == (other.bids, other.asks)
    assert by_changes.version > by_messages.version


def test_book_cross_lasts_until_the_next_step() -> None:
    book = make_book("BTCUSDT", 50, 1)
    before = book.version
    delta = book.cross()
    assert delta.first_version == before + 1
    assert book.bids.best() >= book.asks.best()
    healed = book.step(2)
    assert (delta.bids[0][0], 0) in healed.bids
    assert book.bids.best() < book.asks.best()


def test_side_levels_come_best_first() -> None:
    bids, asks = Side(is_bid=True), Side(is_bid=False)
    for price in (5, 3, 4):
        bids.put(price, price)
        asks.put(price, price)
    assert bids.levels(2) == [(5, 5), (4, 4)]
    assert asks.levels(9) == [(3, 3), (4, 4), (5, 5)]


def test_instrument_names_well_known_come_first() -> None:
    names = [str(name) for name in instrument_names(7)]
    assert names[:2] == ["BTC/USDT", "ETH/USDT"]
    assert names[-2:] == ["SYM0001/USDT", "SYM0002/USDT"]


def test_fault_texts_are_read() -> None:
    assert parse_fault("gap") == Order(Fault.GAP)
    assert parse_scheduled_fault("refuse:BTCUSDT@2.5s") == Order(Fault.REFUSE, "BTCUSDT", 2.5)
    assert parse_scheduled_fault("close:1012@3") == Order(Fault.CLOSE, "1012", 3.0)


@pytest.mark.parametrize(
    "text", ["", "gap", "nope@5s", "refuse@5s", "disconnect:X@1s", "close:x@1s", "gap@-1s", "gap@s"]
)
def test_fault_wrong_texts_are_refused(text: str) -> None:
    with pytest.raises(LocalError, match=r"expected|takes no argument"):
        parse_scheduled_fault(text)
