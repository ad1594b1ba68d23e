"""Bases of Gate by another subscription: they may come before their acknowledgement."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler import aside
from tickpath.engine.feed_handler.aside import Aside
from tickpath.engine.loop.pauses import Pauses
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.venues import load_dialect
from tickpath.shm.clock import SYSTEM

SYMBOLS = ("BTC_USDT", "ETH_USDT")
LIMIT_S = 30.0


class Ordered(Exchange):
    """Notes in which order its answers go out."""

    def __init__(self, *fields: Any) -> None:
        super().__init__(*fields)
        self.first: list[bool] = []  # of each subscription: whether its book came first

    def received(self, connection: Any, message: Any) -> None:
        said = len(self.first)
        if b'"event":"subscribe"' in message.data:
            number = int(message.data.partition(b'"id":')[2].partition(b",")[0])
            self.first[said:] = [number % 2 == 1]
        super().received(connection, message)


@pytest.mark.parametrize("venue", ["gate", "gate_usdt"])
def test_gate_base_is_believed_before_and_behind_its_acknowledgement(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "OPEN_PAUSE_FIRST_S", 0.0)

    async def main() -> None:
        one = Ordered(load_dialect(venue), Options(instruments=SYMBOLS, rate=200.0, depth=60))
        await one.serve("127.0.0.1", 0, None)
        fields: dict[str, Any] = {"symbols": SYMBOLS, "host": "127.0.0.1", "tls": False}
        config = VenueConfig(name=venue, port=one.port, **fields)
        client = Aside(config, SYSTEM, Pauses(SYSTEM, None))
        for turn in range(4):
            book = one._floor.listings[SYMBOLS[turn % 2]].book
            shown = {book.version: book.bids.levels(50)}

            def note(shown: dict[int, Any], of: Any) -> None:
                shown[of.version] = of.bids.levels(50)

            book.witness = partial(note, shown)
            request = client.request(book.instrument)
            data = await asyncio.to_thread(client.ask, request)
            base = client.read(request, data)
            assert [(level.price, level.quantity) for level in base.bids] == shown[base.version]
        assert set(one.first) == {True, False}
        client.close()
        await one.close()

    asyncio.run(asyncio.wait_for(main(), LIMIT_S))
