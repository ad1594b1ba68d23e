"""Compare each instrument's best bid and ask over all venues; count where a bid is above an ask.

tickpath strategy examples/spread.py:CrossVenueSpread --instance three

Scales differ: 93000.1 is 930001 at a venue with one digit and 9300010 at one with two, and a scale
may move while this runs. In units of 10**-18, the finest scale that a feed has, every price is a
whole number, and Python's have no limit: the comparison is exact, without a float that rounds.
"""

from collections.abc import Sequence

from tickpath import Book, Strategy
from tickpath.proto.instrument import EXPONENT_MIN, Instrument

UNITS = {exponent: 10 ** (exponent - EXPONENT_MIN) for exponent in range(EXPONENT_MIN, 1)}
MILLIBPS = 10_000_000  # thousandths of a basis point in 1
FIGURES = ("compared", "crossed", "crossings", "sum_millibps", "widest_millibps")


class CrossVenueSpread(Strategy):
    """Copy this file, rename the class, and send your orders where it counts."""

    def counter_names(self) -> Sequence[str]:
        names = dict.fromkeys(str(one.name) for one in self.instruments if one.name)
        return [f"{name}.{figure}" for name in names for figure in FIGURES]

    def on_start(self) -> None:
        self.known: tuple[Instrument, ...] = ()
        self.crossed: set[str] = set()

    def on_book(self, instrument: Instrument, book: Book) -> None:
        if self.instruments is not self.known:  # at the first book, and when some come or go
            self.known, self.same = self.instruments, dict[str, list[int]]()
            for one in self.known:
                self.same.setdefault(str(one.name), []).append(one.index)
        name = str(instrument.name)
        if f"{name}.compared" not in self.counters or not book.is_live:
            return  # without a canonical name, or newer than the counters
        # Read now, all of them: a book that was LIVE at its last message may not be any more.
        books = [self.reader.book(index) for index in self.same[name]]
        live = [one for one in books if one.is_live and one.bid_count and one.ask_count]
        if len(live) > 1:
            bid = max(one.bid[0] * UNITS[one.price_exponent] for one in live)
            ask = min(one.ask[0] * UNITS[one.price_exponent] for one in live)
            self.compare(name, bid, ask)

    def compare(self, name: str, bid: int, ask: int) -> None:
        self.counters[f"{name}.compared"] += 1
        if bid <= ask:
            self.crossed.discard(name)
            return
        width = (bid - ask) * MILLIBPS // ask  # before fees, which are often more
        self.counters[f"{name}.crossed"] += 1
        self.counters[f"{name}.crossings"] += name not in self.crossed
        self.counters[f"{name}.sum_millibps"] += width
        widest = f"{name}.widest_millibps"
        self.counters[widest] = max(self.counters[widest], width)
        self.crossed.add(name)
