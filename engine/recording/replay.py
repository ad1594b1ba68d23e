"""`tickpath replay`: recorded messages through the live feed's own code, as fast as asked.

Called by: engine/cli.py. Calls: inputs.py for records, replayer.py for the feed.
"""

from __future__ import annotations

import math
import sys
import time
from argparse import BooleanOptionalAction, RawDescriptionHelpFormatter
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.engine.config.check import check_name
from tickpath.engine.recording.inputs import add_input_arguments, check_inputs, open_runs
from tickpath.engine.recording.left_out import LEFT_OUT, LeftOut
from tickpath.engine.recording.lines import BookLines, EventLines, IntentLines
from tickpath.engine.recording.pacing import RING_CAPACITY, Pacing
from tickpath.engine.recording.recorded import continues
from tickpath.engine.recording.replayer import END_OF_TIME, Replayer
from tickpath.engine.strategy.native import (
    NativeSet,
    figures,
    load_native,
    make_state,
    parse_parameters,
    why_stopped,
)
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from tickpath.engine.recording.format import Meta

SPEED_MAX = 1e6
EXIT_STRATEGY_FAILED = 4
LOOK_EVERY_S = 0.005  # heartbeat of a replay that waits for its next record
TOLD_EVERY_S = 1.0
WAIT_S_DEFAULT = 10.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath replay`."""
    parser = subparsers.add_parser(
        "replay",
        description="Replay a recording through the decoder, sync and books that ran live.\n\n"
        "Time is the recording's: the same file gives the same bytes, however fast it is read.",
        epilog="examples: tickpath replay recordings/ --print books\n"
        "          tickpath replay --ndjson messages.ndjson --print events\n"
        "          tickpath replay --tardis feeds/2026/11/01/ --print books\n"
        "          tickpath replay live-20260101T000000Z-1-000001.tpr --instance again --speed 1\n"
        "docs/recording.md has the formats. A damaged file is read up to the fault: status 2. "
        "What\nhad to be left out is named at the end: status 6.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_input_arguments(parser)
    parser.add_argument(
        "--speed", metavar="1|N|max",
        help="1: as it happened; N times that; max: flat out (default: max, with --instance 1)",
    )  # fmt: skip
    parser.add_argument(
        "--instance", metavar="NAME", help="publish into a segment that strategies can open"
    )
    parser.add_argument(
        "--lossless", action=BooleanOptionalAction,
        help="with --instance: wait for the first consumer, and never outrun one that registered "
        "(default: with --speed max; consumers that registered as lossless are always waited for)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", type=float, default=WAIT_S_DEFAULT, metavar="S",
        help="with --lossless: wait so long for the first consumer (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--print", dest="what", choices=("books", "events", "trades", "intents"),
        help="write NDJSON: books has a line for each message that changed a best price, its "
        "quantity or the state; intents are of --strategy",
    )  # fmt: skip
    parser.add_argument(
        "--strategy", metavar="SOURCE",
        help="call a native strategy inline: FILE.py:FUNCTION or LIBRARY.so:SYMBOL",
    )  # fmt: skip
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE",
        help="with --strategy: what its state begins with; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="from_ns", type=int, default=0, metavar="NS",
        help="print nothing stamped before (books begin at a checkpoint before it)",
    )  # fmt: skip
    parser.add_argument("--to", dest="to_ns", type=int, metavar="NS", help="and nothing after")
    parser.add_argument("--json", action="store_true", help="the summary as one object")


class Summary(msgspec.Struct):
    """What a replay did; `fault` where the file ended badly."""

    records: int = 0
    messages: int = 0
    events: int = 0
    gaps: int = 0
    """Holes in the recording."""
    version_gaps: int = 0
    """Holes in the venue's numbering: the book goes SYNCING until its next base."""
    checkpoints: int = 0
    diverged: int = 0
    broken: int = 0
    """Messages that the decoder refused: their book goes SYNCING until its next base."""
    undecoded: int = 0
    """Messages of channels that are not depth."""
    runs: int = 0
    """Runs of a feed handler, or recordings of one: books begin anew with each."""
    first_ns: int = 0
    last_ns: int = 0
    seconds: float = 0.0
    fault: str = ""
    left_out: list[str] = []
    """What had to be left out, a phrase each."""

    def add(self, replayer: Replayer) -> None:
        """Add what one feed counted."""
        c = replayer.c
        self.records += int(c.records)
        self.messages += int(c.messages)
        self.gaps += int(c.gaps)
        self.version_gaps += int(replayer.counters.gaps)
        self.checkpoints += int(c.checkpoints)
        self.diverged += int(c.diverged)
        self.events += replayer.event_count
        self.broken += int(replayer.counters.broken) + int(replayer.counters.unknown_body)
        self.undecoded += int(replayer.counters.unknown_channel)
        self.runs += 1
        self.last_ns = int(c.now_ns)


class Pace:
    """Which recorded time it is now, at a speed."""

    def __init__(self, speed: float | None) -> None:
        """Take None for flat out."""
        self._speed = speed
        self._zero: tuple[float, int] | None = None

    @property
    def is_paced(self) -> bool:
        """Say whether records wait for their time."""
        return self._speed is not None

    def until_ns(self, first_ns: int) -> int:
        """Return the recorded time that has come; the first call sets the beginning."""
        if self._speed is None:
            return END_OF_TIME
        now = time.monotonic()
        if self._zero is None:
            self._zero = (now, first_ns)
        return self._zero[1] + int((now - self._zero[0]) * self._speed * 1e9)

    def wait_s(self, next_ns: int) -> float:
        """Return how long it is until a record is due."""
        if self._speed is None or self._zero is None:
            return 0.0
        due = self._zero[0] + (next_ns - self._zero[1]) / 1e9 / self._speed
        return max(0.0, due - time.monotonic())


# ---- playing -------------------------------------------------------------------------------------


class Playback:
    """Play runs of records, each on the feed of its header; runs that continue share one."""

    def __init__(self, make: Callable[[Meta], Replayer], pace: Pace, stop: StopFlag) -> None:
        """Take what builds a feed, and how fast it goes."""
        self._make, self._pace, self._stop = make, pace, stop
        self._replayer: Replayer | None = None
        self._meta: Meta  # of its first file
        self.summary = Summary()
        self.left_out = LeftOut()
        self.to_ns = END_OF_TIME
        self._told = 0.0
        self._is_live = sys.stderr.isatty()

    def _feed_for(self, meta: Meta) -> Replayer:
        current = self._replayer
        if current is not None:
            if continues(current.meta, meta):
                current.go_on_with(meta)
                return current
            self.left_out.note(current)
            current.end_run()
            self._end(is_noted=True)
        self._meta = meta
        self._replayer = self._make(meta)
        return self._replayer

    def _end(self, *, is_noted: bool = False) -> None:
        if self._replayer is not None:
            if not is_noted:
                self.left_out.note(self._replayer)
            self.summary.add(self._replayer)
            self._replayer.close()
            self._replayer = None

    def run(self, meta: Meta, batches: Iterator[bytes]) -> None:
        """Play one run; returns early where `stop` came or the end of the wanted time."""
        replayer = self._feed_for(meta)
        for batch in batches:
            if not self._play(replayer, batch):
                return
            replayer.heartbeat()
            self._tell(replayer)

    def _play(self, replayer: Replayer, batch: bytes) -> bool:
        begin_ns = self._meta.begin_ns
        first_ns = max(begin_ns, int.from_bytes(batch[8:16], "little"))
        if self.summary.first_ns == 0:
            self.summary.first_ns = first_ns
        # What came before the recording began is not waited for.
        offset = replayer.play(batch, until_ns=min(begin_ns - 1, self.to_ns)) if begin_ns else 0
        while offset < len(batch):
            if self._stop.is_set():
                return False
            until = min(self._pace.until_ns(first_ns), self.to_ns)
            offset = replayer.play(batch, start=offset, until_ns=until)
            if offset >= len(batch):
                break
            if replayer.next_ns > self.to_ns:
                return False
            replayer.heartbeat()
            time.sleep(min(LOOK_EVERY_S, self._pace.wait_s(replayer.next_ns)))
        return True

    def _tell(self, replayer: Replayer) -> None:
        now = time.monotonic()
        if self._is_live and now - self._told >= TOLD_EVERY_S:
            self._told = now
            text = f"{int(replayer.c.records):,} records, {replayer.event_count:,} events"
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the feed and its segment."""
        self._end()
        if self._is_live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _speed(args: argparse.Namespace) -> float | None:
    text = args.speed or ("1" if args.instance else "max")
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= SPEED_MAX:
        raise LocalError(f"--speed {text}: expected max, or above 0 to {SPEED_MAX:,.0f}")
    return speed


def _pacing(args: argparse.Namespace, speed: float | None, stop: StopFlag) -> Pacing | None:
    if args.instance is None:
        if args.lossless:
            raise LocalError("--lossless: nobody can read along without --instance NAME")
        return None
    is_lossless = speed is None if args.lossless is None else args.lossless
    return Pacing(args.instance, stop, is_lossless=is_lossless, wait_s=args.wait)


class Inline:
    """The native strategy of a replay: made anew for each run, as a feed handler's is."""

    def __init__(self, source: str, words: Sequence[str]) -> None:
        """Load it; raises LocalError where it cannot be."""
        self.source, self._parameters = source, parse_parameters(words)
        self._loaded = load_native(source)
        self._rows: list[tuple[NativeSet, Any]] = []
        make_state(self._loaded, self._parameters)  # refused now, if at all

    def attach(self, replayer: Replayer, on_intents: Callable[[NDArray[Any]], None]) -> None:
        """Have a replayer call it, from its beginning on."""
        called = NativeSet(replayer.instrument_count)
        row = called.add(self._loaded, make_state(self._loaded, self._parameters), None)
        self._rows.append((called, row))
        replayer.run_inline(called, on_intents)

    def told(self) -> str:
        """Say what it did, over all runs."""
        total: Counter[str] = Counter()
        for called, row in self._rows:
            total.update(figures(called.handle, row))
        words = ", ".join(f"{total[name]:,} {name}" for name in ("places", "cancels", "refused"))
        return f"strategy {self.source}: {total['events']:,} calls, {words}"

    def why_stopped(self) -> str:
        """Say why it stopped; empty: it did not."""
        found = [int(row.stopped_by) for _, row in self._rows if row.stopped_by]
        return why_stopped(found[0], is_compiled=self._loaded.is_compiled) if found else ""


def _ignore(_: NDArray[Any]) -> None:
    pass


def _maker(
    args: argparse.Namespace, pacing: Pacing | None, inline: Inline | None
) -> Callable[[Meta], Replayer]:
    def make(meta: Meta) -> Replayer:
        out = sys.stdout
        wanted = (max(args.from_ns, meta.begin_ns), args.to_ns)
        tops = BookLines(meta, out, wanted) if args.what == "books" else None
        events = EventLines(meta, out, wanted) if args.what == "events" else None
        replayer = Replayer(
            meta,
            instance=args.instance,
            ring_capacity_min=RING_CAPACITY if pacing is not None else 0,
            on_tops=tops,
            on_events=events,
        )
        intents = IntentLines(meta, out, wanted) if args.what == "intents" else None
        replayer.on_meta += [one.follow for one in (tops, events, intents) if one is not None]
        if inline is not None:
            inline.attach(replayer, intents or _ignore)
        if pacing is not None:
            pacing.attach(replayer)
        return replayer

    return make


def run(args: argparse.Namespace) -> int:
    """Replay; a fault is reported after all before it was played."""
    speed = _speed(args)
    if args.from_ns < 0:
        raise LocalError(f"--from {args.from_ns}: expected 0 or more nanoseconds")
    if not 0 <= args.wait < math.inf:
        raise LocalError(f"--wait {args.wait:g}: expected 0 or more seconds")
    if args.to_ns is not None and args.to_ns < args.from_ns:
        raise LocalError(f"--to {args.to_ns}: expected --from {args.from_ns} or later")
    check_inputs(args)
    if args.instance is not None:
        check_name("--instance", args.instance)
    if args.strategy is None and (args.parameter or args.what == "intents"):
        word = "--parameter" if args.parameter else "--print intents"
        raise LocalError(f"{word} without --strategy SOURCE: it is of a native strategy")
    stop = StopFlag()
    with EndSignals(stop.set, "the reader of its output, or a record under way"):
        return _replay(args, speed, stop)


def _replay(args: argparse.Namespace, speed: float | None, stop: StopFlag) -> int:
    args.to_ns = END_OF_TIME if args.to_ns is None else args.to_ns
    inline = None if args.strategy is None else Inline(args.strategy, args.parameter)
    playback = Playback(_maker(args, _pacing(args, speed, stop), inline), Pace(speed), stop)
    playback.to_ns = args.to_ns
    start = time.monotonic()
    fault: LocalError | None = None
    try:
        for meta, batches in open_runs(args, playback.left_out, args.from_ns):
            playback.run(meta, batches)
            if stop.is_set():
                break
    except LocalError as error:
        fault = error
    finally:
        playback.close()
    summary = playback.summary
    summary.seconds = time.monotonic() - start
    summary.fault = str(fault or "")
    if not stop.is_set():  # who ends it in its midst left the rest out
        summary.left_out = playback.left_out.all_words()
    sys.stdout.flush()
    if fault is None or summary.records:
        _tell(args, summary)
    if summary.left_out and not args.json:
        print(f"tickpath: left out: {'; '.join(summary.left_out)}", file=sys.stderr)
    if fault is not None:
        raise fault
    status = LEFT_OUT if summary.left_out else 0
    return status if inline is None else _tell_inline(inline, status)


def _tell_inline(inline: Inline, status: int) -> int:
    """Say what the strategy did; 4 where it stopped, as `tickpath strategy` ends then."""
    print(f"tickpath: {inline.told()}", file=sys.stderr)
    why = inline.why_stopped()
    if why:
        print(f"tickpath: strategy {inline.source} is stopped: {why}", file=sys.stderr)
    return EXIT_STRATEGY_FAILED if why else status


def _untold(summary: Summary) -> str:
    """Say which messages moved no book."""
    told = []
    if summary.broken:
        told.append(
            f"{summary.broken:,} broken messages: --print events has reason BROKEN_MESSAGE where "
            "each stands"
        )
    if summary.undecoded:
        told.append(f"{summary.undecoded:,} messages of other channels left undecoded")
    return "; ".join(told)


def _tell(args: argparse.Namespace, summary: Summary) -> None:
    """Write the summary where the lines are not."""
    file = sys.stdout if args.what is None else sys.stderr
    if args.json:
        print(msgspec.json.encode(summary).decode(), file=file)
    elif args.what is None:
        rate = summary.events / summary.seconds if summary.seconds else 0.0
        print(
            f"{summary.records:,} records, {summary.messages:,} messages, {summary.events:,} "
            f"events in {summary.seconds:.2f} s ({rate:,.0f} events/s), {summary.gaps} gaps"
            + (f", {summary.version_gaps} gaps in the venue's numbers" * (summary.version_gaps > 0))
            + (f", {summary.runs} runs of a feed handler" if summary.runs > 1 else "")
            + (f"; {_untold(summary)}" if summary.broken or summary.undecoded else ""),
            file=file,
        )
    elif summary.broken:
        print(f"tickpath: {_untold(summary)}", file=sys.stderr)
    if args.what == "trades":
        print(
            "tickpath: trades are among the events: --print events has them, type TRADE, where the "
            f"venue was asked for them; {summary.undecoded} messages were left undecoded",
            file=sys.stderr,
        )
