/* Buffers of one memory, taken and given back by several threads at full speed: none is ever had by
 * two, and none is lost.
 *
 *     session_memory_stress [rounds]
 *
 * Also run under ThreadSanitizer (tests/proofs/test_thread_sanitizer.py): who has a buffer writes
 * it plainly, so that one had twice, or handed on before it was let go, is a data race. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/session_memory.h"

enum { THREADS = 4, LARGE_COUNT = 3, WRITTEN = 64 };

static struct tp_session_memory *memory;
static unsigned long rounds = 100000;

static void require(bool is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "session_memory_stress: %s\n", what);
        abort();
    }
}

static void *run(void *argument)
{
    const uint8_t own = (uint8_t)(uintptr_t)argument;
    for (unsigned long i = 0; i < rounds; i++) {
        uint8_t *buffer = tp_session_buffer_take(&memory->large);
        if (buffer == NULL)
            continue;
        memset(buffer, own, WRITTEN);
        for (int at = 0; at < WRITTEN; at++)
            require(buffer[at] == own, "two have one buffer");
        tp_session_buffer_give(&memory->large, buffer);
    }
    return NULL;
}

int main(int count, char **words)
{
    if (count > 1)
        rounds = strtoul(words[1], NULL, 10);
    const struct tp_session_memory_config config = {.session_count = 1,
                                                    .large_count = LARGE_COUNT,
                                                    .usual_message_size = 64,
                                                    .message_size_max = 128,
                                                    .receive_window = 64};
    const size_t size = tp_session_memory_size(&config);
    void *block = aligned_alloc(64, size);
    require(block != NULL, "out of memory");
    memset(block, 0, size);
    memory = tp_session_memory_init(block, &config);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        require(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0, "no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    require(tp_session_memory_in_use(memory) == 0, "a buffer was lost");
    free(block);
    return 0;
}
