/* The table of order_state.h, and the quantities beside it. */
#include "engine/gateway/order_state.h"

#include <assert.h>
#include <string.h>

#define AT(place) [TP_AT_##place]
#define NONE TP_ORDER_MOVE_NONE
#define ODD TP_ORDER_MOVE_ODD
#define NEVR TP_ORDER_MOVE_NEVER
#define SENT TP_AT_SENT
#define ACKN TP_AT_ACKNOWLEDGED
#define PART TP_AT_PARTLY_FILLED
#define CUNS TP_AT_CANCELLING_UNSEEN
#define CNCL TP_AT_CANCELLING
#define UUNS TP_AT_UNKNOWN_UNSEEN
#define UCUN TP_AT_UNKNOWN_CANCEL_UNSEEN
#define USEE TP_AT_UNKNOWN_SEEN
#define FILL TP_AT_FILLED
#define CXLD TP_AT_CANCELLED
#define EXPD TP_AT_EXPIRED
#define REJD TP_AT_REJECTED
#define ABSN TP_AT_ABSENT

/* clang-format off */ /* it aligns no columns, and this is a table */
static const uint8_t NEXT[TP_AT_COUNT][TP_ON_COUNT] = {
    /* on:                      sent unsent ackd  reject fill  filled cancel refusd cancld expird doubt rests absent */
    AT(NEW)                   = {SENT, REJD, ACKN, REJD, PART, FILL, CXLD, ODD,  CXLD, EXPD, UUNS, ACKN, NONE},
    AT(SENT)                  = {NEVR, NEVR, ACKN, REJD, PART, FILL, CUNS, ODD,  CXLD, EXPD, UUNS, ACKN, NONE},
    AT(ACKNOWLEDGED)          = {NEVR, NEVR, NONE, REJD, PART, FILL, CNCL, USEE, CXLD, EXPD, USEE, NONE, USEE},
    AT(PARTLY_FILLED)         = {NEVR, NEVR, NONE, ODD,  NONE, FILL, CNCL, USEE, CXLD, EXPD, USEE, NONE, USEE},
    AT(CANCELLING_UNSEEN)     = {NEVR, NEVR, CNCL, REJD, CNCL, FILL, NONE, UCUN, CXLD, EXPD, UCUN, CNCL, NONE},
    AT(CANCELLING)            = {NEVR, NEVR, NONE, REJD, NONE, FILL, NONE, USEE, CXLD, EXPD, USEE, NONE, USEE},
    AT(UNKNOWN_UNSEEN)        = {NEVR, NEVR, ACKN, REJD, PART, FILL, UCUN, NONE, CXLD, EXPD, NONE, ACKN, ABSN},
    AT(UNKNOWN_CANCEL_UNSEEN) = {NEVR, NEVR, USEE, REJD, USEE, FILL, NONE, NONE, CXLD, EXPD, NONE, ACKN, ABSN},
    AT(UNKNOWN_SEEN)          = {NEVR, NEVR, NONE, REJD, NONE, FILL, NONE, NONE, CXLD, EXPD, NONE, ACKN, ODD},
    AT(FILLED)                = {NEVR, NEVR, NONE, ODD,  NONE, NONE, NONE, NONE, ODD,  ODD,  NONE, NONE, NONE},
    AT(CANCELLED)             = {NEVR, NEVR, NONE, ODD,  NONE, ODD,  NONE, NONE, NONE, NONE, NONE, NONE, NONE},
    AT(EXPIRED)               = {NEVR, NEVR, NONE, ODD,  NONE, ODD,  NONE, NONE, NONE, NONE, NONE, NONE, NONE},
    AT(REJECTED)              = {NEVR, NEVR, NONE, NONE, ODD,  ODD,  NONE, NONE, ODD,  ODD,  NONE, ODD,  NONE},
    AT(ABSENT)                = {NEVR, NEVR, ACKN, REJD, PART, FILL, NONE, NONE, CXLD, EXPD, NONE, ACKN, NONE},
};

static const uint8_t STATE[TP_AT_COUNT] = {
    AT(NEW)                   = TP_ORDER_STATE_NEW,
    AT(SENT)                  = TP_ORDER_STATE_SENT,
    AT(ACKNOWLEDGED)          = TP_ORDER_STATE_ACKNOWLEDGED,
    AT(PARTLY_FILLED)         = TP_ORDER_STATE_PARTLY_FILLED,
    AT(CANCELLING_UNSEEN)     = TP_ORDER_STATE_CANCELLING,
    AT(CANCELLING)            = TP_ORDER_STATE_CANCELLING,
    AT(UNKNOWN_UNSEEN)        = TP_ORDER_STATE_UNKNOWN,
    AT(UNKNOWN_CANCEL_UNSEEN) = TP_ORDER_STATE_UNKNOWN,
    AT(UNKNOWN_SEEN)          = TP_ORDER_STATE_UNKNOWN,
    AT(FILLED)                = TP_ORDER_STATE_FILLED,
    AT(CANCELLED)             = TP_ORDER_STATE_CANCELLED,
    AT(EXPIRED)               = TP_ORDER_STATE_EXPIRED,
    AT(REJECTED)              = TP_ORDER_STATE_REJECTED,
    AT(ABSENT)                = TP_ORDER_STATE_REJECTED,
};
/* clang-format on */

uint8_t tp_order_follow(enum tp_order_place from, enum tp_order_event on)
{
    assert(from < TP_AT_COUNT && on < TP_ON_COUNT);
    return NEXT[from][on];
}

enum tp_order_state tp_order_state_at(enum tp_order_place place)
{
    assert(place < TP_AT_COUNT);
    return (enum tp_order_state)STATE[place];
}

bool tp_order_is_open(const struct tp_order *order)
{
    return order->place < TP_AT_FILLED;
}

bool tp_order_is_unknown(const struct tp_order *order)
{
    return tp_order_state_at((enum tp_order_place)order->place) == TP_ORDER_STATE_UNKNOWN;
}

void tp_order_begin(struct tp_order *order, uint64_t now_ns)
{
    assert(order->id != 0 && order->quantity > 0);
    order->filled = 0;
    order->paid_low = 0;
    order->paid_high = 0;
    order->changed_ns = now_ns;
    order->place = TP_AT_NEW;
    order->reason = TP_ORDER_REASON_NONE;
    order->flags &= TP_ORDER_REDUCE_ONLY;
    order->kind = order->reserved = 0;
    order->changes = 0;
    memset(order->venue_order, 0, sizeof order->venue_order);
}

/* The quantities that a report of this kind may name, of an order: one that fills nothing names
 * none, a fill one above 0. -1: not said. */
static bool is_quantity(const struct tp_order *order, enum tp_order_event on, int64_t filled)
{
    switch (on) {
    case TP_ON_FILL:
    case TP_ON_FILLED:
        return filled >= 1 && filled <= order->quantity;
    case TP_ON_ACKNOWLEDGED:
    case TP_ON_FOUND_RESTING:
    case TP_ON_CANCELLED:
    case TP_ON_EXPIRED:
        return filled >= -1 && filled <= order->quantity;
    case TP_ON_SENT:
    case TP_ON_UNSENT:
    case TP_ON_REJECTED:
    case TP_ON_CANCEL_ASKED:
    case TP_ON_CANCEL_REFUSED:
    case TP_ON_DOUBT:
    case TP_ON_NOT_FOUND:
    case TP_ON_COUNT:
        break;
    }
    return filled >= -1 && filled <= 0;
}

/* Whether it can be about this order at all: else nothing of it counts. The venue gives an order
 * one id. */
static bool is_believable(const struct tp_order *order, const struct tp_order_report *report)
{
    if (!is_quantity(order, report->on, report->filled))
        return false;
    if (report->venue_order_size == 0)
        return true;
    if (report->venue_order_size > TP_VENUE_ORDER_SIZE_MAX)
        return false;
    char name[TP_VENUE_ORDER_SIZE_MAX] = {0};
    memcpy(name, report->venue_order, report->venue_order_size);
    return order->venue_order[0] == '\0' || memcmp(order->venue_order, name, sizeof name) == 0;
}

/* The greatest that the venue named, whichever report came first. */
static uint32_t take_fill(struct tp_order *order, const struct tp_order_report *report)
{
    if (report->filled <= order->filled)
        return TP_NEWS_NONE;
    order->filled = report->filled;
    order->paid_low = report->paid_low;
    order->paid_high = report->paid_high;
    return TP_NEWS_FILL;
}

static uint32_t take_name(struct tp_order *order, const struct tp_order_report *report)
{
    if (report->venue_order_size == 0 || order->venue_order[0] != '\0')
        return TP_NEWS_NONE;
    if (report->venue_order[0] == '\0')
        return TP_NEWS_ODD; /* and nothing of it stays behind a name that comes */
    memcpy(order->venue_order, report->venue_order, report->venue_order_size);
    return TP_NEWS_NAME;
}

/* A report's event by what is filled: all of it ends an order, whatever else the report says. */
static enum tp_order_event event_of(const struct tp_order *order,
                                    const struct tp_order_report *report)
{
    switch (report->on) {
    case TP_ON_FILL:
    case TP_ON_FILLED:
        return order->filled == order->quantity ? TP_ON_FILLED : TP_ON_FILL;
    case TP_ON_ACKNOWLEDGED:
    case TP_ON_FOUND_RESTING:
    case TP_ON_CANCELLED:
    case TP_ON_EXPIRED:
        return report->filled == order->quantity ? TP_ON_FILLED : report->on;
    case TP_ON_SENT:
    case TP_ON_UNSENT:
    case TP_ON_REJECTED:
    case TP_ON_CANCEL_ASKED:
    case TP_ON_CANCEL_REFUSED:
    case TP_ON_DOUBT:
    case TP_ON_NOT_FOUND:
    case TP_ON_COUNT:
        break;
    }
    return report->on;
}

/* What is filled was not refused, and what rests with a fill is partly filled. */
static uint8_t move_of(const struct tp_order *order, enum tp_order_event on)
{
    const uint8_t next = tp_order_follow((enum tp_order_place)order->place, on);
    const uint32_t then = next == TP_ORDER_MOVE_NONE ? order->place : next;
    if (next == TP_AT_REJECTED && order->filled != 0)
        return TP_ORDER_MOVE_ODD;
    if (then == TP_AT_ACKNOWLEDGED && order->filled != 0)
        return TP_AT_PARTLY_FILLED;
    return next;
}

static uint32_t move(struct tp_order *order, const struct tp_order_report *report)
{
    const uint8_t next = move_of(order, event_of(order, report));
    assert(next != TP_ORDER_MOVE_NEVER);
    if (next == TP_ORDER_MOVE_ODD)
        return TP_NEWS_ODD;
    if (next == TP_ORDER_MOVE_NONE)
        return TP_NEWS_NONE;
    const bool was_absent = order->place == TP_AT_ABSENT; /* it was not, as it turns out */
    order->place = next;
    order->reason = (uint8_t)report->reason;
    return was_absent ? TP_NEWS_STATE | TP_NEWS_ODD : TP_NEWS_STATE;
}

uint32_t tp_order_apply(struct tp_order *order, const struct tp_order_report *report)
{
    uint32_t news = TP_NEWS_ODD;
    if (is_believable(order, report)) {
        news = take_name(order, report) | take_fill(order, report);
        news |= move(order, report);
        if (report->on == TP_ON_FILLED && order->filled != order->quantity)
            news |= TP_NEWS_ODD;
    }
    if ((news & TP_NEWS_ODD) != 0)
        order->flags |= TP_ORDER_CONTRADICTED;
    if (news != TP_NEWS_NONE) {
        order->changed_ns = report->now_ns;
        order->changes++;
    }
    return news;
}
