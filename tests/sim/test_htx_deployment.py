"""What HTX's books do that others do not, in a whole deployment: packed, and asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
from tickpath.engine.sim.venues import load_dialect

from tests.sim.deployment import LIVE, RECOVERY_S, SYNCING
from tests.sim.test_deployment import make
from tests.sim.test_deployment_quiet import rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture

SYMBOLS = ("btcusdt", "ethusdt")
QUIET_S = 3.0
Htx: Any = load_dialect("htx")


def htx(make: Make, kind: Any = Htx, symbols: tuple[str, ...] = SYMBOLS, **own: Any) -> Deployment:
    settings = msgspec.convert(own, kind.venue.settings)
    settings.check()
    deployment = make(dialect=kind, symbols=symbols, settings=settings, rate=40.0, quiet_s=QUIET_S)
    assert deployment.run(8.0, deployment.are_live), deployment.failure("not LIVE")
    return deployment


@pytest.mark.parametrize("own", [{}, {"depth": 20}, {"depth": 5}, {"depth": 20, "refresh": True}])
def test_book_has_the_levels_of_its_topic(make: Make, own: dict[str, Any]) -> None:
    deployment = htx(make, **own)
    deployment.run(3.0)
    assert deployment.are_live()
    levels = min(own.get("depth", 150), 20)  # so many stand in shared memory
    assert [len(one.bids) // 16 for one in deployment.seen] == [levels, levels]
    assert deployment.feed_handler.hot.loop.counters.not_inflated == 0


def test_member_that_is_cut_is_counted_and_costs_its_book_alone(make: Make) -> None:
    deployment = htx(make)
    hot = deployment.feed_handler.hot.loop.counters
    rounds = 6
    for _ in range(rounds):
        deployment.order(f"cut:{SYMBOLS[0]}")
        assert deployment.run(2.0, lambda: deployment.seen[0].state == SYNCING)
        assert deployment.seen[1].state == LIVE
        assert deployment.run(RECOVERY_S, deployment.are_live), deployment.failure("not back")
    cut = hot.not_inflated
    assert 0 < cut < rounds, "some were cut before they were packed"
    assert deployment.counters.unreadable >= cut, "no book's, as nobody could read it"


class Listening(Htx):  # type: ignore[misc] # a class that is loaded
    """Keeps what answers its pings."""

    pings: ClassVar[list[int]]
    pongs: ClassVar[list[int]]

    def due(self, client: Any, now_ns: int) -> Any:
        """Keep the number of a ping."""
        said = super().due(client, now_ns)
        Listening.pings.extend(msgspec.json.decode(one.data)["ping"] for one in said)
        return said

    def received(self, client: Any, message: Any, now_ns: int) -> Any:
        """Keep what answers it."""
        said = msgspec.json.decode(message.data)
        if "pong" in said:
            Listening.pongs.append(said["pong"])
        return super().received(client, message, now_ns)


def test_ping_in_a_member_is_answered_by_its_number_in_plain_text(make: Make) -> None:
    Listening.pings, Listening.pongs = [], []
    deployment = htx(make, Listening)
    deployment.run(21.0)
    assert len(Listening.pings) >= 4
    assert Listening.pongs in (Listening.pings, Listening.pings[:-1])


def test_many_books_ask_for_their_bases_at_the_pace_that_the_venue_bears(make: Make) -> None:
    symbols = tuple(f"a{number}usdt" for number in range(25))
    deployment = htx(make, symbols=symbols)
    assert deployment.exchange.counters.refused == 0
    assert deployment.exchange.counters.connections == 3


class Refusing(Htx):  # type: ignore[misc] # a class that is loaded
    """Refuses the first requests for bases."""

    left: ClassVar[int]

    def _req(self, client: Any, topic: str, id_: str, now_ns: int) -> Any:
        if Refusing.left > 0:
            Refusing.left -= 1
            return [self._no(id_, f"429 too many request topic is {topic}", now_ns)]
        return super()._req(client, topic, id_, now_ns)


def test_request_that_is_refused_is_made_again_and_refuses_no_book(make: Make) -> None:
    Refusing.left = 2
    deployment = htx(make, Refusing)
    assert deployment.exchange.counters.refused == 2
    assert all(one.state == LIVE for one in deployment.seen)


def test_quiet_book_is_proved_by_a_base_that_it_asked_for(make: Make) -> None:
    deployment = htx(make)
    applied = deployment.counters.bases_applied
    rest(deployment, SYMBOLS[0])
    assert not deployment.run(12.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.counters.verified > 0
    assert deployment.counters.bases_applied == applied, "compared, and in nobody's place"


def test_trades_and_best_prices_come_over_the_other_socket(make: Make) -> None:
    deployment = htx(make, trades=True, best=True)
    assert deployment.exchange.counters.connections == 2
    deployment.run(2.0)
    assert deployment.counters.trades > 10
    assert deployment.counters.bests > 10
    assert deployment.are_live()
