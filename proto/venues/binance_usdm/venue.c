/* Binance's USD-M contracts: the struct tp_venue of proto/venue.h. Facts: README.md here. */
#include "proto/venue.h"
#include "proto/venues/binance/decode.h"
#include "proto/venues/binance/router.h"

extern const struct tp_venue tp_venue_binance_usdm; /* the registry's table declares it so */

const struct tp_venue tp_venue_binance_usdm = {
    .layout = TP_VENUE_LAYOUT,
    .name = "binance_usdm",
    .facts =
        {
            .channels_per_connection = 1024,
            .messages_per_second = 9, /* of 10: a PONG counts, and comes when it must */
            .connection_age_max_s = 24 * 3600,
            .base_levels_max = 1000,
            /* 5,000 levels a side of 45 bytes. */
            .message_size_max = 512 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_NOBODY,
        },
    .describe = tp_binance_usdm_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_binance_usdm_router_add,
    .route = tp_binance_usdm_route,
    .decode_depth = tp_binance_usdm_decode_depth,
    .read_versions = tp_binance_usdm_read_versions,
    .decode_trades = tp_binance_decode_trades,
};
