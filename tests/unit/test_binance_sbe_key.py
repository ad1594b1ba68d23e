"""The key that Binance's SBE streams want: named at the start, sent with the upgrade."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.engine.config.credential import complaints, header_lines
from tickpath.engine.config.schema import VenueConfig
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.venues import load_dialect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "0kEy" * 16


def kept(path: Path, data: bytes = SECRET.encode()) -> str:
    path.write_bytes(data)
    path.chmod(0o600)
    return f"file:{path}"


def config(key: str, host: str | None = None) -> VenueConfig:
    name = "binance_sbe"
    settings = msgspec.structs.replace(VenueConfig(symbols=(), name=name).settings, api_key=key)
    return VenueConfig(symbols=("BTCUSDT",), name=name, host=host, settings=settings)


def test_complaints_name_what_a_venue_will_not_get(tmp_path: Path) -> None:
    place = kept(tmp_path / "key")
    assert complaints(config(place)) == []
    (tmp_path / "key").chmod(0o644)
    (said,) = complaints(config(place))
    assert said.startswith(f"{place}: mode 0644")
    assert "Ed25519" in "".join(complaints(config("")))
    assert complaints(config("", host="localhost")) == []
    assert complaints(VenueConfig(symbols=("BTCUSDT",))) == []


class Closed(load_dialect("binance_sbe")):  # type: ignore[misc] # a class that is loaded
    """Lets in who has the key."""

    key = SECRET


async def upgraded(headers: str) -> int:
    """Return the status of an upgrade at a simulator that asks for the key."""
    sim = Exchange(Closed, Options(instruments=("BTCUSDT",)))
    await sim.serve("127.0.0.1", 0, None)
    fields: list[tuple[str, Any]] = []
    for line in headers.splitlines():
        name, _, value = line.partition(": ")
        fields.append((name, value))
    try:
        url = f"ws://127.0.0.1:{sim.port}/stream"
        async with connect(url, additional_headers=fields, proxy=None):
            return 101
    except InvalidStatus as error:
        return int(error.response.status_code)
    finally:
        await sim.close()


def test_simulator_that_asks_for_a_key_lets_in_who_has_it(tmp_path: Path) -> None:
    place = kept(tmp_path / "key")
    wrong = kept(tmp_path / "wrong", b"another\n")
    assert asyncio.run(upgraded(header_lines((), (("X-MBX-APIKEY", place),)))) == 101
    assert asyncio.run(upgraded(header_lines((), (("X-MBX-APIKEY", wrong),)))) == 401
    assert asyncio.run(upgraded("")) == 401
