/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/htx/decode.c proto/symbol_table.c proto/venues/htx/router.c proto/venues/htx/venue.c proto/venues/htx/versions.c */
/* Any bytes as a message of HTX's, inflated.
 *
 * Invariants: those of proto/venue.h; a message is routed and a body decoded alike when other bytes
 * follow it in memory; a misfit is a piece of the body; the same message with a space in front,
 * which goes the long way, means the same and has the same body; numbers that are read of a change
 * alone are those of the decoder. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/venue.h"
#include "tests/fuzz/venue_checks.h"

enum { ROUTES = 8, INSTRUMENT = 3 };

extern const struct tp_venue tp_venue_htx;
static struct tp_depth_update exact, slack, numbers;
static struct tp_trade_update trades;

static void check_numbers(const struct tp_depth_update *update)
{
    require(update->first_version <= update->last_version);
    if ((update->flags & (TP_DEPTH_BASE | TP_DEPTH_TOP)) != 0)
        require(update->previous_version == 0);
    else if (update->previous_version < update->last_version)
        require(update->first_version == update->previous_version + 1);
    else if (update->previous_version == update->last_version)
        require(update->bid_count + update->ask_count == 0);
}

/* What is read of a change that is refused as well. */
static void check_versions(const struct tp_body *body, enum tp_decode_status status)
{
    if (body->meaning != TP_MEANING_DELTA)
        return;
    memset(&numbers, 0, offsetof(struct tp_depth_update, bids));
    if (!tp_venue_htx.read_versions(body, &numbers))
        return;
    require(numbers.first_version <= numbers.last_version);
    require(numbers.previous_version <= numbers.last_version);
    if (status == TP_DECODE_OK)
        require(numbers.last_version == exact.last_version &&
                numbers.previous_version == exact.previous_version);
}

static void check_depth(const struct tp_body *body)
{
    struct tp_body copy = *body;
    struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
    copy.misfit = &misfit;
    const enum tp_decode_status status = tp_venue_htx.decode_depth(&copy, &exact);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, &misfit, status);
    uint8_t *longer = longer_copy("", body->data, body->size);
    copy.data = longer;
    require(tp_venue_htx.decode_depth(&copy, &slack) == status);
    free(longer);
    check_versions(body, status);
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
    if (tp_venue_htx.decode_trades(body, &trades) != TP_DECODE_OK)
        return;
    require(trades.count > 0 && trades.count <= TP_TRADE_COUNT_MAX);
    for (uint32_t i = 0; i < trades.count; i++)
        require(trades.trades[i].price >= 0 && trades.trades[i].quantity >= 0);
}

static void check_part(const struct tp_venue_message *message, const struct tp_route *route)
{
    require(route->meaning <= TP_MEANING_NOTICE && route->next_offset == 0);
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
    tp_venue_htx.route(router, &other, 0, &again);
    /* What is broken behind its head is found by the decoder where the head went the short way. */
    if (again.meaning != TP_MEANING_BROKEN && again.meaning >= TP_MEANING_BASE &&
        again.meaning <= TP_MEANING_TRADES && route->body_size != 0)
        require(again.meaning == route->meaning && again.body_size == size + 1);
    free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *router = malloc(tp_venue_htx.router_size(ROUTES, 1));
    require(router != NULL);
    tp_venue_htx.router_init(router, ROUTES, 1);
    require(tp_venue_htx.router_add(router, "market.btcusdt.mbp.150", INSTRUMENT));
    require(tp_venue_htx.router_add(router, "market.ltcusdt.mbp.refresh.20", INSTRUMENT));
    require(tp_venue_htx.router_add(router, "market.xrpusdt.mbp.5", INSTRUMENT));
    uint8_t *longer = longer_copy("", data, size);
    const struct tp_venue_message message = {.data = data, .size = size, .opcode = 1};
    const struct tp_venue_message same = {.data = longer, .size = size, .opcode = 1};
    struct tp_route route = {.instrument = 0}, again = {.instrument = 0};
    tp_venue_htx.route(router, &message, 0, &route);
    tp_venue_htx.route(router, &same, 0, &again);
    require(memcmp(&route, &again, sizeof route) == 0);
    check_part(&message, &route);
    if (route.meaning != TP_MEANING_HEARTBEAT)
        check_long_way(router, data, size, &route);
    free(longer);
    free(router);
    return 0;
}
