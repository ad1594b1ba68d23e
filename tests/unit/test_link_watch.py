"""A link that loses its carrier, goes down or goes away is seen when it does."""

from __future__ import annotations

import select
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pyroute2 import NetNS
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, FEED_HANDLER_ADDRESS, INTERFACE
from tickpath.netstack.link_watch import LinkWatch, leaves_by
from tickpath.netstack.netlink import Netlink

from tests.netns.rig import VethPair, entered

if TYPE_CHECKING:
    from tickpath.engine.supervisor.sandbox import Namespace

pytestmark = pytest.mark.needs("root", "netns")
PATIENCE_MS = 20_000


def set_link(namespace: Namespace, state: str) -> None:
    with NetNS(namespace.path, flags=0) as netlink:
        index = netlink.link_lookup(ifname=INTERFACE)[0]
        netlink.link("set", index=index, state=state)


def next_change(watch: LinkWatch) -> str:
    """Wait on the descriptor, as the cold thread does; never by looking now and then."""
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    while poll.poll(PATIENCE_MS):
        if (trouble := watch.look()) is not None:
            return trouble
    pytest.fail("nothing rang")


def test_way_to_an_address_is_named_by_its_interface() -> None:
    with VethPair.open() as pair, entered(pair.feed_handler):
        assert leaves_by(EXCHANGE_ADDRESS) == INTERFACE
        assert leaves_by(FEED_HANDLER_ADDRESS) is None
        assert leaves_by("198.51.100.1") is None


def test_way_by_an_interface_that_has_just_vanished_is_no_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the route and the name of its interface, the interface may go: ENXIO."""
    gone = SimpleNamespace(kind=1, index=0x7FFFFFF0)
    monkeypatch.setattr(Netlink, "route", lambda *_: gone)
    assert leaves_by("198.51.100.1") is None


def test_way_without_netlink_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Netlink, "__init__", refused)
    assert leaves_by("198.51.100.1") is None


def test_each_change_of_a_link_rings_and_is_named() -> None:
    with VethPair.open() as pair:
        with entered(pair.feed_handler):
            watch = LinkWatch(INTERFACE)
        with watch:
            if watch.look() != "":  # the pair has just been made
                assert next_change(watch) == ""
            assert watch.look() is None
            set_link(pair.exchange, "down")
            assert next_change(watch) == f"interface {INTERFACE} has no carrier"
            set_link(pair.exchange, "up")
            assert next_change(watch) == ""
            set_link(pair.feed_handler, "down")
            assert next_change(watch) == f"interface {INTERFACE} is down"
            with NetNS(pair.feed_handler.path, flags=0) as netlink:
                netlink.link("del", index=netlink.link_lookup(ifname=INTERFACE)[0])
            assert next_change(watch) == f"interface {INTERFACE} is gone: No such device"
