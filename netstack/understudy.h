/* Connections that exist only to be rehearsed on: real sessions over a link to nobody.
 *
 * Each is an open WebSocket over TCP, plain or over TLS 1.3 with keys that only this process ever
 * has. Whoever rehearses gives a text to tp_understudy_play, which seals it as a server would and
 * has the link's next burst bring the frame; then the ordinary loop takes it, by the ordinary code.
 * What the sessions send vanishes. Nothing here is shared with a connection that trades.
 *
 * Called by engine/feed_handler/rehearsal.c: made by the cold thread, used by the hot one. */
#ifndef TP_NETSTACK_UNDERSTUDY_H
#define TP_NETSTACK_UNDERSTUDY_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/netif.h"
#include "netstack/session.h"

/* Which code opens a record is the cipher's: one session for each. */
enum tp_understudy_kind {
    TP_UNDERSTUDY_PLAIN,
    TP_UNDERSTUDY_AES_128_GCM, /* as enum tp_aead_algorithm, from 1 */
    TP_UNDERSTUDY_AES_256_GCM,
    TP_UNDERSTUDY_CHACHA20_POLY1305,
    TP_UNDERSTUDY_KIND_COUNT,
};

enum { TP_UNDERSTUDY_TEXT_MAX = 3072 }; /* as if one frame could always hold it */

struct tp_understudy;

/* NULL: no memory, or libcrypto cannot: the reason is in error[]. partial_checksums: as the link's
 * whose frames are rehearsed. */
struct tp_understudy *tp_understudy_new(bool partial_checksums, char *error, size_t error_size);
void tp_understudy_free(struct tp_understudy *understudy);

/* Its interface, for a loop. */
struct tp_netif *tp_understudy_netif(struct tp_understudy *understudy);
/* owner: what tp_netif_input returns for this session's frames. */
struct tp_session *tp_understudy_session(struct tp_understudy *understudy,
                                         enum tp_understudy_kind kind, void *owner);
/* The kind of a session that trades; KIND_COUNT: none that is rehearsed. */
enum tp_understudy_kind tp_understudy_kind_of(const struct tp_session *session);
/* Has the next burst bring a message. text: up to TP_UNDERSTUDY_TEXT_MAX bytes, copied. */
void tp_understudy_play(struct tp_understudy *understudy, enum tp_understudy_kind kind,
                        enum tp_ws_opcode opcode, struct tp_span text);
/* Prefetches the lines that the next segment of a session that trades will read. */
void tp_session_touch(const struct tp_session *session);
#endif
