"""`tickpath ws`: stdin lines as text messages, what comes on stdout; or an echo of every message.

Called by cli. Calls netstack/session.py, which answers pings and closes. One thread: stdin is
looked at between bursts from the network.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Protocol

from tickpath.engine.commands.connect_arguments import (
    add_connect_arguments,
    connect_options,
    ending_cleanly_on_sigterm,
    request_headers,
    tell_fallback,
)
from tickpath.netstack.http1.http1 import header_lines
from tickpath.netstack.session import Session
from tickpath.netstack.ws.ws import Opcode
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE_SIZE = 1009  # RFC 6455 7.4.1
SIZE_ERROR = "message larger than message_size_max"  # ws/message.c
CLEAN_CODES = frozenset({1000, 1001, 1005})  # 1005: a close frame without a code
MESSAGE_SIZE_MAX = 64 << 20
INPUT_READ_SIZE = 1 << 16
INPUT_INTERVAL_S = 0.005
WAIT_S = 0.1
CLOSE_WAIT_S = 2.0
LINGER_SILENCE_S = 0.3  # after stdin ended: a server that has this long nothing to say is done,
LINGER_MAX_S = 2.0  # and one that talks on is not waited for longer


def message_size(text: str) -> int:
    """Parse --max-message; raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1 << 30:
        raise argparse.ArgumentTypeError(f"{text!r}: expected bytes, from 1 to {1 << 30}")
    return int(text)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ws` to the command line."""
    parser = subparsers.add_parser(
        "ws",
        help="talk to a WebSocket over the user-space stack",
        description="Send stdin's lines as text messages and print what comes, one line each: text "
        'as it is, binary as "base64:" and its base64. Pings are answered. When stdin ends the '
        "connection is closed as soon as the server was silent for 0.3 s, after 2 s at the latest. "
        'At the end stderr has "closed: CODE REASON".',
        epilog="example: tickpath ws --keep-open wss://example.com/ws < subscribe.json\n"
        "exit status: 0 for a clean close (code 1000 or 1001, or none); 1 for another one, and "
        "when\nthe server or the way to it failed (code 1006: no close frame came); 2 wrong usage; "
        "3 this\nmachine lacks something",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="ws:// or wss://")
    parser.add_argument(
        "--echo",
        action="store_true",
        help="send every message back with its own opcode until the server closes; stdin is not "
        "read, nothing is printed",
    )
    parser.add_argument(
        "--keep-open",
        action="store_true",
        help="stay when stdin ends, until the server closes or Ctrl-C",
    )
    parser.add_argument(
        "--max-message",
        type=message_size,
        default=MESSAGE_SIZE_MAX,
        metavar="BYTES",
        help=f"close with code 1009 on a larger message (default {MESSAGE_SIZE_MAX})",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print each message as {"opcode", "text" | "base64"}, and at the end {"closed", '
        '"reason", "path"}',
    )
    add_connect_arguments(
        parser, "for connecting with all handshakes (default 10); an open one may stay silent"
    )


class Lines:
    """Lines of a file descriptor, taken without blocking."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = b""
        self.open = True
        try:
            os.fstat(fd)
        except OSError:  # started with stdin closed
            self.open = False

    def take(self) -> Iterator[str]:
        """Yield whole lines that are there now; raises LocalError for one that is not UTF-8."""
        if not self.open or not select.select([self._fd], [], [], 0)[0]:
            return
        data = os.read(self._fd, INPUT_READ_SIZE)
        if not data:
            self.open = False
            rest, self._pending = self._pending, b""
            if rest:
                yield self._text(rest)
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            yield self._text(line)

    def _text(self, line: bytes) -> str:
        try:
            return line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise LocalError(
                f"stdin: the line {line[:40]!r} is not UTF-8, and so no text message"
            ) from error


class Printer:
    """Print messages on stdout, one line each, at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._escape = sys.stdout.isatty()
        self.path = ""

    def message(self, opcode: Opcode, payload: bytes) -> None:
        """Print a text or binary message."""
        if opcode is Opcode.TEXT:
            text = payload.decode()
            self._line(json.dumps({"opcode": "text", "text": text}) if self._json else text)
        else:
            coded = base64.b64encode(payload).decode()
            whole = {"opcode": "binary", "base64": coded}
            self._line(json.dumps(whole) if self._json else f"base64:{coded}")

    def closed(self, code: int, reason: str) -> None:
        """Print how it ended: on stderr, and with --json on stdout too."""
        printable = reason.encode("unicode_escape").decode("ascii") if reason else ""
        print(f"closed: {code} {printable}".rstrip(), file=sys.stderr)
        if self._json:
            self._line(json.dumps({"closed": code, "reason": reason, "path": self.path}))

    def _line(self, text: str) -> None:
        if self._escape:  # a server's words must not drive the terminal
            text = "".join(
                one if one.isprintable() or one in "\t\n" else one.encode("unicode_escape").decode()
                for one in text
            )
        sys.stdout.buffer.write(text.encode() + b"\n")
        sys.stdout.buffer.flush()


class Conversation(Protocol):
    """What `tickpath ws` does with messages, and when it has something to say itself."""

    def message(self, opcode: Opcode, payload: memoryview) -> None:
        """Take one text or binary message; payload dies at the next call on the session."""

    def idle(self) -> float:
        """Do what does not depend on the server; returns the seconds until it wants a turn."""


class Echo:
    """Send every message back."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def message(self, opcode: Opcode, payload: memoryview) -> None:
        """Send it back; a copy, since sending may have to wait, and waiting moves the buffer."""
        self._session.send(opcode, bytes(payload))

    def idle(self) -> float:
        """Nothing to say."""
        return WAIT_S


class Terminal:
    """Send lines, print messages."""

    def __init__(self, session: Session, printer: Printer, *, keep_open: bool) -> None:
        self._session = session
        self._printer = printer
        self._lines = Lines(0)
        self._keep_open = keep_open
        self._heard = self._ended = 0.0
        self._closed = False

    def message(self, opcode: Opcode, payload: memoryview) -> None:
        """Print it."""
        self._heard = time.monotonic()
        self._printer.message(opcode, bytes(payload))

    def idle(self) -> float:
        """Send the lines that are there; close when stdin ended and its answers had their time."""
        now = time.monotonic()
        if self._lines.open:
            for line in self._lines.take():
                self._session.send(Opcode.TEXT, line.encode())
            self._heard = self._ended = now
            return INPUT_INTERVAL_S
        silent = now - self._heard > LINGER_SILENCE_S or now - self._ended > LINGER_MAX_S
        if silent and not self._keep_open and not self._closed:
            self._closed = True
            self._session.close()
        return INPUT_INTERVAL_S if not self._closed else WAIT_S


def talk(session: Session, conversation: Conversation) -> None:
    """Serve the connection until it ended. Raises RemoteError when the server broke a rule."""
    turn = 0.0
    while (message := session.next()) is not None:
        if message.opcode in (Opcode.TEXT, Opcode.BINARY):
            conversation.message(Opcode(message.opcode), message.payload)
        waiting = message.opcode < 0
        if waiting or time.monotonic() >= turn:
            pause = conversation.idle()
            turn = time.monotonic() + pause
            if waiting:
                session.wait(pause)


def leave(session: Session) -> None:
    """Close after Ctrl-C, and give the server a moment to answer."""
    session.close()
    end = time.monotonic() + CLOSE_WAIT_S
    while time.monotonic() < end and (message := session.next()) is not None:
        if message.opcode < 0:
            session.wait(INPUT_INTERVAL_S)


def run(args: argparse.Namespace) -> int:
    """Talk until the connection ends; returns 0 for a clean close."""
    with ending_cleanly_on_sigterm():
        return _run(args)
    return 128 + signal.SIGTERM  # not reached: the signal was sent anew


def _run(args: argparse.Namespace) -> int:
    printer = Printer(as_json=args.json)
    options = connect_options(args, args.max_message)
    headers = header_lines(request_headers(args))
    with Session(args.url, options, websocket=True, headers=headers) as session:
        printer.path = session.path
        tell_fallback(session)
        session.connect()
        conversation: Conversation = (
            Echo(session) if args.echo else Terminal(session, printer, keep_open=args.keep_open)
        )
        try:
            talk(session, conversation)
        except RemoteError as error:
            if SIZE_ERROR in str(error):
                said = f"a message is larger than --max-message {args.max_message}"
                printer.closed(CLOSE_SIZE, said)
            else:
                printer.closed(session.close_code, str(error))
            return 1
        except KeyboardInterrupt:
            leave(session)
            printer.closed(session.close_code, session.close_reason)
            raise
        code = session.close_code
        printer.closed(code, session.close_reason)
        return 0 if code in CLEAN_CODES else 1
