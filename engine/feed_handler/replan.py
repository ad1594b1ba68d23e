"""Symbols that come and go while the feed handler runs; the others stay LIVE and lose nothing.

`ask` wants the configured symbols; of a configuration that was read anew only these may differ, all
else is refused by name (`differences`). They are looked for in the venue's next list, and `step`
does what follows: the plan, the rows (shared memory first, then the hot thread), then what is said
on open connections, new ones, and the end of empty ones. Symbols that the list did not have are
looked for again in each one that is read. One for each venue. Called by: venue_feed.py and
process.py beside it. Calls: plan.py, instrument_list.py.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi
from tickpath.engine.feed_handler import verification
from tickpath.engine.feed_handler.instrument_list import choose
from tickpath.engine.recording.tap import Subscription
from tickpath.proto.instrument import Status, pack_row
from tickpath.proto.venues import resolve_symbol
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from tickpath.engine.config.schema import Config
    from tickpath.engine.feed_handler.instrument_list import Chosen
    from tickpath.engine.feed_handler.plan import Channel, ConnectionChange, Plan
    from tickpath.engine.feed_handler.venue_feed import VenueFeed
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import InstrumentList

RESTART: Final = "only symbols change while it runs: restart it for this"


def are_same_venues(old: Config, new: Config) -> bool:
    """Say whether the symbols of a configuration are of the venues that are read."""
    return [(one.name, one.host, one.rest) for one in old.venues] == [
        (one.name, one.host, one.rest) for one in new.venues
    ]


def differences(old: Config, new: Config) -> list[str]:
    """Say what besides symbols differs: each key with both values."""
    found: list[str] = []
    _compare("", msgspec.to_builtins(old), msgspec.to_builtins(new), found)
    return found


def _compare(path: str, old: object, new: object, found: list[str]) -> None:
    if path.startswith("venue[") and path.endswith("].symbols"):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{path}.{key}" if path else str(key)
            _compare(inner, old.get(key), new.get(key), found)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            _compare(f"{path}[{index}]", one, other, found)
    elif path == "venue" and isinstance(old, list | tuple) and isinstance(new, list | tuple):
        found.append(f"{len(new)} [[venue]] sections, runs with {len(old)}: {RESTART}")
    elif old != new:
        shown = [msgspec.json.encode(value).decode() for value in (new, old)]
        key = path.replace("].settings.", "].")  # a venue's own keys stand beside the common ones
        found.append(f"{key} is {shown[0]:.80}, runs with {shown[1]:.80}: {RESTART}")


def make_feed_row(
    row: Instrument, generation: int, channel: Channel, connection: int, race: int
) -> Any:
    """Return a `struct tp_feed_row *` for the hot thread."""
    made = ffi.new("struct tp_feed_row *")
    ffi.memmove(ffi.addressof(made, "record"), pack_row(row), ffi.sizeof(made.record))
    made.generation, made.instrument, made.connection = generation, row.index, connection
    made.race, made.channel = race, channel.name.encode()
    return made


class Replan:
    """What is asked of one venue's feed, and how far it is; all of it is the cold thread's."""

    def __init__(self, of: VenueFeed, chosen: Chosen) -> None:
        """Borrow a venue's feed, which has a plan; `step` is for one that has joined."""
        self._of = of
        self.left_out = dict(chosen.left_out)
        # Without a row there was no list: what it leaves out is to be said yet.
        self._told = set(chosen.left_out) if chosen.rows else set[str]()
        self._rows: deque[Any] = deque()  # not taken by the hot thread yet
        self._changes: deque[ConnectionChange] = deque()  # to be done when all rows were taken
        self._listed: InstrumentList | None = None  # looked into once the changes before are done
        self._is_asked = False

    @property
    def symbols(self) -> int:
        """Count the symbols that are read."""
        return sum(symbol is not None for symbol in self._of.plan.symbols)

    @property
    def is_settled(self) -> bool:
        """Say whether all that was asked for is done, or left out."""
        return not (self._is_asked or self._listed or self._rows or self._changes)

    def ask(self) -> None:
        """Look in the next list for what is configured now."""
        self._is_asked = True

    def listed(self, listed: InstrumentList) -> None:
        """Look in this list, where something is asked for or was not there until now."""
        if self._is_asked or self.left_out:
            self._listed = listed

    def step(self) -> None:
        """Do what is due; never waits."""
        shared, listed = self._of.shared, self._listed
        if listed is not None and not self._changes:
            self._listed = None
            self._take(listed)
        while self._rows and shared.hot.take_row(self._rows[0]):
            self._rows.popleft()
        while self._changes and not self._rows:
            self._of.do(self._changes.popleft())

    def _take(self, listed: InstrumentList) -> None:
        of = self._of
        was_asked, self._is_asked = self._is_asked, False
        chosen = choose(of.config, listed, of.section)
        told, self._told = self._told, set(chosen.left_out)
        self.left_out = dict(chosen.left_out)
        new = {name: why for name, why in chosen.left_out.items() if name not in told}
        for line in replace(chosen, left_out=new).describe_left_out():
            of.log(f"reload: {line}")
        if not chosen.rows:
            of.log("reload: no symbol of the configuration is listed: all goes on as it was")
            return
        added, removed = self._replan(chosen)
        words = [f"added {', '.join(added)}"] if added else []
        words += [f"removed {', '.join(removed)}"] if removed else []
        if words or was_asked:
            of.log(f"reload: {'; '.join(words) or 'no symbol came or went'}")

    # ---- the plan --------------------------------------------------------------------------------

    def _own_names(self, chosen: Chosen) -> set[str]:
        """Return the venue's names of all that is configured, listed or not: it stays."""
        names = {row.symbol for row in chosen.rows}
        for symbol in chosen.left_out:
            names.add(symbol)
            with contextlib.suppress(ValueError):
                names.add(resolve_symbol(self._of.config.venue, symbol))
        return names

    def _replan(self, chosen: Chosen) -> tuple[list[str], list[str]]:
        """Change the plan and write the rows; return which symbols came and which went."""
        plan, wanted = self._of.plan, self._own_names(chosen)
        here = {symbol for symbol in plan.symbols if symbol is not None}
        removed = sorted(here - wanted)
        rows = {row.symbol: row for row in chosen.rows if row.symbol not in here}
        added = self._fitting(plan, list(rows), removed)
        if not added and not removed:
            return [], []
        after, changes = plan.change(add=added, remove=removed)
        for symbol in removed:
            place = plan.symbols.index(symbol)
            row = self._of.shared.rows[self._of.index_of(place)]
            gone = msgspec.structs.replace(row, status=Status.REMOVED)
            self._write(gone, plan.book_channel(place))
        for symbol in sorted(added, key=after.symbols.index):
            place = after.symbols.index(symbol)
            came = msgspec.structs.replace(rows[symbol], index=self._of.index_of(place))
            self._write(came, after.book_channel(place))
        self._of.take_plan(after, changes)
        self._changes += changes
        return added, removed

    def _fitting(self, plan: Plan, symbols: list[str], removed: list[str]) -> list[str]:
        """Return those for which there is room, and name the others."""
        added: list[str] = []
        shared, connections = self._of.shared, len(self._of.connections)
        kept = sum(one.lacking for one in shared.venues if one is not self._of)
        rooms = len(plan.symbols) + shared.places - len(shared.rows) - kept
        for symbol in symbols:
            try:
                after, _ = plan.change(add=[*added, symbol], remove=removed)
                count = sum(one is not None for one in after.symbols)
                verification.check_plan(self._of.config, shared.health, count)
                if len(after.symbols) > rooms:
                    raise ValueError(
                        f"symbol {symbol!r}: no place is left of {shared.places}: raise "
                        "shm.instrument_spare and restart it"
                    )
                if len(after.connections) > connections:
                    raise ValueError(
                        f"symbol {symbol!r}: no connection is left of {connections}: restart it"
                    )
            except (ValueError, LocalError) as error:
                why = str(error) if isinstance(error, ValueError) else f"symbol {symbol!r}: {error}"
                if symbol not in self.left_out:
                    self._of.log(f"reload: {why}: left out, the others run")
                self.left_out[symbol] = why
                continue
            added.append(symbol)
        return added

    # ---- doing it --------------------------------------------------------------------------------

    def _write(self, row: Instrument, channel: Channel) -> None:
        """Write a row where readers and recorders find it, then let the hot thread know."""
        shared, connection = self._of.shared, self._of.connections[channel.connection]
        generation, race = shared.write(row), self._of.config.seats
        self._of.trading.forget(row.index)
        if shared.tap is not None:
            shared.tap.write(row.index, tap_row(row, channel, connection, race))
        self._rows.append(make_feed_row(row, generation, channel, connection, race))


def tap_row(row: Instrument, channel: Channel, connection: int, race: int) -> Subscription:
    """Return what a recorder must know of an instrument; connection: the feed's number."""
    return Subscription(
        venue=row.venue,
        symbol=row.symbol,
        price_exponent=row.price_exponent,
        quantity_exponent=row.quantity_exponent,
        channel=channel.name,
        tick_size=row.tick_size,
        connection=connection,
        race=race,
        is_removed=row.status is Status.REMOVED,
    )
