"""Bases of another subscription where the venue packs its messages, over sockets."""

from __future__ import annotations

import asyncio

from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.aside import Aside
from tickpath.engine.loop.pauses import Pauses
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venues.htx.settings import HtxSettings
from tickpath.shm.clock import SYSTEM

LIMIT_S = 30.0


def test_base_of_another_subscription_is_inflated_and_read() -> None:
    async def main() -> None:
        one = Exchange(load_dialect("htx"), Options(instruments=("btcusdt",), rate=0.0, depth=50))
        await one.serve("127.0.0.1", 0, None)
        settings = HtxSettings(depth=20, refresh=True)
        config = VenueConfig(
            *(("btcusdt",), "htx", "127.0.0.1", one.port), tls=False, settings=settings
        )
        client = Aside(config, SYSTEM, Pauses(SYSTEM, None))
        book = one._floor.listings["btcusdt"].book
        try:
            for _ in range(2):
                request = client.request(book.instrument)
                data = await asyncio.to_thread(client.ask, request)
                assert data.startswith(b'{"ch":"market.btcusdt.mbp.refresh.20"')
                base = client.read(request, data)
                bids = [(level.price, level.quantity) for level in base.bids]
                assert bids == book.bids.levels(20)
                book.step(4)
        finally:
            client.close()
            await one.close()

    asyncio.run(asyncio.wait_for(main(), LIMIT_S))
