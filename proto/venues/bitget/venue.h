/* Bitget's public data as the engine sees it: what its markets have in common.
 *
 * Each market is a venue of its own, since both list BTCUSDT: spot is this folder's, contracts
 * settled in USDT are bitget_usdt's. */
#ifndef TP_PROTO_BITGET_VENUE_H
#define TP_PROTO_BITGET_VENUE_H
#include "proto/venues/bitget/decode.h"
#include "proto/venues/bitget/router.h"

/* folder: the venue's name; route_market: the way of its market's messages. */
#define TP_BITGET_VENUE(folder, route_market)                                                      \
    {                                                                                              \
        .layout = TP_VENUE_LAYOUT, .name = (folder),                                               \
        .facts =                                                                                   \
            {                                                                                      \
                .channels_per_connection = 50,                                                     \
                .messages_per_second = 10,                                                         \
                .connection_age_max_s = 24 * 3600,                                                 \
                .connections = 100,                                                                \
                .idle_without_data_s = 120, /* of ours */                                          \
                .base_levels_max = 1000,                                                           \
                .message_size_max = 256 << 10, /* 1,000 levels a side of 64 bytes */               \
                .compression = TP_COMPRESSION_NONE,                                                \
                .pinger = TP_PINGER_CLIENT,                                                        \
                .ping_interval_s = 30,                                                             \
            },                                                                                     \
        .describe = tp_bitget_describe, .router_size = tp_symbol_table_size,                       \
        .router_init = tp_symbol_table_init, .router_add = tp_bitget_router_add,                   \
        .route = (route_market), .decode_depth = tp_bitget_decode_depth,                           \
        .decode_trades = tp_bitget_decode_trades,                                                  \
    }
#endif
