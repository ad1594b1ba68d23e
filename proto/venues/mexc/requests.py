"""What is asked of MEXC spot v3 and what it answers, as bytes and records: no I/O here.

WebSocket requests and replies are JSON text (pushes are protobuf: decode.h); snapshots and the
instrument list are REST JSON. Facts and their dates: README.md beside this file.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from tickpath._core import ffi, lib
from tickpath.proto.records import (
    DEPTH_LEVEL_COUNT_MAX,
    EXPONENT_MIN,
    instrument_dtype,
    level_dtype,
    parse_fixed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

VENUE: Final = "mexc"
WEBSOCKET_HOST: Final = "wbs-api.mexc.com"
WEBSOCKET_PATH: Final = "/ws"
REST_HOST: Final = "api.mexc.com"
SUBSCRIPTIONS_PER_CONNECTION_MAX: Final = 30
REQUESTS_PER_SECOND_MAX: Final = 100
"""Client messages a second on one connection."""
CONNECTION_AGE_MAX_S: Final = 24 * 3600
IDLE_WITHOUT_SUBSCRIPTION_S: Final = 30
"""The venue closes a connection that has no subscription for so long."""
IDLE_WITHOUT_DATA_S: Final = 60
SNAPSHOT_LEVELS_MAX: Final = 5000
SNAPSHOT_LEVELS_DEFAULT: Final = 1000
SNAPSHOT_REQUESTS_MAX: Final = 500
"""REST requests of one endpoint, by address, in each SNAPSHOT_REQUESTS_WINDOW_S."""
SNAPSHOT_REQUESTS_WINDOW_S: Final = 10
SPEEDS: Final = ("10ms", "100ms")
LIMITED_DEPTHS: Final = (5, 10, 20)
EXCHANGE_INFO_PATH: Final = "/api/v3/exchangeInfo"
PING_PATH: Final = "/api/v3/ping"
TIME_PATH: Final = "/api/v3/time"
DEPTH_PATH: Final = "/api/v3/depth"

_SYMBOL = re.compile(r"[^\sa-z@,\[\]]{1,31}")
_REFUSAL = re.compile(
    r"Not (?:Un)?Subscribed successfully!\s*\[(?P<channels>[^\]]*)\]\.?"
    r"(?:\s*Reason\s*[:：]\s*(?P<reason>.*))?",  # noqa: RUF001 - MEXC sends a full-width colon
    re.IGNORECASE | re.DOTALL,
)


def _checked_symbol(symbol: str) -> str:
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(
            f"symbol {symbol!r}: expected up to 31 upper-case characters such as BTCUSDT; "
            "MEXC's instrument list has the names"
        )
    return symbol


def _checked_speed(speed: str) -> str:
    if speed not in SPEEDS:
        raise ValueError(f"speed {speed!r}: expected one of {', '.join(SPEEDS)}")
    return speed


def depth_channel(symbol: str, speed: str = "100ms") -> str:
    """Return the channel of aggregated depth deltas; speed is 10ms or 100ms."""
    return f"spot@public.aggre.depth.v3.api.pb@{_checked_speed(speed)}@{_checked_symbol(symbol)}"


def deals_channel(symbol: str, speed: str = "100ms") -> str:
    """Return the channel of aggregated deals; speed is 10ms or 100ms."""
    return f"spot@public.aggre.deals.v3.api.pb@{_checked_speed(speed)}@{_checked_symbol(symbol)}"


def book_ticker_channel(symbol: str, speed: str = "100ms") -> str:
    """Return the channel of the aggregated best bid and ask; speed is 10ms or 100ms."""
    return (
        f"spot@public.aggre.bookTicker.v3.api.pb@{_checked_speed(speed)}@{_checked_symbol(symbol)}"
    )


def limited_depth_channel(symbol: str, levels: int) -> str:
    """Return the channel of whole books of 5, 10 or 20 levels."""
    if levels not in LIMITED_DEPTHS:
        raise ValueError(f"levels {levels}: expected one of {LIMITED_DEPTHS}")
    return f"spot@public.limit.depth.v3.api.pb@{_checked_symbol(symbol)}@{levels}"


def _request(method: str, channels: Iterable[str]) -> bytes:
    names = list(channels)
    if not 1 <= len(names) <= SUBSCRIPTIONS_PER_CONNECTION_MAX:
        raise ValueError(
            f"{len(names)} channels in one request: expected 1 to "
            f"{SUBSCRIPTIONS_PER_CONNECTION_MAX}, MEXC's limit a connection; use more connections"
        )
    return msgspec.json.encode({"method": method, "params": names})


def subscribe_request(channels: Iterable[str]) -> bytes:
    """Return the text message that subscribes; at most 30 channels, else ValueError."""
    return _request("SUBSCRIPTION", channels)


def unsubscribe_request(channels: Iterable[str]) -> bytes:
    """Return the text message that ends subscriptions."""
    return _request("UNSUBSCRIPTION", channels)


def ping_request() -> bytes:
    """Return the text message that is answered with PONG and keeps the connection."""
    return b'{"method":"PING"}'


class ReplyKind(Enum):
    """What a text message from MEXC says."""

    PONG = "pong"
    ACCEPTED = "accepted"
    """The channels were subscribed or unsubscribed, whichever was asked."""
    REFUSED = "refused"
    """Some channel was not; MEXC says so with code 0, in words."""
    UNKNOWN = "unknown"


class Reply(msgspec.Struct, frozen=True):
    """One parsed text message; channels it names, and the venue's reason for a refusal."""

    kind: ReplyKind
    channels: tuple[str, ...] = ()
    reason: str = ""
    code: int = 0


class _ReplyJson(msgspec.Struct):
    msg: str = ""
    code: int = 0


_reply_decoder = msgspec.json.Decoder(_ReplyJson)


def _channels(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_reply(data: bytes | str) -> Reply:
    """Parse a text message; raises ValueError where it is no JSON object."""
    try:
        reply = _reply_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(
            f"reply {data[:200]!r}: expected a JSON object with code and msg ({error}); "
            "close the connection"
        ) from error
    if refusal := _REFUSAL.search(reply.msg):
        reason = (refusal["reason"] or "").strip()
        return Reply(ReplyKind.REFUSED, _channels(refusal["channels"]), reason, reply.code)
    if reply.code != 0:
        return Reply(ReplyKind.REFUSED, (), reply.msg, reply.code)
    if reply.msg == "PONG":
        return Reply(ReplyKind.PONG)
    names = _channels(reply.msg)
    if names and all(name.startswith("spot@") for name in names):
        return Reply(ReplyKind.ACCEPTED, names)
    return Reply(ReplyKind.UNKNOWN, (), reply.msg)


class Instrument(msgspec.Struct, frozen=True):
    """One row of MEXC's instrument list; value = mantissa * 10**exponent."""

    symbol: str
    base: str
    quote: str
    price_exponent: int
    quantity_exponent: int
    tick_size: int = 1
    """Smallest price step, a mantissa."""
    enabled: bool = True

    def record(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return it as one struct tp_instrument_record; raises ValueError if a name is too long."""
        import numpy as np  # noqa: PLC0415 - who asks for a venue's limits does without it

        row = np.zeros(1, dtype=instrument_dtype())
        if not self.symbol.isascii() or len(self.symbol) >= row.dtype["symbol"].itemsize:
            raise ValueError(
                f"symbol {self.symbol!r}: expected ASCII of at most 31 characters; "
                "leave this instrument out"
            )
        row["venue"] = VENUE.encode()
        row["symbol"] = self.symbol.encode()
        row["price_exponent"] = self.price_exponent
        row["quantity_exponent"] = self.quantity_exponent
        row["tick_size"] = self.tick_size
        return row


class _SymbolJson(msgspec.Struct, rename="camel"):
    symbol: str
    base_asset: str
    quote_asset: str
    base_asset_precision: int
    quote_precision: int
    base_size_precision: str = "0"
    status: str | int = "1"


class _ExchangeInfoJson(msgspec.Struct):
    symbols: list[_SymbolJson]


def _fraction_digits(step: str) -> int:
    _, _, fraction = step.partition(".")
    return len(fraction.rstrip("0"))


def _instrument(row: _SymbolJson) -> Instrument:
    quantity_digits = max(row.base_asset_precision, _fraction_digits(row.base_size_precision))
    for name, digits in (("quotePrecision", row.quote_precision), ("quantity", quantity_digits)):
        if not 0 <= digits <= -EXPONENT_MIN:
            raise ValueError(
                f"{row.symbol}: {name} {digits}: expected 0 to {-EXPONENT_MIN} digits; "
                "leave this instrument out"
            )
    return Instrument(
        symbol=row.symbol,
        base=row.base_asset,
        quote=row.quote_asset,
        price_exponent=-row.quote_precision,
        quantity_exponent=-quantity_digits,
        enabled=str(row.status) in {"1", "ENABLED"},
    )


def parse_instruments(data: bytes, symbols: Iterable[str] | None = None) -> dict[str, Instrument]:
    """Parse the exchangeInfo reply to instruments by symbol; only `symbols` where given.

    Raises ValueError for anything but such a reply, and for an asked symbol that is not in it.
    """
    try:
        rows = msgspec.json.decode(data, type=_ExchangeInfoJson).symbols
    except msgspec.DecodeError as error:
        raise ValueError(
            f"instrument list {data[:80]!r}: expected exchangeInfo JSON ({error}); "
            f"ask {EXCHANGE_INFO_PATH} again"
        ) from error
    if symbols is None:
        return {row.symbol: _instrument(row) for row in rows}
    listed = {row.symbol: row for row in rows}
    wanted = list(symbols)
    if missing := [symbol for symbol in wanted if symbol not in listed]:
        raise ValueError(
            f"symbols {', '.join(missing)}: expected names of MEXC's {len(rows)} spot instruments; "
            "check the spelling, upper case without separator"
        )
    return {symbol: _instrument(listed[symbol]) for symbol in wanted}


def snapshot_path(symbol: str, levels: int = SNAPSHOT_LEVELS_DEFAULT) -> str:
    """Return the REST target of a book snapshot of 1 to 5000 levels a side."""
    if not 1 <= levels <= SNAPSHOT_LEVELS_MAX:
        raise ValueError(f"levels {levels}: expected 1 to {SNAPSHOT_LEVELS_MAX}")
    return f"{DEPTH_PATH}?{urlencode({'symbol': _checked_symbol(symbol), 'limit': levels})}"


class DepthSnapshot(msgspec.Struct, frozen=True):
    """A book as REST gives it; levels as numpy arrays of records.level_dtype, owned by it."""

    version: int
    bids: np.ndarray[Any, np.dtype[Any]]
    asks: np.ndarray[Any, np.dtype[Any]]


class _SnapshotJson(msgspec.Struct, rename="camel"):
    last_update_id: int
    bids: list[list[str]]
    asks: list[list[str]]


_snapshot_decoder = msgspec.json.Decoder(_SnapshotJson)


def _levels(
    rows: Sequence[Sequence[str]], price_exponent: int, quantity_exponent: int
) -> np.ndarray[Any, np.dtype[Any]]:
    if len(rows) > DEPTH_LEVEL_COUNT_MAX:
        raise ValueError(
            f"snapshot of {len(rows)} levels: expected at most {DEPTH_LEVEL_COUNT_MAX}; "
            "ask for fewer"
        )
    import numpy as np  # noqa: PLC0415 - who asks for a venue's limits does without it

    levels = np.zeros(len(rows), dtype=level_dtype())
    target = ffi.cast("struct tp_level *", ffi.from_buffer(levels, require_writable=True))
    out = ffi.new("int64_t *")
    parse = lib.tp_decimal_parse
    for index, row in enumerate(rows):
        if len(row) < 2:
            raise ValueError(f"snapshot level {row!r}: expected price and quantity; ask again")
        price, quantity = row[0].encode(), row[1].encode()
        level = target[index]
        if not parse(price, len(price), price_exponent, out):
            parse_fixed(row[0], price_exponent)  # says what is wrong
        level.price = out[0]
        if not parse(quantity, len(quantity), quantity_exponent, out):
            parse_fixed(row[1], quantity_exponent)
        level.quantity = out[0]
    return levels


def parse_snapshot(data: bytes, price_exponent: int, quantity_exponent: int) -> DepthSnapshot:
    """Parse the depth reply to exact mantissas at the instrument's exponents.

    Raises ValueError where it is no such reply or a number has more digits than the exponent.
    """
    try:
        reply = _snapshot_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(
            f"snapshot {data[:80]!r}: expected depth JSON ({error}); ask {DEPTH_PATH} again"
        ) from error
    if reply.last_update_id < 0:
        raise ValueError(
            f"snapshot version {reply.last_update_id}: expected 0 or more; ask {DEPTH_PATH} again"
        )
    return DepthSnapshot(
        version=reply.last_update_id,
        bids=_levels(reply.bids, price_exponent, quantity_exponent),
        asks=_levels(reply.asks, price_exponent, quantity_exponent),
    )
