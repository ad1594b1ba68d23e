/* sources: proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/venues/bitget/decode.c proto/symbol_table.c proto/venues/bitget/router.c proto/venues/bitget/other.c proto/venues/bitget/venue.c */
/* Any bytes as a message of Bitget's: venue_fuzzer.h. The same body with a space in front, which
 * goes the long way, means the same. */
#include "tests/fuzz/venue_fuzzer.h"

extern const struct tp_venue tp_venue_bitget;

static void check_numbers(const struct tp_depth_update *update)
{
    require(update->first_version <= update->last_version);
    if ((update->flags & (TP_DEPTH_BASE | TP_DEPTH_TOP)) != 0)
        require(update->previous_version == 0);
    else if (update->previous_version < update->last_version)
        require(update->first_version == update->previous_version + 1);
}

/* With a space in front it is read key by key, and must be the same. */
static void check_key_by_key(const struct tp_body *body, enum tp_decode_status status,
                             const struct tp_depth_update *update)
{
    static struct tp_depth_update other;
    struct tp_body copy = *body;
    uint8_t *const spaced = longer_copy(" ", body->data, body->size);
    copy.data = spaced;
    copy.size++;
    require(tp_venue_bitget.decode_depth(&copy, &other) == status);
    free(spaced);
    if (status == TP_DECODE_OK)
        fuzzed_require_equal(update, &other);
}

static void check_time(const struct tp_trade_update *trades)
{
    require(trades->exchange_ns == trades->trades[trades->count - 1].exchange_ns);
}

static void check_spaced(const struct tp_route *route, const struct tp_route *spaced, size_t size)
{
    (void)size;
    if (route->body_offset + 1 == spaced->body_offset)
        require(spaced->meaning == route->meaning && spaced->body_size == route->body_size);
}

static const struct venue_fuzzer fuzzer = {
    .venue = &tp_venue_bitget,
    .books = {"books:BTCUSDT", "books5:ETHUSDT", "uta.books:SOLUSDT"},
    .check_numbers = check_numbers,
    .check_depth = check_key_by_key,
    .check_trades = check_time,
    .check_spaced = check_spaced,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_venue(&fuzzer, data, size);
    return 0;
}
