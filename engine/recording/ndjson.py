"""Recorded messages as lines of JSON, which anybody can write, as a source of foreign.py.

A line: {"t_ns":…,"venue":NAME,"conn":…,"dir":"in|out|base","text"|"base64":…}. Lines of several
venues may stand in one file. A bad line takes itself out. docs/recording.md has the rules.
Called by: replay.py, export.py. Calls: foreign.py.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from tickpath.engine.recording.foreign import BASE, ForeignRecording, LineFault, Message
from tickpath.engine.recording.survey import Connection  # noqa: TC002 # msgspec resolves it
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T_NS_MAX: Final = (1 << 64) - 1
LINE_SIZE_MAX: Final = 16 << 20
OLD_BASE: Final = "snapshot"  # its name in the version before, still accepted


class _Line(msgspec.Struct):
    t_ns: int
    venue: str
    conn: Connection
    dir: Literal["in", "out", "base", "snapshot"]
    text: str | None = None
    base64: str | None = None
    symbol: str | None = None


_line_decoder = msgspec.json.Decoder(_Line)


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


def read_lines(path: Path, size_max: int = LINE_SIZE_MAX) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line with its number, None for one that is too long; blank ones are left out.

    Raises LocalError without a file.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while data := file.readline(size_max):
                number += 1
                if len(data) == size_max and not data.endswith(b"\n"):
                    while data and not data.endswith(b"\n"):
                        data = file.readline(size_max)
                    yield number, None
                elif data.strip():
                    yield number, data
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}: give a file of JSON lines") from error


class NdjsonSource:
    """A file of lines."""

    instance_id = "ndjson"
    realtime_offset_ns = 0

    def __init__(self, path: Path) -> None:
        """Take a path; nothing is read yet."""
        self._path, self.name = path, str(path)

    def messages(self) -> Iterator[Message | LineFault]:
        """Yield checked lines, and what is wrong with the others."""
        for number, data in read_lines(self._path):
            if data is None:
                yield LineFault(number, f"longer than {LINE_SIZE_MAX} bytes")
            else:
                yield _checked(number, data)

    def place(self, number: int) -> int:
        """Return the line's number."""
        return number

    def warning(self, old_names: int) -> str:
        """Say what a base is called now."""
        return (
            f'{self.name}: "dir":"{OLD_BASE}" is now called "dir":"{BASE}" ({old_names} lines): '
            "rename it; the next version refuses the old name"
        )


def _checked(number: int, data: bytes) -> Message | LineFault:
    try:
        return _parse(number, data)
    except LineFault as fault:
        return fault


class NdjsonRecording(ForeignRecording):
    """A file of lines as batches of records."""

    def __init__(self, path: Path, instrument_list: bytes | None = None) -> None:
        """Read the file once; raises LocalError where it has no instrument.

        instrument_list: the venue's, for the numbers' decimals.
        """
        self.path = path
        super().__init__(NdjsonSource(path), instrument_list)
