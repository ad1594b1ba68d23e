/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/encoding/timestamp.c proto/venues/coinbase/decode.c proto/venues/coinbase/sides.c proto/symbol_table.c proto/venues/coinbase/router.c proto/venues/coinbase/venue.c */
/* Any bytes as a message of Coinbase's.
 *
 * Invariants: those of proto/venue.h; a message is routed and a body decoded alike when other bytes
 * follow it in memory; a misfit is a piece of the body; the same message with a space in front,
 * which goes the long way, means the same and has the same body. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/venue.h"
#include "tests/fuzz/venue_checks.h"

enum { ROUTES = 8, INSTRUMENT = 3 };

extern const struct tp_venue tp_venue_coinbase;
static struct tp_depth_update exact, slack;
static struct tp_trade_update trades;

static void check_numbers(const struct tp_depth_update *update)
{
    const uint32_t cut = TP_DEPTH_BIDS_CUT | TP_DEPTH_ASKS_CUT;
    require(update->first_version == 0 && update->last_version == 0);
    require(update->previous_version == 0);
    require((update->flags & cut) == 0 || (update->flags & TP_DEPTH_BASE) != 0);
}

static void check_depth(const struct tp_body *body)
{
    struct tp_body copy = *body;
    struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
    copy.misfit = &misfit;
    const enum tp_decode_status status = tp_venue_coinbase.decode_depth(&copy, &exact);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, &misfit, status);
    uint8_t *longer = longer_copy("", body->data, body->size);
    copy.data = longer;
    require(tp_venue_coinbase.decode_depth(&copy, &slack) == status);
    free(longer);
    if (status != TP_DECODE_OK)
        return;
    check_numbers(&exact);
    require(exact.bid_count == slack.bid_count && exact.ask_count == slack.ask_count);
    require(exact.last_version == slack.last_version && exact.exchange_ns == slack.exchange_ns);
    require(body->meaning != TP_MEANING_BASE || (exact.flags & TP_DEPTH_BASE) != 0);
    require(((exact.flags & TP_DEPTH_TOP) != 0) == (body->meaning == TP_MEANING_TOP));
    check_levels(exact.bids, exact.bid_count);
    check_levels(exact.asks, exact.ask_count);
    require(memcmp(exact.bids, slack.bids, exact.bid_count * sizeof *exact.bids) == 0);
    require(memcmp(exact.asks, slack.asks, exact.ask_count * sizeof *exact.asks) == 0);
}

static void check_trades(const struct tp_body *body)
{
    if (tp_venue_coinbase.decode_trades(body, &trades) != TP_DECODE_OK)
        return;
    require(trades.count > 0 && trades.count <= TP_TRADE_COUNT_MAX);
    for (uint32_t i = 0; i < trades.count; i++)
        require(trades.trades[i].price >= 0 && trades.trades[i].quantity >= 0);
}

static void check_part(const struct tp_venue_message *message, const struct tp_route *route)
{
    require(route->meaning <= TP_MEANING_NOTICE);
    if (route->meaning < TP_MEANING_BASE || route->meaning > TP_MEANING_TRADES)
        return;
    require(route->instrument == INSTRUMENT);
    require((size_t)route->body_offset + route->body_size <= message->size);
    uint8_t *copy = malloc(route->body_size); /* alone, so that a read beyond it is seen */
    require(copy != NULL || route->body_size == 0);
    memcpy(copy, message->data + route->body_offset, route->body_size);
    const struct tp_body body = {
        .data = copy, .size = route->body_size, .meaning = route->meaning, .scale = {-2, -8}};
    if (route->meaning == TP_MEANING_TRADES)
        check_trades(&body);
    else
        check_depth(&body);
    free(copy);
}

static void check_long_way(void *router, const uint8_t *data, size_t size,
                           const struct tp_route *route)
{
    uint8_t *longer = longer_copy(" ", data, size);
    const struct tp_venue_message other = {.data = longer, .size = size + 1, .opcode = 1};
    struct tp_route again = {.instrument = 0};
    tp_venue_coinbase.route(router, &other, 0, &again);
    /* What is broken behind its head is found by the decoder where the head went the short way. */
    if (again.meaning != TP_MEANING_BROKEN && again.meaning >= TP_MEANING_BASE &&
        again.meaning <= TP_MEANING_TRADES && route->body_offset + 1 == again.body_offset)
        require(again.meaning == route->meaning && again.sequence == route->sequence);
    free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *router = malloc(tp_venue_coinbase.router_size(ROUTES, 1));
    require(router != NULL);
    tp_venue_coinbase.router_init(router, ROUTES, 1);
    require(tp_venue_coinbase.router_add(router, "level2:BTC-USD", INSTRUMENT));
    require(tp_venue_coinbase.router_add(router, "level2:ETH-USD", INSTRUMENT));
    require(tp_venue_coinbase.router_add(router, "level2:SOL-USD", INSTRUMENT));
    uint8_t *longer = longer_copy("", data, size);
    const struct tp_venue_message message = {.data = data, .size = size, .opcode = 1};
    const struct tp_venue_message same = {.data = longer, .size = size, .opcode = 1};
    struct tp_route route = {.instrument = 0}, again = {.instrument = 0};
    tp_venue_coinbase.route(router, &message, 0, &route);
    tp_venue_coinbase.route(router, &same, 0, &again);
    require(memcmp(&route, &again, sizeof route) == 0);
    check_long_way(router, data, size, &route);
    check_part(&message, &route);
    for (uint32_t from = 0; route.next_offset != 0;) { /* ends: each begins behind the one before */
        require(route.next_offset > from && route.next_offset <= size);
        from = route.next_offset;
        tp_venue_coinbase.route(router, &message, from, &route);
        check_part(&message, &route);
    }
    free(longer);
    free(router);
    return 0;
}
