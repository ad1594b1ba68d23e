/* The venue seam: what the engine knows of a venue. One struct tp_venue each, functions and data,
 * no I/O, nothing allocated, no clock.
 *
 *   route     a message as it came > of which instrument, what it means, where its body is
 *   decode_*  a body > an update (proto/update.h)
 *   describe  a channel > what its messages are and by which rule they keep a book
 *   facts     what the venue says of connections, limits and heartbeats
 *
 * The decoder says what a message means, not the WebSocket opcode: venues send books as text and
 * acknowledgements as binary. What only the cold side can use (acknowledgements, refusals, notices,
 * heartbeats) goes there as bytes; Python reads them in the venue's folder (proto/venue.py is that
 * side of the seam).
 * Implemented by proto/venues/<venue>; called by engine/feed. tests/venues/test_decoders.py holds
 * every venue to this page. Any thread; a router has one owner. */
#ifndef TP_PROTO_VENUE_H
#define TP_PROTO_VENUE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/encoding/status.h"
#include "proto/sync_rule.h"
#include "proto/update.h"

enum tp_meaning {
    TP_MEANING_UNKNOWN = 0, /* a sound message of a channel or kind that nobody asked for */
    TP_MEANING_BROKEN,      /* not what this venue sends */
    /* of an instrument: decode_depth reads the first three, the next two have their own */
    TP_MEANING_BASE,  /* a whole book */
    TP_MEANING_DELTA, /* changes; the decoder may still find that it is a base (TP_DEPTH_BASE) */
    TP_MEANING_TOP,   /* best bid and ask as the venue's own ticker stream has them */
    TP_MEANING_TRADES,
    TP_MEANING_STATUS, /* it may be traded from now on, or no longer */
    TP_MEANING_OWN,    /* news of own orders or the account */
    /* of the connection: for the cold side */
    TP_MEANING_ACKNOWLEDGEMENT, /* of channels by name, or of a request's id */
    TP_MEANING_REFUSAL,         /* of channels, or of the whole request; also of some of it */
    TP_MEANING_HEARTBEAT,       /* a ping or pong of theirs: proves the connection, never a book */
    TP_MEANING_NOTICE,          /* whatever else the venue says: shutdown, maintenance, errors */
};

/* What no book is made of: handed to the cold side as bytes. */
static inline bool tp_meaning_is_for_cold_side(enum tp_meaning meaning)
{
    return meaning >= TP_MEANING_ACKNOWLEDGEMENT;
}

/* A message as the connection gave it, inflated where the venue compresses (facts.compression). */
struct tp_venue_message {
    const uint8_t *data;
    size_t size;
    uint32_t connection; /* its number in the feed */
    uint8_t opcode;      /* RFC 6455 5.2: 1 text, 2 binary. A hint, never the meaning */
};

struct tp_route {
    enum tp_meaning meaning;
    uint32_t instrument;             /* only where the meaning is of one */
    uint32_t body_offset, body_size; /* what decode_* takes; inside the message */
    /* Where the message's next part begins, for route to go on from; 0: this was the last. Always
     * greater than the offset that this part began at. */
    uint32_t next_offset;
    /* The message's number on its connection; only where a rule counts those: then with the first
     * part of every message that is not broken, whatever else it means. TP_SEQUENCE_NONE: it is
     * none of those that the venue counts, such as an error. */
    uint64_t sequence;
};
static const uint64_t TP_SEQUENCE_NONE = UINT64_MAX;

/* A body: bytes that decode alone, without the message around them, so that they can be kept. */
struct tp_body {
    const uint8_t *data;
    size_t size;
    enum tp_meaning meaning;
    struct tp_scale scale;
    struct tp_misfit *misfit; /* set with TP_DECODE_TOO_FINE and TOO_LARGE; NULL: nobody asks */
};

/* Says which number does not fit the scale. */
static inline void tp_body_misfit(const struct tp_body *body, struct tp_misfit misfit)
{
    if (body->misfit != NULL)
        *body->misfit = misfit;
}

/* What a venue says of one kind of channel. */
struct tp_channel {
    enum tp_meaning meaning;         /* of its messages, before the decoder looks closer */
    const struct tp_sync_rule *rule; /* NULL: no book is made of it */
};

enum tp_compression {
    TP_COMPRESSION_NONE = 0,
    TP_COMPRESSION_GZIP = 1,    /* each message is a gzip member of its own */
    TP_COMPRESSION_DEFLATE = 2, /* permessage-deflate (RFC 7692), if offered */
};

enum tp_pinger {
    TP_PINGER_NOBODY = 0, /* messages alone keep a connection */
    TP_PINGER_CLIENT = 1, /* we must; by a message of the venue's own */
    TP_PINGER_SERVER = 2, /* it does; by a message of its own, which must be answered */
};

/* What a venue says of connections and requests. 0: it names no such limit. */
struct tp_venue_facts {
    uint32_t channels_per_connection;
    uint32_t messages_per_second; /* of ours, on one connection */
    uint32_t connections;         /* at once, of one address of ours */
    uint32_t connection_age_max_s;
    uint32_t idle_without_channel_s; /* a connection without a subscription is closed after it */
    uint32_t idle_without_data_s;
    uint32_t base_levels_max;  /* levels a side of a base that may be asked for */
    uint32_t message_size_max; /* largest that it sends; a larger one ends the connection */
    uint8_t compression;       /* enum tp_compression: undone before route */
    uint8_t pinger;            /* enum tp_pinger */
    uint32_t ping_interval_s;  /* how often it must, or does */
    /* A book that is locked or crossed for more messages, or for longer, is not what the venue has:
     * it is built anew. 0: TP_CROSSED_MESSAGES_DEFAULT, TP_CROSSED_MS_DEFAULT. */
    uint16_t crossed_messages_max;
    uint16_t crossed_ms_max;
};
enum { TP_CROSSED_MESSAGES_DEFAULT = 20, TP_CROSSED_MS_DEFAULT = 1000 };

/* What both sides of the seam must agree on, as a number: a decoder that was compiled from other
 * headers is refused, not called. TP_VENUE_REVISION is raised where a meaning changes and no size.
 */
enum { TP_VENUE_REVISION = 4 };
#define TP_VENUE_LAYOUT                                                                            \
    (UINT64_C(1000003) * TP_VENUE_REVISION + UINT64_C(10007) * sizeof(struct tp_venue) +           \
     UINT64_C(100003) * sizeof(struct tp_venue_message) +                                          \
     UINT64_C(1009) * sizeof(struct tp_route) + UINT64_C(10009) * sizeof(struct tp_body) +         \
     UINT64_C(104729) * sizeof(struct tp_depth_update) +                                           \
     UINT64_C(7919) * sizeof(struct tp_channel))

struct tp_venue {
    uint64_t layout;  /* TP_VENUE_LAYOUT of the headers that it was compiled from; stays first */
    const char *name; /* of its folder; as configuration and instrument rows have it */
    struct tp_venue_facts facts;

    /* The channel's kind; NULL: no channel of this venue. */
    const struct tp_channel *(*describe)(const char *channel);

    /* The venue's own state: subscriptions, and what it must remember of each connection. memory:
     * router_size bytes, aligned to 8, the caller's. */
    size_t (*router_size)(uint32_t channel_count_max, uint32_t connection_count);
    void (*router_init)(void *router, uint32_t channel_count_max, uint32_t connection_count);
    /* instrument: what route shall return. With a book's channel the venue's trades and its own
     * best prices of the same instrument are routed there as well: whether they come is for the
     * subscriptions to say. False: full, unknown, or a book that is there already. */
    bool (*router_add)(void *router, const char *channel, uint32_t instrument);
    /* A connection opened anew; NULL: nothing is remembered of connections. */
    void (*router_reset)(void *router, uint32_t connection);

    /* from: 0, or the next_offset of the part before. Sets meaning and next_offset always; out
     * holds nothing before. */
    void (*route)(void *router, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out);

    /* out is undefined unless TP_DECODE_OK; then first_version <= last_version and no number is
     * negative. With TOO_FINE and TOO_LARGE *body->misfit is the number: a message is refused
     * whole, and its instrument's scale is moved. NULL: this venue's are not decoded yet. */
    enum tp_decode_status (*decode_depth)(const struct tp_body *body, struct tp_depth_update *out);
    /* Of a body that decode_depth refused, its numbers alone: first, last and previous version.
     * False: they cannot be read, or are out of order. NULL: nothing is numbered. */
    bool (*read_versions)(const struct tp_body *body, struct tp_depth_update *out);
    enum tp_decode_status (*decode_trades)(const struct tp_body *body, struct tp_trade_update *out);
    enum tp_decode_status (*decode_status)(const struct tp_body *body,
                                           struct tp_status_update *out);
};

/* The venues of this build: each folder below proto/venues/. */
uint32_t tp_venue_count(void);
const struct tp_venue *tp_venue_at(uint32_t index);
/* NULL: no such venue. */
const struct tp_venue *tp_venue_find(const char *name);
#endif
