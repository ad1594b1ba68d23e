"""`tickpath certificate`: how complete a recording is, instrument by instrument.

It is made by a replay, so that it says what a reader would have seen: gaps, resyncs, disconnects,
the share of time LIVE, ages. The same files give the same bytes: no clock, no path, no machine.
Called by: engine/cli.py. Calls: inputs.py, replayer.py.
"""

from __future__ import annotations

import hashlib
import re
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from tickpath.engine.recording.inputs import add_input_arguments, check_inputs, input_paths, played
from tickpath.engine.recording.left_out import LEFT_OUT, LeftOut
from tickpath.engine.recording.replayer import Replayer
from tickpath.proto.records import BookState, EventType, SyncReason
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tickpath.engine.recording.format import Meta

VERSION: Final = 1
"""Of the JSON; a later one may have more keys, none with another meaning."""
PIECE: Final = 1 << 20
NUMBERED: Final = (EventType.LEVEL, EventType.MESSAGE)
COUNTED: Final = {EventType.TOP: "messages", EventType.TRADE: "trades", EventType.BEST: "best",
                  EventType.VERIFIED: "verified"}  # fmt: skip


class InstrumentPart(msgspec.Struct):
    """What a certificate says of one instrument; times as `t_ns` of the run that they are in."""

    venue: str
    symbol: str
    messages: int = 0
    """Of its book, that were applied."""
    trades: int = 0
    best: int = 0
    verified: int = 0
    """How often a quiet book was compared with the venue's."""
    first_ns: int = 0
    """Of its first message, trade or best price; 0: none came."""
    last_ns: int = 0
    first_number: int = 0
    """The venue's, of the first change; 0: nothing is numbered, or none came."""
    last_number: int = 0
    bases: int = 0
    """How often its book was replaced whole."""
    gaps: int = 0
    """Holes in the venue's numbers, or of the recording."""
    disconnects: int = 0
    """How often its connection was lost, or a piece of the recording, or a run ended."""
    refused: int = 0
    """Messages that the decoder refused, each of which ended its book."""
    resyncs: int = 0
    """How often it was LIVE again."""
    live_ns: int = 0
    live_share: float = 0.0
    """Of the time of the runs that it was in."""
    age_max_ns: int = 0
    """The longest time that it was LIVE without a message of its own."""
    state: str = BookState.SYNCING.name
    """At the end."""
    has_book: bool = True
    """False where trades or best prices alone were recorded of it."""
    left_live: dict[str, int] = {}
    """How often it left LIVE, by reason."""


class FilePart(msgspec.Struct):
    """A file that was read."""

    name: str
    size: int
    sha256: str


class Certificate(msgspec.Struct):
    """How complete a recording is."""

    version: int
    is_complete: bool
    """Nothing was left out, every book was LIVE, and stayed so to the end."""
    files: list[FilePart]
    first_ns: int
    """Of the first run's first record."""
    last_ns: int
    """Of the last run's last record: its clock may be another's than that of `first_ns`."""
    span_ns: int
    """Time from first to last record, of all runs together."""
    records: int
    messages: int
    holes: int
    """Places where records are missing in the recording."""
    runs: int
    """Runs of a feed handler: books begin anew with each."""
    left_out: list[str]
    fault: str
    instruments: list[InstrumentPart]


class _Timeline:
    """One instrument while its events pass.

    Times of two runs are never compared: a boot lies between them, or they are of one time.
    """

    def __init__(self, part: InstrumentPart) -> None:
        self.part = part
        self.was_live = False
        self.span_ns = 0
        """Of the runs that ended."""
        self._is_live = False
        self._since_ns = self._heard_ns = self._last_ns = 0

    def count(self, name: str, times: NDArray[Any]) -> None:
        """Take messages, trades or best prices."""
        part = self.part
        setattr(part, name, getattr(part, name) + len(times))
        if name == "verified":
            return
        part.first_ns = part.first_ns or int(times[0])
        self._last_ns = part.last_ns = max(self._last_ns, int(times[-1]))

    def number(self, numbers: NDArray[Any]) -> None:
        """Take the venue's numbers of changes."""
        numbers = numbers[numbers != 0]
        if len(numbers):
            self.part.first_number = self.part.first_number or int(numbers[0])
            self.part.last_number = int(numbers[-1])

    def heard(self, times: NDArray[Any]) -> None:
        """Take messages of its book: while it is LIVE the time between two is its age."""
        if self._is_live:
            since_ns = np.int64(max(self._heard_ns, self._since_ns))
            between = np.diff(times.astype(np.int64), prepend=since_ns)
            self.part.age_max_ns = max(self.part.age_max_ns, int(between.max()))
        self._heard_ns = int(times[-1])

    def state(self, t_ns: int, state: int, reason: int, *, begin_ns: int) -> None:
        """Take a change of its state; before `begin_ns` nothing is counted."""
        part, is_live = self.part, state == BookState.LIVE
        if t_ns < begin_ns:
            self.was_live = self._is_live = is_live
            self._since_ns = begin_ns
            part.state = BookState(state).name
            return
        word = SyncReason(reason).name
        if is_live and not self._is_live:
            part.resyncs += self.was_live
            self.was_live = True
            self._since_ns = t_ns
        elif self._is_live and not is_live:
            self._leave(t_ns)
            part.left_live[word] = part.left_live.get(word, 0) + 1
        if not is_live:
            part.gaps += word == SyncReason.GAP.name
            part.disconnects += word == SyncReason.DISCONNECTED.name
            part.refused += word == SyncReason.BROKEN_MESSAGE.name
        self._is_live = is_live
        part.state = BookState(state).name

    def _leave(self, t_ns: int) -> None:
        self.part.live_ns += t_ns - self._since_ns
        quiet_ns = t_ns - max(self._heard_ns, self._since_ns)
        self.part.age_max_ns = max(self.part.age_max_ns, quiet_ns)

    def end(self, first_ns: int, last_ns: int) -> None:
        """Take the times of a run's first and last record; the next one begins anew."""
        if self._is_live:
            self._leave(last_ns)
        self.span_ns += last_ns - first_ns
        self._is_live = False
        self._since_ns = self._heard_ns = self._last_ns = 0


class Examiner:
    """Plays what is given and counts."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.left_out = LeftOut()
        self._parts: dict[tuple[str, str], _Timeline] = {}
        self._rows: list[_Timeline] = []
        self._begin_ns = 0
        self.totals: Counter[str] = Counter()
        self.first_ns: int | None = None
        self.last_ns = self.span_ns = 0
        self._run_first_ns: int | None = None
        self._replayer: Replayer | None = None

    def examine(self, args: argparse.Namespace) -> None:
        """Play all; raises LocalError at a fault, after all before it."""
        try:
            for replayer, batches in played(args, self.left_out, self._make):
                for batch in batches:
                    if self._run_first_ns is None:
                        first_ns = int.from_bytes(batch[8:16], "little")
                        self._run_first_ns = max(first_ns, self._begin_ns)
                    replayer.play(batch)
        finally:
            self._end()

    def _make(self, meta: Meta) -> Replayer:
        self._end()
        self._rows, self._begin_ns = [], meta.begin_ns
        self._follow(meta)
        self._replayer = Replayer(meta, on_events=self._take)
        self._replayer.on_meta.append(self._follow)
        return self._replayer

    def _follow(self, meta: Meta) -> None:
        for row in meta.instruments[len(self._rows) :]:
            fresh = _Timeline(InstrumentPart(row.venue, row.symbol))
            self._rows.append(self._parts.setdefault((row.venue, row.symbol), fresh))

    def _end(self) -> None:
        replayer, self._replayer = self._replayer, None
        if replayer is None:
            return
        c = replayer.c
        self.totals.update(
            records=int(c.records), messages=int(c.messages), holes=int(c.gaps), runs=1
        )
        first_ns, self._run_first_ns = self._run_first_ns, None
        if first_ns is not None:
            self.first_ns = first_ns if self.first_ns is None else self.first_ns
            self.last_ns = max(first_ns, int(c.now_ns))
            self.span_ns += self.last_ns - first_ns
            for row in self._rows:
                row.end(first_ns, self.last_ns)
        replayer.close()

    def _take(self, events: NDArray[Any]) -> None:
        for index in np.unique(events["instrument"]).tolist():
            self._take_one(self._rows[index], events[events["instrument"] == index])

    def _take_one(self, row: _Timeline, events: NDArray[Any]) -> None:
        """Take events of one instrument, from one change of its state to the next."""
        begun = events[events["received_ns"] >= self._begin_ns]
        kinds = begun["type"]
        for kind, name in COUNTED.items():
            if (times := begun["received_ns"][kinds == kind]).size:
                row.count(name, times)
        numbered = np.isin(kinds, NUMBERED)
        row.number(begun["u"]["value"][numbered][:, 3].astype(np.uint64))
        row.part.bases += int((kinds == EventType.CLEAR).sum())
        last = 0
        for place in np.flatnonzero(events["type"] == EventType.STATE).tolist():
            self._hear(row, events[last:place])
            state, reason, *_ = events["u"]["value"][place].tolist()
            t_ns = int(events["received_ns"][place])
            row.state(t_ns, state, reason, begin_ns=self._begin_ns)
            last = place
        self._hear(row, events[last:])

    def _hear(self, row: _Timeline, events: NDArray[Any]) -> None:
        times = events["received_ns"][events["type"] == EventType.TOP]
        times = times[times >= self._begin_ns]
        if times.size:
            row.heard(times)

    def certificate(self, files: list[FilePart], fault: str) -> Certificate:
        """Return what was found."""
        parts = [row.part for row in self._parts.values()]
        for row in self._parts.values():
            part = row.part
            part.has_book = (part.venue, part.symbol) not in self.left_out.bookless
            part.live_share = round(part.live_ns / row.span_ns, 6) if row.span_ns else 0.0
        left_out = self.left_out.all_words()
        is_complete = not left_out and not fault and not self.totals["holes"] and bool(parts)
        stayed = all(
            part.state == BookState.LIVE.name and not part.left_live and not part.gaps
            for part in parts
            if part.has_book
        )
        return Certificate(
            VERSION,
            is_complete and stayed,
            files,
            self.first_ns or 0,
            self.last_ns,
            self.span_ns,
            self.totals["records"],
            self.totals["messages"],
            self.totals["holes"],
            self.totals["runs"],
            left_out,
            fault,
            sorted(parts, key=lambda one: (one.venue, one.symbol)),
        )


def _file_part(path: Path) -> FilePart:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}: give a file that can be read") from error
    return FilePart(path.name, size, digest.hexdigest())


def _without_paths(paths: Sequence[Path]) -> Callable[[str], str]:
    """Return what writes names in the place of paths: these are the reader's, not the recording's.

    Of two files with one name it also says which: its number, from 1, in `files`.
    """
    named = Counter(path.name for path in paths)
    shown = {
        str(path): path.name if named[path.name] == 1 else f"{path.name} (file {number})"
        for number, path in enumerate(paths, 1)
    }
    longest_first = sorted(shown, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return lambda words: pattern.sub(lambda found: shown[found[0]], words)


# ---- the command ---------------------------------------------------------------------------------


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath certificate`."""
    parser = subparsers.add_parser(
        "certificate",
        description="Say how complete a recording is: gaps, resyncs, disconnects, the share of\n"
        "time LIVE and ages of each instrument, and what could not be used.\n\n"
        "It is made by a replay. The same files give the same bytes.",
        epilog="examples: tickpath certificate recordings/ --json\n"
        "          tickpath certificate --tardis feeds/2026/11/01/\n"
        "Status 0: complete, or only books that were LIVE again; 6: something had to be left out; "
        "2: a\ndamaged file.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_input_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one object, with all of it")


def run(args: argparse.Namespace) -> int:
    """Examine; a fault is reported after all before it was."""
    check_inputs(args)
    paths = input_paths(args)
    files = [_file_part(path) for path in paths]
    examiner, fault = Examiner(), None
    try:
        examiner.examine(args)
    except LocalError as error:
        fault = error
    if fault is not None and not examiner.totals["records"]:
        raise fault
    certificate = examiner.certificate(files, "" if fault is None else str(fault))
    clean = _without_paths(paths)
    certificate.fault = clean(certificate.fault)
    certificate.left_out = [clean(words) for words in certificate.left_out]
    if args.json:
        print(msgspec.json.encode(certificate).decode())
    else:
        for line in lines(certificate):
            print(line)
    if fault is not None:
        raise fault
    return LEFT_OUT if certificate.left_out else 0


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _instrument_line(part: InstrumentPart) -> str:
    if not part.has_book:
        return (
            f"{part.venue}:{part.symbol} no book was recorded; {_count(part.trades, 'trade')}, "
            f"{_count(part.best, 'best price')}"
        )
    numbers = f", numbers {part.first_number} to {part.last_number}" if part.first_number else ""
    left = "".join(
        f", left LIVE {_count(count, 'time')} ({reason})"
        for reason, count in sorted(part.left_live.items())
    )
    return (
        f"{part.venue}:{part.symbol} {part.state} at the end, LIVE {part.live_share:.2%} of the "
        f"time{left}; {_count(part.gaps, 'gap')}, {_count(part.resyncs, 'resync')}, "
        f"{_count(part.disconnects, 'disconnect')}, {part.refused:,} refused; "
        f"{_count(part.messages, 'message')}, {_count(part.trades, 'trade')}, oldest "
        f"{part.age_max_ns / 1e9:.3f} s{numbers}"
    )


def lines(certificate: Certificate) -> list[str]:
    """Return a line an instrument, and the one line that says it all."""
    parts = certificate.instruments
    seconds = certificate.span_ns / 1e9
    runs = f" of {certificate.runs:,} runs" if certificate.runs > 1 else ""
    share = min((part.live_share for part in parts if part.has_book), default=0.0)
    word = "complete" if certificate.is_complete else "not complete"
    more = [*certificate.left_out, *([certificate.fault] if certificate.fault else [])]
    told = (
        f"{word}: {_count(len(parts), 'instrument')} in {seconds:,.3f} s{runs}, each LIVE for "
        f"{share:.2%} of it or more; {_count(sum(one.gaps for one in parts), 'gap')}, "
        f"{_count(sum(one.resyncs for one in parts), 'resync')}, "
        f"{_count(sum(one.disconnects for one in parts), 'disconnect')}, "
        f"{_count(certificate.holes, 'hole')} in the recording; "
        f"{_count(certificate.messages, 'message')}"
        + (f"; left out: {'; '.join(more)}" if more else "")
    )
    return [*map(_instrument_line, parts), told]
