"""Which scale an instrument gets: by the venue's list, else by the wire; never a flap."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
import pytest
from tickpath.engine.feed_handler.scales import (
    DOUBT_EVERY_S,
    LIST_EVERY_S,
    LIST_PATIENCE_S,
    MOVES_MAX,
    REST_S,
    Misfit,
    Scales,
    What,
)
from tickpath.proto.instrument import Instrument

INT64_MAX = 2**63 - 1


class Rig:
    """One instrument, or more, and what became of them; time is the test's."""

    def __init__(self, *digits: tuple[int, int], tick_size: int = 1) -> None:
        self.rows = [
            Instrument(place, "venue", f"SYM{place}", -price, -quantity, tick_size)
            for place, (price, quantity) in enumerate(digits)
        ]
        self.list = {row.symbol: row for row in self.rows}
        self.lines: list[str] = []
        self.moves: list[tuple[int, int, int]] = []  # place, digits of prices, of quantities
        self.has_room = True
        self.lists = 0
        self.now_s = 1000.0
        self.scales = Scales(self.rows, self._move, self.lines.append)

    def _move(self, place: int, row: Instrument) -> bool:
        if not self.has_room:
            return False
        self.rows[place] = row
        self.moves.append((place, -row.price_exponent, -row.quantity_exponent))
        return True

    def misfit(self, text: str, what: What = "price", place: int = 0) -> None:
        row = self.rows[place]
        misfit = Misfit(what, text, row.price_exponent, row.quantity_exponent)
        self.scales.misfit(place, misfit, self.now_s)

    def step(self, seconds: float = 0.0) -> None:
        """Let time pass; the list is answered at once."""
        end_s = self.now_s + seconds
        while True:
            if self.scales.wants_list(self.now_s):
                self.lists += 1
                self.scales.listed(self.list, self.now_s)
            self.scales.step(self.now_s)
            if self.now_s >= end_s:
                return
            self.now_s = min(self.now_s + 1.0, end_s)

    def relist(self, price: int, quantity: int, place: int = 0, **more: int) -> None:
        row = msgspec.structs.replace(
            self.rows[place], price_exponent=-price, quantity_exponent=-quantity, **more
        )
        self.list[row.symbol] = row


def test_scale_follows_the_list_with_its_tick() -> None:
    rig = Rig((2, 8))
    rig.relist(4, 6, tick_size=5)
    rig.misfit("1.2345")
    rig.step()
    assert rig.moves == [(0, 4, 6)]
    assert (rig.rows[0].tick_size, rig.rows[0].index) == (5, 0)
    assert len(rig.lines) == 2
    assert "price 1.2345: expected 2 digits of prices and 8 of quantities" in rig.lines[0]
    assert "moved to 4 digits of prices and 6 of quantities, as its list says" in rig.lines[1]


def test_scale_follows_the_wire_where_the_list_says_nothing_new() -> None:
    rig = Rig((2, 8))
    rig.misfit("1.2345000")
    rig.step()
    assert rig.moves == [(0, 4, 8)], "zeros at the end are no digits"
    rig.misfit("92233720369", "quantity")
    rig.step(LIST_EVERY_S)
    assert rig.moves[1:] == [(0, 4, 7)], "as coarse as the number demands, and no coarser"
    assert "as the wire needs" in rig.lines[-1]


def test_scale_tick_of_the_wires_scale_is_the_lists_step() -> None:
    rig = Rig((2, 8), tick_size=25)
    rig.misfit("1.2345")
    rig.step()
    assert rig.rows[0].tick_size == 2500


def test_scale_list_that_still_does_not_hold_it_is_stretched() -> None:
    rig = Rig((2, 8))
    rig.relist(3, 8)
    rig.misfit("1.23456")
    rig.step()
    assert rig.moves == [(0, 5, 8)]


def test_scale_of_a_list_that_changed_forgets_what_the_wire_said() -> None:
    rig = Rig((8, 8))
    rig.misfit("0.123456789")
    rig.step()
    assert rig.moves == [(0, 9, 8)]
    rig.relist(2, 8)  # the venue made its numbers a million times as large
    rig.misfit("12345678901.5")
    rig.step(LIST_EVERY_S)
    assert rig.moves[1:] == [(0, 2, 8)]


def test_scale_number_of_an_older_scale_says_nothing() -> None:
    rig = Rig((2, 8))
    rig.scales.misfit(0, Misfit("price", "1.2345", -1, -8), rig.now_s)
    rig.step(LIST_EVERY_S)
    assert (rig.lists, rig.moves, rig.lines) == (0, [], [])


def test_scale_number_of_unknown_kind_is_of_the_one_that_does_not_hold_it() -> None:
    rig = Rig((2, 8))
    rig.scales.misfit(0, Misfit("", "1.2345", -2, -8), rig.now_s)
    rig.step()
    assert rig.moves == [(0, 4, 8)]


def test_list_is_asked_for_once_for_all_and_not_too_often() -> None:
    rig = Rig(*[(2, 8)] * 50)
    for place in range(50):
        rig.misfit("1.234", place=place)
    rig.step()
    assert rig.lists == 1
    assert len(rig.moves) == 50
    rig.misfit("1.2345")
    rig.step(LIST_EVERY_S - 0.5)
    assert rig.lists == 1
    rig.step(0.5)
    assert rig.lists == 2


def test_scale_follows_the_wire_where_the_list_cannot_be_had() -> None:
    rig = Rig((2, 8))
    rig.misfit("1.234")
    for _ in range(int(LIST_PATIENCE_S)):
        rig.scales.wants_list(rig.now_s)
        rig.scales.step(rig.now_s)
        assert rig.moves == []
        rig.now_s += 1.0
    rig.scales.step(rig.now_s)
    assert rig.moves == [(0, 3, 8)]


def test_scale_of_a_symbol_that_left_the_list_follows_the_wire() -> None:
    rig = Rig((2, 8))
    rig.list.clear()
    rig.misfit("1.234")
    rig.step()
    assert rig.moves == [(0, 3, 8)]


def test_scale_waits_for_room_and_writes_nothing_twice() -> None:
    rig = Rig((2, 8))
    rig.has_room = False
    rig.misfit("1.234")
    rig.step(LIST_PATIENCE_S * 2)
    assert rig.lists == 1
    rig.has_room = True
    rig.step()
    assert rig.moves == [(0, 3, 8)]
    assert len(rig.lines) == 2


def test_scale_that_cannot_be_is_given_up_and_begins_anew() -> None:
    rig = Rig((2, 8))
    rig.misfit("0.00000001")
    rig.step()
    assert rig.moves == [(0, 8, 8)]
    rig.misfit("123456789012")  # 12 digits before the point, beside 8 behind it
    rig.step(LIST_EVERY_S)
    assert len(rig.moves) == 1
    assert "no scale holds price 0.00000001 beside 123456789012 in 64 bits" in rig.lines[-1]
    assert "leave this instrument out if it lasts" in rig.lines[-1]
    said = len(rig.lines)
    for _ in range(20):
        rig.misfit("123456789012")
        rig.step(1.0)
    assert len(rig.moves) == 1
    assert len(rig.lines) == said, "said once"
    rig.step(REST_S)
    assert rig.moves[1:] == [(0, 2, 8)], "begins anew, by the list"


def test_scale_whose_row_cannot_be_written_rests_and_the_others_move() -> None:
    """A minimum of a million has no room for fourteen digits: that one waits, nobody ends."""
    rig = Rig((2, 8), (2, 8))
    taken = rig.scales._move

    def move(place: int, row: Instrument) -> bool:
        if place == 0:
            raise ValueError("lot_size is beyond 64 bits")
        return taken(place, row)

    rig.scales._move = move
    for place in (0, 1):
        rig.misfit("0.00000001", place=place)
    rig.step()
    assert rig.moves == [(1, 8, 8)]
    assert "lot_size is beyond 64 bits: its book stays SYNCING" in rig.lines[-2] + rig.lines[-1]


def test_scale_of_a_venue_that_never_settles_is_not_followed_forever() -> None:
    rig = Rig((2, 8))
    for number in range(2 * MOVES_MAX):
        rig.relist(3 + number % 2 * 4, 8)
        rig.misfit("1." + "1" * (5 + number % 2 * 8))
        rig.step(LIST_EVERY_S)
    assert len(rig.moves) == MOVES_MAX
    assert f"moved {MOVES_MAX} times in {REST_S:.0f} s" in rig.lines[-1]


@pytest.mark.parametrize("seed", range(20))
def test_scale_by_the_wire_never_comes_back_and_holds_all(seed: int) -> None:
    rng = random.Random(seed)  # not a secret
    rig = Rig((rng.randrange(5), rng.randrange(9)))
    sent: list[Decimal] = []
    for _ in range(200):
        digits = rng.randrange(7)
        number = Decimal(rng.randrange(1, 10 ** rng.randrange(1, 10))).scaleb(-digits)
        digits_now = -rig.rows[0].price_exponent
        scaled = number.scaleb(digits_now)
        sent.append(number)
        if scaled != scaled.to_integral_value() or scaled > INT64_MAX:
            rig.misfit(f"{number:f}")
            rig.step(REST_S / MOVES_MAX)
    scales = [price for _, price, _ in rig.moves]
    assert scales == sorted(set(scales)), "it only gets finer"
    digits_now = -rig.rows[0].price_exponent
    for number in sent:
        scaled = number.scaleb(digits_now)
        assert scaled == scaled.to_integral_value()
        assert scaled <= INT64_MAX


def test_garbage_is_said_now_and_then() -> None:
    rig = Rig((2, 8))
    for _ in range(100):
        rig.scales.garbage(0, Misfit("quantity", "1" * 40, -2, -8), rig.now_s)
        rig.now_s += 1.0
    assert len(rig.lines) == 2
    assert f"quantity {'1' * 40}: expected a decimal that fits 64 bits" in rig.lines[0]
    assert rig.moves == []


def test_doubt_moves_a_scale_only_where_the_list_says_so() -> None:
    """A base was without its checksum: fewer digits than before fit, and are others."""
    rig = Rig((2, 8))
    for _ in range(30):
        rig.scales.doubt(0, rig.now_s)
        rig.step(1.0)
    assert (rig.moves, rig.lines) == ([], [])
    assert 2 <= rig.lists <= 4
    rig.relist(1, 8)
    rig.step(DOUBT_EVERY_S)
    rig.scales.doubt(0, rig.now_s)
    rig.step(LIST_EVERY_S)
    assert rig.moves == [(0, 1, 8)]


def test_doubt_of_a_scale_that_the_wire_needs_moves_nothing() -> None:
    rig = Rig((2, 8))
    rig.misfit("1.2345")
    rig.step()
    rig.now_s += DOUBT_EVERY_S
    rig.scales.doubt(0, rig.now_s)
    rig.step(LIST_EVERY_S)
    assert rig.moves == [(0, 4, 8)]
