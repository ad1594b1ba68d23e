/* Which instrument a message is of, and what it carries: by the topic in its `ch`, or in its `rep`.
 *
 * Channels of ours have the venue's own names: market.btcusdt.mbp.150. One hash and one compare of
 * the symbol, then one of what stands behind it. Trades and best prices of an instrument whose book
 * was added are known as well. Called by venue.c. Any thread; the memory belongs to the caller. */
#ifndef TP_PROTO_HTX_ROUTER_H
#define TP_PROTO_HTX_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

enum { TP_HTX_KIND_SIZE_MAX = 16 /* a longer one is none of ours */ };

/* The kind of a channel; NULL: none of HTX's that is read here. */
const struct tp_channel *tp_htx_describe(const char *channel);
bool tp_htx_router_add(void *router, const char *channel, uint32_t instrument);
/* Sets meaning and instrument. False: no subscription of ours. */
bool tp_htx_router_find(const struct tp_symbol_table *router, struct tp_text topic,
                        struct tp_route *out);
/* As tp_venue's. */
void tp_htx_route(void *router, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out);
/* venue.c: what is no data of ours in the usual shape. */
void tp_htx_route_other(const struct tp_symbol_table *router,
                        const struct tp_venue_message *message, struct tp_route *out);
#endif
