"""What Bitget's books do that others do not, in a whole deployment in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import lib
from tickpath.engine.sim.dialect import Message
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venues.bitget.settings import BitgetSettings
from tickpath.shm.reader import Result

from tests.sim.deployment import LIVE, RECOVERY_S, SYNCING, Deployment, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.sim.dialect import Client

    Make = Callable[..., Deployment]

SYMBOL = "BTCUSDT"
CHANGED, WHOLE = (500, 1000), (5, 15, 50)
Spot: Any = load_dialect("bitget")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(venue: str = "bitget", depth: int = 500, **fields: Any) -> Deployment:
        more = {name: fields.pop(name) for name in ("trades", "best") if name in fields}
        words: dict[str, Any] = {
            **{"seed": 1, "symbols": (SYMBOL,), "dialect": load_dialect(venue)},
            "settings": BitgetSettings(depth=depth, **more),  # type: ignore[arg-type] # one of them
        }
        made.append(Deployment(Setup(directory=tmp_path, **(words | fields))))
        assert made[-1].run(RECOVERY_S, made[-1].are_live)
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def states(deployment: Deployment, first: int) -> list[str]:
    return [line for line in deployment.story[first:] if " reason " in line]


@pytest.mark.parametrize("venue", ["bitget", "bitget_usdt"])
@pytest.mark.parametrize("depth", [*CHANGED, *WHOLE])
def test_bitget_book_of_each_depth_is_the_venues(make: Make, venue: str, depth: int) -> None:
    """Every LIVE book is compared; deeper changes leave the ones of few levels as they are."""
    deployment = make(venue, depth, rate=60.0)
    told = len(deployment.story)
    for fault in ("gap", "duplicate", "disconnect"):
        deployment.order(f"{fault}:{SYMBOL}" if fault != "disconnect" else fault)
        deployment.run(2.0)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    assert (deployment.counters.gaps == 1) == (depth in CHANGED)
    assert len(states(deployment, told)) >= 2
    assert deployment.counters.broken == deployment.counters.unknown_body == 0
    deployment.stop()


@pytest.mark.parametrize("depth", CHANGED)
def test_bitget_update_behind_number_0_asks_for_a_book(make: Make, depth: int) -> None:
    """The documents' restart: what follows it is of a book that nobody here has."""
    deployment = make(depth=depth)
    told = len(deployment.story)
    deployment.order(f"renumber:{SYMBOL}")
    assert deployment.run(1.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.seen[0].reason == int(lib.TP_SYNC_REASON_RESET)
    assert deployment.run(2.0, deployment.are_live)
    assert deployment.seen[0].version < 10_000
    assert len(states(deployment, told)) == 2
    assert deployment.exchange.counters.connections == 1
    deployment.stop()


def test_bitget_gap_heals_by_subscribing_anew_on_the_same_connection(make: Make) -> None:
    deployment = make()
    told = len(deployment.story)
    deployment.order(f"gap:{SYMBOL}")
    assert deployment.run(1.0, lambda: deployment.seen[0].state == SYNCING)
    assert deployment.run(2.0, deployment.are_live)
    assert len(states(deployment, told)) == 2
    assert deployment.exchange.counters.connections == 1
    deployment.stop()


@pytest.mark.parametrize("depth", [*CHANGED, 5])
def test_bitget_quiet_book_is_proved_and_its_subscription_stands(make: Make, depth: int) -> None:
    deployment = make(depth=depth, symbols=(SYMBOL, "ETHUSDT"), quiet_s=4.0)
    deployment.exchange._floor.active.remove(SYMBOL)  # the other one keeps the connection alive
    told = len(deployment.story)
    deployment.run(12.0)
    assert deployment.are_live()
    assert 4 <= deployment.checks == deployment.counters.verified
    assert states(deployment, told) == []
    deployment.stop()


@pytest.mark.parametrize("depth", CHANGED)
def test_bitget_trades_and_best_prices_are_the_venues(make: Make, depth: int) -> None:
    deployment = make(depth=depth, trades=True, best=True, rate=20.0)
    trades: list[tuple[int, ...]] = []
    bests: list[tuple[int, ...]] = []

    def take() -> bool:
        while deployment._memory.poll() == Result.EVENT:
            words = deployment._memory.event
            kind = words[1] >> 16 & 0xFF
            if kind in (lib.TP_EVENT_TRADE, lib.TP_EVENT_BEST):
                (trades if kind == lib.TP_EVENT_TRADE else bests).append(tuple(words[4:8]))
        return False

    deployment.run(5.0, take)
    truth = deployment.truth[SYMBOL]
    tops: list[tuple[int, ...]] = [(*one.bids[0], *one.asks[0]) for one in truth.values()]
    changed = [top for before, top in zip([None, *tops], tops, strict=False) if top != before]
    assert len(trades) > 50
    assert deployment.counters.trades == len(trades)
    ids = [trade_id for *_, trade_id in trades]
    assert ids == sorted(set(ids)), "the history that a subscription begins with is left out"
    assert set(ids) <= set(truth)
    assert len(bests) > 10
    at = changed.index(bests[0])
    assert bests == changed[at : at + len(bests)], "each change of the touch, and no other"
    assert deployment.counters.broken == deployment.counters.unknown_body == 0
    deployment.stop()


class OtherMarket(Spot):  # type: ignore[misc] # a class that is loaded
    """Sends each message of contracts too, whose symbol is the same, and then its own."""

    def pushes(self, symbol: str, delta: Any, now_ns: int) -> list[tuple[str, Message]]:
        """Put a change of another market's book in front."""
        own = super().pushes(symbol, delta, now_ns)
        others = [
            (channel, Message(one.data.replace(b'"SPOT"', b'"USDT-FUTURES"'), is_text=True))
            for channel, one in own
        ]
        return [*others, *own]


def test_bitget_message_of_another_market_changes_no_book(make: Make) -> None:
    deployment = make(dialect=OtherMarket)
    told = len(deployment.story)
    deployment.run(5.0)
    assert states(deployment, told) == []
    assert deployment.counters.unknown_channel > 50
    deployment.stop()


class Vain(Spot):  # type: ignore[misc] # a class that is loaded
    """Acknowledges a subscription of a symbol that has no book on this market."""

    def _subscribe(self, client: Client, arg: dict[str, Any], now_ns: int) -> list[Message]:
        if arg.get("instId") == "ETHUSDT":
            return [self._yes("subscribe", arg)]
        return list(super()._subscribe(client, arg, now_ns))


def test_bitget_acknowledgement_is_no_proof_of_data(tmp_path: Path) -> None:
    setup = Setup(seed=1, directory=tmp_path, dialect=Vain, symbols=(SYMBOL, "ETHUSDT"))
    deployment = Deployment(setup)
    try:
        deployment.run(30.0)
        assert deployment.seen[0].state == LIVE
        assert deployment.seen[1].state != LIVE
        assert any("ETHUSDT" in line and "no " in line for line in deployment.story)
        deployment.stop()
    finally:
        deployment.close()
