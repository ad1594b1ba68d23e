/* What the files of engine/feed share: the feed's own structures. No one else includes this.
 *
 * Reading order: feed.h, sync.c (may a message follow), feed.c (one message), depth.c (truncation),
 * checksum.c, market.c (trades, best prices), plain.c (escapes), publish.c; states.c (which state
 * follows which) and feed_state.c (all that happens to a book besides messages), kept.c and
 * backlog.c (messages kept while a base is awaited), lost.c (those that are not), mailbox.c and
 * cold_side.c (bases), asked.c (those that answer on the socket), verify.c; trading.c, rescale.c
 * and rows.c (what the venue's list changes); checkpoint.c (for recordings), state_watch.c (for the
 * log). */
#ifndef TP_ENGINE_FEED_PARTS_H
#define TP_ENGINE_FEED_PARTS_H
#include "engine/book/book.h"
#include "engine/feed/backlog.h"
#include "engine/feed/feed.h"
#include "engine/feed/mailbox.h"
#include "engine/feed/rescale.h"
#include "engine/feed/states.h"
#include "engine/feed/sync.h"
#include "proto/venue.h"

enum {
    MISFIT_TEXT_SIZE = 32,           /* a mantissa, an e and an exponent */
    FEED_PLAIN_SIZE_MAX = 128 << 10, /* a base of 1,000 levels a side, both numbers of 30 digits */
};

enum feed_flag {
    FEED_ADDED = 0x1,
    FEED_ACTIVE = 0x2, /* subscribed: its messages count; off while disconnected or refused */
    FEED_WANTED = 0x4, /* a base was asked for since the book left LIVE, or while it is */
    FEED_KEEPING =
        0x8, /* a book that is followed is to have a deeper base: messages are kept too */
    FEED_LIMITED = 0x10,     /* the base did not show all of a side */
    FEED_UNCONFIRMED = 0x40, /* the venue has not said yes, nor sent anything of the channel: the
                                book has no base */
    FEED_DOUBTED = 0x20,     /* a base was too old: or has the venue begun to count anew? */
};

/* One cache line: all that a message reads of its instrument besides the book. */
struct feed_instrument {
    struct tp_book *book;
    uint64_t version; /* of the last message applied; in SYNCING the least that a base must reach */
    uint64_t exchange_ns, received_ns; /* of the last message applied */
    uint64_t verified_ns;              /* when it was last found equal to the venue's; 0: never */
    uint16_t crossed_messages;         /* since it is crossed */
    uint8_t depth_least, depth_low; /* known levels a side: below, SHALLOW; a new base is wanted */
    uint16_t connection;
    uint8_t state;  /* enum tp_book_state */
    uint8_t reason; /* enum tp_sync_reason */
    uint8_t phase;  /* enum tp_sync_phase */
    uint8_t flags;  /* enum feed_flag */
    int8_t price_exponent, quantity_exponent;
    uint32_t generation; /* of its row in the segment */
    const struct tp_sync_rule *rule;
};
static_assert(sizeof(struct feed_instrument) == 64, "one cache line");

struct feed_connection {
    const struct tp_venue *venue;
    void *router;     /* the venue's own */
    uint64_t last_ns; /* last sign of life */
    uint64_t
        settle_ns; /* when instruments that have no base yet since `up` ask for one; 0: they did */
    uint64_t next_sequence; /* where the venue numbers a connection's messages; see is_counted */
    uint64_t strange_ns; /* the last message that could not be read, or is of no channel of ours */
    bool up, silent;
    bool is_counted; /* next_sequence is known: a message came since `up` */
    bool counts;     /* some rule of the connection's instruments has counts_connection */
    uint8_t venue_number;
};

struct feed_venue {
    const struct tp_venue *venue;
    void *router;
    uint32_t crossed_messages_max; /* the venue's, or the default */
    uint64_t crossed_ns_max;
    uint64_t verify_after_ns;
    /* The cold thread stretches it as instruments come: a number by itself, so relaxed. */
    _Atomic uint64_t verify_limit_ns;
    struct tp_mailbox mailbox; /* with the cold thread of this venue alone */
};

/* What few messages read. */
struct feed_history {
    uint64_t kept_from; /* FEED_KEEPING: the book's version where the kept messages begin */
    /* Of bases and messages since the connection began, or the numbering: what is below it is of
     * another numbering. UINT64_MAX: none came; 0: not known. */
    uint64_t lowest;
    uint64_t repeated, repeated_at; /* the last old message's number, and the book's then */
    uint64_t doubted; /* FEED_DOUBTED: a message below this number is of another numbering */
    /* The newest change that came while a base of the stream was waited for: its number, or the
     * venue's time of it where nothing is numbered. An older base is not believed. */
    uint64_t skipped;
    uint64_t crossed_since_ns;
    /* verify.h: when it was asked whether the book is the venue's; when a base showed more than the
     * book has; when it may be asked again. 0: not so. */
    uint64_t asked_ns, ahead_ns, not_before_ns;
    uint8_t suspicions;       /* times that it was asked for a strange message of its connection */
    bool deaf;                /* only a message of the channel confirms it */
    uint8_t listed, streamed; /* enum tp_instrument_status: by the venue's list, by its stream */
    _Atomic uint8_t told;     /* the graver of both as readers know it; the cold thread's to read */
    bool is_misscaled;        /* a number did not fit: all is kept until the scale was moved */
    bool is_lost;             /* lost.c: a message of an unknown number is, no base since */
};

/* rescale.h: the number that an instrument's scale did not hold. told counts up by the hot thread,
 * taken follows by the cold one: equal, the slot is free. */
struct feed_misfit_slot {
    struct tp_feed_misfit number;
    _Atomic uint32_t told, taken;
    /* Hot thread's own: the number that is told next, where `waits`. */
    struct tp_feed_misfit next;
    bool waits;
    uint8_t reserved[7];
};
static_assert(offsetof(struct feed_misfit_slot, next) == 64 &&
                  sizeof(struct feed_misfit_slot) == 128,
              "a cache line for both threads, one for the hot one");

/* The word-wise writers of shm read records as uint64_t: a union keeps that defined. */
union feed_record {
    struct tp_book_record record;
    uint64_t words[sizeof(struct tp_book_record) / sizeof(uint64_t)];
};

struct tp_feed {
    struct tp_feed_config config;
    struct tp_feed_counters counters;
    struct feed_instrument *instruments;
    struct feed_history *histories;
    struct feed_connection *connections;
    struct feed_venue *venues;
    uint32_t venue_count;
    uint32_t next_mailbox;       /* the venue whose bases are looked for first */
    struct tp_backlog *backlogs; /* one an instrument */
    struct tp_backlog_pool pool;
    struct tp_buffer staging;              /* one buffered message while it is replayed */
    struct tp_depth_update *update;        /* the message in hand */
    struct tp_trade_update *trades;        /* the same, where it is of trades */
    struct tp_misfit misfit;               /* the number that its decoder or its book refused */
    uint8_t misfit_text[MISFIT_TEXT_SIZE]; /* of one that the book refused */
    struct feed_misfit_slot *misfits;      /* one an instrument */
    uint32_t misfits_waiting;              /* slots of which the next number waits */
    uint64_t misfits_seen; /* cold thread: none was told since misfits_told was so */
    _Atomic uint64_t misfits_told;
    uint8_t *plain; /* plain.c: the message in hand without its escapes */
    uint8_t *books; /* book_size apart */
    size_t book_size;
    uint32_t next_look;     /* verify.c */
    bool verifies;          /* at least one venue's books */
    uint32_t crossed_count; /* books in CROSSED */
    uint64_t next_crossed_scan_ns;
    uint64_t tick_changes; /* what ticks did so far: bases taken, silences begun and ended */
    union feed_record out; /* the record in hand */
};

static inline struct feed_venue *feed_venue(struct tp_feed *feed, uint32_t instrument)
{
    const uint32_t connection = feed->instruments[instrument].connection;
    return &feed->venues[feed->connections[connection].venue_number];
}

static inline struct tp_mailbox *feed_mailbox(struct tp_feed *feed, uint32_t instrument)
{
    return &feed_venue(feed, instrument)->mailbox;
}

/* feed.c: also used for buffered messages. body: the message behind its channel. */
enum feed_apply {
    FEED_APPLY_DONE,
    FEED_APPLY_OLD, /* nothing in it that the book does not hold */
    FEED_APPLY_GAP,
    FEED_APPLY_RESET,    /* of another numbering than the book */
    FEED_APPLY_BROKEN,   /* refused by the decoder or the book */
    FEED_APPLY_OVERFLOW, /* the book no longer reaches the depth it must */
    FEED_APPLY_SAME,     /* nothing changed, and the venue said so */
    FEED_APPLY_CHECKSUM, /* the book is not what the venue says it is */
    FEED_APPLY_SHALLOW,  /* the base showed too little for what is left of it */
    FEED_APPLY_MISFIT,   /* a number does not fit the scale: feed->misfit */
};
enum tp_decode_status feed_decode(struct tp_feed *feed, const struct feed_instrument *instrument,
                                  struct tp_span body, enum tp_meaning meaning);
/* Judges and applies update, and appends what falls out of a book that must be truncated. */
enum feed_apply feed_apply(struct tp_feed *feed, uint32_t index, struct tp_depth_update *update);

/* Empties the book and gives it another step. */
void feed_renew_book(struct tp_feed *feed, uint32_t index, int64_t tick_size);

/* rescale.c */
static inline bool feed_is_misfit(const struct tp_feed *feed, enum tp_decode_status status)
{
    return feed->config.moves_scale &&
           (status == TP_DECODE_TOO_FINE || status == TP_DECODE_TOO_LARGE);
}
/* The book refused the update in hand. Whether that is for a price which a coarser scale would
 * make small enough: then feed->misfit is it. */
bool feed_finds_misfit(struct tp_feed *feed, const struct feed_instrument *instrument);
/* The decoder refused feed->misfit: SYNCING (SCALE), and the cold thread is told. */
void feed_misfit(struct tp_feed *feed, uint32_t index, enum tp_decode_status status,
                 uint64_t now_ns);
/* The same but for the book: nothing of it is lost. */
void feed_tell_misfit(struct tp_feed *feed, uint32_t index, enum tp_decode_status status);
/* misfits_waiting > 0: tells what waits and whose slot is free now. */
void feed_tell_waiting(struct tp_feed *feed);
/* The instrument's scale is another one, or counts from now on: no number did not fit it. */
void feed_forget_misfit(struct tp_feed *feed, uint32_t index);
/* Tells the cold thread of a base without its checksum, which is made of digits as the venue writes
 * them: it may write others by now. */
void feed_tell_doubt(struct tp_feed *feed, uint32_t index);
/* What a record of the tap says of the scale of its numbers. */
uint32_t feed_scale_flags(const struct tp_feed *feed, uint32_t index);
/* Tells the cold thread of a number that no scale holds. */
void feed_tell_garbage(struct tp_feed *feed, uint32_t index);
/* NULL: no book is made of such a channel, or none that we could vouch for. */
const struct tp_sync_rule *feed_rule_of(const struct tp_venue *venue, const char *channel);

/* depth.c: what a rule demands of the book after a message. */
/* Removes the levels beyond rule->depth and appends their removals to the update. False: no room
 * for them in it. */
bool feed_truncate(const struct feed_instrument *instrument, struct tp_depth_update *update);
/* The book was loaded from levels that end, where truncated says so (1 << side), before the venue's
 * book does: from now on it is known as far as they reach. */
void feed_limit(struct feed_instrument *instrument, uint32_t truncated,
                const struct tp_level *const sides[2], const uint32_t counts[2]);
/* A book that has few levels left that are known: wants a deeper base while it is followed, or
 * says that there are too few. */
enum feed_apply feed_run_low(struct tp_feed *feed, uint32_t index);
/* Keeps a message that was applied, for the base that comes. */
void feed_keep_behind(struct tp_feed *feed, uint32_t index, struct tp_span body,
                      uint64_t received_ns);
/* Whether the book gives update->checksum. */
bool feed_checksum_holds(const struct feed_instrument *instrument,
                         const struct tp_depth_update *update);

/* plain.c */
/* Whether a text of JSON has escapes that it need not have; then *text is without them, valid until
 * the next one. */
bool feed_make_plain(struct tp_feed *feed, struct tp_span *text);
/* Decodes a body that was refused once more without its escapes; status: why, where it has none. */
enum tp_decode_status feed_decode_plain(struct tp_feed *feed, const struct tp_venue *venue,
                                        const struct tp_body *body, enum tp_decode_status status);

/* trading.c */
/* Whether the venue does not trade it. */
bool feed_is_halted(const struct feed_history *history);
/* Its connection begins anew: what the stream said before is of the one before. */
void feed_forget_stream(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* A message of the stream that says so. */
enum tp_feed_result feed_take_status(struct tp_feed *feed, uint32_t index, struct tp_span body,
                                     uint64_t received_ns);

/* Its connection is up, and the venue does not serve its channel. */
static inline bool feed_is_refused(const struct tp_feed *feed,
                                   const struct feed_instrument *instrument)
{
    return instrument->state == TP_BOOK_STALE && instrument->reason == TP_SYNC_REASON_REFUSED &&
           feed->connections[instrument->connection].up;
}

/* market.c: a message of trades or of the venue's own best prices, as events. */
enum tp_feed_result feed_take_market(struct tp_feed *feed, const struct tp_venue_message *message,
                                     const struct tp_route *route, uint64_t received_ns);

/* asked.c */
/* Whether a message is a base that answers a request on the socket. */
static inline bool feed_is_answer(const struct feed_instrument *instrument, enum tp_meaning meaning)
{
    return meaning == TP_MEANING_BASE && instrument->rule->base == TP_BASE_REQUEST;
}
/* Whether such a base, in feed->update, is to be the book's; a book that is followed is compared
 * with it where that was asked. */
bool feed_takes_answer(struct tp_feed *feed, uint32_t index, uint64_t received_ns);
/* The decoder refused one: the book stays as it is, but for its scale. */
enum tp_feed_result feed_refuse_answer(struct tp_feed *feed, uint32_t index,
                                       enum tp_decode_status status, uint64_t received_ns);

/* kept.c */
/* Keeps a message of a syncing instrument. */
void feed_keep(struct tp_feed *feed, uint32_t index, struct tp_span body, uint64_t received_ns);
/* Applies the kept messages in order and takes them out as it goes; stops at the first that cannot
 * be used, which stays unless it is broken. */
enum feed_apply feed_replay_kept(struct tp_feed *feed, uint32_t index, uint64_t *received_ns);

/* lost.c */
/* Of a message that was refused, or is not kept: a base must show it, or the next one is waited
 * for. */
void feed_lose(struct tp_feed *feed, uint32_t index, struct tp_span body);
/* The same of one whose number is known. */
void feed_lose_version(struct tp_feed *feed, uint32_t index, uint64_t version);
/* The same of all that is kept, before it is forgotten: a base must show the newest of it. */
void feed_lose_kept(struct tp_feed *feed, uint32_t index);
/* Whether the book shows a message already that cannot be decoded. */
bool feed_shows(struct tp_feed *feed, uint32_t index, struct tp_span body);
/* Whether no base is of use before another message is kept. */
bool feed_must_hear(const struct tp_feed *feed, uint32_t index);
/* A change, in feed->update, that no book is there for; a base of the stream must show it. */
void feed_skip(struct tp_feed *feed, uint32_t index);
/* Whether the base in feed->update is older than a change that came before it. */
bool feed_is_overtaken(const struct tp_feed *feed, uint32_t index);
/* Keeps a message that cannot be decoded as yet. */
void feed_keep_unread(struct tp_feed *feed, uint32_t index, struct tp_span body,
                      uint64_t received_ns);

/* feed_state.c */
/* The state that the levels themselves give: LIVE or CROSSED. */
enum tp_book_state feed_book_state(const struct feed_instrument *instrument);
enum tp_sync_reason feed_book_reason(enum tp_book_state state);
/* Sets the state and says whether it or the reason changed; publishes nothing. */
bool feed_enter(struct tp_feed *feed, uint32_t index, enum tp_book_state state,
                enum tp_sync_reason reason, uint64_t now_ns);
/* Goes where the table of states.h says, and publishes it. reason: the event's own. */
void feed_move(struct tp_feed *feed, uint32_t index, enum tp_feed_event event,
               enum tp_sync_reason reason, uint64_t now_ns);
void feed_want(struct tp_feed *feed, uint32_t index);
/* Withdraws the question for a base: what answers it is not taken. */
void feed_want_nothing(struct tp_feed *feed, uint32_t index);
/* An instrument of a connection that is up begins: it is subscribed to, and has no base. */
void feed_start(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* No message counts until the next start; event: why. */
void feed_retire(struct tp_feed *feed, uint32_t index, enum tp_feed_event event,
                 enum tp_sync_reason reason, uint64_t now_ns);
/* Whether a base is of use: the book has none, or is to have a deeper one. */
static inline bool feed_takes_base(const struct feed_instrument *instrument)
{
    return instrument->phase == TP_SYNC_BUFFERING || (instrument->flags & FEED_KEEPING) != 0;
}
/* The update in hand is older than the book. Whether it is a duplicate, or one that the base was
 * ahead of; else the venue counts anew. */
bool feed_is_duplicate(struct tp_feed *feed, uint32_t index, uint64_t received_ns);
/* The venue counts anew: any number is right for the next base, but none that was fetched before.
 */
void feed_reset(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* A message of a book whose last base was too old. Whether it is of another numbering. */
bool feed_is_reset(struct tp_feed *feed, uint32_t index, struct tp_span body);
/* SYNCING; published, and a base wanted. What is kept stays: it is what a base must meet. */
void feed_hold(struct tp_feed *feed, uint32_t index, enum tp_sync_reason reason, uint64_t now_ns);
/* The same with an empty backlog. */
void feed_resync(struct tp_feed *feed, uint32_t index, enum tp_sync_reason reason, uint64_t now_ns);
/* 1 << enum tp_side of a base's flags: beyond that side's last level nothing is known. */
uint32_t feed_cut_sides(uint32_t flags);
/* Replaces the book by the in-band base in feed->update; messages that were kept follow it. */
enum tp_feed_result feed_take_base(struct tp_feed *feed, uint32_t index, uint64_t received_ns,
                                   uint64_t decoded_ns);
/* The book was loaded: publishes it whole, LIVE or as its levels and its connection say. */
void feed_go_live(struct tp_feed *feed, uint32_t index, uint64_t received_ns, uint64_t now_ns);
/* The venue does not trade it: STALE (HALTED); and trades it again: a sync begins. Its connection
 * is up. */
void feed_halt(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
void feed_reopen(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
#endif
