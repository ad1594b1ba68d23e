/* A strategy in C that the feed handler calls inline, right after a message was published.
 *
 *     cc -std=c11 -O2 -shared -fPIC strategy.c $(python3 -P -m tickpath.engine.strategy.c_reader)
 *
 * The library exports one const struct tp_strategy by the name that the configuration says
 * (source = "strategy.so:NAME"); examples/crossing.c is one to copy, docs/strategies.md the page.
 *
 * on_event runs in the feed handler's hot thread, without the GIL: it must not block, allocate, log
 * or make a system call, and it must return: until it does, no packet is read. Event and book are
 * those in shared memory, not copies: valid during the call only, and not to be written. A fault in
 * it ends the feed handler, which is started again. */
#ifndef TICKPATH_STRATEGY_H
#define TICKPATH_STRATEGY_H
#ifdef __cplusplus
/* All that the headers below include: outside of extern "C", where C++ has overloads in it. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#endif
#include "proto/records.h"
#include <stdbool.h>

/* "tpstrat" in memory; a symbol that is something else is refused by it. */
#define TP_STRATEGY_MAGIC UINT64_C(0x0074617274737074)
/* Counts up with any change of what stands below; a library of another one is refused. */
enum { TP_STRATEGY_ABI = 1 };
enum {
    TP_ORDER_INTENTS_MAX = 8, /* of one call */
    TP_STRATEGY_STATE_SIZE_MAX = 1 << 26,
    TP_STRATEGY_FIELDS_MAX = 64,
};

enum tp_order_verb { TP_ORDER_PLACE = 1, TP_ORDER_CANCEL = 2 };

/* What a strategy wants done. Nothing is sent: there is no gateway yet, intents are counted. */
struct tp_order_intent {
    uint64_t order;          /* the strategy's own number: PLACE gives it, CANCEL names it */
    int64_t price, quantity; /* mantissas of the exponents below; CANCEL: 0 */
    uint16_t instrument;
    uint8_t verb; /* enum tp_order_verb */
    uint8_t side; /* enum tp_side; CANCEL: 0 */
    int8_t price_exponent, quantity_exponent;
    uint16_t reserved;
};
static_assert(sizeof(struct tp_order_intent) == 32, "strategy ABI 1");

struct tp_order_buffer {
    uint32_t count;    /* intents below; 0 before each call */
    uint32_t overfull; /* intents that found no room; 0 before each call */
    struct tp_order_intent intents[TP_ORDER_INTENTS_MAX];
};

/* 0: go on. Any other number: this strategy stops, and is not called again in this process. */
typedef int32_t (*tp_strategy_event)(const struct tp_event *event,
                                     const struct tp_book_record *book, void *state,
                                     struct tp_order_buffer *orders);

enum tp_strategy_kind { TP_STRATEGY_INT64 = 1, TP_STRATEGY_FLOAT64 = 2 };

/* A parameter: a number of the configuration that is written into the state before `init`. */
struct tp_strategy_field {
    const char *name;
    uint32_t kind;   /* enum tp_strategy_kind */
    uint32_t offset; /* in the state; a multiple of 8 */
};

struct tp_strategy {
    uint64_t magic;           /* TP_STRATEGY_MAGIC */
    uint32_t abi;             /* TP_STRATEGY_ABI */
    uint32_t records_version; /* TP_RECORDS_VERSION */
    uint64_t events;          /* those it is called for: TP_STRATEGY_ON(type) of each */
    uint64_t state_size;      /* of its state, which begins as zeroes, at a page's beginning */
    tp_strategy_event on_event;
    int32_t (*init)(void *state); /* NULL: none. Once, at start; not 0: it is refused */
    const struct tp_strategy_field *fields;
    uint32_t field_count;
    uint32_t reserved;
};

#define TP_STRATEGY_ON(type) (UINT64_C(1) << (type))
#define TP_STRATEGY_ON_USUAL                                                                       \
    (TP_STRATEGY_ON(TP_EVENT_TOP) | TP_STRATEGY_ON(TP_EVENT_STATE) |                               \
     TP_STRATEGY_ON(TP_EVENT_TRADE) | TP_STRATEGY_ON(TP_EVENT_BEST))

/* The buffer's next intent, or NULL where it is full, which is counted. */
static inline struct tp_order_intent *tp_order_next(struct tp_order_buffer *orders)
{
    if (orders->count >= TP_ORDER_INTENTS_MAX) {
        orders->overfull++;
        return NULL;
    }
    return &orders->intents[orders->count++];
}

/* price and quantity: mantissas of the book's exponents. False: no room. */
static inline bool tp_order_place(struct tp_order_buffer *orders, const struct tp_book_record *book,
                                  uint64_t order, enum tp_side side, struct tp_level level)
{
    struct tp_order_intent *intent = tp_order_next(orders);
    if (intent == NULL)
        return false;
    intent->order = order;
    intent->price = level.price;
    intent->quantity = level.quantity;
    intent->instrument = book->instrument;
    intent->verb = TP_ORDER_PLACE;
    intent->side = (uint8_t)side;
    intent->price_exponent = book->price_exponent;
    intent->quantity_exponent = book->quantity_exponent;
    intent->reserved = 0;
    return true;
}

static inline bool tp_order_cancel(struct tp_order_buffer *orders,
                                   const struct tp_book_record *book, uint64_t order)
{
    const struct tp_level none = {0, 0};
    if (!tp_order_place(orders, book, order, TP_SIDE_BID, none))
        return false;
    orders->intents[orders->count - 1].verb = TP_ORDER_CANCEL;
    return true;
}
#ifdef __cplusplus
}
#endif
#endif
