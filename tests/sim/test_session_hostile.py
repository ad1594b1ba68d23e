"""A session against a server and an application that do anything, in any order, by seed.

Nothing is expected of the outcome but this: no assertion fails, whatever was promised to be sent is
taken or refused, and once the peer's stream has ended the session ends too.
"""

from __future__ import annotations

import contextlib
import random
import ssl
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib
from websockets.frames import Frame, Opcode

from tests.unit.handshake_worker import new_worker
from tests.unit.test_session import Pair, certificate, close_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["certificate"]  # fixture

SEEDS_PER_BLOCK = 60
STEP_COUNT_MAX = 60
END_TURN_COUNT = 400
STEP_NS = 500_000_000


class Chaos:
    """One pair and the dice."""

    def __init__(self, seed: int, certificate: Path) -> None:
        self.dice = random.Random(seed)
        worker = new_worker() if seed % 2 else ffi.NULL
        self.pair = Pair(certificate if self.dice.random() < 0.7 else None, worker=worker)
        self.pair.peer.setblocking(False)
        self.ended = False
        if self.dice.random() < 0.9:
            self.pair.open()

    # -- the server's side

    def deliver(self, data: bytes) -> None:
        """Send raw bytes, as far as the socket takes them."""
        if not self.ended:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                self.pair.peer.send(data)

    def say(self, plain: bytes) -> None:
        tls = self.pair.tls
        if tls is None:
            self.deliver(plain)
        elif tls.version() is not None:
            with contextlib.suppress(ssl.SSLError):
                self.deliver(self.pair.seal(plain))

    def frames(self) -> bytes:
        dice = self.dice
        opcode = dice.choice((Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG))
        data = bytes(dice.randrange(32, 127) for _ in range(dice.choice((0, 1, 125, 126, 3000))))
        fin = dice.random() < 0.7
        frame = Frame(opcode, data, fin=fin)
        header = bytes([opcode | (0x80 if fin else 0)])
        if len(data) < 126:
            return header + bytes([len(data)]) + data
        return header + b"\x7e" + len(frame.data).to_bytes(2, "big") + data

    def server_step(self) -> None:
        dice = self.dice
        if self.ended:
            return
        action = dice.randrange(9)
        if action < 4:
            self.say(b"".join(self.frames() for _ in range(dice.randrange(1, 6))))
        elif action == 4:
            self.say(close_frame(dice.choice((1000, 1001, 1011, 4000))))
        elif action == 5:
            self.say(dice.randbytes(dice.randrange(1, 40)))
        elif action == 6:
            self.deliver(dice.randbytes(dice.randrange(1, 40)))
        elif action == 7 and self.pair.tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self.pair.tls.unwrap()
            self.deliver(self.pair._to.read())
        elif action == 8:
            with contextlib.suppress(OSError, ssl.SSLError):
                self.pair.server_turn(accept=dice.random() < 0.8)
        if dice.random() < 0.05:
            self.end()

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.pair.peer.close()

    # -- the application's side

    def send(self) -> None:
        data = self.dice.randbytes(self.dice.choice((0, 1, 200, 40_000)))
        memory = ffi.from_buffer("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
        span = ffi.new("struct tp_span *", {"data": memory, "size": len(data)})
        taken = ffi.new("size_t *")
        status = lib.tp_session_send(self.pair.session, lib.TP_WS_BINARY, span[0], taken)
        assert status in (lib.TP_OK, lib.TP_FULL, lib.TP_CLOSED)
        assert taken[0] == len(data) or status != lib.TP_OK

    def read(self) -> None:
        for _ in range(self.dice.randrange(1, 8)):
            if self.pair.next()[0] != lib.TP_OK:
                return

    def application_step(self) -> None:
        pair, action = self.pair, self.dice.randrange(20)
        if action < 6:
            self.read()
        elif action < 12:
            lib.tp_session_receive(pair.session, pair.now_ns)
        elif action < 14:
            self.send()
        elif action < 17:
            pair.client_turn()
        elif action == 17:
            lib.tp_session_close(pair.session, self.dice.choice((1000, 1001, 1005)), pair.now_ns)
        elif action == 18 and self.dice.random() < 0.2:
            lib.tp_session_abort(pair.session)
        else:
            pair.now_ns += STEP_NS

    def play(self) -> None:
        steps: tuple[Callable[[], None], ...] = (self.server_step, self.application_step)
        for _ in range(self.dice.randrange(STEP_COUNT_MAX)):
            self.dice.choice(steps)()
        self.end()
        for _ in range(END_TURN_COUNT):
            self.pair.client_turn()
            while self.pair.next()[0] == lib.TP_OK:
                pass
            if lib.tp_session_finished(self.pair.session):
                return
            self.pair.now_ns += STEP_NS
        raise AssertionError(f"phase {self.pair.phase}, {self.pair.error_text()!r}")


@pytest.mark.parametrize("block", range(5))
def test_session_any_order_of_events_ends(block: int, certificate: Path) -> None:
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        chaos = Chaos(seed, certificate)
        try:
            chaos.play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
