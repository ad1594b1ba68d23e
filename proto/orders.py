"""The records of orders.h seen from Python: names of states, kinds and reasons."""

from __future__ import annotations

from typing import Final

from tickpath._core import lib
from tickpath.proto.records import Named

ORDERS_VERSION: Final = int(lib.TP_ORDERS_VERSION)
VENUE_ORDER_SIZE_MAX: Final = int(lib.TP_VENUE_ORDER_SIZE_MAX)


class OrderState(Named):
    """What is known of an order; UNKNOWN: the venue alone can say, and is asked."""

    NONE = int(lib.TP_ORDER_STATE_NONE)
    NEW = int(lib.TP_ORDER_STATE_NEW)
    SENT = int(lib.TP_ORDER_STATE_SENT)
    ACKNOWLEDGED = int(lib.TP_ORDER_STATE_ACKNOWLEDGED)
    PARTLY_FILLED = int(lib.TP_ORDER_STATE_PARTLY_FILLED)
    FILLED = int(lib.TP_ORDER_STATE_FILLED)
    CANCELLING = int(lib.TP_ORDER_STATE_CANCELLING)
    CANCELLED = int(lib.TP_ORDER_STATE_CANCELLED)
    REJECTED = int(lib.TP_ORDER_STATE_REJECTED)
    EXPIRED = int(lib.TP_ORDER_STATE_EXPIRED)
    UNKNOWN = int(lib.TP_ORDER_STATE_UNKNOWN)


class OrderType(Named):
    """How an order meets the book."""

    LIMIT = int(lib.TP_ORDER_LIMIT)
    MARKET = int(lib.TP_ORDER_MARKET)
    IOC = int(lib.TP_ORDER_IOC)
    FOK = int(lib.TP_ORDER_FOK)
    POST_ONLY = int(lib.TP_ORDER_POST_ONLY)


class OrderReason(Named):
    """Why an order is in its state."""

    NONE = int(lib.TP_ORDER_REASON_NONE)
    VENUE = int(lib.TP_ORDER_REASON_VENUE)
    ABSENT = int(lib.TP_ORDER_REASON_ABSENT)
    UNSENT = int(lib.TP_ORDER_REASON_UNSENT)
    LATE = int(lib.TP_ORDER_REASON_LATE)
    TIMEOUT = int(lib.TP_ORDER_REASON_TIMEOUT)
    BROKEN = int(lib.TP_ORDER_REASON_BROKEN)
    CONNECTION = int(lib.TP_ORDER_REASON_CONNECTION)
    RESTART = int(lib.TP_ORDER_REASON_RESTART)
    CANCEL_REFUSED = int(lib.TP_ORDER_REASON_CANCEL_REFUSED)
    WITHDRAWN = int(lib.TP_ORDER_REASON_WITHDRAWN)
