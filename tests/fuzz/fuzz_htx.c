/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/htx/decode.c proto/symbol_table.c proto/venues/htx/router.c proto/venues/htx/venue.c proto/venues/htx/versions.c */
/* Any bytes as a message of HTX's, inflated: venue_fuzzer.h. Numbers that are read of a change
 * alone are those of the decoder. */
#include "tests/fuzz/venue_fuzzer.h"

extern const struct tp_venue tp_venue_htx;

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

/* What is read of a change alone, of one that is refused as well. */
static void check_versions(const struct tp_body *body, enum tp_decode_status status,
                           const struct tp_depth_update *update)
{
    static struct tp_depth_update numbers;
    if (body->meaning != TP_MEANING_DELTA)
        return;
    memset(&numbers, 0, offsetof(struct tp_depth_update, bids));
    if (!tp_venue_htx.read_versions(body, &numbers))
        return;
    require(numbers.first_version <= numbers.last_version);
    require(numbers.previous_version <= numbers.last_version);
    if (status == TP_DECODE_OK)
        require(numbers.last_version == update->last_version &&
                numbers.previous_version == update->previous_version);
}

static void check_spaced(const struct tp_route *route, const struct tp_route *spaced, size_t size)
{
    if (route->body_size != 0)
        require(spaced->meaning == route->meaning && spaced->body_size == size + 1);
}

static const struct venue_fuzzer fuzzer = {
    .venue = &tp_venue_htx,
    .books = {"market.btcusdt.mbp.150", "market.ltcusdt.mbp.refresh.20", "market.xrpusdt.mbp.5"},
    .check_numbers = check_numbers,
    .check_depth = check_versions,
    .check_spaced = check_spaced,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_venue(&fuzzer, data, size);
    return 0;
}
