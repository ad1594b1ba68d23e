"""Recordings of ours as runs of records: file after file, and what is missing between them.

Called by: replay.py, export.py. Calls: format.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tickpath._core import lib
from tickpath.engine.recording.format import (
    RAW,
    RecordingFault,
    RecordingFile,
    pack_record,
    recording_paths,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tickpath.engine.recording.format import Meta
    from tickpath.engine.recording.tap import Subscription

BATCH_SIZE = 1 << 20  # of records: handing a batch from thread to thread takes some 50 us


def _ahead(batches: Iterator[bytes]) -> Iterator[bytes]:
    """Read and decompress one batch ahead, in a thread: both let go of the GIL."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _raw_batches(
    file: RecordingFile, from_ns: int, faults: list[RecordingFault]
) -> Iterator[bytes]:
    """Yield the records up to the file's end or its first fault, which is noted."""
    parts: list[bytes] = []
    size = 0
    try:
        for block in file.blocks(from_ns):
            if block.kind != RAW:
                continue
            try:
                parts.append(block.payload())
            except ValueError as error:
                raise RecordingFault(file.path, block.offset, str(error)) from error
            size += block.size
            if size >= BATCH_SIZE:
                yield b"".join(parts)
                parts, size = [], 0
    except RecordingFault as fault:
        faults.append(fault)
    if size:
        yield b"".join(parts)


def _after_loss(batches: Iterator[bytes]) -> Iterator[bytes]:
    """Put a GAP before the first record: what came before it is not there."""
    for number, batch in enumerate(batches):
        if number == 0:
            t_ns = int.from_bytes(batch[8:16], "little")
            yield pack_record(lib.TP_RECORD_GAP, 0, 0, t_ns, bytes(16))
        yield batch


def _is_gap(before: RecordingFile | None, file: RecordingFile) -> bool:
    """Say whether something of the same writer is missing between two files."""
    if before is None or not file.meta.instance_id:
        return False
    if before.meta.instance_id != file.meta.instance_id:
        return False
    return not before.is_closed or file.meta.part != before.meta.part + 1


def continues(before: Meta, meta: Meta) -> bool:
    """Say whether a file goes on where the one before ended: its books are carried over."""
    is_same = bool(meta.instance_id) and meta.instance_id == before.instance_id
    rows = meta.instruments[: len(before.instruments)]
    return (
        is_same
        and meta.begin_ns == 0
        and len(meta.instruments) <= max(before.instruments_max, len(before.instruments))
        and [_identity(row) for row in rows] == [_identity(row) for row in before.instruments]
    )


def _identity(row: Subscription) -> tuple[str, str, str]:
    """Return what stays while a feed handler runs: a place is one instrument's."""
    return row.venue, row.symbol, row.channel


def recorded_runs(*paths: Path, from_ns: int = 0) -> Iterator[tuple[Meta, Iterator[bytes]]]:
    """Yield (header, batches of records) of each file; from_ns: nothing long before is needed.

    A damaged file is read up to its fault, the next one goes on behind a GAP, as it does where a
    part is missing or its recorder was killed; the first fault is raised at the end.
    """
    faults: list[RecordingFault] = []
    known = 0
    before: RecordingFile | None = None
    for one in (one for path in paths for one in recording_paths(path)):
        was_damaged, known = len(faults) > known, len(faults)
        try:
            file = RecordingFile(one)
        except RecordingFault as fault:
            faults.append(fault)
            continue
        with file:
            lead_ns = 2 * file.meta.checkpoint_every_ns + file.meta.silent_after_ns
            may_skip = from_ns and file.meta.checkpoint_every_ns and not file.meta.changes_rows
            start = max(0, from_ns - lead_ns) if may_skip else 0
            batches = _raw_batches(file, start, faults)
            is_gap = was_damaged or _is_gap(before, file)
            yield file.meta, _ahead(_after_loss(batches) if is_gap else batches)
        before = file
    if faults:
        raise faults[0]
