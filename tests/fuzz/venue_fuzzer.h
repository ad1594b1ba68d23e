/* Any bytes as a message of a venue's: what fuzz_NAME.c of venues that write JSON have in common.
 *
 * Invariants: those of proto/venue.h; a message is routed and a body decoded alike when other bytes
 * follow it in memory; a misfit is a piece of the body; the same message with a space in front,
 * which goes the long way, is taken for the same. What is a venue's own is in its struct
 * venue_fuzzer. */
#ifndef TP_FUZZ_VENUE_FUZZER_H
#define TP_FUZZ_VENUE_FUZZER_H
#include "tests/fuzz/venue_checks.h"

enum { FUZZED_ROUTES = 8, FUZZED_INSTRUMENT = 3, FUZZED_BOOKS = 3 };

struct venue_fuzzer {
    const struct tp_venue *venue;
    const char *books[FUZZED_BOOKS];
    bool has_parts; /* a message may have several */
    /* Of an update that was decoded. */
    void (*check_numbers)(const struct tp_depth_update *update);
    /* Of a depth body and what became of it; NULL: nothing more. */
    void (*check_depth)(const struct tp_body *body, enum tp_decode_status status,
                        const struct tp_depth_update *update);
    /* Of trades that were decoded; NULL: nothing more. */
    void (*check_trades)(const struct tp_trade_update *trades);
    /* Of a message of size bytes that has data both ways: `spaced`, with a space in front. */
    void (*check_spaced)(const struct tp_route *route, const struct tp_route *spaced, size_t size);
};

static struct tp_depth_update fuzzed_exact, fuzzed_slack;
static struct tp_trade_update fuzzed_trades;

static inline bool fuzzed_is_data(enum tp_meaning meaning)
{
    return meaning >= TP_MEANING_BASE && meaning <= TP_MEANING_TRADES;
}

static inline void fuzzed_require_equal(const struct tp_depth_update *a,
                                        const struct tp_depth_update *b)
{
    require(memcmp(a, b, offsetof(struct tp_depth_update, bids)) == 0);
    require(memcmp(a->bids, b->bids, a->bid_count * sizeof *a->bids) == 0);
    require(memcmp(a->asks, b->asks, a->ask_count * sizeof *a->asks) == 0);
}

static inline void fuzzed_depth(const struct venue_fuzzer *fuzzer, const struct tp_body *body)
{
    struct tp_depth_update *const exact = &fuzzed_exact;
    struct tp_body copy = *body;
    struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
    copy.misfit = &misfit;
    const enum tp_decode_status status = fuzzer->venue->decode_depth(&copy, exact);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, &misfit, status);
    uint8_t *longer = longer_copy("", body->data, body->size);
    copy.data = longer;
    require(fuzzer->venue->decode_depth(&copy, &fuzzed_slack) == status);
    free(longer);
    if (status == TP_DECODE_OK) {
        fuzzed_require_equal(exact, &fuzzed_slack);
        fuzzer->check_numbers(exact);
        require(body->meaning != TP_MEANING_BASE || (exact->flags & TP_DEPTH_BASE) != 0);
        require(((exact->flags & TP_DEPTH_TOP) != 0) == (body->meaning == TP_MEANING_TOP));
        check_levels(exact->bids, exact->bid_count);
        check_levels(exact->asks, exact->ask_count);
    }
    if (fuzzer->check_depth != NULL)
        fuzzer->check_depth(body, status, exact);
}

static inline void fuzzed_trade(const struct venue_fuzzer *fuzzer, const struct tp_body *body)
{
    struct tp_trade_update *const trades = &fuzzed_trades;
    if (fuzzer->venue->decode_trades(body, trades) != TP_DECODE_OK)
        return;
    require(trades->count > 0 && trades->count <= TP_TRADE_COUNT_MAX);
    for (uint32_t i = 0; i < trades->count; i++)
        require(trades->trades[i].price >= 0 && trades->trades[i].quantity >= 0);
    if (fuzzer->check_trades != NULL)
        fuzzer->check_trades(trades);
}

static inline void fuzzed_part(const struct venue_fuzzer *fuzzer,
                               const struct tp_venue_message *message, const struct tp_route *route)
{
    require(route->meaning <= TP_MEANING_NOTICE);
    require(fuzzer->has_parts || route->next_offset == 0);
    if (!fuzzed_is_data(route->meaning))
        return;
    require(route->instrument == FUZZED_INSTRUMENT);
    require((size_t)route->body_offset + route->body_size <= message->size);
    uint8_t *copy = malloc(route->body_size); /* alone, so that a read beyond it is seen */
    require(copy != NULL || route->body_size == 0);
    memcpy(copy, message->data + route->body_offset, route->body_size);
    const struct tp_body body = {
        .data = copy, .size = route->body_size, .meaning = route->meaning, .scale = {-2, -8}};
    if (route->meaning == TP_MEANING_TRADES)
        fuzzed_trade(fuzzer, &body);
    else
        fuzzed_depth(fuzzer, &body);
    free(copy);
}

static inline void fuzzed_long_way(const struct venue_fuzzer *fuzzer, void *router,
                                   const struct tp_venue_message *message,
                                   const struct tp_route *route)
{
    uint8_t *longer = longer_copy(" ", message->data, message->size);
    const struct tp_venue_message other = {
        .data = longer, .size = message->size + 1, .opcode = message->opcode};
    struct tp_route spaced = {.instrument = 0};
    fuzzer->venue->route(router, &other, 0, &spaced);
    /* What is broken behind its head is found by the decoder where the head went the short way. */
    if (fuzzed_is_data(spaced.meaning))
        fuzzer->check_spaced(route, &spaced, message->size);
    free(longer);
}

static inline void fuzzed_routes(const struct venue_fuzzer *fuzzer, void *router,
                                 const struct tp_venue_message *message)
{
    uint8_t *longer = longer_copy("", message->data, message->size);
    const struct tp_venue_message same = {
        .data = longer, .size = message->size, .opcode = message->opcode};
    struct tp_route route = {.instrument = 0}, again = {.instrument = 0};
    fuzzer->venue->route(router, message, 0, &route);
    fuzzer->venue->route(router, &same, 0, &again);
    require(memcmp(&route, &again, sizeof route) == 0);
    free(longer);
    fuzzed_part(fuzzer, message, &route);
    if (route.meaning != TP_MEANING_HEARTBEAT) /* a text without JSON may not have a space */
        fuzzed_long_way(fuzzer, router, message, &route);
    for (uint32_t from = 0; route.next_offset != 0;) { /* ends: each begins behind the one before */
        require(route.next_offset > from && route.next_offset <= message->size);
        from = route.next_offset;
        fuzzer->venue->route(router, message, from, &route);
        fuzzed_part(fuzzer, message, &route);
    }
}

static inline void fuzz_venue(const struct venue_fuzzer *fuzzer, const uint8_t *data, size_t size)
{
    void *router = malloc(fuzzer->venue->router_size(FUZZED_ROUTES, 1));
    require(router != NULL);
    fuzzer->venue->router_init(router, FUZZED_ROUTES, 1);
    for (size_t i = 0; i < FUZZED_BOOKS; i++)
        require(fuzzer->venue->router_add(router, fuzzer->books[i], FUZZED_INSTRUMENT));
    fuzzed_routes(fuzzer, router,
                  &(struct tp_venue_message){.data = data, .size = size, .opcode = 1});
    free(router);
}
#endif
