/* Round-trip time and retransmission time-out: RFC 6298, Karn's rule, RFC 7323 4 (RTTM).
 *
 * Two clocks serve: one timed segment per flight in nanoseconds (never a retransmitted one), and
 * the echoed timestamp in milliseconds where that segment cannot be used. */
#include "netstack/tcp/state.h"

void tp_tcp_rtt_init(struct tp_tcp *tcp)
{
    tcp->rto_ns = TP_TCP_RTO_INITIAL_NS;
    tcp->rtt_known = false;
    tcp->rtt_timing = false;
    tcp->backoff = 0;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

void tp_tcp_rtt_sample(struct tp_tcp *tcp, uint64_t rtt_ns)
{
    if (!tcp->rtt_known) { /* RFC 6298 2.2 */
        tcp->srtt_ns = rtt_ns;
        tcp->rttvar_ns = rtt_ns / 2;
        tcp->rtt_known = true;
    } else { /* RFC 6298 2.3: beta 1/4, alpha 1/8 */
        uint64_t error = tcp->srtt_ns > rtt_ns ? tcp->srtt_ns - rtt_ns : rtt_ns - tcp->srtt_ns;
        tcp->rttvar_ns = tcp->rttvar_ns - tcp->rttvar_ns / 4 + error / 4;
        tcp->srtt_ns = tcp->srtt_ns - tcp->srtt_ns / 8 + rtt_ns / 8;
    }
    uint64_t spread = 4 * tcp->rttvar_ns;
    if (spread < TP_TCP_CLOCK_GRANULARITY_NS) {
        spread = TP_TCP_CLOCK_GRANULARITY_NS;
    }
    tcp->rto_ns = clamp(tcp->srtt_ns + spread, tcp->config.rto_min_ns, tcp->config.rto_max_ns);
    tcp->backoff = 0;
}

uint64_t tp_tcp_rto_backed_off(const struct tp_tcp *tcp)
{
    uint64_t rto = tcp->rto_ns << tcp->backoff; /* rto <= 1 h and backoff <= 16: no overflow */
    return rto < tcp->config.rto_max_ns ? rto : tcp->config.rto_max_ns;
}

/* RFC 2883 4: the first block tells of bytes that came twice. The ACK of their first copy was lost,
 * and this one still echoes that copy's time: the difference is our time-out, not the path. Taken
 * for a sample, it would set the next time-out to several of these (Karn's problem once more). */
static bool answers_a_duplicate(const struct tp_tcp_segment *segment)
{
    return segment->sack_count > 0 &&
           !tp_sequence_after(segment->sack[0].right, segment->acknowledgment);
}

void tp_tcp_rtt_acknowledged(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                             uint64_t now_ns)
{
    if (tcp->rtt_timing && !tp_sequence_before(segment->acknowledgment, tcp->rtt_sequence)) {
        tcp->rtt_timing = false;
        tp_tcp_rtt_sample(tcp, now_ns - tcp->rtt_started_ns);
        return;
    }
    if (tcp->rtt_timing || !tcp->timestamps || !segment->has_timestamps ||
        answers_a_duplicate(segment)) {
        return;
    }
    uint32_t ticks = tp_tcp_timestamp_now(tcp, now_ns) - segment->timestamp_echo;
    if (ticks <= TP_TCP_RTT_TICKS_MAX) { /* an echo of what we never sent measures nothing */
        tp_tcp_rtt_sample(tcp, ticks * TP_TCP_TIMESTAMP_TICK_NS);
    }
}
