/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/gate/decode.c proto/venues/gate/other.c proto/symbol_table.c proto/venues/gate/router.c proto/venues/gate/venue.c */
/* Any bytes as a message of Gate's, of either market.
 *
 * Invariants: those of proto/venue.h; parts begin one behind the other and end; a message is routed
 * and a body decoded alike when other bytes follow it in memory; a misfit is a piece of the body;
 * the numbers of a book's message are read alike with its levels and without. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/venue.h"
#include "tests/fuzz/venue_checks.h"

enum { ROUTES = 8, INSTRUMENT = 3 };

extern const struct tp_venue tp_venue_gate;
static struct tp_depth_update exact, slack;
static struct tp_trade_update trades;

static void check_versions(const struct tp_body *body)
{
    require(tp_venue_gate.read_versions(body, &slack));
    require(exact.first_version == slack.first_version);
    require(exact.last_version == slack.last_version && slack.previous_version == 0);
}

static void check_depth(const struct tp_body *body)
{
    struct tp_body copy = *body;
    struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
    copy.misfit = &misfit;
    const enum tp_decode_status status = tp_venue_gate.decode_depth(&copy, &exact);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, &misfit, status);
    uint8_t *longer = longer_copy("", body->data, body->size);
    copy.data = longer;
    require(tp_venue_gate.decode_depth(&copy, &slack) == status);
    free(longer);
    if (status != TP_DECODE_OK)
        return;
    require(exact.bid_count == slack.bid_count && exact.ask_count == slack.ask_count);
    require(exact.last_version == slack.last_version && exact.exchange_ns == slack.exchange_ns);
    require(exact.first_version == slack.first_version && exact.flags == slack.flags);
    require(exact.first_version <= exact.last_version);
    require(((exact.flags & TP_DEPTH_TOP) != 0) == (body->meaning == TP_MEANING_TOP));
    check_levels(exact.bids, exact.bid_count);
    check_levels(exact.asks, exact.ask_count);
    require(memcmp(exact.bids, slack.bids, exact.bid_count * sizeof *exact.bids) == 0);
    require(memcmp(exact.asks, slack.asks, exact.ask_count * sizeof *exact.asks) == 0);
    if (body->meaning != TP_MEANING_TOP)
        check_versions(body);
}

static void check_body(const struct tp_body *body)
{
    if (body->meaning != TP_MEANING_TRADES) {
        check_depth(body);
        return;
    }
    struct tp_body copy = *body;
    struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
    copy.misfit = &misfit;
    const enum tp_decode_status status = tp_venue_gate.decode_trades(&copy, &trades);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, &misfit, status);
    if (status != TP_DECODE_OK)
        return;
    require(trades.count >= 1 && trades.count <= TP_TRADE_COUNT_MAX);
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
    uint8_t *body = malloc(route->body_size); /* alone, so that a read beyond it is seen */
    require(body != NULL || route->body_size == 0);
    memcpy(body, message->data + route->body_offset, route->body_size);
    check_body(&(struct tp_body){
        .data = body, .size = route->body_size, .meaning = route->meaning, .scale = {-2, -8}});
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *router = malloc(tp_venue_gate.router_size(ROUTES, 1));
    require(router != NULL);
    tp_venue_gate.router_init(router, ROUTES, 1);
    require(tp_venue_gate.router_add(router, "spot.obu.50:BTC_USDT", INSTRUMENT));
    require(tp_venue_gate.router_add(router, "spot.order_book_update.100:GT_USDT", INSTRUMENT));
    require(tp_venue_gate.router_add(router, "futures.obu.50:ETH_USDT", INSTRUMENT));
    require(
        tp_venue_gate.router_add(router, "futures.order_book_update.20:1INCH_USDT", INSTRUMENT));
    uint8_t *longer = longer_copy("", data, size);
    const struct tp_venue_message message = {.data = data, .size = size, .opcode = 1};
    const struct tp_venue_message same = {.data = longer, .size = size, .opcode = 1};
    uint32_t from = 0;
    do {
        struct tp_route route = {.instrument = 0}, again = {.instrument = 0};
        tp_venue_gate.route(router, &message, from, &route);
        tp_venue_gate.route(router, &same, from, &again);
        require(memcmp(&route, &again, sizeof route) == 0);
        check_part(&message, &route);
        require(route.next_offset == 0 || (route.next_offset > from && route.next_offset <= size));
        from = route.next_offset;
    } while (from != 0);
    free(longer);
    free(router);
    return 0;
}
