"""`tickpath get`: one HTTP/1.1 GET over the user-space stack, body to stdout or a file.

Called by cli. Calls netstack/session.py for the connection and netstack/http1 for the messages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import msgspec
from tickpath.engine.commands.connect_arguments import (
    add_connect_arguments,
    connect_options,
    ending_cleanly_on_sigterm,
    request_headers,
    tell_fallback,
)
from tickpath.netstack.http1.http1 import (
    Http1Error,
    ResponseHead,
    ResponseReader,
    request,
    with_agent,
)
from tickpath.netstack.session import Session, Target, parse_url
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from types import TracebackType

WAIT_S = 0.25
PROGRESS_INTERVAL_S = 0.2
NS_PER_MS = 1e6


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `get` to the command line."""
    parser = subparsers.add_parser(
        "get",
        help="fetch a URL over the user-space stack",
        description="Fetch a URL by HTTP/1.1 over the user-space stack. The body goes to stdout or "
        "a file, all else to stderr. Redirects are not followed.",
        epilog="example: tickpath get --timing -o book.json https://example.com/api/book\n"
        "exit status: 0 for a 2xx answer; 1 for another one (its body is written all the same), "
        "or\nwhen the server or the way to it failed; 2 wrong usage; 3 this machine lacks "
        "something",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="http:// or https://")
    parser.add_argument(
        "-X",
        "--request",
        metavar="METHOD",
        help="the method, such as POST or DELETE (default GET; POST with --data)",
    )
    parser.add_argument(
        "--data",
        metavar="TEXT",
        help="send this as the body, once; @FILE: what a file has. Its Content-Type is "
        "application/x-www-form-urlencoded unless -H names another",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the body there; a file only when the body came whole",
    )
    parser.add_argument(
        "--timing",
        action="store_true",
        help="print on stderr when each step was done, counted from the start, and the bytes",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print status, path and timing as one JSON object: on stdout with -o, else on stderr",
    )
    add_connect_arguments(
        parser,
        "for each of: connecting with all handshakes, silence while waiting (default 10)",
    )


class Report(msgspec.Struct, kw_only=True):
    """What a fetch came to. Times are ms since its start; 0.0 for a step that was not made."""

    url: str
    address: str
    path: str
    status: int
    reason: str
    bytes: int
    resolve_ms: float
    ready_ms: float
    """When the AF_XDP link, its program and its ports were set up."""
    connect_ms: float
    tls_ms: float
    first_byte_ms: float
    total_ms: float
    faults: dict[str, int] = {}
    """What --faults did to frames."""
    tried: list[dict[str, str | float | None]] = []
    """Each address that was tried: its round trip in ms (null: none), or why it failed."""

    def lines(self) -> str:
        """Return the table that --timing prints."""
        rate = self.bytes / max(self.total_ms, 0.001) / 1000
        steps = {
            "resolve": self.resolve_ms,
            "link ready": self.ready_ms,
            "connect": self.connect_ms,
            "TLS": self.tls_ms,
            "first byte": self.first_byte_ms,
            "total": self.total_ms,
        }
        rows = [f"path        {self.path}, {self.address}"]
        for one in self.tried:
            if one["connect_ms"] is None:
                rows.append(f"not reached {one['address']} ({one['failure'] or 'no answer'})")
        rows += [f"{name:<12}{value:.3f} ms" for name, value in steps.items() if value > 0]
        rows.append(f"{'bytes':<12}{self.bytes} ({rate:.1f} MB/s)")
        return "\n".join(rows)


class Body:
    """Where the body goes; a file is opened with the first byte of the answer, not before.

    A regular file is written beside its place, and moved there when it is whole.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._part: Path | None = None
        self._file: IO[bytes] | None = None
        self.size = 0
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise LocalError(f"--output {path}: expected a file in a directory that exists")

    def open(self) -> None:
        """Open the file; raises LocalError with the system's reason."""
        path = self._path
        if path is None:
            self._file = sys.stdout.buffer
            return
        try:
            if path.exists() and not path.is_file():  # a device or a pipe: it has no place beside
                self._file = path.open("wb")
                return
            path = path.resolve()  # what a link names is replaced, not the link
            self._part = path.with_name(f".tickpath-{os.getpid()}.part")
            self._file = self._part.open("wb")
            if path.exists():
                self._part.chmod(stat.S_IMODE(path.stat().st_mode))
        except OSError as error:
            raise self._failed(error) from error

    def write(self, pieces: list[bytes]) -> None:
        """Append; raises LocalError when the disk refuses."""
        if self._file is None:  # no head yet, and so no body
            return
        try:
            for piece in pieces:
                self._file.write(piece)
                self.size += len(piece)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """Put the whole file in its place; raises LocalError when the disk refuses."""
        if self._file is None:
            return
        try:
            self._file.flush()
            if self._path is not None:
                self._file.close()
            if self._part is not None and self._path is not None:
                self._part.replace(self._path.resolve())
                self._part = None
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._path is None:  # else the interpreter tries the same again at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> LocalError:
        return LocalError(f"--output {self._path or 'stdout'}: {error.strerror}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None and self._path is not None:
            with contextlib.suppress(OSError):  # told already, or the file is not wanted any more
                self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)


class Progress:
    """A line on the terminal while a file is written; nothing elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._next = time.monotonic() + PROGRESS_INTERVAL_S
        self._drawn = False

    def update(self, size: int, head: ResponseHead | None) -> None:
        """Redraw now and then."""
        now = time.monotonic()
        if not self._shown or head is None or now < self._next:
            return
        self._next = now + PROGRESS_INTERVAL_S
        self._drawn = True
        length = head.get("content-length")
        of = f" of {int(length) / 1e6:.1f}" if length is not None and length.isdigit() else ""
        print(f"\r\x1b[K{size / 1e6:.1f}{of} MB", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Give the line back."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def make_request(args: argparse.Namespace, target: Target) -> bytes:
    """Return the request; raises LocalError for a file that cannot be read, or a wrong method."""
    data = None if args.data is None else args.data.encode()
    if args.data is not None and args.data.startswith("@"):
        try:
            data = Path(args.data[1:]).read_bytes()
        except OSError as error:
            raise LocalError(f"--data {args.data}: {error.strerror}") from error
    given = request_headers(args)
    usual = [("Accept", "*/*"), ("Connection", "close")]
    if data is not None:
        usual.append(("Content-Type", "application/x-www-form-urlencoded"))
    names = {name.lower() for name, _ in given}
    headers = [pair for pair in usual if pair[0].lower() not in names] + given
    method = args.request or ("GET" if data is None else "POST")
    try:
        return request(target.authority, target.path, with_agent(headers), method, data)
    except ValueError as error:
        raise LocalError(f"-X {method!r}: expected a method such as POST: {error}") from error


def fetch(
    session: Session, asked: bytes, body: Body, progress: Progress, silence_s: float
) -> ResponseHead:
    """Send the request and write the body; returns the head.

    Raises RemoteError when the answer is malformed, cut short, or does not come.
    """
    session.send_bytes(asked)
    reader = ResponseReader(head_request=asked.startswith(b"HEAD "))
    heard = time.monotonic()
    while not reader.complete:
        view = session.read()
        if view is None:
            reader.end_of_input()
        elif len(view) == 0:
            if time.monotonic() - heard > silence_s:
                raise RemoteError(
                    f"{session.target.host}: silent for {silence_s:g} s; see --timeout"
                )
            session.wait(WAIT_S)
            continue
        else:
            heard = time.monotonic()
            opened = reader.head is not None
            pieces = reader.feed(bytes(view))
            if not opened and reader.head is not None:
                body.open()
            body.write(pieces)
        progress.update(body.size, reader.head)
    if reader.head is None:
        raise AssertionError("a complete answer has a head")
    return reader.head


def verdict(url: str, head: ResponseHead) -> str | None:
    """Return why the status is no success, or None."""
    if 200 <= head.status < 300:
        return None
    said = f"{url}: status {head.status} {head.reason}".rstrip()
    location = head.get("location")
    if 300 <= head.status < 400 and location is not None:
        printable = location.encode("ascii", "backslashreplace").decode()
        return f"{said}: redirects are not followed; this one points to {printable}"
    return said


def run(args: argparse.Namespace) -> int:
    """Fetch; returns 0 for a 2xx answer. Raises RemoteError for another one, after its body."""
    with ending_cleanly_on_sigterm():
        return _run(args)
    return 128 + signal.SIGTERM  # not reached: the signal was sent anew


def _run(args: argparse.Namespace) -> int:
    progress = Progress(shown=args.output is not None and sys.stderr.isatty())
    started = time.monotonic_ns()
    asked = make_request(args, parse_url(args.url, ("http", "https")))
    with (
        Body(args.output) as body,
        Session(args.url, connect_options(args), websocket=False) as session,
    ):
        tell_fallback(session)
        session.connect()
        try:
            head = fetch(session, asked, body, progress, args.timeout)
            body.finish()
        except Http1Error as error:
            raise RemoteError(f"{session.target.host}: {error}") from error
        finally:
            progress.clear()
        total_ms = (time.monotonic_ns() - started) / NS_PER_MS
        report = make_report(args.url, session, head, total_ms)
        report.bytes = body.size
        session.close()
    if args.timing:
        print(report.lines(), file=sys.stderr)
    if args.json:
        where = sys.stderr if args.output is None else sys.stdout
        print(json.dumps(msgspec.to_builtins(report)), file=where)
    failure = verdict(args.url, head)
    if failure is not None:
        raise RemoteError(failure)
    return 0


def make_report(url: str, session: Session, head: ResponseHead, total_ms: float) -> Report:
    """Collect what is known at the end of a fetch."""
    times = session.times_ns
    ready = session.ready_ns
    steps = {name: (ready + ns) / NS_PER_MS if ns else 0.0 for name, ns in times.items()}
    return Report(
        url=url,
        address=session.address,
        path=session.path,
        status=head.status,
        reason=head.reason,
        bytes=0,
        resolve_ms=session.resolved_ns / NS_PER_MS,
        ready_ms=ready / NS_PER_MS,
        connect_ms=steps["connected"],
        tls_ms=steps["tls_done"],
        first_byte_ms=steps["first_byte"],
        total_ms=total_ms,
        faults=session.faults,
        tried=[
            {
                "address": one.address,
                "connect_ms": None if one.seconds is None else one.seconds * 1e3,
                "failure": one.failure,
            }
            for one in session.tried
        ],
    )
