"""The configured symbols in the venue's list: which rows are chosen, and which take themselves out.

What comes over a wire is in test_bases.py.
"""

from __future__ import annotations

import msgspec
import pytest
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.instrument_list import choose, fetch_list
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import HttpRequest, InstrumentList
from tickpath.shm.errors import RemoteError


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


def test_choose_takes_the_row_that_is_read_of_an_instrument_that_is_listed_twice() -> None:
    """The log says that the first row counts: it was left out with the second."""
    row = Instrument(0, "mexc", "BTCUSDT", -2, -6)
    listed = InstrumentList({"BTCUSDT": row}, {"BTCUSDT": "listed twice; the first row counts"})
    chosen = choose(VenueConfig(symbols=("BTCUSDT",)), listed)
    assert (chosen.rows, chosen.left_out) == ([row], {})


def test_list_whose_page_asks_for_itself_is_none_after_two_requests() -> None:
    """A venue that gives one cursor for ever was asked for 100 pages, as fast as it answered."""
    asked: list[str] = []
    page = {"category": "linear", "list": [], "nextPageCursor": "again"}

    class Rest:
        def ask(self, request: HttpRequest, *, size_max: int, timeout_s: float = 5.0) -> bytes:
            asked.append(f"{request.target} {size_max} {timeout_s}")
            return msgspec.json.encode({"retCode": 0, "result": page})

        def close(self) -> None:
            raise AssertionError("whoever opened it closes it")

    venue = VenueConfig(name="bybit_linear", symbols=("BTCUSDT",))
    with pytest.raises(RemoteError, match="cursor=again: this page asks for itself again"):
        fetch_list(venue, Rest())
    assert len(asked) == 2
