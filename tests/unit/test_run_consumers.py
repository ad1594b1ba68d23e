"""`tickpath run` and its consumers: registered, woken, waited for, evicted as configured."""

from __future__ import annotations

import grp
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import EvictedError, open_reader
from tickpath.shm.reader import Result
from tickpath.shm.segment import DIRECTORY, Segment

from tests.unit.test_run_reconnect import CONFIG, PATIENCE_S, Child, count, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHM = """
[shm]
ring_capacity = 1024
lossless_deadline_us = 2000
mode = "0600"
group = "{group}"
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[str]:
    port, name = free_port(), f"consumers{os.getpid():07d}"
    group = grp.getgrgid(os.getgid()).gr_name
    text = CONFIG.format(instance=name, port=port, tls="false", ca="")
    path = tmp_path / "run.toml"
    path.write_text(text + SHM.format(group=group), encoding="utf-8")
    exchange = Child("sim", "mexc", "--plain", "--rate", "400", "--listen", f"127.0.0.1:{port}")
    try:
        exchange.wait_for("listening", lambda lines: count("listening")(lines) == 1)
        supervisor = Child("run", str(path))
        try:
            supervisor.wait_for("open", lambda lines: count(": open to")(lines) == 1)
            yield name
        finally:
            assert supervisor.end() == 0
    finally:
        exchange.end()
    assert not list(DIRECTORY.glob(f"tickpath.{name}*"))


def counters(instance: str) -> dict[str, int]:
    with Segment(instance) as segment:
        return dict(segment.counters())


def wait_counter(instance: str, name: str, least: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while counters(instance)[name] < least:
        assert time.monotonic() < end, counters(instance)
        time.sleep(0.02)


@pytest.mark.slow
def test_run_wakes_waits_for_and_evicts_its_consumers(instance: str) -> None:
    for ending in ("", ".ctl"):
        path = DIRECTORY / f"tickpath.{instance}{ending}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_reader(instance, stale_after_ns=60 * 10**9) as sleeper:
        sleeper.set_wait(block=True)
        events = 0
        while events < 20:
            events += sleeper.next() == Result.EVENT
        wait_counter(instance, "consumers.wakes", 1)
    with open_reader(instance, stale_after_ns=60 * 10**9) as careful:
        assert careful.register("careful", lossless=True)
        assert careful.shm.is_lossless
        first = careful.event.index if careful.next() == Result.EVENT else 0
        assert first >= 0
        wait_counter(instance, "consumers.evictions", 1)  # we read nothing, and the ring fills
        with pytest.raises(EvictedError):
            for _ in careful:
                pass
        assert careful.unregistered_because == ""
    told = counters(instance)
    assert told["consumers.gate_waits"] >= 1
    assert told["consumers.gate_held_ns"] >= 1
