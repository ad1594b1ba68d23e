/* The buffers of session_memory.h. */
#include "netstack/session_memory.h"

#include <assert.h>

enum { LINE = 64 };

static size_t lines(size_t size)
{
    return (size + LINE - 1) / LINE * LINE;
}

size_t tp_session_buffer_size(size_t message_size, uint32_t receive_window)
{
    /* Beside what is in flight and the message before it: records that are half opened behind the
     * tail or begin at the end, see update_window. */
    return message_size + receive_window + 4 * (size_t)TP_SESSION_RECORD_ROOM;
}

static bool in_range(const struct tp_session_memory_config *config)
{
    return config->session_count >= 1 && config->session_count <= TP_SESSION_MEMORY_BUFFERS_MAX &&
           config->large_count <= TP_SESSION_MEMORY_BUFFERS_MAX && config->usual_message_size > 0 &&
           config->usual_message_size <= config->message_size_max &&
           config->message_size_max <= SIZE_MAX / 256 && config->receive_window > 0;
}

static size_t usual_size(const struct tp_session_memory_config *config)
{
    return lines(tp_session_buffer_size(config->usual_message_size, config->receive_window));
}

static size_t large_size(const struct tp_session_memory_config *config)
{
    return lines(tp_session_buffer_size(config->message_size_max, config->receive_window));
}

size_t tp_session_memory_size(const struct tp_session_memory_config *config)
{
    if (!in_range(config))
        return 0;
    return lines(sizeof(struct tp_session_memory)) + config->session_count * usual_size(config) +
           config->large_count * large_size(config);
}

static void buffers_init(struct tp_session_buffers *buffers, uint8_t *first, size_t size,
                         uint32_t count)
{
    buffers->first = first;
    buffers->size = size;
    for (uint32_t word = 0; word < TP_SESSION_MEMORY_WORDS; word++) {
        const uint32_t here = count > word * 64 ? count - word * 64 : 0;
        atomic_init(&buffers->free[word], here >= 64 ? UINT64_MAX : (UINT64_C(1) << here) - 1);
    }
}

struct tp_session_memory *tp_session_memory_init(void *memory,
                                                 const struct tp_session_memory_config *config)
{
    assert(in_range(config) && (uintptr_t)memory % LINE == 0);
    struct tp_session_memory *of = memory;
    uint8_t *const first = (uint8_t *)memory + lines(sizeof *of);
    of->config = *config;
    buffers_init(&of->usual, first, usual_size(config), config->session_count);
    buffers_init(&of->large, first + config->session_count * of->usual.size, large_size(config),
                 config->large_count);
    atomic_init(&of->borrowed, 0);
    atomic_init(&of->refused, 0);
    return of;
}

static uint8_t *take_of_word(struct tp_session_buffers *buffers, uint32_t word)
{
    uint64_t seen = atomic_load_explicit(&buffers->free[word], memory_order_relaxed);
    while (seen != 0) { /* again only where another thread took or gave one meanwhile */
        const int bit = __builtin_ctzll(seen);
        /* Pairs with the release in give: who had it before is done with it. */
        if (atomic_compare_exchange_weak_explicit(&buffers->free[word], &seen,
                                                  seen & ~(UINT64_C(1) << bit),
                                                  memory_order_acquire, memory_order_relaxed))
            return buffers->first + ((size_t)word * 64 + (size_t)bit) * buffers->size;
    }
    return NULL;
}

uint8_t *tp_session_buffer_take(struct tp_session_buffers *buffers)
{
    uint8_t *buffer = NULL;
    for (uint32_t word = 0; word < TP_SESSION_MEMORY_WORDS && buffer == NULL; word++)
        buffer = take_of_word(buffers, word);
    return buffer;
}

void tp_session_buffer_give(struct tp_session_buffers *buffers, const uint8_t *buffer)
{
    const size_t offset = (size_t)(buffer - buffers->first), index = offset / buffers->size;
    assert(offset % buffers->size == 0 && index < TP_SESSION_MEMORY_BUFFERS_MAX);
    /* Pairs with the acquire in take. */
    const uint64_t before = atomic_fetch_or_explicit(
        &buffers->free[index / 64], UINT64_C(1) << index % 64, memory_order_release);
    assert((before >> index % 64 & 1) == 0); /* given back once */
    (void)before;
}

uint64_t tp_session_memory_borrowed(const struct tp_session_memory *memory)
{
    return atomic_load_explicit(&memory->borrowed, memory_order_relaxed);
}

uint64_t tp_session_memory_refused(const struct tp_session_memory *memory)
{
    return atomic_load_explicit(&memory->refused, memory_order_relaxed);
}

uint32_t tp_session_memory_in_use(const struct tp_session_memory *memory)
{
    uint32_t free = 0;
    for (uint32_t word = 0; word < TP_SESSION_MEMORY_WORDS; word++)
        free += (uint32_t)__builtin_popcountll(
            atomic_load_explicit(&memory->large.free[word], memory_order_relaxed));
    return memory->config.large_count - free;
}
