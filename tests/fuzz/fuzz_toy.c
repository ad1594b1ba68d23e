/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c tests/venues/toy/decode.c */
/* Any bytes as a message of the tests' own venue.
 *
 * Invariants: those of proto/venue.h; what was decoded is decoded alike when other bytes follow it
 * in memory. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/venue.h"
#include "tests/fuzz/venue_checks.h"

enum { ROUTES = 2, INSTRUMENT = 3 };

extern const struct tp_venue tp_venue_toy;
static struct tp_depth_update exact, slack;

static void check_body(const struct tp_body *body)
{
    struct tp_body copy = *body;
    struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
    copy.misfit = &misfit;
    const enum tp_decode_status status = tp_venue_toy.decode_depth(&copy, &exact);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, &misfit, status);
    uint8_t *longer = malloc(body->size + SLACK);
    require(longer != NULL);
    memcpy(longer, body->data, body->size);
    memset(longer + body->size, '1', SLACK);
    copy.data = longer;
    require(tp_venue_toy.decode_depth(&copy, &slack) == status);
    free(longer);
    if (status != TP_DECODE_OK)
        return;
    require(exact.first_version <= exact.last_version && exact.last_version == slack.last_version);
    require(exact.bid_count == slack.bid_count && exact.ask_count == slack.ask_count);
    require(((exact.flags & TP_DEPTH_BASE) != 0) == (body->meaning == TP_MEANING_BASE));
    check_levels(exact.bids, exact.bid_count);
    check_levels(exact.asks, exact.ask_count);
    require(memcmp(exact.bids, slack.bids, exact.bid_count * sizeof *exact.bids) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *router = malloc(tp_venue_toy.router_size(ROUTES, 1));
    require(router != NULL);
    tp_venue_toy.router_init(router, ROUTES, 1);
    require(tp_venue_toy.router_add(router, "book.BTC-USDT", INSTRUMENT));
    const struct tp_venue_message message = {.data = data, .size = size, .opcode = 1};
    struct tp_route route;
    tp_venue_toy.route(router, &message, 0, &route);
    require(route.meaning <= TP_MEANING_NOTICE && route.next_offset == 0);
    if (route.meaning == TP_MEANING_BASE || route.meaning == TP_MEANING_DELTA) {
        require(route.instrument == INSTRUMENT && route.body_offset + route.body_size <= size);
        check_body(&(struct tp_body){.data = data + route.body_offset,
                                     .size = route.body_size,
                                     .meaning = route.meaning,
                                     .scale = {-2, -8}});
    }
    free(router);
    return 0;
}
