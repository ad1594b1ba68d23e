/* What a venue's decoder makes of one message. Nothing here stands in shared memory.
 *
 * Prices and quantities are int64 mantissas of the instrument's decimal exponent, as in
 * proto/records.h; exchange_ns is CLOCK_REALTIME as the venue stamped it. Written by
 * proto/venues/<venue>, read by engine/feed and engine/book. */
#ifndef TP_PROTO_UPDATE_H
#define TP_PROTO_UPDATE_H
#include <stdint.h>

#include "proto/records.h"

/* The decimal exponents that an instrument's mantissas have: -18..0. */
struct tp_scale {
    int32_t price_exponent, quantity_exponent;
};

/* What a venue decoder makes of one depth message. Levels are absolute quantities, 0 removes. */
enum { TP_DEPTH_LEVEL_COUNT_MAX = 5000 };
struct tp_depth_update {
    uint64_t first_version, last_version; /* equal where the venue numbers messages, not ranges */
    uint64_t exchange_ns;
    uint32_t bid_count, ask_count;
    struct tp_level bids[TP_DEPTH_LEVEL_COUNT_MAX], asks[TP_DEPTH_LEVEL_COUNT_MAX];
};
#endif
