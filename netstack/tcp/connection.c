/* The life of a connection: memory, connect, close, abort, what the parent may ask.
 * Called by the parent (netstack/stream, session), one thread per connection.
 * Source: RFC 9293 3.3 (states), 3.10 (user calls). */
#include "netstack/tcp/connection.h"

#include <assert.h>
#include <string.h>

#include "netstack/tcp/state.h"

enum {
    ALIGNMENT = 64,
    BUFFER_SIZE_MIN = 4096,
    BUFFER_SIZE_MAX = 1 << 30, /* RFC 7323 2.3: the largest window */
};
#define DURATION_MAX_NS (3600 * TP_TCP_SECOND)

void tp_tcp_config_init(struct tp_tcp_config *config)
{
    *config = (struct tp_tcp_config){
        .mss = 1460,
        .receive_buffer_size = 4u << 20,
        .send_buffer_size = 1u << 20,
        .rto_min_ns = 200 * TP_TCP_MS,
        .rto_max_ns = 60 * TP_TCP_SECOND,
        .connect_timeout_ns = 10 * TP_TCP_SECOND,
        .user_timeout_ns = 30 * TP_TCP_SECOND,
        .keepalive_ns = 15 * TP_TCP_SECOND,
        .delayed_ack_ns = 40 * TP_TCP_MS,
    };
}

static bool is_buffer_size(uint32_t size)
{
    return size >= BUFFER_SIZE_MIN && size <= BUFFER_SIZE_MAX && (size & (size - 1)) == 0;
}

static bool is_duration(uint64_t duration_ns)
{
    return duration_ns > 0 && duration_ns <= DURATION_MAX_NS;
}

static bool config_is_valid(const struct tp_tcp_config *config)
{
    return config->mss >= TP_TCP_MSS_MIN && is_buffer_size(config->receive_buffer_size) &&
           is_buffer_size(config->send_buffer_size) && is_duration(config->rto_min_ns) &&
           is_duration(config->rto_max_ns) && config->rto_min_ns <= config->rto_max_ns &&
           is_duration(config->connect_timeout_ns) && is_duration(config->user_timeout_ns) &&
           (config->keepalive_ns == 0 || is_duration(config->keepalive_ns)) &&
           config->delayed_ack_ns < 500 * TP_TCP_MS; /* RFC 9293 3.8.6.3 */
}

static size_t block_size(void)
{
    return (sizeof(struct tp_tcp) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t tp_tcp_memory_size(const struct tp_tcp_config *config)
{
    if (!config_is_valid(config)) {
        return 0;
    }
    return block_size() + config->receive_buffer_size + config->send_buffer_size;
}

/* RFC 7323 2.3: the smallest shift with which the whole buffer can be offered. */
static uint8_t window_scale_for(uint32_t buffer_size)
{
    uint8_t shift = 0;
    while (shift < TP_TCP_WINDOW_SCALE_MAX && (uint64_t)UINT16_MAX << shift < buffer_size) {
        shift++;
    }
    return shift;
}

struct tp_tcp *tp_tcp_init(void *memory, const struct tp_tcp_config *config)
{
    assert((uintptr_t)memory % ALIGNMENT == 0);
    assert(config_is_valid(config));
    struct tp_tcp *tcp = memory;
    uint8_t *rings = (uint8_t *)memory + block_size();
    memset(tcp, 0, sizeof *tcp);
    tcp->config = *config;
    tp_tcp_reassembly_init(&tcp->reassembly, rings, config->receive_buffer_size);
    tcp->send_ring = rings + config->receive_buffer_size;
    tcp->send_mask = config->send_buffer_size - 1;
    tcp->receive_space = config->receive_buffer_size;
    tcp->rcv_scale = window_scale_for(config->receive_buffer_size);
    tcp->delayed_ack_ns = TP_TCP_NEVER;
    tcp->retransmit_timer_ns = TP_TCP_NEVER;
    tcp->life_timer_ns = TP_TCP_NEVER;
    tp_tcp_isn_init(tcp);
    tp_tcp_rtt_init(tcp);
    return tcp;
}

void tp_tcp_connect(struct tp_tcp *tcp, uint64_t now_ns)
{
    assert(tcp->state == TP_TCP_CLOSED && tcp->error == TP_TCP_ERROR_NONE);
    tcp->iss = tp_tcp_isn(tcp, now_ns);
    tcp->snd_una = tcp->snd_nxt = tcp->snd_max = tcp->iss;
    tcp->snd_end = tcp->iss + 1;
    tcp->snd_mss = TP_TCP_MSS_DEFAULT;
    tcp->rcv_mss = TP_TCP_MSS_DEFAULT;
    tcp->quick_acks = TP_TCP_QUICK_ACK_COUNT;
    tcp->life_timer_ns = now_ns + tcp->config.connect_timeout_ns;
    tcp->last_input_ns = now_ns;
    tcp->state = TP_TCP_SYN_SENT;
    tcp->pending = TP_TCP_PENDING_SYN;
}

void tp_tcp_established(struct tp_tcp *tcp, uint64_t now_ns)
{
    tcp->state = tcp->closing ? TP_TCP_FIN_WAIT_1 : TP_TCP_ESTABLISHED;
    tcp->life_timer_ns = TP_TCP_NEVER;
    tcp->retransmit_timer = TP_TCP_TIMER_NONE;
    tcp->retransmit_timer_ns = TP_TCP_NEVER;
    tcp->unacknowledged_since_ns = now_ns;
    tcp->last_send_ns = now_ns;
    tcp->backoff = 0;
    if (!tcp->rtt_known && tcp->syn_retransmitted) { /* RFC 6298 5.7 */
        tcp->rto_ns = TP_TCP_RTO_AFTER_SYN_LOSS_NS;
    }
    tp_tcp_congestion_init(tcp);
}

void tp_tcp_end(struct tp_tcp *tcp, enum tp_tcp_error error)
{
    tcp->state = TP_TCP_CLOSED;
    tcp->error = error;
    tcp->pending = 0;
    tcp->duplicate_acks_due = 0;
    tcp->dsack_count = 0;
    tcp->delayed_ack_ns = TP_TCP_NEVER;
    tcp->retransmit_timer = TP_TCP_TIMER_NONE;
    tcp->retransmit_timer_ns = TP_TCP_NEVER;
    tcp->life_timer_ns = TP_TCP_NEVER;
}

void tp_tcp_time_wait_start(struct tp_tcp *tcp, uint64_t now_ns)
{
    tcp->state = TP_TCP_TIME_WAIT;
    tcp->life_timer_ns = now_ns + TP_TCP_TIME_WAIT_NS;
}

/* Bytes of the send ring in use: from the first unacknowledged one to the end of the queue. */
static uint32_t send_used(const struct tp_tcp *tcp)
{
    uint32_t first = tp_sequence_max(tcp->snd_una, tcp->iss + 1);
    return tp_sequence_before(first, tcp->snd_end) ? tcp->snd_end - first : 0;
}

size_t tp_tcp_send_space(const struct tp_tcp *tcp)
{
    bool open = tcp->state == TP_TCP_SYN_SENT || tcp->state == TP_TCP_SYN_RECEIVED ||
                tcp->state == TP_TCP_ESTABLISHED || tcp->state == TP_TCP_CLOSE_WAIT;
    return open && !tcp->closing ? tcp->config.send_buffer_size - send_used(tcp) : 0;
}

static void push_remember(struct tp_tcp *tcp, uint32_t end)
{
    uint32_t kept = 0;
    for (uint32_t index = 0; index < tcp->push_count; index++) {
        if (tp_sequence_after(tcp->push[index], tcp->snd_una)) {
            tcp->push[kept++] = tcp->push[index];
        }
    }
    if (kept == TP_TCP_PUSH_COUNT_MAX) {
        kept--; /* the last two writes share one PSH: the later one, so that nothing lingers */
    }
    tcp->push[kept++] = end;
    tcp->push_count = kept;
}

size_t tp_tcp_send(struct tp_tcp *tcp, struct tp_span data)
{
    size_t space = tp_tcp_send_space(tcp);
    uint32_t size = (uint32_t)(data.size < space ? data.size : space);
    if (size == 0) {
        return 0;
    }
    uint32_t offset = tcp->snd_end & tcp->send_mask;
    uint32_t until_wrap = tcp->config.send_buffer_size - offset;
    uint32_t head = size < until_wrap ? size : until_wrap;
    memcpy(tcp->send_ring + offset, data.data, head);
    memcpy(tcp->send_ring, data.data + head, size - head);
    tcp->snd_end += size;
    push_remember(tcp, tcp->snd_end);
    return size;
}

void tp_tcp_close(struct tp_tcp *tcp) /* RFC 9293 3.10.4 */
{
    switch (tcp->state) {
    case TP_TCP_SYN_SENT:
        tp_tcp_end(tcp, TP_TCP_ERROR_NONE);
        return;
    case TP_TCP_SYN_RECEIVED:
        tcp->closing = true;
        return;
    case TP_TCP_ESTABLISHED:
        tcp->closing = true;
        tcp->state = TP_TCP_FIN_WAIT_1;
        return;
    case TP_TCP_CLOSE_WAIT:
        tcp->closing = true;
        tcp->state = TP_TCP_LAST_ACK;
        return;
    case TP_TCP_CLOSED:
    case TP_TCP_FIN_WAIT_1:
    case TP_TCP_FIN_WAIT_2:
    case TP_TCP_CLOSING:
    case TP_TCP_LAST_ACK:
    case TP_TCP_TIME_WAIT:
        return;
    }
}

void tp_tcp_abort(struct tp_tcp *tcp) /* RFC 9293 3.10.5 */
{
    enum tp_tcp_state state = tcp->state;
    if (state == TP_TCP_CLOSED) {
        return;
    }
    uint32_t sequence = tp_tcp_acceptable_sequence(tcp);
    tp_tcp_end(tcp, TP_TCP_ERROR_ABORTED);
    if (state == TP_TCP_SYN_SENT || state == TP_TCP_CLOSING || state == TP_TCP_LAST_ACK ||
        state == TP_TCP_TIME_WAIT) {
        return; /* the peer has nothing to lose, or does not know of us */
    }
    tcp->reset_sequence = sequence;
    tcp->reset_acknowledgment = tcp->rcv_nxt;
    tcp->reset_flags = TP_TCP_RST | TP_TCP_ACK;
    tcp->pending = TP_TCP_PENDING_RESET;
}

void tp_tcp_touch(const struct tp_tcp *tcp)
{
    for (size_t at = 0; at < sizeof *tcp; at += 64)
        __builtin_prefetch((const uint8_t *)tcp + at);
}

enum tp_tcp_state tp_tcp_state(const struct tp_tcp *tcp)
{
    return tcp->state;
}

enum tp_tcp_error tp_tcp_error(const struct tp_tcp *tcp)
{
    return tcp->error;
}

const struct tp_tcp_counters *tp_tcp_counters(const struct tp_tcp *tcp)
{
    return &tcp->counters;
}

const char *tp_tcp_state_name(enum tp_tcp_state state)
{
    switch (state) { /* RFC 9293 3.3.2 */
    case TP_TCP_CLOSED:
        return "CLOSED";
    case TP_TCP_SYN_SENT:
        return "SYN-SENT";
    case TP_TCP_SYN_RECEIVED:
        return "SYN-RECEIVED";
    case TP_TCP_ESTABLISHED:
        return "ESTABLISHED";
    case TP_TCP_FIN_WAIT_1:
        return "FIN-WAIT-1";
    case TP_TCP_FIN_WAIT_2:
        return "FIN-WAIT-2";
    case TP_TCP_CLOSE_WAIT:
        return "CLOSE-WAIT";
    case TP_TCP_CLOSING:
        return "CLOSING";
    case TP_TCP_LAST_ACK:
        return "LAST-ACK";
    case TP_TCP_TIME_WAIT:
        return "TIME-WAIT";
    }
    return "unknown";
}

const char *tp_tcp_error_name(enum tp_tcp_error error)
{
    switch (error) {
    case TP_TCP_ERROR_NONE:
        return "none";
    case TP_TCP_ERROR_REFUSED:
        return "connection refused";
    case TP_TCP_ERROR_RESET:
        return "connection reset by peer";
    case TP_TCP_ERROR_TIMEOUT:
        return "connection timed out";
    case TP_TCP_ERROR_UNREACHABLE:
        return "peer unreachable";
    case TP_TCP_ERROR_ABORTED:
        return "connection aborted";
    }
    return "unknown";
}
