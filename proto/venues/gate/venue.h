/* Gate's public data as the engine sees it: what its markets have in common.
 *
 * Each market is a venue of its own, since both list BTC_USDT: spot is this folder's, perpetual
 * contracts settled in USDT are gate_usdt's. */
#ifndef TP_PROTO_GATE_VENUE_H
#define TP_PROTO_GATE_VENUE_H
#include "proto/venues/gate/decode.h"
#include "proto/venues/gate/router.h"

/* folder: the venue's name. */
#define TP_GATE_VENUE(folder)                                                                      \
    {                                                                                              \
        .layout = TP_VENUE_LAYOUT, .name = (folder),                                               \
        .facts =                                                                                   \
            {                                                                                      \
                .channels_per_connection = 100,                                                    \
                .messages_per_second = 20,                                                         \
                .connections = 300,                                                                \
                .idle_without_data_s = 30, /* of ours */                                           \
                .base_levels_max = 400,                                                            \
                .message_size_max = 128 << 10, /* 400 levels a side of 80 bytes */                 \
                .compression = TP_COMPRESSION_NONE,                                                \
                .pinger = TP_PINGER_CLIENT,                                                        \
                .ping_interval_s = 15,                                                             \
            },                                                                                     \
        .describe = tp_gate_describe, .router_size = tp_symbol_table_size,                         \
        .router_init = tp_symbol_table_init, .router_add = tp_gate_router_add,                     \
        .route = tp_gate_route, .decode_depth = tp_gate_decode_depth,                              \
        .read_versions = tp_gate_read_versions, .decode_trades = tp_gate_decode_trades,            \
    }
#endif
