"""Which channel goes over which connection: within the venue's limits, nothing moved in vain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import lib
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.plan import OPEN_MESSAGES_MAX, Plan, make_plan, why_no_race
from tickpath.engine.feed_handler.subscriptions import Answer, Subscriptions
from tickpath.proto.venue import (
    Asked,
    BaseSource,
    Endpoint,
    Limits,
    Meaning,
    Note,
    Venue,
    Verification,
)
from tickpath.proto.venues import load_venue, venue_names
from tickpath.proto.venues.decoder import find_decoder
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.proto.venues.mexc.venue import Mexc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tickpath.engine.feed_handler.plan import ConnectionChange

HOST = "venue.test"


class FakeVenue:
    """Two channels an instrument; symbols that begin with F go to another endpoint."""

    title = "a test's venue"
    base_source = BaseSource.REST
    limits = Limits(channels_per_connection=6, channels_per_message=2, messages_per_second=4)

    def base_from(self, _: Any) -> BaseSource:
        return self.base_source

    def channels_per_message(self, settings: int | None) -> int:
        return settings or self.limits.channels_per_message

    def channels(self, symbol: str, _: Any) -> tuple[str, ...]:
        return (f"book.{symbol}", f"trades.{symbol}")

    def endpoint(self, channel: str, _: Any) -> Endpoint:
        return Endpoint(HOST, "/futures" if ".F" in channel else "/spot")

    def _say(self, word: str, channels: Sequence[str], request: int) -> list[bytes]:
        step = self.limits.channels_per_message
        parts = [channels[i : i + step] for i in range(0, len(channels), step)]
        return [
            json.dumps({word: list(part), "id": request + i}).encode()
            for i, part in enumerate(parts)
        ]

    def greeting(self, *, request: int, time_s: int) -> list[bytes]:
        return []

    def subscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        return self._say("sub", channels, request)

    def unsubscribe(self, channels: Sequence[str], *, request: int, time_s: int) -> list[bytes]:
        return self._say("unsub", channels, request)

    def parse_notes(self, data: bytes) -> tuple[Note, ...]:
        said = json.loads(data)
        return tuple(
            Note(
                meaning=Meaning(word),
                channels=tuple(names) if isinstance(names, list) else (),
                request=names if isinstance(names, int) else None,
                reason="Blocked!",
            )
            for word, names in said.items()
        )

    def asked(self, data: bytes) -> Asked | None:
        said = json.loads(data)
        return Asked(said["id"], tuple(said.get("sub", ()))) if "id" in said else None


@dataclass
class FakeConfig:
    venue: FakeVenue
    settings: int | None = None
    race: int = 1
    has_successors: bool = False

    @property
    def seats(self) -> int:
        return 2 if self.has_successors else self.race

    def endpoint(self, own: Endpoint) -> Endpoint:
        return own


def empty(limits: Limits = FakeVenue.limits, race: int = 1) -> Plan:
    venue = FakeVenue()
    venue.limits = limits
    config: Any = FakeConfig(venue, race=race)
    return Plan(config)


def apply(sockets: dict[int, set[str]], plan: Plan, changes: Iterable[ConnectionChange]) -> None:
    """Be the venue's end of every connection: take what is sent, refuse what it would refuse."""
    for change in changes:
        number = change.connection
        assert change.is_new == (number not in sockets)
        held = sockets.setdefault(number, set())
        sent = plan.messages(change, request=1, time_s=0)
        pause = 1 / plan.venue.limits.messages_per_second
        assert [one.after_s for one in sent] == [i * pause for i in range(len(sent))]
        for one in sent:
            said = json.loads(one.data)
            for name in said.get("unsub", ()):
                held.remove(name)
            for name in said.get("sub", ()):
                assert name not in held
                held.add(name)
            assert len(held) <= plan.venue.limits.channels_per_connection
        if change.is_closed:
            assert not sent
            del sockets[number]


def check(plan: Plan, sockets: dict[int, set[str]], symbols: set[str]) -> None:
    planned = {i: one for i, one in enumerate(plan.connections) if one is not None}
    assert {i: set(one.channels) for i, one in planned.items()} == sockets
    wanted = {name for symbol in symbols for name in plan.venue.channels(symbol, None)}
    assert {one.name for one in plan.channels} == wanted
    assert {symbol for symbol in plan.symbols if symbol is not None} == symbols
    for channel in plan.channels:
        assert channel.name in planned[channel.connection].channels
        symbol = plan.symbols[channel.instrument]
        assert symbol is not None
        assert channel.name in plan.venue.channels(symbol, None)
        assert planned[channel.connection].endpoint == plan.venue.endpoint(channel.name, None)
    places = [one.instrument for one in plan.channels]
    assert places == sorted(places), "in order of instruments"
    for place in set(places):
        first = plan.venue.channels(str(plan.symbols[place]), None)[0]
        assert plan.book_channel(place).name == first, "the book's comes first"
    for number in planned:
        messages = plan.open_messages(number, request=1, time_s=0)
        assert 0 < len(messages) <= min(OPEN_MESSAGES_MAX, plan.venue.limits.messages_per_second)


SYMBOLS = [f"{kind}{index}" for index in range(12) for kind in "SF"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from(SYMBOLS)), max_size=8),
    st.integers(2, 9),
    st.integers(1, 4),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_plan_any_changes_keep_every_rule(
    wishes: list[set[str]], connection: int, message: int, pace_and_race: tuple[int, int]
) -> None:
    pace, race = pace_and_race
    limits = Limits(
        channels_per_connection=connection, channels_per_message=message, messages_per_second=pace
    )
    plan = empty(limits, race)
    sockets: dict[int, set[str]] = {}
    if plan.capacity < 2:
        with pytest.raises(ValueError, match="2 channels for one instrument: expected at most 1"):
            plan.change(add=["S0"])
        return
    for wished in wishes:
        had = {symbol for symbol in plan.symbols if symbol is not None}
        before = {one.name: one for one in plan.channels}
        plan, changes = plan.change(add=sorted(wished - had), remove=sorted(had - wished))
        apply(sockets, plan, changes)
        check(plan, sockets, wished)
        for first in range(0, len(plan.connections), race):
            assert len(set(plan.connections[first : first + race])) == 1, "members are alike"
        assert all(one.connection % race == 0 for one in plan.channels)
        for one in plan.channels:
            symbol = plan.symbols[one.instrument]
            assert symbol not in had or before[one.name] == one, "what stays does not move"


def test_plan_race_has_each_connection_so_many_times_within_the_venues_limit() -> None:
    limits = Limits(
        channels_per_connection=4, channels_per_message=2, messages_per_second=2, connections=6
    )
    plan, changes = empty(limits, race=3).change(add=["S1", "S2", "S3"])
    assert [one.connection for one in plan.book_channels()] == [0, 0, 3]
    assert [one.connection for one in changes] == list(range(6))
    assert all(one.is_new for one in changes)
    with pytest.raises(ValueError, match=r"need 9 connections of 4 channels, raced by 3, .* race"):
        plan.change(add=["S4", "S5"])


@pytest.mark.parametrize("name", venue_names())
def test_plan_races_where_the_rule_knows_copies(name: str) -> None:
    why = why_no_race(VenueConfig(symbols=(), name=name))
    rule = find_decoder(name).describe(example_channel(name)).rule
    assert (why == "") == (rule.copies != 0 and rule.base != lib.TP_BASE_REQUEST)
    assert not why or why.startswith(("it ", "its "))


def example_channel(name: str) -> bytes:
    venue = load_venue(name)
    return venue.channels(venue.example_symbol, venue.settings())[0].encode()


def test_plan_connection_carries_what_the_settings_channels_allow() -> None:
    """Some channels fill a message alone: fewer of them fit what a connection opens with."""
    limits = Limits(channels_per_connection=6, channels_per_message=2, messages_per_second=4)
    assert empty(limits).capacity == 6
    config: Any = FakeConfig(FakeVenue(), settings=1)
    config.venue.limits = limits
    assert Plan(config).capacity == 4


def test_plan_base_source_is_that_of_the_settings() -> None:
    class Either(Mexc):
        def base_from(self, settings: Any) -> BaseSource:
            return BaseSource.IN_BAND if settings == "in-band" else self.base_source

    sources = {"in-band": BaseSource.IN_BAND, "rest": BaseSource.REST}
    for chosen, source in sources.items():
        config: Any = FakeConfig(cast("Any", Either()), settings=cast("Any", chosen))
        assert Plan(config).base_source is source
    proofs = {one: Venue.verification(Either(), one) for one in sources}
    assert proofs == {"in-band": Verification.ASIDE, "rest": Verification.REST}


def test_plan_connection_greets_before_it_subscribes(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = empty().change(add=["S1"])
    hello = json.dumps({"hello": 5}).encode()
    monkeypatch.setattr(FakeVenue, "greeting", lambda *_, **__: [hello])
    greeted, subscribed_to = plan.open_messages(0, request=5, time_s=0)
    assert greeted == hello
    assert json.loads(subscribed_to)["id"] == 6


def test_plan_fills_a_connection_before_the_next() -> None:
    plan, changes = empty().change(add=[f"S{i}" for i in range(7)])
    assert [len(one.channels) for one in plan.connections if one is not None] == [6, 6, 2]
    assert [one.connection for one in plan.book_channels()] == [0, 0, 0, 1, 1, 1, 2]
    assert all(change.is_new for change in changes)
    assert plan.book_channel(3).name == "book.S3"


def test_plan_endpoints_do_not_mix_and_an_open_one_goes_nowhere_else() -> None:
    plan, _ = empty().change(add=["S1", "F1"])
    assert [one and one.endpoint.path for one in plan.connections] == ["/spot", "/futures"]
    plan, changes = plan.change(add=["F2", "F3", "F4"], remove=["S1"])
    assert [one and one.endpoint.path for one in plan.connections] == [None, "/futures", "/futures"]
    assert [(one.connection, one.is_closed, one.is_new) for one in changes] == [
        (0, True, False),
        (1, False, False),
        (2, False, True),
    ]
    plan, changes = plan.change(add=["F5", "F6", "F7"])
    assert [one and one.endpoint.path for one in plan.connections] == ["/futures"] * 3


def test_plan_same_symbol_out_and_in_sends_nothing() -> None:
    plan, _ = empty().change(add=["S1", "S2"])
    again, changes = plan.change(remove=["S1"], add=["S1"])
    assert changes == ()
    assert set(again.channels) == set(plan.channels)


def test_plan_wrong_changes_are_refused() -> None:
    plan, _ = empty().change(add=["S1"])
    with pytest.raises(ValueError, match="'S1': subscribed to already"):
        plan.change(add=["S1"])
    with pytest.raises(ValueError, match="'S2': not subscribed to"):
        plan.change(remove=["S2"])


def test_plan_spreads_4096_instruments_and_256_connections_within_the_venues_limits() -> None:
    names = [f"C{number}USDT" for number in range(4096)]
    books = make_plan(VenueConfig(symbols=tuple(names)), names)
    assert [len(one.channels) for one in books.connections if one] == [30] * 136 + [16]
    with_trades = VenueConfig(symbols=tuple(names), settings=MexcSettings(trades=True))
    most = names[: 256 * 15]  # two channels each
    full = make_plan(with_trades, most)
    assert [len(one.channels) for one in full.connections if one] == [30] * 256
    assert len(set(full.book_channels())) == len(most)
    with pytest.raises(ValueError, match="257 connections of 30 channels, expected at most 256"):
        make_plan(with_trades, names[: len(most) + 1])


def test_plan_venue_with_few_connections_is_refused_with_numbers() -> None:
    limits = Limits(
        channels_per_connection=2, channels_per_message=2, messages_per_second=1, connections=2
    )
    empty(limits).change(add=["S1", "S2"])
    with pytest.raises(ValueError, match=r"3 symbols need 3 connections of 2 channels, .* most 2"):
        empty(limits).change(add=["S1", "S2", "S3"])


@pytest.mark.parametrize("name", venue_names())
def test_plan_of_every_venue_opens_each_connection_within_its_limits(name: str) -> None:
    venue = load_venue(name)
    config = VenueConfig(symbols=(), name=name)
    plan = make_plan(config, [venue.example_symbol])
    (connection,) = plan.connections
    assert connection is not None
    messages = plan.open_messages(0, request=1, time_s=1_795_000_000)
    said = venue.greeting(request=1, time_s=1_795_000_000)
    request = 1 + len(said)
    assert messages == said + venue.subscribe(
        connection.channels, request=request, time_s=1_795_000_000
    )
    assert connection.endpoint == venue.endpoint(connection.channels[0], config.settings)
    elsewhere = VenueConfig(symbols=(), name=name, host="h", port=1, path="/p")
    (moved,) = make_plan(elsewhere, [venue.example_symbol]).connections
    assert moved is not None
    assert (moved.endpoint.host, moved.endpoint.port, moved.endpoint.path) == ("h", 1, "/p")


# ---- what the venue says to it -------------------------------------------------------------------


def subscribed(*symbols: str) -> Subscriptions:
    plan, _ = empty().change(add=symbols)
    one = Subscriptions(plan)
    for number in range(len(plan.connections)):
        one.opened(number, 0.0)
    return one


def say(**notes: list[str] | int) -> bytes:
    return json.dumps(notes).encode()


def test_subscriptions_acknowledged_are_no_longer_pending() -> None:
    one = subscribed("S1", "S2")
    assert one.pending(0) == ("book.S1", "trades.S1", "book.S2", "trades.S2")
    answer = one.take(0, say(acknowledgement=["trades.S1", "book.S2", "unasked"]), 0.0)
    assert answer == Answer(confirmed=[1])
    assert one.take(0, say(acknowledgement=["book.S2"]), 0.0).confirmed == [], "said once"
    assert one.pending(0) == ("book.S1", "trades.S2")


def test_subscriptions_refused_channel_is_said_and_its_book_will_not_come() -> None:
    one = subscribed("S1", "S2")
    answer = one.take(0, say(acknowledgement=["book.S1"], refusal=["book.S2", "trades.S2"]), 0.0)
    assert answer.refused == [1]
    (line,) = answer.lines
    assert line.startswith("connection 0: refused book.S2, trades.S2: Blocked!: asking again")
    assert one.pending(0) == ("trades.S1",)


def test_subscriptions_refusal_without_a_list_is_all_that_is_not_acknowledged() -> None:
    one = subscribed("S1", "S2", "S3", "S4")
    one.take(0, say(acknowledgement=["book.S2"]), 0.0)
    answer = one.take(0, say(refusal=[]), 0.0)
    assert answer.refused == [0, 2]  # S4 is on the other connection
    assert one.pending(0) == ()
    again = one.take(0, say(refusal=[]), 0.0)
    assert again.lines == ["connection 0: refused a request: Blocked!"]
    one.opened(0, 100.0)
    assert len(one.pending(0)) == 6


def told(*symbols: str) -> Subscriptions:
    """Subscribed, and knows by which requests: two channels each."""
    one = subscribed(*symbols)
    for message in one.plan.open_messages(0, request=7, time_s=0):
        one.said(0, message)
    return one


def test_subscriptions_acknowledged_request_confirms_its_own_channels_alone() -> None:
    one = told("S1", "S2", "S3")
    assert one.take(0, say(acknowledgement=8), 0.0).confirmed == [1]
    assert one.pending(0) == ("book.S1", "trades.S1", "book.S3", "trades.S3")
    assert one.take(0, say(acknowledgement=8), 0.0).confirmed == [], "said once"
    assert one.take(0, say(acknowledgement=70), 0.0).confirmed == [], "of no request of ours"
    assert one.take(1, say(acknowledgement=7), 0.0).confirmed == [], "of another connection"
    assert one.take(0, say(acknowledgement=7), 0.0).confirmed == [0]


def test_subscriptions_refused_request_refuses_its_own_channels_alone() -> None:
    one = told("S1", "S2", "S3")
    answer = one.take(0, say(refusal=9), 0.0)
    assert answer.refused == [2]
    assert answer.lines[0].startswith("connection 0: refused book.S3, trades.S3: Blocked!")
    assert one.pending(0) == ("book.S1", "trades.S1", "book.S2", "trades.S2")


def test_subscriptions_acknowledged_unsubscription_confirms_nothing() -> None:
    one = told("S1")
    one.said(0, b'{"unsub": ["book.S1"], "id": 1000}')
    assert one.take(0, say(acknowledgement=1000), 0.0) == Answer()
    assert one.take(0, say(refusal=1000), 0.0).refused == []


def test_subscriptions_requests_of_an_ended_connection_are_forgotten() -> None:
    one = told("S1")
    one.ended(0)
    one.opened(0, 1.0)
    assert one.take(0, say(acknowledgement=7), 0.0).confirmed == []


def test_subscriptions_broken_text_and_notice_are_said_once() -> None:
    one = subscribed("S1")
    answer = one.take(0, say(broken=[], notice=[], heartbeat=[], unknown=[]), 0.0)
    assert answer.lines == ["connection 0: Blocked!"]  # the same words, within a minute
    assert one.pending(0) == ("book.S1", "trades.S1")


def test_subscriptions_acknowledgement_that_names_no_channel_confirms_nothing() -> None:
    """Which channels a request had is not kept: the contract (proto/venue.py) says so."""
    one = subscribed("S1")
    assert one.take(0, say(acknowledgement=[]), 0.0) == Answer()
    assert one.pending(0) == ("book.S1", "trades.S1")
