/* See sign.h. */
/* SHA256_Transform is deprecated; one block alone is what is asked for here. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "engine/bench/venues/sign.h"

#include <assert.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/gateway/risk.h"
#include "proto/venues/binance/orders.h"
#include "proto/venues/mexc/orders.h"

static const uint64_t START_NS = UINT64_C(1000000000000), STEP_NS = 1000000;

struct tp_bench_sign {
    struct tp_hmac_key key;
    struct tp_mexc_template mexc;
    struct tp_binance_template session;
    struct tp_order_wire order;
    struct tp_risk_instrument instrument;
    struct tp_risk_account account;
    struct tp_throttle_set one;
    struct tp_book_record book;
    struct tp_order_request request;
    SHA256_CTX hash;
    uint8_t block[SHA256_CBLOCK];
    double tokens;
    uint64_t now_ns, filled_ns;
    uint32_t mode, size;
    char text[TP_BENCH_SIGN_TEXT_MAX];
};

/* The key and the names of the example in MEXC's document. */
static void templates_init(struct tp_bench_sign *bench)
{
    static const char secret[] = "45d0b3c26f2644f19bfb98b07741b2f5", key[] = "mx0aBYs33eIilxBWC5";
    static const char host[] = "api.mexc.com", symbol[] = "BTCUSDT",
                      prefix[] = "tp0000abcd00000007";
    const struct tp_mexc_account mexc = {
        host, key, symbol, prefix, sizeof host - 1, sizeof key - 1, sizeof symbol - 1, 5000};
    const struct tp_binance_account session = {"", symbol, prefix, 0, sizeof symbol - 1, 5000};
    tp_hmac_key_init(&bench->key, (const uint8_t *)secret, sizeof secret - 1);
    const bool are_made =
        tp_mexc_template_init(&bench->mexc, TP_MEXC_PLACE, &mexc, &bench->key) &&
        tp_binance_template_init(&bench->session, TP_BINANCE_PLACE, &session, &bench->key);
    assert(are_made);
    bench->order = (struct tp_order_wire){
        .price = 6712345,
        .price_exponent = -2,
        .quantity = 1500,
        .quantity_exponent = -6,
        .timestamp_ms = UINT64_C(1644489390087),
    };
}

static void limits_init(struct tp_bench_sign *bench)
{
    const struct tp_throttle_rule rule = {
        .window_ns = 1000000000, .count = 1000000, .burst = 500000, .kept = 10};
    struct tp_risk_limits *limits = &bench->instrument.limits;
    tp_risk_instrument_init(&bench->instrument);
    limits->quantity_max = limits->position_max = 1000000;
    limits->notional_max.high = 1;
    limits->book_age_max_ns = STEP_NS;
    limits->band = limits->open_max = 500;
    bench->instrument.is_allowed = 1;
    bench->account.mode = &bench->mode;
    bench->account.loss_max = 1;
    bench->account.open_max = 500;
    bench->account.rates.count = 2;
    bench->one.count = 1;
    const bool are_made = tp_throttle_init(&bench->account.rates.rule[0], &rule) &&
                          tp_throttle_init(&bench->account.rates.rule[1], &rule) &&
                          tp_throttle_init(&bench->one.rule[0], &rule);
    assert(are_made);
    bench->book.state = TP_BOOK_LIVE;
    bench->book.bid_count = bench->book.ask_count = 1;
    bench->book.bids[0].price = 99;
    bench->book.asks[0].price = 101;
    bench->request =
        (struct tp_order_request){.verb = TP_REQUEST_PLACE, .price = 100, .quantity = 10};
    bench->now_ns = bench->filled_ns = START_NS;
}

struct tp_bench_sign *tp_bench_sign_new(void)
{
    struct tp_bench_sign *bench = calloc(1, sizeof *bench);
    if (bench == NULL)
        return NULL;
    templates_init(bench);
    limits_init(bench);
    SHA256_Init(&bench->hash);
    return bench;
}

void tp_bench_sign_free(struct tp_bench_sign *bench)
{
    free(bench);
}

uint32_t tp_bench_sign_text(const struct tp_bench_sign *bench, char *to)
{
    memcpy(to, bench->text, bench->size);
    return bench->size;
}

static bool is_judged(struct tp_bench_sign *bench)
{
    struct tp_risk_question question = {
        .request = &bench->request, .book = &bench->book, .now_ns = bench->now_ns};
    bench->book.message_ns = bench->now_ns;
    return tp_risk_judge(&bench->account, &bench->instrument, &question) == TP_RISK_NONE;
}

static bool is_in_bucket(struct tp_bench_sign *bench)
{
    bench->tokens += (double)(bench->now_ns - bench->filled_ns) * 1e-3;
    bench->filled_ns = bench->now_ns;
    if (bench->tokens > 500000)
        bench->tokens = 500000;
    if (bench->tokens < 1)
        return false;
    bench->tokens -= 1;
    return true;
}

static bool run_one(struct tp_bench_sign *bench, enum tp_bench_sign_case which)
{
    switch (which) {
    case TP_BENCH_SIGN_MEXC:
        bench->size = tp_mexc_request(&bench->mexc, &bench->key, &bench->order, bench->text,
                                      sizeof bench->text);
        return bench->size != 0;
    case TP_BENCH_SIGN_SESSION:
        bench->size = tp_binance_request(&bench->session, NULL, &bench->order, bench->text,
                                         sizeof bench->text);
        return bench->size != 0;
    case TP_BENCH_SIGN_BLOCK:
        SHA256_Transform(&bench->hash, bench->block);
        return true;
    case TP_BENCH_SIGN_RISK:
        return is_judged(bench);
    case TP_BENCH_SIGN_LIMIT:
        return tp_throttle_take(&bench->one, false, bench->now_ns) == 0;
    case TP_BENCH_SIGN_BUCKET:
        return is_in_bucket(bench);
    }
    return false;
}

uint64_t tp_bench_sign_run(struct tp_bench_sign *bench, enum tp_bench_sign_case which)
{
    struct timespec from, to;
    bool all = true;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < TP_BENCH_SIGN_ORDERS; i++) {
        bench->order.number++;
        bench->order.timestamp_ms++;
        bench->now_ns += STEP_NS;
        all &= run_one(bench, which);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    const int64_t took = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;
    return all ? (uint64_t)took : 0;
}
