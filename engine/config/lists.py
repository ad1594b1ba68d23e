"""What the venues' lists say of a configuration, asked before it runs: `tickpath run --check`.

Called by: engine/supervisor/command.py. Calls: engine/feed_handler (REST, the list).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tickpath.engine.feed_handler.faults import describe
from tickpath.engine.feed_handler.instrument_list import choose, describe_left_out, fetch_list
from tickpath.engine.feed_handler.rest_client import RestClient
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    from tickpath.engine.config.schema import Config, VenueConfig

TIMEOUT_S: Final = 10.0
"""Of each request: somebody waits for the answer."""


@dataclass(frozen=True, slots=True)
class ListCheck:
    """What one venue's list says of the symbols that are asked of it."""

    venue: str
    listed: int = 0
    found: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Symbols that would be left out, and why."""
    rows_left_out: dict[str, str] = field(default_factory=dict)
    """Rows of the list that cannot be read, and why; of any instrument."""
    error: str = ""
    """Why there is no list."""

    def lines(self) -> list[str]:
        """Say it: a line for the venue, and one for each symbol that would be left out."""
        if self.error:
            return [f"{self.venue}: its list is not available: {self.error}"]
        count = self.found + len(self.left_out)
        told = [f"{self.venue}: lists {self.found:,} of {count:,} symbols"]
        if self.rows_left_out:
            told.append(f"{self.venue}: its list: {describe_left_out(self.rows_left_out)}")
        return told + [f"{self.venue}: left out: {why}" for why in self.left_out.values()]

    def facts(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "venue": self.venue,
            "listed": self.listed,
            "found": self.found,
            "left_out": self.left_out,
            "rows_left_out": len(self.rows_left_out),
            "error": self.error,
        }


def look_at_lists(config: Config) -> list[ListCheck]:
    """Ask each venue once, all at the same time; in their order. What fails stops no other."""
    checks: dict[int, ListCheck] = {}

    def look(number: int, venue: VenueConfig) -> None:
        checks[number] = _look(venue, f"venue[{number}]")

    threads = [
        threading.Thread(target=look, args=one, name="list", daemon=True)
        for one in enumerate(config.venues)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [checks[number] for number in range(len(threads))]


def _look(venue: VenueConfig, section: str) -> ListCheck:
    try:
        client = RestClient(venue)
        try:
            listed = fetch_list(venue, client, timeout_s=TIMEOUT_S)
        finally:
            client.close()
        chosen = choose(venue, listed, section)
    except (LocalError, RemoteError, SystemSetupError, OSError) as error:
        return ListCheck(venue.name, error=str(error))
    except Exception as error:  # a venue's folder may raise what it likes
        return ListCheck(venue.name, error=describe(error))
    return ListCheck(
        venue.name, len(listed.instruments), len(chosen.rows), chosen.left_out, listed.left_out
    )
