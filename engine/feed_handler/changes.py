"""Symbols that commands add and remove while the feed handler runs: `tickpath subscribe`.

A command puts a request into a directory of the instance's, in the run directory, and waits for the
answer beside it; the feed handler looks there now and then. Files and no signal: one that is not
awaited kills its process, and a pid means nothing in another PID namespace. What was asked for lies
over the configuration, as a state of its own: a feed handler that crashed begins with it, a reload
(SIGHUP) keeps it, `tickpath run` begins without. What the venue's list does not have is refused and
forgotten. Called by: process.py beside it (`Changes`), engine/commands/subscribe.py (`ask`),
engine/supervisor/command.py (`forget`).
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.engine.loop.pauses import run_directory
from tickpath.proto.venues import resolve_symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tickpath.engine.config.schema import Config, VenueConfig
    from tickpath.engine.feed_handler.venue_feed import VenueFeed

LOOK_EVERY_S: Final = 0.2
SIZE_MAX: Final = 1 << 20
NAMES_MAX: Final = 4096
REQUESTS_MAX: Final = 64  # of one look
STATE: Final = "state.json"
_PLACE: Final = re.compile(r"^venue\[\d+\]\.symbols\[\d+\]: ")


class Request(msgspec.Struct, frozen=True):
    """What one command asks for, each `VENUE:SYMBOL`."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What became of one name."""

    name: str
    what: str
    """subscribed, unsubscribed, unchanged or refused."""
    why: str = ""


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request, in its order."""

    outcomes: tuple[Outcome, ...]


class _State(msgspec.Struct):
    """By venue, the venue's own names."""

    added: dict[str, list[str]] = {}
    removed: dict[str, list[str]] = {}


class _Pending(msgspec.Struct):
    """A request whose outcomes are not all known."""

    answer: str
    outcomes: dict[str, Outcome | None]
    waits: dict[str, tuple[int, str]]
    """By name: the section, and the venue's own name."""


def place_of(instance: str, directory: Path | None = None) -> Path:
    """Return the directory of an instance's requests."""
    return (directory or run_directory()) / f"{instance}.changes"


def forget(instance: str, directory: Path | None = None) -> None:
    """Begin with the configuration alone."""
    with contextlib.suppress(OSError):
        (place_of(instance, directory) / STATE).unlink(missing_ok=True)


def ask(place: Path, request: Request) -> tuple[Path, Path]:
    """Put a request into an instance's directory; return it and where its answer will be."""
    number = secrets.token_hex(8)
    asked, answer = place / f"request-{number}", place / f"answer-{number}"
    _write(asked, msgspec.json.encode(request))
    return asked, answer


def read_answer(path: Path) -> Reply | None:
    """Return an answer and remove it; None: it is not there yet."""
    data = _read(path)
    if data is None:
        return None
    path.unlink(missing_ok=True)
    return msgspec.json.decode(data, type=Reply)


def own_name(venue: VenueConfig, symbol: str) -> str:
    """Return the venue's name of a symbol, as far as it tells that without its list."""
    with contextlib.suppress(ValueError):
        return resolve_symbol(venue.venue, symbol)
    return symbol


class Changes:
    """The feed handler's side; all of it is the cold thread's."""

    def __init__(self, config: Config, directory: Path | None = None) -> None:
        """Begin with what commands asked of the process before, if it crashed."""
        self.place, self._config = place_of(config.instance, directory), config
        self._state, self._pending = _State(), list[_Pending]()
        self._next_s, self._seen_ns = float("-inf"), 0
        data = _read(self.place / STATE)
        if data is not None:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                self._state = msgspec.json.decode(data, type=_State)

    def open(self) -> None:
        """Take requests from now on; a host that gives no directory has none."""
        with contextlib.suppress(OSError):
            self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in self.place.glob("answer-*"):
                old.unlink(missing_ok=True)

    def over(self, config: Config) -> Config:
        """Return a configuration as it is with what was asked for."""
        self._config, firsts = config, set[str]()
        sections = []
        for venue in config.venues:
            removed = self._state.removed.get(venue.name, [])
            symbols = [one for one in venue.symbols if own_name(venue, one) not in removed]
            if venue.name not in firsts:
                firsts.add(venue.name)
                here = {own_name(venue, one) for one in symbols}
                added = self._state.added.get(venue.name, [])
                symbols += [one for one in added if one not in here]
            # None is left where the file is another one by now: then what it wants.
            wanted = tuple(symbols) or venue.symbols
            sections.append(msgspec.structs.replace(venue, symbols=wanted))
        return msgspec.structs.replace(config, venues=tuple(sections))

    def step(self, now_s: float, venues: Sequence[VenueFeed]) -> None:
        """Take what was asked for since, and answer what is known by now."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_EVERY_S
        for path in self._new():
            request = _decode(path)
            path.unlink(missing_ok=True)
            if request is not None:
                self._take(path.name.replace("request", "answer", 1), request, venues)
        self._pending = [one for one in self._pending if not self._settle(one, venues)]

    def _new(self) -> list[Path]:
        try:
            changed_ns = self.place.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return []
            found = sorted(self.place.glob("request-*"))[:REQUESTS_MAX]
        except OSError:
            return []
        if not found:  # else once more: there may be others
            self._seen_ns = changed_ns
        return found

    # ---- what is asked for -----------------------------------------------------------------------

    def _take(self, answer: str, request: Request, venues: Sequence[VenueFeed]) -> None:
        pending = _Pending(answer, {}, {})
        for names, decide, already in (
            (request.remove, self._remove, "unsubscribed already"),
            (request.add, self._add, "subscribed already"),
        ):
            for name in names[:NAMES_MAX]:
                pending.outcomes[name] = None
                try:
                    number, own = _find(name, venues)
                    if decide(own, venues, number):
                        pending.waits[name] = number, own
                    else:
                        pending.outcomes[name] = Outcome(name, "unchanged", already)
                except ValueError as error:
                    pending.outcomes[name] = Outcome(name, "refused", str(error))
        if pending.waits:
            _write(self.place / STATE, msgspec.json.encode(self._state))
            config = self.over(self._config)
            for number in {number for number, _ in pending.waits.values()}:
                venues[number].reload(config.venues[number].symbols)
        self._pending.append(pending)

    def _add(self, own: str, venues: Sequence[VenueFeed], number: int) -> bool:
        """Want a symbol; False: it is there already."""
        venue = venues[number].config
        if any(own in one.plan.symbols for one in venues if one.config.name == venue.name):
            return False
        _drop(self._state.removed, venue.name, own)
        if own not in [own_name(venue, one) for one in self._config.venues[number].symbols]:
            self._state.added.setdefault(venue.name, []).append(own)
        return True

    def _remove(self, own: str, venues: Sequence[VenueFeed], number: int) -> bool:
        """Want a symbol no more; False: it went before. Raises ValueError where it cannot go."""
        venue = venues[number].config
        here = [own_name(venue, one) for one in self.over(self._config).venues[number].symbols]
        if own in self._state.removed.get(venue.name, ()):
            return False
        if own not in here:
            close = difflib.get_close_matches(own, here, n=1)
            hint = f"; did you mean {venue.name}:{close[0]}?" if close else ""
            raise ValueError(f"symbol {own!r} is not subscribed{hint}")
        if len(here) == 1:
            raise ValueError(f"symbol {own!r}: the last one of {venue.name}: stop the instance")
        _drop(self._state.added, venue.name, own)
        self._state.removed.setdefault(venue.name, []).append(own)
        return True

    # ---- what became of it -----------------------------------------------------------------------

    def _settle(self, pending: _Pending, venues: Sequence[VenueFeed]) -> bool:
        """Answer a request of which all is known; True: it is answered."""
        for name, (number, own) in list(pending.waits.items()):
            venue = venues[number]
            if not venue.replan.is_settled:
                continue
            del pending.waits[name]
            pending.outcomes[name] = self._outcome(name, own, venue)
        if pending.waits:
            return False
        outcomes = tuple(one for one in pending.outcomes.values() if one is not None)
        with contextlib.suppress(OSError):
            _write(self.place / pending.answer, msgspec.json.encode(Reply(outcomes)))
        return True

    def _outcome(self, name: str, own: str, venue: VenueFeed) -> Outcome:
        if own in venue.plan.symbols:
            return Outcome(name, "subscribed")
        left_out = venue.left_out.items()
        why = next((why for one, why in left_out if own_name(venue.config, one) == own), None)
        if why is None:
            return Outcome(name, "unsubscribed")
        _drop(self._state.added, venue.config.name, own)
        _write(self.place / STATE, msgspec.json.encode(self._state))
        venue.forget(own)
        return Outcome(name, "refused", _PLACE.sub("", why))


def _find(name: str, venues: Sequence[VenueFeed]) -> tuple[int, str]:
    """Return the section and the venue's own name of `VENUE:SYMBOL`; raises ValueError."""
    venue, colon, symbol = name.partition(":")
    names = list(dict.fromkeys(one.config.name for one in venues))
    if not colon or not symbol:
        raise ValueError(f"{name!r}: expected VENUE:SYMBOL, as in {names[0]}:{_example(venues[0])}")
    sections = [number for number, one in enumerate(venues) if one.config.name == venue]
    if not sections:
        close = difflib.get_close_matches(venue, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it reads {', '.join(names)}"
        raise ValueError(f"{name!r}: this instance does not read venue {venue!r}: {hint}")
    try:
        own = resolve_symbol(venues[sections[0]].config.venue, symbol)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error
    having = [number for number in sections if own in venues[number].plan.symbols]
    return (having or sections)[0], own


def _example(venue: VenueFeed) -> str:
    return venue.config.venue.example_symbol


def _drop(of: dict[str, list[str]], venue: str, own: str) -> None:
    of[venue] = [one for one in of.get(venue, []) if one != own]


def _decode(path: Path) -> Request | None:
    data = _read(path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Request(add=("",))  # answered, as what it is: none


def _read(path: Path) -> bytes | None:
    """Read a file that is ours, root's or its directory's owner's; None: there is none such."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags)
    except OSError:
        return None
    try:
        owner = os.fstat(file).st_uid
        if owner not in {0, os.geteuid(), path.parent.stat().st_uid}:
            return None
        return os.read(file, SIZE_MAX)
    except OSError:
        return None
    finally:
        os.close(file)


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f"new-{path.name}")
    beside.write_bytes(data)
    beside.replace(path)


def names_of(outcomes: Iterable[Outcome], what: str) -> list[str]:
    """Return the names of one outcome."""
    return [one.name for one in outcomes if one.what == what]
