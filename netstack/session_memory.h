/* The message buffers of all connections of a process, in one piece of memory that is there from
 * the start.
 *
 * Each session has a usual buffer: what TCP may have in flight and a message of the usual size. A
 * message that is larger, known by its frame's header, moves the session into one of a few large
 * buffers, which it gives back when what it holds is of the usual size again. Where none is free
 * the session fails (TP_SESSION_ERROR_MEMORY); the others go on.
 *
 * Called by session.c: a session's thread borrows, and whoever frees the session gives back, which
 * may be another thread. So who has which buffer is a bit of a word, and moves by atomic
 * operations; the counters are for any thread to look at. */
#ifndef TP_NETSTACK_SESSION_MEMORY_H
#define TP_NETSTACK_SESSION_MEMORY_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TP_SESSION_MEMORY_BUFFERS_MAX = 256, /* of each kind: one bit each */
    TP_SESSION_MEMORY_WORDS = TP_SESSION_MEMORY_BUFFERS_MAX / 64,
    TP_SESSION_RECORD_ROOM = 16384 + 512, /* free buffer that TLS may ask for to open a record */
};

struct tp_session_memory_config {
    uint32_t session_count, large_count; /* up to TP_SESSION_MEMORY_BUFFERS_MAX */
    size_t usual_message_size;
    size_t message_size_max; /* not below the usual one */
    uint32_t receive_window; /* what TCP may have in flight to each session */
};

/* One kind of buffer: index i is free while bit i % 64 of word i / 64 is set. */
struct tp_session_buffers {
    uint8_t *first; /* size apart */
    size_t size;
    _Alignas(64) _Atomic uint64_t free[TP_SESSION_MEMORY_WORDS];
};

struct tp_session_memory {
    struct tp_session_memory_config config;
    struct tp_session_buffers usual, large;
    _Atomic uint64_t borrowed; /* times that a message moved into a large buffer */
    _Atomic uint64_t refused;  /* times that none was free */
};

/* What one buffer must have for messages of this size. */
size_t tp_session_buffer_size(size_t message_size, uint32_t receive_window);
/* 0: the configuration is out of range. */
size_t tp_session_memory_size(const struct tp_session_memory_config *config);
/* memory: tp_session_memory_size bytes, aligned to 64, zeroed; the caller's, until all sessions
 * that were given it are freed. */
struct tp_session_memory *tp_session_memory_init(void *memory,
                                                 const struct tp_session_memory_config *config);
/* NULL: none is free. */
uint8_t *tp_session_buffer_take(struct tp_session_buffers *buffers);
void tp_session_buffer_give(struct tp_session_buffers *buffers, const uint8_t *buffer);
uint64_t tp_session_memory_borrowed(const struct tp_session_memory *memory);
uint64_t tp_session_memory_refused(const struct tp_session_memory *memory);
/* Large buffers that somebody has now. */
uint32_t tp_session_memory_in_use(const struct tp_session_memory *memory);
#endif
