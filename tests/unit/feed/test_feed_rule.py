"""The sync rule by itself, every relation of versions, against the venue's rule in words."""

from __future__ import annotations

from itertools import product

import pytest
from tickpath._core import lib

BUFFERING, FIRST, FOLLOWING = range(3)
APPLY, BUFFER, DROP, GAP = range(4)
TOP = (1 << 64) - 1


def in_words(phase: int, version: int, first: int, last: int) -> int:
    """Absolute levels: a message helps if it ends after the book and leaves no version out."""
    if phase == BUFFERING:
        return BUFFER
    if last <= version:
        return DROP
    if phase == FIRST:
        return APPLY if first <= version + 1 else GAP
    return APPLY if first == version + 1 else GAP


@pytest.mark.parametrize("base", [0, 1000, TOP - 8])
def test_sync_every_relation_of_versions_is_judged_as_the_venue_says(base: int) -> None:
    for phase, version, first, size in product(range(3), range(7), range(7), range(3)):
        last = min(first + size, 8)
        arguments = (phase, base + version, base + first, base + last)
        assert lib.tp_sync_judge(*arguments) == in_words(*arguments), arguments


def test_sync_last_version_of_all_has_no_successor() -> None:
    assert lib.tp_sync_judge(FOLLOWING, TOP, 0, TOP) == DROP
    assert lib.tp_sync_judge(FOLLOWING, TOP - 1, TOP, TOP) == APPLY


def test_sync_contiguous_message_after_the_snapshot_is_no_reason_to_start_again() -> None:
    assert lib.tp_sync_judge(FIRST, 100, 101, 105) == APPLY
    assert lib.tp_sync_judge(FIRST, 100, 102, 105) == GAP
