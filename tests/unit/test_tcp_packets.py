"""Run the packet scripts of tests/packets against the TCP connection, in virtual time.

A script is a list of lines. Sequence numbers are relative: to our ISN in what we send (`>`) and in
`ack` of what the peer sends, to the peer's ISN elsewhere; a SYN stands at 0. Grammar:

    config KEY=VALUE ...     before connect; durations take ms or s
    connect | establish [OPTION ...]    establish does the handshake; options as in `<`
    < FLAGS SEQ[:END] [ack N] [win N] [ts V] [echo DELTA] [sack L:R ...] [fill HEX] ... the peer
    <+ ...                                        the same, in one burst with the next `<`
    > FLAGS SEQ[:END] [ack N] [win N] [sack L:R ...] [@200ms] ...                 we must send
    +200ms | send N | space N | close | abort | icmp TYPE CODE mtu N seq N
    delivers N | closed | state NAME | error NAME | counter NAME N | deadline none

FLAGS: letters of S F R P U and `.` for ACK. Whatever we send and no `>` line expects fails the
script; so does a payload or checksum that is wrong. `@200ms` is the time since the last `+` or `<`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tickpath._core import ffi, lib

SCRIPTS = sorted((Path(__file__).parent.parent / "packets").glob("*.tcp"))

LOCAL, REMOTE = (10 << 24) + 1, (10 << 24) + 2
LOCAL_PORT, REMOTE_PORT = 40001, 443
PEER_ISN = 2**32 - 2000  # wraps in the middle of most scripts
START_NS = 5_000_000_000
PEER_TS = 700_000
MODULUS = 2**32
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32}
UNITS = {"ms": 1_000_000, "us": 1000, "s": 1_000_000_000}


def pattern(offset: int, size: int) -> bytes:
    """Return the stream bytes that belong at an offset; both directions use them."""
    return bytes(
        (position * 7 + (position >> 8)) & 0xFF for position in range(offset, offset + size)
    )


def duration(text: str) -> int:
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return round(float(text.removesuffix(unit)) * factor)
    return int(text)


def checksum(data: bytes) -> int:
    """RFC 1071, written without a look at the C code."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def pseudo_header(source: int, destination: int, size: int) -> bytes:
    return struct.pack("!IIBBH", source, destination, 0, 6, size)


@dataclass
class Sent:
    """One segment of ours, read off the wire independently of the C parser."""

    at_ns: int
    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: dict[int, bytes]
    payload: bytes

    @classmethod
    def parse(cls, raw: bytes, at_ns: int) -> Sent:
        source, destination, sequence, ack, offset, flags, window, _, urgent = struct.unpack(
            "!HHIIBBHHH", raw[:20]
        )
        assert (source, destination, urgent) == (LOCAL_PORT, REMOTE_PORT, 0)
        assert checksum(pseudo_header(LOCAL, REMOTE, len(raw)) + raw) == 0, "wrong checksum"
        header_size = (offset >> 4) * 4
        options: dict[int, bytes] = {}
        rest = raw[20:header_size]
        while rest:
            if rest[0] == 1:
                rest = rest[1:]
                continue
            options[rest[0]] = rest[2 : rest[1]]
            rest = rest[rest[1] :]
        return cls(at_ns, sequence, ack, flags, window, options, raw[header_size:])

    def sack(self) -> list[tuple[int, int]]:
        body = self.options.get(5, b"")
        return [
            ((left - PEER_ISN) % MODULUS, (right - PEER_ISN) % MODULUS)
            for left, right in struct.iter_unpack("!II", body)
        ]


@dataclass
class Script:
    config: dict[str, int] = field(default_factory=dict)
    now_ns: int = START_NS
    event_ns: int = START_NS
    queue: list[Sent] = field(default_factory=list)
    iss: int = 0
    highest: int = 0  # end of what we sent, relative: what the peer acknowledges by default
    window: int = 500
    peer_ts: int = PEER_TS
    our_ts: int = 0
    timestamps: bool = False
    delivered: int = 0
    stream_at: int = 0
    sent_bytes: int = 0
    status: int = 0

    def __post_init__(self) -> None:
        self.out = ffi.new("uint8_t[2048]")
        self.delivery = ffi.new("struct tp_tcp_delivery *")

    # -- our side

    def make(self) -> None:
        config = ffi.new("struct tp_tcp_config *")
        lib.tp_tcp_config_init(config)
        config.local_address, config.remote_address = LOCAL, REMOTE
        config.local_port, config.remote_port = LOCAL_PORT, REMOTE_PORT
        config.isn_secret = bytes(range(16))
        for key, value in self.config.items():
            setattr(config, key, value)
        size = lib.tp_tcp_memory_size(config)
        assert size > 0, "the configuration was refused"
        self.memory = ffi.new("uint8_t[]", size + 64)
        address = int(ffi.cast("uintptr_t", self.memory))
        self.tcp = lib.tp_tcp_init(ffi.cast("void *", (address + 63) & ~63), config)

    def collect(self) -> None:
        for _ in range(5000):
            size = lib.tp_tcp_output(self.tcp, self.now_ns, self.out, 2048)
            if size == 0:
                assert lib.tp_tcp_deadline(self.tcp) > self.now_ns, "due, but nothing was built"
                return
            sent = Sent.parse(bytes(ffi.buffer(self.out, size)), self.now_ns)
            if sent.flags & FLAGS["S"]:
                self.iss = sent.sequence
            if 8 in sent.options:
                self.our_ts = int.from_bytes(sent.options[8][:4], "big")
            relative = (sent.sequence - self.iss) % MODULUS
            if sent.payload and not sent.flags & FLAGS["S"]:
                assert sent.payload == pattern(relative - 1, len(sent.payload)), "wrong payload"
            end = relative + len(sent.payload) + bool(sent.flags & 3)
            if not sent.flags & FLAGS["R"] and end < MODULUS // 2:
                self.highest = max(self.highest, end)
            self.queue.append(sent)
        raise AssertionError("tp_tcp_output never ends")

    def advance(self, span_ns: int) -> None:
        target = self.event_ns = self.now_ns
        target += span_ns
        for _ in range(10_000):
            deadline = lib.tp_tcp_deadline(self.tcp)
            if deadline > target:
                break
            self.now_ns = max(self.now_ns, deadline)
            self.collect()
        else:
            raise AssertionError("deadlines never end")
        self.now_ns = target
        self.collect()

    # -- the peer's side

    def inject(self, words: list[str], *, last: bool = True) -> None:
        flags, place, *rest = words
        sequence, _, end = place.partition(":")
        start = int(sequence)
        size = int(end) - start if end else 0
        fields: dict[str, str] = {}
        sacks: list[tuple[int, int]] = []
        bare: set[str] = set()
        words_left = iter(rest)
        for word in words_left:
            if ":" in word:
                left, right = word.split(":")
                sacks.append((int(left), int(right)))
            elif word == "sack":
                continue
            elif word in {"sackok", "nots", "noack"}:
                bare.add(word)
            else:
                fields[word] = next(words_left)
        first = start - 1 + (1 if "S" in flags else 0)
        payload = pattern(max(first, 0), size)
        if "fill" in fields:
            payload = bytes([int(fields["fill"], 16)]) * size
        ack = self.iss + int(fields.get("ack", self.highest)) if "." in flags else 0
        header = struct.pack(
            "!HHIIBBHHH", REMOTE_PORT, LOCAL_PORT, (PEER_ISN + start) % MODULUS, ack % MODULUS, 0,
            sum(FLAGS[flag] for flag in flags), int(fields.get("win", self.window)), 0,
            int(fields.get("urg", 0)),
        )  # fmt: skip
        options = self.peer_options(fields, sacks, bare)
        raw = bytearray(header + options + payload)
        raw[12] = (20 + len(options)) // 4 << 4
        self.give(bytes(raw), "fill" in fields)
        if last:
            self.collect()

    def peer_options(
        self, fields: dict[str, str], sacks: list[tuple[int, int]], bare: set[str]
    ) -> bytes:
        options = b""
        if "mss" in fields:
            options += struct.pack("!BBH", 2, 4, int(fields["mss"]))
        if "sackok" in bare:
            options += b"\4\2"
        if "wscale" in fields:
            options += bytes([3, 3, int(fields["wscale"])])
        if (self.timestamps or "ts" in fields) and "nots" not in bare:
            self.peer_ts += 1
            value = int(fields["ts"]) if "ts" in fields else self.peer_ts
            options += struct.pack("!BBII", 8, 10, value, self.our_ts + int(fields.get("echo", 0)))
        if sacks:
            options += bytes([5, 2 + 8 * len(sacks)])
            for left, right in sacks:
                options += struct.pack(
                    "!II", (self.iss + left) % MODULUS, (self.iss + right) % MODULUS
                )
        return options + b"\1" * (-len(options) % 4)

    def give(self, raw: bytes, filled: bool) -> None:
        self.frame = ffi.from_buffer(raw)
        segment = ffi.new("struct tp_tcp_segment *")
        assert lib.tp_tcp_segment_parse((self.frame, len(raw)), segment)
        self.event_ns = self.now_ns
        self.status = lib.tp_tcp_input(self.tcp, segment, self.now_ns, self.delivery)
        data = b"".join(
            bytes(ffi.buffer(span.data, span.size))
            for span in list(self.delivery.span)[: self.delivery.count]
        )
        if not filled:
            assert data == pattern(self.stream_at, len(data)), "wrong bytes delivered"
        self.stream_at += len(data)
        self.delivered += len(data)

    # -- expectations

    def expect(self, words: list[str]) -> None:
        assert self.queue, "we sent nothing"
        sent = self.queue.pop(0)
        flags, place, *rest = words
        sequence, _, end = place.partition(":")
        relative = (sent.sequence - self.iss) % MODULUS
        seen = (
            "".join(name for name, bit in FLAGS.items() if sent.flags & bit),
            relative if relative < MODULUS // 2 else relative - MODULUS,
            len(sent.payload),
        )
        size = int(end) - int(sequence) if end else 0
        wanted = ("".join(name for name in FLAGS if name in flags), int(sequence), size)
        assert seen == wanted
        words_left = iter(rest)
        blocks = []
        for word in words_left:
            if ":" in word:
                left, right = word.split(":")
                blocks.append((int(left), int(right)))
            elif word.startswith("@"):
                assert sent.at_ns - self.event_ns == duration(word[1:]), "sent at another time"
            elif word == "sack":
                continue
            elif word in {"nosack", "sackok", "nots"}:
                kind = {"nosack": 5, "sackok": 4, "nots": 8}[word]
                assert (kind in sent.options) == (word == "sackok"), word
            else:
                assert self.read(sent, word) == int(next(words_left)), word
        if blocks:
            assert sent.sack() == blocks

    def read(self, sent: Sent, name: str) -> int:
        if name == "ack":
            return (sent.acknowledgment - PEER_ISN) % MODULUS
        if name == "win":
            return sent.window
        if name == "echo":
            return int.from_bytes(sent.options[8][4:], "big")
        return int.from_bytes(sent.options[{"mss": 2, "wscale": 3}[name]], "big")

    def establish(self, words: list[str]) -> None:
        offered = words or ["mss", "1012", "sackok", "wscale", "7", "ts", str(PEER_TS)]
        self.run_line("connect")
        self.queue.pop(0)
        win = [] if "win" in offered else ["win", "65535"]
        self.inject(["S.", "0", "ack", "1", *win, *[word for word in offered if word != "plain"]])
        assert [sent.flags for sent in self.queue] == [FLAGS["."]]
        self.queue.clear()
        self.timestamps = "ts" in offered
        if "wscale" not in offered:
            self.window = 65535

    def state(self) -> str:
        return str(ffi.string(lib.tp_tcp_state_name(lib.tp_tcp_state(self.tcp))).decode())

    def act(self, command: str, words: list[str]) -> None:
        match command:
            case "connect":
                self.make()
                lib.tp_tcp_connect(self.tcp, self.now_ns)
            case "send":
                data = pattern(self.sent_bytes, int(words[0]))
                taken = lib.tp_tcp_send(self.tcp, (ffi.from_buffer(data), len(data)))
                self.sent_bytes += taken
                assert taken == int(words[1] if len(words) > 1 else words[0]), "send buffer"
            case "space":
                lib.tp_tcp_receive_space(self.tcp, int(words[0]))
            case "close":
                lib.tp_tcp_close(self.tcp)
            case "abort":
                lib.tp_tcp_abort(self.tcp)
            case "icmp":
                sequence = (self.iss + int(words[5])) % MODULUS
                lib.tp_tcp_icmp_input(
                    self.tcp, sequence, int(words[0]), int(words[1]), int(words[3])
                )
            case _:
                raise AssertionError(f"{command}: no such command")
        self.event_ns = self.now_ns
        self.collect()

    def check(self, command: str, words: list[str]) -> bool:
        match command:
            case "delivers":
                assert self.delivered == int(words[0]), "another count of bytes delivered"
                self.delivered = 0
            case "closed":
                assert self.status == lib.TP_CLOSED
            case "state":
                assert self.state() == words[0]
            case "error":
                name = ffi.string(lib.tp_tcp_error_name(lib.tp_tcp_error(self.tcp))).decode()
                assert name == " ".join(words)
            case "counter":
                assert getattr(lib.tp_tcp_counters(self.tcp), words[0]) == int(words[1])
            case "deadline":
                assert lib.tp_tcp_deadline(self.tcp) == 2**64 - 1
            case _:
                return False
        return True

    def run_line(self, line: str) -> None:
        command, *words = line.split()
        if command == ">":
            self.expect(words)
            return
        if self.check(command, words):
            return
        assert not self.queue, f"we sent what nobody expected: {self.queue[0]}"
        if command in {"<", "<+"}:
            self.inject(words, last=command == "<")
        elif command.startswith("+"):
            self.advance(duration(command[1:]))
        elif command == "establish":
            self.establish(words)
        elif command == "config":
            pairs = (word.split("=") for word in words)
            self.config.update((key, duration(value)) for key, value in pairs)
        else:
            self.act(command, words)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_packet_script(path: Path) -> None:
    script = Script()
    for number, text in enumerate(path.read_text().splitlines(), 1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        try:
            script.run_line(line)
        except AssertionError as error:
            pytest.fail(f"{path.name}:{number}: {line}\n{error}", pytrace=False)
    assert not script.queue, f"{path.name}: sent at the end: {script.queue[0]}"
    assert script.delivered == 0, f"{path.name}: {script.delivered} delivered bytes unchecked"
