"""Recording files: a header, then checksummed blocks that each stand alone, an index at the end.

docs/recording.md specifies the bytes. `FileWriter` appends, one write a block; `RecordingFile`
reads up to the first fault and raises `RecordingFault` there. Foreign bytes: every length is
bounded before it is used. Called by: recorder.py, replay.py, export.py. Calls: zlib, zstandard.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import zstandard
from tickpath.engine.recording.tap import Subscription  # noqa: TC002 # msgspec resolves it
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAGIC: Final = b"TICKPREC"
BLOCK_MAGIC: Final = b"BLK1"
END_MAGIC: Final = b"TICKPEND"
VERSION: Final = 2
VERSIONS_READ: Final = (1, 2)  # 1: blocks of events are of shared memory's layout 1
SUFFIX: Final = ".tpr"
RAW, EVENTS, INDEX = 1, 2, 3
STORED, ZSTD = 0, 1
HEADER = struct.Struct("<8sII")  # magic, version, size of the JSON that follows, then its CRC-32
CRC = struct.Struct("<I")
# magic, kind, codec, 0, stored size, size, count, first and last t_ns, number; then the CRC-32
BLOCK = struct.Struct("<4sBBHIIIQQQ")
INDEX_ROW = struct.Struct("<QQQII")  # offset, first and last t_ns, count, kind
END = struct.Struct("<Q8s")  # offset of the index block
RECORD = struct.Struct("<IBBHQ")  # payload size, kind, opcode, connection, t_ns
EVENT_SIZE: Final = 64
META_SIZE_MAX: Final = 64 << 20
BLOCK_SIZE_MAX: Final = 64 << 20
LEVEL_DEFAULT: Final = 1
KEEP_BYTES_MAX: Final = 1 << 36  # TP_FEED_BUFFER_POOL_BYTES_MAX


Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The header's JSON: what the records speak of. Only `instruments` is needed."""

    instruments: tuple[Subscription, ...]
    """All that the file's records speak of, as they were where it begins."""
    instruments_max: int = 0
    """How many there may be in files that continue this one; 0: as many as there are."""
    connections_max: int = 0
    connections: tuple[str, ...] = ()
    """The venue of each connection; one that has an instrument may be left out at the end."""
    changes_rows: bool = False
    """ROW records stand in it: what comes after one is not understood without it."""
    instance: str = ""
    instance_id: str = ""
    """Equal in files that continue each other."""
    part: int = 0
    """Number of the file within its instance_id."""
    begin_ns: int = 0
    """t_ns at which the recording began: records before only prepare the books; 0: all count."""
    realtime_offset_ns: int = 0
    """t_ns plus this is CLOCK_REALTIME."""
    silent_after_ns: Nanoseconds = 0
    """Without a message for so long a book went STALE; 0: never."""
    checkpoint_every_ns: Nanoseconds = 0
    keep_ns: Nanoseconds = 0
    """Messages of a book that waited for a base were kept for so long; 0: the default."""
    keep_bytes: Annotated[int, msgspec.Meta(ge=0, le=KEEP_BYTES_MAX)] = 0
    """The same of all books together, in bytes; 0: by their number."""
    ticks: bool = False
    """TICK records stand where time alone changed a book."""
    scales: bool = False
    """SCALED records stand where a scale was moved: a number that does not fit waits for one."""
    host: str = ""
    created_ns: int = 0


def unwritable(directory: Path, error: OSError, consequence: str) -> LocalError | SystemSetupError:
    """Make the error of an --out that cannot be written.

    Where it is no folder, what the user wrote is wrong; else the disk, or a permission, is.
    """
    is_no_folder = isinstance(error, FileExistsError | NotADirectoryError)
    kind = LocalError if is_no_folder else SystemSetupError
    return kind(
        f"--out {directory}: {error.strerror or error}: {consequence}; expected a folder that can "
        "be made or written"
    )


def give_names(files: Sequence[tuple[Path, Path]]) -> list[bool]:
    """Rename finished files from the first to the second path, all or none.

    Returns whether each replaced an earlier one. Raises OSError, and removes all of them then.
    """
    made = [aside for aside, _ in files]
    try:
        were = [_stands_in_the_place(path) for _, path in files]
        for place, (aside, path) in enumerate(files):
            made[place] = aside.replace(path)
    except OSError:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return were


def _stands_in_the_place(path: Path) -> bool:
    """Say whether a file is there; raises FileExistsError for a folder, before anything is lost."""
    if path.is_dir():
        raise FileExistsError(errno.EEXIST, f"{path.name} is a folder")
    return path.exists()


class RecordingFault(LocalError):  # noqa: N818 # a fault of the file, an error of the command
    """Say where a file stops being one, and that everything before was read."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"recording {path}: byte {offset}: {reason}: all before it was read")
        self.path, self.offset, self.reason = path, offset, reason


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `payload` is not decompressed before it is asked for."""

    kind: int
    count: int
    first_ns: int
    last_ns: int
    offset: int
    codec: int
    size: int
    stored: bytes

    def payload(self) -> bytes:
        """Decompress; raises ValueError where the bytes are not what the header says."""
        data = self.stored
        if self.codec == ZSTD:
            try:
                # A size within the frame overrides max_output_size: it is foreign, so look first.
                inside = zstandard.frame_content_size(data)
                if inside not in (-1, self.size):
                    raise ValueError(f"zstd: a frame of {inside} bytes, expected {self.size}")
                data = zstandard.ZstdDecompressor().decompress(data, max_output_size=self.size)
            except zstandard.ZstdError as error:
                raise ValueError(f"zstd: {error}") from error
        if len(data) != self.size:
            raise ValueError(f"a block of {len(data)} bytes, its header says {self.size}")
        return data


def pack_record(kind: int, opcode: int, connection: int, t_ns: int, payload: bytes) -> bytes:
    """Return one record as it stands in a RAW block."""
    head = RECORD.pack(len(payload), kind, opcode, connection, t_ns)
    return head + payload + bytes(-len(payload) % 8)


# ---- writing -------------------------------------------------------------------------------------


@dataclass(slots=True)
class FileWriter:
    """Append blocks to a new file; each is one write, so that a crash leaves whole blocks."""

    path: Path
    meta: Meta
    level: int = LEVEL_DEFAULT
    size: int = 0
    blocks: int = 0
    _file: int = -1
    _index: list[bytes] = field(default_factory=list)
    _compressor: zstandard.ZstdCompressor = field(init=False)

    def __post_init__(self) -> None:
        """Create the file and write its header; raises SystemSetupError."""
        self._compressor = zstandard.ZstdCompressor(level=self.level)
        text = msgspec.json.encode(self.meta)
        head = HEADER.pack(MAGIC, VERSION, len(text)) + text
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o640)
        except OSError as error:
            raise SystemSetupError(
                f"recording {self.path}: {error.strerror}: name a directory that can be written"
            ) from error
        try:
            self._write(head + CRC.pack(zlib.crc32(head)))
        except SystemSetupError:
            self.abandon()
            self.path.unlink()  # nothing is in it
            raise

    @property
    def descriptor(self) -> int:
        """Borrow the file's descriptor."""
        return self._file

    def _write(self, data: bytes) -> None:
        """Write all of it or, where the disk is full, nothing."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            os.ftruncate(self._file, self.size)  # back to the last whole block
            raise SystemSetupError(
                f"recording {self.path}: {error.strerror}: it is whole up to here; make room and "
                "start again"
            ) from error
        self.size += len(data)

    def append(self, kind: int, payload: bytes, count: int, span: tuple[int, int]) -> None:
        """Write one block; span: first and last t_ns. Raises SystemSetupError: nothing was added.

        A payload that does not shrink is stored as it is.
        """
        packed = self._compressor.compress(payload)
        codec = ZSTD if len(packed) < len(payload) else STORED
        stored = packed if codec == ZSTD else payload
        head = BLOCK.pack(
            BLOCK_MAGIC, kind, codec, 0, len(stored), len(payload), count, *span, self.blocks
        )
        crc = zlib.crc32(stored, zlib.crc32(head))
        offset = self.size
        self._write(b"".join((head, CRC.pack(crc), stored)))
        self.blocks += 1
        if kind != INDEX:
            self._index.append(INDEX_ROW.pack(offset, *span, count, kind))

    def close(self) -> None:
        """Write the index, wait for the disk and close."""
        if self._file < 0:
            return
        try:
            self.finish()
        except SystemSetupError:
            self.abandon()
            raise
        self.sync_and_close()

    def finish(self) -> None:
        """Write the index; a file without one is read by its blocks."""
        offset = self.size
        self.append(INDEX, b"".join(self._index), len(self._index), (0, 0))
        self._write(END.pack(offset, END_MAGIC))

    def sync_and_close(self) -> None:
        """Wait until the disk has it, and close; may take long. Raises OSError."""
        try:
            os.fdatasync(self._file)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without an index."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


# ---- reading -------------------------------------------------------------------------------------


def _read_head(path: Path, data: bytes) -> tuple[Meta, int]:
    """Return the header and where the first block stands."""
    if len(data) < HEADER.size and MAGIC.startswith(data[: len(MAGIC)]):
        raise RecordingFault(path, len(data), "the header is cut")
    magic, version, size = HEADER.unpack(data[: HEADER.size].ljust(HEADER.size, b"\0"))
    if magic != MAGIC:
        raise LocalError(
            f"recording {path}: not a recording: its first bytes are {magic.hex(' ')}, expected "
            f"{MAGIC.hex(' ')} ({MAGIC.decode()}): give a file of `tickpath record`, or --ndjson "
            "for text"
        )
    if version not in VERSIONS_READ:
        raise LocalError(
            f"recording {path}: version {version}, expected 1 to {VERSION}: use the tickpath that "
            "wrote it"
        )
    end = HEADER.size + size
    if size > META_SIZE_MAX or len(data) < end + CRC.size:
        raise RecordingFault(path, HEADER.size, f"the header says {size} bytes, and is cut")
    if CRC.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
        raise RecordingFault(path, 0, "the header's CRC-32 does not fit")
    try:
        return msgspec.json.decode(data[HEADER.size : end], type=Meta), end + CRC.size
    except msgspec.DecodeError as error:
        raise LocalError(f"recording {path}: its header: {error}") from error


class RecordingFile:
    """A file that is read block by block; `meta` is there at once."""

    def __init__(self, path: Path) -> None:
        """Open; raises LocalError where it is none, RecordingFault where its header is damaged."""
        self.path = path
        try:
            self._file = path.open("rb")
            self._size = path.stat().st_size
            head = self._file.read(HEADER.size)
            if len(head) == HEADER.size and head.startswith(MAGIC):
                _, self.version, size = HEADER.unpack(head)
                head += self._file.read(min(size, META_SIZE_MAX) + CRC.size)
        except OSError as error:
            raise LocalError(
                f"recording {path}: {error.strerror}: give a file that `tickpath record` wrote"
            ) from error
        self.meta, self._start = _read_head(path, head)
        self.is_closed = self._index_offset() is not None
        """Whether its recorder ended it in good order: it has an index."""

    def _index_offset(self) -> int | None:
        if self._size < self._start + END.size:
            return None
        self._file.seek(self._size - END.size)
        offset, magic = END.unpack(self._file.read(END.size))
        inside = self._start <= offset <= self._size - END.size - BLOCK.size - CRC.size
        return int(offset) if magic == END_MAGIC and inside else None

    def _offset_from(self, from_ns: int) -> tuple[int, int]:
        """Return where the first block that reaches so late stands, and its number."""
        rows = self._index_rows()
        if rows is None:
            rows = list(self._scan())
        for number, (offset, last_ns) in enumerate(rows):
            if last_ns >= from_ns:
                return offset, number
        return (rows[-1][0], len(rows) - 1) if rows else (self._start, 0)

    def _index_rows(self) -> list[tuple[int, int]] | None:
        """Return offset and last_ns of the blocks; None where there is no index to believe."""
        index = self._index_offset()
        if index is None:
            return None
        try:
            block = self._block_at(index, None)
            payload = block.payload() if block is not None and block.kind == INDEX else b"?"
            rows = [(row[0], row[2]) for row in INDEX_ROW.iter_unpack(payload)]
        except (RecordingFault, ValueError, struct.error):
            return None  # the blocks are read up to the fault, and tell it
        offsets = [self._start - 1, *(offset for offset, _ in rows), index]
        return rows if all(a < b for a, b in pairwise(offsets)) else None

    def _scan(self) -> Iterator[tuple[int, int]]:
        """Yield offset and last_ns of the blocks by their headers alone."""
        offset = self._start
        while offset + BLOCK.size + CRC.size <= self._size:
            self._file.seek(offset)
            magic, _, _, _, stored, _, _, _, last_ns, _ = BLOCK.unpack(self._file.read(BLOCK.size))
            if magic != BLOCK_MAGIC or stored > BLOCK_SIZE_MAX:
                return
            yield offset, last_ns
            offset += BLOCK.size + CRC.size + stored

    def _fault(self, offset: int, reason: str) -> RecordingFault:
        return RecordingFault(self.path, offset, reason)

    def _block_at(self, offset: int, number: int | None) -> Block | None:
        """Read and check one block; None at the end of the file."""
        self._file.seek(offset)
        head = self._file.read(BLOCK.size + CRC.size)
        if not head:
            return None
        if len(head) < BLOCK.size + CRC.size:
            raise self._fault(offset, "a block's header is cut")
        magic, kind, codec, _, stored_size, size, count, first, last, found = BLOCK.unpack_from(
            head
        )
        if magic != BLOCK_MAGIC:
            raise self._fault(offset, f"no block: it starts with {magic.hex(' ')}")
        if max(stored_size, size) > BLOCK_SIZE_MAX:
            raise self._fault(offset, f"a block of {max(stored_size, size)} bytes")
        stored = self._file.read(stored_size)
        if len(stored) < stored_size:
            raise self._fault(offset, f"a block is cut: {len(stored)} of {stored_size} bytes")
        if CRC.unpack_from(head, BLOCK.size)[0] != zlib.crc32(
            stored, zlib.crc32(head[: BLOCK.size])
        ):
            raise self._fault(offset, "a block's CRC-32 does not fit")
        if number is not None and found != number:
            raise self._fault(offset, f"block {found}, expected {number}: some are missing")
        if kind not in (RAW, EVENTS, INDEX) or codec not in (STORED, ZSTD):
            raise self._fault(offset, f"a block of kind {kind}, codec {codec}: of a later version")
        return Block(kind, count, first, last, offset, codec, size, stored)

    def blocks(self, from_ns: int = 0) -> Iterator[Block]:
        """Yield the blocks in order, from the first that reaches from_ns.

        Raises RecordingFault at the first byte that is not what it should be.
        """
        offset, number = (self._start, 0) if from_ns == 0 else self._offset_from(from_ns)
        while (block := self._next(offset, number)) is not None:
            yield block
            offset += BLOCK.size + CRC.size + len(block.stored)
            number += 1

    def _next(self, offset: int, number: int) -> Block | None:
        block = self._block_at(offset, number)
        if block is None or block.kind != INDEX:
            return block
        end = offset + BLOCK.size + CRC.size + len(block.stored)
        self._file.seek(end)
        if self._file.read(END.size + 1) != END.pack(offset, END_MAGIC):
            raise self._fault(end, "the file's end is damaged")
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RecordingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def recording_paths(path: Path) -> list[Path]:
    """Return the file itself, or a directory's recordings in the order in which they were made."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise LocalError(f"{path}: no {SUFFIX} file in it: name the --out of a `tickpath record`")
    return found
