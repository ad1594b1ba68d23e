/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/encoding/protobuf.c proto/venues/mexc/deals.c proto/venues/mexc/decode.c proto/venues/mexc/levels.c proto/venues/mexc/router.c proto/venues/mexc/venue.c */
/* Any bytes as a MEXC push message.
 *
 * Invariants: a routed offset is the channel's end; accepted counts are within the limits and no
 * larger than the bytes could hold; versions are in order; a message that was accepted is not
 * accepted with other values when bytes follow it in memory (nothing reads beyond its end). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/venues/mexc/decode.h"

enum { LEVEL_SIZE_MIN = 8, ROUTES = 4, SLACK = 64 };

static struct tp_depth_update exact, slack;

static void require(int condition)
{
    if (!condition)
        abort();
}

extern const struct tp_venue tp_venue_mexc;

static void check_route(const uint8_t *data, size_t size)
{
    static const char channel[] = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT";
    void *router = malloc(tp_venue_mexc.router_size(ROUTES, 1));
    require(router != NULL);
    tp_venue_mexc.router_init(router, ROUTES, 1);
    require(tp_venue_mexc.router_add(router, channel, 3));
    for (uint8_t opcode = 1; opcode <= 2; opcode++) {
        const struct tp_venue_message message = {.data = data, .size = size, .opcode = opcode};
        struct tp_route route;
        tp_venue_mexc.route(router, &message, 0, &route);
        require(route.meaning <= TP_MEANING_NOTICE && route.next_offset == 0);
        if (route.meaning != TP_MEANING_DELTA)
            continue;
        require(route.instrument == 3 && route.body_offset == sizeof(channel) + 1);
        require(route.body_offset + route.body_size == size);
        require(memcmp(data + 2, channel, sizeof(channel) - 1) == 0);
    }
    free(router);
}

static void check_same_levels(const struct tp_level *a, const struct tp_level *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        require(a[i].price >= 0 && a[i].quantity >= 0);
        require(a[i].price == b[i].price && a[i].quantity == b[i].quantity);
    }
}

static void check_slack(const uint8_t *data, size_t size, const struct tp_scale *scale,
                        enum tp_decode_status status)
{
    uint8_t *longer = malloc(size + SLACK);
    require(longer != NULL);
    memcpy(longer, data, size);
    memset(longer + size, '1', SLACK);
    require(tp_mexc_decode_depth(longer, size, scale, &slack) == status);
    if (status == TP_DECODE_OK) {
        require(exact.bid_count == slack.bid_count && exact.ask_count == slack.ask_count);
        check_same_levels(exact.bids, slack.bids, exact.bid_count);
        check_same_levels(exact.asks, slack.asks, exact.ask_count);
    }
    free(longer);
}

/* The numbers alone are read of whatever is whole, and are the same. */
static void check_versions(const uint8_t *data, size_t size, enum tp_decode_status status)
{
    const struct tp_body body = {.data = data, .size = size, .meaning = TP_MEANING_DELTA};
    const bool is_read = tp_venue_mexc.read_versions(&body, &slack);
    require(!is_read || slack.first_version <= slack.last_version);
    if (status != TP_DECODE_OK || (exact.flags & TP_DEPTH_TOP) != 0)
        return;
    require(is_read && slack.first_version == exact.first_version);
    require(slack.last_version == exact.last_version);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_route(data, size);
    if (size < 2)
        return 0;
    const struct tp_scale scale = {-(int32_t)(data[0] % 19), -(int32_t)(data[1] % 19)};
    const enum tp_decode_status status = tp_mexc_decode_depth(data + 2, size - 2, &scale, &exact);
    require(status <= TP_DECODE_TOO_LARGE);
    if (status == TP_DECODE_OK) {
        require(exact.bid_count <= TP_DEPTH_LEVEL_COUNT_MAX);
        require(exact.ask_count <= TP_DEPTH_LEVEL_COUNT_MAX);
        require(((size_t)exact.bid_count + exact.ask_count) * LEVEL_SIZE_MIN <= size);
        require(exact.first_version <= exact.last_version);
        require((exact.flags & ~(uint32_t)(TP_DEPTH_BASE | TP_DEPTH_TOP)) == 0);
    }
    check_versions(data + 2, size - 2, status);
    check_slack(data + 2, size - 2, &scale, status);
    return 0;
}
