"""Gate in a whole deployment in virtual time: what is its own beside the campaign's seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venues.gate import requests
from tickpath.proto.venues.gate.settings import GateSettings
from tickpath.shm.reader import Result

from tests.sim.campaign import random_setup, suffer
from tests.sim.deployment import LIVE, RECOVERY_S, STALE, SYNCING
from tests.sim.test_deployment import make
from tests.sim.test_deployment_quiet import rest
from tests.sim.virtual import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tickpath.engine.sim.dialect import Client

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture

Gate: Any = load_dialect("gate")
Usdt: Any = load_dialect("gate_usdt")
SYMBOLS = ("BTC_USDT", "ETH_USDT")
CUT_NS = int(30.5 * SECOND)


def gate(make: Make, dialect: Any = Gate, rate: float = 40.0, **settings: Any) -> Deployment:
    own = msgspec.convert(settings, GateSettings)
    deployment = make(dialect=dialect, symbols=SYMBOLS, settings=own, rate=rate)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    return deployment


@pytest.mark.parametrize("depth", [20, 100, 400])
@pytest.mark.parametrize("venue", ["gate", "gate_usdt"])
@pytest.mark.parametrize("seed", range(2))
def test_gate_other_channels_are_right_while_live_and_come_back(
    seed: int, venue: str, depth: int, tmp_path: Path
) -> None:
    """The campaign's seeds have the usual one."""
    settings = msgspec.convert({"depth": depth}, GateSettings)
    suffer(replace(random_setup(seed, tmp_path, venue), settings=settings))


class Strict(Gate):  # type: ignore[misc] # a class that is loaded
    """Ends connections on which their client says nothing for half a minute."""

    hang_up: ClassVar[Callable[[Client], None]]

    def __init__(self, floor: Any) -> None:
        super().__init__(floor)
        self.heard: dict[Client, int] = {}
        self.hung_up = 0

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """End the connection of who is silent."""
        if now_ns - self.heard.setdefault(client, now_ns) > CUT_NS:
            self.hung_up += 1
            type(self).hang_up(client)
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Note that a client spoke."""
        self.heard[client] = now_ns
        return list(super().received(client, message, now_ns))


def test_gate_pings_keep_a_connection_on_which_nothing_else_is_said(make: Make) -> None:
    deployment = gate(make, Strict, rate=5.0)
    exchange = deployment.exchange
    dialect: Any = exchange._dialect
    Strict.hang_up = lambda client: exchange._websockets[client].close(1006)
    deployment.run(64.0)
    assert deployment.are_live()
    assert dialect.hung_up == 0
    assert deployment.feed_handler.hot.loop.counters.disconnects == 0


class Hasty(Gate):  # type: ignore[misc] # a class that is loaded
    """Ends a subscription only a while after it said so: who subscribes at once is a duplicate."""

    late_ns: ClassVar[int] = SECOND // 5

    def __init__(self, floor: Any) -> None:
        super().__init__(floor)
        self.ending: list[tuple[int, Client, bytes]] = []
        self.duplicates = 0

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """End what is due."""
        ended = [one for one in self.ending if one[0] <= now_ns]
        self.ending = [one for one in self.ending if one[0] > now_ns]
        for _, who, data in ended:
            super().received(who, Message(data, is_text=True), now_ns)
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Say yes to the end of a subscription, and do it later."""
        said = msgspec.json.decode(message.data)
        if said.get("event") == "unsubscribe":
            self.ending.append((now_ns + self.late_ns, client, message.data))
            return [self._yes(said, now_ns)]
        answers: list[Message] = super().received(client, message, now_ns)
        self.duplicates += sum(b"Alert sub" in one.data for one in answers)
        return answers


def test_gate_subscription_that_was_called_a_duplicate_is_made_anew(make: Make) -> None:
    """The documents wait for the answer to the end; where it matters, the book waits a while."""
    deployment = gate(make, Hasty)
    deployment.order("gap:BTC_USDT")
    assert deployment.run(2.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.run(60.0, deployment.are_live), deployment.failure("not LIVE again")
    dialect: Any = deployment.exchange._dialect
    assert dialect.duplicates >= 1


@pytest.mark.parametrize("depth", [50, 100])
def test_gate_book_without_changes_is_proved(make: Make, depth: int) -> None:
    own = msgspec.convert({"depth": depth}, GateSettings)
    deployment = make(dialect=Usdt, symbols=SYMBOLS, settings=own, rate=40.0, quiet_s=3.0)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    rest(deployment, "BTC_USDT")
    assert not deployment.run(9.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.counters.verified > 0
    assert (deployment.checks > 0) == (depth == 50), "beside its stream, or by REST"


@pytest.mark.parametrize("depth", [50, 100])
def test_gate_whole_book_in_the_middle_replaces_the_book(make: Make, depth: int) -> None:
    deployment = gate(make, depth=depth)
    before, exchange = deployment.counters.bases_applied, deployment.exchange
    dialect: Any = exchange._dialect
    name = requests.book_channel("spot", depth, SYMBOLS[0])
    whole = dialect.base(SYMBOLS[0], name, deployment.now_ns)
    for connection in exchange._websockets.values():
        connection.send(whole)
    deployment.run(1.0)
    assert deployment.counters.bases_applied > before
    assert deployment.are_live()


@pytest.mark.parametrize("dialect", [Gate, Usdt], ids=["gate", "gate_usdt"])
def test_gate_trades_and_best_prices_are_the_venues(make: Make, dialect: Any) -> None:
    deployment = gate(make, dialect, trades=True, best=True)
    trades: list[tuple[int, ...]] = []
    bests = 0

    def take() -> bool:
        nonlocal bests
        while deployment._memory.poll() == Result.EVENT:
            words = deployment._memory.event
            kind = words[1] >> 16 & 0xFF
            bests += kind == lib.TP_EVENT_BEST
            if kind == lib.TP_EVENT_TRADE:
                trades.append(tuple(words[4:8]))
        return False

    deployment.run(5.0, take)
    assert len(trades) > 50
    assert bests > 5
    versions = {version for truth in deployment.truth.values() for version in truth}
    assert {trade_id for *_, trade_id in trades} <= versions
    assert deployment.counters.unknown_channel == 0


def test_gate_upgrade_that_was_announced_ends_in_a_new_connection(make: Make) -> None:
    deployment = gate(make)
    words = "The connection will soon be closed for a service upgrade. Please reconnect."
    result = {"type": "upgrade", "msg": words}
    notice = {"time": 1, "channel": "spot.system", "event": "update", "result": result}
    for connection in deployment.exchange._websockets.values():
        connection.send(Message(msgspec.json.encode(notice), is_text=True))
    deployment.run(1.0)
    assert any(words in line for line in deployment.story)
    deployment.order("close:1001")
    assert deployment.run(1.0, lambda: {one.state for one in deployment.seen} == {STALE})
    assert deployment.run(10.0, deployment.are_live)


def test_gate_numbers_that_begin_anew_are_taken(make: Make) -> None:
    deployment = gate(make)
    deployment.order("renumber")
    assert deployment.run(10.0, lambda: all(one.version < 10_000 for one in deployment.seen))
    assert deployment.run(10.0, deployment.are_live)
