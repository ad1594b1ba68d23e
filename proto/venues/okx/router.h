/* Which instrument a message is of, and what it carries: by the channel and instId of its `arg`.
 *
 * Channels of ours are named "books:BTC-USDT": the venue's own name and the instrument's. One hash
 * and one compare of the instrument, then one of the channel. Trades and best prices of an
 * instrument whose book was added are known as well. Called by venue.c. Any thread; the memory
 * belongs to the caller. */
#ifndef TP_PROTO_OKX_ROUTER_H
#define TP_PROTO_OKX_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

enum {
    TP_OKX_CHANNEL_SIZE_MAX = 16, /* a longer one is none of ours */
};

/* The kind of a channel by our name; NULL: none of OKX's that is read here. */
const struct tp_channel *tp_okx_describe(const char *channel);
bool tp_okx_router_add(void *router, const char *channel, uint32_t instrument);
/* Sets meaning and instrument. False: no subscription of ours. */
bool tp_okx_router_find(const struct tp_symbol_table *router, struct tp_text channel,
                        struct tp_text symbol, struct tp_route *out);
/* As tp_venue's. */
void tp_okx_route(void *router, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out);
/* venue.c: what is no data of ours in the usual shape. */
void tp_okx_route_other(const struct tp_symbol_table *router,
                        const struct tp_venue_message *message, struct tp_route *out);
#endif
