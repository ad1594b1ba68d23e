"""sd_notify against a real datagram socket, as the service manager's."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
from tickpath.rt.notify import Notifier, Watchdog, watchdog_s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    return listening.recv(4096).decode().splitlines()


def test_notifier_ready_sends_one_datagram_of_assignments(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening, Notifier.from_environment({"NOTIFY_SOCKET": path}) as notifier:
        assert notifier.is_heard
        notifier.ready("mexc: running")
        assert heard(listening) == ["READY=1", "STATUS=mexc: running"]
        notifier.alive()
        assert heard(listening) == ["WATCHDOG=1"]
        notifier.stopping()
        assert heard(listening) == ["STOPPING=1", "STATUS=stopping"]


def test_notifier_abstract_address_is_reached() -> None:
    name = f"tickpath-test-{os.getpid()}"
    with manager(f"\0{name}") as listening, Notifier(f"@{name}") as notifier:
        assert notifier.send(READY=1)
        assert heard(listening) == ["READY=1"]


def test_notifier_line_end_in_a_value_makes_no_other_assignment(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening, Notifier(path) as notifier:
        notifier.status("broken\nWATCHDOG=1")
        assert heard(listening) == ["STATUS=broken WATCHDOG=1"]


def test_notifier_same_status_again_is_not_sent(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening, Notifier(path) as notifier:
        notifier.status("one")
        notifier.status("one")
        notifier.status("two")
        assert heard(listening) == ["STATUS=one"]
        assert heard(listening) == ["STATUS=two"]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1", "relative"])
def test_notifier_nobody_there_says_nothing(address: str | None) -> None:
    with Notifier(address) as notifier:
        assert not notifier.is_heard
        assert not notifier.send(READY=1)


def test_notifier_manager_gone_or_deaf_is_waited_for_shortly(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with Notifier(path) as notifier:
        assert not notifier.send(READY=1)
        with manager(path):  # its queue fills: nothing is read
            assert notifier.send(READY=1)
            assert not all(notifier.send(STATUS="x" * 500) for _ in range(10_000))  # ends


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "a"}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
    ],
)
def test_watchdog_s_reads_what_the_manager_set(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_s(environment) == seconds


def test_watchdog_is_fed_a_quarter_of_the_limit_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listening, Notifier(path) as notifier:
        watchdog = Watchdog(notifier, 4.0)
        told = [watchdog.feed(now) for now in (0.1, 0.5, 1.0, 1.1, 1.2, 2.2)]
        assert told == [True, False, False, True, False, True]
        assert [heard(listening) for _ in range(3)] == [["WATCHDOG=1"]] * 3


def test_watchdog_without_a_limit_is_never_fed(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path), Notifier(path) as notifier:
        assert not Watchdog(notifier, None).feed(1.0)
