/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/okx/decode.c proto/symbol_table.c proto/venues/okx/router.c proto/venues/okx/venue.c */
/* Any bytes as a message of OKX's: venue_fuzzer.h. */
#include "tests/fuzz/venue_fuzzer.h"

extern const struct tp_venue tp_venue_okx;

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

static void check_spaced(const struct tp_route *route, const struct tp_route *spaced, size_t size)
{
    (void)size;
    if (route->body_offset + 1 == spaced->body_offset)
        require(spaced->meaning == route->meaning && spaced->body_size == route->body_size);
}

static const struct venue_fuzzer fuzzer = {
    .venue = &tp_venue_okx,
    .books = {"books:BTC-USDT", "books5:ETH-USDT", "books:BTC-USDT-SWAP"},
    .check_numbers = check_numbers,
    .check_spaced = check_spaced,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_venue(&fuzzer, data, size);
    return 0;
}
