"""Faults over kernel sockets, a short form: one run of each of three kinds (socket_campaign.py)."""

from __future__ import annotations

import pytest

from tests.sim.socket_campaign import run_one


@pytest.mark.parametrize(("venue", "seed"), [("mexc", 1), ("kraken", 2), ("mixed", 3)])
def test_reader_of_a_run_on_sockets_sees_only_the_venues_books(venue: str, seed: int) -> None:
    assert run_one(venue, seed) > 100
