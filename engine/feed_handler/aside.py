"""Ask for a base that comes in-band without touching the book's own subscription.

A quiet book is compared with the base that another subscription of its channel begins with, on a
connection of its own that is kept: so the book is never LIVE without a subscription. A base is
believed only as the first message of its channel behind the acknowledgement of that very
subscription: one that was sent before may show the book of before, and call a true one wrong or a
wrong one true. What that connection brings is read by the venue's C side, as the feed reads it.
Nothing here is on the path: the kernel's sockets, one question at a time. Called by: bases.py (as
its `aside`). Calls: netstack/session.py, proto/venue.h.
"""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.config.credential import header_lines
from tickpath.engine.feed_handler.inflate import Inflate
from tickpath.engine.feed_handler.rest_client import LateError, RateLimitError, SpentError
from tickpath.engine.loop.pauses import Pauses, Whose, asked_pause_s, own_address
from tickpath.netstack.session import ConnectOptions, Session
from tickpath.netstack.transport import resolve_all
from tickpath.netstack.ws.ws import Opcode
from tickpath.proto.venue import Base, Endpoint, Meaning, RestRefusal
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.budget import Kind
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from tickpath.engine.config.schema import VenueConfig
    from tickpath.proto.instrument import Instrument

WITHIN_S: Final = 5.0
"""A base comes with its subscription: what has not come by then will not."""
CONNECT_WITHIN_S: Final = 10.0
MESSAGE_SIZE_MAX: Final = 1 << 20
WAIT_S: Final = 0.5
PARTS_MAX: Final = 64  # of one message
OPEN_PAUSE_FIRST_S, OPEN_PAUSE_MAX_S = 1.0, 30.0
"""Between two openings, doubling while they bring no answer, whichever books ask: the venue counts
connections by the address that the books themselves need."""
QUESTION_MESSAGES: Final = 2  # a subscription and its end
UNREAD_MAX: Final = 10_000  # messages between two questions: heartbeats, and a book's last updates
_ENDS: Final = "the feed handler ends"


class RefusalError(RemoteError):
    """Say that the venue refused a subscription; the connection is as good as before."""


class OpenPauseError(RateLimitError):
    """Say that no connection is opened now: the last one was, and brought nothing or ended soon."""

    def __init__(self, where: str, left_s: float) -> None:
        super().__init__(RestRefusal("no answer", False, left_s))
        self.args = (f"{where}: the last connection for checks brought no answer, or ended soon",)


class BaseSubscription(msgspec.Struct, frozen=True):
    """A base that is asked for by subscribing to a channel of one book."""

    endpoint: Endpoint
    channel: str
    scale: tuple[int, int]
    """The exponents of its prices and quantities."""

    @classmethod
    def of(cls, config: VenueConfig, row: Instrument) -> BaseSubscription:
        """Return what asks for the base of an instrument."""
        channel, *_ = config.venue.channels(row.symbol, config.settings)
        endpoint = config.endpoint(config.venue.endpoint(channel, config.settings))
        return cls(endpoint, channel, (row.price_exponent, row.quantity_exponent))


def read_base(venue: str, asked: BaseSubscription, data: bytes) -> Base | None:
    """Return the base that a message has; None: it has none of this channel, or is another one.

    Raises ValueError where it cannot be read at this scale.
    """
    return read_book(venue, asked, data)[1]


def read_book(venue: str, asked: BaseSubscription, data: bytes) -> tuple[bool, Base | None]:
    """Say whether a message has something of this book, and return the base that it has.

    Raises ValueError where it cannot be read at this scale.
    """
    decoder, update = find_decoder(venue), ffi.new("struct tp_depth_update *")
    router = ffi.new("uint64_t[]", decoder.router_size(1, 1) // 8 + 1)
    decoder.router_init(router, 1, 1)
    if not decoder.router_add(router, ffi.new("char[]", asked.channel.encode()), 0):
        raise ValueError(f"channel {asked.channel!r}: the venue's decoder does not know it")
    kept = ffi.from_buffer("uint8_t[]", data)
    message = ffi.new(
        "struct tp_venue_message *", {"data": kept, "size": len(data), "opcode": int(Opcode.TEXT)}
    )
    route, start, is_of_book = ffi.new("struct tp_route *"), 0, False
    for _ in range(PARTS_MAX):
        decoder.route(router, message, start, route)
        if route.meaning in (lib.TP_MEANING_BASE, lib.TP_MEANING_DELTA):
            is_of_book = True
            base = _decode(decoder, (kept, route), asked, update)
            if base is not None:
                return True, base
        start = route.next_offset
        if start == 0:
            break
    return is_of_book, None


def _decode(
    decoder: Any, part: tuple[Any, Any], asked: BaseSubscription, update: Any
) -> Base | None:
    data, route = part
    body = ffi.new("struct tp_body *")
    body.data, body.size, body.meaning = data + route.body_offset, route.body_size, route.meaning
    body.scale.price_exponent, body.scale.quantity_exponent = asked.scale
    status = decoder.decode_depth(body, update)
    if status != lib.TP_DECODE_OK:
        why = ffi.string(lib.tp_decode_status_name(status)).decode()
        raise ValueError(f"{asked.channel}: a message of its book is refused: {why}")
    if not update.flags & lib.TP_DEPTH_BASE:
        return None
    sides = []
    for levels, count in ((update.bids, update.bid_count), (update.asks, update.ask_count)):
        own = ffi.new("struct tp_level[]", count)
        ffi.memmove(own, levels, count * ffi.sizeof("struct tp_level"))
        sides.append(own)
    return Base(version=update.last_version, bids=sides[0], asks=sides[1], scale=asked.scale)


class Aside:
    """The connection beside. `ask` may be called by any thread, one waits for the other."""

    def __init__(
        self, config: VenueConfig, clock: Clock = SYSTEM, pauses: Pauses | None = None
    ) -> None:
        self._config, self._clock = config, clock
        self._inflate = Inflate(config.name)
        self._pauses = pauses or Pauses(clock)
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._endpoint: Endpoint | None = None
        self._request = 1
        self._said_count = 0  # on this connection, of what the venue may count by the hour
        self._is_cut = False
        self._opened_s, self._open_pause_s = float("-inf"), 0.0
        self._whose = Whose("", "", config.name)

    def request(self, row: Instrument) -> BaseSubscription:
        """Return what asks for the base of an instrument."""
        return BaseSubscription.of(self._config, row)

    def read(self, asked: BaseSubscription, data: bytes) -> Base:
        """Read what `ask` returned; raises ValueError where it has no base."""
        base = read_base(self._config.name, asked, data)
        if base is None:
            raise ValueError(f"{asked.channel}: a message without a base")
        return base

    def ask(self, asked: BaseSubscription) -> bytes:
        """Subscribe, return the message that has the base, and unsubscribe.

        Raises RateLimitError where no connection is wanted now, LateError where no base comes,
        RefusalError where the venue says that none will, RemoteError for all else.
        """
        with self._lock:
            is_kept = self._session is not None and self._endpoint == asked.endpoint
            try:
                return self._ask(asked)
            except (LateError, RefusalError):
                raise
            except RemoteError:
                if not is_kept or self._is_cut:
                    raise
            # It ended while nothing was asked, or a base lay there: what was not answered may be
            # asked again.
            return self._ask(asked)

    def _ask(self, asked: BaseSubscription) -> bytes:
        try:
            return self._exchange(self._open(asked.endpoint), asked)
        except RefusalError:
            raise
        except ValueError as error:  # `cut`, or a message that cannot be read
            self._close()
            raise RemoteError(str(error)) from error
        except BaseException:
            self._close()
            raise

    def cut(self) -> None:
        """End what is under way and all that follows; from any thread."""
        self._is_cut = True
        session = self._session
        if session is not None:
            session.finish(0.0)

    def close(self) -> None:
        """Close the connection; the next question opens another one."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.finish(0.0)

    def _open(self, endpoint: Endpoint) -> Session:
        if self._is_cut:
            raise RemoteError(_ENDS)
        if self._session is not None and self._endpoint == endpoint and not self._is_spent:
            return self._session
        self._close()
        addresses = resolve_all(endpoint.host, endpoint.port, self._config.resolve)
        where = f"{endpoint.host}:{endpoint.port}"
        whose = Whose(where, own_address(addresses[0], endpoint.port), self._config.name)
        left_s, reason = self._pauses.find(whose.host, whose.address)
        if left_s > 0:
            raise RateLimitError(RestRefusal(f"{reason}, not long ago", False, left_s))
        self._take_turn(where)
        rate = self._config.venue.limits.connects
        if rate is not None and (wait_s := self._pauses.take(whose, Kind.CONNECTS, rate)) > 0:
            raise SpentError(whose, wait_s)
        self._whose = whose
        session = self._connect_to(endpoint, addresses)
        self._session, self._endpoint, self._said_count = session, endpoint, 0
        if self._is_cut:  # since it was looked at above: `cut` did not see this one
            raise RemoteError(_ENDS)
        try:
            session.connect()
        except RemoteError:
            self._note_pause(session, whose)
            raise
        greeting = self._config.venue.greeting(request=self._next_request(), time_s=self._time_s())
        for text in greeting:
            session.send(Opcode.TEXT, text)
        return session

    @property
    def _is_spent(self) -> bool:
        """Say whether the next question is one for a new connection.

        Where it would be too many for the venue's limit of an hour, or where a base may come before
        its acknowledgement: then only a first subscription has no base of one before.
        """
        venue = self._config.venue
        hourly = venue.limits.messages_per_hour
        is_full = hourly is not None and self._said_count + QUESTION_MESSAGES > hourly
        return is_full or (venue.base_may_precede and self._said_count > 0)

    def _take_turn(self, where: str) -> None:
        """Open connections that bring no answer ever less often; raises OpenPauseError."""
        now = self._clock.now_s()
        left_s = self._opened_s + self._open_pause_s - now
        if left_s > 0:
            raise OpenPauseError(where, left_s)
        pause_s = max(OPEN_PAUSE_FIRST_S, 2.0 * self._open_pause_s)
        self._opened_s, self._open_pause_s = now, min(pause_s, OPEN_PAUSE_MAX_S)

    def _note_answer(self) -> None:
        self._open_pause_s = OPEN_PAUSE_FIRST_S

    def _connect_to(self, endpoint: Endpoint, addresses: list[str]) -> Session:
        config = self._config
        scheme, place = "wss" if config.tls else "ws", f"{endpoint.host}:{endpoint.port}"
        return Session(
            f"{scheme}://{place}{endpoint.path}",
            ConnectOptions(
                cacert=Path(config.ca_file) if config.ca_file else None,
                insecure=config.insecure,
                resolve={place: ",".join(addresses)},
                backend="kernel",
                timeout_s=CONNECT_WITHIN_S,
                message_size_max=MESSAGE_SIZE_MAX,
                server_name=config.server_name or endpoint.host,
            ),
            websocket=True,
            headers=header_lines(endpoint.headers, endpoint.credentials),
        )

    def _note_pause(self, session: Session, whose: Whose) -> None:
        """Keep what the answer to the upgrade asks us to wait, for all who connect there."""
        status = int(lib.tp_session_http_status(session.handle))
        after = ffi.string(lib.tp_session_retry_after(session.handle)).decode(errors="replace")
        now = datetime.fromtimestamp(self._clock.unix_ns() / NS_PER_S, UTC)
        pause_s = asked_pause_s(status, after, now) if status else None
        if pause_s:
            why = f"the upgrade was answered with status {status}"
            self._pauses.note(whose.host, whose.address, pause_s, why, whose.venue)

    def _time_s(self) -> int:
        return self._clock.unix_ns() // NS_PER_S

    def _next_request(self) -> int:
        self._request += 1
        return self._request

    def _exchange(self, session: Session, asked: BaseSubscription) -> bytes:
        venue, names = self._config.venue, (asked.channel,)
        self._read_up(session, asked)
        time_s = self._time_s()
        said = venue.subscribe(names, request=self._next_request(), time_s=time_s)
        self._say(session, said)
        requests = {one.request for one in map(venue.asked, said) if one is not None}
        data = self._await(session, asked, requests)
        number = self._next_request()
        self._say(session, venue.unsubscribe(names, request=number, time_s=time_s))
        with contextlib.suppress(RemoteError):  # out now; what comes is read with the next question
            session.wait(0.0)
        return data

    def _text(self, message: Any) -> bytes:
        """Return a message as the feed reads it: inflated, without escapes."""
        data = self._inflate.text(bytes(message.payload))
        if b"\\" not in data or data[:1] not in (b"{", b"["):
            return data
        plain = ffi.new("uint8_t[]", len(data))
        return bytes(plain[0 : lib.tp_json_plain(data, len(data), plain)])

    def _say(self, session: Session, texts: list[bytes]) -> None:
        for text in texts:
            session.send(Opcode.TEXT, text)
        self._said_count += len(texts)
        rate = self._config.venue.limits.address_messages
        if rate is not None:
            self._pauses.spend(self._whose, Kind.MESSAGES, rate, len(texts))

    def _read_up(self, session: Session, asked: BaseSubscription) -> None:
        """Read what came since the last question: nothing of it answers this one."""
        for _ in range(UNREAD_MAX):
            message = session.next()
            if message is not None and message.opcode < 0:
                session.wait(0.0)  # what the kernel has
                message = session.next()
            if message is None:
                raise RemoteError(f"{asked.channel}: the venue closed the connection for checks")
            if message.opcode < 0:
                return
            if message.opcode not in (Opcode.TEXT, Opcode.BINARY):
                continue
            for note in self._config.venue.parse_notes(self._text(message)):
                if note.answer:
                    session.send(Opcode.TEXT, note.answer)
        raise RemoteError(f"{asked.channel}: {UNREAD_MAX} messages that nobody asked for")

    def _await(self, session: Session, asked: BaseSubscription, requests: set[int]) -> bytes:
        """Return the base that is the first message of its channel behind our acknowledgement."""
        end = self._clock.now_s() + WITHIN_S
        has_begun, count = self._config.venue.base_may_precede, 0
        while (left_s := end - self._clock.now_s()) > 0:
            message = session.next()
            if message is None:
                raise RemoteError(f"{asked.channel}: the venue closed the connection for checks")
            if message.opcode not in (Opcode.TEXT, Opcode.BINARY):
                if message.opcode < 0:  # nothing as yet
                    session.wait(min(left_s, WAIT_S))
                continue
            data = self._text(message)
            is_of_book, base = read_book(self._config.name, asked, data)
            if not is_of_book:
                has_begun |= self._heed(session, asked, data, requests)
            elif not has_begun:
                count += base is not None
            elif base is None:
                raise RemoteError(f"{asked.channel}: a change came before the base that it is of")
            else:
                self._note_answer()
                return data
        before = f" ({count} came before its acknowledgement)" if count else ""
        raise LateError(
            f"{asked.channel}: no base within {WITHIN_S:g} s of its subscription{before}"
        )

    def _heed(
        self, session: Session, asked: BaseSubscription, data: bytes, requests: set[int]
    ) -> bool:
        """Return whether a message acknowledges the subscription that is waited for."""
        is_accepted = False
        for note in self._config.venue.parse_notes(data):
            if note.answer:
                session.send(Opcode.TEXT, note.answer)
            if note.request is not None and requests and note.request not in requests:
                continue  # of what was said before, such as the end of another subscription
            is_named = asked.channel in note.channels
            if note.meaning is Meaning.REFUSAL and (is_named or not note.channels):
                self._note_answer()
                raise RefusalError(f"{asked.channel}: refused: {note.reason or 'no reason given'}")
            if note.meaning is Meaning.ACKNOWLEDGEMENT:
                if is_named and note.reason:  # already subscribed: no base comes of it
                    raise RemoteError(f"{asked.channel}: {note.reason}")
                is_accepted |= is_named or (not note.channels and note.request is not None)
        return is_accepted
