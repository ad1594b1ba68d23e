"""`tickpath record`: append an instance's raw messages and events to files until told to stop.

Called by: engine/cli.py. Calls: recorder.py.
"""

from __future__ import annotations

import sys
import time
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tickpath.engine.recording.left_out import LEFT_OUT
from tickpath.engine.recording.recorder import Recorder, RecordOptions, Totals
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.segment import SegmentNotReadyError

if TYPE_CHECKING:
    import argparse

IDLE_S = 0.001
WAITING_S = 0.05
TOLD_EVERY_S = 1.0
DEFAULTS = RecordOptions()


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath record`."""
    parser = subparsers.add_parser(
        "record",
        description="Record the raw messages and the events of a running instance into files.\n\n"
        "The instance's configuration must say tap = true under [record]. Nothing that happens\n"
        "here is felt by its feed handler: a full disk or a kill ends the recording alone.",
        epilog=f"example: tickpath record {DEFAULT_NAME} --out /srv/recordings\n"
        "docs/recording.md specifies the files; tickpath replay and tickpath export read them.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("instance", help="instance name, as in its configuration")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="made if missing")
    parser.add_argument(
        "--max-bytes", type=int, default=DEFAULTS.file_bytes_max, metavar="N",
        help="begin a new file after so many bytes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-seconds", type=float, default=DEFAULTS.file_seconds_max, metavar="S",
        help="and after so long (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--duration", type=float, metavar="S", help="end after so long")
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="S",
        help="wait so long for the instance to appear (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--flush", type=float, default=DEFAULTS.flush_s, metavar="S",
        help="write a block at least so often; a kill loses less than that (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--sync", type=float, default=DEFAULTS.sync_s, metavar="S",
        help="fdatasync at least so often, 0: never (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--level", type=int, default=DEFAULTS.level, metavar="N",
        help="zstd level, 1 to 19 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="one object a second, and one at the end"
    )


def _options(args: argparse.Namespace) -> RecordOptions:
    limits = {
        "--max-bytes": (args.max_bytes, 1 << 16, 1 << 50),
        "--max-seconds": (args.max_seconds, 0.1, 1_000_000_000),
        "--duration": (1 if args.duration is None else args.duration, 0, 1_000_000_000),
        "--wait": (args.wait, 0, 1_000_000_000),
        "--flush": (args.flush, 0, 3600),
        "--sync": (args.sync, 0, 3600),
        "--level": (args.level, 1, 19),
    }
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise LocalError(f"{name} {value}: expected {least} to {most}")
    return RecordOptions(
        file_bytes_max=args.max_bytes,
        file_seconds_max=args.max_seconds,
        flush_s=args.flush,
        sync_s=args.sync,
        level=args.level,
    )


def _open(recorder: Recorder, wait_s: float, stop: StopFlag) -> None:
    end = time.monotonic() + wait_s
    while True:
        try:
            recorder.open()
        except SegmentNotReadyError:
            if time.monotonic() >= end or stop.wait(WAITING_S):
                raise
        else:
            return


class _Teller:
    """Say once a second how it goes: a line where a person looks, JSON where a program does."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json, self._due = as_json, 0.0
        self._is_live = sys.stderr.isatty() and not as_json

    def tell(self, recorder: Recorder) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + TOLD_EVERY_S
        if self._as_json:
            self._print(recorder, "recording")
        elif self._is_live:
            print(f"\r\x1b[K{_sentence(recorder)}", end="", file=sys.stderr, flush=True)

    def end(self, recorder: Recorder) -> None:
        if self._as_json:
            self._print(recorder, "ended")
            return
        print("\r\x1b[K" if self._is_live else "", end="", file=sys.stderr)
        print(_sentence(recorder))

    @staticmethod
    def _print(recorder: Recorder, state: str) -> None:
        told = {"event": "waiting" if recorder.is_waiting else state, "t": time.time()}
        told |= msgspec.structs.asdict(recorder.totals)
        print(msgspec.json.encode(told).decode(), flush=True)


def _sentence(recorder: Recorder) -> str:
    totals: Totals = recorder.totals
    ratio = totals.bytes_in / totals.bytes_out if totals.bytes_out else 0.0
    gaps = totals.raw_gaps + totals.event_gaps
    return (
        f"{recorder.instance}: {totals.records:,} raw records, {totals.events:,} published events, "
        f"{totals.bytes_out / 1e6:,.1f} MB in {totals.files} file(s) ({ratio:.1f}x), {gaps} gaps"
        + (": waiting for the feed handler" if recorder.is_waiting else "")
    )


def run(args: argparse.Namespace) -> int:
    """Record until SIGINT, SIGTERM or --duration."""
    options = _options(args)
    stop = StopFlag()
    with EndSignals(stop.set, f"the disk of {args.out}"):
        return _record(args, options, stop)


def _record(args: argparse.Namespace, options: RecordOptions, stop: StopFlag) -> int:
    recorder = Recorder(instance=args.instance, directory=args.out, options=options)
    teller = _Teller(as_json=args.json)
    _open(recorder, args.wait, stop)
    end = float("inf") if args.duration is None else time.monotonic() + args.duration
    failure: SystemSetupError | None = None
    try:
        while not stop.is_set() and time.monotonic() < end:
            if not recorder.step():
                time.sleep(WAITING_S if recorder.is_waiting else IDLE_S)
            teller.tell(recorder)
        recorder.step()
        recorder.close()
    except SystemSetupError as error:  # the disk: what was written is whole
        failure = error
    finally:
        recorder.abandon()
    teller.end(recorder)
    lost = recorder.totals.lost_slots + recorder.totals.lost_events
    if lost:
        print(
            f"tickpath: left out: {recorder.totals.lost_slots:,} slots of messages and "
            f"{recorder.totals.lost_events:,} events that were overwritten before they were read: "
            "give [record] ring_capacity more, or the recorder a CPU",
            file=sys.stderr,
        )
    if failure is not None:
        raise failure
    return LEFT_OUT if lost else 0
