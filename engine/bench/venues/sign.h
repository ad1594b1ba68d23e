/* An order on its way out: judged, let through its rates, written and signed; and what to compare
 * that with. Called by: engine/bench/venues/sign.py. */
#ifndef TP_BENCH_SIGN_H
#define TP_BENCH_SIGN_H
#include <stdint.h>

enum tp_bench_sign_case {
    TP_BENCH_SIGN_MEXC,    /* an HTTPS request, signed by HMAC */
    TP_BENCH_SIGN_SESSION, /* a message of Binance's session, not signed */
    TP_BENCH_SIGN_BLOCK,   /* one block of SHA-256 */
    TP_BENCH_SIGN_RISK,    /* all checks of an order that is allowed, with two rates */
    TP_BENCH_SIGN_LIMIT,   /* one rate */
    TP_BENCH_SIGN_BUCKET,  /* the same by a bucket of tokens that are a double */
};

enum { TP_BENCH_SIGN_ORDERS = 256, TP_BENCH_SIGN_TEXT_MAX = 1024 };

/* What is measured, and its state. NULL: no memory. */
struct tp_bench_sign;
struct tp_bench_sign *tp_bench_sign_new(void);
void tp_bench_sign_free(struct tp_bench_sign *bench);
/* Nanoseconds for TP_BENCH_SIGN_ORDERS of them, each another order; 0: one was refused. */
uint64_t tp_bench_sign_run(struct tp_bench_sign *bench, enum tp_bench_sign_case which);
/* The last text that was written, and its size. */
uint32_t tp_bench_sign_text(const struct tp_bench_sign *bench, char *to);
#endif
