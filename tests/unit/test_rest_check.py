"""Quiet books of a venue that pushes its bases, compared with a book by REST."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.bases import BaseWorker
from tickpath.engine.feed_handler.feed_books import FeedBooks
from tickpath.engine.feed_handler.rest_check import RestChecks
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import ScaleError
from tickpath.proto.venue import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.venue import Base

CONFIG = VenueConfig(symbols=("BTC",), name="hyperliquid")
BTC = Instrument(0, "hyperliquid", "BTC", -1, -5)


def book(price: str = "84143.0") -> bytes:
    levels = [[{"px": price, "sz": "1.5", "n": 1}], []]
    return json.dumps({"coin": "BTC", "time": 1, "levels": levels}).encode()


class Books:
    """Stands in for a feed whose one book is quiet."""

    def __init__(self) -> None:
        self.asks: list[int] = []
        self.compared: list[Base] = []
        self.failures = 0

    def wanted(self) -> Sequence[int]:
        return ()

    def quiet(self) -> Sequence[int]:
        found, self.asks = self.asks, []
        return found

    def unheard(self) -> Sequence[int]:
        return ()

    def offer(self, instrument: int, base: Base) -> bool:
        raise AssertionError(f"{instrument}: {base} is to be compared, not to be put in its place")

    def compare(self, instrument: int, base: Base) -> bool:
        assert instrument == 0
        self.compared.append(base)
        return True

    def failed(self, instrument: int) -> None:
        assert instrument == 0
        self.failures += 1


def make_worker(books: Books, answer: bytes) -> tuple[BaseWorker, list[Any]]:
    asked: list[Any] = []
    worker = BaseWorker(books, CONFIG, [BTC], lambda _: None)
    worker.aside = RestChecks(CONFIG)

    def fetch(request: Any) -> bytes:
        asked.append((request.target, json.loads(request.body)))
        return answer

    worker.fetch = fetch
    return worker, asked


def test_quiet_book_is_asked_for_by_rest_and_compared_at_its_scale() -> None:
    books = Books()
    worker, asked = make_worker(books, book())
    books.asks = [0]
    worker.step()
    assert asked == [("/info", {"type": "l2Book", "coin": "BTC"})]
    (base,) = books.compared
    assert (base.bids[0].price, base.scale) == (841430, (-1, -5))


def test_answer_of_another_scale_is_told_and_asked_for_again() -> None:
    books = Books()
    worker, _ = make_worker(books, book("84143.05"))
    misfits: list[Any] = []
    worker.on_misfit = lambda instrument, misfit: misfits.append((instrument, misfit.text))
    books.asks = [0]
    worker.step()
    assert misfits == [(0, "84143.05")]
    assert (books.compared, books.failures) == ([], 1)
    with pytest.raises(ScaleError):
        RestChecks(CONFIG).read(RestChecks(CONFIG).request(BTC), book("84143.05"))


def test_answer_that_is_none_is_asked_for_again() -> None:
    books = Books()
    worker, _ = make_worker(books, b"null")
    books.asks = [0]
    worker.step()
    assert (books.compared, books.failures) == ([], 1)


def test_books_of_both_ends_are_told_how_deep_an_answer_is() -> None:
    books = FeedBooks.of_venue(ffi.NULL, 0, CONFIG)
    assert (books._base_depth, books._check_depth) == (0, 20)


def test_check_has_the_headers_that_the_venue_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = HttpRequest("/book", headers=(("X-Own", "1"),))
    monkeypatch.setattr(type(CONFIG.venue), "check_request", lambda *_: asked)
    request = RestChecks(CONFIG).request(BTC)
    assert (request.target, request.body, request.headers) == ("/book", b"", (("X-Own", "1"),))
