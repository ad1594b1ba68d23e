/* Raw messages of syncing instruments, first in first out, in chunks of one fixed pool.
 *
 * Called by feed.c on the hot path's thread. A message is kept as a byte stream over chunks, so
 * that small messages waste little and large ones need no contiguous room. */
#ifndef TP_ENGINE_BACKLOG_H
#define TP_ENGINE_BACKLOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netstack/span.h"

enum { TP_BACKLOG_CHUNK_SIZE = 2048, TP_BACKLOG_CHUNK_BYTES = TP_BACKLOG_CHUNK_SIZE - 4 };

struct tp_backlog_chunk {
    uint32_t next;
    uint8_t bytes[TP_BACKLOG_CHUNK_BYTES];
};

struct tp_backlog_pool {
    struct tp_backlog_chunk *chunks;
    uint32_t chunk_count;
    uint32_t free_first; /* list of returned chunks by next */
    uint32_t fresh;      /* chunks from here on were never used: their pages stay untouched */
    uint32_t free_count; /* both kinds */
};

static const uint32_t TP_BACKLOG_NONE = UINT32_MAX; /* no chunk */

/* One instrument's queue; all zero is not empty: use tp_backlog_init. */
struct tp_backlog {
    uint32_t first, last;          /* chunks; TP_BACKLOG_NONE: empty */
    uint32_t head, tail;           /* offsets in the first and behind the last chunk's bytes */
    uint32_t bytes, message_count; /* bytes: messages and their headers */
    uint32_t newest, newest_at;    /* where the last message begins: chunk and offset */
    uint8_t cut;                   /* enum tp_backlog_cut: why its oldest are gone, last time */
};
enum tp_backlog_cut { TP_BACKLOG_WHOLE, TP_BACKLOG_CUT_BY_TIME, TP_BACKLOG_CUT_BY_BYTES };

void tp_backlog_pool_init(struct tp_backlog_pool *pool, struct tp_backlog_chunk *chunks,
                          uint32_t chunk_count);
void tp_backlog_init(struct tp_backlog *backlog);
/* Copies the message. False: more than bytes_max in this queue, or the pool is exhausted; the queue
 * is as before. */
bool tp_backlog_append(struct tp_backlog_pool *pool, struct tp_backlog *backlog,
                       struct tp_span message, uint64_t received_ns, uint32_t bytes_max);
/* Copies the oldest message into data[0, capacity) and takes it out of the queue only with
 * tp_backlog_drop_first. False: empty. */
bool tp_backlog_peek(const struct tp_backlog_pool *pool, const struct tp_backlog *backlog,
                     struct tp_buffer *out, uint64_t *received_ns);
/* Copies the newest message, which stays. False: empty. */
bool tp_backlog_peek_newest(const struct tp_backlog_pool *pool, const struct tp_backlog *backlog,
                            struct tp_buffer *out);
/* When the oldest message came; 0: empty. */
uint64_t tp_backlog_first_ns(const struct tp_backlog_pool *pool, const struct tp_backlog *backlog);
void tp_backlog_drop_first(struct tp_backlog_pool *pool, struct tp_backlog *backlog);
void tp_backlog_clear(struct tp_backlog_pool *pool, struct tp_backlog *backlog);
#endif
