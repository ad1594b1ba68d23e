"""The canary in a whole deployment: no news while the venue is itself, one line when it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath.engine.sim.venues import dialect_names, load_dialect

from tests.sim.deployment import Deployment, Setup
from tests.venues.outside import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The venue of the tests is there only where its folder was compiled.
VENUES = [name for name in dialect_names() if name not in OUTSIDE]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Deployment]]:
    made: list[Deployment] = []

    def one(venue: str) -> Deployment:
        dialect = load_dialect(venue)
        symbols = (dialect.venue.example_symbol,)
        made.append(Deployment(Setup(seed=1, directory=tmp_path, dialect=dialect, symbols=symbols)))
        return made[-1]

    yield one
    for deployment in made:
        deployment.close()


def news(deployment: Deployment) -> list[str]:
    return [line for line in deployment.story if ": unexpected " in line]


@pytest.mark.parametrize("venue", VENUES)
def test_canary_has_no_news_of_a_venue_that_is_itself(
    make: Callable[[str], Deployment], venue: str
) -> None:
    deployment = make(venue)
    assert deployment.run(5.0, deployment.are_live)
    deployment.run(10.0)
    deployment.order("disconnect")
    deployment.run(10.0, deployment.are_live)
    deployment.run(5.0)
    counted = deployment.feed_handler.canaries.counters()
    assert news(deployment) == []
    assert counted["unexpected"] == 0
    assert counted["looked_at"] > 15


@pytest.mark.parametrize("venue", VENUES)
def test_canary_tells_of_a_message_that_was_refused(
    make: Callable[[str], Deployment], venue: str
) -> None:
    deployment = make(venue)
    assert deployment.run(5.0, deployment.are_live)
    deployment.order(f"garbage:{deployment.setup.symbols[0]}")
    deployment.run(2.0)
    (line,) = news(deployment)
    assert f" {venue}: unexpected " in line
    assert deployment.feed_handler.canaries.counters()["unexpected"] == 1
