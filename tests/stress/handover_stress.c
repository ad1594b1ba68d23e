/* A loop's hand-over at full speed: the cold thread sends commands as fast as there is room and
 * sleeps for the notes that answer them; each comes once, in order and whole.
 *
 *     handover_stress [commands]
 *
 * Also run under ThreadSanitizer (tests/proofs/test_thread_sanitizer.py): all that is shared is
 * either atomic or handed over by an atomic. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/loop/handover.h"

enum { TICK_COMMANDS = 16, TEXT_SIZE = 64 };
static const uint64_t SLEEP_MAX_NS = 60000000000; /* a lost wake-up ends the test's patience */

static void require(bool is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "handover_stress: %s\n", what);
        abort();
    }
}

static void answer(struct tp_handover *handover, const struct tp_command *command)
{
    struct tp_note *note;
    while ((note = tp_handover_note_claim(handover, 0)) ==
           NULL) /* until the cold thread is awake */
        tp_handover_wake(handover);
    note->kind = TP_NOTE_TEXT;
    note->connection = command->connection;
    note->size = TEXT_SIZE;
    note->now_ns = command->argument;
    memset(note->text, (int)(command->argument & 0xFF), TEXT_SIZE);
    tp_handover_note_commit(handover);
}

/* Ticks until it is stopped. */
static void *run_hot(void *argument)
{
    struct tp_handover *handover = argument;
    for (bool is_stopped = false; !is_stopped;) {
        const struct tp_command *command;
        for (int i = 0; i < TICK_COMMANDS && !is_stopped &&
                        (command = tp_handover_command_peek(handover)) != NULL;
             i++) {
            if (command->kind == TP_COMMAND_STOP)
                is_stopped = true;
            else
                answer(handover, command);
            tp_handover_command_release(handover);
        }
        tp_handover_wake(handover);
    }
    tp_handover_leave(handover);
    return NULL;
}

static uint64_t take_notes(struct tp_handover *handover, uint64_t expected)
{
    const struct tp_note *note;
    while ((note = tp_handover_note(handover)) != NULL) {
        require(note->now_ns == expected && note->connection == (uint32_t)(expected % 7),
                "a note is missing or out of order");
        for (int i = 0; i < TEXT_SIZE; i++)
            require(note->text[i] == (uint8_t)expected, "a note is torn");
        tp_handover_note_release(handover);
        expected++;
    }
    return expected;
}

int main(int count, char **arguments)
{
    const uint64_t total = count > 1 ? strtoull(arguments[1], NULL, 10) : 1000000;
    struct tp_handover *handover = aligned_alloc(64, sizeof *handover);
    require(handover != NULL, "no memory");
    memset(handover, 0, sizeof *handover);
    require(tp_handover_init(handover, 0) == 0, "no eventfd");
    pthread_t hot;
    require(pthread_create(&hot, NULL, run_hot, handover) == 0, "no thread");
    uint64_t sent = 0, taken = 0;
    while (taken < total) {
        struct tp_command command = {.kind = TP_COMMAND_CALLER};
        for (bool is_taken = true; is_taken && sent < total; sent += is_taken) {
            command.connection = (uint32_t)(sent % 7);
            command.argument = sent;
            is_taken = tp_handover_command(handover, &command);
        }
        if (sent > taken)
            tp_handover_await(handover, SLEEP_MAX_NS);
        taken = take_notes(handover, taken);
    }
    require(tp_handover_command(handover, &(struct tp_command){.kind = TP_COMMAND_STOP}),
            "no room for STOP");
    pthread_join(hot, NULL);
    tp_handover_deinit(handover);
    free(handover);
    printf("%llu commands, each answered\n", (unsigned long long)total);
    return 0;
}
