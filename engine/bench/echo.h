/* Our contender of `tickpath bench echo`: one message in flight over a session, timed in C as the
 * C client of peer.c times itself. Called by engine/bench/echo.py with the GIL released. */
#ifndef TP_ENGINE_BENCH_ECHO_H
#define TP_ENGINE_BENCH_ECHO_H
#include <stdint.h>

#include "netstack/session.h"

/* Sends payload as a binary message and spins until its echo was read and compared, count times;
 * took_ns[i] is the i-th round trip. Returns how many were done: fewer when the session ended, an
 * echo differed or none came within a second. netif NULL: kernel socket. */
uint32_t tp_bench_echo(struct tp_session *session, struct tp_netif *netif, struct tp_span payload,
                       uint64_t *took_ns, uint32_t count);
/* The floor: a raw frame there and back, count times; the peer (AF_PACKET) returns each as it is.
 * template holds a whole frame; its last 8 bytes carry the number. Returns how many came back. */
uint32_t tp_bench_raw_frames(struct tp_link *link, struct tp_span template, uint64_t *took_ns,
                             uint32_t count);
#endif
