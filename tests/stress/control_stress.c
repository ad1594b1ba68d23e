/* Lossless, sleeping and coming-and-going consumers beside one writer at full speed, in threads:
 * the lossless ones get every event in order, the sleeping one is woken, nobody is evicted.
 *
 *     control_stress [events]
 *
 * Also run under ThreadSanitizer (tests/proofs/test_thread_sanitizer.py): all that is shared is
 * atomic. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/ring_gate.h"
#include "shm/segment_reader.h"
#include "shm/waker.h"

enum { CAPACITY = 1024, LOSSLESS_COUNT = 2, MESSAGE_EVENTS = 7 };
static const uint64_t DEADLINE_NS = 60000000000;

struct stage {
    char directory[32];
    struct tp_segment *segment;
    struct tp_control *control;
    struct tp_ring_gate gate;
    struct tp_waker waker;
    uint64_t event_count;
    _Atomic uint32_t ready_count, is_over, is_left_alone;
    struct tp_reader *_Atomic visitor;
};

static void require(bool is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "control_stress: %s\n", what);
        abort();
    }
}

static struct tp_reader *reader_open(struct stage *stage)
{
    struct tp_segment_error error;
    struct tp_reader *reader = malloc(sizeof *reader);
    require(reader != NULL, "no memory");
    require(tp_reader_init(reader, stage->directory, "stress", 0, &error) == TP_SEGMENT_OK,
            "the reader does not open");
    reader->stale_after_ns = UINT64_MAX;
    return reader;
}

static void reader_close(struct tp_reader *reader)
{
    tp_reader_deinit(reader);
    free(reader);
}

/* The last event is one of nothing but ones. */
static bool is_last(const struct tp_reader *reader)
{
    return reader->event[1] == UINT64_MAX;
}

static void *read_lossless(void *argument)
{
    struct stage *stage = argument;
    struct tp_reader *reader = reader_open(stage);
    require(tp_reader_register(reader, "lossless", true) == TP_SEGMENT_OK, "not lossless");
    uint64_t expected = reader->ring.next;
    atomic_fetch_add(&stage->ready_count, 1);
    do { /* ends with the writer's last event */
        const enum tp_reader_result result = tp_reader_spin(reader);
        require(result == TP_READER_EVENT || result == TP_READER_EMPTY, "lossless, yet it lost");
        if (result != TP_READER_EVENT)
            continue;
        require(reader->event[0] == expected++, "an event is missing");
        require(is_last(reader) || reader->event[7] == (reader->event[1] ^ UINT64_MAX), "torn");
    } while (!is_last(reader));
    reader_close(reader);
    return NULL;
}

static void *read_asleep(void *argument)
{
    struct stage *stage = argument;
    struct tp_reader *reader = reader_open(stage);
    require(tp_reader_register(reader, "asleep", false) == TP_SEGMENT_OK, "not registered");
    reader->spin_ns = 0;
    reader->sleep_ns = 1000;
    reader->wait_ns = 10000000;
    atomic_fetch_add(&stage->ready_count, 1);
    while (atomic_load(&stage->is_over) == 0)
        (void)tp_reader_spin(reader);
    require(reader->sleep_total != 0, "it never slept");
    reader_close(reader);
    return NULL;
}

static void *interrupt(void *argument)
{
    struct stage *stage = argument;
    struct tp_reader *reader;
    while (atomic_load(&stage->is_over) == 0)
        if ((reader = atomic_load(&stage->visitor)) != NULL)
            tp_reader_interrupt(reader);
    atomic_store(&stage->is_left_alone, 1);
    return NULL;
}

static void *come_and_go(void *argument)
{
    struct stage *stage = argument;
    struct tp_reader *reader = reader_open(stage);
    atomic_store(&stage->visitor, reader);
    while (atomic_load(&stage->is_over) == 0) {
        require(tp_reader_register(reader, "visitor", false) == TP_SEGMENT_OK, "no slot");
        for (int i = 0; i < 100; i++)
            (void)tp_reader_poll(reader);
        tp_reader_interrupt(reader);
        (void)tp_reader_spin(reader);
        tp_reader_unregister(reader);
    }
    while (atomic_load(&stage->is_left_alone) == 0)
        (void)usleep(100);
    reader_close(reader);
    return NULL;
}

static void *wake(void *argument)
{
    tp_waker_run(&((struct stage *)argument)->waker);
    return NULL;
}

static void publish(struct stage *stage, uint64_t first, uint64_t last)
{
    const uint64_t event[TP_RING_EVENT_WORDS] = {first, 0, 0, 0, 0, 0, last};
    (void)tp_ring_publish(&stage->segment->ring, event);
}

static void tick(struct stage *stage)
{
    tp_ring_gate_tick(&stage->gate, tp_clock_now_ns(&stage->gate.clock));
}

static void write_all(struct stage *stage)
{
    while (atomic_load(&stage->ready_count) < LOSSLESS_COUNT + 1)
        tick(stage);
    for (uint64_t i = 0; i < stage->event_count; i += MESSAGE_EVENTS) {
        tp_ring_gate_pass(&stage->gate, MESSAGE_EVENTS);
        for (uint64_t j = i; j < i + MESSAGE_EVENTS; j++)
            publish(stage, j, j ^ UINT64_MAX);
        if (i % 64 == 0)
            tick(stage);
    }
    tp_ring_gate_pass(&stage->gate, 1);
    publish(stage, UINT64_MAX, UINT64_MAX);
}

static void stage_open(struct stage *stage)
{
    struct tp_segment_error error;
    const struct tp_segment_config config = {.directory = stage->directory,
                                             .instance = "stress",
                                             .schema = "x",
                                             .ring_capacity = CAPACITY};
    strcpy(stage->directory, "/tmp/tickpath-stress-XXXXXX");
    require(mkdtemp(stage->directory) != NULL, "no directory");
    require(tp_segment_create(&stage->segment, &config, &error) == TP_SEGMENT_OK, "no segment");
    require(tp_control_create(&stage->control, stage->segment, DEADLINE_NS, &error) ==
                TP_SEGMENT_OK,
            "no control segment");
    tp_ring_gate_init(&stage->gate, &stage->segment->ring, stage->control, DEADLINE_NS);
    tp_waker_init(&stage->waker, stage->segment, stage->control, TP_WAKER_POLL_NS_DEFAULT);
    require(tp_segment_ready(stage->segment, &error) == TP_SEGMENT_OK, "not ready");
}

int main(int argc, char **argv)
{
    static struct stage stage;
    void *(*const roles[])(void *) = {read_lossless, read_lossless, read_asleep,
                                      come_and_go,   interrupt,     wake};
    enum { ROLE_COUNT = sizeof roles / sizeof roles[0], WAKER = ROLE_COUNT - 1 };
    pthread_t thread[ROLE_COUNT];
    stage.event_count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    stage_open(&stage);
    for (int i = 0; i < ROLE_COUNT; i++)
        require(pthread_create(&thread[i], NULL, roles[i], &stage) == 0, "no thread");
    write_all(&stage);
    for (int i = 0; i < LOSSLESS_COUNT; i++)
        (void)pthread_join(thread[i], NULL);
    atomic_store(&stage.is_over, 1);
    for (int i = LOSSLESS_COUNT; i < WAKER; i++)
        (void)pthread_join(thread[i], NULL);
    tp_waker_stop(&stage.waker);
    (void)pthread_join(thread[WAKER], NULL);
    const struct tp_ring_gate_counters *counters = &stage.gate.counters;
    printf("%llu events, %llu waits, %llu wake-ups\n", (unsigned long long)stage.event_count,
           (unsigned long long)counters->waits, (unsigned long long)tp_waker_wakes(&stage.waker));
    require(counters->evictions == 0 && counters->impossible_cursors == 0, "evicted");
    tp_control_close(stage.control);
    tp_segment_close(stage.segment);
    require(rmdir(stage.directory) == 0, "something is left");
    return 0;
}
