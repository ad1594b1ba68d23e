"""Two small strategies that decide nothing: they look at every book."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.engine.strategy import Strategy

if TYPE_CHECKING:
    from tickpath.engine.client.reader import Book
    from tickpath.proto.instrument import Instrument


class Spread(Strategy):
    """Keep the widest spread seen of each instrument, in price mantissas, of LIVE books only."""

    def on_start(self) -> None:
        """Start with nothing seen."""
        self.widest = dict.fromkeys(range(len(self.instruments)), 0)

    def on_book(self, instrument: Instrument, book: Book) -> None:
        """Compare with the widest so far."""
        if not book.is_live:
            return
        (bid, _), (ask, _) = book.bid, book.ask
        self.widest[instrument.index] = max(self.widest.get(instrument.index, 0), ask - bid)


class Imbalance(Strategy):
    """Keep the latest imbalance of the top quantities: (bid - ask) / (bid + ask)."""

    def on_start(self) -> None:
        """Start balanced."""
        self.latest = dict.fromkeys(range(len(self.instruments)), 0.0)

    def on_book(self, instrument: Instrument, book: Book) -> None:
        """Compute it anew."""
        if not book.is_live:
            return
        (_, bid), (_, ask) = book.bid, book.ask
        if bid + ask > 0:
            self.latest[instrument.index] = (bid - ask) / (bid + ask)
