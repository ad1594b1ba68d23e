/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/hyperliquid/decode.c proto/symbol_table.c proto/venues/hyperliquid/router.c proto/venues/hyperliquid/venue.c */
/* Any bytes as a message of Hyperliquid's: venue_fuzzer.h. */
#include "tests/fuzz/venue_fuzzer.h"

extern const struct tp_venue tp_venue_hyperliquid;

static void check_numbers(const struct tp_depth_update *update)
{
    require(update->first_version == 0 && update->last_version == 0);
    require(update->previous_version == 0);
    require(update->flags == TP_DEPTH_BASE || update->flags == TP_DEPTH_TOP);
}

static void check_spaced(const struct tp_route *route, const struct tp_route *spaced, size_t size)
{
    (void)size;
    if (route->body_offset + 1 == spaced->body_offset)
        require(spaced->meaning == route->meaning && spaced->body_size == route->body_size);
}

static const struct venue_fuzzer fuzzer = {
    .venue = &tp_venue_hyperliquid,
    .books = {"l2Book:BTC", "l2Book-fast:ETH", "l2Book:@107"},
    .check_numbers = check_numbers,
    .check_spaced = check_spaced,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_venue(&fuzzer, data, size);
    return 0;
}
