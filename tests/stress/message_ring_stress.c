/* Laps readers of a ring of messages on purpose and checks that no torn or foreign one is ever
 * delivered.
 *
 *     message_ring_stress [messages] [seed]
 *
 * One writer publishes messages of 0 to 600 bytes at full speed into a ring of 256 slots; readers
 * stall now and then until they are lapped. Every payload word and the header are functions of the
 * message's number, so that any mixture shows. Prints what it saw; exits 1 at the first lie. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/message_ring.h"

enum { SLOTS = 256, READERS = 2, BYTES_MAX = 600, BUFFER_SIZE = 1 << 16, STALL_ONE_IN = 64 };
static const uint64_t MESSAGES_DEFAULT = 3000000;

struct stage {
    struct tp_ring_slot slots[SLOTS];
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) _Atomic uint32_t done;
    uint64_t messages;
};

struct witness {
    struct stage *stage;
    uint64_t random, received, laps, lost_slots;
    const char *lie;
    uint64_t buffer[BUFFER_SIZE / sizeof(uint64_t)];
};

static uint64_t mix(uint64_t x) /* splitmix64's finaliser */
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint32_t size_of(uint64_t number)
{
    return (uint32_t)(mix(number) % (BYTES_MAX + 1));
}

static void *writer_run(void *argument)
{
    struct stage *stage = argument;
    struct tp_ring_writer ring = {stage->slots, SLOTS - 1, 0, &stage->head};
    uint64_t words[BYTES_MAX / 8 + 1];
    for (uint64_t number = 0; number < stage->messages; number++) {
        const struct tp_message_header header = {size_of(number), (uint32_t)mix(number + 1),
                                                 number};
        for (uint64_t w = 0; w * 8 < header.size; w++)
            words[w] = mix(number * 1000 + w);
        if (!tp_message_publish(&ring, &header, &(struct tp_message_piece){words, header.size}, 1))
            abort();
    }
    atomic_store_explicit(&stage->done, 1, memory_order_release);
    return NULL;
}

/* NULL, or what is wrong; *next: the least number that may come. */
static const char *judge(const uint8_t *data, size_t size, uint64_t *next, uint64_t *received)
{
    for (size_t at = 0; at < size;) {
        struct tp_message_header header;
        memcpy(&header, data + at, sizeof header);
        at += sizeof header;
        if (header.time_ns < *next)
            return "went back in time";
        if (header.size != size_of(header.time_ns) ||
            header.tag != (uint32_t)mix(header.time_ns + 1))
            return "torn header";
        for (uint64_t w = 0; w * 8 < header.size; w++) {
            uint64_t word, expected = mix(header.time_ns * 1000 + w);
            const size_t left = header.size - w * 8;
            memcpy(&word, data + at + w * 8, sizeof word);
            if (left < 8)
                expected &= (UINT64_C(1) << (8 * left)) - 1; /* zero padding */
            if (word != expected)
                return "torn payload";
        }
        at += (header.size + 7) / 8 * 8;
        *next = header.time_ns + 1;
        ++*received;
    }
    return NULL;
}

static void *reader_run(void *argument)
{
    struct witness *witness = argument;
    struct stage *stage = witness->stage;
    struct tp_ring_reader ring = {stage->slots, SLOTS - 1, 0, &stage->head, 0};
    struct tp_message_drain into = {.data = (uint8_t *)witness->buffer, .capacity = BUFFER_SIZE};
    uint64_t next = 0;
    for (;;) { /* ends when the writer did and nothing is left */
        const uint32_t done = atomic_load_explicit(&stage->done, memory_order_acquire);
        into.size = 0;
        const enum tp_message_result result = tp_message_drain(&ring, &into);
        witness->lie = judge(into.data, into.size, &next, &witness->received);
        if (witness->lie != NULL)
            return NULL;
        witness->laps += result == TP_MESSAGE_LAPPED;
        witness->lost_slots += into.lost;
        if (done != 0 && result == TP_MESSAGE_EMPTY && into.size == 0)
            return NULL;
        witness->random = mix(witness->random + 1);
        if (witness->random % STALL_ONE_IN == 0)
            for (int i = 0; i < 20; i++)
                sched_yield();
    }
}

int main(int argc, char **argv)
{
    static struct stage stage;
    static struct witness witnesses[READERS];
    stage.messages = argc > 1 ? strtoull(argv[1], NULL, 10) : MESSAGES_DEFAULT;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    pthread_t writer, readers[READERS];
    int status = 0;
    for (int i = 0; i < READERS; i++) {
        witnesses[i].stage = &stage;
        witnesses[i].random = mix(seed + (uint64_t)i);
        pthread_create(&readers[i], NULL, reader_run, &witnesses[i]);
    }
    pthread_create(&writer, NULL, writer_run, &stage);
    pthread_join(writer, NULL);
    uint64_t laps = 0;
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
        const struct witness *of = &witnesses[i];
        printf("seed %" PRIu64 ": reader %d: %" PRIu64 " messages, %" PRIu64 " laps, %" PRIu64
               " slots lost: %s\n",
               seed, i, of->received, of->laps, of->lost_slots,
               of->lie != NULL ? of->lie : "none torn");
        status |= of->lie != NULL;
        laps += of->laps;
    }
    if (laps == 0 && stage.messages >= MESSAGES_DEFAULT) {
        printf("no reader was ever lapped: nothing was tested\n");
        status = 1;
    }
    return status;
}
