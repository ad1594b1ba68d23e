"""Print each instrument's best bid and ask when they change, and every change of its state.

tickpath strategy examples/top_of_book.py:TopOfBook --instance demo
"""

from tickpath import Book, BookState, Strategy
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import SyncReason


class TopOfBook(Strategy):
    """Copy this file, rename the class, and put your decision into on_book."""

    def on_start(self) -> None:
        self.last: dict[int, object] = {}

    def on_book(self, instrument: Instrument, book: Book) -> None:
        touch = book.bid, book.ask
        if not book.is_live or touch == self.last.get(instrument.index):
            return  # never trade on a book that is not LIVE
        self.last[instrument.index] = touch
        bid, ask = (instrument.price(price) for price, _ in touch)
        print(f"{instrument.venue}:{instrument.symbol:<12} {bid:>14} {ask:>14}")

    def on_state(self, instrument: Instrument, state: BookState, reason: SyncReason) -> None:
        print(f"{instrument.venue}:{instrument.symbol:<12} {state.name} ({reason.name.lower()})")
