/* Our client against itself by simultaneous open, in virtual time, over a network that loses,
 * reorders and duplicates from one seed: both streams arrive whole, both ends finish, and the
 * number of steps is bounded (no stall, no livelock).
 *
 *   test_two_ends [FIRST_SEED [COUNT]]     the failing seed is printed */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tcp/connection.h"
#include "netstack/wire/checksum.h"

enum {
    SEED_COUNT = 1500,
    PACKET_COUNT_MAX = 4096,
    SEGMENT_SIZE_MAX = 1600,
    STREAM_SIZE_MAX = 200000,
    STEP_COUNT_MAX = 400000,
    ADDRESS_A = 0x0a000001,
    ADDRESS_B = 0x0a000002,
};
#define MS 1000000ull
#define VIRTUAL_TIME_MAX_NS (6 * 3600 * 1000 * MS)

struct packet {
    uint64_t at_ns;
    uint32_t order; /* packets of one instant keep their order */
    uint32_t size;
    bool used;
    uint8_t to;
    uint8_t bytes[SEGMENT_SIZE_MAX];
};

struct end {
    struct tp_tcp *tcp;
    void *memory;
    uint32_t address, peer_address;
    uint32_t to_send, sent, to_receive, received;
    bool peer_closed, closed;
    uint64_t slow_until_ns; /* a reader that took a pause */
};

struct world {
    uint64_t random, now_ns;
    uint32_t seed, order;
    uint32_t loss, reorder, duplicate; /* per 1000 */
    uint64_t delay_ns;
    bool slow_readers, clean;
    struct end end[2];
    struct packet *packet;
};

static uint32_t draw(struct world *world, uint32_t bound)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (uint32_t)(world->random >> 33) % bound;
}

static uint8_t stream_byte(uint32_t address, uint32_t position)
{
    return (uint8_t)(position * 31 + (position >> 8) * 7 + address);
}

static void packet_put(struct world *world, uint8_t to, const uint8_t *bytes, uint32_t size)
{
    uint64_t at_ns = world->now_ns + world->delay_ns;
    if (draw(world, 1000) < world->reorder) {
        at_ns += draw(world, 20) * MS / 2;
    }
    for (uint32_t index = 0; index < PACKET_COUNT_MAX; index++) {
        struct packet *packet = &world->packet[index];
        if (!packet->used) {
            packet->used = true;
            packet->at_ns = at_ns;
            packet->order = world->order++;
            packet->to = to;
            packet->size = size;
            memcpy(packet->bytes, bytes, size);
            return;
        }
    }
    fail_msg("seed %u: more than %d packets in flight", world->seed, PACKET_COUNT_MAX);
}

static bool checksum_is_valid(const struct end *end, const uint8_t *bytes, uint32_t size)
{
    uint64_t sum = tp_checksum_pseudo_header(end->address, end->peer_address, 6, size);
    return tp_checksum_is_valid(tp_checksum_partial(bytes, size, sum));
}

static void end_output(struct world *world, uint8_t which)
{
    struct end *end = &world->end[which];
    uint8_t bytes[SEGMENT_SIZE_MAX];
    for (uint32_t turn = 0; turn < PACKET_COUNT_MAX; turn++) {
        uint32_t size = tp_tcp_output(end->tcp, world->now_ns, bytes, sizeof bytes);
        if (size == 0) {
            assert_true(tp_tcp_deadline(end->tcp) > world->now_ns);
            return;
        }
        assert_true(checksum_is_valid(end, bytes, size));
        if (draw(world, 1000) >= world->loss) {
            packet_put(world, which ^ 1, bytes, size);
        }
        if (draw(world, 1000) < world->duplicate) {
            packet_put(world, which ^ 1, bytes, size);
        }
    }
    fail_msg("seed %u: output never ends", world->seed);
}

static void end_application(struct world *world, uint8_t which)
{
    struct end *end = &world->end[which];
    uint8_t bytes[4000];
    while (end->sent < end->to_send && tp_tcp_send_space(end->tcp) > 0) {
        uint32_t size = 1 + draw(world, sizeof bytes);
        size = size < end->to_send - end->sent ? size : end->to_send - end->sent;
        for (uint32_t index = 0; index < size; index++) {
            bytes[index] = stream_byte(end->address, end->sent + index);
        }
        end->sent += (uint32_t)tp_tcp_send(end->tcp, (struct tp_span){bytes, size});
    }
    bool may_close =
        tp_tcp_state(end->tcp) == TP_TCP_ESTABLISHED || tp_tcp_state(end->tcp) == TP_TCP_CLOSE_WAIT;
    if (!end->closed && may_close && end->sent == end->to_send) {
        end->closed = true;
        tp_tcp_close(end->tcp);
    }
    if (world->slow_readers && world->now_ns >= end->slow_until_ns) {
        bool pause = draw(world, 4) == 0;
        tp_tcp_receive_space(end->tcp, pause ? draw(world, 2) * 3000 : 1 << 20);
        end->slow_until_ns = world->now_ns + (1 + draw(world, 400)) * MS;
    }
}

static void end_input(struct world *world, uint8_t which, const struct packet *packet)
{
    struct end *end = &world->end[which];
    struct tp_tcp_segment segment;
    struct tp_tcp_delivery delivery;
    assert_true(tp_tcp_segment_parse((struct tp_span){packet->bytes, packet->size}, &segment));
    enum tp_status status = tp_tcp_input(end->tcp, &segment, world->now_ns, &delivery);
    for (uint32_t index = 0; index < delivery.count; index++) {
        struct tp_span span = delivery.span[index];
        for (size_t at = 0; at < span.size; at++) {
            if (span.data[at] != stream_byte(end->peer_address, end->received++)) {
                fail_msg("seed %u: wrong byte at %u", world->seed, end->received - 1);
            }
        }
    }
    end->peer_closed |= status == TP_CLOSED;
}

static uint64_t next_event_ns(const struct world *world, struct packet **out_packet)
{
    uint64_t next_ns = UINT64_MAX;
    *out_packet = NULL;
    for (uint32_t index = 0; index < PACKET_COUNT_MAX; index++) {
        struct packet *packet = &world->packet[index];
        if (packet->used && (packet->at_ns < next_ns ||
                             (packet->at_ns == next_ns && packet->order < (*out_packet)->order))) {
            next_ns = packet->at_ns;
            *out_packet = packet;
        }
    }
    for (uint8_t which = 0; which < 2; which++) {
        uint64_t at_ns = tp_tcp_deadline(world->end[which].tcp);
        bool waits = world->slow_readers && tp_tcp_state(world->end[which].tcp) != TP_TCP_CLOSED;
        if (waits && world->end[which].slow_until_ns < at_ns) {
            at_ns = world->end[which].slow_until_ns;
        }
        if (at_ns < next_ns) {
            next_ns = at_ns;
            *out_packet = NULL;
        }
    }
    return next_ns;
}

static bool is_over(const struct world *world)
{
    return tp_tcp_state(world->end[0].tcp) == TP_TCP_CLOSED &&
           tp_tcp_state(world->end[1].tcp) == TP_TCP_CLOSED;
}

static void end_init(struct world *world, uint8_t which)
{
    struct end *end = &world->end[which];
    struct tp_tcp_config config;
    tp_tcp_config_init(&config);
    *end = (struct end){.address = which ? ADDRESS_B : ADDRESS_A,
                        .peer_address = which ? ADDRESS_A : ADDRESS_B,
                        .to_send =
                            draw(world, 4) == 0 ? draw(world, 3) : draw(world, STREAM_SIZE_MAX)};
    config.local_address = end->address;
    config.remote_address = end->peer_address;
    config.local_port = config.remote_port = 40000;
    config.mss = (uint16_t)(536 + draw(world, 925));
    config.receive_buffer_size = 4096u << draw(world, 8);
    config.send_buffer_size = 4096u << draw(world, 6);
    config.connect_timeout_ns = config.user_timeout_ns = 3600 * 1000 * MS;
    config.keepalive_ns = draw(world, 2) * 5000 * MS;
    for (uint32_t index = 0; index < sizeof config.isn_secret; index++) {
        config.isn_secret[index] = (uint8_t)draw(world, 256);
    }
    size_t size = tp_tcp_memory_size(&config);
    assert_true(size > 0);
    end->memory = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(end->memory);
    end->tcp = tp_tcp_init(end->memory, &config);
    tp_tcp_connect(end->tcp, world->now_ns);
}

static void world_init(struct world *world, uint32_t seed)
{
    struct packet *packet = world->packet;
    *world = (struct world){.seed = seed, .now_ns = 1000 * MS, .packet = packet};
    world->random = (seed + 1) * 0x9e3779b97f4a7c15ull;
    for (uint32_t index = 0; index < PACKET_COUNT_MAX; index++) {
        packet[index].used = false;
    }
    uint32_t badness = draw(world, 4); /* a quarter of the seeds runs over a clean network */
    world->loss = badness * draw(world, 40);
    world->reorder = badness * draw(world, 100);
    world->duplicate = badness * draw(world, 20);
    world->delay_ns = (1 + draw(world, 40)) * MS;
    world->slow_readers = draw(world, 3) == 0;
    world->clean = badness == 0 && !world->slow_readers;
    end_init(world, 0);
    end_init(world, 1);
    world->end[0].to_receive = world->end[1].to_send;
    world->end[1].to_receive = world->end[0].to_send;
}

static void world_step(struct world *world)
{
    struct packet *packet;
    uint64_t next_ns = next_event_ns(world, &packet);
    if (next_ns == UINT64_MAX || next_ns > VIRTUAL_TIME_MAX_NS) {
        fail_msg("seed %u: stalled in %s and %s", world->seed,
                 tp_tcp_state_name(tp_tcp_state(world->end[0].tcp)),
                 tp_tcp_state_name(tp_tcp_state(world->end[1].tcp)));
    }
    world->now_ns = next_ns > world->now_ns ? next_ns : world->now_ns;
    if (packet != NULL) {
        end_input(world, packet->to, packet);
        packet->used = false;
    }
    for (uint8_t which = 0; which < 2; which++) {
        end_application(world, which);
        end_output(world, which);
    }
}

static void run_seed(struct world *world, uint32_t seed)
{
    world_init(world, seed);
    for (uint32_t step = 0; !is_over(world); step++) {
        if (step == STEP_COUNT_MAX) {
            fail_msg("seed %u: not over after %d steps", seed, STEP_COUNT_MAX);
        }
        world_step(world);
    }
    for (uint8_t which = 0; which < 2; which++) {
        struct end *end = &world->end[which];
        if (tp_tcp_error(end->tcp) != TP_TCP_ERROR_NONE || end->received != end->to_receive ||
            !end->peer_closed) {
            fail_msg("seed %u: end %u: %s, %u of %u bytes", seed, which,
                     tp_tcp_error_name(tp_tcp_error(end->tcp)), end->received, end->to_receive);
        }
        const struct tp_tcp_counters *counters = tp_tcp_counters(end->tcp);
        if (world->clean && counters->timeouts + counters->fast_retransmits > 0) {
            fail_msg("seed %u: end %u repairs what was not broken", seed, which);
        }
        free(end->memory);
    }
}

static void test_two_ends_over_seeded_faults_both_streams_arrive(void **state)
{
    const uint32_t *seeds = *state;
    struct world world;
    world.packet = calloc(PACKET_COUNT_MAX, sizeof *world.packet);
    assert_non_null(world.packet);
    print_message("seeds %u to %u\n", seeds[0], seeds[0] + seeds[1] - 1);
    for (uint32_t index = 0; index < seeds[1]; index++) {
        run_seed(&world, seeds[0] + index);
    }
    free(world.packet);
}

int main(int argc, char **argv)
{
    uint32_t seeds[2] = {1, SEED_COUNT};
    for (int index = 1; index < argc && index <= 2; index++) {
        seeds[index - 1] = (uint32_t)strtoul(argv[index], NULL, 10);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_two_ends_over_seeded_faults_both_streams_arrive, seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
