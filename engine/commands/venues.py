"""`tickpath venues`: what is known of each venue, as its folder says it.

Reads no network: facts, limits and sync rules are those that the feed and the plan go by. Called
by: engine/cli.py. Calls: proto/venues, C's side of the seam.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.commands import venues_table
from tickpath.engine.commands.venue_arguments import find_venue
from tickpath.proto.venue import BaseSource, Meaning, Verification
from tickpath.proto.venues import DEFAULT_NAME, FOLDERS_VARIABLE, REFUSED, venue_names, why_refused
from tickpath.proto.venues.decoder import find_decoder, meaning_of
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse

    from tickpath.proto.venue import Venue

WIDTH: Final = 100
LABEL: Final = 14
SECONDS_PER_HOUR: Final = 3600
BASES: Final = {
    BaseSource.REST: "by REST",
    BaseSource.IN_BAND: "on the socket, with the subscription; a new one by subscribing anew",
    BaseSource.REQUEST: "on the socket, by a request",
}
CHAINS: Final = {
    lib.TP_CHAIN_NONE: "messages have no numbers",
    lib.TP_CHAIN_RANGE: "a message begins at the number after the last one's end",
    lib.TP_CHAIN_PLUS_ONE: "a message has the number after the last one's",
    lib.TP_CHAIN_PREVIOUS: "a message names the last one's number",
}
RESTARTS: Final = {
    lib.TP_RESTART_CHAINED: "a lower number that names the last one goes on: counted anew",
    lib.TP_RESTART_ZERO: "a message after number 0 ends the chain",
}
MEETS_BASE: Final = "the first after a base may begin before it"
CHECKSUMS: Final = {
    lib.TP_CHECKSUM_TEN: "CRC-32 of ten levels a side with a message",
    lib.TP_CHECKSUM_TWENTY_FIVE: "CRC-32 of 25 levels a side with a message",
}
VERIFICATIONS: Final = {
    Verification.REST: "a quiet book is compared with a base by REST",
    Verification.ASIDE: "a quiet book is compared with the base of another subscription, on a "
    "connection of its own",
    Verification.ASK: "for a quiet book a base is asked for on the socket",
    Verification.HEARTBEAT: "a quiet book's own channel says that nothing changed",
}
FLAGS: Final = {
    "may_overlap": "later ones may begin before the last one's end",
    "in_band_base": "a whole book may come at any time and replaces the old one",
    "unchanged": "a message may say that nothing changed",
    "counts_connection": "all messages of a connection are numbered: a hole costs all its books",
    "copies": "numbers are the same on each connection: several may race",
    "must_truncate": "what falls out of its depth is not deleted: cut here",
}
MEANINGS: Final = {
    Meaning.BASE: "whole books",
    Meaning.DELTA: "book",
    Meaning.TOP: "best bid and ask",
    Meaning.TRADES: "trades",
    Meaning.STATUS: "status",
    Meaning.OWN: "own orders",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath venues`."""
    parser = subparsers.add_parser(
        "venues",
        description="Say what is known of each venue: where a book begins, by which rule messages "
        "keep it whole, limits, channels, and what was never seen on a wire.",
        epilog=f"example: tickpath venues {DEFAULT_NAME} --json. Nothing is asked of the "
        f"venue. Venues of your own: {FOLDERS_VARIABLE} names their folders (docs/venues.md).",
    )
    parser.add_argument("venue", nargs="?", metavar="VENUE", help="only this one")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument(
        "--table", action="store_true", help="a row each: what it supports, and what was seen of it"
    )


def run(args: argparse.Namespace) -> int:
    """Print; 0, or 2 where a venue is not there or cannot be used."""
    names = venue_names() if args.venue is None else (find_venue(args.venue).name,)
    told, known, unusable = [], [], []
    for name in names:
        try:
            venue = find_venue(name)
            told.append(facts(venue))
            known.append((venue, book_rule(venue)))
        except ValueError as error:  # its decoder: the others are shown
            unusable.append(f"{name}: {error}")
    if args.table:
        lines = venues_table.rows(known) if known else []
    elif args.json:
        lines = [json.dumps(one, ensure_ascii=False) for one in told]
    else:
        paragraphs = [_paragraph(one) for one in told]
        if args.venue is None:
            paragraphs += _refused()
        lines = "\n\n".join(map("\n".join, paragraphs)).splitlines()
    if lines:
        print("\n".join(lines))
    if unusable:
        raise LocalError("; ".join(unusable))
    return 0


def book_rule(venue: Venue) -> Any:
    """Return the `struct tp_sync_rule *` of the channel that its own defaults choose."""
    decoder, settings = find_decoder(venue.name), venue.settings()
    (name, *_) = venue.channels(venue.example_symbol, settings)
    return decoder.describe(ffi.new("char[]", name.encode())).rule


def facts(venue: Venue) -> dict[str, Any]:
    """Return what a venue's folder says; raises ValueError where its decoder cannot be used."""
    decoder, settings = find_decoder(venue.name), venue.settings()
    channels = []
    rule = ffi.NULL
    for name in venue.channels(venue.example_symbol, settings):
        kind = decoder.describe(ffi.new("char[]", name.encode()))
        if kind == ffi.NULL:
            raise ValueError(f"its decoder knows no channel {name}: compile it anew")
        channels.append({"name": name, "carries": MEANINGS[meaning_of(kind.meaning)]})
        rule = rule or kind.rule
    return {
        "name": venue.name,
        "title": venue.title,
        "base": _base(venue, settings),
        "sync": rule_words(rule),
        "verification": _verification(venue, settings, rule),
        "limits": _limits(venue, settings),
        "channels": channels,
        "left_out": venue.left_out,
        "never_seen": venue.never_seen,
    }


def _base(venue: Venue, settings: Any) -> str:
    source = venue.base_from(settings)
    words = BASES[source]
    if source is BaseSource.REST:
        depth = venue.base_depth(settings)
        words += f", {depth:,} levels a side" if depth else ", the whole book"
    return words


def _verification(venue: Venue, settings: Any, rule: Any) -> list[str]:
    words = [CHECKSUMS[rule.checksum]] if rule and rule.checksum in CHECKSUMS else []
    return [*words, VERIFICATIONS[venue.verification(settings)]]


def rule_words(rule: Any) -> list[str]:
    """Say a `struct tp_sync_rule *` in words, a sentence each; nothing of NULL."""
    if rule == ffi.NULL:
        return []
    words = [CHAINS[rule.chain]]
    if rule.meeting == lib.TP_MEETING_COVERS:
        words.append(MEETS_BASE)
    words += [text for name, text in FLAGS.items() if getattr(rule, name)]
    words += [RESTARTS[rule.restart]] if rule.restart in RESTARTS else []
    return words + ([f"{rule.depth} levels a side are kept"] if rule.depth else [])


def _limits(venue: Venue, settings: Any) -> dict[str, Any]:
    rest = venue.rest_budget(settings)
    limits: dict[str, Any] = msgspec.to_builtins(venue.limits)
    return limits | {"rest_requests_per_second": rest.per_second}


def rate_words(rate: dict[str, Any]) -> str:
    """Say a rate in words."""
    return f"{rate['count']} in {rate['per_s']:g} s"


def limit_words(limits: dict[str, Any]) -> list[str]:
    """Say limits in words, those that the venue names."""
    age_s = limits["connection_age_max_s"]
    named = {
        "{} channels a connection": limits["channels_per_connection"],
        "{} a message": limits["channels_per_message"],
        "{:g} messages a second": limits["messages_per_second"],
        "{} subscriptions an hour": limits["messages_per_hour"],
        "{:g} REST requests a second": limits["rest_requests_per_second"],
        "{} connections of an address": limits["connections"],
        "{} new ones": limits["connects"] and rate_words(limits["connects"]),
        "{} messages of an address": limits["address_messages"]
        and rate_words(limits["address_messages"]),
        "{} of REST's weight of an address": limits["requests"] and rate_words(limits["requests"]),
        "a connection ends after {:g} h": age_s and age_s / SECONDS_PER_HOUR,
        "or after {:g} s without a channel": limits["idle_without_channel_s"],
        "or after {:g} s without data": limits["idle_without_data_s"],
    }
    return [text.format(value) for text, value in named.items() if value]


def _paragraph(told: dict[str, Any]) -> list[str]:
    rows = {
        "base": told["base"],
        "sync": "; ".join(told["sync"]),
        "verification": "; ".join(told["verification"]),
        "limits": ", ".join(limit_words(told["limits"])),
        "channels": ", ".join(f"{one['name']} ({one['carries']})" for one in told["channels"]),
        **({"left out": told["left_out"]} if told["left_out"] else {}),
        "never seen": told["never_seen"] or "nothing is said",
    }
    return _written(f"{told['name']}: {told['title']}", rows)


def _refused() -> list[list[str]]:
    """Return a paragraph of each venue that is left out on purpose."""
    return [
        _written(f"{name}: refused", {"why": reason})
        for name in REFUSED
        if (reason := why_refused(name))
    ]


def _written(title: str, rows: dict[str, str]) -> list[str]:
    lines = [title]
    for label, text in rows.items():
        indent = " " * (2 + LABEL)
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"  {label:<{LABEL}}",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
