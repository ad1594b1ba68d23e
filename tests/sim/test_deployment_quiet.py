"""A whole deployment in virtual time with books that fall quiet: proved, deaf or not LIVE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from tickpath._core import lib
from tickpath.engine.sim.venues import load_dialect

from tests.sim.deployment import LIVE, STALE, SYNCING
from tests.sim.test_deployment import configure, make

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture


def rest(deployment: Deployment, symbol: str) -> None:
    """Let an instrument's book stand still from now on, while its connection is busy."""
    deployment.exchange._floor.active.remove(symbol)


def test_live_ends_when_one_instrument_falls_silent(make: Make) -> None:
    deployment = make(rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    deployment.lag_max_s = 70.0  # verify_quiet_after_s is 60
    deployment.order("mute:BTCUSDT")
    deployment.run(80.0)
    assert (deployment.seen[0].state, deployment.seen[1].state) == (SYNCING, LIVE)
    assert deployment.counters.checks_deaf == 1, "no base makes it LIVE: its stream brings nothing"
    assert deployment.exchange.counters.subscriptions == 2, "it was subscribed to anew"
    deployment.order("unmute:BTCUSDT")
    assert deployment.run(10.0, deployment.are_live)


def test_live_goes_on_while_an_instrument_is_quiet_and_proved(make: Make) -> None:
    deployment = make(rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    rest(deployment, "BTCUSDT")
    deployment.run(200.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.are_live()
    assert deployment.counters.verified == 200 // 30
    assert deployment.counters.bases_applied == 2


def test_live_quiet_book_of_an_in_band_venue_is_proved_beside_its_stream(make: Make) -> None:
    """Never unsubscribed from: whatever is LIVE is covered by a subscription at that moment."""
    deployment = make(dialect=load_dialect("kraken"), symbols=("BTC/USD", "ETH/USD"), rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    subscribers = deployment.exchange._floor.listings["BTC/USD"].subscribers["book-10:BTC/USD"]
    own = set(subscribers)
    rest(deployment, "BTC/USD")
    hole = deployment.run(95.0, lambda: deployment.seen[0].state != LIVE or subscribers != own)
    assert not hole
    assert deployment.checks == deployment.counters.verified == 95 // 30
    assert deployment.counters.bases_applied == 2, "compared, and none replaced"


def test_live_ends_when_an_in_band_stream_falls_silent(make: Make) -> None:
    deployment = make(dialect=load_dialect("kraken"), symbols=("BTC/USD", "ETH/USD"), rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    deployment.lag_max_s = 40.0  # a check comes after 30 s, and 2 s are for messages on their way
    deployment.order("mute:BTC/USD")
    assert deployment.run(40.0, lambda: deployment.seen[0].state != LIVE)
    assert deployment.seen[0].reason == int(lib.TP_SYNC_REASON_SILENT)
    deployment.order("unmute:BTC/USD")
    assert deployment.run(20.0, deployment.are_live)


def test_live_ends_at_the_limit_where_a_quiet_instrument_cannot_be_proved(make: Make) -> None:
    deployment = make(rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    rest(deployment, "BTCUSDT")
    deployment.order("rest-limit:100")
    deployment.run(58.0)
    assert deployment.are_live()
    deployment.run(3.0)
    assert [seen.state for seen in deployment.seen] == [STALE, LIVE]
    assert deployment.run(100.0, deployment.are_live)


MANY = tuple(f"SYM{number:04}USDT" for number in range(18))


def test_reload_of_many_instruments_stretches_the_limit_of_quiet_books(make: Make) -> None:
    """Else they would flap between LIVE and STALE: the budget cannot prove all of them so soon."""
    deployment = make(symbols=MANY[:2], listed=MANY, rate=10.0, quiet_s=3.0)
    assert deployment.run(5.0, deployment.are_live)
    assert deployment.counters.verify_within_ms == 3000
    configure(deployment, MANY)
    assert deployment.run(20.0, lambda: len(deployment.seen) == 18 and deployment.are_live())
    assert deployment.counters.verify_within_ms == 4500, "twice 18 checks, 8 a second"
    assert any("verification: 18 instruments, 8.0 checks" in line for line in deployment.story)
    configure(deployment, MANY[:2])
    deployment.run(5.0)
    assert deployment.counters.verify_within_ms == 3000


def test_reload_takes_no_more_instruments_than_can_be_proved(make: Make) -> None:
    deployment = make(symbols=MANY[:2], listed=MANY, rate=10.0, quiet_s=3.0)
    shared = deployment.feed_handler.shared
    shared.health = msgspec.structs.replace(shared.health, verify_max_s=4.0)
    assert deployment.run(5.0, deployment.are_live)
    configure(deployment, MANY)
    assert deployment.run(20.0, lambda: len(deployment.seen) == 16 and deployment.are_live())
    (line,) = (one for one in deployment.story if "keep 16 instruments" in one and MANY[16] in one)
    assert "reload:" in line
