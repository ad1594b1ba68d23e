"""The AF_XDP link on a veth pair, against the kernel's own stack at the other end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.l2 import Dot1Q, Ether
from tickpath._core import ffi, lib
from tickpath.netstack.link.af_xdp import AfXdpLink
from tickpath.netstack.transport import Placement, open_transport
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.conftest import Namespace, VethPair

pytestmark = pytest.mark.needs("root", "netns", "af_xdp")

PORT_LOW, PORT_HIGH = 61000, 61999
PEER_PORT = 443
DEADLINE_S = 5.0
ACK, RST_ACK, SYN, SYN_ACK = "A", "RA", "S", "SA"


def open_link(end: Namespace, mode: str = "auto", frame_count: int = 0) -> AfXdpLink:
    with end.entered():
        return AfXdpLink.open(
            end.interface,
            address=end.address,
            port_low=PORT_LOW,
            port_high=PORT_HIGH,
            mode=mode,
            frame_count=frame_count,
        )


@pytest.fixture
def link(veth_pair: VethPair) -> Iterator[AfXdpLink]:
    with open_link(veth_pair.a) as opened:
        yield opened


def commit(link: Any, frame: bytes) -> bool:
    room = lib.tp_link_tx_claim(link)
    if not room:
        return False
    ffi.memmove(room, frame, len(frame))
    lib.tp_link_tx_commit(link, len(frame))
    return True


def send(link: Any, frame: bytes) -> None:
    assert commit(link, frame)
    assert lib.tp_link_tx_kick(link) == 0


def receive_burst(link: Any) -> list[bytes]:
    frames = ffi.new("struct tp_frame[64]")
    count = lib.tp_link_rx_burst(link, frames, 64)
    copies = [bytes(ffi.buffer(frames[i].data, frames[i].size)) for i in range(count)]
    lib.tp_link_rx_release(link, frames, count)
    return copies


def receive(link: Any, seconds: float = DEADLINE_S) -> bytes | None:
    """Return the next frame, or None when none came in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for frame in receive_burst(link):
            return frame
    return None


def segment(pair: VethPair, port: int = PORT_LOW, to: str = "", **tcp: Any) -> bytes:
    """Build a frame from a to b as scapy would send it, checksums filled in."""
    packet = (
        Ether(src=pair.a.mac(), dst=pair.b.mac())
        / IP(src=pair.a.address, dst=to or pair.b.address)
        / TCP(sport=port, dport=PEER_PORT, **tcp)
    )
    return bytes(packet)


def listen(end: Namespace, port: int) -> socket.socket:
    with end.entered():
        return socket.create_server((end.address, port))


def test_af_xdp_open_on_veth_refuses_zero_copy_and_takes_native_copy(link: AfXdpLink) -> None:
    assert link.mode == "native copy"
    assert link.refused.startswith("native zero-copy: bind: Operation not supported")
    assert link.link.partial_checksums
    assert link.napi_id == 0
    assert link.statistics().frames_fill == 2048


def test_af_xdp_forced_zero_copy_on_veth_is_refused(veth_pair: VethPair) -> None:
    with pytest.raises(SystemSetupError, match=r"native zero-copy: bind: .*the driver lacks it"):
        open_link(veth_pair.a, mode="native zero-copy")


@pytest.mark.parametrize("mode", ["native copy", "generic copy"])
def test_af_xdp_forced_mode_shakes_hands_with_kernel(veth_pair: VethPair, mode: str) -> None:
    with open_link(veth_pair.a, mode=mode) as link, listen(veth_pair.b, PEER_PORT):
        assert link.mode == mode
        assert link.refused == ""
        send(link.link, segment(veth_pair, seq=1000, flags=SYN))
        raw = receive(link.link)
        assert raw is not None
        answer = Ether(raw)[TCP]
        assert str(answer.flags) == SYN_ACK
        assert (answer.sport, answer.dport, answer.ack) == (PEER_PORT, PORT_LOW, 1001)


def test_af_xdp_wrong_checksum_is_not_sent_right_by_the_link(
    veth_pair: VethPair, link: AfXdpLink
) -> None:
    """The caller's checksum goes out as it is: the peer's kernel verifies it."""
    with listen(veth_pair.b, PEER_PORT):
        send(link.link, segment(veth_pair, seq=1, flags=SYN, chksum=0x1234))
        assert receive(link.link, 0.2) is None
        send(link.link, segment(veth_pair, seq=1, flags=SYN))
        assert receive(link.link) is not None


def ping(source: Namespace, address: str) -> bool:
    with source.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as raw:
        raw.settimeout(DEADLINE_S)
        raw.sendto(bytes(ICMP(id=7, seq=1) / b"ping"), (address, 0))
        return bool(IP(raw.recv(2048))[ICMP].type == 0)


def test_af_xdp_other_flows_stay_with_the_kernel(veth_pair: VethPair, link: AfXdpLink) -> None:
    assert ping(veth_pair.b, veth_pair.a.address)
    with (
        listen(veth_pair.a, 8080) as server,
        veth_pair.b.entered(),
        socket.create_connection((veth_pair.a.address, 8080), timeout=DEADLINE_S) as client,
    ):
        accepted, _ = server.accept()
        client.sendall(b"kernel")
        assert accepted.recv(6) == b"kernel"
        accepted.close()
    assert receive(link.link, 0.05) is None
    assert link.link.counters.rx_frames == 0


@pytest.mark.parametrize(("port", "ours"), [(60999, False), (61000, True), (61999, True)])
def test_af_xdp_port_range_is_inclusive(
    veth_pair: VethPair, link: AfXdpLink, port: int, ours: bool
) -> None:
    """A SYN to a port outside the range gets the kernel's RST; one inside comes to us."""
    with veth_pair.b.entered(), socket.socket() as client:
        client.setblocking(False)
        client.connect_ex((veth_pair.a.address, port))
        frame = receive(link.link, DEADLINE_S if ours else 0.2)
    assert (frame is not None) == ours
    if frame is not None:
        assert Ether(frame)[TCP].dport == port


OURS, PEER = "198.18.0.1", "198.18.0.2"
QUOTE = IP(src=OURS, dst=PEER) / TCP(sport=61000, dport=443)
STEERED = {
    "segment": (IP(src=PEER, dst=OURS) / TCP(sport=443, dport=61000), True),
    "options": (
        IP(src=PEER, dst=OURS, options=[IPOption_NOP()] * 4) / TCP(sport=443, dport=61000),
        True,
    ),
    "dont_fragment": (IP(src=PEER, dst=OURS, flags="DF") / TCP(sport=443, dport=61000), True),
    "other_address": (IP(src=PEER, dst="198.18.0.3") / TCP(sport=443, dport=61000), False),
    "source_port_only": (IP(src=PEER, dst=OURS) / TCP(sport=61000, dport=443), False),
    "udp": (IP(src=PEER, dst=OURS) / UDP(sport=443, dport=61000), False),
    "first_fragment": (IP(src=PEER, dst=OURS, flags="MF") / TCP(dport=61000), False),
    "later_fragment": (IP(src=PEER, dst=OURS, frag=1) / TCP(dport=61000), False),
    "header_length_4": (IP(src=PEER, dst=OURS, ihl=4) / TCP(dport=61000), False),
    "options_beyond_frame": (IP(src=PEER, dst=OURS, ihl=15) / TCP(dport=61000), False),
    "version_6": (IP(src=PEER, dst=OURS, version=6) / TCP(dport=61000), False),
    "vlan": (Dot1Q(vlan=5) / IP(src=PEER, dst=OURS) / TCP(dport=61000), False),
    "cut_in_ports": (IP(src=PEER, dst=OURS, proto=6) / b"\x01\xbb", False),
    "unreachable": (IP(src=PEER, dst=OURS) / ICMP(type=3, code=4) / QUOTE, True),
    "time_exceeded": (IP(src=PEER, dst=OURS) / ICMP(type=11) / QUOTE, True),
    "parameter_problem": (IP(src=PEER, dst=OURS) / ICMP(type=12) / QUOTE, True),
    "redirect": (IP(src=PEER, dst=OURS) / ICMP(type=5) / QUOTE, False),
    "echo": (IP(src=PEER, dst=OURS) / ICMP(type=8) / QUOTE, False),
    "quotes_other_source": (
        IP(src=PEER, dst=OURS) / ICMP(type=3) / IP(src=PEER, dst=OURS) / TCP(sport=61000),
        False,
    ),
    "quotes_other_port": (
        IP(src=PEER, dst=OURS) / ICMP(type=3) / IP(src=OURS, dst=PEER) / TCP(sport=60999),
        False,
    ),
    "quotes_udp": (
        IP(src=PEER, dst=OURS) / ICMP(type=3) / IP(src=OURS, dst=PEER) / UDP(sport=61000),
        False,
    ),
    "quote_cut": (IP(src=PEER, dst=OURS) / ICMP(type=3) / bytes(QUOTE)[:22], False),
}


@pytest.mark.parametrize("name", STEERED)
def test_af_xdp_program_takes_our_flows_and_nothing_else(
    veth_pair: VethPair, link: AfXdpLink, name: str
) -> None:
    packet, ours = STEERED[name]
    frame = bytes(Ether(src=veth_pair.b.mac(), dst=veth_pair.a.mac()) / packet)
    with veth_pair.b.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("vb", 0))
        raw.send(frame)
    got = receive(link.link, DEADLINE_S if ours else 0.05)
    assert (got == frame) if ours else got is None


def test_af_xdp_icmp_error_about_our_segment_comes_to_us(
    veth_pair: VethPair, link: AfXdpLink
) -> None:
    veth_pair.b.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    send(link.link, segment(veth_pair, to="203.0.113.9", seq=77, flags=SYN))
    raw = receive(link.link)
    assert raw is not None
    error = Ether(raw)
    assert (error[ICMP].type, error[ICMP].code) == (3, 0)
    send(link.link, segment(veth_pair, port=PORT_LOW - 1, to="203.0.113.9", flags=SYN))
    assert receive(link.link, 0.2) is None


@pytest.mark.parametrize("mode", ["native copy", "generic copy"])
def test_af_xdp_frame_bears_when_it_came_however_late_it_is_polled(
    veth_pair: VethPair, mode: str
) -> None:
    """The XDP program's stamp, of CLOCK_MONOTONIC; a chunk used again bears the next frame's."""
    frames = ffi.new("struct tp_frame[64]")
    packet, _ = STEERED["segment"]
    with open_link(veth_pair.a, mode=mode, frame_count=256) as link:
        frame = bytes(Ether(src=veth_pair.b.mac(), dst=veth_pair.a.mac()) / packet)
        with veth_pair.b.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("vb", 0))
            for _ in range(300):  # 128 chunks receive: each of them more than once
                before_ns = time.monotonic_ns()
                raw.send(frame)
                time.sleep(0.0002)
                got, by_ns = 0, before_ns + int(DEADLINE_S * 1e9)
                while got == 0 and time.monotonic_ns() < by_ns:
                    got = lib.tp_link_rx_burst(link.link, frames, 64)
                stamp_ns, now_ns = int(frames[0].stamp_ns), time.monotonic_ns()
                lib.tp_link_rx_release(link.link, frames, got)
                assert got == 1
                assert before_ns <= stamp_ns <= now_ns
            raw.send(frame)
            sent_ns = time.monotonic_ns()
            time.sleep(0.05)
            while (got := lib.tp_link_rx_burst(link.link, frames, 64)) == 0:
                assert time.monotonic_ns() < sent_ns + DEADLINE_S * 1e9
            taken_ns = time.monotonic_ns()
            assert taken_ns - frames[0].stamp_ns >= 40_000_000  # what the poll alone cannot see
            lib.tp_link_rx_release(link.link, frames, got)


def serve_handshake(link: Any, pair: VethPair, mss: int) -> None:
    """Answer the first SYN that arrives, so that the kernel peer may send."""
    raw = receive(link)
    assert raw is not None
    syn = Ether(raw)[TCP]
    reply = (
        Ether(src=pair.a.mac(), dst=pair.b.mac())
        / IP(src=pair.a.address, dst=pair.b.address)
        / TCP(
            sport=syn.dport,
            dport=syn.sport,
            seq=5000,
            ack=syn.seq + 1,
            flags=SYN_ACK,
            window=65535,
            options=[("MSS", mss), ("WScale", 7)],
        )
    )
    send(link, bytes(reply))


def receive_bulk(pair: VethPair, link: AfXdpLink, mss: int) -> tuple[bytes, bytes, int]:
    """Let the peer's kernel send its initial window: returns sent, got, the largest frame."""
    payload = os.urandom(min(10, 65535 // mss) * mss)  # RFC 6928, and our SYN-ACK's window
    with pair.b.entered(), socket.socket() as client:
        client.setblocking(False)
        client.connect_ex((pair.a.address, PORT_LOW))
        serve_handshake(link.link, pair, mss)
        client.setblocking(True)
        client.sendall(payload)
        got, largest, end = bytearray(), 0, time.monotonic() + DEADLINE_S
        while len(got) < len(payload) and time.monotonic() < end:
            for raw in receive_burst(link.link):
                packet = Ether(raw)[IP]
                largest = max(largest, len(raw))
                got += bytes(packet[TCP].payload)[: packet.len - 40]
    return payload, bytes(got[: len(payload)]), largest


def test_af_xdp_generic_mode_joins_super_packets(veth_pair: VethPair) -> None:
    """Generic XDP leaves the peer's segmentation offload on: frames far above the MTU arrive."""
    with open_link(veth_pair.a, mode="generic copy") as link:
        sent, got, largest = receive_bulk(veth_pair, link, 1460)
        assert got == sent
        assert largest > 2048
        assert link.link.counters.rx_joined > 0
        statistics = link.statistics()
        assert (statistics.frames_fill, statistics.frames_rx) == (2048, 0)


def test_af_xdp_native_mode_gets_no_super_packets(veth_pair: VethPair, link: AfXdpLink) -> None:
    sent, got, largest = receive_bulk(veth_pair, link, 1460)
    assert got == sent
    assert largest <= 1514
    assert link.link.counters.rx_joined == 0


def test_af_xdp_native_mode_joins_jumbo_frames(veth_pair: VethPair) -> None:
    """A frame above 1792 bytes spans several chunks of the UMEM."""
    for end in (veth_pair.a, veth_pair.b):
        end.run("ip", "link", "set", end.interface, "mtu", "9000")
    with open_link(veth_pair.a, mode="native copy") as link:
        sent, got, largest = receive_bulk(veth_pair, link, 8960)
        assert got == sent
        assert 8000 < largest <= 9014
        assert link.link.counters.rx_joined > 0
        assert link.statistics().frames_fill == 2048


HOLDER = """
import time
from tickpath.netstack.link.af_xdp import AfXdpLink
link = AfXdpLink.open("va", address="198.18.0.1", port_low=61000, port_high=61999)
print("open", flush=True)
time.sleep(60)
"""


def test_af_xdp_killed_holder_leaves_no_program(veth_pair: VethPair) -> None:
    holder = veth_pair.a.start(sys.executable, "-P", "-c", HOLDER)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    assert "prog/xdp" in veth_pair.a.run("ip", "link", "show", "va")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with open_link(veth_pair.a) as link:
        assert link.mode == "native copy"
    assert "prog/xdp" not in veth_pair.a.run("ip", "link", "show", "va")


def test_af_xdp_forked_child_leaves_the_program(veth_pair: VethPair, link: AfXdpLink) -> None:
    """Detaching is an order to the kernel, not the end of a descriptor."""
    pid = os.fork()
    if pid == 0:
        try:
            link.close()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert "prog/xdp" in veth_pair.a.run("ip", "link", "show", "va")
    link.check()


def test_af_xdp_second_open_waits_for_the_first_to_close(veth_pair: VethPair) -> None:
    first = open_link(veth_pair.a)
    timer = threading.Timer(0.15, first.close)
    timer.start()
    with open_link(veth_pair.a) as second:
        assert second.mode == "native copy"
    timer.join()


def test_af_xdp_held_queue_is_refused_with_remedy(veth_pair: VethPair, link: AfXdpLink) -> None:
    with pytest.raises(SystemSetupError, match=r"Device or resource busy .*end its owner"):
        open_link(veth_pair.a, mode="native copy")


def test_af_xdp_missing_interface_names_the_others(veth_pair: VethPair) -> None:
    with veth_pair.a.entered(), pytest.raises(SystemSetupError, match=r"'vx' does not exist .* va"):
        AfXdpLink.open("vx", address="198.18.0.1", port_low=61000, port_high=61999)


@pytest.mark.parametrize(
    "values",
    [
        {"port_low": 0},
        {"port_low": 62000},
        {"port_high": 65536},
        {"mode": "fast"},
        {"queue": -1},
    ],
)
def test_af_xdp_value_out_of_range_is_a_local_error(values: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"address": "198.18.0.1", "port_low": 61000, "port_high": 61999}
    with pytest.raises(LocalError, match=r"expected"):
        AfXdpLink.open("lo", **settings | values)


def test_af_xdp_odd_frame_count_is_refused(veth_pair: VethPair) -> None:
    with pytest.raises(SystemSetupError, match=r"frame_count is 1000, expected a power of two"):
        open_link(veth_pair.a, frame_count=1000)


@pytest.mark.parametrize("change", ["down", "delete"])
def test_af_xdp_deaf_receiver_learns_that_its_device_went(
    veth_pair: VethPair, link: AfXdpLink, change: str
) -> None:
    """Nothing is sent and nothing arrives: only the link's own look every million polls tells."""
    words = ["link", "set", "va", "down"] if change == "down" else ["link", "delete", "va"]
    veth_pair.a.run("ip", *words)
    frames = ffi.new("struct tp_frame[64]")
    raw, end = link.link, time.monotonic() + DEADLINE_S
    while raw.error == 0 and time.monotonic() < end:
        assert lib.tp_link_rx_burst(raw, frames, 64) == 0
    with pytest.raises(SystemSetupError, match="va ended"):
        link.check()


def test_af_xdp_interface_down_ends_the_link(veth_pair: VethPair, link: AfXdpLink) -> None:
    frame = segment(veth_pair, flags=SYN)
    veth_pair.a.run("ip", "link", "set", "va", "down")
    assert commit(link.link, frame)
    assert lib.tp_link_tx_kick(link.link) < 0
    with pytest.raises(SystemSetupError, match=r"Network is down"):
        link.check()


def test_af_xdp_interface_deleted_ends_the_link(veth_pair: VethPair, link: AfXdpLink) -> None:
    frame = segment(veth_pair, flags=SYN)
    link.check()
    veth_pair.b.run("ip", "link", "delete", "vb")
    assert commit(link.link, frame)
    assert lib.tp_link_tx_kick(link.link) < 0
    with pytest.raises(SystemSetupError, match=r"ended"):
        link.check()


def test_af_xdp_closed_link_refuses_use(veth_pair: VethPair) -> None:
    link = open_link(veth_pair.a)
    link.close()
    link.close()
    with pytest.raises(LocalError, match=r"closed"):
        link.statistics()


def test_af_xdp_hundred_thousand_frames_leak_none(veth_pair: VethPair) -> None:
    """Each ACK to a closed port comes back as a RST: every frame of the UMEM goes round."""
    count, batch = 100_000, 32
    with open_link(veth_pair.a, frame_count=256) as link:
        raw = link.link
        frame = segment(veth_pair, seq=1, ack=1, flags=ACK)
        sent = received = 0
        end = time.monotonic() + 60
        frames = ffi.new("struct tp_frame[64]")
        while received < count and time.monotonic() < end:
            for _ in range(batch if sent - received < 64 else 0):
                sent += commit(raw, frame)
            assert lib.tp_link_tx_kick(raw) == 0
            got = lib.tp_link_rx_burst(raw, frames, 64)
            lib.tp_link_rx_release(raw, frames, got)
            received += got
        assert received >= count
        assert raw.counters.tx_frames == sent
        while receive(raw, 0.05):
            pass
        lib.tp_link_tx_kick(raw)  # drains the COMPLETION ring
        statistics = link.statistics()
        assert (statistics.frames_fill, statistics.frames_free) == (128, 128)
        assert (statistics.frames_rx, statistics.frames_tx) == (0, 0)
        assert statistics.rx_invalid_descriptors == statistics.tx_invalid_descriptors == 0


@pytest.mark.parametrize("backend", ["auto", "af_xdp"])
def test_af_xdp_queue_that_is_not_there_is_named(veth_pair: VethPair, backend: str) -> None:
    with (
        veth_pair.a.entered(),
        pytest.raises(LocalError, match="interface va has no receive queue 1023, expected 0 to"),
    ):
        open_transport(veth_pair.b.address, backend, Placement(queue=1023))
