"""Ask a venue by HTTP over a kernel socket: one connection that is kept.

`read_answer` judges what came; `RestClient` asks, within a time, takes each request from what our
address may ask of the venue, and heeds its pauses.
Never on the path. Called by: bases.py, instrument_list.py and the commands. Calls: http.client,
ssl, engine/loop/pauses.py, proto/venue.py (what an answer means).
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from tickpath.engine.loop.pauses import Pauses, Whose, asked_pause_s, own_address, pause_text
from tickpath.netstack.eyeballs import RoundTrips, Schedule, connect_first
from tickpath.netstack.http1.http1 import with_agent
from tickpath.netstack.transport import resolve_all
from tickpath.proto.venue import HttpRequest, HttpResponse, RestRefusal, excerpt
from tickpath.shm.budget import Kind
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from tickpath.engine.config.schema import VenueConfig

TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
REQUESTS_KEPT = 4096
"""As they are sent: an instrument's request for its base is the same each time."""
# x509_vfy.h, X509_V_ERR_…: self-signed, and issuers that are not among those that are trusted.
UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})


class RateLimitError(RemoteError):
    """Say that the venue wants no requests for a while, or has banned us."""

    def __init__(self, refusal: RestRefusal) -> None:
        left_s = refusal.retry_after_s
        until = "" if left_s is None else f", for {pause_text(left_s)}"
        super().__init__(f"the venue limits requests: {refusal.reason}{until}")
        self.refusal = refusal


class SpentError(RateLimitError):
    """Say that all that our address may ask of the venue is spent for longer than we can wait."""

    def __init__(self, whose: Whose, left_s: float) -> None:
        super().__init__(RestRefusal("our own budget", False, left_s))
        self.args = (
            f"what {whose.address} may ask of {whose.host} is spent by the processes of this host: "
            f"asking again in {pause_text(left_s)}",
        )


class LateError(RemoteError):
    """Say that an answer was not there in time."""


class Rest(Protocol):
    """Whoever can ask a venue: `RestClient`, or a test's stand-in."""

    def ask(self, request: HttpRequest, *, size_max: int, timeout_s: float = TIMEOUT_S) -> bytes:
        """Return the body of a 200 answer; raises RateLimitError or RemoteError."""

    def close(self) -> None:
        """Close what is open."""


def read_answer(
    venue: VenueConfig, request: HttpRequest, answer: HttpResponse, *, size_max: int, now: datetime
) -> bytes:
    """Return an answer's body; raises RateLimitError or RemoteError where it is none to be used."""
    refusal = venue.venue.rest_refusal(answer, now)
    if refusal is not None:
        raise RateLimitError(refusal)
    asked_s = asked_pause_s(answer.status, answer.headers.get("retry-after", ""), now)
    if asked_s:
        raise RateLimitError(RestRefusal(f"status {answer.status}", False, asked_s))
    host, port = venue.rest
    whose = f"{_method(request)} {request.target} from {host}:{port}"
    if answer.status != http.client.OK:
        raise RemoteError(
            f"{whose}: status {answer.status}, expected 200: {excerpt(answer.body, 120)}"
        )
    if len(answer.body) > size_max:
        raise RemoteError(f"{whose}: more than {size_max} bytes")
    return answer.body


class RestClient:
    """GET from one host over a kernel socket that is kept open; not for several threads at once.

    But `cut`, which ends a request under way, and `another`.
    """

    def __init__(
        self,
        venue: VenueConfig,
        clock: Clock = SYSTEM,
        context: ssl.SSLContext | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._venue, self._clock = venue, clock
        self._pauses, self._own = pauses or Pauses(clock), ""
        self._host, self._port = venue.rest
        self._context = (context or self._tls_context()) if venue.tls else None
        self._round_trips = RoundTrips()
        self._sock: socket.socket | None = None
        self._begun: HttpRequest | None = None
        self._is_cut = False
        self._cut_called = threading.Event()

    def another(self) -> RestClient:
        """Return one more client of the same host: it shares the certificates, a megabyte."""
        return RestClient(self._venue, self._clock, self._context, self._pauses)

    def cut(self) -> None:
        """End what is under way and all that follows; a connection being made ends soon."""
        self._is_cut = True
        self._cut_called.set()
        sock = self._sock
        if sock is not None:
            _cut(sock)

    def _tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._venue.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as netstack/tls/handshake.c has it
        context.hostname_checks_common_name = False  # RFC 9525 2
        if self._venue.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _server_name(self) -> str:
        own = self._venue.server_name if self._host == self._venue.host else None
        return own or self._host

    def _connect(self, timeout_s: float) -> socket.socket:
        found = resolve_all(self._host, self._port, self._venue.resolve)
        addresses = self._round_trips.order(found, self._port, SYSTEM.now_s())
        self._own = own_address(addresses[0], self._port)
        self._heed()
        schedule = Schedule(addresses)
        try:
            within_s = min(timeout_s, CONNECT_TIMEOUT_S)
            plain, address = connect_first(schedule, self._port, within_s)
        finally:
            self._round_trips.note(schedule, self._port, SYSTEM.now_s())
        try:
            own = own_address(address, self._port)
            if own != self._own:  # a way of its own leads there
                self._own = own
                self._heed()
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(timeout_s)
            if self._context is None:
                return plain
            return self._context.wrap_socket(plain, server_hostname=self._server_name())
        except BaseException:
            plain.close()
            raise

    def close(self) -> None:
        """Close the connection; the next `get` opens a new one."""
        sock, self._sock, self._begun = self._sock, None, None
        if sock is not None:
            sock.close()

    def get(self, target: str, *, size_max: int, timeout_s: float = TIMEOUT_S) -> bytes:
        """GET a target: see `ask`."""
        return self.ask(HttpRequest(target), size_max=size_max, timeout_s=timeout_s)

    def ask(self, request: HttpRequest, *, size_max: int, timeout_s: float = TIMEOUT_S) -> bytes:
        """Return the body of a 200 answer.

        Raises RateLimitError where the venue says so, RemoteError for all else that is no such
        answer within timeout_s, slowly dripping ones included.
        """
        is_sent = self._begun is request
        if self._begun is not None and not is_sent:
            self.close()  # the next answer there is another one's
        self._begun = None
        for is_fresh in (self._sock is None, True):
            try:
                if self._sock is None:
                    self._sock, is_sent = self._connect(timeout_s), False
                elif not is_sent:
                    self._heed()
                if not is_sent:
                    self._await_turn(request, timeout_s)
                if self._is_cut:  # while it connected, or waited
                    raise ConnectionAbortedError("the feed handler ends")
                if not is_sent:
                    self._send(self._sock, request, timeout_s)
                return self._answer(self._sock, request, size_max, timeout_s)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                self.close()
                if is_fresh or self._is_cut:
                    raise self._failure(request, error) from error
                # The venue closed an idle connection: nothing was answered, asking again is safe.
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise self._failure(request, error) from error
            except RemoteError:
                self.close()
                raise
        raise AssertionError("the second round returns or raises")

    def begin(self, request: HttpRequest) -> bool:
        """Send a request on the connection that is open, never waiting: `ask` then has its answer.

        False: there is none, or it took not all of it at once; `ask` does all of it.
        """
        sock = self._sock
        if sock is None or self._is_cut:
            return False
        try:
            self._heed()
            if self._take(request) > 0:
                return False
            self._send(sock, request, 0.0)
        except RateLimitError:
            return False
        except Exception:  # a venue's folder makes requests: `ask` says what is wrong with it
            self.close()
            return False
        self._begun = request
        return True

    @property
    def begun(self) -> HttpRequest | None:
        """What was sent and not asked for yet."""
        return self._begun

    def _take(self, request: HttpRequest) -> float:
        """Take a request from what our address may ask; return how many seconds to wait, or 0.0."""
        rate, venue = self._venue.venue.limits.requests, self._venue.venue
        if rate is None:
            return 0.0
        return self._pauses.take(self._whose(), Kind.REST, rate, venue.request_weight(request))

    def _await_turn(self, request: HttpRequest, timeout_s: float) -> None:
        """Wait until it may be asked; raises SpentError where that is not within timeout_s."""
        ends_s = SYSTEM.now_s() + timeout_s
        while not self._is_cut and (wait_s := self._take(request)) > 0:
            if SYSTEM.now_s() + wait_s > ends_s:
                raise SpentError(self._whose(), wait_s)
            self._cut_called.wait(wait_s)

    def _failure(self, request: HttpRequest, error: Exception) -> RemoteError:
        reason = str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in UNKNOWN_ISSUER:
            reason += ": name the certificates to trust by ca_file of its [[venue]]"
        whose = f"{_method(request)} {request.target} from {self._host}:{self._port}"
        if isinstance(error, TimeoutError):
            return LateError(f"{whose}: timed out")
        return RemoteError(f"{whose}: {reason}")

    def _send(self, sock: socket.socket, request: HttpRequest, timeout_s: float) -> None:
        sock.settimeout(timeout_s)
        sock.sendall(written(self._host, self._port, request))

    def _answer(
        self, sock: socket.socket, request: HttpRequest, size_max: int, timeout_s: float
    ) -> bytes:
        method, target = _method(request), request.target
        within = _Within(sock, SYSTEM.now_s() + timeout_s)
        response = http.client.HTTPResponse(cast("socket.socket", within), method=method)
        response.begin()
        body = response.read(size_max + 1)
        if response.length and len(body) <= size_max:  # http.client's read(amount) lets it pass
            raise RemoteError(
                f"{method} {target} from {self._host}:{self._port}: the connection ended "
                f"{response.length} bytes before the end of its body"
            )
        if response.will_close:
            self.close()
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = HttpResponse(response.status, headers, body)
        now = datetime.fromtimestamp(self._clock.unix_ns() / NS_PER_S, UTC)
        self._correct(answer, now)
        try:
            return read_answer(self._venue, request, answer, size_max=size_max, now=now)
        except RateLimitError as error:
            self._keep(error.refusal)
            raise

    def _whose(self) -> Whose:
        return Whose(f"{self._host}:{self._port}", self._own, self._venue.name)

    def _correct(self, answer: HttpResponse, now: datetime) -> None:
        """Count what the venue says that others asked from our address."""
        venue = self._venue.venue
        used, rate = venue.requests_used(answer, now), venue.limits.requests
        if used is not None and rate is not None:
            self._pauses.correct(self._whose(), Kind.REST, rate, used)

    def _keep(self, refusal: RestRefusal) -> None:
        """Let all processes of this address know, and the next start."""
        pause_s = refusal.retry_after_s
        if pause_s is None:
            budget = self._venue.venue.rest_budget(self._venue.settings)
            pause_s = budget.banned_s if refusal.is_ban else budget.limited_s
        whose = self._whose()
        self._pauses.note(whose.host, whose.address, pause_s, refusal.reason, whose.venue)

    def _heed(self) -> None:
        """Ask nothing while the venue wants no requests; raises RateLimitError."""
        whose = self._whose()
        left_s, reason = self._pauses.find(whose.host, whose.address)
        if left_s > 0:
            raise RateLimitError(RestRefusal(f"{reason}, not long ago", False, left_s))


class _Within(io.RawIOBase):
    """The bytes of a socket until a moment: its own timeout starts anew with every byte."""

    def __init__(self, sock: socket.socket, until_s: float) -> None:
        self._sock, self._until_s = sock, until_s
        self._raw = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what http.client reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, into: Any) -> int | None:
        """Read what is there; raises TimeoutError once it is too late."""
        left_s = self._until_s - SYSTEM.now_s()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left_s)
        return self._raw.readinto(into)

    def close(self) -> None:
        """Leave the socket to its connection."""
        self._raw.close()
        super().close()


class _Taken:
    """A socket for http.client that keeps what it would send."""

    def __init__(self) -> None:
        self.data = b""

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self.data += data


@lru_cache(maxsize=REQUESTS_KEPT)
def written(host: str, port: int, request: HttpRequest) -> bytes:
    """Return a request as http.client writes it, once: the same ones are sent again and again."""
    connection, taken = http.client.HTTPConnection(host, port), _Taken()
    connection.sock = cast("socket.socket", taken)
    fields = {"Accept": "application/json"} | dict(with_agent(request.headers))
    fields |= {"Content-Type": "application/json"} if request.body else {}
    connection.request(_method(request), request.target, body=request.body or None, headers=fields)
    return taken.data


def _method(request: HttpRequest) -> str:
    return "POST" if request.body else "GET"


def _cut(sock: socket.socket) -> None:
    # Of the plain socket: the TLS object belongs to the thread that reads it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
