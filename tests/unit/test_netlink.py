"""Links and routes as another netlink library sees them; attributes of any bytes."""

from __future__ import annotations

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import IPRoute
from tickpath.netstack import netlink

LOOPBACK = 1


def test_link_is_what_pyroute2_says_of_it() -> None:
    with netlink.Netlink() as own, IPRoute() as other:
        for index, name in socket.if_nameindex():
            link, theirs = own.link(index), other.link("get", index=index)[0]
            assert link.name == name
            assert link.mac == bytes.fromhex(theirs.get_attr("IFLA_ADDRESS").replace(":", ""))
            assert link.mtu == theirs.get_attr("IFLA_MTU")
            assert link.rx_queues == theirs.get_attr("IFLA_NUM_RX_QUEUES")
            assert link.tx_queues == theirs.get_attr("IFLA_NUM_TX_QUEUES")
            assert link.flags == theirs["flags"]


def test_link_that_is_not_there_is_no_device() -> None:
    with netlink.Netlink() as own, pytest.raises(OSError, match="No such device") as caught:
        own.link(1 << 30)
    assert caught.value.errno == errno.ENODEV


def test_route_is_what_pyroute2_says_of_it() -> None:
    with netlink.Netlink() as own, IPRoute() as other:
        for address in ("127.0.0.1", "127.1.2.3"):
            route, theirs = own.route(address), other.route("get", dst=address)[0]
            assert (route.kind, route.index) == (theirs["type"], theirs.get_attr("RTA_OIF"))
            assert route.source == theirs.get_attr("RTA_PREFSRC")
            assert (route.gateway, route.via_other_family) == ("", False)


def test_neighbours_of_a_link_are_what_pyroute2_lists() -> None:
    with netlink.Netlink() as own, IPRoute() as other:
        for index, _ in socket.if_nameindex():
            listed = other.get_neighbours(family=socket.AF_INET, ifindex=index)
            theirs = {
                (one.get_attr("NDA_DST"), one.get_attr("NDA_LLADDR"))
                for one in listed
                if one["ifindex"] == index
            }
            ours = {(one.address, one.mac.hex(":") or None) for one in own.neighbours(index)}
            assert ours == theirs


@given(st.binary(max_size=200))
def test_attributes_of_any_bytes_lie_inside_them(data: bytes) -> None:
    for value in netlink._attributes(data).values():
        assert value in data


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=6))
def test_attributes_are_read_as_they_were_written(written: dict[int, bytes]) -> None:
    data = b"".join(
        netlink._ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)
        for kind, value in written.items()
    )
    assert netlink._attributes(data) == written
