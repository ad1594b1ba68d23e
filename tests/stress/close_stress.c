/* A reader is closed, registered anew and interrupted at random moments while other threads take
 * events from it, wait in it, read its snapshots, wait in a set of it and another: all of them get
 * away, and nobody touches what is gone.
 *
 *     close_stress [rounds] [seed]
 *
 * Also run under ThreadSanitizer (tests/proofs/test_thread_sanitizer.py), which sees an access
 * beside an munmap or a free that nothing orders. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/reader_set.h"
#include "shm/ring_gate.h"
#include "shm/waker.h"

enum { CAPACITY = 64, SLOTS = 2, PAUSE_US_MAX = 300, USERS = 5 };

struct stage {
    char directory[32];
    struct tp_segment *segment;
    struct tp_control *control;
    struct tp_waker waker;
    _Atomic uint32_t is_over;
    struct tp_reader *reader, *other; /* of this round; `other` stays open */
    _Atomic uint32_t ready_count;
};

static void require(bool is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "close_stress: %s\n", what);
        abort();
    }
}

static struct tp_reader *reader_open(struct stage *stage, bool sleeps)
{
    struct tp_segment_error error;
    struct tp_reader *reader = malloc(sizeof *reader);
    require(reader != NULL, "no memory");
    require(tp_reader_init(reader, stage->directory, "stress", 0, &error) == TP_SEGMENT_OK,
            "the reader does not open");
    reader->stale_after_ns = UINT64_MAX;
    reader->wait_ns = 20000000000; /* nobody waits so long: a close must end it */
    if (sleeps) {
        reader->spin_ns = 0;
        reader->sleep_ns = 1000;
    }
    return reader;
}

/* ---- who uses the reader; each ends once it is closed ---- */

static void *wait_for_events(void *argument)
{
    struct stage *stage = argument;
    atomic_fetch_add(&stage->ready_count, 1);
    while (tp_reader_spin(stage->reader) != TP_READER_MOVED)
        ;
    require(tp_reader_poll(stage->reader) == TP_READER_EMPTY, "an event of a closed reader");
    require(tp_reader_batch(stage->reader) == 0, "a batch of a closed reader");
    return NULL;
}

static void *wait_for_news(void *argument)
{
    struct stage *stage = argument;
    atomic_fetch_add(&stage->ready_count, 1);
    while (tp_reader_await(stage->reader) != TP_READER_MOVED)
        ;
    return NULL;
}

static void *read_snapshots(void *argument)
{
    struct stage *stage = argument;
    atomic_fetch_add(&stage->ready_count, 1);
    do { /* ends with the reader */
        require(tp_reader_snapshot(stage->reader, 1) != 0 ||
                    stage->reader->snapshot[TP_READER_SNAPSHOT_ENDED] != 0,
                "a snapshot of a living reader is missing");
    } while (stage->reader->snapshot[TP_READER_SNAPSHOT_ENDED] == 0);
    return NULL;
}

static void *interrupt(void *argument)
{
    struct stage *stage = argument;
    atomic_fetch_add(&stage->ready_count, 1);
    while (tp_reader_check(stage->other) == TP_READER_EMPTY &&
           atomic_load(&stage->ready_count) != UINT32_MAX) {
        tp_reader_interrupt(stage->reader);
        (void)usleep(50);
    }
    return NULL;
}

static void *register_anew(void *argument)
{
    struct stage *stage = argument;
    atomic_fetch_add(&stage->ready_count, 1);
    while (tp_reader_register(stage->reader, "visitor", false) == TP_SEGMENT_OK) {
        (void)usleep(50);
        tp_reader_unregister(stage->reader);
    }
    return NULL;
}

static void *wait_in_set(void *argument)
{
    struct stage *stage = argument;
    struct tp_reader_set set;
    enum tp_reader_result result;
    tp_reader_set_init(&set, TP_READER_SET_ARRIVAL, 1);
    require(tp_reader_set_add(&set, stage->other) && tp_reader_set_add(&set, stage->reader),
            "full");
    set.wait_ns = 20000000000;
    set.spin_ns = 0;
    set.sleep_ns = 1000;
    atomic_fetch_add(&stage->ready_count, 1);
    do { /* ends with one of its readers */
        result = tp_reader_set_spin(&set);
    } while (result != TP_READER_MOVED);
    require(set.found == 1, "the wrong one is closed");
    return NULL;
}

/* ---- rounds ---- */

typedef void *user(void *stage);
/* One thread takes events in each, as the rules of a reader say. */
static user *const casts[][USERS] = {
    {wait_for_events, read_snapshots, interrupt},
    {wait_for_news, read_snapshots, interrupt, register_anew},
    {wait_in_set, read_snapshots, register_anew},
    {wait_for_events, interrupt, register_anew},
};

static void *close_again(void *reader)
{
    tp_reader_deinit(reader);
    return NULL;
}

static void round_play(struct stage *stage, unsigned *seed, bool is_registered)
{
    user *const *cast = casts[(unsigned)rand_r(seed) % (sizeof casts / sizeof casts[0])];
    pthread_t thread[USERS], second;
    uint32_t count = 0;
    stage->reader = reader_open(stage, rand_r(seed) % 2 != 0);
    atomic_store(&stage->ready_count, 0);
    if (is_registered)
        require(tp_reader_register(stage->reader, "round", false) == TP_SEGMENT_OK, "no slot");
    for (; count < USERS && cast[count] != NULL; count++)
        require(pthread_create(&thread[count], NULL, cast[count], stage) == 0, "no thread");
    while (atomic_load(&stage->ready_count) < count)
        (void)usleep(10);
    (void)usleep((unsigned)rand_r(seed) % PAUSE_US_MAX);
    require(pthread_create(&second, NULL, close_again, stage->reader) == 0, "no thread");
    tp_reader_deinit(stage->reader);
    require(stage->reader->segment == NULL, "closed, yet there");
    atomic_store(&stage->ready_count, UINT32_MAX);
    for (uint32_t i = 0; i < count; i++)
        (void)pthread_join(thread[i], NULL);
    (void)pthread_join(second, NULL);
    free(stage->reader);
}

static void *wake(void *argument)
{
    tp_waker_run(&((struct stage *)argument)->waker);
    return NULL;
}

static void *write_now_and_then(void *argument)
{
    struct stage *stage = argument;
    for (uint64_t i = 1; atomic_load(&stage->is_over) == 0; i++) {
        const uint64_t event[TP_RING_EVENT_WORDS] = {i};
        tp_snapshot_publish(&stage->segment->snapshots, 1, i, event, 1);
        (void)tp_ring_publish(&stage->segment->ring, event);
        (void)usleep(100);
    }
    return NULL;
}

static void stage_open(struct stage *stage)
{
    struct tp_segment_error error;
    const uint64_t word[1] = {1};
    const struct tp_segment_config config = {.directory = stage->directory,
                                             .instance = "stress",
                                             .schema = "x",
                                             .ring_capacity = CAPACITY,
                                             .snapshot_slot_count = SLOTS,
                                             .snapshot_word_count = 1};
    strcpy(stage->directory, "/tmp/tickpath-stress-XXXXXX");
    require(mkdtemp(stage->directory) != NULL, "no directory");
    require(tp_segment_create(&stage->segment, &config, &error) == TP_SEGMENT_OK, "no segment");
    require(tp_control_create(&stage->control, stage->segment, 0, &error) == TP_SEGMENT_OK,
            "no control segment");
    tp_waker_init(&stage->waker, stage->segment, stage->control, TP_WAKER_POLL_NS_DEFAULT);
    require(tp_segment_ready(stage->segment, &error) == TP_SEGMENT_OK, "not ready");
    tp_snapshot_publish(&stage->segment->snapshots, 1, 0, word, 1);
    stage->other = reader_open(stage, true);
    require(tp_reader_register(stage->other, "other", false) == TP_SEGMENT_OK, "no slot");
}

int main(int argc, char **argv)
{
    static struct stage stage;
    pthread_t waker, writer;
    const unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    unsigned seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : (unsigned)time(NULL);
    printf("%lu rounds, seed %u\n", rounds, seed);
    stage_open(&stage);
    require(pthread_create(&waker, NULL, wake, &stage) == 0, "no thread");
    require(pthread_create(&writer, NULL, write_now_and_then, &stage) == 0, "no thread");
    for (unsigned long i = 0; i < rounds; i++)
        round_play(&stage, &seed, i % 4 != 0);
    atomic_store(&stage.is_over, 1);
    (void)pthread_join(writer, NULL);
    tp_reader_deinit(stage.other);
    free(stage.other);
    tp_waker_stop(&stage.waker);
    (void)pthread_join(waker, NULL);
    tp_control_close(stage.control);
    tp_segment_close(stage.segment);
    require(rmdir(stage.directory) == 0, "something is left");
    return 0;
}
