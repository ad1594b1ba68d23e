"""What a simulated venue does wrong with single messages and answers: each fault, no wire."""

from __future__ import annotations

import random

import msgspec
import pytest
from tickpath.engine.sim.connection import frame
from tickpath.engine.sim.dialect import HttpResponse, Message, json_response
from tickpath.engine.sim.faults import Fault, Order
from tickpath.engine.sim.message_faults import KEPT_MAX, MessageFaults
from tickpath.engine.sim.rest_faults import RestFaults
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.venue import BaseSource

from tests.venues.test_dialect import NOW_NS, Bench

CHANNEL = "book.BTC-USDT"


def message(number: int) -> Message:
    return Message(b'{"number":%03d}' % number, is_text=True)


def sent(faults: MessageFaults, *numbers: int, symbol: str = "BTC") -> list[bytes]:
    frames: list[bytes] = []
    for number in numbers:
        frames += [data for _, data in faults.spoil(symbol, [(CHANNEL, message(number))])]
    return frames


@pytest.fixture
def faults() -> MessageFaults:
    return MessageFaults(random.Random(1))


def test_gap_loses_the_next_message_alone(faults: MessageFaults) -> None:
    faults.harm_next("BTC", Fault.GAP)
    assert sent(faults, 1, symbol="ETH") == [frame(message(1))]
    assert sent(faults, 1, 2) == [frame(message(2))]


def test_swap_sends_a_message_behind_the_next_one(faults: MessageFaults) -> None:
    faults.harm_next("BTC", Fault.SWAP)
    assert sent(faults, 1, 2, 3) == [frame(message(number)) for number in (2, 1, 3)]


def test_cut_sends_half_of_a_message_in_a_whole_frame(faults: MessageFaults) -> None:
    faults.harm_next("BTC", Fault.CUT)
    half = Message(message(1).data[: len(message(1).data) // 2], is_text=True)
    assert sent(faults, 1, 2) == [frame(half), frame(message(2))]


def test_flip_changes_one_digit_to_another(faults: MessageFaults) -> None:
    faults.harm_next("BTC", Fault.FLIP)
    (changed,) = sent(faults, 123)
    pairs = zip(changed, frame(message(123)), strict=True)
    differ = [(one, other) for one, other in pairs if one != other]
    assert len(differ) == 1
    assert all(chr(byte).isdigit() for byte in differ[0])


def test_old_is_one_that_others_have_followed(faults: MessageFaults) -> None:
    assert faults.again(CHANNEL, Fault.OLD) == b""
    sent(faults, *range(20))
    assert faults.again(CHANNEL, Fault.OLD) == frame(message(20 - KEPT_MAX))
    assert faults.again(CHANNEL, Fault.DUPLICATE) == frame(message(19))


def test_answers_are_lost_late_or_cut_once(faults: MessageFaults) -> None:
    answers = [message(1), message(2)]
    for order in (
        Order(Fault.UNANSWERED),
        Order(Fault.ANSWER_LATE, "7"),
        Order(Fault.ANSWER_CUT),
    ):
        faults.harm_answer(order)
    assert faults.spoil_answers(answers) == ([], 0.0)
    assert faults.spoil_answers(answers) == (answers, 7.0)
    (first, last), _ = faults.spoil_answers(answers)
    assert first == answers[0]
    assert answers[1].data.startswith(last.data)
    assert len(last.data) < len(answers[1].data)
    assert faults.spoil_answers(answers) == (answers, 0.0)


BASE = json_response(200, {"id": 5, "bids": [["9", "1"], ["8", "2"]], "asks": [["10", "3"]]})
LIST = json_response(200, {"time": 5, "symbols": [{"symbol": "BTC", "digits": 2, "open": True}]})


def test_doubled_price_waits_for_a_base_and_the_last_one_is_true() -> None:
    faults = RestFaults()
    faults.do(Order(Fault.REST_DOUBLED), 0)
    assert faults.spoil("/list", LIST, 0) == LIST
    base = msgspec.json.decode(faults.spoil("/base", BASE, 0).body)
    assert base["bids"] == [["9", "2"], ["9", "1"], ["8", "2"]]
    assert faults.spoil("/base", BASE, 0) == BASE


def test_bad_rows_wait_for_a_list_and_come_beside_the_good_ones() -> None:
    faults = RestFaults()
    faults.do(Order(Fault.REST_ROWS), 0)
    assert faults.spoil("/base", BASE, 0) == BASE
    listed = msgspec.json.decode(faults.spoil("/list", LIST, 0).body)
    assert listed["symbols"][-1] == {"symbol": "BTC", "digits": 2, "open": True}
    assert len(listed["symbols"]) > 5


@pytest.mark.parametrize("name", dialect_names())
def test_every_venue_lists_the_rest_although_rows_are_bad(name: str) -> None:
    bench = Bench(name)
    request = bench.venue.instruments_request(bench.config.settings)
    answer = bench.ask(request)
    faults = RestFaults()
    faults.do(Order(Fault.REST_ROWS), NOW_NS)
    spoiled = faults.spoil(request.target, HttpResponse(200, answer), NOW_NS)
    assert spoiled.body != answer
    listed = bench.venue.parse_instruments(spoiled.body)
    assert set(bench.floor.listings) <= set(listed.instruments)
    assert listed.left_out


BY_REST = [
    name for name in dialect_names() if load_dialect(name).venue.base_source is BaseSource.REST
]


@pytest.mark.parametrize("name", BY_REST)
def test_every_base_by_rest_names_a_price_twice_where_asked(name: str) -> None:
    bench = Bench(name)
    symbol, *_ = bench.floor.listings
    request = bench.venue.base_request(symbol, bench.config.settings)
    answer = bench.ask(request)
    faults = RestFaults()
    faults.do(Order(Fault.REST_DOUBLED), NOW_NS)
    assert len(faults.spoil(request.target, HttpResponse(200, answer), NOW_NS).body) > len(answer)


@pytest.mark.parametrize("name", dialect_names())
def test_no_venue_lists_what_it_delisted(name: str) -> None:
    bench = Bench(name)
    gone, *rest = bench.floor.listings
    bench.floor.delisted.add(gone)
    request = bench.venue.instruments_request(bench.config.settings)
    assert list(bench.venue.parse_instruments(bench.ask(request)).instruments) == rest
    assert load_dialect(name).venue.name == name
