/* Which instrument a message is of, and what it carries: by its channel and what its result names.
 *
 * Channels of ours are named "spot.obu.50:BTC_USDT": the venue's own name, the levels of a book,
 * and the instrument's. One hash and one compare of the instrument, then a bit. Trades and best
 * prices of an instrument whose book was added are known as well. A message of futures' trades has
 * a part for each. Called by venue.c of this folder and of gate_usdt. Any thread; the memory
 * belongs to the caller. */
#ifndef TP_PROTO_GATE_ROUTER_H
#define TP_PROTO_GATE_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

/* As tp_venue's. */
const struct tp_channel *tp_gate_describe(const char *channel);
bool tp_gate_router_add(void *router, const char *channel, uint32_t instrument);
void tp_gate_route(void *router, const struct tp_venue_message *message, uint32_t from,
                   struct tp_route *out);

/* Sets meaning and instrument. name: of obu "ob.BTC_USDT.50", else the instrument's. False: no
 * subscription of ours. */
bool tp_gate_router_find(const struct tp_symbol_table *router, struct tp_text channel,
                         struct tp_text name, struct tp_route *out);
/* other.c: what is no data of ours in the usual shape, and one trade of many. */
void tp_gate_route_other(const struct tp_symbol_table *router,
                         const struct tp_venue_message *message, struct tp_route *out);
void tp_gate_route_trade(const struct tp_symbol_table *router,
                         const struct tp_venue_message *message, uint32_t from,
                         struct tp_route *out);
#endif
