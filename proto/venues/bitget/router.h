/* Which instrument a message is of, and what it carries: by the channel and symbol of its `arg`.
 *
 * Channels of ours are named "books:BTCUSDT": the classic generation's own name and the symbol;
 * "uta.books:BTCUSDT" is the unified one's topic of that name. One compare of the generation and
 * market, one of the channel, one hash and one compare of the symbol. Trades and best prices of a
 * symbol whose book was added are known as well. Called by venue.c. Any thread; the memory belongs
 * to the caller. */
#ifndef TP_PROTO_BITGET_ROUTER_H
#define TP_PROTO_BITGET_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

/* What the venue calls instType: both markets list BTCUSDT, on one WebSocket. */
enum tp_bitget_market { TP_BITGET_SPOT, TP_BITGET_USDT, TP_BITGET_MARKET_COUNT };
/* Its two WebSockets. */
enum tp_bitget_api { TP_BITGET_CLASSIC, TP_BITGET_UTA, TP_BITGET_API_COUNT };

/* What a message says it is of. */
struct tp_bitget_source {
    enum tp_bitget_market market;
    struct tp_text inst_type, channel, symbol, action;
    enum tp_bitget_api api;
};

/* The kind of a channel by our name; NULL: none of Bitget's that is read here. */
const struct tp_channel *tp_bitget_describe(const char *channel);
bool tp_bitget_router_add(void *router, const char *channel, uint32_t instrument);
/* Sets meaning and instrument. False: no subscription of ours. */
bool tp_bitget_router_find(const struct tp_symbol_table *router,
                           const struct tp_bitget_source *source, struct tp_route *out);
/* As tp_venue's, of each market. */
void tp_bitget_route_spot(void *router, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out);
void tp_bitget_route_usdt(void *router, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out);
/* other.c: what is no data of ours in the usual shape. */
void tp_bitget_route_other(const struct tp_symbol_table *router, enum tp_bitget_market market,
                           const struct tp_venue_message *message, struct tp_route *out);
#endif
