/* The feed handler's hot thread: what the loop returns > feed > strategies > tap >
 * note. Read this first.
 *
 * tp_hot_path_run owns one pinned thread and everything it touches; it runs without the GIL until
 * tp_loop_stop. A cold thread of the same process prepares connections (DNS, neighbours, TLS
 * contexts, memory) and speaks to the loop by its handover.
 *
 * Called by: engine/feed_handler/process.py. Calls: engine/loop, engine/feed,
 * engine/strategy/native, engine/recording/tap.
 */
#ifndef TP_ENGINE_HOT_PATH_H
#define TP_ENGINE_HOT_PATH_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/feed/feed.h"
#include "engine/feed_handler/inflate.h"
#include "engine/feed_handler/rehearsal.h"
#include "engine/loop/connection_loop.h"
#include "engine/recording/tap.h"
#include "engine/strategy/native.h"
#include "shm/ring_gate.h"
#include "shm/segment.h"

enum { TP_HOT_PATH_OPEN_MESSAGE_MAX = 32 };

/* What the cold thread asks for by TP_COMMAND_CALLER. */
enum tp_hot_path_verb {
    TP_HOT_PATH_REFUSED,   /* argument: the instrument whose book will not come */
    TP_HOT_PATH_CONFIRMED, /* argument: the instrument that was acknowledged */
    TP_HOT_PATH_OVERDUE,   /* argument: the instrument that was not, in time: refused, unless a
                              message of its channel came */
    TP_HOT_PATH_LISTED,    /* text: a struct tp_feed_listing */
    TP_HOT_PATH_SAY,       /* text: sent on the connection, if that is open */
    TP_HOT_PATH_ROW,       /* text: a struct tp_feed_row, which stands in the table already */
    TP_HOT_PATH_RESCALE,   /* text: a struct tp_record_scale, its row written */
    TP_HOT_PATH_LET_GO,    /* the connection is ended, if all of its books have a heir */
};

/* What a connection says by itself; its place in hot_path->connection[] is its number in the loop
 * and in the feed. Set by the cold thread while the loop has no session of it; the command that
 * hands one over publishes it. */
struct tp_hot_path_connection {
    struct tp_span
        open_message[TP_HOT_PATH_OPEN_MESSAGE_MAX]; /* text, sent as soon as it is open */
    uint32_t open_message_count;
    struct tp_span ping_message; /* text; data NULL: none */
    uint64_t ping_interval_ns;
    bool is_packed;        /* its messages are gzip members: hot_path->inflate */
    uint64_t next_ping_ns; /* hot thread; 0: not open, or never */
};

/* What each message looks at stands first, in one cache line. Set by the cold thread before run but
 * for what is the hot thread's. */
struct tp_hot_path {
    struct tp_loop *loop;
    struct tp_feed *feed;
    struct tp_tap *tap;               /* NULL: nobody records; the feed's config has the same */
    struct tp_inflate *inflate;       /* NULL: no connection is packed */
    struct tp_native_set *strategies; /* inline, of the feed's ring; NULL: none */
    struct tp_rehearsal *rehearsal;   /* NULL: nothing is rehearsed */
    /* Hot thread; the cold thread sets the first two before run. A message that comes at
     * next_look_ns is looked at once more: for the cold side's sample, or to be rehearsed.
     * UINT64_MAX: never. */
    uint64_t next_look_ns, next_sample_ns;
    uint64_t next_refused_ns;
    struct tp_segment *segment; /* its heartbeat is ours */
    struct tp_ring_gate *gate;  /* the feed's; NULL: none */
    bool needs_confirmation;    /* as the feed's config has it */
    uint64_t sample_every_ns;   /* so often the cold side is shown a message that was accepted */
    uint64_t rows_refused;      /* hot thread */
    struct tp_hot_path_connection connection[TP_LOOP_CONNECTION_MAX];
};

/* Zeroed but for next_look_ns and next_sample_ns, which are "never"; borrows all that it points to.
 */
struct tp_hot_path *tp_hot_path_new(void);
void tp_hot_path_free(struct tp_hot_path *hot);

/* One of its loop's events. */
void tp_hot_path_handle(struct tp_hot_path *hot, const struct tp_loop_event *event);
/* Runs until tp_loop_stop, or until the link fails (0, or the negative errno). */
int tp_hot_path_run(struct tp_hot_path *hot);
/* One turn of run's loop at a time of the caller's, without its rests: tests let time pass with it.
 * False: the loop was stopped. */
bool tp_hot_path_turn(struct tp_hot_path *hot, uint64_t now_ns);
#endif
