"""A feed through a real Redis Cluster of three: slots, a node that dies, a slot that moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot
from tickpath.engine.client.reader import BookState
from tickpath.engine.relay.nodes import SLOT_COUNT, NodeError, read_slots
from tickpath.engine.relay.wire import Keys

from tests.relay.conftest import INSTRUMENTS, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.relay.nodes import RedisOptions

    from tests.relay.conftest import Rig, Server

pytestmark = pytest.mark.needs("redis")

NODES = 3
CLUSTER = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1500"),
    *("--cluster-require-full-coverage", "no", "--appendonly", "yes"),
)


@pytest.fixture
def cluster(servers: Callable[..., Server]) -> list[Server]:
    """Start three primaries with a third of the slots each."""
    nodes = [servers(*CLUSTER) for _ in range(NODES)]
    for number, node in enumerate(nodes):
        first, last = (SLOT_COUNT * n // NODES for n in (number, number + 1))
        node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last - 1))
        node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
    for node in nodes[1:]:
        nodes[0].command("CLUSTER", "MEET", "127.0.0.1", str(node.port))
    until(lambda: all(is_whole(node) for node in nodes), "the cluster")
    return nodes


def is_whole(node: Server) -> bool:
    is_well = b"cluster_state:ok" in node.command("CLUSTER", "INFO")
    return is_well and len(node.command("CLUSTER", "SLOTS")) == NODES


@pytest.fixture
def spread(rigs: Callable[..., Rig]) -> Callable[..., Rig]:
    """Make rigs whose instruments lie on all nodes: the instance's name decides."""

    def make(options: RedisOptions, **changes: Any) -> Rig:
        while True:
            rig = rigs(options, **changes)
            if all(mine(rig, node) for node in range(NODES)):
                return rig

    return make


def owner(rig: Rig, instrument: int) -> int:
    """Return which third of the slots has an instrument's keys."""
    slot = key_slot(Keys(rig.name).book(INSTRUMENTS[instrument]))
    return next(n for n in range(NODES) if slot < SLOT_COUNT * (n + 1) // NODES)


def test_relay_cluster_books_lie_on_the_nodes_of_their_slots(
    cluster: list[Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(cluster[0].options())
    far = rig.follow()
    for one in INSTRUMENTS:
        rig.feed.publish_top((200 + one.index, 1), (300, 1), one.index)
    until(lambda: far.book(5).bid == (205, 1), "the last book", rig.turn)
    until(lambda: [far.book(i).bid[0] for i in range(6)] == list(range(200, 206)), "all", rig.turn)
    for one in INSTRUMENTS:
        node = cluster[owner(rig, one.index)]
        assert node.client().exists(Keys(rig.name).book(one), Keys(rig.name).events(one)) == 2
    assert rig.heard("connected")[0]["nodes"] == len(
        {owner(rig, i) for i in range(6)}
        | {
            next(
                n
                for n in range(NODES)
                if key_slot(Keys(rig.name).feed) < SLOT_COUNT * (n + 1) // NODES
            )
        }
    )


@pytest.mark.parametrize("which", ["the one that was named", "another one"])
def test_relay_cluster_node_killed_makes_only_its_books_stale(
    cluster: list[Server], spread: Callable[..., Rig], which: str
) -> None:
    rig = spread(cluster[0].options(), stale_after_ms=5000)
    far = rig.follow()
    until(lambda: rig.publisher.counters["books"] >= len(INSTRUMENTS), "books", rig.turn)
    victim = 0 if which == "the one that was named" else 1
    cluster[victim].kill()
    hit = mine(rig, victim)
    until(lambda: all(is_stale(rig, i) for i in hit), "its books STALE", rig.turn)
    others = [i for i in range(len(INSTRUMENTS)) if i not in hit]
    for instrument in others:
        rig.feed.publish_top((500 + instrument, 2), (900, 2), instrument)
    until(lambda: all(far.book(i).bid == (500 + i, 2) for i in others), "the other books", rig.turn)
    cluster[victim].start()
    until(lambda: is_whole(cluster[0]), "the cluster whole again", rig.turn)
    rig.feed.publish_top((600, 3), (900, 3), hit[0])
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    until(lambda: far.book(hit[0]).bid == (600, 3), "its book", rig.turn)


def mine(rig: Rig, node: int) -> list[int]:
    return [i for i in range(len(INSTRUMENTS)) if owner(rig, i) == node]


def is_stale(rig: Rig, instrument: int) -> bool:
    assert rig.far is not None
    return rig.far.book(instrument).published_state == BookState.STALE


def test_relay_cluster_slot_that_moved_is_followed(
    cluster: list[Server], rigs: Callable[..., Rig]
) -> None:
    rig = rigs(cluster[0].options())
    far = rig.follow()
    slot = key_slot(Keys(rig.name).book(INSTRUMENTS[0]))
    old, new = cluster[owner(rig, 0)], cluster[(owner(rig, 0) + 1) % NODES]
    for key in (Keys(rig.name).book(INSTRUMENTS[0]), Keys(rig.name).events(INSTRUMENTS[0])):
        old.client().delete(key)
    identity = new.command("CLUSTER", "MYID")
    for node in (new, old, *cluster):
        node.command("CLUSTER", "SETSLOT", str(slot), "NODE", text(identity))
    rig.feed.publish_top((700, 4), (900, 4), 0)
    until(lambda: far.book(0).bid == (700, 4), "the book at its new node", rig.turn)
    until(lambda: all(rig.states(BookState.LIVE)), "LIVE books", rig.turn)
    assert new.client().exists(Keys(rig.name).book(INSTRUMENTS[0]))


def text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        [],
        [1],
        [[0, 5]],
        [[0, 16384, [b"h", 1]]],
        [[5, 0, [b"h", 1]]],
        [[0, 5, [b"h", 0]]],
        [[0, 5, [b"\xff\xfe", 7000]]],
        [[0, 5, []]],
        [[b"0", b"5", [b"h", 7000]]],
    ],
)
def test_relay_cluster_answer_that_cannot_be_is_refused(answer: object) -> None:
    with pytest.raises(NodeError):
        read_slots(answer, "127.0.0.1")


def test_relay_cluster_node_without_a_name_is_the_one_that_was_asked() -> None:
    # CLUSTER SLOTS: "NULL/empty: the client should send to the same endpoint it used".
    assert read_slots([[0, 16383, [b"", 7000, b"id"]]], "10.1.1.1") == [
        (0, 16383, ("10.1.1.1", 7000))
    ]
