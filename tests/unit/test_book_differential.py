"""The C book against a dict of levels: the same best, the same levels, its invariants hold."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib

BID, ASK = 0, 1
SIDES = (BID, ASK)
PRICE_MAX = (1 << 63) // 2 - 1


class Book:
    """A C book and its memory, driven level by level."""

    def __init__(self, tick_size: int = 1, window_ticks: int = 256, overflow: int = 4096) -> None:
        self.config = ffi.new(
            "struct tp_book_config *",
            {"tick_size": tick_size, "window_ticks": window_ticks, "overflow_levels": overflow},
        )
        size = lib.tp_book_memory_size(self.config)
        assert size % 64 == 0
        assert size // 64 % 2 == 1
        self._memory = ffi.new("uint8_t[]", size + 64)
        address = int(ffi.cast("uintptr_t", self._memory))
        self.book = lib.tp_book_init(self._memory + -address % 64, self.config)

    def set(self, side: int, price: int, quantity: int) -> int:
        return int(lib.tp_book_set_level(self.book, side, price, quantity))

    def load(self, side: int, levels: list[tuple[int, int]]) -> bool:
        return bool(lib.tp_book_load(self.book, side, self.array(levels), len(levels)))

    def top(self, side: int, count: int) -> list[tuple[int, int]]:
        out = ffi.new("struct tp_level[]", max(count, 1))
        n = lib.tp_book_top(self.book, side, out, count)
        return [(out[i].price, out[i].quantity) for i in range(n)]

    def levels(self, side: int) -> list[tuple[int, int]]:
        return self.top(side, lib.tp_book_level_count(self.book, side))

    def best(self, side: int) -> tuple[int, int]:
        level = lib.tp_book_best(self.book, side)
        return level.price, level.quantity

    @property
    def counters(self) -> Any:
        return lib.tp_book_counters(self.book)

    @staticmethod
    def array(levels: list[tuple[int, int]]) -> Any:
        return ffi.new("struct tp_level[]", [{"price": p, "quantity": q} for p, q in levels] or 1)


class Oracle:
    """The same book as two dicts."""

    def __init__(self) -> None:
        self.side: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def set(self, side: int, price: int, quantity: int) -> None:
        if quantity:
            self.side[side][price] = quantity
        else:
            self.side[side].pop(price, None)

    def levels(self, side: int) -> list[tuple[int, int]]:
        return sorted(self.side[side].items(), reverse=side == BID)

    def crossed(self) -> bool:
        bids, asks = self.side
        return bool(bids) and bool(asks) and max(bids) >= min(asks)


def check_equal(book: Book, oracle: Oracle) -> None:
    for side in SIDES:
        levels = oracle.levels(side)
        assert book.levels(side) == levels
        assert book.best(side) == (levels[0] if levels else (0, 0))
        assert book.top(side, 5) == levels[:5]
    assert lib.tp_book_crossed(book.book) == oracle.crossed()
    assert lib.tp_book_check(book.book)


# A walk of the touch with levels at distances from next to it to far outside the window.
distances = st.one_of(st.integers(0, 8), st.integers(0, 300), st.integers(0, 20_000))
moves = st.one_of(
    st.just(0), st.integers(-3, 3), st.integers(-400, 400), st.integers(-(10**6), 10**6)
)
steps = st.lists(
    st.tuples(st.sampled_from(SIDES), moves, distances, st.sampled_from((0, 0, 1, 7, 10**12))),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(
    steps=steps,
    tick=st.sampled_from((1, 2, 5, 64, 1000, 3 * 2**20)),
    window=st.sampled_from((256, 512, 4096)),
)
def test_book_random_walk_equals_dicts(
    steps: list[tuple[int, int, int, int]], tick: int, window: int
) -> None:
    book, oracle, touch = Book(tick, window), Oracle(), 5_000_000
    for side, move, distance, quantity in steps:
        touch = min(max(touch + move, 100_000), 10_000_000)
        price = (touch + (distance if side == ASK else -distance)) * tick
        if quantity == 0 and distance % 2 and oracle.side[side]:
            price = oracle.levels(side)[0][0]  # take the best away
        book.set(side, price, quantity)
        oracle.set(side, price, quantity)
        check_equal(book, oracle)
    assert book.counters.dropped == 0


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(SIDES),
            st.integers(1, 4000) | st.integers(PRICE_MAX - 100, PRICE_MAX),
            st.sampled_from((0, 3, 2**63 - 1)),
        ),
        max_size=60,
    ),
    tick=st.sampled_from((1, 6, 10, 100, 1 << 40)),
)
def test_book_prices_off_the_grid_are_kept(steps: list[tuple[int, int, int]], tick: int) -> None:
    book, oracle = Book(tick), Oracle()
    for side, price, quantity in steps:
        book.set(side, price, quantity)
        oracle.set(side, price, quantity)
        check_equal(book, oracle)
        assert price % lib.tp_book_step(book.book) == 0


@settings(max_examples=300, deadline=None)
@given(steps=steps, overflow=st.integers(1, 12))
def test_book_full_overflow_keeps_an_exact_prefix(
    steps: list[tuple[int, int, int, int]], overflow: int
) -> None:
    book, oracle, touch = Book(1, 256, overflow), Oracle(), 5_000_000
    for side, move, distance, quantity in steps:
        touch = min(max(touch + move, 100_000), 10_000_000)
        price = touch + (distance if side == ASK else -distance)
        book.set(side, price, quantity)
        oracle.set(side, price, quantity)
        assert lib.tp_book_check(book.book)
        for of in SIDES:
            levels, whole = book.levels(of), oracle.levels(of)
            assert levels == whole[: len(levels)]
            if len(levels) < min(len(whole), 5):
                assert lib.tp_book_shallow(book.book, 5)


@settings(max_examples=200, deadline=None)
@given(
    prices=st.lists(st.integers(1, 3000), unique=True, max_size=60),
    side=st.sampled_from(SIDES),
    overflow=st.sampled_from((1, 5, 4096)),
    updates=st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 2)), max_size=20),
)
def test_book_load_replaces_the_side(
    prices: list[int], side: int, overflow: int, updates: list[tuple[int, int]]
) -> None:
    book, oracle = Book(1, 256, overflow), Oracle()
    book.set(side, 77, 1)
    for price in prices:
        oracle.set(side, price, price + 1)
    assert book.load(side, oracle.levels(side))
    for price, quantity in [(0, 0), *updates]:
        if price:
            book.set(side, price, quantity)
            oracle.set(side, price, quantity)
        assert lib.tp_book_check(book.book)
        levels, whole = book.levels(side), oracle.levels(side)
        assert levels == whole[: len(levels)]
        assert len(levels) == len(whole) or overflow < 4096


@pytest.mark.parametrize(
    "levels",
    [
        [(10, 1), (10, 1)],
        [(10, 1), (9, 1)],
        [(10, 0)],
        [(10, -1)],
        [(0, 1)],
        [(-5, 1)],
        [(10, 1), (PRICE_MAX + 1, 1)],
    ],
)
def test_book_load_broken_levels_leaves_the_side_empty(levels: list[tuple[int, int]]) -> None:
    book = Book()
    book.set(ASK, 5, 5)
    assert not book.load(ASK, levels)
    assert book.levels(ASK) == []
    assert book.counters.refused == 1


@pytest.mark.parametrize(
    ("price", "quantity"),
    [(0, 1), (-1, 1), (-(1 << 63), 1), (PRICE_MAX + 1, 1), ((1 << 63) - 1, 0), (5, -1)],
)
def test_book_set_out_of_range_is_refused(price: int, quantity: int) -> None:
    book = Book()
    book.set(BID, 5, 5)
    assert book.set(BID, price, quantity) == lib.TP_BOOK_SET_REFUSED
    assert book.levels(BID) == [(5, 5)]
    assert book.counters.refused == 1


def test_book_remove_absent_level_is_counted_only() -> None:
    book = Book()
    for price in (100, 101, 5000):
        assert book.set(ASK, price, 0) == lib.TP_BOOK_SET_ABSENT
    book.set(ASK, 100, 1)
    for price in (99, 101, 50_000):
        assert book.set(ASK, price, 0) == lib.TP_BOOK_SET_ABSENT
    assert book.counters.absent == 6
    assert book.levels(ASK) == [(100, 1)]


def test_book_clear_forgets_levels_and_what_was_dropped() -> None:
    book = Book(1, 256, 1)
    for price in (100, 5000, 6000):
        book.set(ASK, price, 1)
    assert book.counters.dropped == 1
    assert lib.tp_book_shallow(book.book, 3)
    assert book.set(ASK, 6000, 0) == lib.TP_BOOK_SET_ABSENT
    lib.tp_book_clear(book.book)
    assert not lib.tp_book_shallow(book.book, 3)
    assert book.levels(ASK) == []
    assert book.set(ASK, 6000, 2) == lib.TP_BOOK_SET_DONE


def test_book_regrid_keeps_what_lies_before_the_dropped() -> None:
    """A full overflow dropped 60,000; then a price that is off the grid of 10 costs 50,000."""
    book, oracle = Book(10, 256, 4), Oracle()
    for price in (10_000, 20_000, 30_000, 40_000, 50_000, 60_000):
        book.set(ASK, price, 1)
        oracle.set(ASK, price, 1)
    assert book.counters.dropped == 1
    for price in (50_000, 60_000):
        oracle.set(ASK, price, 0)  # the window needs its room while the step changes
    for price, quantity in ((10_005, 2), (20_000, 0), (49_990, 3)):
        assert book.set(ASK, price, quantity) == lib.TP_BOOK_SET_DONE
        oracle.set(ASK, price, quantity)
        check_equal(book, oracle)
    for price in (49_995, 50_000):  # between the old ticks, and behind: nothing is known
        assert book.set(ASK, price, 1) == lib.TP_BOOK_SET_DROPPED
    check_equal(book, oracle)


def test_book_load_that_does_not_fit_ends_before_the_dropped() -> None:
    book = Book(1, 256, 2)
    assert book.load(ASK, [(1000, 1), (5000, 1), (6000, 1), (7000, 1), (8000, 1)])
    assert book.counters.dropped == 2
    assert lib.tp_book_extent(book.book, ASK) == 6999
    assert book.set(ASK, 5000, 0) == lib.TP_BOOK_SET_DONE  # there is room again
    assert book.set(ASK, 7000, 2) == lib.TP_BOOK_SET_DROPPED  # yet 7000 is not known
    assert book.set(ASK, 6999, 3) == lib.TP_BOOK_SET_DONE
    assert book.levels(ASK) == [(1000, 1), (6000, 1), (6999, 3)]


@pytest.mark.parametrize(
    "config",
    [
        {"tick_size": 0},
        {"tick_size": -1},
        {"tick_size": PRICE_MAX + 1},
        {"tick_size": 1, "window_ticks": 128},
        {"tick_size": 1, "window_ticks": 300},
        {"tick_size": 1, "window_ticks": 8192},
        {"tick_size": 1, "overflow_levels": (1 << 16) + 1},
    ],
)
def test_book_memory_size_bad_config_is_zero(config: dict[str, int]) -> None:
    assert lib.tp_book_memory_size(ffi.new("struct tp_book_config *", config)) == 0
