"""What an order must not do: each refusal against a model in fractions, by chance and at the edge.

The rate limits: never more than a rule allows in any window, and never later than it must be.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib

BID, ASK = int(lib.TP_SIDE_BID), int(lib.TP_SIDE_ASK)
LIMIT, MARKET = int(lib.TP_ORDER_LIMIT), int(lib.TP_ORDER_MARKET)
MAX = 2**63 - 1
NOW = 10**12
NAMES = {
    int(getattr(lib, f"TP_RISK_{name}")): name
    for name in (
        *("NONE", "HALTED", "LOSS", "REQUEST", "INSTRUMENT", "SCALE", "BOOK", "STALE_BOOK"),
        *("TICK", "LOT", "BAND", "SIZE", "NOTIONAL", "OPEN", "POSITION", "REDUCING"),
        *("SELF_CROSS", "CHURN", "RATE"),
    )
}


@dataclass(frozen=True)
class World:
    """A question and all that it is judged by."""

    side: int = BID
    kind: int = LIMIT
    price: int = 100_00
    quantity: int = 50
    flags: int = 0
    exponent: int = -2
    mode: int = 0
    result: int = 0
    loss_max: int = 1000
    is_allowed: int = 1
    state: int = int(lib.TP_BOOK_LIVE)
    age: int = 0
    best: tuple[int, int] = (99_00, 101_00)
    tick: int = 5
    lot: int = 10
    sizes: tuple[int, int] = (10, 1000)
    notional: tuple[int, int] = (100, 10**7)
    band: int = 500
    position: int = 0
    position_max: int = 500
    opens: tuple[int, int] = (0, 0)
    own: tuple[int, int] = (0, MAX)
    open_counts: tuple[int, int] = (0, 0)
    open_maxes: tuple[int, int] = (5, 9)
    extra: dict[str, int] = field(default_factory=dict)


def judge(world: World) -> str:
    instrument = ffi.new("struct tp_risk_instrument *")
    lib.tp_risk_instrument_init(instrument)
    limits = instrument.limits
    limits.quantity_min, limits.quantity_max = world.sizes
    limits.position_max, limits.band, limits.open_max = (
        world.position_max,
        world.band,
        world.open_maxes[0],
    )
    for name, value in zip(("notional_min", "notional_max"), world.notional, strict=True):
        words = getattr(limits, name)
        words.low, words.high = value & (2**64 - 1), value >> 64
    limits.book_age_max_ns = 1000
    instrument.tick_size, instrument.lot_size = world.tick, world.lot
    instrument.price_exponent, instrument.quantity_exponent = -2, -3
    instrument.is_allowed, instrument.position = world.is_allowed, world.position
    instrument.open_bids, instrument.open_asks = world.opens
    instrument.own_bid, instrument.own_ask = world.own
    instrument.open_count = world.open_counts[0]
    mode = ffi.new("uint32_t *", world.mode)
    account = ffi.new("struct tp_risk_account *")
    account.mode, account.result, account.loss_max = mode, world.result, world.loss_max
    account.open_count, account.open_max = world.open_counts[1], world.open_maxes[1]
    book = ffi.new("struct tp_book_record *")
    book.instrument, book.state, book.message_ns = 3, world.state, NOW - world.age
    book.price_exponent, book.quantity_exponent = -2, -3
    book.bid_count, book.ask_count = (int(one > 0) for one in world.best)
    book.bids[0].price, book.asks[0].price = world.best
    request = ffi.new("struct tp_order_request *")
    request.verb, request.instrument = int(lib.TP_REQUEST_PLACE), 3
    request.side, request.type, request.flags = world.side, world.kind, world.flags
    request.price, request.quantity = world.price, world.quantity
    request.price_exponent, request.quantity_exponent = world.exponent, -3
    question = ffi.new("struct tp_risk_question *")
    question.request, question.book, question.now_ns = request, book, NOW
    return NAMES[int(lib.tp_risk_judge(account, instrument, question))]


def model(w: World) -> str:  # noqa: PLR0911, PLR0912 - a line a limit, in the order of risk.h
    """Say the same in whole words and fractions."""
    is_bid, is_market = w.side == BID, w.kind == MARKET
    touch = w.best[1] if is_bid else w.best[0]
    if w.mode >= 2:
        return "HALTED"
    if w.result <= -w.loss_max:
        return "LOSS"
    if w.side > 1 or w.kind > 4 or w.quantity < 1 or w.flags & ~1:
        return "REQUEST"
    if not is_market and w.price < 1:
        return "REQUEST"
    if not w.is_allowed:
        return "INSTRUMENT"
    if w.exponent != -2:
        return "SCALE"
    if w.state != int(lib.TP_BOOK_LIVE) or touch < 1:
        return "BOOK"
    if not 0 <= w.age <= 1000:
        return "STALE_BOOK"
    if not is_market and w.price % w.tick:
        return "TICK"
    if w.quantity % w.lot:
        return "LOT"
    band = Fraction(w.band, 10_000)
    if not is_market:
        beyond = w.price > touch * (1 + band) if is_bid else w.price < touch * (1 - band)
        if beyond:
            return "BAND"
    if not w.sizes[0] <= w.quantity <= w.sizes[1]:
        return "SIZE"
    worst = Fraction(w.price)
    if is_market:
        worst = Fraction(-(-(touch * (10_000 + w.band)) // 10_000)) if is_bid else Fraction(touch)
    most = worst if is_bid else max(worst, Fraction(touch))
    if worst > MAX or worst * w.quantity < w.notional[0] or most * w.quantity > w.notional[1]:
        return "NOTIONAL"
    if w.open_counts[0] >= w.open_maxes[0] or w.open_counts[1] >= w.open_maxes[1]:
        return "OPEN"
    change = w.quantity + w.opens[0] if is_bid else -w.quantity - w.opens[1]
    after = w.position + change
    reduces = w.position * change < 0 and after * w.position >= 0
    if not reduces and (after > w.position_max if is_bid else after < -w.position_max):
        return "POSITION"
    if (w.flags & 1 or w.mode == 1) and not reduces:
        return "REDUCING"
    if is_bid and w.own[1] != MAX and (is_market or w.price >= w.own[1]):
        return "SELF_CROSS"
    if not is_bid and w.own[0] and (is_market or w.price <= w.own[0]):
        return "SELF_CROSS"
    return "NONE"


# A price of 2^14: at quantities from 2^50 on the product has more than 64 bits.
WRAPS: dict[str, Any] = {
    "price": 2**14,
    "best": (2**14 - 1, 2**14 + 1),
    "tick": 1,
    "lot": 1,
    "sizes": (1, MAX),
    "position_max": MAX,
}
EDGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # refused; the just-allowed beside it
    ("HALTED", {"mode": 2}, {"mode": 0}),
    ("HALTED", {"mode": 77}, {"mode": 0}),
    ("LOSS", {"result": -1000}, {"result": -999}),
    ("REQUEST", {"quantity": 0}, {"quantity": 10}),
    ("REQUEST", {"price": -5}, {}),
    ("REQUEST", {"side": 2}, {}),
    ("REQUEST", {"kind": 5}, {"kind": 4}),
    ("REQUEST", {"flags": 2}, {}),
    ("INSTRUMENT", {"is_allowed": 0}, {}),
    ("SCALE", {"exponent": -3}, {}),
    ("BOOK", {"state": int(lib.TP_BOOK_SYNCING)}, {}),
    ("BOOK", {"best": (99_00, 0)}, {"best": (0, 101_00)}),
    ("STALE_BOOK", {"age": 1001}, {"age": 1000}),
    ("STALE_BOOK", {"age": -1}, {}),
    ("TICK", {"price": 100_01}, {"price": 100_05}),
    ("LOT", {"quantity": 51}, {"quantity": 60}),
    ("BAND", {"price": 106_10}, {"price": 106_05}),
    ("BAND", {"side": ASK, "price": 94_00}, {"side": ASK, "price": 94_05}),
    ("SIZE", {"quantity": 1010, "notional": (0, 10**9)}, {"quantity": 500}),
    ("SIZE", {"sizes": (60, 1000)}, {"sizes": (50, 1000)}),
    ("NOTIONAL", {"notional": (0, 499_999)}, {"notional": (0, 500_000)}),
    ("NOTIONAL", {"notional": (500_001, 10**9)}, {"notional": (500_000, 10**9)}),
    (
        "NOTIONAL",
        {"side": ASK, "price": 95_00, "notional": (0, 494_999)},
        {"side": ASK, "price": 95_00, "notional": (475_000, 495_000)},
    ),
    ("NOTIONAL", {**WRAPS, "quantity": 2**50 + 1}, {**WRAPS, "quantity": 1}),
    ("OPEN", {"open_counts": (5, 5)}, {"open_counts": (4, 4)}),
    ("OPEN", {"open_counts": (0, 9)}, {"open_counts": (0, 8)}),
    ("POSITION", {"position": 451}, {"position": 450}),
    ("POSITION", {"opens": (451, 0)}, {"opens": (450, 500)}),
    ("POSITION", {"side": ASK, "position": -451}, {"side": ASK, "position": -450}),
    ("REDUCING", {"mode": 1}, {"mode": 1, "position": -50}),
    ("REDUCING", {"mode": 1, "position": -49}, {"mode": 1, "position": -600}),
    ("REDUCING", {"flags": 1, "position": -90, "opens": (50, 0)}, {"flags": 1, "position": -100}),
    ("SELF_CROSS", {"own": (0, 100_00)}, {"own": (0, 100_05)}),
    ("SELF_CROSS", {"kind": MARKET, "own": (0, 200_00)}, {"kind": MARKET}),
    ("SELF_CROSS", {"side": ASK, "own": (100_00, MAX)}, {"side": ASK, "own": (99_95, MAX)}),
]


@pytest.mark.parametrize(("refusal", "refused", "allowed"), EDGES)
def test_risk_refuses_what_is_just_beyond_a_limit(
    refusal: str, refused: dict[str, Any], allowed: dict[str, Any]
) -> None:
    assert judge(replace(World(), **refused)) == model(replace(World(), **refused)) == refusal
    assert judge(replace(World(), **allowed)) == model(replace(World(), **allowed)) == "NONE"


def near(*values: int) -> st.SearchStrategy[int]:
    return st.sampled_from([v + d for v in values for d in (-5, -1, 0, 1, 5)])


WORLDS = st.builds(
    World,
    side=st.sampled_from([BID, BID, ASK, ASK, 2]),
    kind=st.integers(0, 5),
    price=st.one_of(near(100_00, 101_00, 106_05, 94_05, 0), st.just(MAX - 2)),
    quantity=st.one_of(near(50, 500, 1000, 10), st.sampled_from([10, 50, 100, MAX - 7])),
    flags=st.sampled_from([0, 0, 0, 1, 2]),
    mode=st.sampled_from([0, 0, 0, 1, 2]),
    result=st.sampled_from([0, 0, -999, -1000, -1001]),
    age=st.sampled_from([0, 1000, 1001]),
    best=st.sampled_from([(99_00, 101_00), (99_00, 0), (0, 101_00), (MAX - 9, MAX - 4)]),
    tick=st.sampled_from([1, 5]),
    lot=st.sampled_from([1, 10]),
    sizes=st.sampled_from([(10, 1000), (1, MAX)]),
    notional=st.sampled_from([(100, 10**7), (0, 2**127 - 1), (2**64, 2**65)]),
    band=st.sampled_from([0, 500, 10_000, 2**32 - 1]),
    position=st.one_of(near(0, 450, -450), st.sampled_from([MAX, -MAX])),
    position_max=st.sampled_from([500, 0, MAX]),
    opens=st.sampled_from([(0, 0), (50, 50), (450, 450), (MAX, MAX)]),
    own=st.sampled_from([(0, MAX), (99_95, 100_05), (100_00, 100_00)]),
    open_counts=st.sampled_from([(0, 0), (4, 8), (5, 8), (4, 9)]),
)


@settings(max_examples=1500, deadline=None)
@given(WORLDS)
def test_risk_judges_as_the_model_does(world: World) -> None:
    assert judge(world) == model(world)


# ---- what becomes of orders --------------------------------------------------------------------

OPEN, ENDED = int(lib.TP_AT_ACKNOWLEDGED), int(lib.TP_AT_CANCELLED)
CHANGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10), st.booleans()), max_size=40)


@settings(max_examples=300, deadline=None)
@given(CHANGES)
def test_risk_counts_open_orders_and_position_as_a_sum_over_all(
    changes: list[tuple[int, int, bool]],
) -> None:
    account = ffi.new("struct tp_risk_account *")
    instrument = ffi.new("struct tp_risk_instrument *")
    lib.tp_risk_instrument_init(instrument)
    orders = ffi.new("struct tp_order[6]")
    for which, filled, ends in changes:
        order = orders[which]
        before = ffi.new("struct tp_order *", order) if order.id else ffi.NULL
        if not order.id:
            order.id, order.quantity, order.price = which + 1, 10, 100 + which
            order.side, order.place, order.instrument = which % 2, OPEN, 3
        order.filled = max(order.filled, filled)
        if ends or order.place == ENDED:
            order.place = ENDED
        lib.tp_risk_follow(account, instrument, before, ffi.addressof(order))
        known = [one for one in orders if one.id]
        rest = [one for one in known if one.place == OPEN]
        assert instrument.open_count == account.open_count == len(rest)
        for side, got in ((BID, instrument.open_bids), (ASK, instrument.open_asks)):
            assert got == sum(one.quantity - one.filled for one in rest if one.side == side)
        assert instrument.position == sum(
            one.filled * (1 if one.side == BID else -1) for one in known
        )
        # Until it is told to look again, a best price may only be too careful.
        bids = [int(one.price) for one in rest if one.side == BID]
        asks = [int(one.price) for one in rest if one.side == ASK]
        assert instrument.own_bid >= max(bids, default=0)
        assert instrument.own_ask <= min(asks, default=MAX)
        lib.tp_risk_touch(instrument, 3, orders, 6)
        assert (instrument.own_bid, instrument.own_ask) == (
            max(bids, default=0),
            min(asks, default=MAX),
        )


TIGHTER = {
    "quantity_min": 20,
    "quantity_max": 90,
    "position_max": 90,
    "book_age_max_ns": 90,
    "band": 90,
    "open_max": 90,
}


@pytest.mark.parametrize("name", TIGHTER)
def test_risk_limit_is_tightened_and_never_loosened(name: str) -> None:
    values = {one: 10 if one == "quantity_min" else 100 for one in TIGHTER}
    limits = ffi.new("struct tp_risk_limits *", values)
    limits.notional_min.low, limits.notional_max.high = 5, 5
    to = ffi.new("struct tp_risk_limits *", limits[0])
    setattr(to, name, TIGHTER[name])
    assert lib.tp_risk_tighten(limits, to)
    assert getattr(limits, name) == TIGHTER[name]
    loose = ffi.new("struct tp_risk_limits *", limits[0])
    setattr(loose, name, values[name])
    assert not lib.tp_risk_tighten(limits, loose)
    assert getattr(limits, name) == TIGHTER[name]


def test_risk_notional_limits_are_compared_by_all_of_their_bits() -> None:
    limits = ffi.new("struct tp_risk_limits *")
    limits.notional_max.low, limits.notional_max.high = 9, 1
    to = ffi.new("struct tp_risk_limits *", limits[0])
    to.notional_max.low, to.notional_max.high = 0, 2
    assert not lib.tp_risk_tighten(limits, to)
    to.notional_max.low, to.notional_max.high = 2**64 - 1, 0
    assert lib.tp_risk_tighten(limits, to)
    assert (limits.notional_max.low, limits.notional_max.high) == (2**64 - 1, 0)


# ---- rates -------------------------------------------------------------------------------------


def throttle_set(*rules: tuple[int, int, int, int]) -> Any:
    made = ffi.new("struct tp_throttle_set *", {"count": len(rules)})
    for i, (window, count, burst, kept) in enumerate(rules):
        fields = {"window_ns": window, "count": count, "burst": burst, "kept": kept}
        rule = ffi.new("struct tp_throttle_rule *", fields)
        assert lib.tp_throttle_init(ffi.addressof(made.rule[i]), rule)
    return made


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 12),
    st.data(),
    st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=80),
)
def test_throttle_never_lets_more_through_in_any_window(
    count: int, data: Any, turns: list[tuple[int, bool]]
) -> None:
    burst = data.draw(st.integers(1, count - 1))
    kept = data.draw(st.integers(0, burst - 1))
    window, now, sent = 1000, 5000, []
    rules = throttle_set((window, count, burst, kept))
    debt = Fraction(0)  # requests not yet earned back, as an exact bucket has them
    interval = -(-window // (count - burst))
    for step, is_cancel in turns:
        now += step
        debt = max(Fraction(0), debt - Fraction(step, interval))
        room = burst - (0 if is_cancel else kept)
        wait = int(lib.tp_throttle_take(rules, is_cancel, now))
        exact = max(Fraction(0), (debt + 1 - room) * interval)
        assert wait == exact
        if wait == 0:
            debt += 1
            sent.append(now)
    for start in sent:
        assert sum(start <= one < start + window for one in sent) <= count


def test_throttle_that_refuses_takes_of_no_rule() -> None:
    rules = throttle_set((10**9, 100, 50, 0), (10**9, 3, 1, 0))
    assert lib.tp_throttle_take(rules, False, 10**10) == 0
    before = rules.rule[0].whole_ns
    wait = lib.tp_throttle_take(rules, False, 10**10)
    assert wait == 500_000_000
    assert rules.rule[0].whole_ns == before
    assert lib.tp_throttle_take(rules, False, 10**10 + wait - 1) == 1
    assert lib.tp_throttle_take(rules, False, 10**10 + wait) == 0


def test_throttle_keeps_room_for_cancels() -> None:
    rules = throttle_set((10**9, 20, 10, 4))
    taken = [lib.tp_throttle_take(rules, False, 10**10) for _ in range(10)]
    assert [one == 0 for one in taken] == [True] * 6 + [False] * 4
    assert [lib.tp_throttle_take(rules, True, 10**10) for _ in range(4)] == [0] * 4
    assert lib.tp_throttle_take(rules, True, 10**10) > 0


@pytest.mark.parametrize(
    "rule",
    [
        (1000, 5, 0, 0),
        (1000, 5, 5, 0),
        (1000, 5, 3, 3),
        (4, 5, 3, 0),
        (10**15, 5, 3, 0),
        (86_400 * 10**9, 213_505, 213_504, 0),  # whose burst is more than 64 bits of time
    ],
)
def test_throttle_rule_that_cannot_be_is_refused(rule: tuple[int, int, int, int]) -> None:
    fields = dict(zip(("window_ns", "count", "burst", "kept"), rule, strict=True))
    one = ffi.new("struct tp_throttle_rule *", fields)
    assert not lib.tp_throttle_init(ffi.new("struct tp_throttle *"), one)


def allow_all(instrument: Any) -> None:
    lib.tp_risk_instrument_init(instrument)
    limits = instrument.limits
    limits.quantity_max = limits.position_max = limits.band = limits.open_max = 1000
    limits.notional_max.high, limits.book_age_max_ns = 1, 10**9
    instrument.is_allowed = 1


def test_risk_refuses_by_rate_last_and_says_for_how_long() -> None:
    instrument = ffi.new("struct tp_risk_instrument *")
    allow_all(instrument)
    instrument.churn = throttle_set((10**9, 3, 2, 0)).rule[0]
    mode = ffi.new("uint32_t *")
    account = ffi.new("struct tp_risk_account *", {"loss_max": 1, "open_max": 10})
    account.mode, account.rates = mode, throttle_set((10**9, 5, 3, 0))[0]
    book = ffi.new("struct tp_book_record *", {"state": int(lib.TP_BOOK_LIVE), "ask_count": 1})
    book.asks[0].price, book.message_ns = 100, NOW
    request = ffi.new("struct tp_order_request *", {"verb": int(lib.TP_REQUEST_PLACE)})
    request.price = request.quantity = 1
    question = ffi.new("struct tp_risk_question *", {"now_ns": NOW})
    question.request, question.book = request, book
    got = [NAMES[int(lib.tp_risk_judge(account, instrument, question))] for _ in range(3)]
    assert got == ["NONE", "NONE", "CHURN"]
    assert question.wait_ns == 10**9
    allow_all(instrument)  # no limit of its churn
    got = [NAMES[int(lib.tp_risk_judge(account, instrument, question))] for _ in range(2)]
    assert got == ["NONE", "RATE"]
    assert 0 < question.wait_ns <= 10**9
