"""REST clients of one address share what the venue bears of it, whichever process asks."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from tickpath.engine.feed_handler import rest_client
from tickpath.engine.feed_handler.rest_client import RateLimitError, RestClient, SpentError
from tickpath.engine.loop.pauses import Pauses
from tickpath.proto.venue import HttpRequest, Rate
from tickpath.proto.venues.mexc.venue import Mexc
from tickpath.shm.clock import SYSTEM
from tickpath.shm.errors import RemoteError

from tests.unit.test_bases import serving

Limited = Callable[..., None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limited:
    """Let the venue bear so much of an address, and say what was used of it."""

    def change(rate: Rate, used: tuple[int, float] | None = None) -> None:
        limits = msgspec.structs.replace(Mexc.limits, requests=rate)
        monkeypatch.setattr(Mexc, "limits", limits)
        monkeypatch.setattr(Mexc, "request_weight", lambda _, one: 1 + (one.target == "/heavy"))
        monkeypatch.setattr(Mexc, "requests_used", lambda *_: used)

    return change


def test_rest_client_of_all_processes_ask_no_more_than_the_venue_bears(limit: Limited) -> None:
    limit(Rate(6, 3600.0, 4))
    with serving(lambda _: (200, {}, b"x")) as (server, venue):
        first, second = RestClient(venue), RestClient(venue)
        assert first.get("/heavy", size_max=1) == second.get("/", size_max=1) == b"x"
        assert not first.begin(HttpRequest("/heavy"))
        with pytest.raises(
            SpentError, match=r"127\.0\.0\.1 may ask of .* is spent .* in 1[78]\d\d s"
        ):
            first.get("/heavy", size_max=1)
        assert second.get("/", size_max=1) == b"x"
        first.close()
        second.close()
    assert server.targets == ["/heavy", "/", "/"]


def test_rest_client_waits_for_its_turn_and_for_no_longer_than_it_may(limit: Limited) -> None:
    limit(Rate(20, 2.0, 1))  # 105 ms each
    with serving(lambda _: (200, {}, b"x")) as (server, venue):
        client = RestClient(venue)
        began = time.monotonic()
        for _ in range(4):
            client.get("/", size_max=1)
        assert time.monotonic() - began > 0.3
        client.cut()
        with pytest.raises(RemoteError, match="ends"):
            client.get("/", size_max=1)
        client.close()
    assert len(server.targets) == 4


def test_rest_client_believes_the_venue_that_others_ask_too(limit: Limited) -> None:
    limit(Rate(100, 3600.0, 50), (100, 900.0))
    with serving(lambda _: (200, {}, b"x")) as (server, venue):
        client = RestClient(venue)
        client.get("/", size_max=1)
        with pytest.raises(SpentError, match=r"in (900|899) s"):
            client.get("/", size_max=1)
        client.close()
    assert len(server.targets) == 1


def test_rest_client_heeds_the_pause_of_the_address_that_it_comes_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of two addresses is dead, and another way leads to the second."""
    ways = {"127.0.0.2": "192.0.2.1", "127.0.0.1": "192.0.2.2"}
    monkeypatch.setattr(rest_client, "resolve_all", lambda *_: list(ways))
    monkeypatch.setattr(rest_client, "own_address", lambda address, _port: ways[address])
    with serving(lambda _: (200, {}, b"x")) as (server, venue):
        pauses = Pauses(SYSTEM)
        pauses.note(":".join(map(str, venue.rest)), "192.0.2.2", 60.0, "status 418")
        client = RestClient(venue, pauses=pauses)
        with pytest.raises(RateLimitError, match="status 418, not long ago"):
            client.get("/", size_max=1)
        client.close()
    assert server.targets == []
