/* The AF_XDP link's hot half against rings that the test fills as the kernel would: what no real
 * driver does on demand (endless chains, descriptors beyond their chunk, indices about to wrap). */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "netstack/link/af_xdp_state.h"

enum { FRAME_COUNT = 256, HALF = 128, QUARTER = 64, SIZE = TP_AF_XDP_FRAME_SIZE };

struct fake_ring {
    _Atomic uint32_t producer, consumer, flags;
    union {
        struct xdp_desc descriptors[HALF];
        uint64_t addresses[HALF];
    } entries;
    uint32_t kernel; /* the kernel's own index: consumer of FILL and TX, producer of the others */
};

struct fake {
    struct tp_af_xdp af_xdp;
    struct fake_ring rx, fill, tx, completion;
    uint8_t state[FRAME_COUNT];
    uint32_t free_frames[FRAME_COUNT];
    uint8_t *umem, *join;
    int sockets[2];
};

static void ring_init(struct xdp_ring *ring, struct fake_ring *fake, uint32_t count, uint32_t start)
{
    *ring = (struct xdp_ring){.producer = &fake->producer,
                              .consumer = &fake->consumer,
                              .flags = &fake->flags,
                              .entries = &fake->entries,
                              .count = count,
                              .mask = count - 1,
                              .local = start};
    fake->producer = fake->consumer = fake->kernel = start;
}

/* start: the value of every ring index at first. */
static struct fake *fake_new(uint32_t start)
{
    struct fake *fake = calloc(1, sizeof *fake);
    struct tp_af_xdp *af_xdp = &fake->af_xdp;

    fake->umem = calloc(FRAME_COUNT, SIZE);
    fake->join = calloc(1, TP_LINK_FRAME_SIZE_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fake->sockets), 0);
    af_xdp->link.ops = &af_xdp_ops;
    af_xdp->link.tx_frame_size = SIZE;
    ring_init(&af_xdp->rx, &fake->rx, HALF, start);
    ring_init(&af_xdp->fill, &fake->fill, HALF, start);
    ring_init(&af_xdp->tx, &fake->tx, QUARTER, start);
    ring_init(&af_xdp->completion, &fake->completion, QUARTER, start);
    af_xdp->umem = fake->umem;
    af_xdp->umem_size = (uint64_t)FRAME_COUNT * SIZE;
    af_xdp->frame_count = FRAME_COUNT;
    af_xdp->rx_frame_count = HALF;
    af_xdp->state = fake->state;
    af_xdp->free_frames = fake->free_frames;
    af_xdp->join.buffer = fake->join;
    af_xdp->socket = fake->sockets[0];
    af_xdp_frames_init(af_xdp);
    return fake;
}

static void fake_free(struct fake *fake)
{
    close(fake->sockets[0]);
    close(fake->sockets[1]);
    free(fake->umem);
    free(fake->join);
    free(fake);
}

/* The kernel takes a chunk from FILL; returns its address. */
static uint64_t kernel_fill(struct fake *fake)
{
    assert_true(fake->fill.kernel != fake->fill.producer);
    const uint64_t address = fake->fill.entries.addresses[fake->fill.kernel++ % HALF];
    fake->fill.consumer = fake->fill.kernel;
    assert_int_equal(address % SIZE, 0);
    return address;
}

/* The kernel receives size bytes of value at offset within a chunk from FILL. */
static void kernel_receive(struct fake *fake, uint32_t offset, uint32_t size, uint32_t options)
{
    const uint64_t address = kernel_fill(fake) + offset;

    if (size <= SIZE - offset)
        memset(fake->umem + address, (int)(size & 0xff), size);
    fake->rx.entries.descriptors[fake->rx.kernel++ % HALF] =
        (struct xdp_desc){.addr = address, .len = size, .options = options};
    fake->rx.producer = fake->rx.kernel;
}

/* The kernel sends all that was published and completes it. Returns how many. */
static uint32_t kernel_send(struct fake *fake)
{
    uint32_t count = 0;

    while (fake->tx.kernel != fake->tx.producer) {
        const struct xdp_desc sent = fake->tx.entries.descriptors[fake->tx.kernel++ % QUARTER];
        fake->completion.entries.addresses[fake->completion.kernel++ % QUARTER] = sent.addr;
        count++;
    }
    fake->tx.consumer = fake->tx.kernel;
    fake->completion.producer = fake->completion.kernel;
    return count;
}

static uint32_t burst(struct fake *fake, struct tp_frame *frames)
{
    return tp_link_rx_burst(&fake->af_xdp.link, frames, TP_LINK_BURST_MAX);
}

static void release(struct fake *fake, const struct tp_frame *frames, uint32_t count)
{
    tp_link_rx_release(&fake->af_xdp.link, frames, count);
}

static void assert_all_home(const struct fake *fake)
{
    assert_int_equal(fake->af_xdp.state_count[FRAME_FILL], HALF);
    assert_int_equal(fake->af_xdp.state_count[FRAME_FREE], HALF);
    assert_int_equal(fake->fill.producer - fake->fill.kernel, HALF);
}

static void test_af_xdp_rx_offset_within_chunk_is_kept_and_recycled_to_chunk(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    kernel_receive(fake, 258, 60, 0);
    assert_int_equal(burst(fake, frames), 1);
    assert_ptr_equal(frames[0].data, fake->umem + 258);
    assert_int_equal(frames[0].size, 60);
    assert_int_equal(fake->af_xdp.state_count[FRAME_RX], 1);
    release(fake, frames, 1);
    for (uint32_t i = 0; i < HALF; i++)
        (void)kernel_fill(fake); /* asserts that each address is a chunk's */
    fake_free(fake);
}

/* As the XDP program writes it, in front of the frame that the kernel received last. */
static void kernel_stamp(struct fake *fake, uint64_t stamp_ns, uint64_t check)
{
    const uint64_t address =
        fake->rx.entries.descriptors[(fake->rx.kernel - 1) % HALF].addr - 2 * sizeof stamp_ns;

    memcpy(fake->umem + address, &stamp_ns, sizeof stamp_ns);
    memcpy(fake->umem + address + sizeof stamp_ns, &check, sizeof check);
}

static void test_af_xdp_rx_stamp_is_the_frames_own_and_read_once(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    kernel_receive(fake, 256, 60, 0);
    kernel_stamp(fake, 77, 77 ^ FRAME_STAMP_CHECK);
    kernel_receive(fake, 256, 61, 0); /* none */
    kernel_receive(fake, 256, 62, 0); /* what a driver left there */
    kernel_stamp(fake, 78, 78 ^ FRAME_STAMP_CHECK ^ 1);
    kernel_receive(fake, 256, 63, XDP_PKT_CONTD); /* of parts: when the first came */
    kernel_stamp(fake, 79, 79 ^ FRAME_STAMP_CHECK);
    kernel_receive(fake, 256, 64, 0);
    kernel_stamp(fake, 80, 80 ^ FRAME_STAMP_CHECK);
    kernel_receive(fake, 16, 60, 0); /* just room for a stamp */
    kernel_stamp(fake, 81, 81 ^ FRAME_STAMP_CHECK);
    kernel_receive(fake, 256, 13, 0); /* too short to be a frame */
    kernel_stamp(fake, 82, 82 ^ FRAME_STAMP_CHECK);
    kernel_receive(fake, 0, 60, 0); /* in front of it is another chunk */
    assert_int_equal(burst(fake, frames), 6);
    const uint64_t expected[] = {77, 0, 0, 79, 81, 0};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(frames[i].stamp_ns, expected[i]);
    release(fake, frames, 6);
    for (uint32_t i = 0; i < 2 * HALF; i++) { /* each chunk again, now without */
        kernel_receive(fake, i % 2 ? 256 : 16, 60, 0);
        assert_int_equal(burst(fake, frames), 1);
        assert_int_equal(frames[0].stamp_ns, 0);
        release(fake, frames, 1);
    }
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_rx_bad_descriptors_are_dropped_and_counted(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    kernel_receive(fake, 256, 13, 0);
    kernel_receive(fake, 256, 0, 0);
    kernel_receive(fake, 256, SIZE - 256 + 1, 0);
    kernel_receive(fake, 256, UINT32_MAX, 0);
    kernel_receive(fake, 256, SIZE - 256, 0);
    kernel_receive(fake, 256, 14, 0);
    assert_int_equal(burst(fake, frames), 2);
    assert_int_equal(frames[0].size, SIZE - 256);
    assert_int_equal(frames[1].size, 14);
    assert_int_equal(fake->af_xdp.rx_malformed, 4);
    assert_int_equal(fake->af_xdp.link.counters.rx_dropped, 4);
    release(fake, frames, 2);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_rx_parts_are_joined_across_bursts(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    kernel_receive(fake, 256, 1792, XDP_PKT_CONTD);
    assert_int_equal(burst(fake, frames), 0);
    release(fake, frames, 0);
    kernel_receive(fake, 256, 1000, XDP_PKT_CONTD);
    kernel_receive(fake, 256, 3, 0);
    kernel_receive(fake, 256, 64, 0);
    assert_int_equal(burst(fake, frames), 2);
    assert_int_equal(frames[0].size, 2795);
    assert_int_equal(frames[0].data[1791], 1792 & 0xff);
    assert_int_equal(frames[0].data[1792], 1000 & 0xff);
    assert_int_equal(frames[0].data[2794], 3);
    assert_int_equal(frames[1].size, 64);
    assert_int_equal(fake->af_xdp.link.counters.rx_joined, 1);
    release(fake, frames, 2);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_rx_second_joined_frame_waits_for_the_next_burst(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    for (uint32_t i = 0; i < 2; i++) {
        kernel_receive(fake, 256, 100 + i, XDP_PKT_CONTD);
        kernel_receive(fake, 256, 10, 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(burst(fake, frames), 1);
        assert_int_equal(frames[0].size, 110 + i);
        assert_int_equal(frames[0].data[0], 100 + i);
        release(fake, frames, 1);
    }
    assert_int_equal(burst(fake, frames), 0);
    release(fake, frames, 0);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_rx_endless_chain_is_dropped_whole(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    for (uint32_t i = 0; i < 1000; i++) {
        kernel_receive(fake, 256, 1792, XDP_PKT_CONTD);
        assert_int_equal(burst(fake, frames), 0);
        release(fake, frames, 0);
    }
    assert_int_equal(fake->af_xdp.rx_oversize, 1);
    kernel_receive(fake, 256, 1, 0);
    kernel_receive(fake, 256, 64, 0);
    assert_int_equal(burst(fake, frames), 1);
    assert_int_equal(frames[0].size, 64);
    assert_int_equal(fake->af_xdp.link.counters.rx_dropped, 1);
    release(fake, frames, 1);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_rx_join_takes_64_kib_and_no_byte_more(void **state)
{
    (void)state;
    for (uint32_t extra = 0; extra < 2; extra++) {
        struct fake *fake = fake_new(0);
        struct tp_frame frames[TP_LINK_BURST_MAX];

        for (uint32_t i = 0; i < 31; i++)
            kernel_receive(fake, 0, SIZE, XDP_PKT_CONTD);
        kernel_receive(fake, 0, SIZE - 1, XDP_PKT_CONTD);
        kernel_receive(fake, 0, 1 + extra, 0);
        assert_int_equal(burst(fake, frames), 1 - extra);
        if (extra == 0)
            assert_int_equal(frames[0].size, TP_LINK_FRAME_SIZE_MAX);
        release(fake, frames, 1 - extra);
        assert_int_equal(fake->af_xdp.rx_oversize, extra);
        assert_all_home(fake);
        fake_free(fake);
    }
}

static void test_af_xdp_rx_chain_with_a_bad_part_is_dropped_whole(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    kernel_receive(fake, 256, 1792, XDP_PKT_CONTD);
    kernel_receive(fake, 256, 4000, XDP_PKT_CONTD);
    kernel_receive(fake, 256, 5000, XDP_PKT_CONTD);
    kernel_receive(fake, 256, 20, 0);
    assert_int_equal(burst(fake, frames), 0);
    release(fake, frames, 0);
    assert_int_equal(fake->af_xdp.rx_malformed, 1);
    assert_int_equal(fake->af_xdp.link.counters.rx_dropped, 1);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_indices_wrap_at_32_bits(void **state)
{
    (void)state;
    struct fake *fake = fake_new(UINT32_MAX - 100);
    struct tp_link *link = &fake->af_xdp.link;
    struct tp_frame frames[TP_LINK_BURST_MAX];

    for (uint32_t i = 0; i < 1000; i++) {
        kernel_receive(fake, 256, 20 + i, 0);
        assert_int_equal(burst(fake, frames), 1);
        assert_int_equal(frames[0].size, 20 + i);
        assert_non_null(tp_link_tx_claim(link));
        tp_link_tx_commit(link, 60);
        release(fake, frames, 1);
        assert_int_equal(tp_link_tx_kick(link), 0);
        assert_int_equal(kernel_send(fake), 1);
    }
    tp_link_tx_kick(link);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_tx_is_published_by_kick_and_full_until_completed(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_link *link = &fake->af_xdp.link;

    for (uint32_t i = 0; i < QUARTER; i++) {
        uint8_t *room = tp_link_tx_claim(link);
        assert_non_null(room);
        tp_link_tx_commit(link, 60 + i);
        assert_ptr_equal(fake->umem + fake->tx.entries.descriptors[i].addr, room);
        assert_int_equal(fake->tx.entries.descriptors[i].len, 60 + i);
    }
    assert_null(tp_link_tx_claim(link)); /* the TX ring is full */
    assert_int_equal(link->counters.tx_full, 1);
    assert_int_equal(fake->tx.producer, 0);
    tp_link_tx_kick(link);
    assert_int_equal(fake->tx.producer, QUARTER);
    assert_int_equal(kernel_send(fake), QUARTER);
    assert_non_null(tp_link_tx_claim(link));
    tp_link_tx_abort(link);
    tp_link_tx_kick(link);
    assert_all_home(fake);
    fake_free(fake);
}

static void test_af_xdp_tx_without_completions_runs_out_and_recovers(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_link *link = &fake->af_xdp.link;
    uint64_t kept[HALF];
    uint32_t sent = 0;

    /* The kernel takes the frames from the TX ring and completes none of them yet. */
    while (tp_link_tx_claim(link) != NULL) {
        tp_link_tx_commit(link, 60);
        tp_link_tx_kick(link);
        kept[sent++] = fake->tx.entries.descriptors[fake->tx.kernel++ % QUARTER].addr;
        fake->tx.consumer = fake->tx.kernel;
    }
    assert_int_equal(sent, HALF);
    for (uint32_t i = 0; i < QUARTER; i++)
        fake->completion.entries.addresses[fake->completion.kernel++ % QUARTER] = kept[i];
    fake->completion.producer = fake->completion.kernel;
    assert_non_null(tp_link_tx_claim(link));
    assert_int_equal(fake->completion.consumer, QUARTER);
    fake_free(fake);
}

static void test_af_xdp_kick_that_the_kernel_ignores_is_bounded_and_retried(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_link *link = &fake->af_xdp.link;
    struct tp_frame frames[TP_LINK_BURST_MAX];

    fake->tx.flags = XDP_RING_NEED_WAKEUP;
    tp_link_tx_kick(link);
    assert_int_equal(link->counters.tx_kicks, 0); /* nothing to send: no system call */
    assert_non_null(tp_link_tx_claim(link));
    tp_link_tx_commit(link, 60);
    assert_int_equal(tp_link_tx_kick(link), 0);
    const uint64_t calls = link->counters.tx_kicks;
    assert_in_range(calls, 1, 64);
    assert_true(fake->af_xdp.tx_deferred);
    assert_int_equal(burst(fake, frames), 0); /* an idle poll tries again */
    assert_true(link->counters.tx_kicks > calls);
    release(fake, frames, 0);
    kernel_send(fake);
    assert_int_equal(burst(fake, frames), 0);
    release(fake, frames, 0);
    assert_false(fake->af_xdp.tx_deferred);
    assert_int_equal(link->error, 0);
    fake_free(fake);
}

static void test_af_xdp_kick_on_a_dead_socket_ends_the_link(void **state)
{
    (void)state;
    struct fake *fake = fake_new(0);
    struct tp_link *link = &fake->af_xdp.link;

    fake->tx.flags = XDP_RING_NEED_WAKEUP;
    fake->af_xdp.socket = -1;
    assert_non_null(tp_link_tx_claim(link));
    tp_link_tx_commit(link, 60);
    assert_int_equal(tp_link_tx_kick(link), -EBADF);
    assert_int_equal(link->error, -EBADF);
    assert_int_equal(tp_link_tx_kick(link), -EBADF);
    fake_free(fake);
}

/* Whether body aborts, tried in a child. */
static bool aborts(void (*body)(struct fake *))
{
    int status = 0;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct fake *fake = fake_new(0);
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        body(fake);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void receive_outside_umem(struct fake *fake)
{
    struct tp_frame frames[TP_LINK_BURST_MAX];

    fake->rx.entries.descriptors[0] =
        (struct xdp_desc){.addr = (uint64_t)FRAME_COUNT * SIZE, .len = 60};
    fake->rx.producer = 1;
    (void)burst(fake, frames);
}

static void receive_frame_that_we_own(struct fake *fake)
{
    struct tp_frame frames[TP_LINK_BURST_MAX];

    fake->rx.entries.descriptors[0] = (struct xdp_desc){.addr = (uint64_t)HALF * SIZE, .len = 60};
    fake->rx.producer = 1;
    (void)burst(fake, frames);
}

static void complete_frame_that_was_not_sent(struct fake *fake)
{
    fake->completion.entries.addresses[0] = (uint64_t)HALF * SIZE;
    fake->completion.producer = 1;
    (void)tp_link_tx_kick(&fake->af_xdp.link);
}

static void claim_twice(struct fake *fake)
{
    (void)tp_link_tx_claim(&fake->af_xdp.link);
    (void)tp_link_tx_claim(&fake->af_xdp.link);
}

static void commit_too_much(struct fake *fake)
{
    (void)tp_link_tx_claim(&fake->af_xdp.link);
    tp_link_tx_commit(&fake->af_xdp.link, SIZE + 1);
}

static void write_after_commit(struct fake *fake)
{
    struct tp_link *link = &fake->af_xdp.link;
    uint8_t *room = tp_link_tx_claim(link);

    tp_link_tx_commit(link, 60);
    tp_link_tx_kick(link);
    (void)kernel_send(fake);
    tp_link_tx_kick(link);
    room[0]++;
    (void)tp_link_tx_claim(link);
}

static void test_af_xdp_misuse_and_kernel_bugs_abort(void **state)
{
    (void)state;
    assert_true(aborts(receive_outside_umem));
    assert_true(aborts(receive_frame_that_we_own));
    assert_true(aborts(complete_frame_that_was_not_sent));
    assert_true(aborts(claim_twice));
    assert_true(aborts(commit_too_much));
}

static void test_af_xdp_write_into_a_free_frame_kills_the_canary(void **state)
{
    (void)state;
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
    skip(); /* the canary is checked in debug and sanitizer builds only */
#endif
    assert_true(aborts(write_after_commit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_af_xdp_rx_offset_within_chunk_is_kept_and_recycled_to_chunk),
        cmocka_unit_test(test_af_xdp_rx_stamp_is_the_frames_own_and_read_once),
        cmocka_unit_test(test_af_xdp_rx_bad_descriptors_are_dropped_and_counted),
        cmocka_unit_test(test_af_xdp_rx_parts_are_joined_across_bursts),
        cmocka_unit_test(test_af_xdp_rx_second_joined_frame_waits_for_the_next_burst),
        cmocka_unit_test(test_af_xdp_rx_endless_chain_is_dropped_whole),
        cmocka_unit_test(test_af_xdp_rx_join_takes_64_kib_and_no_byte_more),
        cmocka_unit_test(test_af_xdp_rx_chain_with_a_bad_part_is_dropped_whole),
        cmocka_unit_test(test_af_xdp_indices_wrap_at_32_bits),
        cmocka_unit_test(test_af_xdp_tx_is_published_by_kick_and_full_until_completed),
        cmocka_unit_test(test_af_xdp_tx_without_completions_runs_out_and_recovers),
        cmocka_unit_test(test_af_xdp_kick_that_the_kernel_ignores_is_bounded_and_retried),
        cmocka_unit_test(test_af_xdp_kick_on_a_dead_socket_ends_the_link),
        cmocka_unit_test(test_af_xdp_misuse_and_kernel_bugs_abort),
        cmocka_unit_test(test_af_xdp_write_into_a_free_frame_kills_the_canary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
