"""Find the scale that an instrument's numbers need, and have it moved: which, when, said once.

No I/O and no clock: misfits (numbers that a scale did not hold), lists and times in; rows to move
to out. The venue's list decides. Where it says nothing new the scale follows the wire: as fine as
the finest number that was refused, as coarse as the largest one demands. Both only ever narrow, so
that no scale comes back; where no scale holds all, the instrument is given up for a while.
Called by: rescaling.py beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from tickpath.proto.records import EXPONENT_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tickpath.proto.instrument import Instrument
    from tickpath.proto.records import ScaleError

What = Literal["price", "quantity"]
KINDS: Final[tuple[What, What]] = ("price", "quantity")
DIGITS_MAX: Final = -EXPONENT_MIN
INT64_MAX: Final = 2**63 - 1
LIST_EVERY_S: Final = 5.0
"""The list is not asked for more often, whoever wants it."""
LIST_PATIENCE_S: Final = 15.0
"""Where it cannot be read for so long, the scale follows the wire."""
MOVES_MAX: Final = 8
"""Of one instrument within REST_S; a venue that wants more is not followed for as long."""
REST_S: Final = 300.0
GARBAGE_EVERY_S: Final = 60.0
DOUBT_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Misfit:
    """A number that did not fit, and the scale that it did not fit; what "": not known which."""

    what: What | Literal[""]
    text: str
    price_exponent: int
    quantity_exponent: int

    @classmethod
    def of(cls, error: ScaleError, row: Instrument) -> Misfit:
        """Return what a parser says that was given the row's exponents."""
        what: What | Literal[""] = ""
        if error.what in KINDS:
            what = "price" if error.what == "price" else "quantity"
        return cls(what, error.text, row.price_exponent, row.quantity_exponent)


@dataclass(slots=True)
class _Bounds:
    """What is known of one instrument's prices or quantities: digits that are needed, and bearable.

    `by` are the numbers that said so.
    """

    least: int = 0
    most: int = DIGITS_MAX
    by: tuple[str, str] = ("", "")

    def narrow(self, text: str) -> None:
        value = Decimal(text)
        fraction = max(0, -_exponent(value.normalize()))
        if fraction > self.least:
            self.least, self.by = fraction, (text, self.by[1])
        most = DIGITS_MAX
        while most > 0 and value.scaleb(most) > INT64_MAX:
            most -= 1
        if most < self.most:
            self.most, self.by = most, (self.by[0], text)

    @property
    def is_possible(self) -> bool:
        return self.least <= self.most

    def nearest(self, digits: int) -> int:
        return min(max(digits, self.least), self.most)


def _holds(digits: int, text: str) -> bool:
    """Say whether 64 bits hold a number with so many digits behind the point."""
    scaled = Decimal(text).scaleb(digits)
    return scaled == scaled.to_integral_value() and scaled <= INT64_MAX


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


@dataclass(slots=True)
class _Case:
    """One instrument: what the list said of it, what the wire said, and what was done."""

    listed: tuple[int, int]
    """Digits of prices and quantities as the list had them last."""
    bounds: dict[What, _Bounds] = field(default_factory=lambda: {one: _Bounds() for one in KINDS})
    last: dict[What, str] = field(default_factory=dict)
    """The numbers that wait for a scale."""
    since_s: float | None = None
    """When the first of them came; None: none waits."""
    moves_s: list[float] = field(default_factory=list)
    rests_until_s: float = float("-inf")
    garbage_next_s: float = float("-inf")
    doubt_next_s: float = float("-inf")
    is_doubt: bool = False
    """No number waits: it moves only where the list says so."""

    def forget(self) -> None:
        """Know only what waits: the venue changed its digits, what it sent before says nothing."""
        self.bounds = {one: _Bounds() for one in KINDS}
        for what, text in self.last.items():
            self.bounds[what].narrow(text)


def digits_of(row: Instrument) -> tuple[int, int]:
    """Return how many digits behind the point prices and quantities keep."""
    return -row.price_exponent, -row.quantity_exponent


class Scales:
    """The scales of one venue's instruments, by their places in `instruments`, which is followed.

    `move(place, row)` has a row's scale taken over; False: no room now, it is tried again.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        move: Callable[[int, Instrument], bool],
        log: Callable[[str], None],
    ) -> None:
        self._instruments, self._move, self._log = instruments, move, log
        self._cases: dict[int, _Case] = {}
        self._due: dict[int, Instrument] = {}
        self._next_list_s = float("-inf")

    def misfit(self, place: int, misfit: Misfit, now_s: float) -> None:
        """Take a number that did not fit; one that an older scale did not hold says nothing."""
        row, case = self._instruments[place], self._case(place)
        if (misfit.price_exponent, misfit.quantity_exponent) != (
            row.price_exponent,
            row.quantity_exponent,
        ):
            return
        for what, digits in zip(KINDS, digits_of(row), strict=True):
            if misfit.what not in ("", what) or (not misfit.what and _holds(digits, misfit.text)):
                continue
            case.last[what] = misfit.text
            case.bounds[what].narrow(misfit.text)
        if case.since_s is None or case.is_doubt:
            case.since_s, case.is_doubt = now_s, False
            if now_s >= case.rests_until_s:
                self._log(
                    f"{_name(row)}: {misfit.what or 'number'} {misfit.text}: expected "
                    f"{_scale(digits_of(row))} in 64 bits: reading the instrument list "
                    "again to move its scale"
                )

    def doubt(self, place: int, now_s: float) -> None:
        """Look now and then whether the list has other digits: a base was without its checksum."""
        case = self._case(place)
        if now_s < case.doubt_next_s or case.since_s is not None:
            return
        case.doubt_next_s = now_s + DOUBT_EVERY_S
        case.since_s, case.is_doubt = now_s, True

    def garbage(self, place: int, misfit: Misfit, now_s: float) -> None:
        """Say that a number can be none of any scale, now and then."""
        row, case = self._instruments[place], self._case(place)
        if now_s < case.garbage_next_s:
            return
        case.garbage_next_s = now_s + GARBAGE_EVERY_S
        self._log(
            f"{_name(row)}: {misfit.what or 'number'} {misfit.text}: expected a decimal that fits "
            f"64 bits with at most {DIGITS_MAX} digits after the point: the message is refused"
        )

    def _case(self, place: int) -> _Case:
        if place not in self._cases:
            self._cases[place] = _Case(digits_of(self._instruments[place]))
        return self._cases[place]

    def wants_list(self, now_s: float) -> bool:
        """Say whether the list is to be asked for now; counts as asked for then."""
        if now_s < self._next_list_s or not any(self._waits(one, now_s) for one in self._cases):
            return False
        self._next_list_s = now_s + LIST_EVERY_S
        return True

    def _waits(self, place: int, now_s: float) -> bool:
        case = self._cases[place]
        return case.since_s is not None and place not in self._due and now_s >= case.rests_until_s

    def listed(self, rows: Mapping[str, Instrument], now_s: float) -> None:
        """Take the venue's list, by its own symbols: choose a scale for all that wait for one."""
        for place in [one for one in self._cases if self._waits(one, now_s)]:
            self._choose(place, rows.get(self._instruments[place].symbol), now_s)

    def step(self, now_s: float) -> None:
        """Hand on what is chosen; follow the wire where the list cannot be had."""
        for place in [one for one in self._cases if self._waits(one, now_s)]:
            since_s = self._cases[place].since_s
            if since_s is not None and now_s - since_s >= LIST_PATIENCE_S:
                self._choose(place, None, now_s)
        for place, row in list(self._due.items()):
            try:
                if not self._move(place, row):
                    return
            except ValueError as error:  # a row that cannot be written at this scale
                del self._due[place]
                self._rest(place, str(error), now_s)
                continue
            del self._due[place]
            case = self._cases[place]
            case.since_s, case.is_doubt = None, False
            case.last.clear()

    def _choose(self, place: int, listed: Instrument | None, now_s: float) -> None:
        row, case = self._instruments[place], self._cases[place]
        if listed is not None and digits_of(listed) != case.listed:
            case.listed = digits_of(listed)
            case.forget()
        if case.is_doubt and self._would_be(case) == digits_of(row):
            case.since_s, case.is_doubt = None, False
            return
        case.moves_s = [one for one in case.moves_s if now_s - one < REST_S]
        if len(case.moves_s) >= MOVES_MAX:
            self._rest(place, f"its scale moved {MOVES_MAX} times in {REST_S:.0f} s", now_s)
            return
        for what in KINDS:
            bounds = case.bounds[what]
            if not bounds.is_possible:
                fine, large = bounds.by
                self._rest(place, f"no scale holds {what} {fine} beside {large} in 64 bits", now_s)
                return
        case.moves_s.append(now_s)
        price, quantity = self._would_be(case)
        to = msgspec.structs.replace(listed or row, index=row.index).in_scale(-price, -quantity)
        follows = "as its list says" if (price, quantity) == case.listed else "as the wire needs"
        self._log(f"{_name(row)}: scale moved to {_scale(digits_of(to))}, {follows}")
        self._due[place] = to

    @staticmethod
    def _would_be(case: _Case) -> tuple[int, int]:
        """Return the digits that are nearest to the list's and hold what was seen."""
        price, quantity = (
            case.bounds[what].nearest(digits)
            for what, digits in zip(KINDS, case.listed, strict=True)
        )
        return price, quantity

    def _rest(self, place: int, why: str, now_s: float) -> None:
        """Give up for a while; then all begins anew, with the scale of the list."""
        row, case = self._instruments[place], self._cases[place]
        self._log(
            f"{_name(row)}: {why}: its book stays SYNCING, the list is read again in "
            f"{REST_S:.0f} s; leave this instrument out if it lasts"
        )
        case.rests_until_s = case.since_s = now_s + REST_S
        case.last.clear()
        case.moves_s.clear()
        case.forget()


def _name(row: Instrument) -> str:
    return f"{row.venue} {row.symbol}"


def _scale(digits: tuple[int, int]) -> str:
    return f"{digits[0]} digits of prices and {digits[1]} of quantities"
