/* The checks of risk.h, from the cheapest on. */
#include "engine/gateway/risk.h"

#include <assert.h>
#include <string.h>

#include "engine/gateway/order_state.h"

enum { BAND_WHOLE = 10000 };
__extension__ typedef __int128 wide; /* ISO C11 has no such type, both compilers do */
__extension__ typedef unsigned __int128 unsigned_wide;

static unsigned_wide wide_of(struct tp_notional notional)
{
    return (unsigned_wide)notional.high << 64 | notional.low;
}

void tp_risk_instrument_init(struct tp_risk_instrument *instrument)
{
    memset(instrument, 0, sizeof *instrument);
    instrument->tick_size = instrument->lot_size = 1;
    instrument->own_ask = INT64_MAX;
    instrument->churn.burst_ns = UINT64_MAX;
}

static enum tp_trading_mode mode_of(const struct tp_risk_account *account)
{
    /* One word, no other is read on its strength; cffi has no _Atomic. */
    const uint32_t mode = __atomic_load_n(account->mode, __ATOMIC_RELAXED);
    return mode <= TP_MODE_HALTED ? (enum tp_trading_mode)mode : TP_MODE_HALTED;
}

static bool is_request(const struct tp_order_request *request)
{
    const bool has_price = request->type == TP_ORDER_MARKET || request->price > 0;
    return request->verb == TP_REQUEST_PLACE && request->side <= TP_SIDE_ASK &&
           request->type < TP_ORDER_TYPE_COUNT && request->quantity > 0 && has_price &&
           (request->flags & ~TP_ORDER_REDUCE_ONLY) == 0;
}

/* The touch that an order of this side would meet; 0: there is none. */
static int64_t touch_of(const struct tp_book_record *book, uint8_t side)
{
    if (side == TP_SIDE_BID)
        return book->ask_count != 0 ? book->asks[0].price : 0;
    return book->bid_count != 0 ? book->bids[0].price : 0;
}

static enum tp_risk_refusal judge_book(const struct tp_risk_instrument *instrument,
                                       const struct tp_risk_question *question)
{
    const struct tp_order_request *request = question->request;
    const struct tp_book_record *book = question->book;
    if (request->price_exponent != instrument->price_exponent ||
        request->quantity_exponent != instrument->quantity_exponent ||
        book->price_exponent != instrument->price_exponent ||
        book->quantity_exponent != instrument->quantity_exponent)
        return TP_RISK_SCALE;
    if (book->instrument != request->instrument || book->state != TP_BOOK_LIVE ||
        touch_of(book, request->side) <= 0)
        return TP_RISK_BOOK;
    const uint64_t proved =
        book->verified_ns > book->message_ns ? book->verified_ns : book->message_ns;
    /* A stamp of the future is another clock's: no age at all. */
    if (proved > question->now_ns || question->now_ns - proved > instrument->limits.book_age_max_ns)
        return TP_RISK_STALE_BOOK;
    return TP_RISK_NONE;
}

/* The worst price that it may trade at: its own, or, of a MARKET one, the end of the band. */
static wide worst_price(const struct tp_risk_instrument *instrument,
                        const struct tp_order_request *request, int64_t touch)
{
    if (request->type != TP_ORDER_MARKET)
        return request->price;
    if (request->side == TP_SIDE_ASK)
        return touch; /* what it takes is less; what it is worth, no more */
    const wide most = (wide)touch * (BAND_WHOLE + (wide)instrument->limits.band);
    return (most + BAND_WHOLE - 1) / BAND_WHOLE;
}

static bool is_within_band(const struct tp_risk_instrument *instrument,
                           const struct tp_order_request *request, int64_t touch)
{
    const wide price = (wide)request->price * BAND_WHOLE;
    const wide band = instrument->limits.band;
    if (request->type == TP_ORDER_MARKET)
        return true;
    if (request->side == TP_SIDE_BID)
        return price <= (wide)touch * (BAND_WHOLE + band);
    return price >= (wide)touch * (BAND_WHOLE - band);
}

static enum tp_risk_refusal judge_numbers(const struct tp_risk_instrument *instrument,
                                          const struct tp_risk_question *question)
{
    const struct tp_order_request *request = question->request;
    const struct tp_risk_limits *limits = &instrument->limits;
    const int64_t touch = touch_of(question->book, request->side);
    if (request->type != TP_ORDER_MARKET && request->price % instrument->tick_size != 0)
        return TP_RISK_TICK;
    if (request->quantity % instrument->lot_size != 0)
        return TP_RISK_LOT;
    if (!is_within_band(instrument, request, touch))
        return TP_RISK_BAND;
    if (request->quantity < limits->quantity_min || request->quantity > limits->quantity_max)
        return TP_RISK_SIZE;
    /* Below 2^64 * 2^63 where a touch is far below 2^63 / 2: else it is beyond any limit. */
    const wide price = worst_price(instrument, request, touch);
    if (price > INT64_MAX)
        return TP_RISK_NOTIONAL;
    const unsigned_wide notional = (unsigned_wide)price * (unsigned_wide)request->quantity;
    /* An ask below the touch trades at the touch: it is worth so much at most. */
    const bool meets = request->side == TP_SIDE_ASK && price < touch;
    const unsigned_wide most =
        meets ? (unsigned_wide)touch * (unsigned_wide)request->quantity : notional;
    if (notional < wide_of(limits->notional_min) || most > wide_of(limits->notional_max))
        return TP_RISK_NOTIONAL;
    return TP_RISK_NONE;
}

/* Where the position would be, if all that is open on this side were filled, and this too. */
static wide position_after(const struct tp_risk_instrument *instrument,
                           const struct tp_order_request *request)
{
    if (request->side == TP_SIDE_BID)
        return (wide)instrument->position + instrument->open_bids + request->quantity;
    return (wide)instrument->position - instrument->open_asks - request->quantity;
}

static bool crosses_own(const struct tp_risk_instrument *instrument,
                        const struct tp_order_request *request)
{
    const bool is_market = request->type == TP_ORDER_MARKET;
    if (request->side == TP_SIDE_BID)
        return instrument->own_ask != INT64_MAX &&
               (is_market || request->price >= instrument->own_ask);
    return instrument->own_bid != 0 && (is_market || request->price <= instrument->own_bid);
}

static enum tp_risk_refusal judge_holdings(const struct tp_risk_account *account,
                                           const struct tp_risk_instrument *instrument,
                                           const struct tp_order_request *request)
{
    const struct tp_risk_limits *limits = &instrument->limits;
    const wide after = position_after(instrument, request);
    const bool is_bid = request->side == TP_SIDE_BID;
    /* Nearer to nothing, and not beyond it. */
    const bool reduces =
        is_bid ? instrument->position < 0 && after <= 0 : instrument->position > 0 && after >= 0;
    if (instrument->open_count >= limits->open_max || account->open_count >= account->open_max)
        return TP_RISK_OPEN;
    /* What reduces is allowed from beyond the limit too: it is the way back. */
    if (!reduces && (is_bid ? after > limits->position_max : after < -(wide)limits->position_max))
        return TP_RISK_POSITION;
    const bool must_reduce =
        (request->flags & TP_ORDER_REDUCE_ONLY) != 0 || mode_of(account) == TP_MODE_REDUCING;
    if (must_reduce && !reduces)
        return TP_RISK_REDUCING;
    return crosses_own(instrument, request) ? TP_RISK_SELF_CROSS : TP_RISK_NONE;
}

static enum tp_risk_refusal judge_rates(struct tp_risk_account *account,
                                        struct tp_risk_instrument *instrument,
                                        struct tp_risk_question *question)
{
    question->wait_ns = tp_throttle_wait_ns(&instrument->churn, false, question->now_ns);
    if (question->wait_ns != 0)
        return TP_RISK_CHURN;
    question->wait_ns = tp_throttle_take(&account->rates, false, question->now_ns);
    if (question->wait_ns != 0)
        return TP_RISK_RATE;
    tp_throttle_spend(&instrument->churn, question->now_ns);
    return TP_RISK_NONE;
}

enum tp_risk_refusal tp_risk_judge(struct tp_risk_account *account,
                                   struct tp_risk_instrument *instrument,
                                   struct tp_risk_question *question)
{
    question->wait_ns = 0;
    if (mode_of(account) == TP_MODE_HALTED)
        return TP_RISK_HALTED;
    if (account->loss_max <= 0 || account->result <= -account->loss_max)
        return TP_RISK_LOSS;
    if (!is_request(question->request))
        return TP_RISK_REQUEST;
    if (instrument->is_allowed == 0)
        return TP_RISK_INSTRUMENT;
    enum tp_risk_refusal refusal = judge_book(instrument, question);
    if (refusal == TP_RISK_NONE)
        refusal = judge_numbers(instrument, question);
    if (refusal == TP_RISK_NONE)
        refusal = judge_holdings(account, instrument, question->request);
    if (refusal == TP_RISK_NONE)
        refusal = judge_rates(account, instrument, question);
    return refusal;
}

/* ---- what becomes of orders ------------------------------------------------------------------ */

static void count_open(struct tp_risk_account *account, struct tp_risk_instrument *instrument,
                       const struct tp_order *order, int sign)
{
    if (order == NULL || !tp_order_is_open(order))
        return;
    const int64_t rest = sign * (order->quantity - order->filled);
    account->open_count += (uint32_t)sign;
    instrument->open_count += (uint32_t)sign;
    if (order->side == TP_SIDE_BID)
        instrument->open_bids += rest;
    else
        instrument->open_asks += rest;
}

static void meet(struct tp_risk_instrument *instrument, const struct tp_order *order)
{
    if (!tp_order_is_open(order) || order->type == TP_ORDER_MARKET)
        return;
    if (order->side == TP_SIDE_BID && order->price > instrument->own_bid)
        instrument->own_bid = order->price;
    if (order->side == TP_SIDE_ASK && order->price < instrument->own_ask)
        instrument->own_ask = order->price;
}

void tp_risk_follow(struct tp_risk_account *account, struct tp_risk_instrument *instrument,
                    const struct tp_order *before, const struct tp_order *after)
{
    const int64_t filled = after->filled - (before != NULL ? before->filled : 0);
    count_open(account, instrument, before, -1);
    count_open(account, instrument, after, 1);
    instrument->position += after->side == TP_SIDE_BID ? filled : -filled;
    meet(instrument, after);
}

void tp_risk_touch(struct tp_risk_instrument *instrument, uint32_t number,
                   const struct tp_order *orders, uint32_t order_count)
{
    instrument->own_bid = 0;
    instrument->own_ask = INT64_MAX;
    for (uint32_t i = 0; i < order_count; i++)
        if (orders[i].id != 0 && orders[i].instrument == number)
            meet(instrument, &orders[i]);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static bool lower(int64_t *limit, int64_t to)
{
    const bool is_tighter = to <= *limit;
    *limit = is_tighter ? to : *limit;
    return is_tighter;
}

static bool lower_count(uint32_t *limit, uint32_t to)
{
    const bool is_tighter = to <= *limit;
    *limit = is_tighter ? to : *limit;
    return is_tighter;
}

bool tp_risk_tighten(struct tp_risk_limits *limits, const struct tp_risk_limits *to)
{
    bool all = lower(&limits->quantity_max, to->quantity_max);
    all = lower(&limits->position_max, to->position_max) && all;
    all = lower_count(&limits->band, to->band) && all;
    all = lower_count(&limits->open_max, to->open_max) && all;
    if (to->quantity_min >= limits->quantity_min)
        limits->quantity_min = to->quantity_min;
    else
        all = false;
    if (to->book_age_max_ns <= limits->book_age_max_ns)
        limits->book_age_max_ns = to->book_age_max_ns;
    else
        all = false;
    if (wide_of(to->notional_min) >= wide_of(limits->notional_min))
        limits->notional_min = to->notional_min;
    else
        all = false;
    if (wide_of(to->notional_max) <= wide_of(limits->notional_max))
        limits->notional_max = to->notional_max;
    else
        all = false;
    return all;
}
