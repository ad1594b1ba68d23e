"""What the engine relies on, asked of every registered venue: its object, its names, its limits."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.engine.config.check import load_config
from tickpath.proto.instrument import Instrument, parse_symbol
from tickpath.proto.venue import (
    Base,
    BaseSource,
    HttpResponse,
    Limits,
    Meaning,
    Verification,
    pack_messages,
)
from tickpath.proto.venue import parse_retry_after as retry_after
from tickpath.proto.venues import DEFAULT_NAME, load_venue, venue_names
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.budget import c_rate

from tests.venues.outside import OUTSIDE, ROOT, samples_path

if TYPE_CHECKING:
    from pathlib import Path

    from tickpath.proto.venue import Venue

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TIME_S = 1_795_000_000
ROW = Instrument(index=0, venue="any", symbol="ANY", price_exponent=-2, quantity_exponent=-3)


@pytest.fixture(params=venue_names())
def venue(request: pytest.FixtureRequest) -> Venue:
    return load_venue(request.param)


def test_registry_finds_folders_and_imports_only_the_asked(venue: Venue) -> None:
    code = (
        "import sys; from tickpath.proto.venues import load_venue, venue_names; venue_names();"
        "loaded = [m for m in sys.modules if m.startswith('tickpath.proto.venues.')"
        " and m.endswith('.venue')];"
        f"assert not loaded, loaded; load_venue({venue.name!r});"
        "print(*[m for m in sys.modules if m.endswith('.venue') and '.venues.' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [f"tickpath.proto.venues.{venue.name}.venue"], done.stderr


def test_registry_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=rf"'nope': expected one of .*{DEFAULT_NAME}"):
        load_venue("nope")
    with pytest.raises(ValueError, match=f"did you mean {DEFAULT_NAME}"):
        load_venue(DEFAULT_NAME.upper())


def test_venue_object_is_frozen(venue: Venue) -> None:
    with pytest.raises((AttributeError, TypeError)):
        venue.name = "x"  # type: ignore[misc] # that is the point


def test_venue_defaults_are_within_its_own_limits(venue: Venue) -> None:
    settings = venue.settings()
    settings.check()
    symbol = venue.example_symbol
    venue.check_symbol(symbol)
    channels = venue.channels(symbol, settings)
    assert len(set(channels)) == len(channels) > 0
    assert venue.endpoint(channels[0], settings).path.startswith("/")
    idle = venue.limits.idle_without_data_s
    assert idle is None or venue.ping_interval_s <= idle / 2
    assert venue.rest_budget(settings).per_second > 0


def test_venue_example_configuration_is_accepted_and_shows_its_defaults(venue: Venue) -> None:
    path = ROOT / "examples" / f"{venue.name}.toml"
    if venue.name in OUTSIDE:
        return
    (section,) = load_config(path).venues
    assert section.name == venue.name
    assert section.settings == venue.settings()
    keys = {key for one in tomllib.loads(path.read_text())["venue"] for key in one}
    assert set(venue.settings.__struct_fields__) <= keys


def test_venue_says_what_was_never_seen_on_a_wire(venue: Venue) -> None:
    assert venue.never_seen


def test_venue_requests_name_each_channel_once(venue: Venue) -> None:
    (channel, *_) = venue.channels(venue.example_symbol, venue.settings())
    for make in (venue.subscribe, venue.unsubscribe):
        (message,) = make([channel], request=7, time_s=TIME_S)
        assert 0 < len(message) <= venue.limits.message_size_max
        assert make([], request=7, time_s=TIME_S) == []


def test_venue_bad_symbol_is_refused(venue: Venue) -> None:
    for symbol in ("", "A B", "x" * 65):
        with pytest.raises(ValueError, match="symbol"):
            venue.check_symbol(symbol)


def test_venue_writes_its_example_from_the_canonical_name(venue: Venue) -> None:
    known = ("BTC/USDT", "BTC/USD", "BTC/USDT:USDT", "BTC/USDC:USDC")
    names = [parse_symbol(text) for text in known]
    assert venue.example_symbol in [venue.venue_symbol(name) for name in names]


def test_venue_reads_any_bytes_as_a_note(venue: Venue) -> None:
    for data in (b"", b"\xff", b"{", b"[]", b"0", b'"x"', b'{"a":' * 50):
        notes = venue.parse_notes(data)
        assert notes
        assert notes[0].meaning in {Meaning.BROKEN, Meaning.UNKNOWN, Meaning.NOTICE}, data


def deep(depth: int) -> list[bytes]:
    """Return texts that no parser reads by recursion, where a venue looks and where none does."""
    nest = b"[" * depth + b"]" * depth
    keys = ("result", "data", "arg", "args", "msg", "symbols", "list", "bids", "x")
    inner = [b'{"%s":%s}' % (key.encode(), nest) for key in keys]
    return [nest, b'{"x":' * depth + b"1" + b"}" * depth, *inner]


@pytest.mark.parametrize("depth", [400, 1_900])
def test_venue_reads_what_is_nested_too_deep_as_a_note(venue: Venue, depth: int) -> None:
    for data in deep(depth):
        assert venue.parse_notes(data)


def test_venue_lists_and_bases_nested_too_deep_are_refused(venue: Venue) -> None:
    for data in deep(100_000):
        with pytest.raises(ValueError, match=r"instrument list|expected"):
            venue.parse_instruments(data)
        if venue.base_source is BaseSource.REST:
            with pytest.raises(ValueError, match="base"):
                venue.parse_base(data, ROW)


@pytest.mark.parametrize("version", [-1, 1 << 64, 10**30])
def test_base_of_a_number_that_no_chain_has_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match=f"base version {version}: expected 0 to"):
        Base(version=version, bids=[], asks=[])


def test_venue_reads_its_samples_as_the_decoder_routes_them(venue: Venue) -> None:
    """Of a text that accepts some and refuses some, C says the graver, Python both."""
    path = samples_path(venue.name)
    cold = {Meaning.ACKNOWLEDGEMENT, Meaning.REFUSAL, Meaning.HEARTBEAT, Meaning.NOTICE}
    seen = set()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        sample = json.loads(line)
        meaning = Meaning[sample["meaning"]]
        if meaning in cold:
            said = [note.meaning for note in venue.parse_notes(sample["text"].encode())]
            assert meaning in said, f"{path}:{number}: {said}"
            seen.add(meaning)
    assert {Meaning.ACKNOWLEDGEMENT, Meaning.REFUSAL} <= seen


@given(data=st.binary(max_size=64), name=st.sampled_from(venue_names()))
def test_venue_instrument_list_is_a_list_or_an_error(data: bytes, name: str) -> None:
    with contextlib.suppress(ValueError):
        assert load_venue(name).parse_instruments(data).instruments == {}


def test_venue_both_sides_of_the_seam_say_the_same(venue: Venue) -> None:
    c = find_decoder(venue.name)
    facts, limits = c.facts, venue.limits
    assert facts.channels_per_connection == limits.channels_per_connection
    assert facts.messages_per_second == int(limits.messages_per_second)
    assert facts.connections == (limits.connections or 0)
    assert facts.connection_age_max_s == (limits.connection_age_max_s or 0)
    assert facts.idle_without_channel_s == (limits.idle_without_channel_s or 0)
    assert facts.idle_without_data_s == (limits.idle_without_data_s or 0)
    assert 1 << 10 <= facts.message_size_max <= 64 << 20  # each connection may hold one
    if facts.pinger == lib.TP_PINGER_CLIENT:
        assert venue.ping_interval_s <= facts.ping_interval_s
    for channel in venue.channels(venue.example_symbol, venue.settings()):
        described = c.describe(ffi.new("char[]", channel.encode()))
        assert described != ffi.NULL, f"the decoder knows no {channel}"


def test_meanings_are_those_of_c() -> None:
    names = [one for one in dir(lib) if one.startswith("TP_MEANING_")]
    assert {one.removeprefix("TP_MEANING_") for one in names} == {one.name for one in Meaning}


def test_venue_limits_by_status(venue: Venue) -> None:
    plain = HttpResponse(200, {}, b"{}")
    assert venue.rest_refusal(plain, NOW) is None
    assert venue.rest_refusal(HttpResponse(404, {}, b"{}"), NOW) is None
    busy = venue.rest_refusal(HttpResponse(429, {"retry-after": "7"}, b""), NOW)
    assert busy is not None
    assert (busy.is_ban, busy.retry_after_s) == (False, 7.0)


# ---- the shared parts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Mon, 30 Nov 2026 12:01:30 GMT", 90.0),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("1" * 10, None),
    ],
)
def test_retry_after_number_or_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


LIMITS = Limits(
    channels_per_connection=100, channels_per_message=3, message_size_max=40, messages_per_second=1
)


def build(channels: list[str], request: int) -> bytes:
    return f"{request}:{','.join(channels)}".encode()


@given(st.lists(st.text("ab", min_size=1, max_size=30), max_size=20), st.integers(0, 99))
def test_messages_hold_all_in_order_within_the_limits(names: list[str], request: int) -> None:
    messages = pack_messages(names, build, LIMITS, request)
    parts = [message.decode().partition(":") for message in messages]
    assert [int(number) for number, _, _ in parts] == [request + i for i in range(len(parts))]
    groups = [text.split(",") for _, _, text in parts]
    assert [name for group in groups for name in group] == names
    assert all(len(group) <= 3 for group in groups)
    assert all(len(message) <= 40 for message in messages)


def test_messages_one_channel_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="41 bytes, expected at most 40"):
        pack_messages(["a", "b" * 39], build, LIMITS, 1)
    assert pack_messages(["a", "b" * 38], build, LIMITS, 1) == [b"1:a", b"2:" + b"b" * 38]


def test_decoder_of_other_headers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables lie elsewhere: to call through them would be to jump anywhere."""
    source = tmp_path / "old.c"
    source.write_text(
        'struct { unsigned long layout; const char *name; } tp_venue_old = {1, "old"};'
    )
    library = tmp_path / "_decoder.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    monkeypatch.setattr("tickpath.proto.venues.decoder.venue_folder", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"compiled from headers of another tickpath.*again"):
        find_decoder("old")


def test_venue_rates_can_be_kept_and_bear_each_request_of_ours(venue: Venue) -> None:
    limits, settings = venue.limits, venue.settings()
    for rate in (limits.requests, limits.connects, limits.address_messages):
        if rate is not None:
            c_rate(rate)
    if limits.requests is None:
        return
    asked = [venue.instruments_request(settings)]
    if venue.base_from(settings) is BaseSource.REST:
        asked.append(venue.base_request(venue.example_symbol, settings))
    if venue.verification(settings) is Verification.REST:
        asked.append(venue.check_request(venue.example_symbol, settings))
    for request in asked:
        assert 0 < venue.request_weight(request) <= limits.requests.burst


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "9" * 30, "\u0663"])
def test_venue_strange_words_of_what_is_used_are_none(venue: Venue, text: str) -> None:
    """Whatever stands in a header, nobody waits for it longer than for an honest one."""
    fields = ("x-mbx-used-weight-1m", "x-gate-ratelimit-limit", "x-gate-ratelimit-requests-remain")
    answer = HttpResponse(200, dict.fromkeys(fields, text), b"")
    assert venue.requests_used(answer, datetime(2026, 11, 30, tzinfo=UTC)) is None
