/* What an order must not do, judged before it has an id: every limit, each refusal by its name.
 *
 * All is counted at its worst. An order that is open, UNKNOWN included, counts in full against the
 * position: what it may still fill is added to what the position is. Prices and quantities are
 * compared only where request, book and limits have the same exponents; products are 128 bits wide.
 * What cannot be judged (a book that is not LIVE or too old, an empty side) is refused.
 *
 * Limits are tightened while it runs, loosened by a restart alone. The mode lies in shared memory,
 * written by whoever halts: one load, the first of all checks. A number there that is no mode is
 * HALTED.
 *
 * Called by: the gateway, before a request gets its id. One thread; no clock is read.
 * tests/unit/test_risk.py holds it to a model in fractions. */
#ifndef TP_ENGINE_RISK_H
#define TP_ENGINE_RISK_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/gateway/throttle.h"
#include "proto/orders.h"
#include "proto/records.h"

enum tp_trading_mode {
    TP_MODE_LIVE = 0,
    TP_MODE_REDUCING = 1, /* only what brings a position nearer to nothing */
    TP_MODE_HALTED = 2,   /* no new order */
};

/* In the order in which they are asked. */
enum tp_risk_refusal {
    TP_RISK_NONE = 0,
    TP_RISK_HALTED,
    TP_RISK_LOSS,       /* the account lost its limit of the day */
    TP_RISK_REQUEST,    /* no side, no type, a price or quantity that is not above 0 */
    TP_RISK_INSTRUMENT, /* not allowed */
    TP_RISK_SCALE,      /* of other exponents than the instrument's now */
    TP_RISK_BOOK,       /* not LIVE, or the side that it needs is empty */
    TP_RISK_STALE_BOOK, /* older than allowed */
    TP_RISK_TICK,
    TP_RISK_LOT,
    TP_RISK_BAND,       /* too far beyond the touch */
    TP_RISK_SIZE,       /* quantity below or above its limits */
    TP_RISK_NOTIONAL,   /* price * quantity, likewise */
    TP_RISK_OPEN,       /* too many open orders, of the instrument or of the account */
    TP_RISK_POSITION,   /* filled with all that is open, it would be beyond its limit */
    TP_RISK_REDUCING,   /* it does not bring the position nearer to nothing */
    TP_RISK_SELF_CROSS, /* it would meet an order of our own */
    TP_RISK_CHURN,      /* too many new orders of this instrument; wait_ns says for how long */
    TP_RISK_RATE,       /* of this account, likewise */
    TP_RISK_COUNT,
};

struct tp_notional {
    uint64_t low, high; /* 128 bits, of price_exponent + quantity_exponent */
};

struct tp_risk_limits {
    int64_t quantity_min, quantity_max;
    int64_t position_max; /* either way */
    struct tp_notional notional_min, notional_max;
    uint64_t book_age_max_ns;
    uint32_t band; /* of 1/10,000: a bid at most so much above the best ask */
    uint32_t open_max;
};

struct tp_risk_instrument {
    struct tp_risk_limits limits;
    int64_t tick_size, lot_size;
    int8_t price_exponent, quantity_exponent;
    uint8_t is_allowed;
    uint8_t reserved[5];
    /* What is, in mantissas of the exponents above. */
    int64_t position;
    int64_t open_bids, open_asks; /* unfilled quantity of open orders */
    int64_t own_bid, own_ask;     /* best prices of open ones; 0 and INT64_MAX: none */
    uint32_t open_count;
    uint32_t reserved_count;
    struct tp_throttle churn; /* burst_ns UINT64_MAX: no limit */
};

struct tp_risk_account {
    const uint32_t *mode; /* enum tp_trading_mode; written by others, atomically */
    int64_t result;       /* of the day, in the account's own unit; the cold side's */
    int64_t loss_max;     /* above 0 */
    uint32_t open_count, open_max;
    struct tp_throttle_set rates;
};

/* What it judged, and what it was judged by. */
struct tp_risk_question {
    const struct tp_order_request *request;
    const struct tp_book_record *book; /* of the request's instrument, in hand */
    uint64_t now_ns;
    uint64_t wait_ns; /* set: of CHURN and RATE, else 0 */
};

/* Everything but bounds in force; all allowed once is_allowed is set. */
void tp_risk_instrument_init(struct tp_risk_instrument *instrument);
/* TP_RISK_NONE: it may be sent, and one of each rate was taken. */
enum tp_risk_refusal tp_risk_judge(struct tp_risk_account *account,
                                   struct tp_risk_instrument *instrument,
                                   struct tp_risk_question *question);
/* What a change of an order makes of position and open orders. before: NULL for one that is new. */
void tp_risk_follow(struct tp_risk_account *account, struct tp_risk_instrument *instrument,
                    const struct tp_order *before, const struct tp_order *after);
/* Best own prices anew, from the orders of all instruments: after one of this one ended. */
void tp_risk_touch(struct tp_risk_instrument *instrument, uint32_t number,
                   const struct tp_order *orders, uint32_t order_count);
/* Takes each limit that is tighter than what is in force. False: one was looser, and was left. */
bool tp_risk_tighten(struct tp_risk_limits *limits, const struct tp_risk_limits *to);
#endif
