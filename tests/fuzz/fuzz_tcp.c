/* sources: netstack/tcp/congestion.c netstack/tcp/connection.c netstack/tcp/icmp.c netstack/tcp/isn.c netstack/tcp/reassembly.c netstack/tcp/rtt.c netstack/tcp/sack.c netstack/tcp/tcp_in.c netstack/tcp/tcp_out.c netstack/tcp/timers.c netstack/tcp/window.c netstack/wire/tcp_header.c netstack/wire/checksum.c ; libs: -lcrypto */
/* One connection, driven by the input: segments near its window and raw ones, time, the
 * application, ICMP. Payload bytes are a function of their sequence number, so whatever is
 * delivered can be checked, whatever overlapped. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tcp/state.h"
#include "netstack/wire/checksum.h"

enum {
    STEP_COUNT_MAX = 400,
    BUFFER_SIZE = 8192,
    FRAME_SIZE_MAX = 2048,
    SMALL_CAPACITY = 200,
    ADDRESS = 0x0a000001,
    PEER_ADDRESS = 0x0a000002,
    /* What one input may cause: the whole send buffer in the smallest segments, and a few more. */
    OUTPUT_COUNT_MAX = BUFFER_SIZE / (SMALL_CAPACITY - TP_TCP_HEADER_SIZE_MAX) + 12,
};

struct input {
    const uint8_t *data;
    size_t size;
};

struct run {
    struct input input;
    struct tp_tcp *tcp;
    uint64_t now_ns;
    uint32_t una_before, edge_before;
    bool edge_known;
    uint8_t frame[FRAME_SIZE_MAX];
};

static void require(int condition)
{
    if (!condition)
        abort();
}

static uint8_t take_byte(struct run *run)
{
    if (run->input.size == 0)
        return 0;
    run->input.size--;
    return *run->input.data++;
}

static uint32_t take_u16(struct run *run)
{
    uint32_t high = take_byte(run);
    return high << 8 | take_byte(run);
}

/* Mostly near zero, sometimes anywhere. */
static uint32_t take_offset(struct run *run)
{
    uint8_t kind = take_byte(run);
    if (kind < 0x60)
        return kind % 4;
    if (kind < 0xc0)
        return (uint32_t)(int32_t)(int16_t)take_u16(run);
    if (kind < 0xf0)
        return (uint32_t)(int32_t)(int8_t)take_byte(run) * 100;
    return take_u16(run) << 16 | take_u16(run);
}

static uint8_t byte_at(uint32_t sequence)
{
    return (uint8_t)(sequence * 13 + (sequence >> 8));
}

static void fill(uint8_t *bytes, uint32_t sequence, size_t size)
{
    for (size_t index = 0; index < size; index++)
        bytes[index] = byte_at(sequence + (uint32_t)index);
}

static void check_state(struct run *run)
{
    const struct tp_tcp *tcp = run->tcp;
    const struct tp_tcp_reassembly *reassembly = &tcp->reassembly;
    require(!tp_sequence_before(tcp->snd_una, run->una_before));
    run->una_before = tcp->snd_una;
    require(!tp_sequence_before(tcp->snd_nxt, tcp->snd_una));
    require(!tp_sequence_after(tcp->snd_nxt, tcp->snd_max));
    require(tcp->snd_mss >= TP_TCP_MSS_MIN - TP_TCP_TIMESTAMPS_SIZE);
    if (tcp->state < TP_TCP_SYN_RECEIVED)
        return;
    if (run->edge_known && !tcp->peer_finished)
        require(!tp_sequence_before(tcp->rcv_edge, run->edge_before));
    run->edge_before = tcp->rcv_edge;
    run->edge_known = true;
    require(tcp->state < TP_TCP_ESTABLISHED || tcp->cwnd >= tcp->snd_mss / 2);
    require(tcp->peer_finished || tp_tcp_rcv_wnd(tcp) <= BUFFER_SIZE);
    require(reassembly->count <= TP_TCP_RANGE_COUNT_MAX);
    uint32_t at = tcp->rcv_nxt;
    for (uint32_t index = 0; index < reassembly->count; index++) {
        require(tp_sequence_after(reassembly->range[index].left, at));
        require(tp_sequence_after(reassembly->range[index].right, reassembly->range[index].left));
        at = reassembly->range[index].right;
        require(!tp_sequence_after(at, tcp->rcv_edge));
    }
}

static void check_segment(struct run *run, const uint8_t *bytes, uint32_t size)
{
    struct tp_tcp_segment segment;
    uint64_t sum = tp_checksum_pseudo_header(ADDRESS, PEER_ADDRESS, 6, size);
    require(tp_checksum_is_valid(tp_checksum_partial(bytes, size, sum)));
    require(tp_tcp_segment_parse((struct tp_span){bytes, size}, &segment));
    require(segment.source_port == 1 && segment.destination_port == 2);
    if (segment.flags & (TP_TCP_RST | TP_TCP_SYN)) {
        require(segment.payload.size == 0);
        return;
    }
    require(segment.flags & TP_TCP_ACK);
    require(!tp_sequence_before(segment.sequence, run->tcp->snd_una - 1));
    require(
        !tp_sequence_after(segment.sequence + (uint32_t)segment.payload.size, run->tcp->snd_max));
    for (size_t index = 0; index < segment.payload.size; index++)
        require(segment.payload.data[index] == byte_at(segment.sequence + (uint32_t)index));
}

static void drain(struct run *run, uint32_t capacity)
{
    uint8_t bytes[FRAME_SIZE_MAX];
    for (uint32_t count = 0;; count++) {
        uint32_t size = tp_tcp_output(run->tcp, run->now_ns, bytes, capacity);
        check_state(run);
        if (size == 0)
            break;
        require(count < OUTPUT_COUNT_MAX);
        require(size <= capacity);
        check_segment(run, bytes, size);
    }
    require(tp_tcp_deadline(run->tcp) > run->now_ns);
}

static void give(struct run *run, uint32_t size)
{
    struct tp_tcp_segment segment;
    struct tp_tcp_delivery delivery;
    struct tp_tcp *tcp = run->tcp;
    if (!tp_tcp_segment_parse((struct tp_span){run->frame, size}, &segment))
        return;
    require(segment.payload.data >= run->frame);
    require(segment.payload.data + segment.payload.size <= run->frame + size);
    uint32_t first = segment.sequence + (segment.flags & TP_TCP_SYN ? 1 : 0);
    fill(run->frame + (segment.payload.data - run->frame), first, segment.payload.size);
    bool placed = tcp->state >= TP_TCP_SYN_RECEIVED;
    bool finished = tcp->peer_finished;
    uint32_t nxt = placed ? tcp->rcv_nxt : first;
    uint64_t bytes_in = tp_tcp_counters(tcp)->bytes_in;
    enum tp_status status = tp_tcp_input(tcp, &segment, run->now_ns, &delivery);
    require(delivery.count <= 3);
    require(status != TP_OK || delivery.count > 0);
    require((status == TP_ERROR) == (tp_tcp_error(tcp) != TP_TCP_ERROR_NONE));
    uint32_t at = nxt;
    for (uint32_t index = 0; index < delivery.count; index++) {
        for (size_t offset = 0; offset < delivery.span[index].size; offset++, at++)
            require(delivery.span[index].data[offset] == byte_at(at));
    }
    require(tp_tcp_counters(tcp)->bytes_in - bytes_in == at - nxt);
    if (placed)
        require(tcp->rcv_nxt == at + (tcp->peer_finished && !finished ? 1 : 0));
    check_state(run);
}

static void give_near(struct run *run)
{
    static const uint8_t usual[8] = {TP_TCP_ACK,
                                     TP_TCP_ACK | TP_TCP_PSH,
                                     TP_TCP_ACK,
                                     TP_TCP_ACK | TP_TCP_FIN,
                                     TP_TCP_RST,
                                     TP_TCP_SYN | TP_TCP_ACK,
                                     TP_TCP_RST | TP_TCP_ACK,
                                     TP_TCP_SYN};
    const struct tp_tcp *tcp = run->tcp;
    uint8_t shape = take_byte(run);
    uint8_t flags = shape & 0x80 ? take_byte(run) : usual[shape & 7];
    struct tp_tcp_segment segment = {
        .source_port = 2,
        .destination_port = 1,
        .sequence = tcp->rcv_nxt + take_offset(run),
        .acknowledgment = (shape & 8 ? tcp->snd_max : tcp->snd_una) + take_offset(run),
        .window = (uint16_t)(shape & 16 ? take_u16(run) : 8000),
        .flags = flags,
        .has_timestamps = tcp->timestamps != (take_byte(run) == 0xff),
        .timestamp_value = tcp->ts_recent + (shape & 32 ? take_offset(run) : 0),
        .timestamp_echo = tp_tcp_timestamp_now(tcp, run->now_ns),
    };
    if (flags & TP_TCP_SYN) {
        segment.has_mss = shape & 64;
        segment.mss = (uint16_t)take_u16(run);
        segment.sack_permitted = shape & 32;
        segment.has_window_scale = shape & 16;
        segment.window_scale = take_byte(run) % 20;
        segment.has_timestamps = shape & 8;
    } else if (shape & 64) {
        segment.sack_count = take_byte(run) % 3;
        for (uint8_t index = 0; index < segment.sack_count; index++) {
            segment.sack[index].left = tcp->snd_una + take_offset(run);
            segment.sack[index].right = segment.sack[index].left + take_offset(run);
        }
    }
    uint32_t size = tp_tcp_segment_write_header(&segment, run->frame);
    uint8_t length = take_byte(run);
    uint32_t payload = length < 0x40 ? 0 : length < 0xc0 ? length : take_u16(run) % 1461;
    give(run, size + payload);
}

static void give_raw(struct run *run)
{
    size_t size = take_byte(run);
    size = size < run->input.size ? size : run->input.size;
    if (size == 0)
        return;
    memcpy(run->frame, run->input.data, size);
    run->input.data += size;
    run->input.size -= size;
    give(run, (uint32_t)size);
}

static void application_send(struct run *run)
{
    uint8_t bytes[4096];
    uint32_t size = take_u16(run) % sizeof bytes;
    fill(bytes, run->tcp->snd_end, size);
    size_t space = tp_tcp_send_space(run->tcp);
    size_t taken = tp_tcp_send(run->tcp, (struct tp_span){bytes, size});
    require(taken == (size < space ? size : space));
}

static void step(struct run *run)
{
    uint8_t kind = take_byte(run);
    switch (kind & 15) {
    case 0:
        give_raw(run);
        break;
    case 1:
        run->now_ns += take_u16(run) * TP_TCP_MS;
        break;
    case 2:
        if (tp_tcp_deadline(run->tcp) != TP_TCP_NEVER && tp_tcp_deadline(run->tcp) > run->now_ns)
            run->now_ns = tp_tcp_deadline(run->tcp);
        break;
    case 3:
    case 4:
        application_send(run);
        break;
    case 5:
        tp_tcp_receive_space(run->tcp, take_u16(run));
        break;
    case 6:
        if (kind & 0x10)
            tp_tcp_close(run->tcp);
        else if (kind & 0x20)
            tp_tcp_icmp_input(run->tcp, run->tcp->snd_una + take_offset(run), take_byte(run) % 6,
                              take_byte(run) % 16, (uint16_t)take_u16(run));
        else if (kind == 0xc6)
            tp_tcp_abort(run->tcp);
        break;
    default:
        give_near(run);
        break;
    }
    if (!(kind & 0x80)) /* else several inputs meet one drain, as in a burst */
        drain(run, kind & 0x40 ? SMALL_CAPACITY : FRAME_SIZE_MAX);
}

static void handshake(struct run *run)
{
    uint8_t shape = take_byte(run);
    struct tp_tcp_segment segment = {
        .source_port = 2,
        .destination_port = 1,
        .sequence = shape & 1 ? 0xfffffff0u : 1000,
        .acknowledgment = run->tcp->iss + 1,
        .window = 8000,
        .flags = (uint8_t)(shape & 2 ? TP_TCP_SYN : TP_TCP_SYN | TP_TCP_ACK),
        .has_mss = true,
        .mss = (uint16_t)(shape & 4 ? 1460 : 300),
        .sack_permitted = shape & 8,
        .has_timestamps = shape & 16,
        .timestamp_value = shape & 1 ? 0xffffff00u : 5,
        .has_window_scale = shape & 32,
        .window_scale = 2,
    };
    if (shape & 64)
        return; /* the steps find the connection in SYN-SENT */
    give(run, tp_tcp_segment_write_header(&segment, run->frame));
    drain(run, FRAME_SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.input = {data, size}, .now_ns = TP_TCP_SECOND};
    struct tp_tcp_config config;
    tp_tcp_config_init(&config);
    config.local_address = ADDRESS;
    config.remote_address = PEER_ADDRESS;
    config.local_port = 1;
    config.remote_port = 2;
    config.receive_buffer_size = config.send_buffer_size = BUFFER_SIZE;
    config.mss = take_byte(&run) & 1 ? 1460 : 400;
    size_t memory_size = tp_tcp_memory_size(&config);
    void *memory = aligned_alloc(64, (memory_size + 63) / 64 * 64);
    require(memory_size > 0 && memory != NULL);
    run.tcp = tp_tcp_init(memory, &config);
    tp_tcp_connect(run.tcp, run.now_ns);
    run.una_before = run.tcp->snd_una;
    drain(&run, FRAME_SIZE_MAX);
    handshake(&run);
    for (uint32_t count = 0; count < STEP_COUNT_MAX && run.input.size > 0; count++)
        step(&run);
    drain(&run, FRAME_SIZE_MAX);
    free(memory);
    return 0;
}
