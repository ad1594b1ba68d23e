"""Recorded messages as lines of JSON, which anybody can write, to records of our own.

A line: {"t_ns":…,"venue":NAME,"conn":…,"dir":"in|out|base","text"|"base64":…}. The file is
read twice: once for the instruments and how many decimals their numbers have, which no line says,
then for the records; what its messages show is the venue's to say (proto/transcript.py). All lines
are of one venue, the first's. A bad line takes itself out. docs/recording.md has the rules.
Called by: replay.py. Calls: format.py.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from tickpath._core import lib
from tickpath.engine.recording.format import Meta, pack_record
from tickpath.engine.recording.tap import Subscription
from tickpath.proto.records import EXPONENT_MIN
from tickpath.proto.transcript import BaseMessage, load_transcript
from tickpath.proto.venues import DEFAULT_NAME, load_venue, resolve_symbol
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tickpath.proto.instrument import Instrument
    from tickpath.proto.transcript import Transcript

TEXT, BINARY = 1, 2  # RFC 6455 section 5.2
T_NS_MAX: Final = (1 << 64) - 1
BATCH_SIZE: Final = 1 << 18
LINE_SIZE_MAX: Final = 16 << 20
BASE: Final = "base"
OLD_BASE: Final = "snapshot"  # its name in the version before, still accepted
Connection = int | str


class _Line(msgspec.Struct):
    t_ns: int
    venue: str
    conn: Connection
    dir: Literal["in", "out", "base", "snapshot"]
    text: str | None = None
    base64: str | None = None
    symbol: str | None = None


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
    symbol: str | None
    has_old_name: bool = False


_line_decoder = msgspec.json.Decoder(_Line)


class LineFault(LocalError):  # noqa: N818 # a fault of the file, an error of the command
    """Say which line is bad, and what it should be; it is left out, the others count."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number, self.reason = number, reason


def _parse(number: int, data: bytes) -> Message:
    try:
        line = _line_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise LineFault(
            number,
            f'{error}: write {{"t_ns","venue","conn","dir","text" or "base64"}}, '
            '"dir" one of in, out, base',
        ) from error
    if not 0 <= line.t_ns <= T_NS_MAX:
        raise LineFault(number, f"t_ns {line.t_ns}: expected 0 to {T_NS_MAX}")
    if (line.text is None) == (line.base64 is None):
        raise LineFault(number, 'expected either "text" or "base64": text frames as the former')
    if line.text is not None:
        payload = line.text.encode()
    else:
        try:
            payload = base64.b64decode(line.base64 or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise LineFault(number, f"base64: {error}: encode with padding (RFC 4648)") from error
    is_text = line.text is not None
    return Message(
        number,
        line.t_ns,
        line.venue.lower(),
        line.conn,
        BASE if line.dir == OLD_BASE else line.dir,
        is_text,
        payload,
        line.symbol,
        line.dir == OLD_BASE,
    )


def read_lines(path: Path) -> Iterator[Message | LineFault]:
    """Yield checked lines, and what is wrong with the others; raises LocalError without a file."""
    try:
        with path.open("rb") as file:
            number = 0
            while data := file.readline(LINE_SIZE_MAX):
                number += 1
                if len(data) == LINE_SIZE_MAX:
                    while data and not data.endswith(b"\n"):
                        data = file.readline(LINE_SIZE_MAX)
                    yield LineFault(number, f"longer than {LINE_SIZE_MAX} bytes")
                elif data.strip():
                    yield _checked(number, data)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}: give a file of JSON lines") from error


def _checked(number: int, data: bytes) -> Message | LineFault:
    try:
        return _parse(number, data)
    except LineFault as fault:
        return fault


# ---- first reading: which instruments, how many decimals -----------------------------------------


@dataclass(slots=True)
class _Found:
    channel: str = ""
    conn: Connection | None = None
    price_digits: int = 0
    quantity_digits: int = 0
    conns: set[Connection] = field(default_factory=set)
    last_conn: Connection | None = None
    switches: int = 0  # how often its messages went on over another connection
    versions: list[int] = field(default_factory=list)  # least and greatest of its messages
    prices: list[float] = field(default_factory=list)  # likewise; only ever compared

    def take_digits(self, rows: Iterable[tuple[str, str]]) -> None:
        """Widen the scale to these (price, quantity)."""
        for price, quantity in rows:
            self.price_digits = max(self.price_digits, _digits(price))
            self.quantity_digits = max(self.quantity_digits, _digits(quantity))

    def may_own(self, version: int, prices: list[float]) -> bool:
        """Say whether a base can belong to these messages."""
        if not self.versions or not self.versions[0] - 1 <= version <= self.versions[1]:
            return False
        spread = self.prices[1] - self.prices[0] if self.prices else 0.0
        return any(
            self.prices[0] - spread <= price <= self.prices[1] + spread for price in prices
        ) or not (prices and self.prices)


def _widen(span: list[Any], values: list[Any]) -> None:
    if values:
        span[:] = [min((*span, *values)), max((*span, *values))]


def _number(text: str) -> list[float]:
    try:
        return [float(text)]
    except ValueError:
        return []


def _digits(text: str) -> int:
    return min(len(text.partition(".")[2]), -EXPONENT_MIN)


def _whose(number: int) -> LineFault:
    return LineFault(
        number,
        'base of which instrument? The REST body does not say: add "symbol":"BTCUSDT" to the line',
    )


@dataclass(slots=True)
class Survey:
    """What the first reading found."""

    lines: int = 0
    """Those that count."""
    faults: dict[int, LineFault] = field(default_factory=dict)
    """Those that do not, by number."""
    venue: str = ""
    """Of all lines; "" before the first."""
    old_names: int = 0
    """Lines that call a base by its old name."""
    foreign_channels: dict[str, int] = field(default_factory=dict)
    """Messages of channels that are not depth, which are not decoded."""
    _found: dict[str, _Found] = field(default_factory=dict)  # by symbol
    _listed: dict[str, Instrument] = field(default_factory=dict)
    _asked: dict[Connection, str] = field(default_factory=dict)  # the symbol a REST line asked for
    _nameless: list[tuple[Message, BaseMessage]] = field(default_factory=list)
    _inferred: dict[int, str] = field(default_factory=dict)  # by line

    def read(self, path: Path) -> None:
        """Read the file; a bad line is noted and left out."""
        for message in read_lines(path):
            if isinstance(message, LineFault):
                self.faults[message.number] = message
                continue
            try:
                self._check_venue(message)
                self._look(message)
            except LineFault as fault:
                self.faults[message.number] = fault
                continue
            self.lines += 1
            self.old_names += message.has_old_name
        for message, body in self._nameless:
            if not self._infer(message, body):
                self.faults[message.number] = _whose(message.number)
                self.lines -= 1

    @property
    def transcript(self) -> Transcript:
        """Return what reads the venue's messages."""
        return load_transcript(self.venue or DEFAULT_NAME)

    def _check_venue(self, message: Message) -> None:
        if not self.venue:
            try:
                load_transcript(message.venue)
            except ValueError as error:
                raise LineFault(message.number, f"{error}: leave other lines out") from error
            self.venue = message.venue
        if message.venue != self.venue:
            raise LineFault(
                message.number,
                f'venue "{message.venue}": expected "{self.venue}", the first line\'s: leave other '
                "lines out",
            )

    def _infer(self, message: Message, body: BaseMessage) -> bool:
        """Find the one instrument whose versions and prices fit a base that nothing names.

        Where there is one only, it is that one.
        """
        prices = [one for row in (*body.bids[:1], *body.asks[:1]) for one in _number(row[0])]
        version = body.version
        fitting = [name for name, row in self._found.items() if row.channel]
        if len(fitting) > 1:
            fitting = [name for name in fitting if self._found[name].may_own(version, prices)]
        if len(fitting) != 1:
            return False
        self._inferred[message.number] = fitting[0]
        self._found[fitting[0]].take_digits((*body.bids, *body.asks))
        return True

    def list_instruments(self, data: bytes) -> None:
        """Take decimals from an instrument list; raises ValueError where it is none."""
        self._listed |= load_venue(self.venue or DEFAULT_NAME).parse_instruments(data).instruments

    def _look(self, message: Message) -> None:
        if message.direction == BASE:
            self._look_at_base(message)
        elif message.direction == "out":
            self._look_at_request(message)
        else:
            self._look_at_push(message)

    def _look_at_request(self, message: Message) -> None:
        request = self.transcript.request(message.payload.decode("utf-8", "replace"))
        if request.symbol:
            self._asked[message.conn] = request.symbol
        for name in request.channels:
            self._claim(name, message.conn)

    def _claim(self, channel: str, conn: Connection) -> _Found:
        found = self._found.setdefault(self.transcript.symbol_of(channel), _Found())
        if not found.channel:
            found.channel, found.conn = channel, conn
        return found

    def _look_at_push(self, message: Message) -> None:
        transcript = self.transcript
        channel = transcript.channel_of(message.payload, is_text=message.is_text)
        if channel is None:
            return
        if not transcript.is_book(channel):
            self.foreign_channels[channel] = self.foreign_channels.get(channel, 0) + 1
            return
        found = self._claim(channel, message.conn)
        found.switches += found.last_conn not in (None, message.conn)
        found.last_conn = message.conn
        found.conns.add(message.conn)
        shown = transcript.look(message.payload)
        if shown is None:
            return  # the feed meets it too, and says so by the book's state
        found.take_digits(shown.levels)
        _widen(found.prices, [one for price, _ in shown.levels for one in _number(price)])
        _widen(found.versions, shown.versions)

    def _look_at_base(self, message: Message) -> None:
        try:
            body = self.transcript.base(message.payload)
        except ValueError as error:
            raise LineFault(message.number, str(error)) from error
        if isinstance(body, dict):
            self._listed |= body
            return
        name = self.symbol_of(message, body.symbol)
        if not name:
            self._nameless.append((message, body))  # until all messages were seen
            return
        self._found.setdefault(name, _Found()).take_digits((*body.bids, *body.asks))

    def symbol_of(self, message: Message, in_body: str | None = None) -> str:
        """Return whose book a base is, "" where nothing near it says so."""
        if message.number in self._inferred:
            return self._inferred[message.number]
        conn = message.conn if isinstance(message.conn, str) else ""
        named = self._own_name(message.symbol) or in_body or self.transcript.request(conn).symbol
        return named or self._asked.get(message.conn, "") or (conn if conn in self._found else "")

    def _own_name(self, name: str | None) -> str | None:
        """Return the venue's own name of a line's symbol, which may be the canonical one."""
        if name is None or name in self._found:
            return name
        try:
            return resolve_symbol(load_venue(self.venue), name)
        except ValueError:
            return name

    def is_raced(self, channel: str) -> bool:
        """Say whether connections bring a channel in turn, more often than reconnects explain."""
        found = self._found.get(self.transcript.symbol_of(channel))
        return found is not None and found.switches >= 2 * len(found.conns)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Return the instruments, connections numbered in the order in which they appeared."""
        numbers: dict[Connection | None, int] = {}
        rows = []
        for symbol, found in self._found.items():
            listed = self._listed.get(symbol)
            price, quantity = found.price_digits, found.quantity_digits
            if listed is not None:
                price = max(price, -listed.price_exponent)
                quantity = max(quantity, -listed.quantity_exponent)
            rows.append(
                Subscription(
                    venue=self.venue or DEFAULT_NAME,
                    symbol=symbol,
                    price_exponent=-price,
                    quantity_exponent=-quantity,
                    channel=found.channel or self.transcript.silent_channel(symbol),
                    connection=numbers.setdefault(found.conn, len(numbers)),
                )
            )
        return tuple(rows)

    def connections(self) -> dict[Connection, int]:
        """Return the number of each connection that owns a channel."""
        rows = self.subscriptions()
        return {
            found.conn: row.connection
            for found, row in zip(self._found.values(), rows, strict=True)
            if found.conn is not None
        }


# ---- second reading: records ---------------------------------------------------------------------


class NdjsonRecording:
    """A file of lines as batches of records; what `tickpath record` writes, but for TICKs."""

    def __init__(self, path: Path, instrument_list: bytes | None = None) -> None:
        """Read the file once; raises LocalError where it has no instrument.

        instrument_list: the venue's, for the numbers' decimals.
        """
        self.path = path
        self.raced: dict[str, int] = {}
        """Messages left out, by channel: another connection brings it at the same time."""
        self._survey = Survey()
        self._survey.read(path)
        if instrument_list is not None:
            try:
                self._survey.list_instruments(instrument_list)
            except ValueError as error:
                raise LocalError(f"--instruments: {error}: give the venue's reply") from error
        if self._survey.lines == 0:
            for fault in self._survey.faults.values():
                raise LocalError(f"{path}: {fault}") from fault
        self.meta = Meta(instruments=self._survey.subscriptions(), instance_id="ndjson")
        self._owner = {row.channel: row.connection for row in self.meta.instruments}
        self._number = self._survey.connections()
        if not self.meta.instruments:
            raise LocalError(
                f"{path}: {self._survey.lines} lines, and no depth message, subscription or "
                "base among them: nothing to replay"
            )

    @property
    def foreign_channels(self) -> dict[str, int]:
        """Return how many messages each channel had that is not depth."""
        return self._survey.foreign_channels

    @property
    def faults(self) -> list[LineFault]:
        """Return what is wrong with the lines that were left out."""
        return list(self._survey.faults.values())

    @property
    def warnings(self) -> list[str]:
        """Return what the file says by an old name, a line each."""
        count = self._survey.old_names
        if not count:
            return []
        return [
            f'{self.path}: "dir":"{OLD_BASE}" is now called "dir":"{BASE}" ({count} lines): rename '
            "it; the next version refuses the old name"
        ]

    def batches(self) -> Iterator[bytes]:
        """Yield records, about 256 KiB at a time."""
        parts: list[bytes] = []
        size = 0
        for message in read_lines(self.path):
            if isinstance(message, LineFault) or message.number in self._survey.faults:
                continue
            for record in self._records(message):
                parts.append(record)
                size += len(record)
            if size >= BATCH_SIZE:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)

    def _records(self, message: Message) -> Iterator[bytes]:
        t_ns, payload = message.t_ns, message.payload
        if message.direction == BASE:
            body = self._survey.transcript.base(payload)
            if isinstance(body, BaseMessage):
                symbol = self._survey.symbol_of(message, body.symbol)
                text = symbol.encode() + b"\n" + payload
                yield pack_record(lib.TP_RECORD_BASE_TEXT, 0, 0, t_ns, text)
            return
        opcode = TEXT if message.is_text else BINARY
        if message.direction == "out":
            number = self._number.get(message.conn, 0)
            yield pack_record(lib.TP_RECORD_OUT, opcode, number, t_ns, payload)
            return
        if message.conn not in self._number:
            yield from self._adopt(message)
        if message.conn in self._number:
            number = self._number[message.conn]
            yield pack_record(lib.TP_RECORD_IN, opcode, number, t_ns, payload)

    def _adopt(self, message: Message) -> Iterator[bytes]:
        """Let a connection that speaks on another's channel be the one after a reconnect.

        Where two speak on it in turn, the first one's messages make the book, the others' are left
        out: to follow both would be to begin it anew with every message.
        """
        read = self._survey.transcript.channel_of
        channel = read(message.payload, is_text=message.is_text) or ""
        owner = self._owner.get(channel)
        if owner is None:
            return
        if self._survey.is_raced(channel):
            self.raced[channel] = self.raced.get(channel, 0) + 1
            return
        for conn in [conn for conn, number in self._number.items() if number == owner]:
            del self._number[conn]
        self._number[message.conn] = owner
        yield pack_record(lib.TP_RECORD_DOWN, 0, owner, message.t_ns, b"")
        yield pack_record(lib.TP_RECORD_UP, 0, owner, message.t_ns, b"")
