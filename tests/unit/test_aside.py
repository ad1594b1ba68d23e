"""Bases by another subscription on a connection of its own, from a simulated venue over sockets."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler import aside
from tickpath.engine.feed_handler.aside import (
    Aside,
    BaseSubscription,
    OpenPauseError,
    RefusalError,
    read_base,
)
from tickpath.engine.feed_handler.rest_client import LateError, RateLimitError
from tickpath.engine.loop.pauses import Pauses, own_address
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.venues import load_dialect
from tickpath.netstack.session import Session
from tickpath.proto.venues.kraken.venue import Kraken
from tickpath.shm.clock import SYSTEM, Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from tickpath.engine.sim.connection import Connection
    from tickpath.engine.sim.market import Book
    from tickpath.proto.instrument import Instrument

SYMBOLS = ("BTC/USD", "ETH/USD")
LIMIT_S = 30.0


def note_bids(seen: list[list[tuple[int, int]]], book: Book) -> None:
    seen.append(book.bids.levels(10))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), LIMIT_S))


class Counting(Exchange):
    """An exchange that counts the connections that it ever had."""

    count = heard = 0
    is_deaf = False
    """It ends whoever says something."""

    def opened(self, connection: Connection) -> None:
        self.count += 1
        super().opened(connection)

    def received(self, connection: Connection, message: Message) -> None:
        self.heard += 1
        if self.is_deaf:
            connection.abort()
        else:
            super().received(connection, message)

    def drop_all(self) -> None:
        for connection in list(self._websockets.values()):
            connection.abort()


@asynccontextmanager
async def simulator(
    tls: ssl.SSLContext | None = None, kind: type[Counting] = Counting
) -> AsyncIterator[Counting]:
    """Serve Kraken on a free port of the loopback, a message each 5 ms."""
    one = kind(load_dialect("kraken"), Options(instruments=SYMBOLS, rate=200.0, depth=50))
    await one.serve("127.0.0.1", 0, tls)
    try:
        yield one
    finally:
        await one.close()


def section(one: Exchange, **more: Any) -> VenueConfig:
    fields = {"name": "kraken", "symbols": SYMBOLS, "host": "127.0.0.1", "tls": False, **more}
    return VenueConfig(port=one.port, **fields)


def beside(one: Exchange, pauses: Pauses | None = None, **more: Any) -> Aside:
    return Aside(section(one, **more), SYSTEM, pauses or Pauses(SYSTEM, None))


def row_of(one: Exchange, symbol: str) -> Instrument:
    return one._floor.listings[symbol].book.instrument


async def ask(one: Exchange, client: Aside, symbol: str = "BTC/USD") -> list[tuple[int, int]]:
    """Return the bids of a base, as the client read them; the book stands still meanwhile."""
    request = client.request(row_of(one, symbol))
    data = await asyncio.to_thread(client.ask, request)
    base = client.read(request, data)
    assert base.scale == request.scale
    assert len(base.bids) == len(base.asks) == 10, "to the depth of the channel"
    return [(level.price, level.quantity) for level in base.bids]


def test_base_is_the_venues_and_the_connection_is_kept() -> None:
    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            for symbol in (*SYMBOLS, SYMBOLS[0]):
                book = one._floor.listings[symbol].book
                seen: list[list[tuple[int, int]]] = [book.bids.levels(10)]
                book.witness = partial(note_bids, seen)
                assert await ask(one, client, symbol) in seen
            assert one.count == 1
            # Nothing is subscribed to between questions.
            while one._floor.active:
                await asyncio.sleep(0.01)
            client.close()

    run(main)


def test_connection_that_the_venue_closed_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "OPEN_PAUSE_FIRST_S", 0.0)

    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            await ask(one, client)
            for connection in list(one._websockets.values()):
                connection.abort()
            while one._websockets:
                await asyncio.sleep(0.01)
            await ask(one, client)
            assert one.count == 2
            client.close()

    run(main)


def test_connection_is_encrypted_and_the_certificate_checked(tmp_path: Path) -> None:
    authority = make_ca(tmp_path, ["exchange.test"], ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)

    async def main() -> None:
        async with simulator(context) as one:
            known: dict[str, Any] = {
                "tls": True,
                "ca_file": str(authority.ca),
                "server_name": "exchange.test",
            }
            client = beside(one, **known)
            await ask(one, client)
            client.close()
            stranger = beside(one, **known | {"ca_file": None})
            with pytest.raises(RemoteError):
                await ask(one, stranger)

    run(main)


def test_refusal_is_said_in_the_venues_words() -> None:
    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            one._floor.refused.add("ETH/USD")
            with pytest.raises(RemoteError, match=r"book-10:ETH/USD: refused: .*not supported"):
                await ask(one, client, "ETH/USD")
            await ask(one, client, "BTC/USD")
            client.close()

    run(main)


def test_base_that_does_not_come_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            monkeypatch.setattr(aside, "WITHIN_S", 0.2)
            monkeypatch.setattr(aside, "OPEN_PAUSE_FIRST_S", 0.1)
            monkeypatch.setattr(aside, "read_book", lambda *_: (False, None))
            with pytest.raises(LateError, match=r"no base within 0\.2 s"):
                await ask(one, client)
            monkeypatch.undo()
            await ask(one, client)
            assert one.count == 2, "the late answer is no other question's"
            client.close()

    run(main)


def test_pause_that_the_venue_asked_for_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with simulator() as one:
            pauses = Pauses(SYSTEM, None)
            own = own_address("127.0.0.1", one.port)
            pauses.note(f"127.0.0.1:{one.port}", own, 60.0, "status 429")
            client = beside(one, pauses)
            monkeypatch.setattr(aside, "Session", lambda *_, **__: pytest.fail("a SYN was sent"))
            with pytest.raises(RateLimitError, match="status 429, not long ago"):
                await ask(one, client)
            assert one.count == 0

    run(main)


def test_cut_ends_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            monkeypatch.setattr(aside, "read_book", lambda *_: (False, None))
            request = client.request(row_of(one, "BTC/USD"))
            asked = asyncio.create_task(asyncio.to_thread(client.ask, request))
            while not one._floor.active:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(client.cut)
            with pytest.raises(RemoteError):
                await asked
            with pytest.raises(RemoteError, match="the feed handler ends"):
                await asyncio.to_thread(client.ask, request)

    run(main)


def test_cut_while_a_connection_is_being_opened_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may take seconds to resolve: there is no session yet that could be ended."""

    async def main() -> None:
        async with simulator() as one:
            client = beside(one)

            def cut_and_open(*how: Any, **more: Any) -> Session:
                client.cut()
                return Session(*how, **more)

            monkeypatch.setattr(aside, "Session", cut_and_open)
            monkeypatch.setattr(Session, "connect", lambda _: pytest.fail("waits to be connected"))
            with pytest.raises(RemoteError, match="the feed handler ends"):
                await ask(one, client)

    run(main)


def test_refused_checks_cost_no_connection() -> None:
    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            one._floor.refused.add("ETH/USD")
            await ask(one, client, "BTC/USD")
            heard = one.heard
            for _ in range(3):
                with pytest.raises(RefusalError):
                    await ask(one, client, "ETH/USD")
            assert one.heard - heard <= 4, "each is asked once; the first question is unsubscribed"
            await ask(one, client, "BTC/USD")
            assert one.count == 1
            client.close()

    run(main)


def test_connections_that_bring_nothing_are_opened_ever_less_often() -> None:
    """Whichever books ask: the venue counts connections by the address that the books need."""
    now_s = [0.0]
    clock = Clock(lambda: int(now_s[0] * 1e9))

    async def main() -> None:
        async with simulator() as one:
            one.is_deaf = True
            client = Aside(section(one), clock, Pauses(SYSTEM, None))
            counts = []
            for tried_s in (0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 7.0, 14.0):
                now_s[0] = tried_s
                with pytest.raises(RemoteError) as error:
                    await ask(one, client, SYMBOLS[int(tried_s) % 2])
                assert isinstance(error.value, OpenPauseError) == (tried_s in {0.5, 2.0, 6.0, 14.0})
                counts.append(one.count)
            assert counts == [1, 1, 2, 2, 3, 3, 4, 4]
            one.is_deaf, now_s[0] = False, 15.0
            await ask(one, client)
            one.drop_all()
            now_s[0] = 15.9
            with pytest.raises(OpenPauseError):
                await ask(one, client)
            now_s[0] = 16.0
            await ask(one, client)
            assert one.count == 6, "one that brought an answer is opened anew soon"
            client.close()

    run(main)


def test_only_a_base_of_the_channel_is_read() -> None:
    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            request = client.request(row_of(one, "BTC/USD"))
            data = await asyncio.to_thread(client.ask, request)
            client.close()
            assert read_base("kraken", request, data) is not None
            update = data.replace(b'"snapshot"', b'"update"')
            assert read_base("kraken", request, update) is None
            other = client.request(row_of(one, "ETH/USD"))
            assert read_base("kraken", other, data) is None
            for nothing in (b"", b"{", b'{"channel":"heartbeat"}', b"\xff"):
                assert read_base("kraken", request, nothing) is None
            coarse = aside.BaseSubscription(request.endpoint, request.channel, (0, 0))
            with pytest.raises(ValueError, match="refused"):
                read_base("kraken", coarse, data)

    run(main)


class Meddling(Counting):
    """One that says something of its own before or behind the answer to a subscription."""

    before: tuple[bytes, ...] = ()
    instead: tuple[bytes, ...] = ()

    def received(self, connection: Connection, message: Message) -> None:
        if b'"subscribe"' not in message.data:
            super().received(connection, message)
            return
        for data in self.before:
            connection.send(Message(data, is_text=True))
        if self.instead:
            self.count_answered += 1
            for data in self.instead:
                number = msgspec.json.decode(message.data)["req_id"]
                connection.send(
                    Message(data.replace(b"REQ_ID", str(number).encode()), is_text=True)
                )
        else:
            super().received(connection, message)
        connection.flush()

    count_answered = 0


ACCEPTED = (
    b'{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,'
    b'"symbol":"BTC/USD"},"success":true,"req_id":REQ_ID}'
)


@asynccontextmanager
async def meddling() -> AsyncIterator[tuple[Meddling, Aside, BaseSubscription, bytes]]:
    """One with a client that asked once: the client, its question, and the base that came."""
    async with simulator(kind=Meddling) as one:
        assert isinstance(one, Meddling)
        client = beside(one)
        request = client.request(row_of(one, "BTC/USD"))
        data = await asyncio.to_thread(client.ask, request)
        old = re.sub(rb'"timestamp":"\d{4}', b'"timestamp":"2001', data)
        assert old != data
        assert read_base("kraken", request, old) is not None
        yield one, client, request, old
        client.close()


def test_base_that_lay_there_before_the_question_is_no_answer() -> None:
    async def main() -> None:
        async with meddling() as (one, client, request, old):
            (connection,) = one._websockets.values()
            connection.send(Message(old, is_text=True))
            connection.flush()
            assert await asyncio.to_thread(client.ask, request) != old
            assert one.count == 1

    run(main)


def test_base_in_flight_from_before_the_question_is_not_believed() -> None:
    """It reaches us behind our question and before the venue's yes to it."""

    async def main() -> None:
        async with meddling() as (one, client, request, old):
            one.before = (old,)
            assert await asyncio.to_thread(client.ask, request) != old
            assert one.count == 1

    run(main)


def test_base_with_escapes_is_read_as_the_feed_reads_it() -> None:
    async def main() -> None:
        async with meddling() as (one, client, request, base):
            slashes = [text.replace(b"BTC/USD", rb"BTC\/USD") for text in (ACCEPTED, base)]
            names = [text.replace(b'"symbol"', rb'"\u0073ymbol"') for text in slashes]
            assert all(map(bytes.__ne__, slashes, names))
            one.instead = tuple(names)
            data = await asyncio.to_thread(client.ask, request)
            found, known = client.read(request, data), client.read(request, base)
            rows = [[(one.price, one.quantity) for one in each.bids] for each in (found, known)]
            assert rows[0] == rows[1]
            assert len(rows[0]) == 10

    run(main)


def test_base_behind_the_yes_to_another_request_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aside, "WITHIN_S", 0.2)

    async def main() -> None:
        async with meddling() as (one, client, request, old):
            one.instead = (ACCEPTED.replace(b"REQ_ID", b"8"), old)
            with pytest.raises(LateError, match=r"\(1 came before its acknowledgement\)"):
                await asyncio.to_thread(client.ask, request)

    run(main)


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        ((ACCEPTED, b"UPDATE", b"BASE"), "a change came before the base that it is of"),
        ((b'{"error":"Already subscribed","method":"subscribe","success":false,'
          b'"symbol":"BTC/USD","req_id":REQ_ID}', b"BASE"), "Already subscribed"),
    ],
)  # fmt: skip
def test_base_of_a_doubtful_subscription_is_not_believed_but_asked_for_on_a_new_connection(
    monkeypatch: pytest.MonkeyPatch, instead: tuple[bytes, ...], why: str
) -> None:
    monkeypatch.setattr(aside, "OPEN_PAUSE_FIRST_S", 0.0)

    async def main() -> None:
        async with meddling() as (one, client, request, old):
            update = old.replace(b'"snapshot"', b'"update"')
            texts = {b"BASE": old, b"UPDATE": update}
            one.instead = tuple(texts.get(data, data) for data in instead)
            with pytest.raises(RemoteError, match=why):
                await asyncio.to_thread(client.ask, request)
            assert one.count == 2
            assert one.count_answered == 2
            one.instead = ()
            assert await asyncio.to_thread(client.ask, request) != old

    run(main)


def test_base_that_may_precede_its_yes_is_believed_on_a_new_connection_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There nothing was subscribed to before."""
    monkeypatch.setattr(aside, "OPEN_PAUSE_FIRST_S", 0.0)
    monkeypatch.setattr(Kraken, "base_may_precede", True)

    async def main() -> None:
        async with meddling() as (one, client, request, old):
            one.instead = (old, ACCEPTED)
            assert await asyncio.to_thread(client.ask, request) == old
            assert one.count == 2

    run(main)


@pytest.mark.parametrize("hourly", [4, 5])
def test_connection_says_no_more_than_the_venue_bears_in_an_hour(
    monkeypatch: pytest.MonkeyPatch, hourly: int
) -> None:
    """Each question subscribes and unsubscribes; a new connection has an hour of its own."""
    monkeypatch.setattr(aside, "OPEN_PAUSE_FIRST_S", 0.0)
    limits = msgspec.structs.replace(Kraken.limits, messages_per_hour=hourly)
    monkeypatch.setattr(Kraken, "limits", limits)

    async def main() -> None:
        async with simulator() as one:
            client = beside(one)
            counts = []
            for _ in range(5):
                await ask(one, client)
                counts.append(one.count)
            assert counts == [1, 1, 2, 2, 3]
            client.close()

    run(main)
