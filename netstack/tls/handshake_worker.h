/* Runs the handshakes of many sessions on a cold thread, so that the hot thread runs none.
 *
 * A session with a worker in its configuration registers its hand-over (handover.h) here. The
 * worker sleeps on a futex; the hot thread notes that there is work and wakes it at most once a
 * tick, by tp_tls_handshake_worker_wake. No wake-up is lost: the worker reads the futex's word
 * before it looks at the hand-overs, and the word changes after they did.
 *
 * A registered hand-over is freed by the worker alone, however its session ends: that is why
 * looking at one is safe. Sessions end first, then the worker.
 *
 * Called by: engine (a thread of its own; the hot thread wakes), tls.c. */
#ifndef TP_NETSTACK_TLS_HANDSHAKE_WORKER_H
#define TP_NETSTACK_TLS_HANDSHAKE_WORKER_H
#include <stdbool.h>
#include <stdint.h>

struct tp_tls_handover;
struct tp_tls_handshake_worker;

/* Handshakes at a time, those given up included until the worker has seen that: four for each of
 * the 64 connections of a hot thread. */
enum { TP_TLS_HANDSHAKE_WORKER_MAX = 256 };

/* NULL: out of memory. */
struct tp_tls_handshake_worker *tp_tls_handshake_worker_new(void);
/* After run has returned and all sessions were freed. */
void tp_tls_handshake_worker_free(struct tp_tls_handshake_worker *worker);

/* Works until tp_tls_handshake_worker_stop. One thread. */
void tp_tls_handshake_worker_run(struct tp_tls_handshake_worker *worker);
/* One look at all hand-overs; whether there was anything to do. What run does between its sleeps.
 */
bool tp_tls_handshake_worker_step(struct tp_tls_handshake_worker *worker);
/* Any thread. */
void tp_tls_handshake_worker_stop(struct tp_tls_handshake_worker *worker);
/* Any thread: a system call if work has come up since the last one, else a load. */
void tp_tls_handshake_worker_wake(struct tp_tls_handshake_worker *worker);
/* How often it has worked on a handshake, for counters. */
uint64_t tp_tls_handshake_worker_works(const struct tp_tls_handshake_worker *worker);

/* For tls.c. Registers; false: TP_TLS_HANDSHAKE_WORKER_MAX are there already. */
bool tp_tls_handshake_worker_add(struct tp_tls_handshake_worker *worker,
                                 struct tp_tls_handover *handover);
/* Notes that there is work for the next wake. */
void tp_tls_handshake_worker_note(struct tp_tls_handshake_worker *worker);
#endif
