/* Kraken's WebSocket v2 messages (JSON) to fixed point, without allocation.
 *
 * A message is {"channel":…,"type":…,"data":[item,…]}, or an answer {"method":…,"success":…}; each
 * item names its symbol. Facts and their sources: README.md here. Called by venue.c, which is what
 * the engine sees. Any thread; the router and the output belong to the caller. */
#ifndef TP_PROTO_KRAKEN_DECODE_H
#define TP_PROTO_KRAKEN_DECODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/encoding/status.h"
#include "proto/encoding/text.h"
#include "proto/venue.h"

/* Channels of ours are named "book-10:BTC/USD", "ticker:BTC/USD", "trade:BTC/USD": the venue's own
 * name, the depth where it has one, and the symbol. */
enum tp_kraken_kind {
    TP_KRAKEN_BOOK = 1, /* 0: none that we subscribe to */
    TP_KRAKEN_TICKER = 2,
    TP_KRAKEN_TRADE = 3,
};
enum { TP_KRAKEN_SYMBOL_SIZE_MAX = 56 };

/* The channel's kind by our name; NULL: none. symbol, kind: what it names; may be NULL. */
const struct tp_channel *tp_kraken_describe(const char *channel, enum tp_kraken_kind *kind,
                                            struct tp_text *symbol);

/* Subscriptions by kind and symbol: a small open-addressing table of fixed capacity. */
struct tp_kraken_router;
size_t tp_kraken_router_size(uint32_t channel_count_max);
void tp_kraken_router_init(void *memory, uint32_t channel_count_max);
/* False: no channel of ours, of a book that is there already at any depth, or full. */
bool tp_kraken_router_add(void *router, const char *channel, uint32_t instrument);
/* route of the seam. A part is an item; its body is the item and what stands behind it: a comma, or
 * the message's end. */
void tp_kraken_route(void *router, const struct tp_venue_message *message, uint32_t from,
                     struct tp_route *out);

/* decode_depth of the seam: an item of `book` or `ticker`. An item of a book without a checksum is
 * none that this venue documents: TP_DECODE_UNKNOWN. */
enum tp_decode_status tp_kraken_decode_depth(const struct tp_body *body,
                                             struct tp_depth_update *out);
/* decode_trades of the seam: an item of `trade`. */
enum tp_decode_status tp_kraken_decode_trades(const struct tp_body *body,
                                              struct tp_trade_update *out);
#endif
