/* The queues of backlog.h. Each message is {u64 received_ns; u32 size; u8 bytes[size]}. */
#include "engine/feed/backlog.h"

#include <assert.h>
#include <string.h>

enum { HEADER_SIZE = 12 };

void tp_backlog_pool_init(struct tp_backlog_pool *pool, struct tp_backlog_chunk *chunks,
                          uint32_t chunk_count)
{
    *pool = (struct tp_backlog_pool){.chunks = chunks,
                                     .chunk_count = chunk_count,
                                     .free_first = TP_BACKLOG_NONE,
                                     .free_count = chunk_count};
}

void tp_backlog_init(struct tp_backlog *backlog)
{
    *backlog = (struct tp_backlog){.first = TP_BACKLOG_NONE, .last = TP_BACKLOG_NONE};
}

static uint32_t chunk_take(struct tp_backlog_pool *pool)
{
    uint32_t index = pool->free_first;
    if (index != TP_BACKLOG_NONE)
        pool->free_first = pool->chunks[index].next;
    else
        index = pool->fresh++;
    assert(index < pool->chunk_count);
    pool->free_count--;
    pool->chunks[index].next = TP_BACKLOG_NONE;
    return index;
}

static void chunk_give(struct tp_backlog_pool *pool, uint32_t index)
{
    pool->chunks[index].next = pool->free_first;
    pool->free_first = index;
    pool->free_count++;
}

/* The caller has made sure that the chunks are there. */
static void write_bytes(struct tp_backlog_pool *pool, struct tp_backlog *backlog,
                        const uint8_t *data, size_t size)
{
    while (size > 0) { /* at most size / TP_BACKLOG_CHUNK_BYTES + 1 rounds */
        if (backlog->last == TP_BACKLOG_NONE || backlog->tail == TP_BACKLOG_CHUNK_BYTES) {
            const uint32_t index = chunk_take(pool);
            if (backlog->last == TP_BACKLOG_NONE)
                backlog->first = index;
            else
                pool->chunks[backlog->last].next = index;
            backlog->last = index;
            backlog->tail = 0;
        }
        const size_t room = TP_BACKLOG_CHUNK_BYTES - backlog->tail;
        const size_t part = size < room ? size : room;
        memcpy(pool->chunks[backlog->last].bytes + backlog->tail, data, part);
        backlog->tail += (uint32_t)part;
        data += part;
        size -= part;
    }
}

bool tp_backlog_append(struct tp_backlog_pool *pool, struct tp_backlog *backlog,
                       struct tp_span message, uint64_t received_ns, uint32_t bytes_max)
{
    if (message.size > bytes_max || backlog->bytes + HEADER_SIZE + message.size > bytes_max)
        return false;
    const size_t total = HEADER_SIZE + message.size;
    const size_t room =
        backlog->last == TP_BACKLOG_NONE ? 0 : TP_BACKLOG_CHUNK_BYTES - backlog->tail;
    const size_t beyond = total > room ? total - room : 0;
    if ((beyond + TP_BACKLOG_CHUNK_BYTES - 1) / TP_BACKLOG_CHUNK_BYTES > pool->free_count)
        return false;
    uint8_t header[HEADER_SIZE];
    const uint32_t size = (uint32_t)message.size;
    memcpy(header, &received_ns, sizeof received_ns);
    memcpy(header + sizeof received_ns, &size, sizeof size);
    const bool is_new_chunk = room == 0;
    backlog->newest_at = is_new_chunk ? 0 : backlog->tail;
    const uint32_t before = backlog->last;
    write_bytes(pool, backlog, header, sizeof header);
    backlog->newest = !is_new_chunk               ? before
                      : before == TP_BACKLOG_NONE ? backlog->first
                                                  : pool->chunks[before].next;
    write_bytes(pool, backlog, message.data, message.size);
    backlog->bytes += (uint32_t)total;
    backlog->message_count++;
    return true;
}

/* A place in the queue's byte stream. */
struct cursor {
    uint32_t chunk, offset;
};

static struct cursor read_bytes(const struct tp_backlog_pool *pool, struct cursor at, uint8_t *data,
                                size_t size)
{
    while (size > 0) { /* bounded like write_bytes */
        if (at.offset == TP_BACKLOG_CHUNK_BYTES)
            at = (struct cursor){pool->chunks[at.chunk].next, 0};
        const size_t room = TP_BACKLOG_CHUNK_BYTES - at.offset;
        const size_t part = size < room ? size : room;
        memcpy(data, pool->chunks[at.chunk].bytes + at.offset, part);
        at.offset += (uint32_t)part;
        data += part;
        size -= part;
    }
    return at;
}

static struct cursor read_header(const struct tp_backlog_pool *pool, struct cursor from,
                                 uint64_t *received_ns, uint32_t *size)
{
    uint8_t header[HEADER_SIZE];
    const struct cursor at = read_bytes(pool, from, header, sizeof header);
    memcpy(received_ns, header, sizeof *received_ns);
    memcpy(size, header + sizeof *received_ns, sizeof *size);
    return at;
}

static struct cursor oldest(const struct tp_backlog *backlog)
{
    return (struct cursor){backlog->first, backlog->head};
}

static void read_message(const struct tp_backlog_pool *pool, struct cursor from,
                         struct tp_buffer *out, uint64_t *received_ns)
{
    uint32_t size;
    const struct cursor at = read_header(pool, from, received_ns, &size);
    assert(size <= out->capacity);
    (void)read_bytes(pool, at, out->data, size);
    out->head = 0;
    out->tail = size;
}

bool tp_backlog_peek(const struct tp_backlog_pool *pool, const struct tp_backlog *backlog,
                     struct tp_buffer *out, uint64_t *received_ns)
{
    if (backlog->message_count == 0)
        return false;
    read_message(pool, oldest(backlog), out, received_ns);
    return true;
}

bool tp_backlog_peek_newest(const struct tp_backlog_pool *pool, const struct tp_backlog *backlog,
                            struct tp_buffer *out)
{
    uint64_t received_ns;
    if (backlog->message_count == 0)
        return false;
    read_message(pool, (struct cursor){backlog->newest, backlog->newest_at}, out, &received_ns);
    return true;
}

uint64_t tp_backlog_first_ns(const struct tp_backlog_pool *pool, const struct tp_backlog *backlog)
{
    uint64_t received_ns = 0;
    uint32_t size;
    if (backlog->message_count > 0)
        (void)read_header(pool, oldest(backlog), &received_ns, &size);
    return received_ns;
}

void tp_backlog_drop_first(struct tp_backlog_pool *pool, struct tp_backlog *backlog)
{
    assert(backlog->message_count > 0);
    uint64_t received_ns;
    uint32_t size;
    (void)read_header(pool, oldest(backlog), &received_ns, &size);
    backlog->message_count--;
    if (backlog->message_count == 0) {
        const uint8_t cut = backlog->cut;
        tp_backlog_clear(pool, backlog);
        backlog->cut = cut;
        return;
    }
    uint32_t left = HEADER_SIZE + size;
    backlog->bytes -= left;
    while (left > 0) { /* one round a chunk */
        const uint32_t room = TP_BACKLOG_CHUNK_BYTES - backlog->head;
        if (left < room) {
            backlog->head += left;
            return;
        }
        const uint32_t next = pool->chunks[backlog->first].next;
        chunk_give(pool, backlog->first);
        backlog->first = next;
        backlog->head = 0;
        left -= room;
    }
}

void tp_backlog_clear(struct tp_backlog_pool *pool, struct tp_backlog *backlog)
{
    uint32_t index = backlog->first;
    for (uint32_t i = 0; i < pool->chunk_count && index != TP_BACKLOG_NONE; i++) {
        const uint32_t next = pool->chunks[index].next;
        chunk_give(pool, index);
        index = next;
    }
    tp_backlog_init(backlog);
}
