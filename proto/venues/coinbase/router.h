/* Which instrument an event of a message is of, and what it carries; and each message's number.
 *
 * Channels of ours are named "level2:BTC-USD": what is subscribed to, and the product. A message
 * has one channel and, in practice, one event; each event is a part. One hash and one compare of
 * the product. Trades and best prices of a product whose book was added are known as well.
 * Called by venue.c. Any thread; the memory belongs to the caller. */
#ifndef TP_PROTO_COINBASE_ROUTER_H
#define TP_PROTO_COINBASE_ROUTER_H
#include "proto/encoding/text.h"
#include "proto/symbol_table.h"
#include "proto/venue.h"

/* What a message says before its events. */
struct tp_coinbase_head {
    struct tp_text channel, type; /* type: of an error, which has neither channel nor number */
    uint64_t sequence;            /* TP_SEQUENCE_NONE: it has none */
    size_t events;                /* where the first one begins; 0: there is none */
    bool is_sound;                /* the whole message, where it was read to its end */
    bool is_ordered;              /* channel and number came before the events */
};

/* The kind of a channel by our name; NULL: none of Coinbase's that is read here. */
const struct tp_channel *tp_coinbase_describe(const char *channel);
bool tp_coinbase_router_add(void *router, const char *channel, uint32_t instrument);
/* Sets meaning and instrument of an event; at: where it begins. False: it cannot be read. */
bool tp_coinbase_route_event(const struct tp_symbol_table *router,
                             const struct tp_venue_message *message, struct tp_text channel,
                             const uint8_t *at, struct tp_route *out);
/* As tp_venue's. */
void tp_coinbase_route(void *router, const struct tp_venue_message *message, uint32_t from,
                       struct tp_route *out);
/* venue.c: whatever is not in the usual shape. */
void tp_coinbase_route_other(const struct tp_symbol_table *router,
                             const struct tp_venue_message *message, uint32_t from,
                             struct tp_route *out);
#endif
