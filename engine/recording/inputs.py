"""What `replay`, `export` and `certificate` are given: recordings, of ours or of others.

A run is a header and batches of records; what could not be used of it is counted.
Called by: replay.py, export.py, hftbacktest.py, certificate.py. Calls: recorded.py, ndjson.py,
tardis.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.engine.recording.format import recording_paths
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.recording.recorded import continues, recorded_runs
from tickpath.engine.recording.tardis import TardisRecording, tardis_paths
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from tickpath.engine.recording.foreign import ForeignRecording
    from tickpath.engine.recording.format import Meta
    from tickpath.engine.recording.left_out import LeftOut
    from tickpath.engine.recording.replayer import Replayer


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE, and what says that it is somebody else's recording."""
    parser.add_argument(
        "file",
        type=Path,
        nargs="+",
        metavar="FILE|DIR",
        help="of `tickpath record`, in their order",
    )
    parser.add_argument("--ndjson", action="store_true", help="FILE is lines of JSON")
    parser.add_argument(
        "--tardis", action="store_true",
        help="FILE... are raw files of Tardis (gzip, zstd or plain) in their order; of a folder "
        "all are taken, by name",
    )  # fmt: skip
    parser.add_argument(
        "--venue", metavar="NAME", help="with --tardis: whose they are (default: found in them)"
    )
    parser.add_argument(
        "--instruments", type=Path, metavar="FILE",
        help="with --ndjson or --tardis: a venue's instrument list, for the numbers' decimals",
    )  # fmt: skip


def check_inputs(args: argparse.Namespace) -> None:
    """Raise LocalError where the options contradict each other."""
    is_foreign = args.ndjson or args.tardis
    if args.ndjson and args.tardis:
        raise LocalError("--ndjson and --tardis: two forms: expected one of them")
    if args.ndjson and len(args.file) > 1:
        raise LocalError(
            f"--ndjson: {len(args.file)} files, expected one: join them in their order"
        )
    if args.venue is not None and not args.tardis:
        raise LocalError(f"--venue {args.venue}: expected --tardis beside it")
    if args.instruments is not None and not is_foreign:
        raise LocalError(
            f"--instruments {args.instruments}: expected --ndjson or --tardis beside it"
        )


def open_runs(
    args: argparse.Namespace, left_out: LeftOut, from_ns: int = 0
) -> Iterator[tuple[Meta, Iterator[bytes]]]:
    """Yield the runs of what is given, and note what was left out of them.

    from_ns: nothing long before is needed. Raises LocalError for what is no recording, and for a
    damaged file after all that could be read.
    """
    if not (args.ndjson or args.tardis):
        yield from recorded_runs(*args.file, from_ns=from_ns)
        return
    recording = _open_foreign(args)
    for line in recording.warnings:
        print(f"tickpath: {line}", file=sys.stderr)
    left_out.bookless |= recording.bookless
    yield recording.meta, recording.batches()
    left_out.note_lines(recording)


def played(
    args: argparse.Namespace, left_out: LeftOut, make: Callable[[Meta], Replayer]
) -> Iterator[tuple[Replayer, Iterator[bytes]]]:
    """Yield the feed of each run, which `make` builds, and what it is to play.

    Runs that continue each other share a feed; one that is followed by another ends with all its
    books STALE. Raises LocalError as `open_runs` does.
    """
    replayer: Replayer | None = None
    try:
        for meta, batches in open_runs(args, left_out):
            if replayer is not None and continues(replayer.meta, meta):
                replayer.go_on_with(meta)
            else:
                if replayer is not None:
                    left_out.note(replayer)
                    replayer.end_run()
                replayer = make(meta)
            yield replayer, batches
    finally:
        if replayer is not None:
            left_out.note(replayer)


def input_paths(args: argparse.Namespace) -> list[Path]:
    """Return the files that are read, in their order; raises LocalError for an empty folder."""
    if args.tardis:
        return tardis_paths(args.file)
    if args.ndjson:
        return list(args.file)
    return [one for path in args.file for one in recording_paths(path)]


def output_name(args: argparse.Namespace) -> str:
    """Return what files that are made of the input are called."""
    name: str = args.file[0].resolve().name
    for suffix in (".gz", ".zst", ".json", ".ndjson", ".tpr"):
        name = name.removesuffix(suffix)
    return name


def _open_foreign(args: argparse.Namespace) -> ForeignRecording:
    listed = _instrument_list(args.instruments)
    if args.tardis:
        return TardisRecording(args.file, args.venue, listed)
    return NdjsonRecording(args.file[0], listed)


def _instrument_list(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise LocalError(f"--instruments {path}: {error.strerror}: give a file") from error
