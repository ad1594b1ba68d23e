/* Keeps the way of a message warm while nothing comes: recent messages go through the whole of it
 * again, on an understudy of all that it changes (docs/adr/0016).
 *
 * Caches, translations and branch predictors forget the path within milliseconds of silence. So an
 * idle turn of the hot thread's loop does one step of a rehearsal: seals a recent message as its
 * server would; lets the loop's, the session's and the feed's own code take it, on sessions, a
 * feed, a book and a ring that exist for nothing else; then prefetches the lines of the real ones.
 * Between two steps the loop looks for input: what comes waits for one step at most, and rehearsals
 * for it.
 *
 * Nothing that anybody could see is written: the understudy has no pointer to it but the routers,
 * which messages of books do not change.
 *
 * Called by hot_path.c, which has it made by the cold thread (rehearsal.py). Calls:
 * netstack/understudy, engine/feed/understudy, and the hot path itself. */
#ifndef TP_ENGINE_REHEARSAL_H
#define TP_ENGINE_REHEARSAL_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/feed/understudy.h"
#include "engine/loop/connection_loop.h"
#include "netstack/understudy.h"

struct tp_hot_path;

enum { TP_REHEARSAL_SAMPLE_COUNT = 8 };

/* A recent message, in the order in which they came: busy instruments have more of them. */
struct tp_rehearsal_sample {
    struct tp_feed_part part;
    uint32_t kind; /* enum tp_understudy_kind */
    uint8_t opcode;
    uint32_t size; /* 0: none */
    uint8_t text[TP_UNDERSTUDY_TEXT_MAX];
};

enum tp_rehearsal_step {
    TP_REHEARSAL_PLAY,    /* a frame is made */
    TP_REHEARSAL_RECEIVE, /* burst, headers, TCP, record, WebSocket */
    TP_REHEARSAL_HANDLE,  /* route, decode, book, publish */
    TP_REHEARSAL_END,     /* the acknowledgement, if one is due */
    TP_REHEARSAL_TOUCH,   /* the lines of the real ones */
    TP_REHEARSAL_STEP_COUNT,
};

/* The hot thread's; the cold one may look. */
struct tp_rehearsal_counters {
    uint64_t rounds;      /* rehearsals from play to touch */
    uint64_t published;   /* of which the understudy published */
    uint64_t abandoned;   /* rounds that input came into the midst of */
    uint64_t notes;       /* messages that were taken to be rehearsed */
    uint64_t spent_ns;    /* in steps */
    uint64_t step_ns_max; /* the longest */
};

struct tp_rehearsal {
    /* set by the cold thread before run */
    struct tp_hot_path *understudy;
    struct tp_understudy *connections;
    struct tp_feed_understudy *feed;
    uint64_t rests;         /* after a step of so many ns, a rest of that times this */
    uint64_t note_every_ns; /* a message is taken so often */
    /* any time: it rehearses */
    _Atomic bool is_on;
    /* hot thread */
    bool is_broken; /* the understudy did what none may: never again. Our bug; the cold side says so
                     */
    enum tp_rehearsal_step step;
    uint64_t next_step_ns, began_ns, began_turn; /* began_turn: the loop's number of it; 0: none */
    uint64_t next_note_ns;
    uint32_t next_sample, playing;
    struct tp_loop_event event;
    struct tp_rehearsal_counters counters;
    struct tp_rehearsal_sample sample[TP_REHEARSAL_SAMPLE_COUNT];
};

/* Zeroed but for what follows: an understudy of this hot path, off. NULL: the reason is in error[].
 * Cold thread, before run; hot outlives it. */
struct tp_rehearsal *tp_rehearsal_new(const struct tp_hot_path *hot, char *error,
                                      size_t error_size);
void tp_rehearsal_free(struct tp_rehearsal *rehearsal);
/* Bytes of one, nearly. */
size_t tp_rehearsal_size(const struct tp_feed_config *feed);

/* Any thread. */
void tp_rehearsal_switch(struct tp_rehearsal *rehearsal, bool is_on);

/* After a turn that brought nothing. */
void tp_rehearsal_idle(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot,
                       uint64_t now_ns);
/* A message was applied and published. */
void tp_rehearsal_note(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot,
                       const struct tp_loop_event *event, struct tp_span text);
#endif
