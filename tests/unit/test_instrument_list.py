"""The configured symbols in the venue's list: which rows are chosen, and which take themselves out.

What comes over a wire is in test_bases.py.
"""

from __future__ import annotations

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.instrument_list import choose
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import InstrumentList


@pytest.mark.parametrize(
    "change", [{"tick_size": 0}, {"price_exponent": 1}, {"quantity_exponent": -19}]
)
def test_choose_row_that_no_book_can_be_made_of_takes_itself_out(change: dict[str, int]) -> None:
    rows = [Instrument(0, "mexc", "BTCUSDT", -2, -6), Instrument(1, "mexc", "ETHUSDT", -2, -6)]
    rows[0] = msgspec.structs.replace(rows[0], **change)
    venue = VenueConfig(symbols=("BTCUSDT", "ETHUSDT"))
    chosen = choose(venue, InstrumentList({row.symbol: row for row in rows}, {}))
    assert [(row.index, row.symbol) for row in chosen.rows] == [(0, "ETHUSDT")]
    assert "'BTCUSDT': no book can be made of its channel" in chosen.left_out["BTCUSDT"]
