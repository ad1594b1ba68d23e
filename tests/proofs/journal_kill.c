/* Kills the writer of an order's journal after every store of an append, and says what is read.
 *
 *     journal_kill FILE
 *
 * A child maps the file and appends; the parent runs it under ptrace, one instruction after the
 * other. Whenever the file changed, what stands in it now is what SIGKILL would leave there: all
 * records of before must be whole, and the new one whole or not there. Each order is sent only once
 * append has returned, which is when the child says so in its own memory. Prints how many states
 * were seen; exits 1 at the first lie. The child is killed in the end, in the midst of a record.
 *
 * Source: ptrace(2), PTRACE_SINGLESTEP, PTRACE_O_EXITKILL. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/gateway/journal.h"
#include "engine/gateway/order_state.h"

enum { CAPACITY = 16, BEFORE = 3, AFTER = 2, STEPS_MAX = 200000 };
enum { SIZE = TP_JOURNAL_HEADER_SIZE + CAPACITY * TP_JOURNAL_RECORD_SIZE };

static _Noreturn void fail(const char *what, long step)
{
    fprintf(stderr, "step %ld: %s\n", step, what);
    exit(1);
}

static struct tp_order order_of(uint32_t number)
{
    struct tp_order order;
    memset(&order, 0, sizeof order);
    /* No word is 0, so that each store is seen. */
    order.order = number + UINT64_C(0x1111111111111111);
    order.price = 1000 + number;
    order.quantity = 10;
    order.instrument = 3;
    return order;
}

static void fill_in(struct tp_order *order)
{
    order->filled = 4;
    order->paid_low = 77;
    order->paid_high = 1;
    order->place = TP_AT_PARTLY_FILLED;
    memset(order->venue_order, 'v', sizeof order->venue_order);
}

static void append(struct tp_journal *journal, uint32_t number)
{
    struct tp_order order = order_of(number);
    if (!tp_journal_place(journal, &order, 5))
        _exit(3);
    fill_in(&order);
    if (!tp_journal_append(journal, &order))
        _exit(3);
}

static _Noreturn void child(uint8_t *file)
{
    struct tp_journal journal;
    tp_journal_begin(&journal, file, 0);
    for (uint32_t i = 1; i <= BEFORE; i++)
        append(&journal, i);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(4);
    raise(SIGSTOP);
    for (uint32_t i = BEFORE + 1; i <= BEFORE + AFTER; i++)
        append(&journal, i);
    _exit(0);
}

/* Returns how many records are whole. */
static uint32_t look(const uint8_t *file, long step)
{
    struct tp_journal_header header;
    struct tp_journal_scan scan;
    struct tp_order found, wanted;
    uint32_t positions[CAPACITY];
    if (tp_journal_header_read(file, SIZE, &header) != TP_JOURNAL_OK)
        fail("the header is not whole", step);
    tp_journal_scan(file, &header, positions, &scan);
    if (scan.broken != 0 || scan.count < 2 * BEFORE)
        fail("a record of before is gone", step);
    for (uint32_t i = 0; i < scan.count; i++) {
        wanted = order_of(i / 2 + 1);
        wanted.id = UINT64_C(1) << 32 | (i / 2 + 1);
        tp_order_begin(&wanted, 5);
        if (i % 2 == 1)
            fill_in(&wanted);
        if (positions[i] != i ||
            tp_journal_read(file, &header, i, &found) != TP_JOURNAL_RECORD_ORDER ||
            memcmp(&found, &wanted, sizeof found) != 0)
            fail("a record is a mixture", step);
    }
    return scan.count;
}

static void step_through(pid_t pid, const uint8_t *file)
{
    static uint8_t seen[SIZE];
    long states = 0;
    uint32_t whole = 0;
    int status;
    for (long step = 0; step < STEPS_MAX; step++) {
        if (memcmp(seen, file, SIZE) != 0) {
            memcpy(seen, file, SIZE);
            const uint32_t count = look(file, step);
            if (count < whole)
                fail("a record that was whole is gone", step);
            whole = count;
            states++;
            if (whole == 2 * (BEFORE + AFTER) - 1 && states % 8 == 0) {
                kill(pid, SIGKILL);
                if (waitpid(pid, &status, 0) != pid || look(file, step) != whole)
                    fail("what was whole did not outlive its writer", step);
                printf("%ld states\n", states);
                return;
            }
        }
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid ||
            !WIFSTOPPED(status))
            fail("the writer ended before its last record", step);
    }
    fail("too many steps", STEPS_MAX);
}

int main(int argc, char **argv)
{
    const struct tp_journal_header header = {
        .tag = 7, .epoch = 1, .part = 1, .capacity = CAPACITY, .account = "killed"};
    int status;
    const int fd = argc == 2 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, SIZE) != 0)
        fail("the file", 0);
    uint8_t *file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        fail("mmap", 0);
    tp_journal_header_write(file, &header);
    const pid_t pid = fork();
    if (pid == 0)
        child(file);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        fail("the child did not come to its stop", 0);
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_EXITKILL) != 0)
        fail("PTRACE_SETOPTIONS", 0);
    step_through(pid, file);
    return 0;
}
