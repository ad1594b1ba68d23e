/* From one decrypted venue message to a published book: route > decode > sync > book_apply >
 * publish.
 *
 * engine/feed_handler/hot_path.c calls tp_feed_message for every message; a cold thread of the same
 * process asks tp_feed_base_wanted and answers with tp_feed_base_offer. One writer thread
 * (the hot path); the two calls for bases are the only ones that another thread may make.
 *
 * What a message means, and by which rule messages keep a book whole, is the venue's to say
 * (proto/venue.h, proto/sync_rule.h); no venue's name stands in this folder. Levels are absolute. A
 * book that lost its place in the chain is SYNCING until a base gives it another: by REST or by a
 * request on the socket, met by the messages kept meanwhile, or in-band, where nothing is kept.
 * After a reconnect the book is replaced. What the venue does not trade is not LIVE (trading.h).
 * Trades and the venue's own best prices are events of their own, which move no book (market.c);
 * own news are routed and counted. */
#ifndef TP_ENGINE_FEED_H
#define TP_ENGINE_FEED_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"
#include "proto/records.h"
#include "proto/venue.h"
#include "shm/broadcast_ring.h"
#include "shm/clock.h"
#include "shm/histogram.h"
#include "shm/snapshot_table.h"

struct tp_ring_gate;
struct tp_tap;

/* At once in one feed: so many [[venue]] sections. */
enum { TP_FEED_VENUE_COUNT_MAX = 16 };

/* How long an instrument had no message before one: caches forget, and a trader feels it. */
enum tp_feed_silence {
    TP_FEED_WARM, /* from TP_FEED_WARM_NS */
    TP_FEED_COLD, /* from TP_FEED_COLD_NS */
    TP_FEED_SILENCE_COUNT,
};
static const uint64_t TP_FEED_WARM_NS = 1000000, TP_FEED_COLD_NS = 10000000;

/* One venue of the feed: a router and a mailbox of its own. */
struct tp_feed_venue {
    const struct tp_venue *venue; /* its messages come inflated */
    uint32_t channel_count;       /* of it at most; 0: as many as instruments */
    /* engine/feed/verify.h. A quiet book is asked about after so long (0: nobody asks), and is not
     * LIVE once it was not proved for verify_limit_ns (0: it may be quiet forever). */
    uint64_t verify_after_ns, verify_limit_ns;
};

struct tp_feed_config {
    struct tp_feed_venue venues[TP_FEED_VENUE_COUNT_MAX]; /* the first without a venue ends them */
    uint32_t instrument_count;                            /* of all venues, as all that follows */
    uint32_t connection_count;
    uint32_t buffered_bytes_max; /* raw messages kept per syncing instrument; default: the pool */
    uint64_t silent_after_ns;    /* no message on a connection for so long: its books go STALE */
    struct tp_ring_writer *ring;
    struct tp_snapshot_writer *snapshots;
    const struct tp_clock *clock;
    /* For all that follow 0 means the default. */
    uint64_t buffer_pool_bytes; /* kept messages of all instruments; TP_FEED_POOL_BYTES_* */
    uint64_t
        keep_ns; /* kept messages that are older are dropped: a base that lags so long is met */
    uint64_t settle_ns; /* an instrument that is quiet after connection_up asks so much later */
    uint64_t base_timeout_ns; /* an in-band base that has not come so long after up is asked for */
    uint32_t snapshot_depth;  /* levels a side in the snapshot table, up to TP_BOOK_DEPTH_MAX */
    uint32_t window_ticks;    /* engine/book: ticks around the touch, a power of two */
    uint32_t overflow_levels; /* engine/book: levels a side behind them */
    /* Hops of every applied message; NULL: not recorded. */
    struct tp_histogram *received_to_taken; /* where hop zero is known: tp_feed_arrived */
    struct tp_histogram *taken_to_decoded, *decoded_to_published;
    /* The last two together, of messages behind a silence; NULL: not recorded. */
    struct tp_histogram *after_silence[TP_FEED_SILENCE_COUNT];
    bool needs_confirmation; /* no base is wanted before tp_feed_confirmed, or a message */
    bool races;              /* tp_feed_race may be called */
    bool moves_scale; /* somebody takes misfits and calls tp_feed_rescale; else they are broken */
    struct tp_ring_gate *gate; /* lossless consumers; NULL: nobody is waited for */
    struct tp_tap *tap;        /* engine/recording: bases as they are taken; NULL: not recorded */
};

enum {
    TP_FEED_INSTRUMENT_COUNT_MAX = 1 << 16,
    TP_FEED_CONNECTION_COUNT_MAX = 1 << 10,
    TP_FEED_MESSAGE_BYTES_KEPT_MAX = 1 << 20, /* of one message */
    /* What a busy book brings, 100 kB/s, for as long as a base may lag, 30 s. */
    TP_FEED_POOL_BYTES_BUSY = 4 << 20,
    /* Of the pool that all share, the larger of two: for each book what 100 messages of 200 bytes a
     * second bring in 3 s, in which a connection's 30 bases are fetched at 10 a second; and, where
     * books are few, what two busy ones keep. Never more than all of them may. */
    TP_FEED_POOL_BYTES_EACH = 64 << 10,
    TP_FEED_POOL_BYTES_LEAST = 8 << 20,
    TP_FEED_SETTLE_NS_DEFAULT = 500000000,
};
static const uint64_t TP_FEED_KEEP_NS_DEFAULT = 30000000000;
/* Five venues acknowledge channels that then stay silent. */
static const uint64_t TP_FEED_BASE_TIMEOUT_NS_DEFAULT = 10000000000;
static const uint64_t TP_FEED_BUFFER_POOL_BYTES_MAX = (uint64_t)1 << 36;

struct tp_feed_counters {
    uint64_t messages, bytes, levels, control, unknown_channel, unknown_body, broken, gaps, resyncs,
        duplicates, crossed, buffered, bases_applied, bases_too_old;
    uint64_t inactive, /* messages of a connection that is down or an instrument that was refused */
        overflows,     /* backlog or book outgrew its limit */
        silences,      /* times that a connection fell silent */
        bases_refused, /* levels out of range */
        bases_unasked; /* answers to a request that was withdrawn */
    uint64_t unpublished, /* messages of a meaning that has no event or no decoder yet */
        baseless,         /* changes that came before the in-band base they build on */
        unchanged,        /* messages that say that nothing changed */
        unreadable,       /* messages that are nothing of the venue's and name no instrument */
        checksums,        /* books that did not give their message's checksum */
        shallow,          /* books whose touch came near or past the end of what is known */
        resets,           /* numberings that began anew on a connection */
        doubled,          /* prices that a base named twice: the last one counts */
        halts,            /* instruments that the venue stopped trading */
        trades, bests;    /* events of trades, and of the venue's own best prices */
    /* Bases that were older than what was kept, for keep_ns, or for the pool had no more room. */
    uint64_t outlived_keep_s, outlived_keep_bytes;
    uint64_t too_fine, /* messages with a digit more than the scale keeps */
        too_large,     /* messages with a number beyond 64 bits at the scale */
        unscaled,      /* messages that came before the scale was moved */
        rescaled,      /* moves of a scale */
        escaped;       /* messages of JSON with escapes that no name needs */
    uint64_t copies,   /* changes that another connection of a race had brought */
        filled,        /* messages that were ahead of a book until another connection caught up */
        unfilled,      /* the same where none did: gaps */
        relieved;      /* books that went on by another connection of their race */
    uint64_t checks,   /* bases that came to be compared with a quiet book */
        verified,      /* books that were found to be the venue's, so or by their own channel */
        checks_different,  /* the same number, other levels */
        checks_deaf,       /* the venue's book moved on, and no message said so */
        checks_unanswered, /* quiet books that were not proved in time */
        verify_within_ms;  /* how long that is, of the venues the longest */
};

struct tp_feed;
/* 0: the configuration is out of range. Back it with huge pages where there are many instruments:
 * each message touches about five pages. */
size_t tp_feed_memory_size(const struct tp_feed_config *config);
/* What buffer_pool_bytes comes to, defaults included: a replay needs the same. */
uint64_t tp_feed_pool_bytes(const struct tp_feed_config *config);
struct tp_feed *tp_feed_init(void *memory, const struct tp_feed_config *config);
/* Says which of config.venues a connection goes to; the first, where this is not called. Before
 * its instruments are added. */
void tp_feed_connection_assign(struct tp_feed *feed, uint32_t connection, uint32_t venue);
/* Before the first message. channel: the venue's subscription string; connection: which one carries
 * it. */
bool tp_feed_instrument_add(struct tp_feed *feed, uint32_t instrument,
                            const struct tp_instrument_record *record, const char *channel,
                            uint32_t connection);

enum tp_feed_result {
    TP_FEED_APPLIED,  /* published */
    TP_FEED_BUFFERED, /* instrument is syncing */
    TP_FEED_IGNORED,  /* duplicate, or older than the base */
    TP_FEED_UNKNOWN,  /* not one of our channels: counted */
    TP_FEED_BROKEN,   /* decoder refused it: a book's instrument went SYNCING (BROKEN_MESSAGE) */
    TP_FEED_NOTE,     /* not for a book: hand it to the cold side, whatever its opcode */
};
/* payload: one WebSocket message of any opcode (RFC 6455 5.2), used during the call only; whatever
 * it is, its connection is not silent. Of a
 * message with several parts the result that asks for most: the last in the order above. */
enum tp_feed_result tp_feed_message(struct tp_feed *feed, uint32_t connection, uint8_t opcode,
                                    struct tp_span payload, uint64_t received_ns);
/* Hop zero of the message that is given next: what is published of it bears this as received_ns,
 * and received_ns as taken_ns. 0: not known, as it is at first; the caller says so again behind the
 * message. */
void tp_feed_arrived(struct tp_feed *feed, uint64_t arrived_ns);
/* Call it before the first message too; what comes on a connection that is not up is ignored.
 * Every instrument of the connection goes SYNCING (STARTING) and wants a base: as soon as its
 * first message is kept, which proves that the subscription stands, or after settle_ns without one;
 * with needs_confirmation not before the venue's yes, until which it is then SYNCING (UNCONFIRMED).
 * A base fetched earlier could miss what changed before the subscription took effect. */
void tp_feed_connection_up(struct tp_feed *feed, uint32_t connection, uint64_t now_ns);
/* Books of the connection go STALE (DISCONNECTED) at once. */
void tp_feed_connection_down(struct tp_feed *feed, uint32_t connection, uint64_t now_ns);
/* The venue said no to this instrument, or nothing in time: STALE (REFUSED), until
 * tp_feed_confirmed or a message of its channel says otherwise. Hot-path thread. */
void tp_feed_refused(struct tp_feed *feed, uint32_t instrument, uint64_t now_ns);
/* The venue said yes to this instrument's channel on this connection: a base that is fetched from
 * now on may make its book LIVE. A message of the channel says the same. Hot-path thread. */
void tp_feed_confirmed(struct tp_feed *feed, uint32_t instrument, uint64_t now_ns);
/* Whether the venue has neither said yes to it on this connection nor sent anything of its channel,
 * nor said no. Hot-path thread. */
bool tp_feed_is_unconfirmed(const struct tp_feed *feed, uint32_t instrument);
/* Replay: as the feed that was recorded, for connections that open from now on. */
void tp_feed_need_confirmation(struct tp_feed *feed, bool needs);
/* Cold work of the hot path, called every few hundred microseconds: takes offered bases, marks
 * silent connections. Returns whether it changed what later messages meet: such a tick must be
 * replayed. */
bool tp_feed_tick(struct tp_feed *feed, uint64_t now_ns);

/* Whether an instrument of any venue wanted something of a cold thread since the last call: the
 * hot thread asks, and wakes them. */
bool tp_feed_take_wanted(struct tp_feed *feed);

/* The five below: one cold thread a venue, which is the venue's number in config.venues; what one
 * of them waits for never delays another.
 *
 * Fills wanted[0, returned) with instruments that need a base from the cold side and
 * were not asked for since; each is reported once until it is offered or wanted anew. */
uint32_t tp_feed_base_wanted(struct tp_feed *feed, uint32_t venue, uint32_t *wanted,
                             uint32_t count_max);
/* Likewise: quiet books that a base is to be compared with; it is offered, or failed, as any
 * other. */
uint32_t tp_feed_check_wanted(struct tp_feed *feed, uint32_t venue, uint32_t *wanted,
                              uint32_t count_max);
/* Likewise: instruments whose channel is to be subscribed to anew. */
uint32_t tp_feed_anew_wanted(struct tp_feed *feed, uint32_t venue, uint32_t *wanted,
                             uint32_t count_max);
struct tp_feed_base {
    uint32_t instrument;
    uint32_t bid_count, ask_count; /* up to TP_DEPTH_LEVEL_COUNT_MAX */
    uint64_t version;
    const struct tp_level *bids, *asks; /* in any order; quantity 0 is left out */
    uint32_t truncated; /* 1 << enum tp_side: beyond that side's last level nothing is known */
    /* tp_record_scale_flags of its numbers: one of another scale than the book's is not taken, and
     * another is wanted. 0: of the book's. */
    uint32_t scale;
};
/* Levels need no order. False: the mailbox is still full, try again. Copies. A
 * base older than what is buffered is refused by tick and wanted again. It must have been
 * fetched after its instrument was last reported as wanted: give up a fetch under way when the
 * instrument is reported anew. */
bool tp_feed_base_offer(struct tp_feed *feed, uint32_t venue, const struct tp_feed_base *base);
/* The fetch failed; want it again. */
void tp_feed_base_failed(struct tp_feed *feed, uint32_t venue, uint32_t instrument);

/* Cold thread: 1 + the instrument in whose base a price last came twice; 0: in none. */
uint32_t tp_feed_doubled(const struct tp_feed *feed);
/* Cold thread: from now on a quiet book of the venue is LIVE for so long without a proof. */
void tp_feed_verify_within(struct tp_feed *feed, uint32_t venue, uint64_t limit_ns);

uint32_t tp_feed_instrument_count(const struct tp_feed *feed);
const struct tp_feed_counters *tp_feed_counters(const struct tp_feed *feed);
enum tp_book_state tp_feed_state(const struct tp_feed *feed, uint32_t instrument);
enum tp_sync_reason tp_feed_reason(const struct tp_feed *feed, uint32_t instrument);
/* Hot-path thread, tests: the whole book, whatever its state. */
struct tp_book;
const struct tp_book *tp_feed_book(const struct tp_feed *feed, uint32_t instrument);
#endif
