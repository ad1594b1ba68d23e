/* What the files of engine/feed share: the feed's own structures. No one else includes this.
 *
 * Reading order: feed.h, sync.c (may a message follow), feed.c (one message), depth.c (truncation),
 * checksum.c, market.c (trades, best prices), plain.c (escapes), publish.c; race.c and race_state.c
 * (one book over several connections); states.c (which state
 * follows which) and feed_state.c (all that happens to a book besides messages), kept.c and
 * backlog.c (messages kept while a base is awaited), lost.c (those that are not), mailbox.c and
 * cold_side.c (bases), asked.c (those that answer on the socket), verify.c; trading.c, rescale.c
 * and rows.c (what the venue's list changes); checkpoint.c (for recordings), state_watch.c (for the
 * log), understudy.c (a feed that is only rehearsed on). */
#ifndef TP_ENGINE_FEED_PARTS_H
#define TP_ENGINE_FEED_PARTS_H
#include "engine/book/book.h"
#include "engine/feed/backlog.h"
#include "engine/feed/feed.h"
#include "engine/feed/mailbox.h"
#include "engine/feed/race.h"
#include "engine/feed/rescale.h"
#include "engine/feed/states.h"
#include "engine/feed/sync.h"
#include "proto/encoding/decimal.h"
#include "proto/venue.h"

enum {
    FEED_PLAIN_SIZE_MAX = 128 << 10, /* a base of 1,000 levels a side, both numbers of 30 digits */
    FEED_OLD_NS_MAX = 500000000,     /* nothing but old messages for so long is no duplicate */
    /* Answers of before that may be under way. What a base names as its time may be that of an old
     * change: such a book would never be LIVE. */
    FEED_OVERTAKEN_MAX = 3,
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
    uint8_t unusual; /* enum feed_unusual */
    uint8_t venue_number;
    /* The race that it is in: members are numbered one after another. */
    uint8_t race_count; /* of its members, itself included; 0 and 1: none */
    uint16_t race_first;
    struct tp_histogram *behind; /* how long after the first its copies came; NULL: nobody asks */
    uint64_t won, copied;        /* changes of which its copy was the first; copies of others' */
};

/* What makes the messages of a connection go another way than most. */
enum feed_unusual {
    FEED_COUNTS = 0x1, /* some rule of its instruments has counts_connection */
    FEED_RACES = 0x2,  /* it is in a race */
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
    uint8_t overtaken;        /* bases that were refused since the book was one */
    bool deaf;                /* only a message of the channel confirms it */
    uint8_t listed, streamed; /* enum tp_instrument_status: by the venue's list, by its stream */
    _Atomic uint8_t told;     /* the graver of both as readers know it; the cold thread's to read */
    bool is_misscaled;        /* a number did not fit: all is kept until the scale was moved */
    bool is_lost;             /* lost.c: a message of an unknown number is, no base since */
};

/* race.h: what is known of an instrument on one connection of its race, since that opened. */
enum feed_member_flag {
    MEMBER_HEARD = 0x1,     /* its channel was acknowledged, or a message of it came */
    MEMBER_BASED = 0x2,     /* its in-band base came */
    MEMBER_MET = 0x4,       /* it brought a number that the book has too: they count alike */
    MEMBER_ESTRANGED = 0x8, /* another one's numbers began anew, its own did not yet */
    MEMBER_REFUSED = 0x10,  /* the venue does not serve the channel on it */
    MEMBER_LAGS = 0x20,     /* its last message was a copy: its numbers are looked at first */
    MEMBER_PROVED = 0x40,   /* it brought nothing, and nothing has changed since a proof of that */
    MEMBER_DEAF = 0x80,     /* acknowledged and not served, by a verdict: a message ends that */
};
struct feed_member {
    uint64_t last, lowest; /* numbers of its newest and of its first message; 0: none came */
    uint64_t repeated;     /* the number of an old one that came behind a newer; 0: none did */
    uint64_t last_ns;      /* when its newest came */
    uint64_t heard_ns;     /* since when it is MEMBER_HEARD */
    /* Of one that did not meet the book: a number that the book is yet to reach, and the venue's
     * time of it; 0: none. */
    uint64_t claimed, claimed_exchange_ns;
    uint8_t flags;        /* enum feed_member_flag */
    uint8_t said;         /* enum tp_trading: its stream's last word of it */
    _Atomic uint8_t told; /* MEMBER_HEARD and MEMBER_REFUSED, for the cold thread */
};

enum { FEED_RECENT_COUNT = 16 }; /* a power of two */
struct feed_race {
    struct feed_member member[TP_RACE_COUNT_MAX];
    /* The newest changes of the book: their numbers, the venue's times, when the first copy came.
     */
    struct {
        uint64_t number, exchange_ns, received_ns;
    } recent[FEED_RECENT_COUNT];
    uint32_t next_recent;
    uint16_t ahead_by;        /* the connection that brought the newest held message */
    _Atomic uint16_t carrier; /* instrument->connection, for the cold thread */
    struct tp_backlog held;   /* messages that are ahead of the book */
    uint64_t held_newest, held_since_ns;
    uint64_t owed, owed_since_ns; /* a message of this number could not be read; 0: none */
    uint64_t due, due_since_ns;   /* the carrier must bring this number too; 0: it did */
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
    struct feed_race *races; /* one an instrument; NULL: config.races is not set */
    uint32_t races_waiting;  /* instruments with held or owed messages, or more */
    uint32_t venue_count;
    uint32_t next_mailbox;       /* the venue whose bases are looked for first */
    struct tp_backlog *backlogs; /* one an instrument */
    struct tp_backlog_pool pool;
    struct tp_buffer staging;              /* one buffered message while it is replayed */
    struct tp_depth_update *update;        /* the message in hand */
    uint64_t arrived_ns;                   /* its hop zero; 0: not known */
    struct tp_trade_update *trades;        /* the same, where it is of trades */
    struct tp_misfit misfit;               /* the number that its decoder or its book refused */
    uint8_t misfit_text[TP_DECIMAL_SPACE]; /* of one that the book refused */
    struct feed_misfit_slot *misfits;      /* one an instrument */
    uint32_t misfits_waiting;              /* slots of which the next number waits */
    uint64_t misfits_seen; /* cold thread: none was told since misfits_told was so */
    _Atomic uint64_t misfits_told;
    uint8_t *plain;              /* plain.c: the message in hand without its escapes */
    struct tp_level *own_levels; /* verify.c: a side of the book that a base is compared with */
    uint8_t *books;              /* book_size apart */
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

/* The first three are the ends of feed.c's own way, for race.c's: publishes an applied message;
 * does what a refused one needs; does what one needs that did not become part of the book. */
enum tp_feed_result feed_finish(struct tp_feed *feed, uint32_t index, uint64_t received_ns,
                                uint64_t decoded_ns);
enum tp_feed_result feed_give_up(struct tp_feed *feed, uint32_t index, struct tp_span body,
                                 enum tp_decode_status status, uint64_t received_ns);
enum tp_feed_result feed_turn_away(struct tp_feed *feed, uint32_t index, enum feed_apply why,
                                   uint64_t received_ns);
/* A message of a depth channel, as a part of a message on some connection. */
struct feed_arrival {
    struct tp_span body;
    enum tp_meaning meaning;
    uint32_t connection;
    uint64_t received_ns;
};
/* One of a book that has no base, or whose messages do not count, on the book's own connection. */
enum tp_feed_result feed_take_waiting(struct tp_feed *feed, uint32_t index,
                                      const struct feed_arrival *arrival);

/* race.c: one that came on a connection which is in a race. */
enum tp_feed_result feed_race_take(struct tp_feed *feed, uint32_t index,
                                   const struct feed_arrival *arrival);
/* Time is over for what is held. */
void feed_race_tick(struct tp_feed *feed, uint64_t now_ns);
/* Nobody, or nobody any more, may bring what a held message waits for: an ordinary gap. */
void feed_race_review(struct tp_feed *feed, uint32_t index, uint64_t now_ns);

/* race_state.c */
static inline bool feed_race_has(const struct tp_feed *feed, uint32_t index, uint32_t connection)
{
    const struct feed_connection *own = &feed->connections[feed->instruments[index].connection];
    return connection - own->race_first < own->race_count;
}
static inline struct feed_member *feed_member(struct tp_feed *feed, uint32_t index,
                                              uint32_t connection)
{
    return &feed->races[index].member[connection - feed->connections[connection].race_first];
}
/* Lets the book be the connection's, as if it had always been. */
void feed_race_carry(struct tp_feed *feed, uint32_t index, uint32_t connection);
/* A message or an acknowledgement of the channel came on the connection. */
void feed_race_hear(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns);
/* The member's numbers and the book's are the same. */
void feed_race_meet(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns);
/* Where the book's change of this very number is remembered; FEED_RECENT_COUNT: nowhere. */
uint32_t feed_race_find(const struct feed_race *race, uint64_t number);
/* Whether the member's messages count: a base by REST has the numbers of every stream, as the
 * venue's documents have it; where bases come in-band each member is to show that it counts alike.
 */
bool feed_race_counts(struct tp_feed *feed, uint32_t index, uint32_t connection);
/* Whether the member still brings this channel, as far as is known: one of the newest changes, or
 * one not long ago; or nothing has changed since it was proved that there was nothing to bring. */
bool feed_race_is_current(struct tp_feed *feed, uint32_t index, uint32_t connection,
                          uint64_t now_ns);
/* The member shows that there is this number: the book must reach it within TP_RACE_HOLD_NS. */
void feed_race_owe(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t number,
                   uint64_t now_ns);
/* Another connection than the book's own fell silent or ended, or speaks again. */
void feed_race_silence(struct tp_feed *feed, uint32_t index, bool silent, uint64_t now_ns);
/* The book is at the number of a change: what members claim is compared with it. */
void feed_race_compare(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* A verdict: the carrier's channel brings nothing. */
void feed_race_deafen(struct tp_feed *feed, uint32_t index);
/* What the members' streams say of trading, the gravest word. */
uint8_t feed_race_said(const struct tp_feed *feed, uint32_t index);
/* A connection of the race opened. Whether the book begins on it. */
bool feed_race_join(struct tp_feed *feed, uint32_t index, uint32_t connection);
/* The instrument comes, to the first of its connections: nothing is known of its members. Whether
 * one is open; the book is its then. */
bool feed_race_enter(struct tp_feed *feed, uint32_t index);
/* It ended. Whether that was the last one; else the book goes on, or begins on another. */
bool feed_race_leave(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns);
/* A member's channel stands, by the venue's word or by a message of it. Whether the book, which
 * waits on a connection that is down or silent, begins anew on that one. */
bool feed_race_adopt(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns);
/* The book's connection fell silent. Whether another one carries it from now on. */
bool feed_race_relieve(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* The book leaves the chain: what was held must be shown by its next base. */
void feed_race_scatter(struct tp_feed *feed, uint32_t index);
/* The book stands at a base: its connection brought it, or what is kept. */
void feed_race_begin(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* A base that was asked for since asked_ns is the book's. */
void feed_race_proved(struct tp_feed *feed, uint32_t index, uint64_t asked_ns, uint64_t now_ns);
/* Forgets what is held. */
void feed_race_drop_held(struct tp_feed *feed, uint32_t index);

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
/* A member of its race is forgotten, and what it said. */
void feed_forget_member(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* A message of the stream that says so. */
enum tp_feed_result feed_take_status(struct tp_feed *feed, uint32_t index,
                                     const struct feed_arrival *arrival);

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
/* The numbers of a body alone, in feed->update; false: they cannot be read. */
bool feed_read_versions(struct tp_feed *feed, uint32_t index, struct tp_span body);
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
/* Whether the base in feed->update is older than the book, or than a change that came before it. */
bool feed_is_overtaken(const struct tp_feed *feed, uint32_t index, uint64_t received_ns);
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
/* The same on a connection that was open all along: what its stream said of trading still holds. */
void feed_restart(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
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
