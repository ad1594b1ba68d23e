"""Symbols that commands add and remove, in a deployment in virtual time: what is answered is so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath.engine.feed_handler.changes import (
    STATE,
    Changes,
    Outcome,
    Request,
    ask,
    forget,
    read_answer,
)
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.instrument import Status

from tests.sim.deployment import Deployment, Setup
from tests.sim.test_deployment import SYMBOLS, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture
LISTED = (*SYMBOLS, "XRPUSDT")


class Commands:
    """The commands' side of a deployment's feed handler."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment, self.directory = deployment, directory
        self.config = deployment.feed_handler.config
        self.attach()

    def attach(self) -> Changes:
        changes = Changes(self.config, self.directory)
        changes.open()
        self.deployment.feed_handler.changes = changes
        return changes

    def do(self, *add: str, remove: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """Ask, let time pass until it is answered, and return name and outcome of each."""
        return [(one.name, one.what) for one in self.outcomes(*add, remove=remove)]

    def outcomes(self, *add: str, remove: tuple[str, ...] = ()) -> tuple[Outcome, ...]:
        place = self.deployment.feed_handler.changes.place  # type: ignore[union-attr] # attached
        _, answer = ask(place, Request(add, remove))
        assert self.deployment.run(60.0, answer.exists)
        reply = read_answer(answer)
        assert reply is not None
        return reply.outcomes

    @property
    def here(self) -> list[str]:
        (venue,) = self.deployment.feed_handler.venues
        return [one for one in venue.plan.symbols if one is not None]


Start = "Callable[..., Commands]"


@pytest.fixture
def start(make: Make, tmp_path: Path) -> Callable[..., Commands]:
    def one(*symbols: str, **fields: Any) -> Commands:
        words: dict[str, Any] = {"symbols": symbols, "listed": LISTED} | fields
        deployment = make(**words)
        assert deployment.run(5.0, deployment.are_live)
        return Commands(deployment, tmp_path / "run")

    return one


def test_subscribed_symbol_is_live_and_the_others_stay_so(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT")
    assert commands.do("mexc:ETHUSDT", "mexc:SOL/USDT") == [
        ("mexc:ETHUSDT", "subscribed"),
        ("mexc:SOL/USDT", "subscribed"),
    ]
    assert commands.here == list(SYMBOLS)
    assert commands.deployment.run(10.0, lambda: commands.deployment.is_live(0))
    rows = commands.deployment.feed_handler.instruments
    assert [row.symbol for row in rows] == list(SYMBOLS)


def test_unsubscribed_symbol_is_removed_and_comes_back(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT", "ETHUSDT")
    assert commands.do(remove=("mexc:ETH/USDT",)) == [("mexc:ETH/USDT", "unsubscribed")]
    assert commands.here == ["BTCUSDT"]
    assert commands.deployment.feed_handler.instruments[1].status is Status.REMOVED
    assert commands.do("mexc:ETHUSDT") == [("mexc:ETHUSDT", "subscribed")]
    assert commands.here == ["BTCUSDT", "ETHUSDT"]
    state = (commands.directory / "virtual-1.changes" / STATE).read_bytes()
    told = msgspec.json.decode(state)
    assert not any(told["added"].values())
    assert not any(told["removed"].values())


@pytest.mark.parametrize(
    ("names", "remove", "why"),
    [
        (("mexc:BTCUSD",), (), "did you mean BTCUSDT"),
        (("mexc:btcusdt",), (), "btcusdt"),
        (("mexx:BTCUSDT",), (), "does not read venue 'mexx': did you mean mexc"),
        (("okx:BTC-USDT",), (), "does not read venue 'okx': it reads mexc"),
        (("BTCUSDT",), (), "expected VENUE:SYMBOL, as in mexc:BTCUSDT"),
        (("mexc:",), (), "expected VENUE:SYMBOL"),
        ((), ("mexc:ETHUSD",), "did you mean mexc:ETHUSDT"),
        ((), ("mexc:XRPUSDT",), "symbol 'XRPUSDT' is not subscribed"),
    ],
)
def test_name_that_cannot_be_is_refused_by_name_and_forgotten(
    start: Callable[..., Commands], names: tuple[str, ...], remove: tuple[str, ...], why: str
) -> None:
    commands = start("BTCUSDT", "ETHUSDT")
    (outcome,) = commands.outcomes(*names, remove=remove)
    assert outcome.what == "refused"
    assert why in outcome.why
    assert "venue[0]" not in outcome.why  # of a file that says nothing of it
    assert commands.here == ["BTCUSDT", "ETHUSDT"]
    (venue,) = commands.deployment.feed_handler.venues
    assert not venue.left_out  # nor is it looked for in the lists to come
    assert commands.do("mexc:SOLUSDT") == [("mexc:SOLUSDT", "subscribed")]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SOLUSDT"])  # of the file; of a command
def test_what_was_done_before_is_unchanged(start: Callable[..., Commands], symbol: str) -> None:
    """A script may ask twice. The second time, a near name that was not meant was offered."""
    commands, name = start("BTCUSDT", "ETHUSDT"), f"mexc:{symbol}"
    commands.do("mexc:SOLUSDT")
    (again,) = commands.outcomes(name)
    assert (again.what, again.why) == ("unchanged", "subscribed already")
    assert commands.do(remove=(name,)) == [(name, "unsubscribed")]
    (again,) = commands.outcomes(remove=(name,))
    assert (again.what, again.why) == ("unchanged", "unsubscribed already")
    assert commands.do(name) == [(name, "subscribed")]


def test_one_bad_name_costs_the_others_nothing(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT")
    assert commands.do("mexc:NOPEUSDT", "mexc:ETHUSDT", "nope", "mexc:BTCUSDT") == [
        ("mexc:NOPEUSDT", "refused"),
        ("mexc:ETHUSDT", "subscribed"),
        ("nope", "refused"),
        ("mexc:BTCUSDT", "unchanged"),
    ]


def test_last_symbol_of_a_venue_stays(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT", "ETHUSDT")
    first, second = commands.outcomes(remove=("mexc:BTCUSDT", "mexc:ETHUSDT"))
    assert (first.what, second.what) == ("unsubscribed", "refused")
    assert "the last one of mexc: stop the instance" in second.why
    assert commands.here == ["ETHUSDT"]


def test_symbol_for_which_there_is_no_room_is_refused(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT")
    commands.deployment.feed_handler.shared.places = 2
    outcomes = commands.outcomes("mexc:ETHUSDT", "mexc:SOLUSDT")
    assert [one.what for one in outcomes] == ["subscribed", "refused"]
    assert "no place is left of 2: raise shm.instrument_spare" in outcomes[1].why


def test_changes_last_over_a_crash_and_a_reload_and_not_over_a_start(
    start: Callable[..., Commands],
) -> None:
    commands = start("BTCUSDT", "ETHUSDT")
    commands.do("mexc:SOLUSDT")
    commands.do(remove=("mexc:ETHUSDT",))
    after = Changes(commands.config, commands.directory)  # of the process that follows
    assert after.over(commands.config).venues[0].symbols == ("BTCUSDT", "SOLUSDT")
    handler = commands.deployment.feed_handler
    assert handler.changes is not None
    handler.take_config(handler.changes.over(commands.config))  # as a reload does
    commands.deployment.run(5.0)
    assert commands.here == ["BTCUSDT", "SOLUSDT"]
    forget(commands.config.instance, commands.directory)  # as `tickpath run` does
    fresh = Changes(commands.config, commands.directory)
    assert fresh.over(commands.config).venues[0].symbols == ("BTCUSDT", "ETHUSDT")


def test_only_configured_symbol_may_go_where_another_was_added(
    start: Callable[..., Commands],
) -> None:
    commands = start("BTCUSDT")
    assert commands.do("mexc:ETHUSDT") == [("mexc:ETHUSDT", "subscribed")]
    assert commands.do(remove=("mexc:BTCUSDT",)) == [("mexc:BTCUSDT", "unsubscribed")]
    assert commands.here == ["ETHUSDT"]


def test_configuration_of_which_nothing_would_be_left_is_read_as_it_is(
    start: Callable[..., Commands],
) -> None:
    commands = start("BTCUSDT", "ETHUSDT")
    commands.do(remove=("mexc:BTCUSDT",))
    (venue,) = commands.config.venues
    edited = msgspec.structs.replace(venue, symbols=("BTC/USDT",))
    config = msgspec.structs.replace(commands.config, venues=(edited,))
    handler = commands.deployment.feed_handler
    assert handler.changes is not None
    assert handler.changes.over(config) == config


def test_list_that_does_not_come_delays_the_answer_only(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT")
    commands.deployment.order("rest-limit:20")
    began_ns = commands.deployment.now_ns
    assert commands.do("mexc:ETHUSDT") == [("mexc:ETHUSDT", "subscribed")]
    assert commands.deployment.now_ns - began_ns > 10 * 10**9
    assert commands.deployment.is_live(0)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"add":[1]}', b"[" * 100_000])
def test_request_that_is_none_is_answered_as_such(
    start: Callable[..., Commands], data: bytes
) -> None:
    commands = start("BTCUSDT")
    handler = commands.deployment.feed_handler
    assert handler.changes is not None
    (handler.changes.place / "request-x").write_bytes(data)
    assert commands.deployment.run(5.0, (handler.changes.place / "answer-x").exists)
    reply = read_answer(handler.changes.place / "answer-x")
    assert reply is not None
    assert [one.what for one in reply.outcomes] == ["refused"]


def test_request_by_a_link_is_not_followed(start: Callable[..., Commands], tmp_path: Path) -> None:
    commands = start("BTCUSDT")
    handler = commands.deployment.feed_handler
    assert handler.changes is not None
    (tmp_path / "elsewhere").write_bytes(msgspec.json.encode(Request(("mexc:ETHUSDT",))))
    (handler.changes.place / "request-x").symlink_to(tmp_path / "elsewhere")
    commands.deployment.run(5.0)
    assert commands.here == ["BTCUSDT"]
    assert (tmp_path / "elsewhere").exists()


def test_state_that_is_broken_is_as_good_as_none(start: Callable[..., Commands]) -> None:
    commands = start("BTCUSDT")
    commands.do("mexc:ETHUSDT")
    (commands.directory / "virtual-1.changes" / STATE).write_bytes(b'{"added": 3}')
    after = Changes(commands.config, commands.directory)
    assert after.over(commands.config).venues[0].symbols == ("BTCUSDT",)


def test_changes_are_of_one_venue_of_several(make: Make, tmp_path: Path) -> None:
    other = Setup(seed=2, directory=tmp_path, dialect=load_dialect("binance"), symbols=SYMBOLS[:1])
    deployment = make(symbols=SYMBOLS[:1], listed=LISTED, beside=other)
    assert deployment.run(5.0, deployment.are_live)
    commands = Commands(deployment, tmp_path / "run")
    assert commands.do("mexc:ETHUSDT") == [("mexc:ETHUSDT", "subscribed")]
    counts = [len(one.indexes) for one in deployment.feed_handler.venues]
    assert counts == [2, 1]
