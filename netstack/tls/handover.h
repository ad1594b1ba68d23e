/* One handshake between two threads: the hot side moves bytes, the cold side runs OpenSSL.
 *
 * A millisecond of public-key work on the hot thread would delay every other connection. So bytes
 * of the peer go through a pipe to whoever works (handshake_worker.c on a thread of its own, or the
 * hot side itself where a program has one session), bytes for the peer come back through another,
 * and at the end the record layer, keys installed, changes hands. The cold side sees neither TCP
 * nor the session.
 *
 * Who may touch what is one atomic, state, and who frees the allocation too:
 *
 *   hot side only             write received, read produced, the events WANT and ABANDON
 *   cold side, from WORKING   handshake, record, read received, write produced
 *   hot side, from DONE       all of it; bytes behind the handshake are still in received
 *   hot side, from FAILED     all of it; the alert is in produced
 *   cold side, from ABANDONED all of it: it frees
 *
 * Checked: tests/proofs/handshake_handover.pml (every interleaving), tests/unit/
 * test_tls_handover_model.py (its orders on a weak machine), tests/stress/handshake_stress.c
 * (TSan). */
#ifndef TP_NETSTACK_TLS_HANDOVER_H
#define TP_NETSTACK_TLS_HANDOVER_H
#include "netstack/tls/byte_pipe.h"
#include "netstack/tls/handshake.h"
#include "netstack/tls/record.h"

enum {
    /* What a server may send before we answer, or before a slow cold side has looked: its first
     * flight with a long chain of certificates; more waits in its TCP (tp_tls_input_room). */
    TP_TLS_RECEIVED_SIZE = 1 << 16,
    /* All that a client without a certificate ever sends, at once: two ClientHellos of at most 2
     * KiB, the second with a cookie out of a HelloRetryRequest (OpenSSL takes one of 20,000 bytes
     * at most), a key exchange, Finished, an alert. */
    TP_TLS_PRODUCED_SIZE = 1 << 15,
};

enum tp_tls_handover_state {
    TP_TLS_HANDOVER_IDLE,           /* the cold side waits for bytes */
    TP_TLS_HANDOVER_WANTED,         /* there are bytes, nobody works */
    TP_TLS_HANDOVER_WORKING,        /* the cold side works */
    TP_TLS_HANDOVER_WORKING_WANTED, /* ... and more bytes came meanwhile */
    TP_TLS_HANDOVER_DONE,
    TP_TLS_HANDOVER_FAILED,
    TP_TLS_HANDOVER_ABANDONED, /* the hot side let go first */
};

enum tp_tls_handover_event {
    TP_TLS_HANDOVER_WANT,     /* hot: bytes were written */
    TP_TLS_HANDOVER_ABANDON,  /* hot: nobody wants the result any more */
    TP_TLS_HANDOVER_TAKE,     /* cold: begins to work */
    TP_TLS_HANDOVER_REST,     /* cold: all bytes used up, goes on if there are new ones */
    TP_TLS_HANDOVER_COMPLETE, /* cold: the record layer is ready */
    TP_TLS_HANDOVER_FAIL,     /* cold: see handshake.error */
};

struct tp_tls_handshake_worker;

struct tp_tls_handover {
    _Atomic uint32_t state;
    struct tp_byte_pipe received, produced;
    struct tp_tls_handshake handshake;
    /* Set before the first WANT. */
    struct tp_tls_handshake_worker *worker; /* NULL: the hot side does the work itself */
    struct tp_tls *tls;                     /* the allocation that this lies in */
    const struct tp_aead_library *library;
    struct tp_tls_record *record; /* filled at COMPLETE; NULL: OpenSSL opens the records too */
};

/* Applies an event by the table in handover.c; returns the state before. */
enum tp_tls_handover_state tp_tls_handover_move(struct tp_tls_handover *handover,
                                                enum tp_tls_handover_event event);
/* Moves what OpenSSL has for the server to produced. False with handshake.error set: it is more
 * than any handshake needs. */
bool tp_tls_handover_produce(struct tp_tls_handover *handover);

/* Cold side, any thread, one at a time: does what is wanted and returns the state it leaves. DONE
 * and FAILED: *handover is the hot side's now and may be gone. ABANDONED: the caller must destroy
 * it. */
enum tp_tls_handover_state tp_tls_handshake_work(struct tp_tls_handover *handover);
/* In tls.c. Frees the allocation that handover lies in. */
void tp_tls_handover_destroy(struct tp_tls_handover *handover);
#endif
