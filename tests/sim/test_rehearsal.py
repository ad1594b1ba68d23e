"""Rehearsals change nothing: a deployment with them and one without are the same byte for byte.

Both have the same seed, venue, faults and virtual time. Compared are the whole segment and every
TCP segment that leaves, but for what is drawn anew each time: masks, and who wrote the memory when.
"""

from __future__ import annotations

import random
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.rehearsal import Rehearsal
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venues import pair_symbol

from tests.sim import virtual_wire
from tests.sim.deployment import RECOVERY_S, Deployment, Setup
from tests.sim.virtual import certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.virtual import Certificate

    Run = tuple[bytes, list[tuple[int, ...]], list[str]]

__all__ = ["certificate"]  # a fixture

NAMES = ("BTC/USDT", "ETH/USDT")
TURNS = 11  # idle ones at each moment: two whole rehearsals, and a step of another
FAULTS = ("gap", "disconnect", "scale", "old", "crossed", "duplicate", "renumber", "half-frame")
SECONDS = 0.3  # between two of them
CRC32 = 4  # its place in the segment's live part: it is of who wrote the segment


class Watched(Deployment):
    """Keeps what its hot path sends, has it idle often, and rehearses where told to."""

    def __init__(self, setup: Setup, *, rehearses: bool) -> None:
        self.rehearses = rehearses
        self.rehearsal: Rehearsal | None = None
        super().__init__(setup)

    def _open(self) -> None:
        super()._open()
        if self.rehearses:
            self.rehearsal = Rehearsal(self.feed_handler.hot)
            self.rehearsal.handle.rests = self.rehearsal.handle.note_every_ns = 0
            self.rehearsal.switch(is_on=True)

    def _turn(self) -> int:
        soon_ns = super()._turn()
        self.idle(TURNS)
        return soon_ns

    def idle(self, turns: int) -> None:
        for _ in range(turns):
            lib.tp_hot_path_turn(self._handle, self.now_ns)

    def shared(self) -> bytes:
        """Return shared memory, but for the header and its sum."""
        header = self.feed_handler.segment.header
        name = f"tickpath.{self.feed_handler.config.instance}"
        whole = bytearray((self.setup.directory / name).read_bytes())
        at = int(header.live.offset) + CRC32
        whole[at : at + 4] = bytes(4)
        return bytes(whole[ffi.sizeof("struct tp_segment_header") :])

    def private(self) -> bytes:
        """Return all of the feed's memory: books, routers, mailboxes, kept messages."""
        return bytes(memoryview(self.feed_handler._kept[0]))


def setup_of(directory: Path, name: str, seed: int, **fields: Any) -> Setup:
    own = load_dialect(name)
    symbols = tuple(pair_symbol(own.venue, parse_symbol(one)) for one in NAMES)
    directory.mkdir()
    return Setup(seed=seed, directory=directory, dialect=own, symbols=symbols, rate=60.0, **fields)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return where what far ends receive is kept: when, the headers, and how much."""
    kept: list[tuple[int, ...]] = []
    take = virtual_wire.FarEnd.segment

    def keep(self: Any, got: Any, now_ns: int) -> None:
        headers = (got.destination_port, got.sequence, got.acknowledgment, got.flags, got.window)
        times = (got.has_timestamps, got.timestamp_value, got.timestamp_echo)
        kept.append((now_ns, *headers, *times, got.sack_count, int(got.payload.size)))
        take(self, got, now_ns)

    monkeypatch.setattr(virtual_wire.FarEnd, "segment", keep)
    return kept


def rehearsed(deployment: Watched) -> dict[str, int]:
    """Say what was, and that all of it went the whole way."""
    assert deployment.rehearsal is not None
    assert not deployment.rehearsal.handle.is_broken
    counters = deployment.rehearsal.counters()
    assert counters["notes"] > 0
    # Play to touch; the one that is under way may have published.
    assert 0 <= counters["published"] - counters["rounds"] <= 1
    return counters


@pytest.mark.parametrize("name", dialect_names())
def test_rehearsal_changes_no_byte_of_the_segment_nor_of_the_wire(
    name: str, tmp_path: Path, sent: list[tuple[int, ...]]
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    runs: list[Run] = []
    for rehearses in (False, True):
        deployment = Watched(setup_of(tmp_path / str(rehearses), name, seed), rehearses=rehearses)
        assert deployment.run(RECOVERY_S, deployment.are_live)
        for fault in random.Random(seed).sample(FAULTS, 2):
            deployment.run(SECONDS)
            deployment.order(fault)
        deployment.run(SECONDS)
        runs.append((deployment.shared(), [*sent], [*deployment.story]))
        sent.clear()
        if rehearses:
            assert rehearsed(deployment)["rounds"] > 10
        deployment.close()
    off, on = runs
    assert off[2] == on[2]
    assert off[1] == on[1]
    different = [at for at, (a, b) in enumerate(zip(off[0], on[0], strict=True)) if a != b]
    assert not different


@pytest.mark.parametrize("name", ["mexc", "kraken", "okx"])
def test_rehearsal_leaves_the_feeds_own_memory_as_it_was(name: str, tmp_path: Path) -> None:
    deployment = Watched(setup_of(tmp_path / "one", name, seed=1), rehearses=True)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.run(SECONDS)
    deployment.idle(1)  # what is due now is done
    before, rounds = deployment.private(), rehearsed(deployment)["rounds"]
    deployment.idle(100)
    assert rehearsed(deployment)["rounds"] >= rounds + 19
    assert deployment.private() == before
    deployment.close()


@pytest.mark.parametrize("cipher", ["AES_128_GCM", "AES_256_GCM", "CHACHA20_POLY1305"])
def test_rehearsal_over_tls_is_by_the_cipher_of_the_connection(
    cipher: str, tmp_path: Path, certificate: Certificate
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    names = {"CHACHA20_POLY1305": "ECDHE+CHACHA20"}
    context.set_ciphers(names.get(cipher, f"ECDHE+{cipher.replace('_', '').replace('GCM', '')}"))
    setup = setup_of(tmp_path / "one", "mexc", 1, tls=context, ca_file=certificate.certificate)
    deployment = Watched(setup, rehearses=True)
    assert deployment.run(RECOVERY_S, deployment.are_live)
    deployment.run(SECONDS)
    assert rehearsed(deployment)["rounds"] > 10
    assert deployment.rehearsal is not None
    kinds = {int(one.kind) for one in deployment.rehearsal.handle.sample if one.size}
    assert kinds == {int(getattr(lib, f"TP_UNDERSTUDY_{cipher}"))}
    deployment.close()
