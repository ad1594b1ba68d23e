"""A whole deployment in virtual time: whatever goes wrong, LIVE is true, and LIVE comes back.

One situation a test; campaigns of seeded faults are test_campaign.py's, and each line of what LIVE
means, with every kind of sync rule, test_live_lines.py's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
import pytest
from tickpath._core import lib
from tickpath.engine.client.feed_segment import read_instruments
from tickpath.engine.loop.connections import Reconnect
from tickpath.engine.sim.dialect import HttpResponse, Message, json_response
from tickpath.engine.sim.venues import load_dialect
from tickpath.engine.sim.venues.mexc import MexcDialect
from tickpath.proto.instrument import Status
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.shm.reader import Result

from tests.sim.campaign import check_counters
from tests.sim.deployment import (
    LIST_EVERY_S,
    LIVE,
    RECONNECT_MAX_S,
    RECOVERY_S,
    STALE,
    Deployment,
    DeploymentError,
    Setup,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.sim.dialect import Client, HttpRequest
    from tickpath.shm.segment import Segment

    Make = Callable[..., Deployment]

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
LATE_S = 14.0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def one(**fields: Any) -> Deployment:
        words: dict[str, Any] = {"seed": 1, "directory": tmp_path} | fields
        made.append(Deployment(Setup(**words)))
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


@pytest.mark.parametrize("venue", ["binance", "mexc"])  # whose dialects make up trades
def test_deployment_trades_and_best_prices_are_the_venues(venue: str, make: Make) -> None:
    dialect = load_dialect(venue)
    settings = msgspec.convert({"trades": True, "best": True}, dialect.venue.settings)
    deployment = make(dialect=dialect, symbols=SYMBOLS[:1], settings=settings)
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
    (symbol,) = deployment.setup.symbols
    truth = deployment.truth[symbol]
    versions = [trade_id for *_, trade_id in trades]
    known = list(truth)
    at = known.index(versions[0])
    assert versions == known[at : at + len(versions)], "every change made one trade, none is lost"
    assert len(versions) > 50
    assert len(bests) == len(trades)
    for version, best, (price, *_) in zip(versions, bests, trades, strict=True):
        true = truth[version]
        touch = (*true.bids[0], *true.asks[0])
        assert best == touch
        assert price == (touch[0] if version % 2 == 0 else touch[2])
    assert deployment.is_live(0)
    assert deployment.counters.trades == len(trades)
    assert deployment.counters.unknown_channel == 0


# ---- what the rig itself must notice -------------------------------------------------------------


def test_deployment_notices_a_book_that_is_not_the_venues(make: Make) -> None:
    deployment = make()
    assert deployment.run(5.0, deployment.are_live)
    listing = deployment.exchange._floor.listings["BTCUSDT"]
    listing.book.bids.put(listing.book.bids.best(), 7)  # without a word to anybody
    with pytest.raises(DeploymentError, match="seed 1: BTCUSDT is LIVE at version"):
        deployment.run(5.0)


def test_deployment_notices_a_live_book_that_lags(make: Make) -> None:
    deployment = make()
    assert deployment.run(5.0, deployment.are_live)
    deployment.order("mute:BTCUSDT")
    with pytest.raises(DeploymentError, match=r"BTCUSDT is LIVE and .* s old"):
        deployment.run(20.0)


def test_deployment_one_failing_instrument_spoils_no_other(make: Make) -> None:
    deployment = make(symbols=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    for _ in range(20):
        deployment.order("garbage:ETHUSDT")
        deployment.run(0.25, lambda: not (deployment.is_live(0) and deployment.is_live(2)))
        assert deployment.is_live(0)
        assert deployment.is_live(2)


def test_deployment_one_connection_that_ends_spoils_no_other(make: Make) -> None:
    symbols = tuple(f"SYM{number:04}USDT" for number in range(1, 41))
    deployment = make(symbols=symbols, rate=400.0, depth=25)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    carries = [
        channel.connection for channel in deployment.feed_handler.venues[0].plan.book_channels()
    ]
    assert set(carries) == {0, 1}
    first, _ = deployment.transport.ends.values()
    first.abort()
    deployment.run(0.05)
    assert [deployment.seen[slot].state == LIVE for slot in range(40)] == [
        number == 1 for number in carries
    ]
    assert deployment.run(RECOVERY_S, deployment.are_live)


# ---- what LIVE does not promise today (one test a line) ------------------------------------------


class Unanswering(MexcDialect):
    """Takes requests and says nothing, not even no."""

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        return []


class LeavesOut(MexcDialect):
    """Acknowledges all channels of a request but one, which it does not serve."""

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        request = msgspec.json.decode(message.data)
        if request["method"] != "SUBSCRIPTION":
            return super().received(client, message, now_ns)
        channels = [name for name in request["params"] if not self.leaves_out(name, request)]
        if not channels:
            return []
        rest = Message(requests.subscribe_request(channels), is_text=True)
        return super().received(client, rest, now_ns)

    def leaves_out(self, name: str, request: dict[str, Any]) -> bool:
        return name.endswith("@BTCUSDT")


class LeavesOutAtFirst(LeavesOut):
    """Serves it once it is asked for again, and alone."""

    def leaves_out(self, name: str, request: dict[str, Any]) -> bool:
        return super().leaves_out(name, request) and len(request["params"]) > 1


class DoubledPrice(MexcDialect):
    """Names the best bid twice in each base; the last one counts."""

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        answer = super().http(request, now_ns)
        if answer is None or not request.target.startswith(requests.DEPTH_PATH):
            return answer
        base = msgspec.json.decode(answer.body)
        price, _ = base["bids"][0]
        base["bids"].insert(0, [price, "0.5"])
        return json_response(200, base)


class LateBases(MexcDialect):
    """Gives each base late, as it was when it was asked for."""

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        answer = super().http(request, now_ns)
        if answer is None or not request.target.startswith(requests.DEPTH_PATH):
            return answer
        return replace(answer, delay_s=LATE_S)


class Halting(MexcDialect):
    """Lists every instrument as one that does not trade, a minute after the start."""

    def __init__(self, floor: Any) -> None:
        super().__init__(floor)
        self._from_ns = 0

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        answer = super().http(request, now_ns)
        self._from_ns = self._from_ns or now_ns + 60_000_000_000
        if (
            answer is None
            or now_ns < self._from_ns
            or request.target != requests.EXCHANGE_INFO_PATH
        ):
            return answer
        listed = msgspec.json.decode(answer.body)
        for row in listed["symbols"]:
            row |= {"status": "2", "isSpotTradingAllowed": False}
        return json_response(200, listed)


def test_live_never_without_an_answer_to_the_subscription(make: Make) -> None:
    deployment = make(dialect=Unanswering)
    assert not deployment.run(30.0, lambda: deployment.is_live(0))


def test_live_never_for_a_channel_that_was_left_out(make: Make) -> None:
    deployment = make(dialect=LeavesOut)
    assert deployment.run(10.0, lambda: deployment.is_live(1))
    assert not deployment.run(20.0, lambda: deployment.is_live(0))


def test_live_again_once_a_refused_subscription_is_accepted(make: Make) -> None:
    deployment = make()
    deployment.order("refuse:BTCUSDT")
    assert deployment.run(5.0, lambda: deployment.is_live(1))
    deployment.run(20.0)
    deployment.order("accept:BTCUSDT")
    assert deployment.run(40.0, deployment.are_live)
    said = [line for line in deployment.story if "@BTCUSDT" in line]
    assert ["refused" in line for line in said] == [True, False]
    assert "accepted now" in said[1]


def test_live_again_once_a_channel_that_was_left_out_is_accepted(make: Make) -> None:
    deployment = make(dialect=LeavesOutAtFirst)
    assert deployment.run(10.0, lambda: deployment.is_live(1))
    assert deployment.run(60.0, deployment.are_live)
    assert any("not acknowledged within 10 s" in line for line in deployment.story)
    assert any("BTCUSDT STALE reason 6" in line for line in deployment.story)


def test_live_from_a_base_that_names_a_price_twice(make: Make) -> None:
    deployment = make(dialect=DoubledPrice)
    assert deployment.run(5.0, deployment.are_live)
    deployment.run(1.0)
    assert deployment.counters.doubled >= 2
    told = [line for line in deployment.story if "names a price twice" in line]
    assert len(told) == 1, "said once"


def test_live_from_a_base_that_comes_late(make: Make) -> None:
    """And those of other instruments do not wait for it."""
    deployment = make(dialect=LateBases, symbols=SYMBOLS, keep_s=30.0)
    assert deployment.run(LATE_S + 2.0, deployment.are_live)
    deployment.run(1.0)
    assert deployment.counters.bases_applied == len(SYMBOLS)


def test_live_never_from_a_base_later_than_is_kept_and_the_key_to_raise_is_named(
    make: Make,
) -> None:
    deployment = make(dialect=LateBases, keep_s=LATE_S - 1.0)
    assert not deployment.run(30.0, lambda: deployment.is_live(0))
    (line, *_) = [line for line in deployment.story if "timed out" in line]
    assert "its messages are kept for 13 s: raise health.keep_s" in line


def test_live_ends_when_the_numbering_begins_anew(make: Make) -> None:
    deployment = make()
    assert deployment.run(5.0, deployment.are_live)
    deployment.order("renumber:BTCUSDT")
    deployment.run(RECOVERY_S)
    assert deployment.are_live()


def test_upgrade_that_is_refused_for_a_while_is_not_asked_for_before_that(make: Make) -> None:
    deployment = make(symbols=tuple(f"SYM{number:04}USDT" for number in range(1, 41)))
    assert deployment.run(RECOVERY_S, deployment.are_live)
    connects = deployment.feed_handler.hot.loop.counters.connects
    deployment.order("upgrade-limit:60")
    deployment.order("disconnect")
    deployment.run(1.0)
    assert not deployment.run(58.0, lambda: any(seen.state == LIVE for seen in deployment.seen))
    assert deployment.feed_handler.hot.loop.counters.connects == connects
    # Both were on their way before the first answer; who asks once more lengthens a ban.
    assert 1 <= sum("answered 429" in line for line in deployment.story) <= 2
    assert any("as it asks, at 20" in line for line in deployment.story)
    assert deployment.run(20.0, deployment.are_live)


def test_connections_are_replaced_one_by_one_before_they_are_too_old(make: Make) -> None:
    deployment = make(symbols=tuple(f"SYM{number:04}USDT" for number in range(1, 32)), rate=31.0)
    connections = deployment.feed_handler.connections
    limit_s = deployment.feed_handler.venues[0].config.venue.limits.connection_age_max_s
    assert [slot.endpoint.age_max_s for slot in connections.slots] == [limit_s] * 2
    connections.reconnect = Reconnect(max_s=RECONNECT_MAX_S, stable_after_s=5.0)
    for slot in connections.slots:
        slot.endpoint = replace(slot.endpoint, age_max_s=100.0)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    opened_ns = dict.fromkeys(range(2), deployment.now_ns)
    ages, planned = [], 0
    while planned < 3:
        assert deployment.run(120.0, lambda: not all(slot.open for slot in connections.slots))
        down = [number for number, slot in enumerate(connections.slots) if not slot.open]
        assert len(down) == 1, "no two at once"
        ages.append((deployment.now_ns - opened_ns[down[0]]) / 1e9)
        assert deployment.run(RECOVERY_S, deployment.are_live)
        opened_ns[down[0]] = deployment.now_ns
        planned += 1
    assert min(ages) > 70.0
    assert max(ages) < 100.0
    assert sum("planned reconnect" in line for line in deployment.story) == planned


def test_live_never_beyond_what_the_base_showed(make: Make) -> None:
    deployment = make(settings=MexcSettings(depth=20))
    deployment.run(60.0)


def test_live_ends_when_the_list_says_halted(make: Make) -> None:
    deployment = make(dialect=Halting, rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    deployment.run(LIST_EVERY_S + 60.0)
    assert [seen.reason for seen in deployment.seen] == [lib.TP_SYNC_REASON_HALTED] * 2
    deployment.run(60.0)
    assert not deployment.is_live(0)


def test_live_again_once_a_halted_instrument_is_open(make: Make) -> None:
    deployment = make(rate=10.0)
    assert deployment.run(5.0, deployment.are_live)
    deployment.order("halt:BTCUSDT")
    assert deployment.run(1.2 * LIST_EVERY_S, lambda: deployment.seen[0].state == STALE)
    assert deployment.is_live(1)
    rows = read_instruments(cast("Segment", deployment.feed_handler.segment))
    assert [row.status for row in rows] == [Status.HALTED, Status.TRADING]
    assert [deployment.seen[0].reason] == [lib.TP_SYNC_REASON_HALTED]
    deployment.order("disconnect")
    deployment.run(5.0)
    assert (deployment.is_live(0), deployment.is_live(1)) == (False, True)
    deployment.order("reopen:BTCUSDT")
    assert deployment.run(1.2 * LIST_EVERY_S, deployment.are_live)
    said = [line.partition(" instrument list: ")[2] for line in deployment.story]
    assert [line for line in said if line] == ["now BTCUSDT halted", "now BTCUSDT trading"]


def test_live_although_one_symbol_is_not_listed(make: Make) -> None:
    deployment = make(symbols=("NOSUCHUSDT", "BTCUSDT"), listed=("BTCUSDT",))
    assert deployment.run(10.0, lambda: deployment.is_live(0))
    named = [line for line in deployment.story if "NOSUCHUSDT" in line]
    assert len(named) == 1
    assert "left out, the other one runs: correct it or remove it" in named[0]
    counters = deployment.feed_handler.segment.counters()
    assert (counters["symbols.subscribed"], counters["symbols.left_out"]) == (1, 1)


def test_live_reader_knows_a_hot_loop_that_stands(make: Make) -> None:
    """The heart of the writer beats in the deployment's time, for readers too."""
    deployment = make()
    assert deployment.run(5.0, deployment.are_live)
    assert deployment.feed_handler.segment.heartbeat_age_ns() < 50_000_000
    deployment.feed_handler.segment.header.clock.ns_base += 3_000_000_000
    assert deployment.feed_handler.segment.heartbeat_age_ns() > 2_900_000_000
    assert lib.tp_feed_state(deployment.feed_handler.feed, 0) == 1


# ---- symbols that come and go --------------------------------------------------------------------


def configure(deployment: Deployment, symbols: tuple[str, ...], **fields: Any) -> None:
    """Edit the configuration's symbols, and have it read anew."""
    config = deployment.feed_handler.config
    venue = msgspec.structs.replace(config.venues[0], symbols=symbols)
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=(venue,), **fields))


def test_reload_brings_an_instrument_beside_live_ones(make: Make) -> None:
    deployment = make(symbols=("BTCUSDT", "ETHUSDT"), listed=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    deployment.run(0.2)  # what the cold thread has to say of it
    connects = deployment.feed_handler.hot.loop.counters.connects
    configure(deployment, SYMBOLS)
    states = len(deployment.story)
    assert deployment.run(5.0, lambda: deployment.is_live_by_name("SOLUSDT"))
    said = "\n".join(deployment.story[states:])
    assert "reload: added SOLUSDT" in said
    assert "BTCUSDT" not in said
    assert "ETHUSDT" not in said
    assert deployment.feed_handler.hot.loop.counters.connects == connects
    check_counters(deployment, set())


def test_reload_takes_an_instrument_away_and_gives_it_back_its_place(make: Make) -> None:
    deployment = make(symbols=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    configure(deployment, ("BTCUSDT", "SOLUSDT"))
    deployment.run(1.0)
    assert (deployment.seen[1].state, deployment.seen[1].reason) == (2, 15)
    assert deployment.is_live(0)
    assert deployment.is_live(2)
    deployment.run(5.0)
    assert deployment.seen[1].state == STALE
    configure(deployment, SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    assert [row.symbol for row in deployment.feed_handler.instruments] == list(SYMBOLS)
    check_counters(deployment, set())


def test_reload_opens_a_connection_and_closes_the_empty_one(make: Make) -> None:
    symbols = tuple(f"SYM{number:04}USDT" for number in range(1, 41))
    deployment = make(symbols=symbols[:30], listed=symbols, rate=200.0, depth=25)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    configure(deployment, symbols)
    assert deployment.run(RECOVERY_S, lambda: len(deployment.seen) == 40 and deployment.are_live())
    slots = deployment.feed_handler.connections.slots
    assert [slot.open for slot in slots] == [True, True]
    configure(deployment, symbols[:30])
    deployment.run(3.0)
    assert [slot.open for slot in slots] == [True, False]
    assert all(deployment.is_live(slot) for slot in range(30))
    configure(deployment, symbols[:35])
    assert deployment.run(RECOVERY_S, lambda: all(map(deployment.is_live, range(35))))
    assert [slot.open for slot in slots] == [True, True]
    assert len(slots) == 2


def test_reload_refuses_all_but_symbols_by_name(make: Make) -> None:
    deployment = make(listed=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    health = deployment.feed_handler.config.health
    configure(deployment, SYMBOLS, health=msgspec.structs.replace(health, silent_after_ms=1234))
    assert deployment.run(5.0, lambda: deployment.is_live_by_name("SOLUSDT"))
    (line,) = [one for one in deployment.story if "silent_after_ms" in one]
    assert (
        "reload: health.silent_after_ms is 1234, runs with 2000: only symbols change while it "
        "runs: restart it for this" in line
    )
    assert deployment.feed_handler.config.health == health


def test_reload_of_another_venue_changes_nothing(make: Make) -> None:
    deployment = make(listed=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    of = deployment.feed_handler
    other = msgspec.structs.replace(of.config.venues[0], host="other.test", symbols=("AAAUSDT",))
    of.take_config(msgspec.structs.replace(of.config, venues=(other,)))
    deployment.run(3.0)
    assert deployment.are_live()
    assert "of other venues: nothing was changed" in "\n".join(deployment.story)


def test_reload_names_what_has_no_place_and_takes_the_rest(make: Make) -> None:
    symbols = tuple(f"SYM{number:04}USDT" for number in range(1, 21))
    deployment = make(symbols=symbols[:1], listed=symbols)
    assert deployment.run(5.0, deployment.are_live)
    configure(deployment, symbols)
    assert deployment.run(RECOVERY_S, lambda: len(deployment.seen) == 17 and deployment.are_live())
    left = [line for line in deployment.story if "no place is left of 17" in line]
    assert len(left) == 3
    assert "raise shm.instrument_spare and restart it" in left[0]


class Hiding(MexcDialect):
    """Does not list what it trades, for a while."""

    hidden: ClassVar[set[str]] = set()

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        answer = super().http(request, now_ns)
        if answer is None or not request.target.startswith(requests.EXCHANGE_INFO_PATH):
            return answer
        listed = msgspec.json.decode(answer.body)
        rows = [row for row in listed["symbols"] if row["symbol"] not in self.hidden]
        return json_response(200, listed | {"symbols": rows})


def test_reload_finds_a_symbol_once_it_is_listed(make: Make) -> None:
    Hiding.hidden.add("SOLUSDT")
    deployment = make(symbols=SYMBOLS, dialect=Hiding, rate=5.0)
    assert deployment.run(5.0, lambda: deployment.is_live(0) and deployment.is_live(1))
    Hiding.hidden.clear()
    assert deployment.run(1.2 * LIST_EVERY_S, lambda: deployment.is_live_by_name("SOLUSDT"))
    assert sum("SOLUSDT" in line and "left out" in line for line in deployment.story) == 1


class Limiting(MexcDialect):
    """Answers the second question for the list with a pause."""

    asked: ClassVar[list[int]] = []

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        if request.target.startswith(requests.EXCHANGE_INFO_PATH):
            self.asked.append(now_ns)
            if len(self.asked) == 2:
                return HttpResponse(429, b"", {"Retry-After": "120"})
        return super().http(request, now_ns)


def test_reload_waits_for_the_list_as_long_as_the_venue_says(make: Make) -> None:
    Limiting.asked.clear()
    deployment = make(
        symbols=SYMBOLS[:2], listed=SYMBOLS, list_every_s=3600.0, dialect=Limiting, rate=5.0
    )
    assert deployment.run(5.0, deployment.are_live)
    configure(deployment, SYMBOLS)
    assert deployment.run(160.0, lambda: deployment.is_live_by_name("SOLUSDT"))  # two jitters
    assert len(Limiting.asked) == 3
    assert Limiting.asked[2] - Limiting.asked[1] >= 120 * 10**9


def test_reload_of_nothing_listed_changes_nothing(make: Make) -> None:
    deployment = make()
    assert deployment.run(5.0, deployment.are_live)
    configure(deployment, ("NOSUCHUSDT",))
    deployment.run(5.0)
    assert deployment.are_live()
    assert any("no symbol of the configuration is listed" in line for line in deployment.story)
