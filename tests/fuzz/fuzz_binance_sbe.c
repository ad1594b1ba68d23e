/* sources: proto/encoding/decimal.c proto/encoding/digits.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/sbe.c proto/symbol_table.c proto/venues/binance/decode.c proto/venues/binance/router.c proto/venues/binance/venue.c proto/venues/binance/versions.c proto/venues/binance_sbe/decode.c proto/venues/binance_sbe/router.c proto/venues/binance_sbe/venue.c */
/* Any bytes as a message of Binance's SBE streams, and as a body of each meaning.
 *
 * Invariants: those of proto/venue.h; a body is decoded alike when other bytes follow it in memory;
 * a misfit is a piece of the body; numbers of a refused change are those of one that is not. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/venue.h"
#include "tests/fuzz/venue_checks.h"

enum { STREAMS = 3, INSTRUMENT = 3, SCALES = 3 };

extern const struct tp_venue tp_venue_binance_sbe;
static const struct tp_venue *const venue = &tp_venue_binance_sbe;
static struct tp_depth_update exact, other;
static struct tp_trade_update trades, other_trades;

static void check_versions(const struct tp_body *body, enum tp_decode_status status)
{
    const bool is_read = venue->read_versions(body, &other);
    require(!is_read || other.first_version <= other.last_version);
    if (status != TP_DECODE_OK || body->meaning != TP_MEANING_DELTA)
        return;
    require(is_read && other.first_version == exact.first_version);
    require(other.last_version == exact.last_version && other.previous_version == 0);
}

static void check_depth(const struct tp_body *body, const struct tp_body *longer)
{
    const enum tp_decode_status status = venue->decode_depth(body, &exact);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, body->misfit, status);
    check_versions(body, status);
    require(venue->decode_depth(longer, &other) == status);
    if (status != TP_DECODE_OK)
        return;
    require(exact.first_version <= exact.last_version && exact.last_version == other.last_version);
    require(exact.exchange_ns == other.exchange_ns && exact.flags == other.flags);
    require(exact.bid_count == other.bid_count && exact.ask_count == other.ask_count);
    require(((exact.flags & TP_DEPTH_TOP) != 0) == (body->meaning == TP_MEANING_TOP));
    require(((exact.flags & TP_DEPTH_BASE) != 0) == (body->meaning == TP_MEANING_BASE));
    check_levels(exact.bids, exact.bid_count);
    check_levels(exact.asks, exact.ask_count);
    require(memcmp(exact.bids, other.bids, exact.bid_count * sizeof *exact.bids) == 0);
    require(memcmp(exact.asks, other.asks, exact.ask_count * sizeof *exact.asks) == 0);
}

static void check_trades(const struct tp_body *body, const struct tp_body *longer)
{
    const enum tp_decode_status status = venue->decode_trades(body, &trades);
    if (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE)
        check_misfit(body, body->misfit, status);
    require(venue->decode_trades(longer, &other_trades) == status);
    if (status != TP_DECODE_OK)
        return;
    require(trades.count <= TP_TRADE_COUNT_MAX && trades.count == other_trades.count);
    for (uint32_t i = 0; i < trades.count; i++)
        require(trades.trades[i].price >= 0 && trades.trades[i].quantity >= 0);
    require(memcmp(trades.trades, other_trades.trades, trades.count * sizeof *trades.trades) == 0);
}

/* A copy of exactly this size: the sanitizer sees each byte that is read behind it. */
static void check_body(const uint8_t *data, size_t size, enum tp_meaning meaning)
{
    static const struct tp_scale scales[SCALES] = {{-2, -8}, {0, -18}, {-8, -5}};
    uint8_t *body = malloc(size + 1);
    uint8_t *longer = longer_copy("", data, size);
    require(body != NULL);
    memcpy(body + 1, data, size);
    for (size_t i = 0; i < SCALES; i++) {
        struct tp_misfit misfit = {.kind = TP_NUMBER_UNKNOWN};
        const struct tp_body what = {body + 1, size, meaning, scales[i], &misfit};
        const struct tp_body same = {longer, size, meaning, scales[i], NULL};
        if (meaning == TP_MEANING_TRADES)
            check_trades(&what, &same);
        else
            check_depth(&what, &same);
    }
    free(longer);
    free(body);
}

static void check_message(void *router, const uint8_t *data, size_t size)
{
    const struct tp_venue_message message = {.data = data, .size = size, .opcode = 2};
    struct tp_route route;
    venue->route(router, &message, 0, &route);
    require(route.meaning <= TP_MEANING_NOTICE && route.next_offset == 0);
    if (route.meaning != TP_MEANING_DELTA && route.meaning != TP_MEANING_TOP &&
        route.meaning != TP_MEANING_TRADES && route.meaning != TP_MEANING_BASE)
        return;
    require(route.instrument == INSTRUMENT && route.body_offset + route.body_size <= size);
    check_body(data + route.body_offset, route.body_size, route.meaning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const streams[STREAMS] = {"btcusdt@depth", "ethusdt@depth",
                                                 "xrpusdt@depth20"};
    void *router = malloc(venue->router_size(STREAMS, 1));
    require(router != NULL);
    venue->router_init(router, STREAMS, 1);
    for (uint32_t i = 0; i < STREAMS; i++)
        require(venue->router_add(router, streams[i], INSTRUMENT));
    check_message(router, data, size);
    check_body(data, size, TP_MEANING_DELTA);
    check_body(data, size, TP_MEANING_BASE);
    check_body(data, size, TP_MEANING_TOP);
    check_body(data, size, TP_MEANING_TRADES);
    free(router);
    return 0;
}
