"""The contract canary: what it calls unexpected, how often it says so, and what it shows."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import lib
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.feed_handler.canary import (
    COUNTERS,
    SAID_EVERY_S,
    Canaries,
    Canary,
    Router,
    read_contracts,
)
from tickpath.engine.feed_handler.hot_path import Note
from tickpath.engine.feed_handler.message_shape import learn, no_schema, shape_of
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.proto.venue import Meaning
from tickpath.proto.venues import load_venue
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper

from tests.venues.outside import samples_path

if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT"
OTHER = "spot@public.aggre.depth.v3.api.pb@100ms@ETHUSDT"
SEED = 20261130


def push(change: Callable[[PushDataV3ApiWrapper], object] = lambda _: None) -> bytes:
    """Write a depth of the venue's, changed as asked."""
    wrapper = PushDataV3ApiWrapper(channel=DEPTH, symbol="BTCUSDT", sendTime=1734604800123)
    body = wrapper.publicAggreDepths
    body.asks.add(price="92878.01", quantity="0.75")
    body.eventType, body.fromVersion, body.toVersion = "x", "12", "15"
    change(wrapper)
    data: bytes = wrapper.SerializeToString()
    return data


class Watch:
    """A canary of MEXC's, and what it said."""

    def __init__(self, venue: str = "mexc") -> None:
        self.lines: list[str] = []
        self.canary = Canary(venue, [DEPTH], 1, self.lines.append)

    def take(self, data: bytes, now_s: float = 0.0, *, refused: bool = False) -> str:
        """Return what it says of one message, and no more."""
        before = len(self.lines)
        self.canary.take(data, 0, now_s, refused=refused)
        return "\n".join(self.lines[before:])


def test_counters_are_named() -> None:
    watch = Watch()
    watch.take(push())
    assert watch.canary.counters() == dict(zip(COUNTERS, (1, 0), strict=True))


@pytest.mark.parametrize("venue", ["mexc", "toy", "binance_sbe"])
def test_every_sample_is_as_expected(venue: str) -> None:
    """What a venue's samples show must not be news."""
    lines = samples_path(venue).read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    unpack = no_schema if venue == "toy" else load_venue(venue).unpacked
    contracts = read_contracts(samples_path(venue), unpack)
    seen = 0
    for sample in samples:
        kind = Meaning[sample["meaning"]]
        if kind is Meaning.BROKEN or sample.get("odd"):
            continue
        data = sample.get("text", "").encode() or base64.b64decode(sample["base64"])
        shape = shape_of(data, unpack)
        assert shape is not None
        assert contracts[kind].differences(shape) == [], sample
        seen += 1
    assert seen > 8


def test_message_as_before_is_no_news() -> None:
    watch = Watch()
    for _ in range(3):
        assert watch.take(push()) == ""
    assert watch.take(b'{"id":0,"code":0,"msg":"PONG"}') == ""
    assert watch.canary.unexpected == 0


def test_new_field_is_named_with_its_kind_and_a_sample() -> None:
    watch = Watch()
    data = push() + bytes([0x3A, 2]) + b"hi"  # field 7, text
    line = watch.take(data)
    assert line == (
        f"mexc: unexpected delta message: new field 7 (text): base64 "
        f"{base64.b64encode(data).decode()}"
    )


def test_field_of_another_kind_is_named() -> None:
    watch = Watch()
    assert "msg is a number, expected text" in watch.take(b'{"id":0,"code":0,"msg":5}')


def test_missing_field_is_named() -> None:
    watch = Watch()
    line = watch.take(push(lambda one: one.publicAggreDepths.ClearField("toVersion")))
    assert "unexpected delta message: no field 313.6" in line or "no field 313.5" in line


def test_message_of_a_channel_asked_for_before_is_no_news() -> None:
    watch = Watch()
    assert watch.take(push(lambda one: setattr(one, "channel", OTHER))) == ""


def test_message_of_an_unknown_kind_is_news() -> None:
    watch = Watch()
    wrapper = PushDataV3ApiWrapper(channel="spot@public.kline@BTCUSDT")
    wrapper.publicSpotKline.interval = "Min15"
    assert "unexpected message: of a kind that no sample shows" in watch.take(
        wrapper.SerializeToString()
    )


def test_refused_message_whose_fields_are_known_is_said_to_be_refused() -> None:
    watch = Watch()

    def change(one: PushDataV3ApiWrapper) -> None:
        one.publicAggreDepths.asks[0].price = "abc"

    assert "the decoder refuses it, its fields are as expected" in watch.take(
        push(change), refused=True
    )


def test_rubbish_is_not_what_the_venue_sends_and_drives_no_terminal() -> None:
    watch = Watch()
    line = watch.take(b'{"a":"\x1b[2J')
    assert "unexpected broken message: not what the venue sends" in line
    assert "\x1b" not in line
    assert len(watch.take(b"\xff" * 4000, 1000.0)) < 400


def test_message_that_was_cut_is_judged_only_where_it_was_refused() -> None:
    watch = Watch()
    watch.canary.take(push()[:40], 0, 0.0, size=9000)
    assert watch.lines == []
    watch.canary.take(push()[:40], 0, 0.0, size=9000, refused=True)
    assert "the decoder refuses it, too long to be looked into" in watch.lines[0]
    assert watch.lines[0].endswith("... (9,000 bytes)")


def test_flood_of_news_is_one_line_in_a_while_with_its_count() -> None:
    watch = Watch()
    data = push() + bytes([0x38, 1])
    assert watch.take(data, 0.0)
    for number in range(1000):
        assert watch.take(data, number / 1000) == ""
    assert "; 1,000 more since the last such line" in watch.take(data, SAID_EVERY_S)
    assert watch.take(data, 2 * SAID_EVERY_S) == ""  # the same news: twice as long
    assert "; 1 more" in watch.take(data, 3 * SAID_EVERY_S)
    assert watch.canary.unexpected == 1004


def test_another_kind_has_a_line_of_its_own() -> None:
    watch = Watch()
    assert watch.take(push() + bytes([0x38, 1]))
    assert watch.take(b'{"id":0,"code":0,"msg":5}')


def test_venue_without_samples_only_says_what_was_refused(tmp_path: object) -> None:
    watch = Watch()
    watch.canary.__dict__["_contracts"] = {}
    assert watch.take(b'{"a":[],"b":{}}') == ""
    assert "refuses" in watch.take(push(), refused=True)


def test_router_of_our_own_knows_the_plans_channels() -> None:
    router = Router("mexc", [DEPTH], 1)
    assert router.meaning(push(), 0) is Meaning.DELTA
    assert router.meaning(push(lambda one: setattr(one, "channel", OTHER)), 0) is Meaning.UNKNOWN
    assert router.meaning(b"", 0) is Meaning.UNKNOWN
    assert router.meaning(push(), 7) is Meaning.UNKNOWN


def test_plan_that_changed_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    watch.take(push())
    watch.canary.subscribe([OTHER], 1)
    wrapper = push(lambda one: setattr(one, "channel", OTHER)) + bytes([0x38, 1])
    assert "unexpected delta message: new field 7" in watch.take(wrapper)


def test_note_of_a_connection_that_is_not_ours_is_left_alone() -> None:
    canaries = Canaries(lambda _: None)
    plan = make_plan(VenueConfig(symbols=("BTCUSDT",), name="mexc"), ["BTCUSDT"])
    canaries.add(plan, range(2, 3))
    for connection in (0, 2, 3):
        canaries.take(Note(lib.TP_NOTE_SAMPLE, connection, push()), 0.0)
    assert canaries.counters() == {"looked_at": 1, "unexpected": 0}


# ---- shapes --------------------------------------------------------------------------------------


def test_list_that_no_sample_fills_is_not_judged() -> None:
    contract = learn([b'{"a":[],"b":1}'])
    assert contract is not None
    shape = shape_of(b'{"a":[["1"]],"b":2.5}')
    assert shape is not None
    assert contract.differences(shape) == []


def test_key_with_a_dot_is_a_key_of_its_own() -> None:
    contract = learn([b'{"a":1}'])
    assert contract is not None
    shape = shape_of(b'{"a":1,"a.b":{"c":1}}')
    assert shape is not None
    assert contract.differences(shape) == ["new field a.b (an object)"]


@given(st.binary(max_size=200))
def test_any_bytes_have_a_shape_or_none(data: bytes) -> None:
    shape = shape_of(data)
    assert shape is None or () in shape


@given(st.integers(0, 2**32))
def test_broken_messages_are_looked_into_without_an_error(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(push())
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    watch = Watch()
    watch.canary.take(bytes(data), 0, 0.0, refused=rng.random() < 0.5)


def test_deeply_nested_json_is_refused_not_recursed() -> None:
    assert shape_of(b'{"a":' * 2000 + b"1" + b"}" * 2000) is None
