"""Recordings of somebody else's as records of our own, whatever the form of their lines.

A source yields checked messages, and what is wrong with its other lines. It is read twice: once for
the instruments (survey.py), then for the records. A bad line takes itself out and is counted; a
venue's bases that no line names find their instrument by version and price.
Called by: ndjson.py, tardis.py. Calls: survey.py, format.py.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from tickpath._core import lib
from tickpath.engine.recording.format import Meta, pack_record
from tickpath.engine.recording.survey import (
    BINARY,
    BOOKS,
    DECODED,
    TEXT,
    Connection,
    Survey,
    list_instruments,
)
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tickpath.engine.recording.tap import Subscription

BATCH_SIZE: Final = 1 << 18
IN, OUT, BASE, DOWN = "in", "out", "base", "down"
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_WINDOW: Final = 31
"""zlib: the largest window, with the header of gzip."""


@dataclass(frozen=True, slots=True)
class Message:
    """One checked line."""

    number: int
    t_ns: int
    venue: str
    conn: Connection
    direction: str
    is_text: bool
    payload: bytes
    symbol: str | None = None
    has_old_name: bool = False


class LineFault(LocalError):  # noqa: N818 # a fault of the file, an error of the command
    """Say which line is bad, and what it should be; it is left out, the others count."""

    def __init__(self, where: int | str, reason: str) -> None:
        super().__init__(f"line {where}: {reason}")
        self.where, self.reason = where, reason


class Source(Protocol):
    """A recording of somebody else's, which can be read again."""

    name: str
    """What messages call it: its path."""
    instance_id: str
    """Of the recording's header."""
    realtime_offset_ns: int
    """Its times plus this are CLOCK_REALTIME."""

    def messages(self) -> Iterable[Message | LineFault]:
        """Yield checked lines, and what is wrong with others; raises LocalError without a file."""

    def place(self, number: int) -> int | str:
        """Return what a person calls a line's place: its number, of several files also which."""

    def warning(self, old_names: int) -> str:
        """Say what so many lines should call otherwise."""


@dataclass(slots=True)
class Faults:
    """What is wrong with lines: how many, and the first."""

    count: int = 0
    first: LineFault | None = None

    def add(self, fault: LineFault) -> None:
        """Count one."""
        self.count += 1
        self.first = self.first or fault


@dataclass(slots=True)
class _Venue:
    """A venue of the recording, once its instruments are known."""

    survey: Survey
    rows: list[Subscription]
    numbers: dict[Connection, int]
    any_number: int
    number_count: int
    """Of connections; any_number is the first."""
    raced: dict[str, int] = field(default_factory=dict)


class ForeignRecording:
    """A source as batches of records; what `tickpath record` writes, but for TICKs."""

    def __init__(self, source: Source, instrument_list: bytes | None = None) -> None:
        """Read it once; raises LocalError where it has no instrument.

        instrument_list: a venue's, for the numbers' decimals.
        """
        self._source = source
        self.lines = 0
        """Those that count."""
        self.faults = Faults()
        self.warnings: list[str] = []
        """What the recording says by an old name, a line each."""
        self._surveys: dict[str, Survey] = {}
        self._out: set[int] = set()  # bases of nobody, by number
        self._read()
        if instrument_list is not None:
            try:
                list_instruments(list(self._surveys.values()), instrument_list)
            except ValueError as error:
                raise LocalError(f"--instruments: {error}: give the venue's reply") from error
        if self.lines == 0 and self.faults.first is not None:
            raise LocalError(f"{source.name}: {self.faults.first}") from self.faults.first
        self._venues = self._numbered()
        self.meta = Meta(
            instruments=tuple(row for venue in self._venues.values() for row in venue.rows),
            instance_id=source.instance_id,
            realtime_offset_ns=source.realtime_offset_ns,
            connections=tuple(
                name for name, venue in self._venues.items() for _ in range(venue.number_count)
            ),
        )
        if not self.meta.instruments:
            raise LocalError(
                f"{source.name}: {self.lines} lines, and no market data, subscription or base "
                "among them: nothing to replay"
            )

    @property
    def raced(self) -> dict[str, int]:
        """Return messages left out, by channel: another connection brings it at the same time."""
        return {name: count for one in self._venues.values() for name, count in one.raced.items()}

    @property
    def bookless(self) -> set[tuple[str, str]]:
        """Return venue and symbol of what brought trades or best prices alone."""
        return {
            (name, one.symbol)
            for name, survey in self._surveys.items()
            for one in survey.found
            if one.is_silent and not one.has_base
        }

    @property
    def foreign_channels(self) -> dict[str, int]:
        """Return how many messages each channel had of which nothing is made."""
        all_of = (one.foreign_channels for one in self._surveys.values())
        return {name: count for one in all_of for name, count in one.items()}

    # ---- first reading ---------------------------------------------------------------------------

    def _read(self) -> None:
        old_names = 0
        for message in self._source.messages():
            if isinstance(message, LineFault):
                self.faults.add(message)
                continue
            old_names += message.has_old_name
            try:
                self._look(message)
            except ValueError as error:
                self.faults.add(LineFault(self._source.place(message.number), str(error)))
                continue
            self.lines += 1
        if old_names:
            self.warnings.append(self._source.warning(old_names))
        for survey in self._surveys.values():
            for number in survey.infer():
                self._out.add(number)
                self.lines -= 1
                self.faults.add(self._whose(number))

    def _whose(self, number: int) -> LineFault:
        return LineFault(
            self._source.place(number),
            "base of which instrument? The REST body does not say: add "
            '"symbol":"BTCUSDT" to the line',
        )

    def _survey(self, venue: str) -> Survey:
        if venue not in self._surveys:
            try:
                self._surveys[venue] = Survey(venue)
            except ValueError as error:
                raise ValueError(f"{error}: leave other lines out") from error
        return self._surveys[venue]

    def _look(self, message: Message) -> None:
        survey = self._survey(message.venue)
        if message.direction == BASE:
            asked = (message.conn, message.symbol)
            symbol = survey.symbol_of_base(message.number, message.payload, asked)
            survey.look_at_base(message.number, message.payload, symbol)
        elif message.direction == OUT:
            survey.look_at_request(message.payload, message.conn)
        elif message.direction == IN:
            payload = inflated(message)
            survey.look_at_push(payload, message.conn, is_text=message.is_text)

    def _numbered(self) -> dict[str, _Venue]:
        venues, first = {}, 0
        for name, survey in self._surveys.items():
            rows = survey.subscriptions(first)
            if not rows:
                continue
            numbers = survey.connections(rows)
            count = 1 + max([*numbers.values(), *(row.connection for row in rows)]) - first
            venues[name] = _Venue(survey, rows, numbers, first, count)
            first += count
        return venues

    # ---- second reading --------------------------------------------------------------------------

    def batches(self) -> Iterator[bytes]:
        """Yield records, about 256 KiB at a time."""
        parts: list[bytes] = []
        size = 0
        for message in self._source.messages():
            if isinstance(message, LineFault) or message.number in self._out:
                continue
            venue = self._venues.get(message.venue)
            if venue is None:
                continue
            for record in self._records(venue, message):
                parts.append(record)
                size += len(record)
            if size >= BATCH_SIZE:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)

    def _records(self, venue: _Venue, message: Message) -> Iterator[bytes]:
        t_ns = message.t_ns
        if message.direction == BASE:
            yield from self._base(venue, message)
        elif message.direction == OUT:
            opcode = TEXT if message.is_text else BINARY
            number = venue.numbers.get(message.conn, venue.any_number)
            yield pack_record(lib.TP_RECORD_OUT, opcode, number, t_ns, message.payload)
        elif message.direction == DOWN:
            for number in sorted(set(venue.numbers.values())):
                yield pack_record(lib.TP_RECORD_DOWN, 0, number, t_ns, b"")
                yield pack_record(lib.TP_RECORD_UP, 0, number, t_ns, b"")
        else:
            yield from self._push(venue, message)

    def _base(self, venue: _Venue, message: Message) -> Iterator[bytes]:
        survey = venue.survey
        asked = (message.conn, message.symbol)
        symbol = survey.symbol_of_base(message.number, message.payload, asked)
        number = next((row.connection for row in venue.rows if row.symbol == symbol), None)
        if number is None:
            return  # an instrument list
        try:
            if survey.base(message.payload, survey.find(symbol) or survey.found[0]) is None:
                return
        except ValueError:
            return  # it was counted at the first reading
        text = symbol.encode() + b"\n" + message.payload
        yield pack_record(lib.TP_RECORD_BASE_TEXT, 0, number, message.t_ns, text)

    def _push(self, venue: _Venue, message: Message) -> Iterator[bytes]:
        try:
            payload = inflated(message)
        except ValueError:
            return
        if message.conn not in venue.numbers:
            yield from self._adopt(venue, message, payload)
        number = venue.numbers.get(message.conn)
        if number is not None:
            opcode = TEXT if message.is_text else BINARY
            yield pack_record(lib.TP_RECORD_IN, opcode, number, message.t_ns, payload)

    def _adopt(self, venue: _Venue, message: Message, payload: bytes) -> Iterator[bytes]:
        """Let a connection that speaks on another's channel be the one after a reconnect.

        Where two speak on it in turn, the first one's messages make the book, the others' are left
        out: to follow both would be to begin it anew with every message.
        """
        parts = venue.survey.parts(payload, is_text=message.is_text)
        index = next((index for meaning, index, *_ in parts if meaning in DECODED), None)
        if index is None:
            return
        found, owner = venue.survey.found[index], venue.rows[index].connection
        if found.is_raced:
            if any(meaning in BOOKS for meaning, *_ in parts):
                venue.raced[found.channel] = venue.raced.get(found.channel, 0) + 1
            return
        for conn in [conn for conn, number in venue.numbers.items() if number == owner]:
            del venue.numbers[conn]
        venue.numbers[message.conn] = owner
        yield pack_record(lib.TP_RECORD_DOWN, 0, owner, message.t_ns, b"")
        yield pack_record(lib.TP_RECORD_UP, 0, owner, message.t_ns, b"")


def inflated(message: Message) -> bytes:
    """Undo the venue's compression; raises ValueError where that cannot be."""
    if not message.payload.startswith(GZIP_MAGIC):
        return message.payload
    facts = find_decoder(message.venue).facts
    if facts.compression != lib.TP_COMPRESSION_GZIP:
        return message.payload
    member = zlib.decompressobj(GZIP_WINDOW)
    try:
        payload = member.decompress(message.payload, facts.message_size_max)
    except zlib.error as error:
        raise ValueError(f"gzip: {error}: expected one whole member") from error
    if not member.eof or member.unused_data:
        raise ValueError(
            f"gzip: expected one whole member of at most {facts.message_size_max} bytes"
        )
    return payload
