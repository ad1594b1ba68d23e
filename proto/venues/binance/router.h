/* Which instrument a combined stream is of, and what it carries: by the symbol in front of its
 * name.
 *
 * A stream's name is the symbol in lower case and what is streamed of it: btcusdt@depth@100ms. One
 * hash and one compare of the symbol, then one of the rest. Trades and best prices of a symbol
 * whose book was added are known as well. Called by venue.c. Any thread; the memory belongs to the
 * caller. */
#ifndef TP_PROTO_BINANCE_ROUTER_H
#define TP_PROTO_BINANCE_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

/* Their streams differ in speeds and in how messages of a book follow each other. */
enum tp_binance_market { TP_BINANCE_SPOT, TP_BINANCE_USDM, TP_BINANCE_MARKET_COUNT };

enum {
    TP_BINANCE_SUFFIX_SIZE_MAX = 12,
    TP_BINANCE_STREAM_SIZE_MAX = TP_SYMBOL_SIZE_MAX + TP_BINANCE_SUFFIX_SIZE_MAX,
};

/* Sets meaning and instrument. False: no stream of ours. */
bool tp_binance_router_find(const struct tp_symbol_table *router, enum tp_binance_market market,
                            struct tp_text stream, struct tp_route *out);
/* As tp_venue's, of each market. */
const struct tp_channel *tp_binance_describe(const char *channel);
bool tp_binance_router_add(void *router, const char *channel, uint32_t instrument);
void tp_binance_route(void *router, const struct tp_venue_message *message, uint32_t from,
                      struct tp_route *out);
const struct tp_channel *tp_binance_usdm_describe(const char *channel);
bool tp_binance_usdm_router_add(void *router, const char *channel, uint32_t instrument);
void tp_binance_usdm_route(void *router, const struct tp_venue_message *message, uint32_t from,
                           struct tp_route *out);
/* venue.c: what a text means that brings no data: an answer or a notice. */
enum tp_meaning tp_binance_text_meaning(const struct tp_venue_message *message);
/* The same of what is no data of ours in the usual shape. */
void tp_binance_route_other(const struct tp_symbol_table *router, enum tp_binance_market market,
                            const struct tp_venue_message *message, struct tp_route *out);
#endif
