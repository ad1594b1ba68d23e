/* Binance spot's SBE streams as the engine sees them: the struct tp_venue of proto/venue.h.
 *
 * Market data are messages of Binance's schema stream_1_0 in binary frames; what is said of
 * subscriptions is ../binance's JSON in text frames. Facts and their sources: README.md here.
 * Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include "proto/symbol_table.h"
#include "proto/venues/binance_sbe/decode.h"
#include "proto/venues/binance_sbe/router.h"

extern const struct tp_venue tp_venue_binance_sbe; /* the registry's table declares it so */

const struct tp_venue tp_venue_binance_sbe = {
    .layout = TP_VENUE_LAYOUT,
    .name = "binance_sbe",
    .facts =
        {
            .channels_per_connection = 1024,
            .messages_per_second = 4, /* of 5: a PONG counts, and comes when it must */
            .connection_age_max_s = 24 * 3600,
            .base_levels_max = 5000,
            /* 5,000 levels a side of 16 bytes, and blocks three times as long. */
            .message_size_max = 512 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_NOBODY,
        },
    .describe = tp_binance_sbe_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_binance_sbe_router_add,
    .route = tp_binance_sbe_route,
    .decode_depth = tp_binance_sbe_decode_depth,
    .read_versions = tp_binance_sbe_read_versions,
    .decode_trades = tp_binance_sbe_decode_trades,
};
