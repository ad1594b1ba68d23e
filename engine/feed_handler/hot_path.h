/* The reader's loop: frames > sessions > feed > shared memory, then acknowledgements. Read this
 * first.
 *
 * tp_hot_path_run owns one pinned thread and everything it touches; it runs without the GIL until
 * tp_hot_path_stop. A cold thread of the same process prepares connections (DNS, neighbours, TLS
 * contexts, memory) and hands them over through atomics; ended sessions come back the same way. */
#ifndef TP_ENGINE_HOT_PATH_H
#define TP_ENGINE_HOT_PATH_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/feed/feed.h"
#include "engine/recording/tap.h"
#include "netstack/session.h"
#include "shm/clock.h"
#include "shm/ring_gate.h"
#include "shm/segment.h"

enum {
    TP_HOT_PATH_CONNECTION_MAX = 64,
    TP_HOT_PATH_OPEN_MESSAGE_MAX = 32,
    TP_HOT_PATH_INBOX_COUNT = 256, /* power of two */
    /* An acknowledgement names every channel of a connection: 30 of up to 70 bytes. */
    TP_HOT_PATH_INBOX_TEXT_MAX = 4080,
};

/* One venue connection; its place in hot_path->connection[] is its number in the feed. */
struct tp_hot_path_connection {
    /* cold thread writes, before it offers anything */
    struct tp_span
        open_message[TP_HOT_PATH_OPEN_MESSAGE_MAX]; /* text, sent as soon as it is open */
    uint32_t open_message_count;
    struct tp_span ping_message; /* text; data NULL: none */
    uint64_t ping_interval_ns;
    /* handed over */
    _Atomic(struct tp_session *) offered; /* cold to hot: connect this one */
    _Atomic(struct tp_session *) retired; /* hot to cold: ended, free it */
    _Atomic uint32_t phase;               /* enum tp_session_phase of the current session */
    _Atomic uint32_t drop;                /* cold to hot: end the current session */
    /* hot thread only */
    struct tp_session *session;
    struct tp_tcp_config tcp_config; /* of the offered session; written before the offer */
    struct tp_tcp *tcp;
    uint8_t next_hop_mac[6];
    struct tp_netif_flow *flow;
    bool open, ending;
    uint64_t next_ping_ns, end_by_ns, heard_ns; /* heard_ns: the latest message, pongs included */
};

/* A text message of the venue (acknowledgements, refusals, pongs), for the cold thread. */
struct tp_hot_path_note {
    uint32_t connection,
        size; /* size of the whole message; text holds at most TP_HOT_PATH_INBOX_TEXT_MAX */
    uint64_t received_ns;
    uint8_t text[TP_HOT_PATH_INBOX_TEXT_MAX];
};

struct tp_hot_path_counters {
    uint64_t loops, bursts, frames, messages, text_messages, inbox_full, connects, disconnects,
        yields, texts_unsent;
};

struct tp_hot_path {
    /* set by the cold thread before run */
    struct tp_netif *netif; /* NULL: kernel sockets */
    struct tp_feed *feed;
    const struct tp_clock *clock;
    struct tp_segment *segment; /* its heartbeat is ours */
    struct tp_ring_gate *gate;  /* the feed's; NULL: none */
    struct tp_tap *tap;         /* NULL: nobody records; the feed's config has the same */
    uint32_t connection_count;
    uint64_t idle_spin_ns; /* nothing came for so long: sleep idle_sleep_ns at a time; UINT64_MAX:
                              spin */
    uint64_t idle_sleep_ns;
    uint64_t yield_every_ns,
        yield_for_ns;        /* 0: never; keeps a FIFO thread below the kernel's RT limit */
    uint64_t silent_drop_ns; /* 0: never; a connection that is silent for so long is ended */
    struct tp_hot_path_connection connection[TP_HOT_PATH_CONNECTION_MAX];
    _Atomic uint32_t stop;
    _Atomic uint64_t
        refused; /* cold to hot: instrument + 1 whose subscription was refused; 0: none */
    _Atomic int32_t link_error; /* negative errno once the link is gone: run returns */
    /* single-producer single-consumer inbox: hot thread appends, cold thread takes */
    _Atomic uint64_t inbox_head, inbox_tail;
    struct tp_hot_path_note inbox[TP_HOT_PATH_INBOX_COUNT];
    /* hot thread only; others may look, torn values and all */
    struct tp_hot_path_counters counters;
    uint64_t next_tick_ns, last_input_ns, next_yield_ns;
    uint64_t dirty; /* connections that may have something to send, one bit each */
};

struct tp_hot_path *tp_hot_path_new(void);
void tp_hot_path_free(struct tp_hot_path *hot);

/* Runs until tp_hot_path_stop, or until the link fails (0, or the negative errno). */
int tp_hot_path_run(struct tp_hot_path *hot);
void tp_hot_path_stop(struct tp_hot_path *hot);
/* One turn of run's loop at a time of the caller's, without its rests: tests let time pass with it.
 * Returns whether input came. */
bool tp_hot_path_turn(struct tp_hot_path *hot, uint64_t now_ns);

/* Cold thread. */
/* Sleeps until there is a note or an ended session to take or the link is gone (seen within 10 ms),
 * max_ns are over, or a signal interrupts it. */
void tp_hot_path_await(const struct tp_hot_path *hot, uint64_t max_ns);
/* tcp: NULL for a kernel socket. False while an earlier session is still there. */
bool tp_hot_path_offer(struct tp_hot_path *hot, uint32_t connection,
                       struct tp_session *take_session, struct tp_tcp *tcp,
                       const struct tp_tcp_config *tcp_config);
/* The ended session of this connection, NULL: none. The caller frees it and may offer anew. */
struct tp_session *tp_hot_path_take_retired(struct tp_hot_path *hot, uint32_t connection);
void tp_hot_path_drop(struct tp_hot_path *hot, uint32_t connection);
/* The venue refused this instrument. False: an earlier refusal was not taken yet, try again. */
bool tp_hot_path_refuse(struct tp_hot_path *hot, uint32_t instrument);
enum tp_session_phase tp_hot_path_phase(const struct tp_hot_path *hot, uint32_t connection);
/* Copies the oldest note; false: none. */
bool tp_hot_path_take_note(struct tp_hot_path *hot, struct tp_hot_path_note *out);
#endif
