/* Laps readers on purpose and checks that no torn, old or silently missing event or snapshot is
 * ever delivered.
 *
 *     shm_stress [events] [seed]
 *
 * One writer publishes at full speed into a ring of 64 slots; each reader reads on, and stalls now
 * and then until it is lapped, mostly to resume in the midst of a rewrite. Every payload word is a
 * function of the event's index, so that any mixture shows. Prints what it saw; exits 1 at the
 * first lie. Every event is either delivered or counted as lost. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/broadcast_ring.h"
#include "shm/snapshot_table.h"

enum { CAPACITY = 64, READERS = 2, SNAPSHOT_WORDS = 94, CELL_SIZE = 768, STALL_ONE_IN = 4096 };
static const uint64_t EVENTS_DEFAULT = 10000000;

struct stage {
    struct tp_ring_slot slots[CAPACITY];
    _Alignas(64) uint8_t cells[TP_SNAPSHOT_VERSIONS * CELL_SIZE];
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) _Atomic uint64_t index;
    _Alignas(128) _Atomic uint32_t done;
    uint64_t events;
};

struct witness {
    struct stage *stage;
    uint64_t random, received, lapped, laps, snapshots, retries;
    const char *lie;
};

static uint64_t mix(uint64_t x) /* splitmix64's finaliser */
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void *writer_run(void *argument)
{
    struct stage *stage = argument;
    struct tp_ring_writer ring = {stage->slots, CAPACITY - 1, 0, &stage->head};
    struct tp_snapshot_writer table = {stage->cells, &stage->index, 1, CELL_SIZE, SNAPSHOT_WORDS};
    uint64_t event[TP_RING_EVENT_WORDS], words[SNAPSHOT_WORDS];
    for (uint64_t i = 0; i < stage->events; i++) {
        if (i % 16 == 0) {
            for (uint64_t w = 0; w < SNAPSHOT_WORDS; w++)
                words[w] = mix(i + w);
            tp_snapshot_publish(&table, 0, i, words, SNAPSHOT_WORDS);
        }
        for (uint64_t w = 0; w < TP_RING_EVENT_WORDS; w++)
            event[w] = mix(i * TP_RING_EVENT_WORDS + w);
        (void)tp_ring_publish(&ring, event);
    }
    atomic_store_explicit(&stage->done, 1, memory_order_release);
    return NULL;
}

static void check_event(struct witness *witness, uint64_t index, const uint64_t *event)
{
    for (uint64_t w = 0; w < TP_RING_EVENT_WORDS; w++)
        if (event[w] != mix(index * TP_RING_EVENT_WORDS + w))
            witness->lie = "a torn or wrong event";
    witness->received++;
}

static void check_snapshot(struct witness *witness, struct tp_snapshot_reader *table,
                           uint64_t *version_last)
{
    uint64_t words[SNAPSHOT_WORDS], ring_index = 0;
    const uint64_t version = tp_snapshot_read(table, 0, words, &ring_index);
    if (version == 0)
        return;
    if (version < *version_last)
        witness->lie = "a snapshot that goes back in time";
    if (ring_index != (version - 1) * 16)
        witness->lie = "a snapshot with another's ring index";
    for (uint64_t w = 0; w < SNAPSHOT_WORDS; w++)
        if (words[w] != mix(ring_index + w))
            witness->lie = "a torn snapshot";
    *version_last = version;
    witness->snapshots++;
}

static void stall(struct witness *witness)
{
    witness->random = mix(witness->random + 1);
    if (witness->random % STALL_ONE_IN != 0)
        return;
    for (uint64_t i = 0; i < witness->random >> 52; i++)
        atomic_thread_fence(memory_order_seq_cst);
    if (witness->random >> 32 & 1)
        (void)sched_yield();
}

static void *reader_run(void *argument)
{
    struct witness *witness = argument;
    struct stage *stage = witness->stage;
    struct tp_ring_reader ring = {stage->slots, CAPACITY - 1, 0, &stage->head, 0};
    struct tp_snapshot_reader table = {stage->cells, &stage->index,  1,
                                       CELL_SIZE,    SNAPSHOT_WORDS, 0};
    uint64_t event[TP_RING_EVENT_WORDS], version = 0;
    while (witness->lie == NULL) {
        const uint64_t index = ring.next;
        const uint32_t done = atomic_load_explicit(&stage->done, memory_order_acquire);
        switch (tp_ring_read(&ring, event)) {
        case TP_RING_EVENT:
            check_event(witness, index, event);
            break;
        case TP_RING_LAPPED:
            witness->laps++;
            (void)tp_ring_resume(&ring);
            check_snapshot(witness, &table, &version);
            break;
        case TP_RING_EMPTY:
            if (done != 0 && ring.next == stage->events) {
                witness->lapped = ring.lapped;
                witness->retries = table.retries;
                if (witness->received + ring.lapped != stage->events)
                    witness->lie = "an event that is neither delivered nor counted as lost";
                return NULL;
            }
            if (done != 0)
                (void)sched_yield();
            check_snapshot(witness, &table, &version);
            break;
        }
        stall(witness);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct stage stage;
    static struct witness witnesses[READERS];
    pthread_t writer, readers[READERS];
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    stage.events = argc > 1 ? strtoull(argv[1], NULL, 10) : EVENTS_DEFAULT;
    printf("%" PRIu64 " events, seed %" PRIu64 "\n", stage.events, seed);
    for (uint64_t i = 0; i < READERS; i++) {
        witnesses[i] = (struct witness){.stage = &stage, .random = mix(seed * READERS + i)};
        if (pthread_create(&readers[i], NULL, reader_run, &witnesses[i]) != 0)
            return 2;
    }
    if (pthread_create(&writer, NULL, writer_run, &stage) != 0)
        return 2;
    pthread_join(writer, NULL);
    int status = 0;
    for (uint64_t i = 0; i < READERS; i++) {
        const struct witness *witness = &witnesses[i];
        pthread_join(readers[i], NULL);
        printf("reader %" PRIu64 ": %" PRIu64 " received, %" PRIu64 " lost in %" PRIu64
               " laps, %" PRIu64 " snapshots, %" PRIu64 " retries: %s\n",
               i, witness->received, witness->lapped, witness->laps, witness->snapshots,
               witness->retries, witness->lie != NULL ? witness->lie : "no lie");
        if (witness->lie != NULL)
            status = 1;
    }
    return status;
}
