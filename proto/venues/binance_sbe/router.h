/* Which instrument a message is of: by the symbol behind all else, and by its template.
 *
 * A stream's name is the symbol in lower case and what is streamed of it, btcusdt@depth; a message
 * has the symbol as the instrument list writes it, BTCUSDT. Trades and best prices of a symbol
 * whose book was added are known as well. Called by venue.c. Any thread; the memory is the
 * caller's. */
#ifndef TP_PROTO_BINANCE_SBE_ROUTER_H
#define TP_PROTO_BINANCE_SBE_ROUTER_H
#include "proto/venue.h"

/* As tp_venue's. */
const struct tp_channel *tp_binance_sbe_describe(const char *channel);
bool tp_binance_sbe_router_add(void *router, const char *channel, uint32_t instrument);
void tp_binance_sbe_route(void *router, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out);
#endif
