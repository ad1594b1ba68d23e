/* Between the hot thread that owns a loop and the cold thread that looks after it: commands one
 * way, notes the other.
 *
 * Two rings of fixed records, each with one producer and one consumer: claim > fill > commit on one
 * side, peek > release on the other. Nothing is overwritten and nothing is skipped; a full ring is
 * said to the producer. The cold thread sleeps in poll() on an eventfd. The hot thread writes it at
 * most once a tick, and only where it committed a note since: its only system call for the cold
 * side.
 *
 * Called by: engine/loop/connection_loop.c (hot), engine/loop/connections.py and the process around
 * it (cold). Proved by tests/unit/test_handover_model.py and tests/stress/handover_stress.c. */
#ifndef TP_ENGINE_HANDOVER_H
#define TP_ENGINE_HANDOVER_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"
#include "netstack/tcp/connection.h"

struct tp_session;

enum {
    TP_HANDOVER_COMMAND_COUNT = 512, /* both are powers of two */
    TP_HANDOVER_NOTE_COUNT = 256,    /* at least: a note takes a page */
    /* An acknowledgement names every channel of a connection: 30 of up to 70 bytes. */
    TP_HANDOVER_TEXT_MAX = 4080,
};

enum tp_command_kind {
    TP_COMMAND_CONNECT, /* adopt session (taken, given back by TP_NOTE_ENDED) and connect it */
    TP_COMMAND_DROP,    /* end the connection's session, if there is one */
    TP_COMMAND_STOP,    /* end the loop in order; nothing behind it is heard */
    TP_COMMAND_CALLER,  /* for the loop's caller: verb, argument and text are its own */
};

struct tp_command {
    enum tp_command_kind kind;
    uint32_t connection;
    /* CALLER: what it is and what it is about. The text is the cold thread's: it stands until
     * TP_HANDOVER_COMMAND_COUNT commands later were accepted. */
    uint32_t verb;
    uint64_t argument;
    struct tp_span text;
    /* CONNECT */
    struct tp_session *session;
    struct tp_tcp *tcp; /* NULL: a kernel socket; the two below are not used */
    struct tp_tcp_config tcp_config;
    uint8_t next_hop_mac[6];
    uint64_t silent_drop_ns; /* 0: never; the session is ended after so long without a message */
};

enum tp_note_kind {
    TP_NOTE_OPENED, /* the session's handshakes are done */
    TP_NOTE_TEXT,   /* a message that the loop's caller passes on */
    TP_NOTE_ENDED,  /* session ended and is the cold thread's again */
    /* Messages that its caller shows; nobody waits for them: they give way to all others. */
    TP_NOTE_SAMPLE,  /* one that was taken, or that nobody asked for */
    TP_NOTE_REFUSED, /* one that its decoder refused */
};

struct tp_note {
    enum tp_note_kind kind;
    uint32_t connection;
    uint32_t size; /* of the whole message; text holds at most TP_HANDOVER_TEXT_MAX */
    uint64_t now_ns;
    struct tp_session *session;
    uint8_t text[TP_HANDOVER_TEXT_MAX];
};

/* Positions count up forever; a slot is position & (count - 1). */
struct tp_handover_positions {
    _Alignas(64) _Atomic uint64_t head; /* the producer's: records committed */
    _Alignas(64) _Atomic uint64_t tail; /* the consumer's: records released */
};

struct tp_handover {
    struct tp_handover_positions commands, notes;
    int wake_fd;     /* eventfd */
    int watched_fd;  /* the cold thread's: ends its wait as well when readable; -1: none */
    bool wakes_next; /* hot thread: a note was committed since the last wake-up */
    struct tp_command command[TP_HANDOVER_COMMAND_COUNT];
    struct tp_note *note; /* note_count of them, a power of two */
    uint32_t note_count;
};

/* 0, or a negative errno: of eventfd(), or no memory for as many notes, TP_HANDOVER_NOTE_COUNT at
 * least. Memory is zeroed, aligned to 64. */
int tp_handover_init(struct tp_handover *handover, uint32_t note_count);
void tp_handover_deinit(struct tp_handover *handover);

/* Cold thread. */
/* Copies the command. False: the ring is full, the hot thread is behind; try again. The last slot
 * is kept for STOP, which therefore always finds room or is already there. */
bool tp_handover_command(struct tp_handover *handover, const struct tp_command *command);
/* Sleeps until a note is there, the hot thread left, watched_fd is readable, max_ns are over, or a
 * signal interrupts it. */
void tp_handover_await(struct tp_handover *handover, uint64_t max_ns);
/* The oldest note, valid until it is released; NULL: none. */
const struct tp_note *tp_handover_note(struct tp_handover *handover);
void tp_handover_note_release(struct tp_handover *handover);

/* Hot thread. */
/* The oldest command, valid until it is released; NULL: none. */
const struct tp_command *tp_handover_command_peek(struct tp_handover *handover);
void tp_handover_command_release(struct tp_handover *handover);
/* A note to fill; NULL: no more than `kept` slots are free. */
struct tp_note *tp_handover_note_claim(struct tp_handover *handover, uint32_t kept);
void tp_handover_note_commit(struct tp_handover *handover);
/* Has the cold thread woken at the next tp_handover_wake, whether there is a note or not. */
void tp_handover_call(struct tp_handover *handover);
/* Once a tick: wakes the cold thread where there is something new for it. */
void tp_handover_wake(struct tp_handover *handover);
/* The hot thread leaves: wakes the cold thread whether there is a note or not. */
void tp_handover_leave(struct tp_handover *handover);
#endif
