"""Routes, neighbours and port reservations, against the kernel's own answers."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.netstack import route
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    from tests.netns.conftest import VethPair

pytestmark = pytest.mark.needs("root", "netns")

RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def test_route_lookup_on_link_peer_gives_both_macs(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        path = route.lookup("198.18.0.2")
    assert (path.interface, path.source, path.next_hop) == ("va", "198.18.0.1", "198.18.0.2")
    assert (path.mac, path.next_hop_mac) == (veth_pair.a.mac(), veth_pair.b.mac())
    assert (path.mtu, path.local) == (1500, False)


def test_route_lookup_through_gateway_resolves_the_gateway(veth_pair: VethPair) -> None:
    a = veth_pair.a
    a.run("ip", "route", "add", "203.0.113.0/24", "via", "198.18.0.2", "mtu", "1400")
    with a.entered():
        path = route.lookup("203.0.113.9")
    assert (path.next_hop, path.next_hop_mac) == ("198.18.0.2", veth_pair.b.mac())
    assert (path.destination, path.mtu) == ("203.0.113.9", 1400)


@pytest.mark.parametrize("address", ["198.18.0.1", "127.0.0.1"])
def test_route_lookup_own_address_is_local(veth_pair: VethPair, address: str) -> None:
    with veth_pair.a.entered():
        path = route.lookup(address)
    assert path.local
    assert (path.interface, path.next_hop_mac) == ("lo", b"")


def test_route_lookup_failures_name_cause_and_remedy(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        with pytest.raises(SystemSetupError, match=r"no route to 203\.0\.113\.9: .*unreachable"):
            route.lookup("203.0.113.9")
        with pytest.raises(SystemSetupError, match=r"198\.18\.0\.77 on va did not answer ARP"):
            route.lookup("198.18.0.77")
    with pytest.raises(LocalError, match="expected IPv4"):
        route.lookup("example")


def test_route_interface_tells_what_the_kernel_tells(veth_pair: VethPair) -> None:
    a = veth_pair.a
    a.run("ip", "link", "set", "va", "mtu", "1400")
    a.run("ethtool", "-K", "va", "tso", "off", "tx", "off")
    with a.entered():
        found = route.interface("va")
        with pytest.raises(SystemSetupError, match=r"'vx' does not exist here, .* va"):
            route.interface("vx")
    assert (found.name, found.driver, found.mtu, found.mac) == ("va", "veth", 1400, a.mac())
    assert (found.rx_queues, found.tx_queues, found.up, found.carrier) == (1, 1, True, True)
    assert "tso" not in found.offloads
    assert "tx-checksum" not in found.offloads
    with veth_pair.b.entered():
        assert {"tso", "tx-checksum"} <= route.interface("vb").offloads


def test_route_watch_sees_new_mac_carrier_loss_and_removal(veth_pair: VethPair) -> None:
    a, b = veth_pair.a, veth_pair.b
    with a.entered(), route.PathWatch(route.lookup(b.address)) as watch:
        assert watch.poll() == route.PathState(True, True, b.mac())
        b.run("ip", "link", "set", "vb", "address", "02:00:00:00:00:99")
        a.run("ip", "neigh", "flush", "dev", "va")
        end = time.monotonic() + 3
        while watch.poll().next_hop_mac != bytes.fromhex("020000000099"):
            assert time.monotonic() < end
            time.sleep(0.02)
        b.run("ip", "link", "set", "vb", "down")
        state = watch.poll()
        assert (state.up, state.carrier) == (True, False)
        a.run("ip", "link", "set", "va", "down")
        assert watch.poll() == route.PathState(False, False, b"")
        a.run("ip", "link", "delete", "va")
        with pytest.raises(SystemSetupError, match="va is gone"):
            watch.poll()


def test_route_watch_confirms_a_stale_neighbour(veth_pair: VethPair) -> None:
    a, b = veth_pair.a, veth_pair.b
    with a.entered(), route.PathWatch(route.lookup(b.address)) as watch:
        a.run("ip", "neigh", "change", b.address, "dev", "va", "nud", "stale")
        assert watch.poll().next_hop_mac == b.mac()
        assert "STALE" not in a.run("ip", "neigh", "show", "dev", "va")


def test_ports_reservation_is_appended_and_restored(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        RESERVED.write_text("8080,9000-9001\n")
        before = RESERVED.read_bytes()
        with route.PortReservation(61000, 61999):
            assert RESERVED.read_text() == "8080,9000-9001,61000-61999\n"
        assert RESERVED.read_bytes() == before


def test_ports_reservation_of_empty_setting_is_restored_outside_the_namespace(
    veth_pair: VethPair,
) -> None:
    reservation = route.PortReservation()
    with veth_pair.a.entered():
        before = RESERVED.read_bytes()
        reservation.open()
        assert RESERVED.read_text() == "61000-61999\n"
    outside = RESERVED.read_bytes()
    reservation.close()
    reservation.close()
    assert RESERVED.read_bytes() == outside
    with veth_pair.a.entered():
        assert RESERVED.read_bytes() == before


CRASH = (
    "import os; from tickpath.netstack.route import PortReservation; "
    "PortReservation(61000, 61999).open(); os._exit(1)"
)


def test_ports_left_by_a_crash_go_with_the_next_reservation(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        RESERVED.write_text("8080\n")
        veth_pair.a.run(sys.executable, "-P", "-c", CRASH, check=False)
        assert RESERVED.read_text() == "8080,61000-61999\n"
        with route.PortReservation(61500, 62000):
            assert RESERVED.read_text() == "8080,61500-62000\n"
        assert RESERVED.read_text() == "8080\n"


def test_ports_left_by_a_crash_go_when_another_closes(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        with route.PortReservation(61000, 61099):
            veth_pair.a.run(sys.executable, "-P", "-c", CRASH, check=False)
            assert RESERVED.read_text() == "61000-61999\n"
        assert RESERVED.read_text() == "\n"


def test_ports_of_the_administrator_stay_though_a_crash_used_them(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        RESERVED.write_text("61500-62100\n")
        veth_pair.a.run(sys.executable, "-P", "-c", CRASH, check=False)
        with route.PortReservation(61000, 61099):
            assert RESERVED.read_text() == "61000-61099,61500-62100\n"
        assert RESERVED.read_text() == "61500-62100\n"


def test_ports_shared_by_two_reservations_stay_until_the_last(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        first = route.PortReservation(61000, 61099).open()
        second = route.PortReservation(61050, 61199).open()
        first.close()
        assert RESERVED.read_text() == "61050-61199\n"
        second.close()
        assert RESERVED.read_text() == "\n"


def test_ports_of_another_reservation_survive_our_close(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        first = route.PortReservation(61000, 61099).open()
        second = route.PortReservation(61100, 61199).open()
        first.close()
        assert RESERVED.read_text() == "61100-61199\n"
        second.close()


def test_ports_used_by_a_kernel_socket_are_refused(veth_pair: VethPair) -> None:
    with veth_pair.a.entered():
        before = RESERVED.read_bytes()
        with (
            socket.create_server((veth_pair.a.address, 61007)),
            pytest.raises(SystemSetupError, match="kernel sockets use 61007 of the local ports"),
        ):
            route.PortReservation().open()
        assert RESERVED.read_bytes() == before


def test_ports_reserved_are_not_given_to_kernel_sockets(veth_pair: VethPair) -> None:
    a = veth_pair.a
    with a.entered():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("61000 61003")
        with (
            route.PortReservation(61000, 61002),
            socket.create_server((a.address, 8080)),
            socket.create_connection((a.address, 8080)) as client,
        ):
            assert client.getsockname()[1] == 61003


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (61000, 65536)])
def test_ports_bad_range_is_a_local_error(low: int, high: int) -> None:
    with pytest.raises(LocalError, match="expected 1 <= low <= high <= 65535"):
        route.PortReservation(low, high)
