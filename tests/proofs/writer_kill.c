/* Kills a segment's writer after every store of the publish path, and at every system call of
 * building and handing over, and tells what a reader sees.
 *
 *     writer_kill DIRECTORY publish    row, snapshot, then event, store by store
 *     writer_kill DIRECTORY build      create, ready: system call by system call
 *
 * A child becomes the writer; the parent runs it n steps under ptrace and kills it with SIGKILL.
 * Then a reader that was there before must find the old state or the new one, whole, never a
 * mixture; a new writer takes the name at once; the reader follows it. The stores are found by a
 * first run, instruction by instruction, that watches the segment's bytes change. Prints how many
 * kills there were; exits 1 at the first lie.
 *
 * Source: ptrace(2), PTRACE_SINGLESTEP, PTRACE_SYSCALL, PTRACE_O_EXITKILL. */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment_reader.h"

enum { ROW_WORDS = 15 }; /* of 64 bytes and a sequence word, on whole lines */
enum { WORDS = 20, SLOTS = 2, CAPACITY = 4, BEFORE = 6, STEPS_MAX = 100000, STORES_MAX = 1000 };
static const char *const instance = "killed";
static const char *const schema = "kill test\n";

static _Noreturn void fail(const char *what, long step)
{
    fprintf(stderr, "step %ld: %s\n", step, what);
    exit(1);
}

/* Every word of change n is a function of n: any mixture shows. */
static uint64_t word_of(uint64_t change, uint64_t place)
{
    return change * UINT64_C(0x9e3779b97f4a7c15) + place;
}

static void publish(struct tp_segment *segment, uint64_t change)
{
    uint64_t words[WORDS], event[TP_RING_EVENT_WORDS], row[ROW_WORDS];
    for (uint64_t i = 0; i < WORDS; i++)
        words[i] = word_of(change, i);
    for (uint64_t i = 0; i < TP_RING_EVENT_WORDS; i++)
        event[i] = word_of(change, 100 + i);
    for (uint64_t i = 0; i < ROW_WORDS; i++)
        row[i] = word_of(change, 200 + i);
    (void)tp_segment_row_write(segment, 0, row);
    tp_snapshot_publish(tp_segment_snapshot_writer(segment), 0,
                        tp_segment_ring_writer(segment)->next + 1, words, WORDS);
    (void)tp_ring_publish(tp_segment_ring_writer(segment), event);
}

static struct tp_segment *segment_build(const char *directory, struct tp_segment_error *error)
{
    static const char *const counters[] = {"published"};
    static const struct tp_clock no_calibration = {0, 0, 0, 0};
    const struct tp_segment_config config = {
        .directory = directory,
        .instance = instance,
        .schema = schema,
        .ring_capacity = CAPACITY,
        .snapshot_slot_count = SLOTS,
        .snapshot_word_count = WORDS,
        .table_row_count = 1,
        .table_row_size = 64,
        .counter_count = 1,
        .counter_names = counters,
        .clock = &no_calibration,
    };
    struct tp_segment *segment = NULL;
    if (tp_segment_create(&segment, &config, error) != TP_SEGMENT_OK)
        return NULL;
    if (tp_segment_ready(segment, error) != TP_SEGMENT_OK) {
        tp_segment_close(segment);
        return NULL;
    }
    return segment;
}

/* Both stand still at a SIGSTOP before the path that is stepped through. */
static void child_publish(const char *directory)
{
    struct tp_segment_error error;
    struct tp_segment *segment = segment_build(directory, &error);
    if (segment == NULL)
        _exit(3);
    for (uint64_t change = 1; change <= BEFORE; change++)
        publish(segment, change);
    raise(SIGSTOP);
    publish(segment, BEFORE + 1);
    _exit(0); /* without tp_segment_close: as a killed process leaves it */
}

static void child_build(const char *directory)
{
    struct tp_segment_error error;
    raise(SIGSTOP);
    struct tp_segment *segment = segment_build(directory, &error);
    if (segment == NULL)
        _exit(3);
    publish(segment, 1);
    _exit(0);
}

static pid_t child_start(const char *directory, void (*path)(const char *))
{
    int status;
    const pid_t child = fork();
    if (child < 0)
        fail("fork", 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(4);
        path(directory);
    }
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        fail("the child did not come to its first stop", 0);
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)PTRACE_O_EXITKILL) != 0)
        fail("PTRACE_SETOPTIONS", 0);
    return child;
}

/* Runs the child for `steps`, then kills it. False: it ended before. */
static bool child_step_and_kill(pid_t child, long steps, bool by_call)
{
    int status = 0;
    for (long i = 0; i < steps; i++) {
        if (ptrace(by_call ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, child, NULL, NULL) != 0 ||
            waitpid(child, &status, 0) != child)
            fail("ptrace", i);
        if (WIFEXITED(status)) {
            if (WEXITSTATUS(status) != 0)
                fail("the writer itself failed", i);
            return false;
        }
    }
    if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        fail("kill", steps);
    return true;
}

static void snapshot_check(struct tp_reader *reader, long step, uint64_t oldest, uint64_t newest,
                           uint64_t *change)
{
    const uint64_t version = tp_reader_snapshot(reader, 0);
    const uint64_t *words = reader->snapshot + TP_READER_SNAPSHOT_HEAD_WORDS;
    if (version < oldest || version > newest)
        fail("the snapshot is neither the old nor the new one", step);
    if (reader->snapshot[TP_READER_SNAPSHOT_RING_INDEX] != version)
        fail("the snapshot names another event", step);
    for (uint64_t i = 0; i < WORDS; i++)
        if (words[i] != word_of(version, i))
            fail("a torn snapshot", step);
    *change = version;
}

/* The old row, the new one, or none where the writer died within it: then one keeps what one had.
 */
static void row_check(struct tp_reader *reader, long step)
{
    uint64_t words[ROW_WORDS];
    const uint64_t generation = tp_reader_row(reader, 0, words, ROW_WORDS);
    if (generation != 0 && generation != BEFORE && generation != BEFORE + 1)
        fail("the row is neither the old nor the new one", step);
    for (uint64_t i = 0; generation != 0 && i < ROW_WORDS; i++)
        if (words[i] != word_of(generation, 200 + i))
            fail("a torn row", step);
    if (tp_reader_row_changes(reader) > BEFORE && generation != BEFORE + 1)
        fail("a change was told before its row was whole", step);
}

/* From the last whole state on: each event that comes is the next one, whole. */
static uint64_t events_check(struct tp_reader *reader, long step, uint64_t change)
{
    for (;;) {
        switch (tp_reader_poll(reader)) {
        case TP_READER_EVENT:
            if (reader->event[0] >= change) {
                if (reader->event[0] != change)
                    fail("an event is missing", step);
                change++;
            }
            for (uint64_t i = 0; i < TP_RING_EVENT_WORDS; i++)
                if (reader->event[1 + i] != word_of(reader->event[0] + 1, 100 + i))
                    fail("a torn event", step);
            break;
        case TP_READER_EMPTY:
            return change;
        default:
            fail("lapped, with room for all", step);
        }
    }
}

/* The next writer takes the name at once, and the reader follows it. */
static void successor_check(const char *directory, struct tp_reader *reader, long step)
{
    struct tp_segment_error error;
    struct tp_segment *next = segment_build(directory, &error);
    if (next == NULL)
        fail("the next writer could not take the name", step);
    if (reader->segment != NULL && tp_reader_check(reader) != TP_READER_MOVED)
        fail("the reader was not told of the next writer", step);
    if (tp_reader_reopen(reader, &error) != TP_SEGMENT_OK)
        fail("the reader could not follow", step);
    publish(next, 1);
    uint64_t change = 0;
    snapshot_check(reader, step, 1, 1, &change);
    if (events_check(reader, step, change) != 1)
        fail("the next writer's event did not come", step);
    tp_segment_close(next);
}

static bool publish_step(const char *directory, long step)
{
    struct tp_segment_error error;
    static struct tp_reader reader;
    uint64_t change = 0;
    const pid_t child = child_start(directory, child_publish);
    if (tp_reader_init(&reader, directory, instance, tp_segment_schema_hash(schema), &error) !=
        TP_SEGMENT_OK)
        fail("the reader could not open", step);
    const bool was_killed = child_step_and_kill(child, step, false);
    if (tp_segment_writer_lives(reader.segment))
        fail("a dead writer is said to live", step);
    row_check(&reader, step);
    snapshot_check(&reader, step, BEFORE, BEFORE + 1, &change);
    change = events_check(&reader, step, change);
    if (change != BEFORE && change != BEFORE + 1)
        fail("neither the old nor the new state", step);
    if (!was_killed && change != BEFORE + 1)
        fail("all ran, and yet the change is not there", step);
    successor_check(directory, &reader, step);
    tp_reader_deinit(&reader);
    return was_killed;
}

/* A reader of the segment before, while the next writer dies at any call of its building. */
static bool build_step(const char *directory, long step)
{
    struct tp_segment_error error;
    static struct tp_reader reader;
    uint64_t change = 0;
    /* The first writer dies at its work: its file stays, its lock is free. */
    const pid_t first = child_start(directory, child_publish);
    if (tp_reader_init(&reader, directory, instance, 0, &error) != TP_SEGMENT_OK)
        fail("the reader could not open", step);
    (void)child_step_and_kill(first, 0, false);
    const bool was_killed = child_step_and_kill(child_start(directory, child_build), step, true);
    /* Nothing the second one did may hurt who still reads the first one's file. */
    snapshot_check(&reader, step, BEFORE, BEFORE, &change);
    /* What stands under the name is whole: the first one's or the second one's. */
    const enum tp_segment_status status = tp_reader_reopen(&reader, &error);
    if (status != TP_SEGMENT_OK && status != TP_SEGMENT_ABSENT)
        fail(tp_segment_status_name(status), step);
    if (!was_killed && status != TP_SEGMENT_OK)
        fail("all ran, and yet the new segment is not there", step);
    successor_check(directory, &reader, step);
    tp_reader_deinit(&reader);
    return was_killed;
}

/* Runs the publish path once, an instruction a step, and notes the steps after which the segment's
 * bytes had changed. Returns how many; the last entry is a step that the child outlives. */
static int stores_find(const char *directory, long store[STORES_MAX])
{
    struct tp_segment_error error;
    struct tp_segment *segment;
    int status = 0, count = 0;
    const pid_t child = child_start(directory, child_publish);
    if (tp_segment_open(&segment, directory, instance, 0, &error) != TP_SEGMENT_OK)
        fail("the segment could not be opened", 0);
    uint8_t *before = malloc(segment->size);
    if (before == NULL)
        fail("malloc", 0);
    memcpy(before, segment->base, segment->size);
    for (long step = 1; step <= STEPS_MAX && count < STORES_MAX; step++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0 || waitpid(child, &status, 0) < 0)
            fail("ptrace", step);
        const bool has_ended = WIFEXITED(status);
        if (has_ended || memcmp(before, segment->base, segment->size) != 0)
            store[count++] = step;
        memcpy(before, segment->base, segment->size);
        if (has_ended)
            break;
    }
    free(before);
    tp_segment_close(segment);
    return count;
}

static int publish_kill_at_every_store(const char *directory)
{
    static long store[STORES_MAX];
    const int count = stores_find(directory, store);
    for (int i = 0; i < count; i++)
        if (publish_step(directory, store[i]) != (i + 1 < count))
            fail("the child took another way this time", store[i]);
    return count - 1;
}

static int build_kill_at_every_call(const char *directory)
{
    for (int step = 1; step <= STEPS_MAX; step++)
        if (!build_step(directory, step))
            return step - 1;
    fail("no end of steps", STEPS_MAX);
}

int main(int argc, char **argv)
{
    const bool by_call = argc == 3 && strcmp(argv[2], "build") == 0;
    if (argc != 3 || (!by_call && strcmp(argv[2], "publish") != 0)) {
        fprintf(stderr, "usage: writer_kill DIRECTORY publish|build\n");
        return 2;
    }
    printf("%d kills\n",
           (by_call ? build_kill_at_every_call : publish_kill_at_every_store)(argv[1]));
    return 0;
}
