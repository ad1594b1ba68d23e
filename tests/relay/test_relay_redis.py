"""A feed through one real redis-server: nothing lost, nothing torn, and every trouble told."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.client.reader import BookState, SyncReason, open_reader
from tickpath.engine.relay.nodes import NodeError, connect
from tickpath.engine.relay.wire import (
    KIND_CHANGED,
    KIND_HEARTBEAT,
    Keys,
    Wake,
    read_wake,
    write_wake,
)
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.records import EventType
from tickpath.shm.segment import DIRECTORY

from tests.relay.conftest import INSTRUMENTS, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.relay.conftest import Rig, Server

pytestmark = pytest.mark.needs("redis")


def test_relay_every_event_and_the_last_books_arrive(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    far, chance = rig.follow(), random.Random(4)
    rig.far_events()
    sent, got = [], []
    for number in range(3000):
        instrument = chance.randrange(len(INSTRUMENTS))
        bid, ask = (chance.randrange(1, 500), number + 1), (chance.randrange(501, 900), 7)
        rig.feed.publish_book([bid], [ask], instrument, events_to_come=2)
        level = (bid[0], bid[1], number, number)
        rig.feed.publish_event(EventType.LEVEL, level, instrument, flags=number % 2)
        rig.feed.publish_event(EventType.TOP, (*bid, *ask), instrument)
        sent += [(instrument, EventType.LEVEL, level), (instrument, EventType.TOP, (*bid, *ask))]
        if number % 37 == 0:
            rig.turn()
            got += rig.far_events()

    def came() -> bool:
        got.extend(rig.far_events())
        return len(got) >= len(sent)

    until(came, "events", rig.turn)
    # Each instrument's events in their order; instruments are streams of their own.
    for one in INSTRUMENTS:
        assert [x for x in got if x[0] == one.index] == [x for x in sent if x[0] == one.index]
    with open_reader(rig.name) as near:
        for one in INSTRUMENTS:
            ours, theirs = far.book(one.index), near.book(one.index)
            assert (ours.bids, ours.asks) == (theirs.bids, theirs.asks)
            assert ours.book_sequence == theirs.book_sequence
            assert ours.exchange_ns == theirs.exchange_ns
    assert rig.publisher.counters["dropped"] == rig.publisher.counters["lost"] == 0


def test_relay_stamps_are_of_the_local_clock_and_not_in_the_future(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    far = rig.follow()
    before = far.now_ns()
    rig.feed.publish_top((110, 1), (120, 1), 0)
    until(lambda: rig.has_book(0, (110, 1)), "the book", rig.turn)
    book = far.book(0)
    # The rehearsal stamps "received" 500 ns before publishing; both hosts are this one here.
    assert before - 1_000_000 <= book.received_ns <= book.decoded_ns <= book.published_ns
    assert book.published_ns <= far.now_ns()


def test_relay_late_follower_starts_with_exact_books_and_goes_on(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    for number in range(50):
        rig.feed.publish_top((100 + number, 5), (1000, 6), number % 3)
        rig.turn()
    far = rig.follow()
    assert [far.book(i).bid for i in range(3)] == [(148, 5), (149, 5), (147, 5)]
    rig.feed.publish_top((200, 1), (1000, 6), 1)
    until(lambda: rig.has_book(1, (200, 1)), "the next book", rig.turn)
    assert rig.follower
    assert rig.follower.segment
    assert rig.follower.segment.counters["relay.gaps"] == 0


def test_relay_keys_of_one_instrument_share_a_cluster_slot(
    servers: Callable[..., Server],
) -> None:
    client, keys = servers("--cluster-enabled", "yes").client(), Keys("demo")
    slots = [
        {client.cluster("KEYSLOT", keys.book(one)), client.cluster("KEYSLOT", keys.events(one))}
        for one in INSTRUMENTS
    ]
    assert all(len(both) == 1 for both in slots)
    assert len(set.union(*slots)) == len(INSTRUMENTS)


def test_relay_streams_stay_near_their_cap(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options(), cap=50)
    number = 0
    while rig.publisher.counters["books"] < 500:
        number += 1
        rig.feed.publish_top((100, number), (101, 6), 0)
        rig.turn()
    rig.turn_for(0.05)
    length = server.client().xlen(Keys(rig.name).events(INSTRUMENTS[0]))
    # "~" trims whole nodes of the stream, of up to stream-node-max-entries (100) entries.
    assert 50 <= length <= 50 + 100


def test_relay_redis_killed_and_back_is_stale_then_live_and_never_merged(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options())
    far = rig.follow()
    server.kill()
    until(lambda: all(rig.states(BookState.STALE)), "STALE books", rig.turn)
    assert far.book(0).reason == SyncReason.DISCONNECTED
    rig.feed.publish_top((777, 5), (900, 6), 0)
    rig.far_events()
    server.start()
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    assert far.book(0).bid == (777, 5)
    told = [kind for instrument, kind, _ in rig.far_events() if instrument == 0]
    assert told.count(EventType.CLEAR) >= 1
    assert rig.publisher.counters["reconnects"] >= 1
    assert rig.heard("lost")


def test_relay_heartbeat_alone_does_not_revive_what_redis_forgot(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options())
    rig.follow()
    server.kill()
    until(lambda: all(rig.states(BookState.STALE)), "STALE books", rig.turn)
    server.start()  # empty
    for _ in range(200):
        beat = Wake(KIND_HEARTBEAT, 99, rig.publisher.epoch, 1, 1, ())
        server.client().publish(Keys(rig.name).wake, write_wake(beat))
        rig.turn(publishes=False)
        assert all(rig.states(BookState.STALE))
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)


def test_relay_first_heartbeat_after_a_reconnect_names_books_not_sent_yet(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options())
    client: Any = server.client()
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(Keys(rig.name).wake)
    until(
        lambda: rig.publisher._links[0].is_idle and not rig.publisher._dirty.any(),
        "quiet",
        rig.turn,
    )
    rig.publisher._mark_all()  # as after a reconnect
    rig.publisher._beat(time.monotonic())
    message: Any = until(lambda: listener.get_message(timeout=1), "a wake-up")
    while read_wake(message["data"], len(INSTRUMENTS)).kind != KIND_HEARTBEAT:
        message = until(lambda: listener.get_message(timeout=1), "a heartbeat")
    last = message
    while message := listener.get_message(timeout=0.1):
        last = message
    assert set(read_wake(last["data"], 6).instruments) == set(range(len(INSTRUMENTS)))
    listener.close()


def test_relay_slow_redis_conflates_and_ends_with_the_latest_book(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options(), stale_after_ms=300)
    rig.follow()
    server.command("CLIENT", "PAUSE", "800", "ALL")
    paused, number = time.monotonic(), 0
    while time.monotonic() - paused < 0.6:
        number += 1
        rig.feed.publish_top((100, number), (101, 6), 0)
        rig.turn()
    assert all(rig.states(BookState.STALE))  # silent for longer than 300 ms
    until(lambda: rig.has_book(0, (100, number)), "the latest book", rig.turn)
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    assert rig.publisher.counters["conflated"] > 0
    assert rig.publisher.counters["dropped"] == 0  # all events fitted
    assert rig.publisher.counters["books"] < number


def test_relay_redis_that_hangs_loses_events_counted_and_recovers(
    servers: Callable[..., Server], rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickpath.engine.relay.publisher.PENDING_EVENTS_MAX", 500)
    server = servers()
    rig = rigs(server.options())
    rig.follow()
    server.command("CLIENT", "PAUSE", "700", "ALL")
    for number in range(4000):
        rig.feed.publish_top((100, number + 1), (101, 6), 0)
        if number % 100 == 0:
            rig.turn()
    until(lambda: rig.has_book(0, (100, 4000)), "the latest book", rig.turn)
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    assert rig.publisher.counters["dropped"] > 0
    assert rig.follower
    assert rig.follower.segment
    assert rig.follower.segment.counters["relay.gaps"] > 0


def test_relay_out_of_memory_is_stale_and_counted_until_there_is_room(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers("--maxmemory-policy", "noeviction")
    rig = rigs(server.options())
    far = rig.follow()
    server.client().config_set("maxmemory", "1")
    rig.feed.publish_top((150, 5), (160, 6), 2)
    until(lambda: far.book(2).published_state == BookState.STALE, "STALE", rig.turn)
    assert far.book(2).bid == (100, 5)
    assert rig.publisher.counters["refused"] > 0
    assert "maxmemory" in rig.heard("refused")[0]["why"]
    server.client().config_set("maxmemory", "0")
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    assert far.book(2).bid == (150, 5)


def test_relay_source_states_arrive_and_a_dead_source_is_stale(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    far = rig.follow()
    rig.feed.publish_state(BookState.SYNCING, SyncReason.GAP, 1)
    until(lambda: far.book(1).published_state == BookState.SYNCING, "SYNCING", rig.turn)
    assert (far.book(1).reason, far.book(0).published_state) == (SyncReason.GAP, BookState.LIVE)
    rig.feed.close()
    until(
        lambda: all(rig.states(BookState.STALE)),
        "STALE books",
        lambda: rig.turn(beats=False),
    )
    assert far.book(0).reason == SyncReason.DISCONNECTED


def test_relay_source_restarted_with_other_instruments_gets_another_segment(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    far = rig.follow()
    rig.feed.close()
    rig.feed = RehearsalFeed(rig.name, INSTRUMENTS[:2])
    rig.feed.publish_top((300, 1), (400, 1), 1)

    def renewed() -> bool:
        far.next()
        return len(far.instruments) == 2 and far.book(1).is_live

    until(renewed, "the new segment", rig.turn)
    assert far.book(1).bid == (300, 1)
    rig.feed.close()


def test_relay_publisher_restarted_goes_on_in_the_same_segment(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    far = rig.follow()
    build = far.shm.segment.instance_id
    rig.publisher.close()
    until(
        lambda: all(rig.states(BookState.STALE)),
        "STALE books",
        lambda: rig.turn(publishes=False),
    )
    rig.feed.publish_top((400, 1), (500, 1), 0)
    rig.publish()
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    assert far.book(0).bid == (400, 1)
    assert far.shm.segment.instance_id == build


def test_relay_hostile_entry_is_refused_and_only_its_book_is_stale(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options())
    far = rig.follow()
    assert rig.follower
    assert rig.follower.segment
    client, key = server.client(), Keys(rig.name).events(INSTRUMENTS[3])
    client.xadd(key, {"b": os.urandom(120), "e": b""})
    client.xadd(key, {"x": b"no book"})
    client.publish(Keys(rig.name).wake, b"garbage")
    rig.feed.publish_top((101, 1), (102, 1), 3)
    until(lambda: rig.has_book(3, (101, 1)), "the good entry behind them", rig.turn)
    assert rig.follower.segment.counters["relay.refused"] == 3
    told = [value[:2] for i, kind, value in rig.far_events() if (i, kind) == (3, EventType.STATE)]
    assert (BookState.STALE, SyncReason.BROKEN_MESSAGE) in told
    assert told[-1] == (BookState.LIVE, SyncReason.NONE)
    assert all(rig.states(BookState.LIVE))
    assert far.book(0).is_live


def test_relay_entry_that_was_trimmed_away_is_a_gap(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options())
    rig.follow()
    rig.far_events()
    follower, rig.follower = rig.follower, None
    for number in range(5):
        rig.feed.publish_top((100, 50 + number), (101, 6), 0)
        rig.turn_for(0.02)
    server.client().xtrim(Keys(rig.name).events(INSTRUMENTS[0]), maxlen=1, approximate=False)
    rig.follower = follower
    until(lambda: rig.has_book(0, (100, 54)), "the last book", rig.turn)
    events = [(kind, value) for instrument, kind, value in rig.far_events() if instrument == 0]
    assert (EventType.CLEAR, (0, 0, 0, 0)) in events
    assert events[-1] == (EventType.TOP, (100, 54, 101, 6))


def test_relay_that_falls_silent_is_stale_and_live_when_it_goes_on(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    far = rig.follow()
    until(
        lambda: all(rig.states(BookState.STALE)),
        "STALE books",
        lambda: rig.turn(publishes=False),
    )
    assert far.book(0).reason == SyncReason.SILENT
    assert far.book(0).bid == (100, 5)  # the last known levels
    assert rig.heard("silent") == [{"stale_after_s": 0.5}]
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)


def test_relay_wake_up_that_was_lost_makes_the_follower_look_everywhere(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    rig = rigs(server.options())
    far = rig.follow()
    channel, rig.publisher._keys.wake = rig.publisher._keys.wake, b"tickpath:nowhere"
    rig.feed.publish_top((140, 1), (150, 1), 4)
    rig.turn_for(0.2)
    assert far.book(4).bid == (100, 5)  # nobody said that there is something
    for sequence in (1, 3):  # of a link of its own: number 2 is missing
        wake = Wake(KIND_CHANGED, 99, rig.publisher.epoch, sequence, 1, ())
        server.client().publish(channel, write_wake(wake))
    until(lambda: rig.has_book(4, (140, 1)), "the book", rig.turn)
    rig.publisher._keys.wake = channel


# ---- being let in --------------------------------------------------------------------------------

RIGHTS = (
    "~tickpath:*",
    "&tickpath:*",
    "+hset",
    "+hgetall",
    "+xadd",
    "+xrange",
    "+xrevrange",
    "+publish",
    "+subscribe",
    "+select",
    "+cluster|slots",
)


def test_relay_acl_user_needs_only_the_rights_that_are_documented(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    server.command("ACL", "SETUSER", "relay", "reset", "on", ">right", *RIGHTS)
    rig = rigs(server.options(login="relay:right"))
    rig.follow()
    rig.feed.publish_top((120, 1), (130, 1), 0)
    until(lambda: rig.has_book(0, (120, 1)), "the book", rig.turn)


def test_relay_acl_user_without_a_right_is_told_which_page_lists_them(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    server = servers()
    few = [right for right in RIGHTS if right != "+xadd"]
    server.command("ACL", "SETUSER", "relay", "reset", "on", ">right", *few)
    rig = rigs(server.options(login="relay:right"))
    until(lambda: rig.heard("refused"), "the refusal", rig.turn)
    assert "docs/relay.md" in rig.heard("refused")[0]["why"]
    assert rig.publisher.counters["refused"] > 0


def test_relay_wrong_password_is_refused_and_never_shown(servers: Callable[..., Server]) -> None:
    server = servers("--requirepass", "right")
    with pytest.raises(NodeError, match="check user 'default'") as refused:
        connect(server.options(login=":very wrong"))
    assert refused.value.is_lasting
    assert "very wrong" not in str(refused.value) + repr(server.options(login=":very wrong"))


@pytest.mark.parametrize("trusts", ["the right CA", "another CA", "the system's"])
def test_relay_tls_trusts_only_the_given_ca(
    tmp_path: Path, servers: Callable[..., Server], rigs: Callable[..., Rig], trusts: str
) -> None:
    made, other = make_ca(tmp_path / "ca"), make_ca(tmp_path / "other")
    words = ["--tls-cert-file", str(made.certificate), "--tls-key-file", str(made.key)]
    words += ["--tls-ca-cert-file", str(made.ca), "--tls-auth-clients", "no"]
    server = servers(*words, tls=True)
    ca = {"the right CA": str(made.ca), "another CA": str(other.ca), "the system's": None}[trusts]
    options = server.options(tls=True, ca_file=ca)
    if trusts != "the right CA":
        with pytest.raises(NodeError, match="--ca-file"):
            connect(options)
        return
    rig = rigs(options)
    rig.follow()
    rig.feed.publish_top((120, 1), (130, 1), 0)
    until(lambda: rig.has_book(0, (120, 1)), "the book", rig.turn)


def test_relay_nothing_is_left_in_shared_memory(
    servers: Callable[..., Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(servers().options())
    rig.follow()
    rig.close()
    assert not list(DIRECTORY.glob(f"tickpath.{rig.name}*"))
