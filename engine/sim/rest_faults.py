"""What the simulated venue's REST does wrong on demand: late, limited, failing, broken, old.

Called by: exchange.py, with every answer of the dialect's. Calls nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

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
    | {Fault.UPGRADE_LIMIT}
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
        if not self._orders:
            return answer
        order = self._orders.popleft()
        if order.fault is Fault.REST_LATE:
            return replace(answer, delay_s=float(order.argument or LATE_S))
        if order.fault is Fault.REST_ERROR:
            return json_response(503, {"code": 503, "msg": "the service is busy"})
        if order.fault is Fault.REST_MALFORMED:
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        return self._kept.get(target, answer)


def _too_many(left_ns: int) -> HttpResponse:
    refusal = json_response(429, {"code": 429, "msg": "too many requests"})
    return replace(refusal, headers={"Retry-After": str(-(-left_ns // NS_PER_S))})
