/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/binance/decode.c proto/symbol_table.c proto/venues/binance/router.c proto/venues/binance/venue.c proto/venues/binance/versions.c proto/venues/binance_usdm/venue.c */
/* Any bytes as a message of Binance's, of spot and of contracts, and as a body behind the head that
 * its streams have.
 *
 * Invariants: those of proto/venue.h; a body is decoded alike with a space behind each of JSON's
 * marks, which leads round all that is read quickly, and when other bytes follow it in memory. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/venue.h"
#include "tests/fuzz/venue_checks.h"

enum { STREAMS = 4, INSTRUMENT = 3 };

extern const struct tp_venue tp_venue_binance, tp_venue_binance_usdm;
static const struct tp_venue *venue; /* in hand */
static struct tp_depth_update exact, other;
static struct tp_trade_update trades;

static void check_same(void)
{
    require(exact.first_version == other.first_version);
    require(exact.last_version == other.last_version && exact.exchange_ns == other.exchange_ns);
    require(exact.bid_count == other.bid_count && exact.ask_count == other.ask_count);
    require(exact.flags == other.flags && exact.previous_version == other.previous_version);
    require(memcmp(exact.bids, other.bids, exact.bid_count * sizeof *exact.bids) == 0);
    require(memcmp(exact.asks, other.asks, exact.ask_count * sizeof *exact.asks) == 0);
}

/* The numbers alone are read of whatever is whole, and are the same. */
static void check_versions(const struct tp_body *body, enum tp_decode_status status)
{
    const bool is_read = venue->read_versions(body, &other);
    require(!is_read || other.first_version <= other.last_version);
    if (status != TP_DECODE_OK || body->meaning != TP_MEANING_DELTA)
        return;
    require(is_read && other.first_version == exact.first_version);
    require(other.last_version == exact.last_version);
    require(other.previous_version == exact.previous_version);
}

/* Says the same, with a space behind each bracket, comma and colon that is in no string. The last
 * character is the router's, which saw what it is (tp_binance_finish): it stays the last. */
static void check_spaced(const struct tp_body *body, enum tp_decode_status status)
{
    uint8_t *spaced = malloc(2 * body->size + 1);
    require(spaced != NULL);
    struct tp_body copy = *body;
    bool is_string = false;
    copy.data = spaced;
    copy.size = 0;
    for (size_t i = 0; i < body->size; i++) {
        const uint8_t character = body->data[i];
        spaced[copy.size++] = character;
        if (is_string && character == '\\' && i + 1 < body->size)
            spaced[copy.size++] = body->data[++i];
        else if (character == '"')
            is_string = !is_string;
        else if (!is_string && i + 1 < body->size && character != 0 &&
                 strchr("[{,:", character) != NULL)
            spaced[copy.size++] = ' ';
    }
    require(venue->decode_depth(&copy, &other) == status);
    free(spaced);
    if (status == TP_DECODE_OK)
        check_same();
}

static void check_depth(const struct tp_body *body)
{
    const enum tp_decode_status status = venue->decode_depth(body, &exact);
    check_versions(body, status);
    check_spaced(body, status);
    struct tp_body copy = *body;
    uint8_t *longer = malloc(body->size + SLACK);
    require(longer != NULL);
    memcpy(longer, body->data, body->size);
    memset(longer + body->size, '1', SLACK);
    copy.data = longer;
    require(venue->decode_depth(&copy, &other) == status);
    free(longer);
    if (status != TP_DECODE_OK)
        return;
    check_same();
    require(exact.first_version <= exact.last_version);
    require(((exact.flags & TP_DEPTH_TOP) != 0) == (body->meaning == TP_MEANING_TOP));
    check_levels(exact.bids, exact.bid_count);
    check_levels(exact.asks, exact.ask_count);
}

static void check_trades(const struct tp_body *body)
{
    if (venue->decode_trades(body, &trades) != TP_DECODE_OK)
        return;
    require(trades.count <= 1 && trades.trades[0].price >= 0 && trades.trades[0].quantity >= 0);
}

/* A copy of exactly this size: the sanitizer sees each byte that is read behind it. */
static void check_body(const uint8_t *data, size_t size, enum tp_meaning meaning)
{
    uint8_t *body = malloc(size + 1);
    require(body != NULL);
    memcpy(body + 1, data, size);
    const struct tp_body what = {body + 1, size, meaning, .scale = {-2, -8}};
    if (meaning == TP_MEANING_TRADES)
        check_trades(&what);
    else
        check_depth(&what);
    free(body);
}

static void check_message(void *router, const uint8_t *data, size_t size)
{
    const struct tp_venue_message message = {.data = data, .size = size, .opcode = 1};
    struct tp_route route;
    venue->route(router, &message, 0, &route);
    require(route.meaning <= TP_MEANING_NOTICE && route.next_offset == 0);
    if (route.meaning != TP_MEANING_DELTA && route.meaning != TP_MEANING_TOP &&
        route.meaning != TP_MEANING_TRADES)
        return;
    require(route.instrument == INSTRUMENT && route.body_offset + route.body_size <= size);
    check_body(data + route.body_offset, route.body_size, route.meaning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_venue(const char *const *streams, const uint8_t *data, size_t size)
{
    void *router = malloc(venue->router_size(STREAMS, 1));
    require(router != NULL);
    venue->router_init(router, STREAMS, 1);
    for (uint32_t i = 0; i < STREAMS; i++)
        require(venue->router_add(router, streams[i], INSTRUMENT));
    check_message(router, data, size);
    check_body(data, size, TP_MEANING_DELTA);
    check_body(data, size, TP_MEANING_TOP);
    check_body(data, size, TP_MEANING_TRADES);
    free(router);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const streams[] = {"btcusdt@depth@100ms", "ethusdt@depth",
                                          "btcusdt@bookTicker", "btcusdt@trade"};
    static const char *const contracts[] = {"btcusdt@depth@0ms", "ethusdt@depth@100ms",
                                            "btcusdt@bookTicker", "btcusdt@trade"};
    venue = &tp_venue_binance;
    check_venue(streams, data, size);
    venue = &tp_venue_binance_usdm;
    check_venue(contracts, data, size);
    return 0;
}
