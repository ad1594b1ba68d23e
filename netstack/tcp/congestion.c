/* Congestion control: RFC 5681 (slow start, congestion avoidance, fast retransmit, restart after
 * idle), RFC 6582 (NewReno), RFC 3042 (limited transmit), RFC 6928 (initial window 10), RFC 3522
 * (time-outs that were too early, told by timestamps). */
#include "netstack/tcp/state.h"

static uint32_t initial_window(const struct tp_tcp *tcp) /* RFC 6928 2 */
{
    uint32_t floor = 2 * tcp->snd_mss > TP_TCP_INITIAL_WINDOW_BYTES ? 2 * tcp->snd_mss
                                                                    : TP_TCP_INITIAL_WINDOW_BYTES;
    uint32_t segments = TP_TCP_INITIAL_WINDOW_SEGMENTS * tcp->snd_mss;
    return segments < floor ? segments : floor;
}

void tp_tcp_congestion_init(struct tp_tcp *tcp)
{
    tcp->cwnd = initial_window(tcp);
    if (tcp->syn_retransmitted) { /* RFC 5681 3.1: a lost SYN means one segment */
        tcp->cwnd = tcp->snd_mss;
    }
    tcp->ssthresh = UINT32_MAX;
    tcp->recover = tcp->snd_una - 1; /* below it: the first segment may be the lost one */
    tcp->in_recovery = false;
    tcp->dupacks = 0;
    tcp->bytes_acked = 0;
}

/* More than the send buffer cannot be in flight: a bound against ACK division and overflow. */
static void window_cap(struct tp_tcp *tcp)
{
    uint32_t cap = 2 * tcp->config.send_buffer_size;
    if (tcp->cwnd > cap) {
        tcp->cwnd = cap;
    }
}

static uint32_t half_flight(const struct tp_tcp *tcp) /* RFC 5681 3.1 (4) */
{
    uint32_t half = (tcp->snd_nxt - tcp->snd_una) / 2;
    return half > 2 * tcp->snd_mss ? half : 2 * tcp->snd_mss;
}

static void recovery_acknowledged(struct tp_tcp *tcp, uint32_t acknowledged)
{
    if (!tp_sequence_before(tcp->snd_una, tcp->recover)) { /* RFC 6582 3.2 (3): full */
        uint32_t flight = tcp->snd_nxt - tcp->snd_una;
        flight = (flight > tcp->snd_mss ? flight : tcp->snd_mss) + tcp->snd_mss;
        tcp->cwnd = tcp->ssthresh < flight ? tcp->ssthresh : flight;
        tcp->in_recovery = false;
        tcp->dupacks = 0;
        return;
    }
    tcp->pending |= TP_TCP_PENDING_RETRANSMIT; /* partial: the next hole starts at snd_una */
    tcp->cwnd = tcp->cwnd > acknowledged ? tcp->cwnd - acknowledged : 0;
    if (acknowledged >= tcp->snd_mss || tcp->cwnd < tcp->snd_mss) {
        tcp->cwnd += tcp->snd_mss;
    }
}

void tp_tcp_congestion_acknowledged(struct tp_tcp *tcp, uint32_t acknowledged,
                                    uint32_t flight_before)
{
    if (tcp->in_recovery) {
        recovery_acknowledged(tcp, acknowledged);
        return;
    }
    tcp->dupacks = 0;
    if (tcp->cwnd < tcp->ssthresh) {
        if (flight_before >= tcp->cwnd / 2) { /* only a window that was used may grow */
            tcp->cwnd += acknowledged < tcp->snd_mss ? acknowledged : tcp->snd_mss;
        }
    } else if (flight_before + tcp->snd_mss >= tcp->cwnd) {
        tcp->bytes_acked += acknowledged; /* RFC 5681 3.1: one segment a window */
        if (tcp->bytes_acked >= tcp->cwnd) {
            tcp->bytes_acked -= tcp->cwnd;
            tcp->cwnd += tcp->snd_mss;
        }
    }
    window_cap(tcp);
}

/* RFC 6582 3.2 (2): duplicates caused by what the last recovery sent. SACK tells news from echoes
 * one segment earlier (RFC 6675 5.1). */
static bool is_echo_of_recovery(const struct tp_tcp *tcp)
{
    return tp_sequence_before(tcp->snd_una, tcp->recover) ||
           (tcp->snd_una == tcp->recover && !tcp->sack);
}

void tp_tcp_congestion_duplicate(struct tp_tcp *tcp)
{
    if (tcp->in_recovery) {
        tcp->cwnd += tcp->snd_mss; /* RFC 5681 3.2 (4) */
        window_cap(tcp);
        return;
    }
    if (++tcp->dupacks < TP_TCP_DUPACK_THRESHOLD) {
        return;
    }
    if (is_echo_of_recovery(tcp)) {
        return;
    }
    tcp->ssthresh = half_flight(tcp);
    tcp->cwnd = tcp->ssthresh + TP_TCP_DUPACK_THRESHOLD * tcp->snd_mss;
    tcp->recover = tcp->snd_max;
    tcp->in_recovery = true;
    tcp->pending |= TP_TCP_PENDING_RETRANSMIT;
    tcp->counters.fast_retransmits++;
}

void tp_tcp_congestion_timeout(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (tcp->backoff == 0) { /* RFC 5681 3.1: once for a segment, not at each of its time-outs */
        tcp->timeout_in_doubt = tcp->timestamps;
        tcp->timeout_timestamp = tp_tcp_timestamp_now(tcp, now_ns);
        tcp->cwnd_before = tcp->cwnd;
        tcp->ssthresh_before = tcp->ssthresh;
        tcp->ssthresh = half_flight(tcp);
    }
    tcp->cwnd = tcp->snd_mss;
    tcp->recover = tcp->snd_max;
    tcp->in_recovery = false;
    tcp->dupacks = 0;
    tcp->bytes_acked = 0;
}

/* RFC 3522 3.2: an echo from before the retransmission was caused by the first copy. Nothing was
 * lost, the path was only slow: what is in flight stays there, and the window with it. */
void tp_tcp_congestion_timeout_judge(struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    bool spurious = tcp->timeout_in_doubt && segment->has_timestamps &&
                    tp_sequence_before(segment->timestamp_echo, tcp->timeout_timestamp);
    tcp->timeout_in_doubt = false;
    if (spurious) {
        tcp->cwnd = tcp->cwnd_before;
        tcp->ssthresh = tcp->ssthresh_before;
        tcp->snd_nxt = tcp->snd_max;
    }
}

void tp_tcp_congestion_idle(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (now_ns - tcp->last_send_ns > tcp->rto_ns) { /* RFC 5681 4.1 */
        uint32_t restart = initial_window(tcp);
        tcp->cwnd = tcp->cwnd < restart ? tcp->cwnd : restart;
    }
}

uint32_t tp_tcp_congestion_window(const struct tp_tcp *tcp)
{
    bool limited = !tcp->in_recovery && tcp->dupacks > 0 && tcp->dupacks < TP_TCP_DUPACK_THRESHOLD;
    return tcp->cwnd + (limited ? tcp->dupacks * tcp->snd_mss : 0); /* RFC 3042 2 */
}
