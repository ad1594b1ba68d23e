"""What becomes of an order: the table against an independent model, cell by cell and by chance.

The model knows nothing of places. It keeps what is known of an order as facts (was anything sent,
did the venue speak of it, is a cancel on its way, is something in doubt, how did it end), and says
what each happening makes of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.engine.gateway.order_states import Happening, Place, diagram, state_at, table
from tickpath.proto.orders import OrderReason, OrderState

PAGE = Path(__file__).parents[2] / "docs" / "trading.md"
NO_NEWS = int(lib.TP_NEWS_NONE)
STATE, FILL, ODD, NAME = (
    int(value) for value in (lib.TP_NEWS_STATE, lib.TP_NEWS_FILL, lib.TP_NEWS_ODD, lib.TP_NEWS_NAME)
)
OURS = frozenset({Happening.SENT, Happening.UNSENT})
FINAL = frozenset({Place.FILLED, Place.CANCELLED, Place.EXPIRED, Place.REJECTED})
NAME_FILLS = frozenset(
    {Happening.ACKNOWLEDGED, Happening.FOUND_RESTING, Happening.CANCELLED, Happening.EXPIRED}
)
QUANTITY = 10


@dataclass(frozen=True)
class Known:
    """What is known of an order."""

    is_sent: bool = False
    is_seen: bool = False  # the venue spoke of it
    has_fill: bool = False
    cancels: bool = False  # a cancel is on its way
    in_doubt: bool = False
    end: str = ""


KNOWN = {
    Place.NEW: Known(),
    Place.SENT: Known(is_sent=True),
    Place.ACKNOWLEDGED: Known(True, True),
    Place.PARTLY_FILLED: Known(True, True, has_fill=True),
    Place.CANCELLING_UNSEEN: Known(True, cancels=True),
    Place.CANCELLING: Known(True, True, cancels=True),
    Place.UNKNOWN_UNSEEN: Known(True, in_doubt=True),
    Place.UNKNOWN_CANCEL_UNSEEN: Known(True, cancels=True, in_doubt=True),
    Place.UNKNOWN_SEEN: Known(True, True, in_doubt=True),
    Place.FILLED: Known(end="filled"),
    Place.CANCELLED: Known(end="cancelled"),
    Place.EXPIRED: Known(end="expired"),
    Place.REJECTED: Known(end="rejected"),
    Place.ABSENT: Known(end="absent"),
}
ENDS = {
    Happening.REJECTED: "rejected",
    Happening.FILLED: "filled",
    Happening.CANCELLED: "cancelled",
    Happening.EXPIRED: "expired",
}
# After an end by the venue's word, what cannot be true as well. All else is late, or repeated.
CONTRADICTS = {
    "filled": {Happening.REJECTED, Happening.CANCELLED, Happening.EXPIRED},
    "cancelled": {Happening.REJECTED, Happening.FILLED},
    "expired": {Happening.REJECTED, Happening.FILLED},
    "rejected": {
        Happening.FILL,
        Happening.FILLED,
        Happening.CANCELLED,
        Happening.EXPIRED,
        Happening.FOUND_RESTING,
    },
}


def place_of(known: Known) -> Place:
    """Return the place that says so much, and no more."""
    if known.end:
        return next(place for place, one in KNOWN.items() if one.end == known.end)
    if known.in_doubt and known.is_seen:
        return Place.UNKNOWN_SEEN
    if known.in_doubt or known.cancels:
        known = replace(known, has_fill=False)
    return next(place for place, one in KNOWN.items() if one == known)


def expected(place: Place, on: Happening) -> str | Place:  # noqa: PLR0911 - a case each
    """Return the place after it, "same" or "odd"."""
    known = KNOWN[place]
    if on in OURS:
        if place is not Place.NEW:
            return "never"
        return Place.SENT if on is Happening.SENT else Place.REJECTED
    if known.end and known.end != "absent":
        return "odd" if on in CONTRADICTS[known.end] else "same"
    if known.end == "absent":  # our reading of "not found": any word that it existed counts
        if on in (Happening.CANCEL_ASKED, Happening.CANCEL_REFUSED, Happening.DOUBT):
            return "same"
        known = Known(True, in_doubt=True)
    if on in ENDS:
        if on is Happening.REJECTED and known.has_fill:
            return "odd"
        return place_of(Known(end=ENDS[on]))
    after = step(known, on)
    return after if isinstance(after, str) else same_or(place, place_of(after))


def same_or(place: Place, after: Place) -> str | Place:
    return "same" if after is place else after


def step(known: Known, on: Happening) -> str | Known:  # noqa: PLR0911 - a case each
    """Return what is known after a happening that ends nothing."""
    if on is Happening.ACKNOWLEDGED:  # says that it exists; nothing of what a cancel did since
        settles = known.in_doubt and not known.is_seen and not known.cancels
        return replace(known, is_sent=True, is_seen=True, in_doubt=known.in_doubt and not settles)
    if on is Happening.FILL:
        after = step(known, Happening.ACKNOWLEDGED)
        assert isinstance(after, Known)
        return replace(after, has_fill=True)
    if on is Happening.FOUND_RESTING:  # asked after the doubt began: it settles the doubt
        if known.in_doubt:
            return Known(True, True, has_fill=known.has_fill)
        return replace(known, is_sent=True, is_seen=True)
    if on is Happening.CANCEL_ASKED:
        if not known.is_sent:
            return Known(end="cancelled")
        return replace(known, cancels=True)
    if on is Happening.CANCEL_REFUSED:
        if not known.is_seen and not known.cancels and not known.in_doubt:
            return "odd"
        return replace(known, in_doubt=True)
    if on is Happening.DOUBT:
        return replace(known, is_sent=True, in_doubt=True)
    assert on is Happening.NOT_FOUND
    if known.is_seen:
        return "odd" if known.in_doubt else replace(known, in_doubt=True)
    return Known(end="absent") if known.in_doubt else known


MOVES = {
    int(lib.TP_ORDER_MOVE_NONE): "same",
    int(lib.TP_ORDER_MOVE_ODD): "odd",
    int(lib.TP_ORDER_MOVE_NEVER): "never",
}


@pytest.mark.parametrize("place", Place, ids=lambda place: place.name)
def test_order_table_says_what_the_facts_say(place: Place) -> None:
    for on in Happening:
        move = int(lib.tp_order_follow(place, on))
        got = MOVES.get(move) or Place(move)
        want = expected(place, on)
        assert got == want, f"{place.name}, {on.name}"


def test_order_table_has_every_place_and_happening() -> None:
    assert len(Place) == int(lib.TP_AT_COUNT)
    assert len(Happening) == int(lib.TP_ON_COUNT)
    assert {state_at(place) for place in Place} == set(OrderState) - {OrderState.NONE}


def test_unknown_is_left_by_the_venues_word_alone() -> None:
    ours = OURS | {Happening.CANCEL_ASKED, Happening.CANCEL_REFUSED, Happening.DOUBT}
    for place, on in product(Place, ours):
        move = int(lib.tp_order_follow(place, on))
        if state_at(place) is OrderState.UNKNOWN and move not in MOVES:
            assert state_at(Place(move)) is OrderState.UNKNOWN


def test_trading_page_shows_the_table() -> None:
    text = PAGE.read_text()
    remedy = "paste what tickpath.engine.gateway.order_states says (table(), diagram())"
    assert table() in text, remedy
    assert diagram() in text, remedy


# ---- quantities --------------------------------------------------------------------------------


def new_order() -> Any:
    order = ffi.new("struct tp_order *", {"id": 1, "order": 7, "price": 100, "quantity": QUANTITY})
    lib.tp_order_begin(order, 5)
    return order


def hear(order: Any, on: Happening, filled: int = -1, name: bytes = b"", now: int = 9) -> int:
    report = ffi.new("struct tp_order_report *")
    text = ffi.new("char[]", name)
    report.on, report.filled, report.now_ns = int(on), filled, now
    report.paid_low = max(filled, 0) * 100
    report.reason = int(OrderReason.VENUE)
    if name:
        report.venue_order, report.venue_order_size = text, len(name)
    return int(lib.tp_order_apply(order, report))


def test_order_fill_before_its_acknowledgement_counts() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    assert hear(order, Happening.FILL, 4, b"C02__1") == STATE | FILL | NAME
    assert hear(order, Happening.ACKNOWLEDGED, 0, b"C02__1") == NO_NEWS
    assert (Place(order.place), order.filled, order.paid_low) == (Place.PARTLY_FILLED, 4, 400)
    assert ffi.string(order.venue_order) == b"C02__1"


def test_order_name_that_is_none_leaves_nothing_behind() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    assert hear(order, Happening.ACKNOWLEDGED, 0, b"\0behind") == STATE | ODD
    assert hear(order, Happening.FILL, 2, b"one") == STATE | FILL | NAME
    assert hear(order, Happening.FILL, 3, b"one") == FILL


def test_order_reports_out_of_order_never_take_a_fill_back() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    hear(order, Happening.FILL, 7)
    assert hear(order, Happening.FILL, 3) == NO_NEWS
    assert (order.filled, order.paid_low) == (7, 700)


def test_order_that_is_cancelled_keeps_its_late_fills() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    hear(order, Happening.CANCEL_ASKED)
    hear(order, Happening.CANCELLED)
    assert hear(order, Happening.FILL, 4) == FILL
    assert (Place(order.place), order.filled) == (Place.CANCELLED, 4)


@pytest.mark.parametrize("on", [Happening.CANCELLED, Happening.EXPIRED, Happening.ACKNOWLEDGED])
def test_order_of_which_all_is_filled_is_filled_whatever_else_is_said(on: Happening) -> None:
    order = new_order()
    hear(order, Happening.SENT)
    assert hear(order, on, QUANTITY) == STATE | FILL
    assert Place(order.place) is Place.FILLED


def test_order_found_resting_with_a_fill_is_partly_filled() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    hear(order, Happening.DOUBT)
    hear(order, Happening.FOUND_RESTING, 2)
    assert Place(order.place) is Place.PARTLY_FILLED


def test_order_with_a_fill_was_not_refused() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    hear(order, Happening.FILL, 2)
    hear(order, Happening.DOUBT)
    assert hear(order, Happening.REJECTED) == ODD
    assert Place(order.place) is Place.UNKNOWN_SEEN
    assert order.flags & int(lib.TP_ORDER_CONTRADICTED)


@pytest.mark.parametrize(
    ("on", "filled", "name"),
    [
        (Happening.FILL, QUANTITY + 1, b""),
        (Happening.FILL, 0, b""),
        (Happening.FILL, -1, b""),
        (Happening.ACKNOWLEDGED, -2, b""),
        (Happening.CANCEL_REFUSED, 1, b""),
        (Happening.REJECTED, 1, b""),
        (Happening.ACKNOWLEDGED, 0, b"another"),
        (Happening.ACKNOWLEDGED, 0, b"x" * 41),
    ],
)
def test_order_report_that_cannot_be_about_it_counts_for_nothing(
    on: Happening, filled: int, name: bytes
) -> None:
    order = new_order()
    hear(order, Happening.SENT)
    hear(order, Happening.ACKNOWLEDGED, 0, b"one")
    assert hear(order, on, filled, name) == ODD
    assert (Place(order.place), order.filled) == (Place.ACKNOWLEDGED, 0)
    assert ffi.string(order.venue_order) == b"one"


def test_order_that_the_venue_calls_filled_with_less_is_not() -> None:
    order = new_order()
    hear(order, Happening.SENT)
    assert hear(order, Happening.FILLED, 6) == STATE | FILL | ODD
    assert Place(order.place) is Place.PARTLY_FILLED


def test_order_said_to_be_absent_is_opened_by_the_venues_word() -> None:
    order = new_order()
    for on in (Happening.SENT, Happening.DOUBT, Happening.NOT_FOUND):
        hear(order, on)
    assert Place(order.place) is Place.ABSENT
    assert not lib.tp_order_is_open(order)
    assert hear(order, Happening.ACKNOWLEDGED) == STATE | ODD
    assert lib.tp_order_is_open(order)


class Model:
    """An order as its reports say, in the words of the issue; no table, no place."""

    def __init__(self) -> None:
        self.filled = 0
        self.known = Known()

    def hear(self, on: Happening, filled: int) -> None:
        is_fill = on in (Happening.FILL, Happening.FILLED)
        most = QUANTITY if is_fill or on in NAME_FILLS else 0
        if not (1 if is_fill else -1) <= filled <= most:
            return
        self.filled = max(self.filled, filled)
        if is_fill:
            on = Happening.FILLED if self.filled == QUANTITY else Happening.FILL
        elif filled == QUANTITY and on in NAME_FILLS:
            on = Happening.FILLED
        if on is Happening.REJECTED and self.filled:
            return
        after = expected(place_of(self.known), on)
        if isinstance(after, Place):
            self.known = KNOWN[after]
        if self.filled and self.known == KNOWN[Place.ACKNOWLEDGED]:
            self.known = KNOWN[Place.PARTLY_FILLED]


STORIES = st.lists(
    st.tuples(
        st.sampled_from([on for on in Happening if on not in OURS]),
        st.integers(-2, QUANTITY + 1),
    ),
    max_size=30,
)


@settings(max_examples=600, deadline=None)
@given(STORIES, st.integers(0, 30))
def test_order_in_any_order_of_reports_is_what_the_model_says(
    story: list[tuple[Happening, int]], sent_at: int
) -> None:
    order, model = new_order(), Model()
    for turn, (on, filled) in enumerate(story):
        if turn == sent_at and Place(order.place) is Place.NEW:
            hear(order, Happening.SENT)
            model.known = KNOWN[Place.SENT]
        was, had, changes = Place(order.place), order.filled, order.changes
        news = hear(order, on, filled, now=turn)
        model.hear(on, filled)
        assert place_of(model.known) is Place(order.place), (was, on, filled)
        assert model.filled == order.filled
        assert had <= order.filled <= QUANTITY
        assert was not in FINAL or Place(order.place) is was
        assert (order.changes > changes) == (news != NO_NEWS)
        if Place(order.place) is Place.FILLED:
            assert order.filled == QUANTITY
        if Place(order.place) in (Place.ACKNOWLEDGED, Place.PARTLY_FILLED):
            assert (order.filled > 0) == (Place(order.place) is Place.PARTLY_FILLED)


def test_order_reports_shuffled_and_repeated_end_where_they_would_in_order() -> None:
    """A venue's true story of an order, in any order: the same end, and the same fills."""
    draw = random.Random(14)
    for _ in range(300):
        fills = sorted(draw.sample(range(1, QUANTITY), draw.randint(0, 3)))
        ends = [(Happening.FILLED, QUANTITY), (Happening.CANCELLED, fills[-1] if fills else 0)]
        end = draw.choice(ends)
        story = [(Happening.ACKNOWLEDGED, 0), *((Happening.FILL, one) for one in fills), end]
        heard = [*story, *draw.sample(story, draw.randint(0, len(story)))]
        draw.shuffle(heard)
        order = new_order()
        hear(order, Happening.SENT)
        for on, filled in heard:
            assert not hear(order, on, filled) & ODD
        assert order.filled == end[1]
        wanted = Place.FILLED if end[0] is Happening.FILLED else Place.CANCELLED
        assert Place(order.place) is wanted
