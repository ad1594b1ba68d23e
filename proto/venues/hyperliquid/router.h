/* Which instrument a message is of, and what it carries: by its channel and the coin in its data.
 *
 * Channels of ours are named "l2Book:BTC": the venue's own name and the coin's; "l2Book-fast:BTC"
 * is the same channel with fewer levels and more often. One hash and one compare of the coin, then
 * one of the channel. Trades and best prices of a coin whose book was added are known as well.
 * Called by venue.c. Any thread; the memory belongs to the caller. */
#ifndef TP_PROTO_HYPERLIQUID_ROUTER_H
#define TP_PROTO_HYPERLIQUID_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

/* The kind of a channel by our name; NULL: none of Hyperliquid's that is read here. */
const struct tp_channel *tp_hyperliquid_describe(const char *channel);
bool tp_hyperliquid_router_add(void *router, const char *channel, uint32_t instrument);
/* Sets meaning and instrument. False: no subscription of ours. */
bool tp_hyperliquid_router_find(struct tp_symbol_table *router, struct tp_text channel,
                                struct tp_text coin, struct tp_route *out);
/* A subscription to a coin's trades was acknowledged: the next message of them is history. */
void tp_hyperliquid_router_await_history(struct tp_symbol_table *router, struct tp_text coin);
/* As tp_venue's. */
void tp_hyperliquid_route(void *router, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out);
/* venue.c: what is no data of ours in the usual shape. */
void tp_hyperliquid_route_other(struct tp_symbol_table *router,
                                const struct tp_venue_message *message, struct tp_route *out);
#endif
