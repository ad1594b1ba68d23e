"""When the cold thread has to look after its connections again."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from tickpath.engine.loop.connections import Connections, Reconnect, _Slot


def connections(*slots: _Slot) -> Connections:
    none = cast("Any", None)
    return Connections(none, none, none, Reconnect(), lambda _: None, slots=list(slots))


def slot(*, session: object = None, retry_in_s: float = 0.0) -> _Slot:
    retry_at = time.monotonic() + retry_in_s
    return _Slot(cast("Any", None), session=session, retry_at=retry_at)


def test_wait_s_of_connections_that_are_up_is_the_longest() -> None:
    assert connections().wait_s(0.1) == pytest.approx(0.1)
    up = connections(slot(session=object()), slot(session=object(), retry_in_s=-5))
    assert up.wait_s(0.1) == pytest.approx(0.1)


def test_wait_s_is_until_the_earliest_try() -> None:
    assert connections(slot(session=object()), slot(retry_in_s=-1)).wait_s(0.1) == 0
    assert 40 < connections(slot(retry_in_s=60), slot(retry_in_s=50)).wait_s(1000) <= 50
    assert connections(slot(retry_in_s=50)).wait_s(0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 0, 0), (1, 0, 0), (2, 0.05, 0.1), (4, 0.2, 0.4), (40, 15, 30)],
)
def test_delay_s_doubles_with_jitter_up_to_its_limit(
    failures: int, least: float, most: float
) -> None:
    assert Reconnect().delay_s(failures, 0.0) == pytest.approx(least)
    assert Reconnect().delay_s(failures, 1.0) == pytest.approx(most)
