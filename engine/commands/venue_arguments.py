"""Options of the commands that ask one venue: `tickpath instruments` and `tickpath book`.

They become the text of a configuration, checked as a file of the user's is. Called by:
instruments.py, book.py. Calls: engine/config/check.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath.engine.commands.connect_arguments import PORT_MAX, resolve_entries, resolve_entry
from tickpath.engine.config.check import parse_config
from tickpath.proto.venues import load_venue
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tickpath.engine.config.schema import Config
    from tickpath.proto.venue import Venue


def find_venue(name: str) -> Venue:
    """Return a venue by its name; raises LocalError, which lists the known."""
    try:
        return load_venue(name)
    except ValueError as error:
        raise LocalError(f"{error}: `tickpath venues` lists them") from error


def add_venue_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the venue is, for a simulated one or a proxy."""
    group = parser.add_argument_group(
        "where the venue is (default: as its folder says; `tickpath sim` is another place)"
    )
    group.add_argument("--host", metavar="NAME", help="of its WebSocket and its REST service")
    group.add_argument("--port", type=int, metavar="N", help=f"of both, 1 to {PORT_MAX}")
    group.add_argument("--rest-host", metavar="NAME", help="where REST is another host")
    group.add_argument("--rest-port", type=int, metavar="N", help="where REST is another port")
    group.add_argument("--plain", action="store_true", help="ws:// and http://, without TLS")
    group.add_argument(
        "--cacert", type=Path, metavar="FILE", help="trust only these CA certificates (PEM)"
    )
    group.add_argument(
        "--insecure", action="store_true", help="verify neither the certificate nor its name"
    )
    group.add_argument("--server-name", metavar="NAME", help="in the certificate, where not HOST")
    group.add_argument(
        "--resolve",
        type=resolve_entry,
        action="append",
        default=[],
        metavar="HOST:PORT:ADDR",
        help="use this IPv4 address for HOST:PORT; may be repeated",
    )


_PLACES = ("host", "port", "rest_host", "rest_port", "plain", "cacert", "insecure", "server_name")


def has_place(args: argparse.Namespace) -> bool:
    """Say whether an option names another place than the venue's own."""
    return bool(args.resolve) or any(getattr(args, name) for name in _PLACES)


def venue_section(args: argparse.Namespace, name: str, symbols: Sequence[str]) -> dict[str, Any]:
    """Return the [[venue]] section that the options say; raises LocalError."""
    if args.cacert is not None and not args.cacert.is_file():
        raise LocalError(f"--cacert {args.cacert}: no such file; expected PEM certificates")
    if args.plain:
        for option in ("cacert", "insecure", "server_name"):
            if getattr(args, option):
                raise LocalError(
                    f"--{option.replace('_', '-')} with --plain: without TLS it means nothing: "
                    "leave one out"
                )
    section: dict[str, Any] = {"name": name, "symbols": list(symbols), "tls": not args.plain}
    given = {
        "host": args.host,
        "port": args.port,
        "rest_host": args.rest_host,
        "rest_port": args.rest_port,
        "ca_file": args.cacert and str(args.cacert),
        "insecure": args.insecure or None,
        "server_name": args.server_name,
        "resolve": resolve_entries(args.resolve) or None,
    }
    return section | {key: value for key, value in given.items() if value is not None}


def config_text(section: dict[str, Any], instance: str = "", others: str = "") -> str:
    """Write a configuration of one [[venue]] and of other sections, which are text already."""
    first = f"instance = {_toml(instance)}\n" if instance else ""
    keys = "".join(f"{key} = {_toml(value)}\n" for key, value in section.items())
    return f"{first}{others}\n[[venue]]\n{keys}"


def check_options(text: str) -> Config:
    """Check what the options were made into; raises LocalError that names the option."""
    try:
        return parse_config(text)
    except LocalError as error:
        raise LocalError(by_option(str(error))) from error


def by_option(text: str) -> str:
    """Name the option, or the argument, where a message names the key that it became."""
    return _KEY.sub(_option, text)


_KEY = re.compile(r"venue\[0\]\.(\w+)(\[\d+\])?")
_NO_OPTIONS = {"symbols": "SYMBOL", "ca_file": "--cacert"}


def _option(key: re.Match[str]) -> str:
    return _NO_OPTIONS.get(key[1], f"--{key[1].replace('_', '-')}")


def _toml(value: object) -> str:
    """Write a value as TOML: as JSON but for tables, and for what it escapes beyond 16 bits."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
