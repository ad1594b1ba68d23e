"""Options of the commands that open one connection: `tickpath get` and `tickpath ws`.

Called by get.py and websocket.py; the values go to netstack/session.py.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.netstack.faults import Faults, parse_faults
from tickpath.netstack.http1.http1 import parse_header
from tickpath.netstack.session import ConnectOptions, Session
from tickpath.netstack.transport import BACKENDS
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

PORT_MAX = 65535
RESOLVE_PIECES = 3


def resolve_entry(text: str) -> tuple[str, str]:
    """Split HOST:PORT:ADDR into ("host:port", address); raises ArgumentTypeError."""
    pieces = text.split(":")
    if len(pieces) != RESOLVE_PIECES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected HOST:PORT:ADDR, as in example.com:443:192.0.2.1 (IPv4)"
        )
    host, port, address = pieces
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: {address!r} is not an IPv4 address; expected HOST:PORT:ADDR"
        ) from error
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= PORT_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected HOST:PORT:ADDR with a port from 1 to {PORT_MAX}"
        )
    return f"{host.lower()}:{int(port)}", address


def resolve_entries(entries: list[tuple[str, str]]) -> dict[str, str]:
    """Return "host:port" to its addresses, with commas between."""
    found: dict[str, str] = {}
    for place, address in entries:
        found[place] = f"{found[place]},{address}" if place in found else address
    return found


def positive_seconds(text: str) -> float:
    """Parse a duration; raises ArgumentTypeError unless it is above zero and finite."""
    try:
        seconds = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, such as 2.5") from error
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds above 0")
    return seconds


def header_entry(text: str) -> list[tuple[str, str]]:
    """Parse -H: one header, or @FILE with one a line; raises ArgumentTypeError."""
    lines = [text]
    if text.startswith("@"):
        try:
            lines = [line for line in Path(text[1:]).read_text("latin-1").splitlines() if line]
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from error
    try:
        return [parse_header(line) for line in lines]
    except LocalError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def request_headers(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the headers of all -H."""
    return [pair for entry in args.headers for pair in entry]


def fault_spec(text: str) -> Faults:
    """Parse --faults; raises ArgumentTypeError."""
    try:
        return parse_faults(text)
    except LocalError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_connect_arguments(parser: argparse.ArgumentParser, timeout_help: str) -> None:
    """Add the options that say how to reach the server."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--cacert", type=Path, metavar="FILE", help="trust only these CA certificates (PEM)"
    )
    group.add_argument(
        "--insecure", action="store_true", help="verify neither the certificate nor its name"
    )
    group.add_argument(
        "--resolve",
        type=resolve_entry,
        action="append",
        default=[],
        metavar="HOST:PORT:ADDR",
        help="use this IPv4 address for HOST:PORT; may be repeated, also for one HOST:PORT: the "
        "first address that answers is taken",
    )
    group.add_argument(
        "-H",
        "--header",
        type=header_entry,
        action="append",
        default=[],
        dest="headers",
        metavar="'NAME: VALUE'",
        help="send this header too, such as Origin or Cookie; @FILE: those of a file, one a line; "
        "may be repeated",
    )
    group.add_argument(
        "--faults",
        type=fault_spec,
        metavar="SPEC",
        help="for tests: damage AF_XDP frames both ways, as in "
        "loss=1%%,reorder=1%%,duplicate=1%%,corrupt=0.1%%,delay_ms=5,seed=7",
    )
    group.add_argument("--interface", metavar="NAME", help="leave by this interface, or not at all")
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="af_xdp: our own TCP, or an error; kernel: its sockets; auto: the first that works "
        "(default)",
    )
    group.add_argument(
        "--timeout",
        type=positive_seconds,
        default=10.0,
        metavar="SECONDS",
        help=timeout_help,
    )


def connect_options(args: argparse.Namespace, message_size_max: int = 1 << 20) -> ConnectOptions:
    """Return what the options say; raises LocalError for a certificate file that is not there."""
    if args.cacert is not None and not args.cacert.is_file():
        raise LocalError(f"--cacert {args.cacert}: no such file; expected PEM certificates")
    return ConnectOptions(
        cacert=args.cacert,
        insecure=args.insecure,
        resolve=resolve_entries(args.resolve),
        interface=args.interface,
        backend=args.backend,
        timeout_s=args.timeout,
        message_size_max=message_size_max,
        faults=args.faults,
    )


class Terminated(KeyboardInterrupt):
    """SIGTERM came: unwind as after Ctrl-C."""


def _raise_terminated(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the unwinding has its own time limits
    raise Terminated


@contextmanager
def ending_cleanly_on_sigterm() -> Iterator[None]:
    """Give ports and link back on SIGTERM, and then die of it, as the sender expects."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def tell_fallback(session: Session) -> None:
    """Say on stderr, in one line, that the kernel carries the bytes and why."""
    if session.fallback:
        print(f"path: {' '.join(session.path.split())}", file=sys.stderr)
