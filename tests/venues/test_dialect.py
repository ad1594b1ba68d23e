"""Each simulated venue against the venue's own object, in virtual time, without a socket.

What `VENUE` asks the dialect answers, and what it answers `VENUE` reads: channels, notes, the list,
bases. The books' deltas are the market's own tests' (test_sim_market.py, test_sim_exchange.py).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.aside import BaseSubscription, read_book
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.subscriptions import Subscriptions
from tickpath.engine.sim import command
from tickpath.engine.sim.dialect import Client, Dialect, Floor, HttpRequest, Message
from tickpath.engine.sim.market import instrument_names
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import BaseSource, Meaning, Verification
from tickpath.proto.venues import name_symbol, pair_symbol, venue_names
from tickpath.proto.venues.decoder import find_decoder

if TYPE_CHECKING:
    from tickpath.proto.venue import HttpRequest as Request

NOW_NS = 1_795_000_000_000_000_000
COUNT = 40


class Bench:
    """One dialect, its books, and the configuration of a client of it."""

    def __init__(self, name: str) -> None:
        kind = load_dialect(name)
        self.venue = kind.venue
        self.config = VenueConfig(symbols=(), name=name)
        named = [pair_symbol(self.venue, one) for one in instrument_names(COUNT)]
        self.floor = Floor(self.venue, named, depth=50, seed=7)
        self.dialect: Dialect = kind(self.floor)
        self.plan = make_plan(self.config, named)

    def say(self, client: Client, data: bytes, now_ns: int = NOW_NS) -> list[Message]:
        return self.dialect.received(client, Message(data, is_text=True), now_ns)

    def notes(self, messages: list[Message]) -> list[bytes]:
        """Return what of it the decoder gives to the cold side, as the feed does."""
        decoder: Any = find_decoder(self.venue.name)
        memory = ffi.new("uint64_t[]", decoder.router_size(1, 1) // 8 + 1)
        decoder.router_init(memory, 1, 1)
        found, route = [], ffi.new("struct tp_route *")
        for one in messages:
            data = ffi.from_buffer("uint8_t[]", one.data)
            what = {"data": data, "size": len(one.data), "opcode": 1 if one.is_text else 2}
            decoder.route(memory, ffi.new("struct tp_venue_message *", what), 0, route)
            if route.meaning >= lib.TP_MEANING_ACKNOWLEDGEMENT:
                found.append(one.data)
        return found

    def ask(self, request: Request) -> bytes:
        method = "POST" if request.body else "GET"
        asked = HttpRequest(method, request.target, {}, request.body)
        answer = self.dialect.http(asked, NOW_NS)
        assert answer is not None
        assert answer.status == 200
        return answer.body


@pytest.fixture(params=dialect_names())
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_dialects_are_of_registered_venues() -> None:
    assert set(dialect_names()) <= set(venue_names())
    assert all(load_dialect(name).venue.name == name for name in dialect_names())
    with pytest.raises(ValueError, match="'nope': expected one of"):
        load_dialect("nope")


def test_dialect_bears_the_commands_defaults(bench: Bench) -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["sim", bench.venue.name])
    assert command.make_options(args, bench.venue.name).instruments


def test_dialect_acknowledges_what_the_plan_asks_on_every_connection(bench: Bench) -> None:
    subscriptions = Subscriptions(bench.plan)
    for number, planned in enumerate(bench.plan.connections):
        assert planned is not None
        assert planned.endpoint.path.partition("?")[0] in bench.dialect.websocket_paths
        client = Client()
        subscriptions.opened(number, 0.0)
        for data in bench.plan.open_messages(number, request=1, time_s=NOW_NS // 10**9):
            subscriptions.said(number, data)
            for answer in bench.notes(bench.say(client, data)):
                said = subscriptions.take(number, answer, 0.0)
                assert (said.lines, said.refused) == ([], [])
        assert subscriptions.pending(number) == ()
        assert client.channels == set(planned.channels)
    assert bench.floor.counters.subscriptions == len(bench.plan.channels)
    assert sorted(bench.floor.active) == sorted(bench.floor.listings)


def test_dialect_changes_of_the_plan_are_followed(bench: Bench) -> None:
    clients: dict[int, Client] = {}
    plan = make_plan(bench.config, [])
    symbols = list(bench.floor.listings)
    for add, remove in ((symbols[:5], []), (symbols[5:], symbols[:2]), ([], symbols[2:30])):
        plan, changes = plan.change(add=add, remove=remove)
        for change in changes:
            client = clients.setdefault(change.connection, Client())
            for out in plan.messages(change, request=1, time_s=NOW_NS // 10**9):
                bench.say(client, out.data, NOW_NS + int(out.after_s * 1e9))
            if change.is_closed:
                bench.floor.forget(clients.pop(change.connection))
    wanted = {i: set(one.channels) for i, one in enumerate(plan.connections) if one is not None}
    assert {number: client.channels for number, client in clients.items()} == wanted
    assert bench.floor.active == [one for one in plan.symbols if one is not None]


def test_dialect_refused_symbol_is_refused_in_words_that_the_venue_reads(bench: Bench) -> None:
    symbols = list(bench.floor.listings)[:3]
    plan = make_plan(bench.config, symbols)
    bench.floor.refused.add(symbols[1])
    subscriptions, client = Subscriptions(plan), Client()
    subscriptions.opened(0, 0.0)
    refused: list[int] = []
    named: set[str] = set()
    for data in plan.open_messages(0, request=1, time_s=NOW_NS // 10**9):
        subscriptions.said(0, data)
        for answer in bench.notes(bench.say(client, data)):
            refused += subscriptions.take(0, answer, 0.0).refused
            notes = bench.venue.parse_notes(answer)
            named |= {
                name for one in notes if one.meaning is Meaning.REFUSAL for name in one.channels
            }
    if not refused:  # some say nothing of it: what an answer leaves out is asked for again
        left_out = bench.venue.channels(symbols[1], bench.config.settings)
        assert subscriptions.pending(0) == left_out
        return
    # Where an answer names its request alone, a request is taken or refused as one.
    assert refused == ([1] if named else [0, 1, 2])
    assert named or bench.venue.asked(data) is not None


def test_dialect_answers_the_venues_ping(bench: Bench) -> None:
    ping = bench.venue.ping(request=0, time_s=NOW_NS // 10**9)
    if ping:
        (answer,) = bench.say(Client(), ping)
        assert bench.venue.parse_notes(answer.data)[0].meaning is Meaning.HEARTBEAT


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[]", b"5", b'{"method":5,"params":5}'])
def test_dialect_any_text_is_answered_or_left_alone(bench: Bench, data: bytes) -> None:
    bench.say(Client(), data)


def test_dialect_lists_the_instruments_of_its_books(bench: Bench) -> None:
    listed = bench.venue.parse_instruments(
        bench.ask(bench.venue.instruments_request(bench.config.settings))
    )
    assert listed.left_out == {}
    assert list(listed.instruments) == list(bench.floor.listings)
    for symbol, row in listed.instruments.items():
        book = bench.floor.listings[symbol].book
        assert row.name == book.name == name_symbol(bench.venue, symbol)
        scale = (book.instrument.price_exponent, book.instrument.quantity_exponent)
        assert (row.price_exponent, row.quantity_exponent) == scale


def test_dialect_base_is_the_book(bench: Bench) -> None:
    if bench.venue.base_source is not BaseSource.REST:
        return
    for symbol, listing in list(bench.floor.listings.items())[:6]:
        book = listing.book
        scale = (book.instrument.price_exponent, book.instrument.quantity_exponent)
        request = bench.venue.base_request(symbol, bench.config.settings)
        row = Instrument(0, bench.venue.name, symbol, *scale)
        for _ in range(3):
            base = bench.venue.parse_base(bench.ask(request), row)
            assert base.version == book.version
            for side, levels in ((book.bids, base.bids), (book.asks, base.asks)):
                got = [(one.price, one.quantity) for one in levels]
                assert got == side.levels(len(side.prices))
            book.step(4)


def test_dialect_unknown_path_is_not_its_own(bench: Bench) -> None:
    assert bench.dialect.http(HttpRequest("GET", "/no/such/path", {}), NOW_NS) is None


def test_dialect_pushes_go_to_channels_that_somebody_listens_to(bench: Bench) -> None:
    symbol = next(iter(bench.floor.listings))
    book = bench.floor.listings[symbol].book
    assert bench.dialect.pushes(symbol, book.step(2), NOW_NS) == []
    client, plan = Client(), make_plan(bench.config, [symbol])
    for data in plan.open_messages(0, request=1, time_s=NOW_NS // 10**9):
        bench.say(client, data)
    pushed = bench.dialect.pushes(symbol, book.step(2), NOW_NS)
    assert {channel for channel, _ in pushed} <= client.channels
    assert pushed
    again = Bench(bench.venue.name)
    again.floor.listings[symbol].book.step(2)  # before somebody listens, as above
    other = Client()
    for data in plan.open_messages(0, request=1, time_s=NOW_NS // 10**9):
        again.say(other, data)
    same = again.dialect.pushes(symbol, again.floor.listings[symbol].book.step(2), NOW_NS)
    assert same == pushed, "the same seed and the same time give the same bytes"


def test_dialect_base_comes_behind_its_acknowledgement_unless_the_venue_says_otherwise(
    bench: Bench,
) -> None:
    """What compares quiet books believes no base of before (engine/feed_handler/aside.py)."""
    venue, settings = bench.venue, bench.config.settings
    if venue.verification(settings) is not Verification.ASIDE:
        return
    row = next(iter(bench.floor.listings.values())).book.instrument
    asked = BaseSubscription.of(bench.config, row)
    for _ in range(2):
        client, names, kinds = Client(), (asked.channel,), []
        for text in venue.subscribe(names, request=1, time_s=NOW_NS // 10**9):
            for answer in bench.say(client, text):
                is_of_book, base = read_book(venue.name, asked, answer.data)
                assert is_of_book == (base is not None), "a change before the base"
                notes = () if is_of_book else venue.parse_notes(answer.data)
                kinds += ["base"] if is_of_book else [one.meaning.value for one in notes]
        assert "base" in kinds
        assert venue.base_may_precede or kinds.index("acknowledgement") < kinds.index("base")
        for text in venue.unsubscribe(names, request=2, time_s=NOW_NS // 10**9):
            bench.say(client, text)
