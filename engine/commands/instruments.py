"""`tickpath instruments VENUE`: what a venue lists now, asked as a feed handler asks.

Called by: engine/cli.py. Calls: engine/feed_handler (REST, the list), the venue's folder.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
from typing import TYPE_CHECKING, Any

from tickpath.engine.cli import printable
from tickpath.engine.commands.connect_arguments import positive_seconds
from tickpath.engine.commands.text_table import aligned
from tickpath.engine.commands.venue_arguments import (
    add_venue_arguments,
    check_options,
    config_text,
    find_venue,
    venue_section,
)
from tickpath.engine.feed_handler.instrument_list import (
    INSTRUMENTS_TIMEOUT_S,
    describe_left_out,
    fetch_list,
)
from tickpath.engine.feed_handler.rest_client import RateLimitError, RestClient
from tickpath.engine.loop.pauses import pause_text
from tickpath.proto.records import format_fixed
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import InstrumentList

NOTHING = "-"
WILD = frozenset("*?[")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath instruments`."""
    parser = subparsers.add_parser(
        "instruments",
        description="List the instruments of a venue, as its REST service has them now.",
        epilog=f"example: tickpath instruments {DEFAULT_NAME} --like 'BTC/*'. Tick, lot and "
        "minima are exact decimals; - where the venue names no such minimum. Status 1 where rows "
        "could not be read: a line names them.",
    )
    parser.add_argument("venue", metavar="VENUE", help="its name (`tickpath venues` lists them)")
    parser.add_argument(
        "--like",
        metavar="PATTERN",
        help="only those whose name of either kind has this in it, or matches it where it has a "
        "wildcard (* ? []); upper and lower case are the same",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=INSTRUMENTS_TIMEOUT_S,
        metavar="SECONDS",
        help="of each request (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_venue_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the list; 0, or an error: 1 where rows could not be read, 2 where none matches."""
    own = find_venue(args.venue)
    section = venue_section(args, own.name, [own.example_symbol])
    venue = check_options(config_text(section)).venues[0]
    listed = ask_list(venue, args.timeout)
    rows = sorted(listed.instruments.values(), key=lambda one: one.symbol)
    if args.like is not None:
        rows = _chosen(rows, args.like, own.title)
    print("\n".join(_lines(rows, as_json=args.json)))
    if listed.left_out:
        raise RemoteError(f"{own.name}: {describe_left_out(listed.left_out)}")
    return 0


def ask_list(venue: VenueConfig, timeout_s: float) -> InstrumentList:
    """Ask a venue for its list once; raises RemoteError, which says when to ask again."""
    client = RestClient(venue)
    try:
        return fetch_list(venue, client, timeout_s=timeout_s)
    except RateLimitError as error:
        own, refusal = venue.venue, error.refusal
        budget = own.rest_budget(venue.settings)
        least = budget.banned_s if refusal.is_ban else budget.limited_s
        pause_s = least if refusal.retry_after_s is None else refusal.retry_after_s
        what = "bans this address" if refusal.is_ban else "wants no requests"
        raise RemoteError(
            f"{own.title} {what} now ({refusal.reason}): ask again after {pause_text(pause_s)}"
        ) from error
    finally:
        client.close()


def _chosen(rows: list[Instrument], pattern: str, title: str) -> list[Instrument]:
    """Return those that match; raises LocalError where none does."""
    folded = pattern.casefold()
    whole = folded if WILD & set(folded) else f"*{folded}*"
    found = [row for row in rows if any(_matches(name, whole) for name in _names(row))]
    if found or not rows:
        return found
    known = [name for row in rows for name in _names(row)]
    close = difflib.get_close_matches(pattern.upper(), known, n=1)
    hint = f": did you mean {close[0]}?" if close else ""
    raise LocalError(f"--like {pattern!r}: none of {len(rows)} instruments of {title}{hint}")


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.casefold(), pattern)


def _names(row: Instrument) -> list[str]:
    return [row.symbol, str(row.name)] if row.name is not None else [row.symbol]


def _lines(rows: Iterable[Instrument], *, as_json: bool) -> list[str]:
    if as_json:
        return [json.dumps(facts(row), ensure_ascii=False) for row in rows]
    names = ("symbol", "name", "status", "tick", "lot", "least", "least value")
    return aligned(names, (_cells(row) for row in rows), left=3)


def _cells(row: Instrument) -> list[str]:
    told = facts(row)
    keys = ("symbol", "name", "status", "tick", "lot", "quantity_min", "notional_min")
    return [printable(told[key] or NOTHING) for key in keys]


def facts(row: Instrument) -> dict[str, Any]:
    """Return what is known of an instrument; numbers as decimal text, "" where there is none."""
    quantity = row.quantity_exponent
    return {
        "venue": row.venue,
        "symbol": row.symbol,
        "name": "" if row.name is None else str(row.name),
        "kind": row.kind.value,
        "status": row.status.value,
        "tick": format_fixed(row.tick_size, row.price_exponent),
        "lot": format_fixed(row.lot_size, quantity),
        "quantity_min": format_fixed(row.quantity_min, quantity) if row.quantity_min else "",
        "notional_min": f"{row.notional_min:f}" if row.notional_min else "",
        "multiplier": f"{row.multiplier:f}",
    }
