/* Timers in injected time: retransmission (RFC 6298 5), tail-loss probe (RFC 8985 7), persist
 * (RFC 9293 3.8.6.1), delayed ACK, keep-alive (RFC 9293 3.8.4), user timeout (RFC 9293 3.8.3),
 * connect timeout and TIME-WAIT. A timer only marks what is pending; tcp_out.c builds it. */
#include "netstack/tcp/state.h"

static uint64_t minimum(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void retransmit_timer_set(struct tp_tcp *tcp, enum tp_tcp_retransmit_timer timer,
                                 uint64_t deadline_ns)
{
    tcp->retransmit_timer = (uint8_t)timer;
    tcp->retransmit_timer_ns = deadline_ns;
}

/* RFC 8985 7.2: only in open state, and once per flight. */
static bool tail_probe_is_allowed(const struct tp_tcp *tcp)
{
    return tcp->sack && tcp->rtt_known && tcp->backoff == 0 && !tcp->in_recovery &&
           !tcp->tail_probe_out && tcp->snd_nxt == tcp->snd_max &&
           tp_tcp_is_synchronized(tcp->state);
}

static uint64_t tail_probe_timeout_ns(const struct tp_tcp *tcp)
{
    uint64_t timeout = 2 * tcp->srtt_ns;
    if (timeout < TP_TCP_TLP_MIN_NS) {
        timeout = TP_TCP_TLP_MIN_NS;
    }
    if (tcp->snd_max - tcp->snd_una <= tcp->snd_mss) {
        timeout += TP_TCP_PEER_DELAYED_ACK_NS;
    }
    return timeout;
}

/* Something is in flight: the tail-loss probe where it comes before the time-out. */
static void flight_timer_set(struct tp_tcp *tcp, uint64_t now_ns)
{
    uint64_t rto_at_ns = tcp->rto_started_ns + tp_tcp_rto_backed_off(tcp);
    uint64_t probe_at_ns = now_ns + tail_probe_timeout_ns(tcp);
    if (tail_probe_is_allowed(tcp) && probe_at_ns < rto_at_ns) {
        retransmit_timer_set(tcp, TP_TCP_TIMER_TAIL_PROBE, probe_at_ns);
    } else {
        retransmit_timer_set(tcp, TP_TCP_TIMER_RTO, rto_at_ns);
    }
}

void tp_tcp_timer_rearm(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (tcp->snd_nxt != tcp->snd_una) {
        tcp->rto_started_ns = now_ns; /* RFC 6298 5.3 */
        flight_timer_set(tcp, now_ns);
    } else if (tcp->snd_nxt == tp_tcp_queued_end(tcp)) {
        retransmit_timer_set(tcp, TP_TCP_TIMER_NONE, TP_TCP_NEVER); /* RFC 6298 5.2 */
    } else if (tcp->retransmit_timer != TP_TCP_TIMER_PERSIST) {
        if (tcp->snd_una == tcp->snd_max) {
            tcp->unacknowledged_since_ns = now_ns;
        }
        tcp->probes_unanswered = 0;
        retransmit_timer_set(tcp, TP_TCP_TIMER_PERSIST, now_ns + tp_tcp_rto_backed_off(tcp));
    }
}

void tp_tcp_timer_sent(struct tp_tcp *tcp, uint64_t now_ns)
{
    switch ((enum tp_tcp_retransmit_timer)tcp->retransmit_timer) {
    case TP_TCP_TIMER_NONE:
    case TP_TCP_TIMER_PERSIST:
        tp_tcp_timer_rearm(tcp, now_ns);
        return;
    case TP_TCP_TIMER_TAIL_PROBE: /* RFC 8985 7.2: counts from the last segment sent */
        flight_timer_set(tcp, now_ns);
        return;
    case TP_TCP_TIMER_RTO:
        return; /* RFC 6298 5.1: it runs already */
    }
}

static void backoff_double(struct tp_tcp *tcp)
{
    if (tcp->backoff < TP_TCP_BACKOFF_MAX) {
        tcp->backoff++;
    }
}

static void syn_timed_out(struct tp_tcp *tcp, uint64_t now_ns)
{
    backoff_double(tcp);
    tcp->pending |= TP_TCP_PENDING_SYN;
    tcp->syn_retransmitted = true;
    retransmit_timer_set(tcp, TP_TCP_TIMER_RTO, now_ns + tp_tcp_rto_backed_off(tcp));
}

static void rto_fired(struct tp_tcp *tcp, uint64_t now_ns)
{
    tcp->counters.timeouts++;
    if (!tp_tcp_is_synchronized(tcp->state)) {
        syn_timed_out(tcp, now_ns);
        return;
    }
    tp_tcp_congestion_timeout(tcp, now_ns);
    backoff_double(tcp); /* RFC 6298 5.5 */
    tcp->rtt_timing = false;
    tcp->tail_probe_out = false;
    tcp->pending &= ~(uint32_t)(TP_TCP_PENDING_RETRANSMIT | TP_TCP_PENDING_TAIL_PROBE);
    tcp->snd_nxt = tcp->snd_una; /* go back: tcp_out sends from here, one segment, then more */
    retransmit_timer_set(tcp, TP_TCP_TIMER_NONE, TP_TCP_NEVER);
    if (tcp->snd_wnd == 0) { /* the window shrank over what is in flight: probe it */
        tcp->pending |= TP_TCP_PENDING_WINDOW_PROBE;
        tcp->probes_unanswered = 1; /* what was in flight counts on */
        retransmit_timer_set(tcp, TP_TCP_TIMER_PERSIST, now_ns + tp_tcp_rto_backed_off(tcp));
    }
}

/* RFC 1122 4.2.2.17: never given up while it answers. So the user timeout counts from the first
 * probe without an answer: the probes themselves are further apart than it is long. */
static void persist_fired(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (tcp->probes_unanswered == 0) {
        tcp->unacknowledged_since_ns = now_ns;
    }
    if (tcp->probes_unanswered < UINT8_MAX) {
        tcp->probes_unanswered++;
    }
    backoff_double(tcp);
    tcp->pending |= TP_TCP_PENDING_WINDOW_PROBE;
    retransmit_timer_set(tcp, TP_TCP_TIMER_PERSIST, now_ns + tp_tcp_rto_backed_off(tcp));
}

static void retransmit_timer_fired(struct tp_tcp *tcp, uint64_t now_ns)
{
    switch ((enum tp_tcp_retransmit_timer)tcp->retransmit_timer) {
    case TP_TCP_TIMER_NONE:
        return;
    case TP_TCP_TIMER_RTO:
        rto_fired(tcp, now_ns);
        return;
    case TP_TCP_TIMER_TAIL_PROBE:
        tcp->counters.tail_loss_probes++;
        tcp->tail_probe_out = true;
        tcp->pending |= TP_TCP_PENDING_TAIL_PROBE;
        retransmit_timer_set(tcp, TP_TCP_TIMER_RTO, now_ns + tp_tcp_rto_backed_off(tcp));
        return;
    case TP_TCP_TIMER_PERSIST:
        persist_fired(tcp, now_ns);
        return;
    }
}

static uint64_t user_timeout_at_ns(const struct tp_tcp *tcp)
{
    bool waiting = tcp->retransmit_timer == TP_TCP_TIMER_PERSIST ? tcp->probes_unanswered > 0
                                                                 : tcp->snd_una != tcp->snd_max;
    return waiting && tp_tcp_is_synchronized(tcp->state)
               ? tcp->unacknowledged_since_ns + tcp->config.user_timeout_ns
               : TP_TCP_NEVER;
}

static uint64_t keepalive_at_ns(const struct tp_tcp *tcp)
{
    bool idle = tcp->snd_una == tcp->snd_max &&
                (tcp->state == TP_TCP_ESTABLISHED || tcp->state == TP_TCP_CLOSE_WAIT ||
                 tcp->state == TP_TCP_FIN_WAIT_2);
    uint64_t interval_ns = tcp->config.keepalive_ns / TP_TCP_KEEPALIVE_PROBE_COUNT_MAX;
    return idle && tcp->config.keepalive_ns > 0
               ? tcp->last_input_ns + tcp->config.keepalive_ns + tcp->keepalive_probes * interval_ns
               : TP_TCP_NEVER;
}

static void keepalive_fired(struct tp_tcp *tcp)
{
    if (tcp->keepalive_probes == TP_TCP_KEEPALIVE_PROBE_COUNT_MAX) {
        tp_tcp_end(tcp, TP_TCP_ERROR_TIMEOUT);
        return;
    }
    tcp->keepalive_probes++;
    tcp->pending |= TP_TCP_PENDING_KEEPALIVE;
}

static uint64_t next_timer_ns(const struct tp_tcp *tcp)
{
    uint64_t next_ns = minimum(tcp->delayed_ack_ns, tcp->life_timer_ns);
    next_ns = minimum(next_ns, tcp->retransmit_timer_ns);
    next_ns = minimum(next_ns, user_timeout_at_ns(tcp));
    return minimum(next_ns, keepalive_at_ns(tcp));
}

void tp_tcp_timers_run(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (tcp->state == TP_TCP_CLOSED || now_ns < next_timer_ns(tcp)) {
        return;
    }
    if (now_ns >= tcp->life_timer_ns) {
        tp_tcp_end(tcp, tcp->state == TP_TCP_TIME_WAIT ? TP_TCP_ERROR_NONE : TP_TCP_ERROR_TIMEOUT);
        return;
    }
    if (now_ns >= user_timeout_at_ns(tcp)) {
        tp_tcp_end(tcp, TP_TCP_ERROR_TIMEOUT);
        return;
    }
    if (now_ns >= tcp->delayed_ack_ns) {
        tcp->delayed_ack_ns = TP_TCP_NEVER;
        tcp->pending |= TP_TCP_PENDING_ACK;
    }
    if (now_ns >= tcp->retransmit_timer_ns) {
        retransmit_timer_fired(tcp, now_ns);
    }
    if (now_ns >= keepalive_at_ns(tcp)) {
        keepalive_fired(tcp);
    }
}

uint64_t tp_tcp_deadline(const struct tp_tcp *tcp)
{
    if (tp_tcp_output_is_due(tcp)) {
        return 0;
    }
    return tcp->state == TP_TCP_CLOSED ? TP_TCP_NEVER : next_timer_ns(tcp);
}
