/* The loop of a hot thread: frames or sockets > sessions > events, then acknowledgements. It knows
 * connections and nothing of what is said over them: no feed, no book, no order.
 *
 * It returns events, as tp_session_next returns messages; feed handler, order gateway and inline
 * strategies are callers of the same loop:
 *
 *   while (tp_loop_again(loop))              rests where nothing came; reads the clock once
 *       while (tp_loop_next(loop, &event))   false: the turn is over, its output has left
 *           ...                              what is sent here leaves with this turn's one kick
 *
 * A turn: take a burst > each frame > its session > OPENED, MESSAGE or BYTES, DOWN > every 200 us
 * COMMAND, timers, DOWN, TICK > TURN > all output, one TX kick. To ask for the next event is to say
 * that the last one was handled: so a burst is published before it is acknowledged. A caller may
 * leave off anywhere and go on later: what was not handed out stays in the link's ring, and the
 * peer's window stays closed over it.
 *
 * Called by: engine/feed_handler/hot_path.c. Calls: netstack, engine/loop/handover.c. One thread
 * owns a loop between tp_loop_again and the end; other threads speak to it by its handover. */
#ifndef TP_ENGINE_CONNECTION_LOOP_H
#define TP_ENGINE_CONNECTION_LOOP_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/loop/handover.h"
#include "engine/loop/hop_zero.h"
#include "netstack/session.h"
#include "shm/clock.h"

enum {
    TP_LOOP_CONNECTION_MAX = 256, /* one bit each in dirty */
    TP_LOOP_DIRTY_WORDS = TP_LOOP_CONNECTION_MAX / 64,
    TP_LOOP_COMMANDS_PER_TICK = 16,
};

enum tp_loop_event_kind {
    TP_LOOP_OPENED,  /* the connection's handshakes are done: it may be sent on */
    TP_LOOP_MESSAGE, /* of a WebSocket: a message or control frame; only between OPENED and DOWN */
    TP_LOOP_BYTES,   /* of a plain session: all that is unread; only between OPENED and DOWN */
    TP_LOOP_DOWN,    /* an opened connection ended */
    TP_LOOP_COMMAND, /* a TP_COMMAND_CALLER */
    TP_LOOP_TICK,    /* every 200 us or so, after the connections' timers */
    TP_LOOP_TURN,    /* every turn, after all others: the last occasion to send in it */
};

struct tp_loop_event {
    enum tp_loop_event_kind kind;
    uint32_t connection;
    uint64_t now_ns;     /* the turn's one reading of the clock: when its burst was received */
    uint64_t arrived_ns; /* hop zero of the frame that it came with; 0: not known, or no frame */
    /* MESSAGE; of BYTES the payload only. The payload dies with the next call of tp_loop_next. */
    struct tp_ws_message message;
    uint32_t verb; /* COMMAND, and the two below: as in struct tp_command */
    uint64_t argument;
    struct tp_span text;
};

/* The hot thread's. */
struct tp_loop_connection {
    struct tp_session *session; /* NULL: none */
    struct tp_netif_flow *flow;
    uint32_t number;
    bool is_open, is_ending, is_websocket;
    uint64_t silent_drop_ns, end_by_ns;
    uint64_t heard_ns; /* the latest message, pongs included */
};

struct tp_loop_counters {
    uint64_t loops, bursts, frames, messages, text_messages, inbox_full, connects, disconnects,
        yields, texts_unsent;
    uint64_t not_inflated;     /* messages that were no whole gzip member, where they must be */
    uint64_t stamped;          /* frames with a stamp that is believed: their hop zero is known */
    uint64_t connect_failures; /* sessions that ended before they were open: no disconnects */
    uint64_t long_turns;       /* took longer than a tick */
    uint64_t turn_ns_max;      /* the longest one; rests are not counted */
};

enum tp_loop_stage {
    TP_LOOP_STAGE_INPUT,
    TP_LOOP_STAGE_COMMANDS,
    TP_LOOP_STAGE_CONNECTIONS, /* what time does to each of them */
    TP_LOOP_STAGE_GOODBYE,     /* instead of CONNECTIONS in the last turn */
    TP_LOOP_STAGE_TICK,
    TP_LOOP_STAGE_TURN,
    TP_LOOP_STAGE_OUTPUT,
    TP_LOOP_STAGE_OVER,
};

struct tp_loop {
    /* set by the cold thread before the first turn */
    struct tp_netif *netif; /* NULL: kernel sockets */
    const struct tp_clock *clock;
    struct tp_tls_handshake_worker *handshake_worker; /* woken once a tick; NULL: none */
    uint32_t connection_count; /* up to connection_max, which never changes */
    uint32_t connection_max;
    uint64_t idle_spin_ns; /* nothing came for so long: sleep idle_sleep_ns at a time; UINT64_MAX:
                              spin */
    uint64_t idle_sleep_ns;
    uint64_t yield_every_ns, yield_for_ns; /* 0: never; keeps a FIFO thread below the kernel's RT
                                              limit */
    /* hot thread */
    uint64_t now_ns;
    enum tp_loop_stage stage;
    bool has_input, is_stopping, is_stopped;
    int error; /* negative errno once the link is gone */
    uint32_t frame_count, position;
    struct tp_loop_connection *current; /* whose messages are being handed out */
    uint64_t arrived_ns;                /* hop zero of the frame that they came with */
    /* Connections that may have something to send, one bit each; dirty_words: a bit for each word
     * that has one. */
    uint64_t dirty[TP_LOOP_DIRTY_WORDS], dirty_words;
    bool needs_kick;
    uint64_t next_tick_ns, last_input_ns, next_yield_ns;
    struct tp_loop_connection connection[TP_LOOP_CONNECTION_MAX];
    struct tp_frame frame[TP_LINK_BURST_MAX];
    /* hot thread only; others may look, torn values and all */
    struct tp_loop_counters counters;
    struct tp_hop_zero hop_zero;
    _Atomic uint64_t longest_turn_ns; /* since tp_loop_longest_turn_ns last asked */
    struct tp_handover handover;
};

/* NULL: no memory or no descriptor. Zeroed but for idle_spin_ns, which is "spin". connection_max: 1
 * to TP_LOOP_CONNECTION_MAX. */
struct tp_loop *tp_loop_new(uint32_t connection_max);
/* Bytes of one for so many. */
size_t tp_loop_size(uint32_t connection_max);
void tp_loop_free(struct tp_loop *loop);

/* Begins a turn at a time of the caller's, without rests: tests let time pass with it. False: the
 * loop was stopped or its link failed (loop->error). The turn before must be over. */
bool tp_loop_begin(struct tp_loop *loop, uint64_t now_ns);
/* Rests where the last turn brought nothing, then begins one by the clock. */
bool tp_loop_again(struct tp_loop *loop);
/* The turn's next event. False: the turn is over. */
bool tp_loop_next(struct tp_loop *loop, struct tp_loop_event *out);

/* While an event is handled: as tp_session_send and tp_session_send_bytes, leaves with this turn.
 * *taken is 0 at first. */
enum tp_status tp_loop_send(struct tp_loop *loop, uint32_t connection, enum tp_ws_opcode opcode,
                            struct tp_span payload, size_t *taken);
enum tp_status tp_loop_send_bytes(struct tp_loop *loop, uint32_t connection, struct tp_span data,
                                  size_t *taken);
/* Passes a message on to the cold thread; counted where there is no room. */
void tp_loop_note_text(struct tp_loop *loop, uint32_t connection, struct tp_span text);
/* Shows it one, SAMPLE or REFUSED; dropped where half of its queue is in use. */
void tp_loop_show(struct tp_loop *loop, enum tp_note_kind kind, uint32_t connection,
                  struct tp_span message);

/* Cold thread. */
/* The loop ends in order: every open connection is DOWN and gets a close frame. */
void tp_loop_stop(struct tp_loop *loop);
/* The longest turn since it was asked last. */
uint64_t tp_loop_longest_turn_ns(struct tp_loop *loop);
#endif
