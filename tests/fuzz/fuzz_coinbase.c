/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/encoding/timestamp.c proto/venues/coinbase/decode.c proto/venues/coinbase/sides.c proto/symbol_table.c proto/venues/coinbase/router.c proto/venues/coinbase/venue.c */
/* Any bytes as a message of Coinbase's: venue_fuzzer.h. */
#include "tests/fuzz/venue_fuzzer.h"

extern const struct tp_venue tp_venue_coinbase;

static void check_numbers(const struct tp_depth_update *update)
{
    const uint32_t cut = TP_DEPTH_BIDS_CUT | TP_DEPTH_ASKS_CUT;
    require(update->first_version == 0 && update->last_version == 0);
    require(update->previous_version == 0);
    require((update->flags & cut) == 0 || (update->flags & TP_DEPTH_BASE) != 0);
}

static void check_spaced(const struct tp_route *route, const struct tp_route *spaced, size_t size)
{
    (void)size;
    if (route->body_offset + 1 == spaced->body_offset)
        require(spaced->meaning == route->meaning && spaced->sequence == route->sequence);
}

static const struct venue_fuzzer fuzzer = {
    .venue = &tp_venue_coinbase,
    .books = {"level2:BTC-USD", "level2:ETH-USD", "level2:SOL-USD"},
    .has_parts = true,
    .check_numbers = check_numbers,
    .check_spaced = check_spaced,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_venue(&fuzzer, data, size);
    return 0;
}
