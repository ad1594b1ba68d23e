"""Each line of what LIVE means, broken on every venue that can be simulated, the toy's included.

What is expected follows from the venue's sync rule, so a venue that comes is asked all of it. The
rig itself fails a test as soon as a LIVE book is not the venue's own, or lags (deployment.py). What
a rule cannot meet is no parameter of its test, with the reason beside it: docs/venues.md has the
table.
"""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venue import Verification
from tickpath.proto.venues import pair_symbol

from tests.sim.campaign import settings_of
from tests.sim.deployment import (
    LAG_MAX_S,
    LIVE,
    RECOVERY_S,
    SILENT_S,
    STALE,
    Deployment,
    Setup,
    book_rule,
)
from tests.venues.outside import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tickpath.engine.sim.dialect import Dialect

    Make = Callable[..., "Rig"]

_PLACE = install()
QUIET_S = 3.0
LIST_S = 6.0  # a list is read again after LEAST_S at the earliest
UNHEARD_S = 70.0  # what was refused, or not answered, is asked again within a minute
RESET_S = 5.0  # half a second of old numbers, then a base
NAMES = ("BTC/USDT", "ETH/USDT")
# These two are bitget by another instType and bybit by another address.
TWINS = ("bitget_usdt", "bybit_linear")
VENUES = [one for one in dialect_names() if one not in TWINS]


def setup_of(dialect: type[Dialect], directory: Path, **fields: Any) -> Setup:
    symbols = tuple(pair_symbol(dialect.venue, parse_symbol(one)) for one in NAMES)
    words: dict[str, Any] = {"rate": 40.0, "depth": 40, "list_every_s": 2.0}
    words |= {"settings": settings_of(dialect)} | fields
    return Setup(seed=1, directory=directory, dialect=dialect, symbols=symbols, **words)


@cache
def rule_of(name: str) -> Any:
    return book_rule(setup_of(load_dialect(name), Path()))


def asked_of(holds: Callable[[str], bool]) -> pytest.MarkDecorator:
    """Ask a test of those venues alone of which this holds; of none would fail as a skip does."""
    names = [name for name in VENUES if holds(name)]
    return pytest.mark.parametrize("dialect", names, indirect=True)


def has_bases_by_rest(name: str) -> bool:
    return bool(rule_of(name).base == lib.TP_BASE_REST)


class Rig:
    """A deployment of two books of a venue; the first is the one that suffers."""

    def __init__(self, directory: Path, dialect: type[Dialect], **fields: Any) -> None:
        setup = setup_of(dialect, directory, **fields)
        self.rule, self.symbol = book_rule(setup), setup.symbols[0]
        self.deployment = Deployment(setup)
        self.run = self.deployment.run

    def begin(self) -> None:
        assert self.run(RECOVERY_S, self.deployment.are_live), self.deployment.failure("not LIVE")

    def order(self, kind: str) -> None:
        self.deployment.order(kind.format(self.symbol))

    def suffer(self, kind: str, within_s: float = 5.0) -> int:
        """Do it, see LIVE end for this book and not for the other, and return the reason."""
        self.order(kind)
        return self.ended(within_s)

    def ended(self, within_s: float) -> int:
        """See LIVE end within so long, and the other book stay; return the reason.

        Not where a hole in the connection's numbers may have been any book's.
        """
        first, other = self.deployment.seen[:2]
        assert self.run(within_s, lambda: self.deployment.seen[0].state != LIVE), (
            self.deployment.failure(f"still LIVE, as {first}")
        )
        assert self.deployment.seen[1].state == LIVE or self.rule.counts_connection, other
        return int(self.deployment.seen[0].reason)

    def comes_back(self, within_s: float = RECOVERY_S) -> None:
        assert self.run(within_s, self.deployment.are_live), self.deployment.failure("not back")


@pytest.fixture(params=VENUES)
def dialect(request: pytest.FixtureRequest) -> type[Dialect]:
    return load_dialect(request.param)


@pytest.fixture
def make(tmp_path: Path, dialect: type[Dialect]) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def one(kind: type[Dialect] = dialect, **fields: Any) -> Rig:
        made.append(Rig(tmp_path, kind, **fields))
        return made[-1]

    yield one
    for rig in made:
        rig.deployment.close()


def silent_of(rule: Any) -> bool:
    """Say whether nothing in a message shows that one before it was lost: whole books."""
    return bool(rule.chain == lib.TP_CHAIN_NONE and rule.checksum == lib.TP_CHECKSUM_NONE)


# ---- 1: subscription -----------------------------------------------------------------------------


def test_1_refused_subscription_is_not_live_until_it_is_accepted(make: Make) -> None:
    rig = make()
    rig.order("refuse:{}")
    assert rig.run(UNHEARD_S, lambda: rig.deployment.is_live(1))
    assert rig.deployment.seen[0].state != LIVE
    rig.order("accept:{}")
    rig.comes_back(UNHEARD_S)


def test_1_venue_that_answers_nothing_makes_nothing_live(
    make: Make, dialect: type[Dialect]
) -> None:
    mute = type("Mute", (dialect,), {"received": lambda *_: []})
    rig = make(mute)
    assert not rig.run(15.0, lambda: any(seen.state == LIVE for seen in rig.deployment.seen))


def test_1_acknowledgement_without_data_is_not_live_for_long(make: Make) -> None:
    rig = make(quiet_s=QUIET_S)
    rig.order("deafen:{}")
    rig.run(RECOVERY_S / 2)
    assert rig.deployment.seen[0].state != LIVE
    assert rig.deployment.seen[1].state == LIVE or rig.rule.counts_connection
    rig.order("hear:{}")
    rig.comes_back(UNHEARD_S)


# ---- 2: base -------------------------------------------------------------------------------------

BY_REST = (
    "rest-error",
    "rest-malformed",
    "rest-old",
    "rest-doubled",
    "rest-late:4",
    "rest-limit:3",
)
BY_STREAM = ("unanswered", "answer-late:2", "answer-cut")


@pytest.mark.parametrize("kind", BY_STREAM)
def test_2_base_that_is_late_or_lost_makes_no_wrong_book(make: Make, kind: str) -> None:
    base_suffers(make, kind)


@pytest.mark.parametrize("kind", BY_REST)
@asked_of(has_bases_by_rest)
def test_2_base_by_rest_that_is_wrong_late_or_lost_makes_no_wrong_book(
    make: Make, kind: str
) -> None:
    base_suffers(make, kind)


def base_suffers(make: Make, kind: str) -> None:
    rig = make(depth=25, rate=20.0)
    rig.begin()
    rig.order(kind)
    rig.order("disconnect")
    rig.run(1.0)
    rig.comes_back(UNHEARD_S)


# One that answers a request moves no book that is followed (tests/unit/feed/test_feed_answers.py).
@asked_of(lambda name: rule_of(name).base == lib.TP_BASE_IN_BAND)
def test_2_base_that_nobody_asked_for_replaces_the_book(make: Make) -> None:
    rig = make()
    rig.begin()
    applied = rig.deployment.counters.bases_applied
    rig.order("base:{}")
    rig.run(1.0)
    assert rig.deployment.counters.bases_applied > applied or silent_of(rig.rule)
    assert rig.deployment.are_live()


# ---- 3: chain ------------------------------------------------------------------------------------


# Where each message is the whole book, the next one makes it right.
@pytest.mark.parametrize("kind", ["gap:{}", "cut:{}", "swap:{}"])
@asked_of(lambda name: not silent_of(rule_of(name)))
def test_3_message_that_is_lost_ends_live(make: Make, kind: str) -> None:
    rig = make()
    rig.begin()
    rig.suffer(kind)
    rig.comes_back()


def test_3_message_that_is_broken_ends_live(make: Make) -> None:
    rig = make()
    rig.begin()
    rig.suffer("garbage:{}")
    rig.comes_back()


# Where there is no checksum, a digit that is another one is a sound message.
@asked_of(lambda name: rule_of(name).checksum != lib.TP_CHECKSUM_NONE)
def test_3_digit_that_is_another_one_is_noticed_by_its_checksum(make: Make) -> None:
    rig = make()
    rig.begin()
    for _ in range(8):
        rig.order("flip:{}")
        rig.run(1.0)
    rig.comes_back()
    assert rig.deployment.counters.checksums > 0


# ---- 4: no going back ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["duplicate:{}", "old:{}"])
def test_4_message_that_comes_again_makes_no_wrong_book(make: Make, kind: str) -> None:
    rig = make()
    rig.begin()
    for _ in range(5):
        rig.order(kind)
        rig.run(0.3)
    rig.comes_back()


def test_4_numbers_that_begin_anew_are_taken(make: Make) -> None:
    """Some venues say that they do, and the book stays LIVE; of others it must be found out."""
    rig = make()
    rig.begin()
    deployment = rig.deployment
    last, connects = deployment.seen[0].version, deployment.feed_handler.hot.loop.counters.connects
    rig.order("renumber:{}")
    if rig.rule.chain == lib.TP_CHAIN_NONE:
        rig.run(2.0)
        assert deployment.are_live(), "nothing is numbered: there is nothing to see"
        return

    def is_by_the_new_ones() -> bool:
        return deployment.is_live(0) and deployment.seen[0].version < last

    assert rig.run(RESET_S, is_by_the_new_ones), deployment.failure("not LIVE by the new numbers")
    assert deployment.feed_handler.hot.loop.counters.connects == connects


# ---- 5: extent -----------------------------------------------------------------------------------


def test_5_book_is_never_deeper_than_what_is_known(make: Make, dialect: type[Dialect]) -> None:
    """A base of twenty levels of a book of sixty is swept through within seconds."""
    fields: dict[str, Any] = {"depth": 60, "rate": 120.0}
    if hasattr(dialect.venue.settings(), "depth"):
        with contextlib.suppress(msgspec.ValidationError):  # it has its own depths
            fields["settings"] = settings_of(dialect, depth=20)
    rig = make(**fields)
    rig.begin()
    before = rig.deployment.counters.bases_applied
    rig.run(10.0)
    if rig.rule.must_truncate:
        assert len(rig.deployment.seen[0].bids) == 16 * min(20, rig.rule.depth)
    elif "settings" in fields and rig.rule.base == lib.TP_BASE_REST:
        assert rig.deployment.counters.bases_applied > before, "deeper bases were fetched"


# ---- 6: freshness --------------------------------------------------------------------------------


def test_6_instrument_that_falls_silent_among_others_is_noticed(make: Make) -> None:
    rig = make(quiet_s=QUIET_S)
    rig.begin()
    rig.deployment.lag_max_s = max(LAG_MAX_S, 10.0)
    rig.suffer("mute:{}", 10.0)
    rig.order("unmute:{}")
    rig.comes_back(UNHEARD_S)


def test_6_quiet_book_is_proved_and_stays_live(make: Make) -> None:
    rig = make(quiet_s=QUIET_S)
    rig.begin()
    rig.deployment.exchange._floor.active.remove(rig.symbol)
    rig.run(10.0)
    assert rig.deployment.are_live()
    assert rig.deployment.counters.verified > 0


def is_proved_by_rest(name: str) -> bool:
    venue = load_dialect(name).venue
    return venue.verification(venue.settings()) is Verification.REST


@asked_of(is_proved_by_rest)
def test_6_quiet_book_that_cannot_be_proved_is_not_live(make: Make) -> None:
    rig = make(quiet_s=QUIET_S)
    rig.begin()
    rig.deployment.exchange._floor.active.remove(rig.symbol)
    rig.suffer("rest-limit:60", 10.0)
    assert rig.deployment.seen[0].state == STALE


# ---- 7, 8: scale, crossed ------------------------------------------------------------------------


def test_7_digit_more_moves_the_scale_and_live_comes_back(make: Make) -> None:
    rig = make()
    rig.begin()
    book = rig.deployment.exchange._floor.listings[rig.symbol].book
    book.set_scale(book.instrument.price_exponent - 1, book.instrument.quantity_exponent)
    rig.ended(5.0)
    rig.comes_back(60.0)
    assert rig.deployment.counters.rescaled == 1


def test_8_book_that_stays_crossed_is_not_live(make: Make) -> None:
    rig = make()
    rig.begin()
    rig.order("crossed:{}")
    rig.deployment.exchange._floor.active.remove(rig.symbol)
    rig.ended(2.0)
    assert rig.deployment.counters.crossed > 0


# ---- 9: the connection ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["disconnect", "silent", "close:1001", "half-frame"])
def test_9_connection_that_ends_or_says_nothing_ends_live(make: Make, kind: str) -> None:
    rig = make()
    rig.begin()
    rig.order(kind)
    assert rig.run(SILENT_S + 1.0, lambda: all(one.state != LIVE for one in rig.deployment.seen))
    rig.comes_back()


# ---- 10: trading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("begin", "end"), [("halt:{}", "reopen:{}"), ("delist:{}", "relist:{}")])
def test_10_instrument_that_is_not_traded_is_not_live(make: Make, begin: str, end: str) -> None:
    rig = make()
    rig.begin()
    reason = rig.suffer(begin, 2 * LIST_S)
    assert reason == lib.TP_SYNC_REASON_HALTED or silent_of(rig.rule)
    rig.order(end)
    rig.comes_back(2 * LIST_S)
