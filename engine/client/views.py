"""What a strategy sees of an event and of a book: views of a reader's words, named and typed.

A view is valid until its words are overwritten; a copy or a pickle of it stays. Offsets are those
of proto/records.h. Called by: engine/client/reader.py, which hands them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from tickpath.proto.records import (
    ASKS_WORD,
    BIDS_WORD,
    BOOK_DEPTH_MAX,
    EVENT_ASK,
    EVENT_HOP_ZERO,
    EVENT_SELL,
    EVENT_SIDELESS,
    BookState,
    EventType,
    RowChange,
    SyncReason,
)
from tickpath.shm.reader import SNAPSHOT_HEAD_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

_LOW_16, _LOW_8 = 0xFFFF, 0xFF
# Members by value: a fifth of the cost of a look by the enum's own call.
_TYPES: tuple[Any, ...] = (0, *EventType)
_STATES, _REASONS = tuple(BookState), tuple(SyncReason)


class _View:
    """Show words of 64 bits that a reader overwrites; copies and pickles stay as they are."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def copy(self) -> Self:
        """Return one that stays as it is now."""
        return type(self)(memoryview(self._words.tobytes()).cast("q"))

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self._words.tobytes())


def _unpickle(kind: type[_View], words: bytes) -> _View:
    return kind(memoryview(words).cast("q"))


def _state(value: int) -> BookState:
    return _STATES[value] if 0 <= value < len(_STATES) else BookState(value)


def _reason(value: int) -> SyncReason:
    return _REASONS[value] if 0 <= value < len(_REASONS) else SyncReason(value)


class Event(_View):
    """View the event that was read last; valid until the next one is, `copy` keeps it.

    Prices and quantities are mantissas of the event's own exponents, times nanoseconds.
    """

    __slots__ = ()

    @property
    def index(self) -> int:
        """Return its place in the ring, from 0 at the writer's start."""
        return self._words[0]

    @property
    def instrument(self) -> int:
        """Return the index of its instrument."""
        return self._words[1] & _LOW_16

    @property
    def type(self) -> EventType:
        """Return its EventType; a bare int for one that a newer writer added."""
        value = self._words[1] >> 16 & _LOW_8
        return _TYPES[value] if value < len(_TYPES) else cast("EventType", value)

    @property
    def flags(self) -> int:
        """Return its flags, EVENT_ASK and the others of proto/records."""
        return self._words[1] >> 24 & _LOW_8

    @property
    def is_ask(self) -> bool:
        """Say of a LEVEL on which side it is."""
        return bool(self._words[1] & EVENT_ASK << 24)

    @property
    def taker(self) -> str:
        """Say of a TRADE what its taker did: "buy", "sell", or "" where the venue does not say."""
        if self.flags & EVENT_SIDELESS:
            return ""
        return "sell" if self.flags & EVENT_SELL else "buy"

    @property
    def price_exponent(self) -> int:
        """Return the exponent of its prices, which may differ from the row's as it is now."""
        return _signed(self._words[1] >> 32)

    @property
    def quantity_exponent(self) -> int:
        """Return the exponent of its quantities."""
        return _signed(self._words[1] >> 40)

    @property
    def connection(self) -> int:
        """Return which connection of the feed brought it."""
        return self._words[1] >> 48 & _LOW_16

    @property
    def received_ns(self) -> int:
        """Return when its frame reached this host, of the segment's clock.

        Stamped by the driver or the XDP program where `flags` has EVENT_HOP_ZERO, otherwise when
        it left the NIC queue.
        """
        return self._words[2]

    @property
    def published_ns(self) -> int:
        """Return when it was published, of the segment's clock."""
        return self._words[3]

    @property
    def value(self) -> tuple[int, int, int, int]:
        """Return the four payload words whose meaning depends on the type."""
        words = self._words
        return words[4], words[5], words[6], words[7]

    price = property(lambda self: self._words[4], doc="LEVEL, TRADE: the price.")
    quantity = property(lambda self: self._words[5], doc="LEVEL: 0 for removed; TRADE.")
    exchange_ns = property(lambda self: self._words[6], doc="LEVEL, TRADE, MESSAGE, STATUS.")
    book_sequence = property(lambda self: self._words[7], doc="LEVEL, MESSAGE, VERIFIED.")
    trade_id = property(lambda self: self._words[7], doc="TRADE: the venue's number for it.")
    bid = property(lambda self: self._words[4], doc="TOP, BEST: the best bid's price.")
    bid_quantity = property(lambda self: self._words[5], doc="TOP, BEST: 0 for no bid.")
    ask = property(lambda self: self._words[6], doc="TOP, BEST: the best ask's price.")
    ask_quantity = property(lambda self: self._words[7], doc="TOP, BEST: 0 for no ask.")
    taken_ns = property(lambda self: self._words[4], doc="MESSAGE: it left the NIC queue.")
    decoded_ns = property(lambda self: self._words[5], doc="MESSAGE: it was decoded.")
    state = property(lambda self: _state(self._words[4]), doc="STATE: the new state.")
    reason = property(lambda self: _reason(self._words[5]), doc="STATE: why it is not LIVE.")
    generation = property(lambda self: self._words[4], doc="INSTRUMENT: of its row.")
    change = property(lambda self: RowChange(self._words[5]), doc="INSTRUMENT: what happened.")
    verified_ns = property(lambda self: self._words[4], doc="VERIFIED: when it was compared.")
    is_equal = property(lambda self: self._words[5] != 0, doc="VERIFIED: equal to the venue's.")

    def __repr__(self) -> str:
        """Show index, instrument, type and payload."""
        return f"Event(index={self.index}, instrument={self.instrument}, {self.type}, {self.value})"


def _signed(byte: int) -> int:
    return ((byte & _LOW_8) ^ 0x80) - 0x80


# Words of a snapshot: four of the reader, then struct tp_book_record.
_VERSION, _RING_INDEX, _SILENT_NS, _ENDED = 0, 1, 2, 3
SEQUENCE, IDENTITY, _COUNTS, _GENERATION = (SNAPSHOT_HEAD_WORDS + i for i in (0, 8, 9, 10))
BIDS, _ASKS = SNAPSHOT_HEAD_WORDS + BIDS_WORD, SNAPSHOT_HEAD_WORDS + ASKS_WORD


class Book(_View):
    """View one instrument's book as it was read last, until the next `FeedReader.book` of it.

    Reading another instrument leaves it alone; `copy` keeps it for good.

    Its state already takes the writer's health into account: where the writer fell silent, ended
    or was replaced, it is STALE whatever the record says, and `why` tells. Trade on `is_live` only.
    """

    __slots__ = ("_read",)

    def __init__(self, words: memoryview, read: Callable[[], int] | None = None) -> None:
        """Show these words; `read`, which reads them anew, is the reader's."""
        self._words = words
        self._read = read

    @property
    def words(self) -> memoryview:
        """Borrow the words: SNAPSHOT_HEAD_WORDS of the reader, then struct tp_book_record."""
        return self._words

    @property
    def version(self) -> int:
        """Return how many times it was published; 0: never yet."""
        return self._words[_VERSION]

    @property
    def ring_index(self) -> int:
        """Return the index of the first ring event that it does not contain."""
        return self._words[_RING_INDEX]

    @property
    def writer_silent_ns(self) -> int:
        """Return the heartbeat's age where it is too old, else 0."""
        return self._words[_SILENT_NS]

    @property
    def instrument(self) -> int:
        """Return the index of its instrument."""
        return self._words[IDENTITY] & _LOW_16

    @property
    def connection(self) -> int:
        """Return which connection of the feed brought its last message."""
        return self._words[IDENTITY] >> 16 & _LOW_16

    @property
    def price_exponent(self) -> int:
        """Return the exponent of its prices, which may differ from the row's as it is now."""
        return _signed(self._words[_COUNTS] >> 32)

    @property
    def quantity_exponent(self) -> int:
        """Return the exponent of its quantities."""
        return _signed(self._words[_COUNTS] >> 40)

    @property
    def is_hop_zero(self) -> bool:
        """Say whether the driver or the XDP program stamped received_ns."""
        return bool(self._words[_COUNTS] >> 48 & EVENT_HOP_ZERO)

    @property
    def published_state(self) -> BookState:
        """Return the state that the writer gave it, whatever became of the writer since."""
        return _state(self._words[IDENTITY] >> 32 & _LOW_16)

    @property
    def is_live(self) -> bool:
        """Say whether it may be traded on."""
        words = self._words
        return (
            words[IDENTITY] >> 32 & _LOW_16 == 1 and words[_SILENT_NS] == 0 and words[_ENDED] == 0
        )

    @property
    def state(self) -> BookState:
        """Return the state to act on."""
        if self._words[_SILENT_NS] or self._words[_ENDED]:
            return BookState.STALE
        return self.published_state

    @property
    def reason(self) -> SyncReason:
        """Return why it is not LIVE."""
        if self._words[_ENDED]:
            return SyncReason.DISCONNECTED
        if self._words[_SILENT_NS]:
            return SyncReason.SILENT
        return _reason(self._words[IDENTITY] >> 48 & _LOW_16)

    @property
    def why(self) -> str:
        """Say in words why it is not LIVE; empty where it is."""
        if self._words[_ENDED]:
            return "its writer ended or was replaced"
        if self._words[_SILENT_NS]:
            return f"its writer is silent for {self._words[_SILENT_NS] / 1e6:.0f} ms"
        return "" if self.is_live else self.reason.name.lower().replace("_", " ")

    book_sequence = property(lambda self: self._words[SEQUENCE], doc="The venue's version.")
    exchange_ns = property(lambda self: self._words[SEQUENCE + 1], doc="The venue's stamp.")
    received_ns = property(lambda self: self._words[SEQUENCE + 2], doc="As an event's.")
    taken_ns = property(lambda self: self._words[SEQUENCE + 3], doc="It left the NIC queue.")
    decoded_ns = property(lambda self: self._words[SEQUENCE + 4], doc="Message decoded.")
    published_ns = property(lambda self: self._words[SEQUENCE + 5], doc="Published.")
    message_ns = property(
        lambda self: self._words[SEQUENCE + 6],
        doc="The last message of its own, or its base: a quiet book's stamp stays old.",
    )
    verified_ns = property(
        lambda self: self._words[SEQUENCE + 7],
        doc="It was last found equal to the venue's book; 0: never compared.",
    )
    generation = property(
        lambda self: self._words[_GENERATION],
        doc="Of its instrument's row when it was published: FeedReader.generation has the row's.",
    )

    @property
    def bid_count(self) -> int:
        """Return how many bids are present."""
        return min(self._words[_COUNTS] & _LOW_16, BOOK_DEPTH_MAX)

    @property
    def ask_count(self) -> int:
        """Return how many asks are present."""
        return min(self._words[_COUNTS] >> 16 & _LOW_16, BOOK_DEPTH_MAX)

    @property
    def bid(self) -> tuple[int, int]:
        """Return the best bid as (price, quantity); (0, 0) where there is none."""
        words = self._words
        return (words[BIDS], words[BIDS + 1]) if words[_COUNTS] & _LOW_16 else (0, 0)

    @property
    def ask(self) -> tuple[int, int]:
        """Return the best ask as (price, quantity); (0, 0) where there is none."""
        words = self._words
        return (words[_ASKS], words[_ASKS + 1]) if words[_COUNTS] >> 16 & _LOW_16 else (0, 0)

    @property
    def bids(self) -> list[tuple[int, int]]:
        """Return all bids as (price, quantity), best first."""
        words = self._words[BIDS : BIDS + 2 * self.bid_count].tolist()
        return list(zip(words[::2], words[1::2], strict=True))

    @property
    def asks(self) -> list[tuple[int, int]]:
        """Return all asks as (price, quantity), best first."""
        words = self._words[_ASKS : _ASKS + 2 * self.ask_count].tolist()
        return list(zip(words[::2], words[1::2], strict=True))

    def __repr__(self) -> str:
        """Show instrument, state, best bid and ask."""
        state = self.state if self.is_live else f"{self.state} ({self.why})"
        return f"Book(instrument={self.instrument}, {state}, bid={self.bid}, ask={self.ask})"
