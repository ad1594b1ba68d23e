/* Which instrument a topic is of, and what it carries: by the kind in front of its symbol.
 *
 * A topic is orderbook.50.BTCUSDT or publicTrade.BTCUSDT, and ours are named as the venue's. One
 * compare of the kind, then one hash and one compare of the symbol. Trades and best prices of a
 * symbol whose book was added are known as well. Called by venue.c. Any thread; the memory belongs
 * to the caller. */
#ifndef TP_PROTO_BYBIT_ROUTER_H
#define TP_PROTO_BYBIT_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

/* As tp_venue's. */
const struct tp_channel *tp_bybit_describe(const char *channel);
bool tp_bybit_router_add(void *router, const char *channel, uint32_t instrument);
void tp_bybit_route(void *router, const struct tp_venue_message *message, uint32_t from,
                    struct tp_route *out);
#endif
