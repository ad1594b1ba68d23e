"""Raw files of Tardis, as a source of foreign.py: a line is a local time and a venue's message.

    2026-11-18T12:26:40.0190000Z {"stream":"btcusdt@depth@100ms","data":{…}}

The time is UTC, with up to nine digits of fraction (theirs has seven). An empty line, or a time
alone, says that the connection was lost: every book of the venue begins anew. Files are gzip or
zstd, of one frame or many, or plain; a minute each, or more. What Tardis wrote in words of its own
(answers of REST among the messages, protobuf as JSON) is the venue's transcript's to read.
Source: docs.tardis.dev and tardis-dev/tardis-node (src/replay.ts), read 2026-11-30.
Called by: foreign_arguments.py. Calls: foreign.py.
"""

from __future__ import annotations

import gzip
import zlib
from bisect import bisect_right
from collections import Counter
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

import zstandard
from tickpath._core import ffi, lib
from tickpath.engine.recording.foreign import (
    BASE,
    DOWN,
    IN,
    ForeignRecording,
    LineFault,
    Message,
)
from tickpath.proto.transcript import load_transcript
from tickpath.proto.venues import load_venue, venue_names
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tickpath.proto.transcript import Transcript

LINE_SIZE_MAX: Final = 16 << 20
STAMP_SIZE_MAX: Final = len("2026-11-18T12:26:40.123456789Z")
SUFFIXES: Final = (".gz", ".zst", ".json", ".ndjson", ".txt")
"""Of the files that a folder is searched for."""
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ZSTD_PIECE: Final = 1 << 10
"""Bytes that are unpacked at a time: they may become 32,768 times as many."""
PROBED: Final = 500
"""Messages that are looked at to find out whose they are."""
BROKEN: Final = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
WANTED: Final = "a time such as 2026-11-18T12:26:40.0190000Z, a space and the venue's message"


def tardis_paths(paths: Sequence[Path]) -> list[Path]:
    """Return the files themselves, and those of folders in the order of their names."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())
        if not inside:
            raise LocalError(f"{path}: no file of Tardis in it: expected *{', *'.join(SUFFIXES)}")
        found += inside
    return found


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for its text, whatever it is packed with."""
    with path.open("rb") as file:
        magic = file.read(len(ZSTD_MAGIC))
        file.seek(0)
        if magic.startswith(GZIP_MAGIC):
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc] # typeshed: not IO, and all of it
        elif magic == ZSTD_MAGIC:
            yield _Lines(_unpacked(file))  # type: ignore[misc] # all that is read of it
        else:
            yield file


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the text of zstd frames; raises EOFError where the last one is cut."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    is_within = False
    while data := file.read(ZSTD_PIECE):
        while data:
            yield frame.decompress(data)
            is_within, data = not frame.eof, frame.unused_data
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
    if is_within:
        raise EOFError("it ends within a frame")


class _Lines:
    """Lines of pieces of text."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readline(self, size: int) -> bytes:
        """Return a line of up to size bytes, b"" at the end."""
        while b"\n" not in self._left and len(self._left) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._left += piece
        end = self._left.find(b"\n", 0, size) + 1 or min(size, len(self._left))
        line, self._left = self._left[:end], self._left[end:]
        return line


class TardisSource:
    """Files of one venue, in their order."""

    instance_id = "tardis"
    realtime_offset_ns = 0

    def __init__(self, paths: Sequence[Path], venue: str | None) -> None:
        """Take files or folders; raises LocalError where it is not clear whose they are."""
        self._paths = tardis_paths(paths)
        self.name = str(self._paths[0]) + (" …" if len(self._paths) > 1 else "")
        self._starts: list[int] = []  # number of the first line of each file
        try:
            self._venue = venue or self._find_venue()
            self._transcript: Transcript = load_transcript(self._venue)
        except ValueError as error:
            raise LocalError(f"--venue: {error}") from error

    # ---- lines -----------------------------------------------------------------------------------

    def _lines(self) -> Iterator[tuple[int, bytes | LineFault]]:
        """Yield lines with their numbers, counted over all files."""
        number, self._starts = 0, []
        for path in self._paths:
            self._starts.append(number + 1)
            try:
                with _opened(path) as file:
                    while data := file.readline(LINE_SIZE_MAX):
                        number += 1
                        if len(data) == LINE_SIZE_MAX and not data.endswith(b"\n"):
                            while data and not data.endswith(b"\n"):
                                data = file.readline(LINE_SIZE_MAX)
                            reason = f"longer than {LINE_SIZE_MAX} bytes"
                            yield number, LineFault(self.place(number), reason)
                        else:
                            yield number, data
            except BROKEN as error:
                number += 1
                reason = f"the file is cut or damaged here ({error}): fetch it again"
                yield number, LineFault(self.place(number), reason)
            except OSError as error:
                raise LocalError(f"{path}: {error.strerror}: give files of Tardis") from error

    def place(self, number: int) -> int | str:
        """Return the line's number within its file, and which that is of several."""
        index = max(0, bisect_right(self._starts, number) - 1)
        own = number - (self._starts[index] - 1 if self._starts else 0)
        return own if len(self._paths) == 1 else f"{own} of {self._paths[index]}"

    def warning(self, old_names: int) -> str:
        """Say nothing: this form has no old names."""
        return f"{old_names}"

    # ---- messages --------------------------------------------------------------------------------

    def messages(self) -> Iterator[Message | LineFault]:
        """Yield checked messages and disconnects, and what is wrong with the other lines."""
        last_ns, is_down = 0, False
        for number, data in self._lines():
            if isinstance(data, LineFault):
                yield data
                continue
            stamp, _, payload = data.strip().partition(b" ")
            t_ns = _parse_stamp(stamp) if stamp else last_ns
            if t_ns is None:
                shown = stamp[:STAMP_SIZE_MAX].decode("utf-8", "backslashreplace")
                yield LineFault(self.place(number), f'begins with "{shown}": expected {WANTED}')
                continue
            last_ns = t_ns
            if payload:
                yield self._message(number, t_ns, payload)
            elif not is_down and t_ns:  # before the first time nothing is up, and no time is known
                yield Message(number, t_ns, self._venue, 0, DOWN, True, b"")
            is_down = not payload

    def _message(self, number: int, t_ns: int, payload: bytes) -> Message:
        restored = self._transcript.restored(payload)
        if restored is None:
            return Message(number, t_ns, self._venue, 0, IN, True, payload)
        what = BASE if restored.symbol else IN
        return Message(
            number,
            t_ns,
            self._venue,
            0,
            what,
            restored.is_text,
            restored.payload,
            restored.symbol or None,
        )

    # ---- whose they are --------------------------------------------------------------------------

    def _find_venue(self) -> str:
        """Return the one venue whose channels the first messages are of; raises ValueError."""
        readers = {name: reader for name in venue_names() if (reader := _reader_of(name))}
        found: Counter[str] = Counter()
        seen = 0
        for _, data in self._lines():
            if isinstance(data, LineFault):
                continue
            payload = data.strip().partition(b" ")[2]
            found.update(name for name, reads in readers.items() if payload and reads(payload))
            seen += bool(payload)
            if seen == PROBED:
                break
        best = [name for name, count in found.items() if count == max(found.values())]
        if len(best) == 1:
            return best[0]
        whose = f"read as {' or '.join(best)}" if best else "of no venue that is known here"
        known = ", ".join(sorted(readers))
        raise ValueError(
            f"the messages of {self.name} are {whose}: say whose they are, as --venue "
            f"{best[0] if best else 'NAME'} (one of {known})"
        )


class _Reader:
    """Says whether a message is of a channel of one venue."""

    def __init__(self, name: str) -> None:
        self._transcript, self._decoder = load_transcript(name), find_decoder(name)

    def __call__(self, payload: bytes) -> bool:
        """Ask the venue for the message's channels, and its decoder for each."""
        restored = self._transcript.restored(payload)
        if restored is not None and restored.symbol:
            return True
        names = self._transcript.channels_of(restored.payload if restored else payload)
        return any(self._decoder.describe(name.encode()) != ffi.NULL for name in names)


def _reader_of(name: str) -> _Reader | None:
    try:
        return _Reader(load_venue(name).name)
    except ValueError:
        return None


def _parse_stamp(stamp: bytes) -> int | None:
    out = ffi.new("uint64_t *")
    return int(out[0]) if lib.tp_timestamp_parse(stamp, len(stamp), out) else None


class TardisRecording(ForeignRecording):
    """Files of Tardis as batches of records."""

    def __init__(
        self,
        paths: Sequence[Path],
        venue: str | None = None,
        instrument_list: bytes | None = None,
    ) -> None:
        """Read them once; raises LocalError where they have no instrument.

        venue: None: found by what the messages say. instrument_list: the venue's, for the numbers'
        decimals.
        """
        super().__init__(TardisSource(paths, venue), instrument_list)
