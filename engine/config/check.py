"""Read a configuration and check it by itself: unknown keys, types, ranges, contradictions.

Called by: engine/supervisor/command.py, engine/feed_handler/process.py. Calls: schema.py.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import lib
from tickpath.engine.config.schema import INLINE_NATIVE, RENAMED, Config, VenueConfig
from tickpath.engine.feed_handler import verification
from tickpath.engine.feed_handler.plan import CONNECTIONS_MAX, make_plan, why_no_race
from tickpath.proto.venues import (
    DEFAULT_NAME,
    load_venue,
    resolve_symbol,
    venue_names,
    why_refused,
)
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXAMPLE = f"examples/{DEFAULT_NAME}.toml"
INSTANCE_LENGTH_MAX = 64
VENUES_MAX = int(lib.TP_FEED_VENUE_COUNT_MAX)
INLINE_MAX = int(lib.TP_NATIVE_COUNT_MAX)
PORT_COUNT_MAX = 4096  # netif.h: TP_NETIF_PORT_COUNT_MAX
_INSTANCE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _describe(value: object) -> str:
    kinds = {str: "a string", bool: "a boolean", int: "an integer", float: "a number"}
    kinds |= {list: "an array", dict: "a table"}
    text = repr(value)
    shown = text if len(text) <= 80 else text[:77] + "..."
    return f"{shown} ({kinds.get(type(value), type(value).__name__)})"


def wrong(path: str, value: object, expected: str, remedy: str = "") -> LocalError:
    """Make the error that says what a key is and what was expected."""
    return LocalError(
        f"{path} is {_describe(value)}, expected {expected}" + (f": {remedy}" if remedy else "")
    )


def _plain(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


def _number(kind: str, info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    low = info.ge if info.ge is not None else info.gt
    if low is None or info.le is None:
        return kind
    return f"{kind} {'from' if info.ge is not None else 'above'} {_plain(low)} to {_plain(info.le)}"


def _not_none(types: tuple[msgspec.inspect.Type, ...]) -> list[msgspec.inspect.Type]:
    return [one for one in types if not isinstance(one, msgspec.inspect.NoneType)]


def _expected(info: msgspec.inspect.Type) -> str:
    words = "a table"
    match info:
        case msgspec.inspect.Metadata(type=inner):
            words = _expected(inner)
        case msgspec.inspect.UnionType(types=types):
            words = " or ".join(_expected(one) for one in _not_none(types))
        case msgspec.inspect.LiteralType(values=values):
            shown = (f'"{value}"' if isinstance(value, str) else str(value) for value in values)
            words = "one of " + ", ".join(shown)
        case msgspec.inspect.IntType():
            words = _number("an integer", info)
        case msgspec.inspect.FloatType():
            words = _number("a number", info)
        case msgspec.inspect.BoolType():
            words = "true or false"
        case msgspec.inspect.StrType():
            words = "a string"
        case msgspec.inspect.VarTupleType(item_type=item):
            words = f"an array, each {_expected(item)}"
        case msgspec.inspect.TupleType(item_types=items):
            words = f"an array of {len(items)}, each {_expected(items[0])}"
        case msgspec.inspect.DictType(value_type=item):
            words = f"a table, each value {_expected(item)}"
    return words


def _in_range(value: float, info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> bool:
    return (
        (info.ge is None or value >= info.ge)
        and (info.gt is None or value > info.gt)
        and (info.le is None or value <= info.le)
    )


def _is_of(value: object, info: msgspec.inspect.Type) -> bool:
    """Tell whether a scalar is of the type and in its range."""
    if isinstance(value, bool):  # an int too, but not to people
        return isinstance(info, msgspec.inspect.BoolType)
    match info:
        case msgspec.inspect.LiteralType(values=values):
            return isinstance(value, str | int) and value in values
        case msgspec.inspect.StrType():
            return isinstance(value, str)
        case msgspec.inspect.IntType():
            return isinstance(value, int) and _in_range(value, info)
        case msgspec.inspect.FloatType():
            return isinstance(value, int | float) and _in_range(value, info)
    return False


def _check(value: object, info: msgspec.inspect.Type, path: str, remedy: str = "") -> None:
    """Raise LocalError for the first thing that does not fit the schema."""
    match info:
        case msgspec.inspect.Metadata(type=inner, extra=extra):
            _check(value, inner, path, (extra or {}).get("remedy", ""))
        case msgspec.inspect.UnionType(types=types) if len(_not_none(types)) == 1:
            _check(value, _not_none(types)[0], path, remedy)
        case msgspec.inspect.StructType():
            _check_table(value, info, path)
        case msgspec.inspect.VarTupleType(item_type=item) if isinstance(value, list):
            for index, one in enumerate(value):
                _check(one, item, f"{path}[{index}]")
        case msgspec.inspect.TupleType(item_types=items) if isinstance(value, list) and len(
            value
        ) == len(items):
            for index, one in enumerate(value):
                _check(one, items[index], f"{path}[{index}]")
        case msgspec.inspect.DictType(value_type=item) if isinstance(value, dict):
            for key, one in value.items():
                _check(one, item, _join(path, f'"{key}"'))
        case _:
            types = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
            if not any(_is_of(value, one) for one in types):
                raise wrong(path, value, _expected(info), remedy)


def _check_table(value: object, info: msgspec.inspect.StructType, path: str) -> None:
    if not isinstance(value, dict):
        name = path.rpartition(".")[2] or "the file"
        raise wrong(path, value, f"a table: write [{name}] above its keys")
    fields = {one.encode_name: one for one in info.fields}
    if info.cls is VenueConfig:
        fields = _venue_fields(value, fields, path)
    for key in value:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(fields)}"
            raise LocalError(
                f"{_join(path, key)} is {_describe(value[key])}, expected no such key: {hint}"
            )
    for key, one in fields.items():
        if key in value:
            _check(value[key], one.type, _join(path, key))
        elif one.required:
            raise LocalError(
                f"{_join(path, key)} is missing, expected {_expected(one.type)}: {EXAMPLE} shows it"
            )


_Fields = dict[str, msgspec.inspect.Field]


def _venue_fields(table: dict[str, Any], common: _Fields, path: str) -> _Fields:
    """Return the keys that a [[venue]] table may have: all venues' and its own."""
    name = table.get("name", DEFAULT_NAME)
    if reason := why_refused(name):
        raise LocalError(f"{path}.name is {name!r}, which is refused: {reason}")
    if name not in venue_names():
        known = ", ".join(f'"{one}"' for one in venue_names())
        raise wrong(f"{path}.name", name, f"one of {known}")
    own = msgspec.inspect.type_info(load_venue(name).settings)
    if not isinstance(own, msgspec.inspect.StructType):
        raise AssertionError(f"the settings of {name} are no Struct")
    fields = common | {one.encode_name: one for one in own.fields}
    del fields["settings"]
    return fields


def _convert(raw: dict[str, Any]) -> Config:
    """Make the records of a checked table; each venue's own keys go to its settings."""
    tables, settings = [], []
    for table in raw["venue"]:
        kind = load_venue(table.get("name", DEFAULT_NAME)).settings
        own = {one.encode_name for one in msgspec.structs.fields(kind)}
        settings.append(msgspec.convert({k: v for k, v in table.items() if k in own}, kind))
        tables.append({key: value for key, value in table.items() if key not in own})
    config = msgspec.convert(raw | {"venue": tables}, Config)
    venues = tuple(
        msgspec.structs.replace(venue, settings=own)
        for venue, own in zip(config.venues, settings, strict=True)
    )
    return msgspec.structs.replace(config, venues=venues)


# ---- keys under the names of the version before --------------------------------------------------


def _rename(table: dict[str, Any], renamed: Mapping[str, str], path: str) -> list[str]:
    warnings = []
    for old, new in renamed.items():
        if old not in table:
            continue
        if new in table:
            raise LocalError(
                f"{_join(path, old)} is the old name of {_join(path, new)}, and both are there: "
                f"keep {new} alone"
            )
        table[new] = table.pop(old)
        warnings.append(
            f"{_join(path, old)} is now called {_join(path, new)}: rename it; the next version "
            "refuses the old name"
        )
    return warnings


def _take_old_names(raw: dict[str, Any]) -> list[str]:
    """Give old keys their new names, in place; return a warning for each."""
    warnings = _rename(raw, RENAMED, "")
    tables = raw.get("venue")
    for index, table in enumerate(tables if isinstance(tables, list) else ()):
        if isinstance(table, dict) and table.get("name", DEFAULT_NAME) in venue_names():
            own = load_venue(table.get("name", DEFAULT_NAME)).settings.renamed
            warnings += _rename(table, own, f"venue[{index}]")
    return warnings


# ---- what a type cannot say ----------------------------------------------------------------------


def check_name(what: str, name: str) -> None:
    """Check the name of an instance or a strategy; raises LocalError that names `what`."""
    if not _INSTANCE.fullmatch(name) or len(name) > INSTANCE_LENGTH_MAX:
        raise wrong(
            what,
            name,
            f"1 to {INSTANCE_LENGTH_MAX} letters, digits, '.', '_' or '-', not '.' first",
            "it becomes part of a file's name",
        )


def _check_venues(venues: Sequence[VenueConfig]) -> None:
    """Check each section, and that one feed handler can hold all of them."""
    if not 1 <= len(venues) <= VENUES_MAX:
        raise LocalError(
            f"{len(venues)} [[venue]] sections, expected 1 to {VENUES_MAX}: run a "
            "second instance for the rest"
        )
    first: dict[str, str] = {}
    connections = 0
    for index, venue in enumerate(venues):
        path = f"venue[{index}]"
        if venue.name in first:
            expected = f"each venue once, and it is that of {first[venue.name]} already"
            remedy = (
                "a row says which venue it is of, not of which section: put all symbols into one "
                "section, or run a second instance"
            )
            raise wrong(f"{path}.name", venue.name, expected, remedy)
        first[venue.name] = path
        _check_settings(venue, path)
        _check_race(venue, path)
        connections += _check_symbols(venue, path)
        _check_names(venue, path)
    if connections > CONNECTIONS_MAX:
        raise LocalError(
            f"venue: the symbols of {len(venues)} venues need {connections} connections, expected "
            f"at most {CONNECTIONS_MAX}: run a second instance for the rest"
        )


def _check_symbols(venue: VenueConfig, path: str) -> int:
    """Return how many connections they need."""
    if not venue.symbols:
        example = f'as in symbols = ["{venue.venue.example_symbol}"]'
        raise wrong(f"{path}.symbols", [], "at least one symbol", example)
    seen: dict[str, int] = {}
    for index, symbol in enumerate(venue.symbols):
        place = f"{path}.symbols[{index}]"
        try:
            own = resolve_symbol(venue.venue, symbol)
        except ValueError as error:
            raise LocalError(f"{place} is {_describe(symbol)}: {error}") from error
        if own in seen:
            first = f"{path}.symbols[{seen[own]}]"
            raise wrong(place, symbol, f"each symbol once, and it is {first} already", "remove it")
        seen[own] = index
    try:
        return len(make_plan(venue, list(seen)).connections)
    except ValueError as error:
        raise LocalError(f"{path}.symbols: {error}") from error


def _check_settings(venue: VenueConfig, path: str) -> None:
    try:
        venue.settings.check()
    except ValueError as error:
        raise LocalError(f"{path}: {error}") from error


def _check_race(venue: VenueConfig, path: str) -> None:
    why = why_no_race(venue) if venue.seats > 1 else ""
    if why and venue.race > 1:
        raise wrong(f"{path}.race", venue.race, f"1 for {venue.venue.title}", why)
    if why:
        raise wrong(f"{path}.overlap", venue.overlap, f"false for {venue.venue.title}", why)
    for index, address in enumerate(venue.addresses):
        _check_address(f"{path}.addresses[{index}]", address)


def _check_address(place: str, address: str) -> None:
    try:
        IPv4Address(address)
    except AddressValueError as error:
        raise wrong(place, address, "an IPv4 address", str(error)) from error


def _check_names(venue: VenueConfig, path: str) -> None:
    for key in ("host", "rest_host", "server_name"):
        name = getattr(venue, key)
        if name is not None and not _HOST.fullmatch(name):
            raise wrong(f"{path}.{key}", name, "a host name or an IPv4 address", "no port, no URL")
    if venue.path is not None and (
        not venue.path.startswith("/") or any(not "!" <= c <= "~" for c in venue.path)
    ):
        raise wrong(f"{path}.path", venue.path, 'printable ASCII that begins with "/"')
    for key, address in venue.resolve.items():
        place = f'{path}.resolve."{key}"'
        host, _, port = key.rpartition(":")
        if not _HOST.fullmatch(host) or not port.isascii() or not port.isdigit():
            raise wrong(place, address, f'a key "host:port", not {key!r}')
        for one in address.split(","):
            _check_address(place, one)


def _check_strategies(config: Config) -> None:
    """Check what each strategy says of itself; its code is looked at where it runs."""
    first: dict[str, str] = {}
    for index, one in enumerate(config.strategies):
        path = f"strategy[{index}]"
        check_name(f"{path}.name", one.name)
        if one.name in first:
            expected = f"each name once, and it is that of {first[one.name]} already"
            raise wrong(f"{path}.name", one.name, expected, "rename it")
        first[one.name] = path
        file, colon, what = one.source.rpartition(":")
        if not colon or not file or not what:
            expected = "file.py:Class, file.py:function or library.so:symbol"
            raise wrong(f"{path}.source", one.source, expected)
        if one.placement == INLINE_NATIVE and not one.trust_strategy:
            raise wrong(
                f"{path}.placement",
                one.placement,
                "trust_strategy = true beside it",
                "it runs in the feed handler's own thread and memory: a fault of it ends the feed "
                "handler, and while it computes no packet is read",
            )
        if one.placement != INLINE_NATIVE and one.instruments:
            expected = 'none with placement = "split", which sees all of the instance'
            raise wrong(f"{path}.instruments", list(one.instruments), expected)
        for place, name in enumerate(one.instruments):
            if not any(_is_read(venue, name) for venue in config.venues):
                expected = "a symbol of a [[venue]] of this file, SYMBOL or venue:SYMBOL"
                raise wrong(f"{path}.instruments[{place}]", name, expected)
    inline = sum(one.placement == INLINE_NATIVE for one in config.strategies)
    if inline > INLINE_MAX:
        raise LocalError(f"{inline} inline strategies, expected at most {INLINE_MAX}")


def _is_read(venue: VenueConfig, name: str) -> bool:
    """Say whether a strategy's name of an instrument means one of the venue's symbols."""
    own, colon, symbol = name.partition(":")
    if colon and own != venue.name:
        return False
    try:
        wanted = resolve_symbol(venue.venue, symbol if colon else name)
    except ValueError:
        return False
    return wanted in {resolve_symbol(venue.venue, one) for one in venue.symbols}


def _check_verification(config: Config) -> None:
    health = config.health
    if health.verify_quiet_after_s > health.verify_max_s:
        expected = f"at most verify_max_s, {health.verify_max_s:g}"
        raise wrong("health.verify_quiet_after_s", health.verify_quiet_after_s, expected)
    for index, venue in enumerate(config.venues):
        try:
            verification.check_plan(venue, health, len(venue.symbols))
        except LocalError as error:
            raise LocalError(f"venue[{index}].symbols: {error}") from error


def _check_values(config: Config) -> None:
    _check_venues(config.venues)
    _check_verification(config)
    _check_strategies(config)
    low, high = config.network.port_range
    if low > high:
        raise wrong("network.port_range", [low, high], "the first port not above the last")
    if high - low + 1 > PORT_COUNT_MAX:
        raise wrong(
            "network.port_range",
            [low, high],
            f"at most {PORT_COUNT_MAX} ports",
            f"no other program can use them meanwhile; [{low}, {low + PORT_COUNT_MAX - 1}] fits",
        )
    for section in ("shm", "record"):
        capacity = getattr(config, section).ring_capacity
        if capacity & (capacity - 1):
            below = 1 << (capacity.bit_length() - 1)
            remedy = f"{below} or {2 * below}"
            raise wrong(f"{section}.ring_capacity", capacity, "a power of two", remedy)
    if config.reconnect.first_s > config.reconnect.max_s:
        raise wrong(
            "reconnect.first_s",
            config.reconnect.first_s,
            f"at most max_s, {config.reconnect.max_s}",
        )


def _ignore(_: str) -> None:
    pass


def parse_config(text: str, warn: Callable[[str], None] = _ignore) -> Config:
    """Check a configuration's text; raises LocalError without the file's name.

    `warn` gets one line for each key that stands there under the name it had before.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalError(f"not TOML: {error}") from error
    for warning in _take_old_names(raw):
        warn(warning)
    _check(raw, msgspec.inspect.type_info(Config), "")
    if "instance" in raw:
        check_name("instance", raw["instance"])
    config = _convert(raw)
    _check_values(config)
    return config


def load_config(path: Path | str, warn: Callable[[str], None] = _ignore) -> Config:
    """Read and check a configuration file; `warn` as for parse_config. Raises LocalError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise LocalError(
            f"configuration {path}: {reason}; expected a readable TOML file: "
            f"{EXAMPLE} is one to copy"
        ) from error
    try:
        return parse_config(text, lambda line: warn(f"{path}: {line}"))
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from error.__cause__
