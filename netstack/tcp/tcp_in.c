/* A segment arrives: RFC 9293 3.10.7 in its order (sequence, RST, SYN, ACK, text, FIN), with
 * RFC 5961 (blind attacks), RFC 7323 (PAWS) and RFC 1337 (RST in TIME-WAIT).
 *
 * The usual segment - ESTABLISHED, in order, nothing held back - takes the short way at the top of
 * tp_tcp_input ("header prediction"). Called by the parent for each received segment. */
#include <assert.h>

#include "netstack/tcp/state.h"

/* The payload of a segment, cut to the window. */
struct text {
    uint32_t sequence;
    struct tp_span data;
    bool fin;
};

void tp_tcp_challenge(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (tcp->challenge_period_ns == 0 ||
        now_ns - tcp->challenge_period_ns >= TP_TCP_CHALLENGE_PERIOD_NS) {
        tcp->challenge_period_ns = now_ns;
        tcp->challenges_left =
            TP_TCP_CHALLENGE_COUNT_MIN + tp_tcp_random(tcp) % TP_TCP_CHALLENGE_COUNT_SPREAD;
    }
    if (tcp->challenges_left > 0) {
        tcp->challenges_left--;
        tcp->counters.challenge_acks++;
        tcp->pending |= TP_TCP_PENDING_ACK;
    }
}

/* RFC 9293 3.10.7.1 and 3.10.7.3: the RST that answers a segment of no connection of ours. */
static void reset_answer(struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    if (segment->flags & TP_TCP_ACK) {
        tcp->reset_sequence = segment->acknowledgment;
        tcp->reset_acknowledgment = 0;
        tcp->reset_flags = TP_TCP_RST;
    } else {
        bool syn = segment->flags & TP_TCP_SYN, fin = segment->flags & TP_TCP_FIN;
        tcp->reset_sequence = 0;
        tcp->reset_acknowledgment =
            segment->sequence + (uint32_t)segment->payload.size + (syn ? 1 : 0) + (fin ? 1 : 0);
        tcp->reset_flags = TP_TCP_RST | TP_TCP_ACK;
    }
    tcp->pending |= TP_TCP_PENDING_RESET;
}

static void span_add(struct tp_tcp_delivery *out, struct tp_span span)
{
    if (span.size > 0) {
        assert(out->count < sizeof out->span / sizeof out->span[0]);
        out->span[out->count++] = span;
    }
}

/* RFC 9293 3.8.6.3: every second full segment at once, the rest delayed. */
static void acknowledge_text(struct tp_tcp *tcp, uint32_t size, uint64_t now_ns)
{
    if (size > tcp->rcv_mss) {
        tcp->rcv_mss = size < tcp->config.mss ? size : tcp->config.mss;
    }
    if (tcp->quick_acks > 0) {
        tcp->quick_acks--;
        tcp->pending |= TP_TCP_PENDING_ACK;
    } else if (tcp->rcv_nxt - tcp->last_ack_sent >= 2 * tcp->rcv_mss) {
        tcp->pending |= TP_TCP_PENDING_ACK;
    } else if (tcp->delayed_ack_ns == TP_TCP_NEVER) {
        tcp->delayed_ack_ns = now_ns + tcp->config.delayed_ack_ns;
    }
}

/* ---- acknowledgments ---- */

/* Our FIN is acknowledged: RFC 9293 3.10.7.4, fifth check. */
static void fin_acknowledged(struct tp_tcp *tcp, uint64_t now_ns)
{
    if (tcp->state == TP_TCP_FIN_WAIT_1) {
        tcp->state = TP_TCP_FIN_WAIT_2;
    } else if (tcp->state == TP_TCP_CLOSING) {
        tp_tcp_time_wait_start(tcp, now_ns);
    } else if (tcp->state == TP_TCP_LAST_ACK) {
        tp_tcp_end(tcp, TP_TCP_ERROR_NONE);
    }
}

static void ack_advances(struct tp_tcp *tcp, const struct tp_tcp_segment *segment, uint64_t now_ns)
{
    uint32_t acknowledged = segment->acknowledgment - tcp->snd_una;
    uint32_t flight_before = tcp->snd_nxt - tcp->snd_una;
    tcp->snd_una = segment->acknowledgment;
    tcp->snd_nxt = tp_sequence_max(tcp->snd_nxt, tcp->snd_una);
    tcp->unacknowledged_since_ns = now_ns;
    tcp->tail_probe_out = false;
    tp_tcp_congestion_timeout_judge(tcp, segment);
    tp_tcp_rtt_acknowledged(tcp, segment, now_ns);
    tp_tcp_congestion_acknowledged(tcp, acknowledged, flight_before);
    tp_tcp_timer_rearm(tcp, now_ns);
    if (tcp->closing && tcp->snd_una == tcp->snd_end + 1) {
        fin_acknowledged(tcp, now_ns);
    }
}

/* RFC 9293 3.10.7.4: SND.WL1 and SND.WL2 keep an old segment from moving the window back. */
static void send_window_update(struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    if (tp_sequence_before(tcp->snd_wl1, segment->sequence) ||
        (tcp->snd_wl1 == segment->sequence &&
         !tp_sequence_before(segment->acknowledgment, tcp->snd_wl2))) {
        tcp->snd_wnd = (uint32_t)segment->window << tcp->snd_scale;
        tcp->snd_wl1 = segment->sequence;
        tcp->snd_wl2 = segment->acknowledgment;
        if (tcp->snd_wnd > tcp->max_snd_wnd) {
            tcp->max_snd_wnd = tcp->snd_wnd;
        }
    }
}

/* RFC 5681 2, RFC 6675 2. */
static bool ack_is_duplicate(struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    if (tcp->snd_nxt == tcp->snd_una) {
        return false; /* nothing in flight; the answer to a window probe is no sign of loss */
    }
    if (tcp->sack) {
        return tp_tcp_sack_is_duplicate(tcp, segment);
    }
    return segment->payload.size == 0 && !(segment->flags & (TP_TCP_SYN | TP_TCP_FIN)) &&
           (uint32_t)segment->window << tcp->snd_scale == tcp->snd_wnd;
}

/* Leaving persist: the window opened, or the peer answered and so lives (RFC 9293 3.8.6.1). */
static void persist_answered(struct tp_tcp *tcp, uint64_t now_ns)
{
    tcp->probes_unanswered = 0;
    tcp->unacknowledged_since_ns = now_ns; /* a probe's byte is in flight once the window opens */
    if (tcp->snd_wnd > 0) {
        tcp->backoff = 0;
    }
}

/* False: the ACK field makes the whole segment unacceptable (RFC 5961 5.2). */
static bool ack_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment, uint64_t now_ns)
{
    uint32_t ack = segment->acknowledgment;
    if (tp_sequence_after(ack, tcp->snd_max) ||
        tp_sequence_before(ack, tcp->snd_una - tcp->max_snd_wnd)) {
        tcp->counters.bad_acks++;
        tp_tcp_challenge(tcp, now_ns);
        return false;
    }
    if (tp_sequence_before(ack, tcp->snd_una)) {
        return true; /* old, and older than our window: only its text counts */
    }
    if (ack == tcp->snd_una && ack_is_duplicate(tcp, segment)) {
        tp_tcp_congestion_duplicate(tcp);
    }
    send_window_update(tcp, segment);
    if (tp_sequence_after(ack, tcp->snd_una)) {
        ack_advances(tcp, segment, now_ns);
    }
    if (tcp->retransmit_timer == TP_TCP_TIMER_PERSIST) {
        persist_answered(tcp, now_ns);
    }
    return true;
}

/* ---- text and FIN ---- */

/* Cuts a segment to [rcv_nxt, rcv_edge). */
static struct text text_within_window(const struct tp_tcp *tcp,
                                      const struct tp_tcp_segment *segment)
{
    struct text text = {segment->sequence, segment->payload, segment->flags & TP_TCP_FIN};
    if (tp_sequence_before(text.sequence, tcp->rcv_nxt)) {
        uint32_t cut = tcp->rcv_nxt - text.sequence;
        if (cut > text.data.size) {
            text.fin = false;
            cut = (uint32_t)text.data.size;
        }
        text.data.data += cut;
        text.data.size -= cut;
        text.sequence = tcp->rcv_nxt;
    }
    uint32_t room =
        tp_sequence_before(text.sequence, tcp->rcv_edge) ? tcp->rcv_edge - text.sequence : 0;
    if (text.data.size + (text.fin ? 1 : 0) > room) {
        text.fin = false;
        text.data.size = text.data.size < room ? text.data.size : room;
    }
    return text;
}

/* Delivers in-order text from the frame, and what was waiting behind it. Where it overlaps bytes
 * already held, those win: the rest of it goes through the ring, so three spans always suffice. */
static void in_order_text(struct tp_tcp *tcp, const struct text *text, struct tp_tcp_delivery *out)
{
    struct tp_tcp_reassembly *reassembly = &tcp->reassembly;
    struct tp_span head = text->data;
    uint32_t end = text->sequence + (uint32_t)head.size;
    if (reassembly->count > 0 && tp_sequence_before(reassembly->range[0].left, end)) {
        head.size = reassembly->range[0].left - text->sequence;
        struct tp_span rest = {head.data + head.size, text->data.size - head.size};
        bool stored = tp_tcp_reassembly_insert(reassembly, reassembly->range[0].left, rest);
        assert(stored); /* it touches a range, so it needs no new one */
    }
    span_add(out, head);
    tcp->rcv_nxt += (uint32_t)head.size;
    struct tp_span held[2];
    uint32_t held_count = tp_tcp_reassembly_take(reassembly, tcp->rcv_nxt, held);
    for (uint32_t index = 0; index < held_count; index++) {
        span_add(out, held[index]);
        tcp->rcv_nxt += (uint32_t)held[index].size;
    }
}

static void out_of_order_text(struct tp_tcp *tcp, const struct text *text)
{
    uint32_t end = text->sequence + (uint32_t)text->data.size;
    struct tp_tcp_range held;
    tcp->counters.out_of_order++;
    if (tp_tcp_reassembly_overlap(&tcp->reassembly, text->sequence, end, &held)) {
        tcp->counters.duplicates++;
        tp_tcp_sack_duplicate(tcp, held.left, held.right);
    }
    if (tp_tcp_reassembly_holds(&tcp->reassembly, text->sequence, end)) {
        tp_tcp_reassembly_touch(&tcp->reassembly, text->sequence);
    } else if (!tp_tcp_reassembly_insert(&tcp->reassembly, text->sequence, text->data)) {
        tcp->counters.reassembly_dropped++;
    }
}

/* RFC 9293 3.10.7.4, eighth check. */
static void fin_reached(struct tp_tcp *tcp, uint64_t now_ns)
{
    tcp->rcv_nxt++;
    tcp->fin_held = false;
    tcp->peer_finished = true;
    tcp->pending |= TP_TCP_PENDING_ACK;
    if (tcp->state == TP_TCP_ESTABLISHED) {
        tcp->state = TP_TCP_CLOSE_WAIT;
    } else if (tcp->state == TP_TCP_FIN_WAIT_1) {
        tcp->state = TP_TCP_CLOSING; /* our FIN would have been acknowledged by now */
    } else if (tcp->state == TP_TCP_FIN_WAIT_2) {
        tp_tcp_time_wait_start(tcp, now_ns);
    }
}

/* A FIN ends the stream where it stands; the first one told counts. */
static void fin_note(struct tp_tcp *tcp, struct text *text)
{
    uint32_t end = text->sequence + (uint32_t)text->data.size;
    if (tcp->fin_held && tp_sequence_after(end, tcp->fin_sequence)) {
        bool starts_before = tp_sequence_before(text->sequence, tcp->fin_sequence);
        text->data.size = starts_before ? tcp->fin_sequence - text->sequence : 0;
    } else if (text->fin && !tcp->fin_held) {
        tcp->fin_held = true;
        tcp->fin_sequence = end;
        tp_tcp_reassembly_truncate(&tcp->reassembly, end);
    }
}

/* RFC 5681 3.2: a segment that does not advance is one duplicate ACK, and the peer acts on three.
 * What advances ends the row: its ACK is none. */
static void duplicate_ack_note(struct tp_tcp *tcp, uint32_t advanced)
{
    if (advanced > 0) {
        tcp->duplicate_acks_due = 0;
    } else if (tcp->duplicate_acks_due < TP_TCP_DUPACK_THRESHOLD) {
        tcp->duplicate_acks_due++;
    }
}

static void text_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment, uint64_t now_ns,
                       struct tp_tcp_delivery *out)
{
    struct text text = text_within_window(tcp, segment);
    uint32_t rcv_nxt_before = tcp->rcv_nxt;
    if (tcp->peer_finished || (segment->payload.size == 0 && !(segment->flags & TP_TCP_FIN))) {
        return;
    }
    if (text.data.size < segment->payload.size && text.sequence != segment->sequence) {
        tcp->counters.duplicates++; /* part of it is old: the peer missed an ACK */
        tp_tcp_sack_duplicate(tcp, segment->sequence, tcp->rcv_nxt);
        tcp->pending |= TP_TCP_PENDING_ACK;
    }
    fin_note(tcp, &text);
    bool gap = tcp->reassembly.count > 0 || text.sequence != tcp->rcv_nxt;
    if (text.data.size > 0 && text.sequence == tcp->rcv_nxt) {
        in_order_text(tcp, &text, out);
    } else if (text.data.size > 0) {
        out_of_order_text(tcp, &text);
    }
    uint32_t advanced = tcp->rcv_nxt - rcv_nxt_before;
    tcp->counters.bytes_in += advanced;
    if (tcp->fin_held && tcp->rcv_nxt == tcp->fin_sequence) {
        fin_reached(tcp, now_ns);
    } else if (gap || advanced == 0) { /* RFC 5681 4.2: at once on a gap and when it is filled */
        tcp->pending |= TP_TCP_PENDING_ACK;
        duplicate_ack_note(tcp, advanced);
    } else {
        acknowledge_text(tcp, advanced, now_ns);
    }
}

/* ---- checks of a synchronized connection ---- */

/* RFC 7323 5.3 R1: older than what we have, and not because the peer slept for 24 days. A segment
 * without the timestamps that were agreed is taken, though RFC 7323 3.2 says to drop it: peers and
 * middleboxes leave them out of keep-alives and retransmissions, and Linux and FreeBSD take them.
 */
static bool paws_rejects(const struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                         uint64_t now_ns)
{
    if (!tcp->timestamps || !segment->has_timestamps || (segment->flags & TP_TCP_RST)) {
        return false;
    }
    return tp_sequence_before(segment->timestamp_value, tcp->ts_recent) &&
           now_ns - tcp->last_ts_recent_ns < TP_TCP_TIMESTAMP_LIFE_NS;
}

static void timestamp_note(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                           uint64_t now_ns)
{
    if (tcp->timestamps && segment->has_timestamps &&
        !tp_sequence_after(segment->sequence, tcp->last_ack_sent)) { /* RFC 7323 5.3 R3 */
        tcp->ts_recent = segment->timestamp_value;
        tcp->last_ts_recent_ns = now_ns;
    }
}

/* RFC 9293 3.4, table of acceptable segments. Two allowances: an empty segment at the right edge
 * counts (a sender that filled the window acknowledges from there), and so does one that starts at
 * rcv_nxt in a closed window, cut to nothing (3.10.7.4: its ACK and RST are still good). */
static bool sequence_is_acceptable(const struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    uint32_t size = (uint32_t)segment->payload.size + (segment->flags & TP_TCP_FIN ? 1 : 0) +
                    (segment->flags & TP_TCP_SYN ? 1 : 0);
    if (segment->sequence == tcp->rcv_nxt) {
        return true;
    }
    if (size == 0) {
        return !tp_sequence_before(segment->sequence, tcp->rcv_nxt) &&
               !tp_sequence_after(segment->sequence, tcp->rcv_edge);
    }
    return tp_sequence_before(segment->sequence, tcp->rcv_edge) &&
           tp_sequence_after(segment->sequence + size, tcp->rcv_nxt);
}

/* A segment outside the window, or one that PAWS rejects, is answered by an ACK. One that carries
 * data is exempt from the limit: it is a retransmission whose ACK was lost. */
static void unacceptable_answer(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                                uint64_t now_ns)
{
    if (segment->flags & TP_TCP_RST) {
        tcp->counters.resets_ignored++;
        return;
    }
    uint32_t end = segment->sequence + (uint32_t)segment->payload.size;
    if (segment->payload.size > 0 && !tp_sequence_after(end, tcp->rcv_nxt)) {
        tcp->counters.duplicates++;
        tp_tcp_sack_duplicate(tcp, segment->sequence, end);
    }
    if (tcp->state == TP_TCP_TIME_WAIT && (segment->flags & TP_TCP_FIN)) {
        tp_tcp_time_wait_start(tcp, now_ns); /* our last ACK was lost */
    }
    if (segment->payload.size > 0 || (segment->flags & TP_TCP_FIN)) {
        tcp->pending |= TP_TCP_PENDING_ACK;
    } else {
        tp_tcp_challenge(tcp, now_ns);
    }
}

/* RFC 5961 3.2, RFC 1337. */
static void reset_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment, uint64_t now_ns)
{
    if (tcp->state == TP_TCP_TIME_WAIT) {
        tcp->counters.resets_ignored++;
        return;
    }
    if (segment->sequence != tcp->rcv_nxt) {
        tcp->counters.resets_ignored++;
        tp_tcp_challenge(tcp, now_ns);
        return;
    }
    bool all_taken = (tcp->state == TP_TCP_LAST_ACK || tcp->state == TP_TCP_CLOSING) &&
                     tcp->snd_una == tcp->snd_end;
    enum tp_tcp_error error = tcp->state == TP_TCP_SYN_RECEIVED ? TP_TCP_ERROR_REFUSED
                              : all_taken                       ? TP_TCP_ERROR_NONE
                                                                : TP_TCP_ERROR_RESET;
    tp_tcp_end(tcp, error);
}

/* SYN-RECEIVED: RFC 9293 3.10.7.4, fifth check. */
static bool handshake_ack_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                                uint64_t now_ns)
{
    if (segment->acknowledgment != tcp->snd_max) {
        tcp->counters.bad_acks++;
        reset_answer(tcp, segment);
        return false;
    }
    tcp->snd_una = segment->acknowledgment;
    tp_tcp_rtt_acknowledged(tcp, segment, now_ns);
    tp_tcp_established(tcp, now_ns);
    tcp->snd_wl1 = segment->sequence - 1;
    return true;
}

static void synchronized_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                               uint64_t now_ns, struct tp_tcp_delivery *out)
{
    if (paws_rejects(tcp, segment, now_ns)) {
        tcp->counters.paws_rejected++;
        unacceptable_answer(tcp, segment, now_ns);
        return;
    }
    if (!sequence_is_acceptable(tcp, segment)) {
        tcp->counters.window_rejected++;
        unacceptable_answer(tcp, segment, now_ns);
        return;
    }
    if (segment->flags & TP_TCP_RST) {
        reset_input(tcp, segment, now_ns);
        return;
    }
    if (segment->flags & TP_TCP_SYN) { /* RFC 5961 4.2 */
        tp_tcp_challenge(tcp, now_ns);
        return;
    }
    if (!(segment->flags & TP_TCP_ACK)) {
        return;
    }
    if (tcp->state == TP_TCP_SYN_RECEIVED && !handshake_ack_input(tcp, segment, now_ns)) {
        return;
    }
    if (!ack_input(tcp, segment, now_ns)) {
        return;
    }
    timestamp_note(tcp, segment, now_ns);
    tcp->last_input_ns = now_ns;
    tcp->keepalive_probes = 0;
    if (tcp->state != TP_TCP_CLOSED) { /* LAST-ACK ends by an ACK */
        text_input(tcp, segment, now_ns, out);
    }
}

/* ---- SYN-SENT ---- */

static uint32_t send_mss(const struct tp_tcp *tcp, const struct tp_tcp_segment *syn)
{
    uint32_t mss = syn->has_mss ? syn->mss : TP_TCP_MSS_DEFAULT;
    mss = mss < TP_TCP_MSS_MIN ? TP_TCP_MSS_MIN : mss;
    mss = mss < tcp->config.mss ? mss : tcp->config.mss;
    return mss - (tcp->timestamps ? TP_TCP_TIMESTAMPS_SIZE : 0); /* RFC 6691 2 */
}

/* What both ends offered holds; the rest is off. */
static void options_agree(struct tp_tcp *tcp, const struct tp_tcp_segment *syn, uint64_t now_ns)
{
    tcp->sack = syn->sack_permitted;
    tcp->timestamps = syn->has_timestamps;
    tcp->ts_recent = syn->timestamp_value;
    tcp->last_ts_recent_ns = now_ns;
    tcp->window_scaling = syn->has_window_scale;
    tcp->snd_scale =
        syn->window_scale < TP_TCP_WINDOW_SCALE_MAX ? syn->window_scale : TP_TCP_WINDOW_SCALE_MAX;
    if (!tcp->window_scaling) {
        tcp->snd_scale = 0;
        tcp->rcv_scale = 0;
    }
    tcp->snd_mss = send_mss(tcp, syn);
}

static void syn_accepted(struct tp_tcp *tcp, const struct tp_tcp_segment *segment, uint64_t now_ns)
{
    tcp->irs = segment->sequence;
    tcp->rcv_nxt = segment->sequence + 1;
    tcp->last_ack_sent = tcp->rcv_nxt;
    tcp->last_input_ns = now_ns;
    options_agree(tcp, segment, now_ns);
    tp_tcp_window_start(tcp);
    tcp->snd_wnd = segment->window; /* RFC 7323 2.2: never scaled in a SYN */
    tcp->max_snd_wnd = tcp->snd_wnd;
    tcp->snd_wl1 = segment->sequence;
    tcp->snd_wl2 = segment->acknowledgment;
}

/* RFC 9293 3.10.7.3, first check: an ACK of what we never sent comes from an old connection that
 * the peer still holds. RST ends that one; our SYN, which it took for a stray, goes again. */
static void stale_peer_answer(struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    tcp->counters.bad_acks++;
    if (segment->flags & TP_TCP_RST) {
        tcp->counters.resets_ignored++;
        return;
    }
    reset_answer(tcp, segment);
    if (!tcp->syn_retransmitted) { /* once at once: a liar may not make us send at his pace */
        tcp->syn_retransmitted = true;
        tcp->pending |= TP_TCP_PENDING_SYN;
    }
}

static void syn_sent_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                           uint64_t now_ns, struct tp_tcp_delivery *out)
{
    bool acknowledges = segment->flags & TP_TCP_ACK;
    if (acknowledges && (segment->acknowledgment != tcp->iss + 1 || tcp->snd_max == tcp->iss)) {
        stale_peer_answer(tcp, segment);
        return;
    }
    if (segment->flags & TP_TCP_RST) {
        if (acknowledges) {
            tp_tcp_end(tcp, TP_TCP_ERROR_REFUSED);
        } else {
            tcp->counters.resets_ignored++;
        }
        return;
    }
    if (!(segment->flags & TP_TCP_SYN)) {
        return; /* fifth check: a FIN or text alone cannot be placed */
    }
    syn_accepted(tcp, segment, now_ns);
    if (!acknowledges) { /* simultaneous open; text and FIN of this SYN come again */
        tcp->state = TP_TCP_SYN_RECEIVED;
        tcp->pending |= TP_TCP_PENDING_SYN;
        return;
    }
    tcp->snd_una = segment->acknowledgment;
    tp_tcp_rtt_acknowledged(tcp, segment, now_ns);
    tp_tcp_established(tcp, now_ns);
    tcp->pending = TP_TCP_PENDING_ACK;
    struct tp_tcp_segment rest = *segment;
    rest.sequence++;
    text_input(tcp, &rest, now_ns, out);
}

/* ---- entry ---- */

/* Header prediction: the conditions under which nothing but delivery is left to do. */
static bool is_expected(const struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    const uint8_t harmless = TP_TCP_PSH | TP_TCP_URG | TP_TCP_ECE | TP_TCP_CWR;
    return tcp->state == TP_TCP_ESTABLISHED && (segment->flags & ~harmless) == TP_TCP_ACK &&
           segment->sequence == tcp->rcv_nxt &&
           segment->payload.size - 1 < tp_tcp_rcv_wnd(tcp) && /* 1 .. window */
           tcp->reassembly.count == 0 && !tcp->fin_held && segment->sack_count == 0 &&
           segment->acknowledgment - tcp->snd_una <= tcp->snd_max - tcp->snd_una &&
           segment->has_timestamps == tcp->timestamps &&
           !(tcp->timestamps && tp_sequence_before(segment->timestamp_value, tcp->ts_recent));
}

static void expected_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                           uint64_t now_ns, struct tp_tcp_delivery *out)
{
    uint32_t size = (uint32_t)segment->payload.size;
    send_window_update(tcp, segment);
    if (segment->acknowledgment != tcp->snd_una) {
        ack_advances(tcp, segment, now_ns);
    }
    if (tcp->retransmit_timer == TP_TCP_TIMER_PERSIST) {
        persist_answered(tcp, now_ns);
    }
    timestamp_note(tcp, segment, now_ns);
    tcp->last_input_ns = now_ns;
    tcp->keepalive_probes = 0;
    tcp->rcv_nxt += size;
    tcp->counters.bytes_in += size;
    out->span[0] = segment->payload;
    out->count = 1;
    acknowledge_text(tcp, size, now_ns);
}

/* A SYN-ACK that crosses ours in a simultaneous open is the ACK we wait for (RFC 9293 3.5, figure
 * 8), though its SYN lies left of the window. */
static bool is_crossing_syn_ack(const struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    return tcp->state == TP_TCP_SYN_RECEIVED && segment->sequence == tcp->irs &&
           (segment->flags & (TP_TCP_SYN | TP_TCP_ACK | TP_TCP_RST)) == (TP_TCP_SYN | TP_TCP_ACK) &&
           segment->acknowledgment == tcp->snd_max;
}

enum tp_status tp_tcp_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                            uint64_t now_ns, struct tp_tcp_delivery *out)
{
    bool finished_before = tcp->peer_finished;
    out->count = 0;
    tcp->counters.segments_in++;
    if (is_expected(tcp, segment)) {
        expected_input(tcp, segment, now_ns, out);
        return TP_OK;
    }
    if (tcp->state == TP_TCP_CLOSED) {
        if (!(segment->flags & TP_TCP_RST)) {
            reset_answer(tcp, segment);
        }
    } else if (tcp->state == TP_TCP_SYN_SENT) {
        syn_sent_input(tcp, segment, now_ns, out);
    } else if (is_crossing_syn_ack(tcp, segment)) {
        struct tp_tcp_segment rest = *segment;
        rest.sequence++;
        rest.window = (uint16_t)(segment->window >> tcp->snd_scale);
        rest.flags &= (uint8_t)~TP_TCP_SYN;
        tcp->pending |= TP_TCP_PENDING_ACK;
        synchronized_input(tcp, &rest, now_ns, out);
    } else {
        synchronized_input(tcp, segment, now_ns, out);
    }
    if (tcp->error != TP_TCP_ERROR_NONE) {
        return TP_ERROR;
    }
    if (tcp->peer_finished && !finished_before) {
        return TP_CLOSED;
    }
    return out->count > 0 ? TP_OK : TP_NEED_MORE;
}
