"""What the simulated venue's REST does wrong on demand: late, limited, failing, broken, old.

Called by: exchange.py, with every answer of the dialect's. Calls nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from tickpath.engine.sim.dialect import HttpResponse, json_response
from tickpath.engine.sim.faults import Fault

if TYPE_CHECKING:
    from tickpath.engine.sim.faults import Order

LATE_S: Final = 3.0
LIMIT_S: Final = 5.0
NS_PER_S: Final = 1_000_000_000
KEPT_TARGETS_MAX: Final = 1024

REST_FAULTS: Final = frozenset(
    {Fault.REST_LATE, Fault.REST_LIMIT, Fault.REST_ERROR, Fault.REST_MALFORMED, Fault.REST_OLD}
    | {Fault.UPGRADE_LIMIT, Fault.REST_DOUBLED, Fault.REST_ROWS}
)


class RestFaults:
    """Spoils the answers that come after an order; one order, one answer, but for REST_LIMIT."""

    def __init__(self) -> None:
        self._orders: deque[Order] = deque()
        self._limited_until_ns = self._upgrades_until_ns = 0
        self._kept: dict[str, HttpResponse] = {}

    def do(self, order: Order, now_ns: int) -> None:
        """Let an order take effect from the next answer on."""
        limit_ns = int(float(order.argument or LIMIT_S) * NS_PER_S)
        if order.fault is Fault.REST_LIMIT:
            self._limited_until_ns = now_ns + limit_ns
        elif order.fault is Fault.UPGRADE_LIMIT:
            self._upgrades_until_ns = now_ns + limit_ns
        else:
            self._orders.append(order)

    def refuse_upgrade(self, now_ns: int) -> HttpResponse | None:
        """Return what an upgrade is answered with while they are limited."""
        left_ns = self._upgrades_until_ns - now_ns
        return _too_many(left_ns) if left_ns > 0 else None

    def spoil(self, target: str, answer: HttpResponse, now_ns: int) -> HttpResponse:
        """Return what is sent instead of an answer."""
        if now_ns < self._limited_until_ns:
            return _too_many(self._limited_until_ns - now_ns)
        sent = self._spoil_once(target, answer)
        if len(self._kept) < KEPT_TARGETS_MAX:
            self._kept.setdefault(target, answer)  # the oldest: of a base, far behind the stream
        return sent

    def _spoil_once(self, target: str, answer: HttpResponse) -> HttpResponse:
        for order in self._orders:
            spoiled = self._spoiled(order, target, answer)
            if spoiled is not None:
                self._orders.remove(order)
                return spoiled
        return answer

    def _spoiled(self, order: Order, target: str, answer: HttpResponse) -> HttpResponse | None:
        """Return what an order makes of an answer; None: it waits for one of another kind."""
        if order.fault is Fault.REST_DOUBLED:
            return double_prices(answer)
        if order.fault is Fault.REST_ROWS:
            return add_rows(answer)
        if order.fault is Fault.REST_LATE:
            return replace(answer, delay_s=float(order.argument or LATE_S))
        if order.fault is Fault.REST_ERROR:
            return json_response(503, {"code": 503, "msg": "the service is busy"})
        if order.fault is Fault.REST_MALFORMED:
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        return self._kept.get(target, answer)


def double_prices(answer: HttpResponse) -> HttpResponse | None:
    """Name the best price of each side twice, first with another quantity; None: it has no sides.

    A side is a list of lists that begin with two texts, wherever it stands in an object.
    """
    body = msgspec.json.decode(answer.body)
    sides = [
        value for value in held_in(body) if isinstance(value, list) and value and is_level(value[0])
    ]
    for side in sides:
        (price, *_), (_, quantity, *_) = side[0], side[-1]
        side.insert(0, [price, quantity])
    return replace(answer, body=msgspec.json.encode(body)) if sides else None


def held_in(body: object) -> list[Any]:
    """Return what an answer's objects hold, however deep they lie in each other: outer ones first.

    Some venues put all that they say into an object of its own.
    """
    held = list(body.values()) if isinstance(body, dict) else [body]
    for value in held:  # which grows by what is found
        held += value.values() if isinstance(value, dict) else ()
    return held


def is_level(value: object) -> bool:
    """Say whether this is a price and a quantity, as texts."""
    is_pair = isinstance(value, list) and len(value) >= 2
    return is_pair and all(isinstance(one, str) for one in cast("list[object]", value)[:2])


def add_rows(answer: HttpResponse) -> HttpResponse | None:
    """Add rows that nobody can read to a list of instruments; None: it is no such list."""
    body = msgspec.json.decode(answer.body)
    for rows in held_in(body):
        many = list(rows.values()) if isinstance(rows, dict) else rows
        if not isinstance(many, list) or not many or not isinstance(many[0], dict):
            continue
        bad = bad_rows(many[0])
        if isinstance(rows, dict):
            rows.update({f"BAD{number}": row for number, row in enumerate(bad)})
        else:
            rows[:0] = bad
        return replace(answer, body=msgspec.json.encode(body))
    return None


def bad_rows(row: dict[str, Any]) -> list[Any]:
    """Return a row with a name outside of ASCII, spoiled in turn, and what is no row at all."""
    texts = {key: f"\u00e9{one}" if isinstance(one, str) else one for key, one in row.items()}
    digits = {key: 20 if isinstance(one, int) else one for key, one in texts.items()}
    quoted = {key: str(one) if isinstance(one, int) else one for key, one in texts.items()}
    lacking = dict(list(texts.items())[:2])
    return [texts, digits, quoted, lacking, dict.fromkeys(row), {}, None, 5, "row", []]


def _too_many(left_ns: int) -> HttpResponse:
    refusal = json_response(429, {"code": 429, "msg": "too many requests"})
    return replace(refusal, headers={"Retry-After": str(-(-left_ns // NS_PER_S))})
