/* Bybit v5's public data as the engine sees it: what its markets have in common.
 *
 * Each market is a venue of its own, since symbols of two may be the same: spot is this folder's,
 * linear contracts are bybit_linear's. */
#ifndef TP_PROTO_BYBIT_VENUE_H
#define TP_PROTO_BYBIT_VENUE_H
#include "proto/venues/bybit/decode.h"
#include "proto/venues/bybit/router.h"

/* folder: the venue's name. */
#define TP_BYBIT_VENUE(folder)                                                                     \
    {                                                                                              \
        .layout = TP_VENUE_LAYOUT, .name = (folder),                                               \
        .facts =                                                                                   \
            {                                                                                      \
                .channels_per_connection = 100,                                                    \
                .messages_per_second = 10,                                                         \
                .connections = 1000,                                                               \
                .base_levels_max = 1000, /* 1,000 levels a side of 64 bytes. */                    \
                .message_size_max = 256 << 10,                                                     \
                .compression = TP_COMPRESSION_NONE,                                                \
                .pinger = TP_PINGER_CLIENT,                                                        \
                .ping_interval_s = 20,                                                             \
            },                                                                                     \
        .describe = tp_bybit_describe, .router_size = tp_symbol_table_size,                        \
        .router_init = tp_symbol_table_init, .router_add = tp_bybit_router_add,                    \
        .route = tp_bybit_route, .decode_depth = tp_bybit_decode_depth,                            \
        .decode_trades = tp_bybit_decode_trades,                                                   \
    }
#endif
