"""A whole deployment in virtual time whose venue moves the scale of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.sim.venues.mexc import MexcDialect
from tickpath.proto.venues.mexc import requests

from tests.sim.deployment import RECOVERY_S
from tests.sim.test_deployment import SYMBOLS, make

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.sim.dialect import HttpRequest, HttpResponse

    from tests.sim.deployment import Deployment

    Make = Callable[..., Deployment]

__all__ = ["make"]  # a fixture


class OldList(MexcDialect):
    """Lists the digits of the start, whatever it sends later."""

    def __init__(self, floor: Any) -> None:
        super().__init__(floor)
        self._list: HttpResponse | None = None

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        if request.target != requests.EXCHANGE_INFO_PATH:
            return super().http(request, now_ns)
        self._list = self._list or super().http(request, now_ns)
        return self._list


def make_finer(deployment: Deployment, symbol: str) -> None:
    """Let prices have one digit more from now on."""
    book = deployment.exchange._floor.listings[symbol].book
    book.set_scale(book.instrument.price_exponent - 1, book.instrument.quantity_exponent)


def count_lists(deployment: Deployment) -> Callable[[], int]:
    """Count how often the list is asked for from now on."""
    asked: list[int] = []
    deployment.feed_handler.venues[0].list_reader.spend = lambda: asked.append(1)
    return lambda: len(asked)


def test_live_again_after_the_scale_moved(make: Make) -> None:
    deployment = make()
    assert deployment.run(5.0, deployment.are_live)
    make_finer(deployment, "BTCUSDT")
    deployment.run(2.0)
    assert deployment.run(120.0, deployment.are_live)
    assert deployment.counters.too_fine == deployment.counters.rescaled == 1
    assert any("as its list says" in line for line in deployment.story)


@pytest.mark.parametrize("seed", range(4))
def test_live_again_however_scales_move(make: Make, seed: int) -> None:
    """Digits come and go and quantities outgrow 64 bits: each time the books come back."""
    deployment = make(seed=seed, symbols=SYMBOLS, depth=25)
    assert deployment.run(5.0, deployment.are_live)
    for number in range(15):
        deployment.order(f"scale:{SYMBOLS[number % 3]}")
        deployment.run(1.0)
        assert deployment.run(RECOVERY_S, deployment.are_live)
    assert deployment.counters.rescaled > 1
    assert deployment.counters.broken == 0


def test_live_of_others_while_a_scale_moves(make: Make) -> None:
    deployment = make(symbols=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    make_finer(deployment, "ETHUSDT")
    deployment.run(20.0, lambda: not (deployment.is_live(0) and deployment.is_live(2)))
    assert all(deployment.is_live(slot) for slot in (0, 1, 2))
    assert deployment.counters.rescaled == 1


def test_live_again_by_the_wire_where_the_list_says_nothing_new(make: Make) -> None:
    deployment = make(dialect=OldList)
    assert deployment.run(5.0, deployment.are_live)
    make_finer(deployment, "BTCUSDT")
    deployment.run(2.0)
    assert deployment.run(30.0, deployment.are_live)
    said = [line for line in deployment.story if "scale moved to 3 digits of prices" in line]
    assert len(said) == 1
    assert "as the wire needs" in said[0]
    deployment.run(60.0)
    assert deployment.are_live()
    assert deployment.counters.rescaled == 1, "a scale that holds all does not move again"


def test_list_is_read_once_for_all_that_wait(make: Make) -> None:
    deployment = make(symbols=SYMBOLS)
    assert deployment.run(5.0, deployment.are_live)
    asked = count_lists(deployment)
    for symbol in SYMBOLS:
        make_finer(deployment, symbol)
    deployment.run(2.0)
    assert deployment.run(30.0, deployment.are_live)
    assert deployment.counters.rescaled == len(SYMBOLS)
    assert asked() <= 2
