/* A segment leaves: RFC 9293 3.8 and 3.10. tp_tcp_output builds one segment a call, in this order:
 * RST, SYN, retransmission, probes, data and FIN that the windows allow, pure ACK. So a pure ACK
 * never goes before data that would carry it.
 *
 * Called by the parent after the delivered bytes were used, and when tp_tcp_deadline has come. */
#include <assert.h>
#include <string.h>

#include "netstack/tcp/state.h"
#include "netstack/wire/byte_order.h"
#include "netstack/wire/checksum.h"

enum { CHECKSUM_OFFSET = 16, PROTOCOL_TCP = 6 };

/* The part of the queue that one segment carries. */
struct cut {
    uint32_t sequence, size;
    bool fin;
};

static uint32_t minimum(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Complete sequence space of a cut: the FIN counts one. */
static uint32_t cut_end(const struct cut *cut)
{
    return cut->sequence + cut->size + (cut->fin ? 1 : 0);
}

static uint32_t segment_size_max(const struct tp_tcp *tcp)
{
    return tcp->snd_mss - tp_tcp_sack_size(tcp);
}

uint32_t tp_tcp_acceptable_sequence(const struct tp_tcp *tcp)
{
    if (!tp_tcp_is_synchronized(tcp->state)) {
        return tcp->snd_max; /* behind the SYN: no window was opened yet */
    }
    return tp_sequence_min(tcp->snd_max, tcp->snd_una + tcp->snd_wnd);
}

/* What the windows let go next, from snd_nxt. Nagle is off: whatever is queued goes, but a part of
 * it only in full segments or half windows (RFC 9293 3.8.6.2.1, silly window avoidance). */
static bool next_cut(const struct tp_tcp *tcp, struct cut *cut)
{
    if (!tp_tcp_is_synchronized(tcp->state) || tcp->snd_nxt == tp_tcp_queued_end(tcp)) {
        return false;
    }
    uint32_t limit = tcp->snd_una + minimum(tcp->snd_wnd, tp_tcp_congestion_window(tcp));
    if (!tp_sequence_after(limit, tcp->snd_nxt)) {
        return false;
    }
    uint32_t usable = limit - tcp->snd_nxt;
    uint32_t data = tcp->snd_end - tcp->snd_nxt;
    uint32_t full = segment_size_max(tcp);
    uint32_t size = minimum(data, minimum(usable, full));
    cut->sequence = tcp->snd_nxt;
    cut->size = size;
    cut->fin = tcp->closing && size == data && usable > size;
    if (size == full || size == data) {
        return size > 0 || cut->fin;
    }
    return size >= tcp->max_snd_wnd / 2 || tp_sequence_before(tcp->snd_nxt, tcp->snd_max);
}

bool tp_tcp_output_is_due(const struct tp_tcp *tcp)
{
    struct cut cut;
    return tcp->pending != 0 || next_cut(tcp, &cut);
}

static struct tp_tcp_segment segment_start(const struct tp_tcp *tcp, uint32_t sequence,
                                           uint8_t flags)
{
    return (struct tp_tcp_segment){
        .source_port = tcp->config.local_port,
        .destination_port = tcp->config.remote_port,
        .sequence = sequence,
        .flags = flags,
    };
}

/* An ACK leaves, alone or with text. More follow where the peer counts duplicates, which text does
 * not make one of (RFC 5681 2), or where the blocks of one do not tell it all. */
static void acknowledged(struct tp_tcp *tcp, bool is_pure)
{
    if (is_pure || tcp->duplicate_acks_due == 1) {
        tcp->duplicate_acks_due -= tcp->duplicate_acks_due > 0 ? 1 : 0;
    }
    if (tcp->duplicate_acks_due == 0 && !tp_tcp_sack_is_untold(tcp)) {
        tcp->pending &= ~(uint32_t)TP_TCP_PENDING_ACK;
    }
}

/* Acknowledgment, window, timestamps and SACK: what every segment but SYN and RST carries. */
static struct tp_tcp_segment segment_with_ack(struct tp_tcp *tcp, uint32_t sequence, uint8_t flags,
                                              uint64_t now_ns, bool is_pure)
{
    struct tp_tcp_segment segment = segment_start(tcp, sequence, flags | TP_TCP_ACK);
    segment.acknowledgment = tcp->rcv_nxt;
    segment.window = tp_tcp_window_field(tcp, false);
    if (tcp->timestamps) {
        segment.has_timestamps = true;
        segment.timestamp_value = tp_tcp_timestamp_now(tcp, now_ns);
        segment.timestamp_echo = tcp->ts_recent;
    }
    tp_tcp_sack_write(tcp, &segment);
    tcp->last_ack_sent = tcp->rcv_nxt;
    tcp->delayed_ack_ns = TP_TCP_NEVER;
    acknowledged(tcp, is_pure);
    return segment;
}

/* The checksum of the complete segment in out. */
static uint32_t segment_finish(struct tp_tcp *tcp, uint8_t *out, uint32_t size)
{
    uint64_t sum = tp_checksum_pseudo_header(tcp->config.local_address, tcp->config.remote_address,
                                             PROTOCOL_TCP, size);
    tp_store_be16(out + CHECKSUM_OFFSET, tp_checksum_finish(tp_checksum_partial(out, size, sum)));
    tcp->counters.segments_out++;
    return size;
}

static void ring_read(const struct tp_tcp *tcp, uint32_t sequence, uint32_t size, uint8_t *out)
{
    uint32_t offset = sequence & tcp->send_mask;
    uint32_t head = minimum(size, tcp->send_mask + 1 - offset);
    memcpy(out, tcp->send_ring + offset, head);
    memcpy(out + head, tcp->send_ring, size - head);
}

/* RFC 9293 3.9.1.2: PSH where an application's write ends. */
static bool ends_a_write(const struct tp_tcp *tcp, const struct cut *cut)
{
    for (uint32_t index = 0; index < tcp->push_count; index++) {
        if (tp_sequence_after(tcp->push[index], cut->sequence) &&
            !tp_sequence_after(tcp->push[index], cut->sequence + cut->size)) {
            return true;
        }
    }
    return false;
}

/* Accounts for a cut that is about to leave: retransmissions are never timed (Karn's rule). */
static void cut_account(struct tp_tcp *tcp, const struct cut *cut, uint64_t now_ns)
{
    uint32_t end = cut_end(cut);
    if (tp_sequence_before(cut->sequence, tcp->snd_max)) {
        tcp->counters.retransmits++;
        tcp->rtt_timing = false;
    } else if (!tcp->rtt_timing) {
        tcp->rtt_timing = true;
        tcp->rtt_started_ns = now_ns;
        tcp->rtt_sequence = end;
    }
    if (tcp->snd_una == tcp->snd_max) {
        tcp->unacknowledged_since_ns = now_ns;
    }
    uint32_t sent_end = tp_sequence_min(tp_sequence_max(tcp->snd_max, cut->sequence), tcp->snd_end);
    if (tp_sequence_after(cut->sequence + cut->size, sent_end)) {
        tcp->counters.bytes_out += cut->sequence + cut->size - sent_end;
    }
    tcp->snd_max = tp_sequence_max(tcp->snd_max, end);
    tcp->last_send_ns = now_ns;
}

/* Builds the segment, shortening the cut to what out holds. */
static uint32_t cut_output(struct tp_tcp *tcp, struct cut *cut, uint64_t now_ns, uint8_t *out,
                           uint32_t capacity)
{
    uint8_t flags = 0;
    uint32_t size_max = capacity - TP_TCP_HEADER_SIZE_MAX;
    if (cut->size > size_max) {
        cut->size = size_max;
        cut->fin = false;
    }
    if (cut->size > 0 && ends_a_write(tcp, cut)) {
        flags |= TP_TCP_PSH;
    }
    if (cut->fin) {
        flags |= TP_TCP_FIN;
    }
    struct tp_tcp_segment segment = segment_with_ack(tcp, cut->sequence, flags, now_ns, false);
    cut_account(tcp, cut, now_ns);
    uint32_t header_size = tp_tcp_segment_write_header(&segment, out);
    ring_read(tcp, cut->sequence, cut->size, out + header_size);
    return segment_finish(tcp, out, header_size + cut->size);
}

/* A cut of what was sent before, up to one full segment from sequence. */
static struct cut sent_cut(const struct tp_tcp *tcp, uint32_t sequence)
{
    uint32_t data_end = tp_sequence_min(tcp->snd_max, tcp->snd_end);
    uint32_t data = tp_sequence_before(sequence, data_end) ? data_end - sequence : 0;
    struct cut cut = {.sequence = sequence, .size = minimum(data, segment_size_max(tcp))};
    cut.fin = tcp->closing && tp_sequence_after(tcp->snd_max, tcp->snd_end) &&
              sequence + cut.size == tcp->snd_end;
    return cut;
}

static uint32_t retransmit_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out,
                                  uint32_t capacity)
{
    tcp->pending &= ~(uint32_t)TP_TCP_PENDING_RETRANSMIT;
    if (tcp->snd_una == tcp->snd_max) {
        return 0;
    }
    struct cut cut = sent_cut(tcp, tcp->snd_una);
    uint32_t size = cut_output(tcp, &cut, now_ns, out, capacity);
    tcp->snd_nxt = tp_sequence_max(tcp->snd_nxt, cut_end(&cut));
    tp_tcp_timer_sent(tcp, now_ns);
    return size;
}

/* RFC 8985 7.3: new data where the peer's window has room, else the last segment again. */
static uint32_t tail_probe_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out,
                                  uint32_t capacity)
{
    tcp->pending &= ~(uint32_t)TP_TCP_PENDING_TAIL_PROBE;
    uint32_t in_flight = tcp->snd_max - tcp->snd_una;
    if (in_flight == 0 || tcp->snd_nxt != tcp->snd_max) {
        return 0;
    }
    uint32_t full = segment_size_max(tcp);
    uint32_t unsent =
        tp_sequence_before(tcp->snd_max, tcp->snd_end) ? tcp->snd_end - tcp->snd_max : 0;
    struct cut cut = {.sequence = tcp->snd_max, .size = minimum(unsent, full)};
    if (tcp->dupacks > 0) {
        cut = sent_cut(tcp, tcp->snd_una); /* the tail arrived, what misses is the head */
    } else if (unsent == 0 || in_flight + cut.size > tcp->snd_wnd) {
        cut = sent_cut(tcp, tcp->snd_max - minimum(in_flight, full));
    }
    uint32_t size = cut_output(tcp, &cut, now_ns, out, capacity);
    tcp->snd_nxt = tcp->snd_max;
    return size;
}

/* RFC 9293 3.8.6.1: at least one byte into a closed window; what fits into a sliver of one. */
static uint32_t window_probe_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out,
                                    uint32_t capacity)
{
    tcp->pending &= ~(uint32_t)TP_TCP_PENDING_WINDOW_PROBE;
    if (tcp->snd_nxt != tcp->snd_una || tcp->snd_nxt == tp_tcp_queued_end(tcp)) {
        return 0;
    }
    uint32_t data = tcp->snd_end - tcp->snd_nxt;
    uint32_t size = minimum(data, minimum(tcp->snd_wnd, segment_size_max(tcp)));
    struct cut cut = {.sequence = tcp->snd_nxt, .size = size > 0 ? size : minimum(data, 1)};
    cut.fin = data == 0;
    uint32_t built = cut_output(tcp, &cut, now_ns, out, capacity);
    if (size > 0) { /* it fits the window: in flight like any other, so the time-out watches it */
        tcp->snd_nxt += cut.size;
        tp_tcp_timer_sent(tcp, now_ns);
    }
    return built;
}

static uint32_t data_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out, uint32_t capacity)
{
    struct cut cut;
    if (tcp->snd_una == tcp->snd_max && tcp->snd_nxt != tp_tcp_queued_end(tcp)) {
        tp_tcp_congestion_idle(tcp, now_ns);
    }
    if (!next_cut(tcp, &cut)) {
        if (tcp->snd_nxt == tcp->snd_una && tcp->snd_nxt != tp_tcp_queued_end(tcp) &&
            tcp->retransmit_timer == TP_TCP_TIMER_NONE) {
            tp_tcp_timer_rearm(tcp, now_ns); /* the peer's window is closed: persist */
        }
        return 0;
    }
    uint32_t size = cut_output(tcp, &cut, now_ns, out, capacity);
    tcp->snd_nxt = cut_end(&cut);
    tp_tcp_timer_sent(tcp, now_ns);
    return size;
}

static uint32_t reset_output(struct tp_tcp *tcp, uint8_t *out)
{
    struct tp_tcp_segment segment = segment_start(tcp, tcp->reset_sequence, tcp->reset_flags);
    segment.acknowledgment = tcp->reset_acknowledgment;
    tcp->pending &= ~(uint32_t)TP_TCP_PENDING_RESET;
    return segment_finish(tcp, out, tp_tcp_segment_write_header(&segment, out));
}

/* Our SYN, or SYN-ACK in a simultaneous open, with what we offer (RFC 7323 2.2, RFC 2018 2). */
static uint32_t syn_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out)
{
    bool answers = tcp->state == TP_TCP_SYN_RECEIVED;
    struct tp_tcp_segment segment =
        segment_start(tcp, tcp->iss, answers ? TP_TCP_SYN | TP_TCP_ACK : TP_TCP_SYN);
    segment.acknowledgment = answers ? tcp->rcv_nxt : 0;
    segment.window = tp_tcp_window_field(tcp, true);
    segment.has_mss = true;
    segment.mss = tcp->config.mss;
    segment.has_window_scale = !answers || tcp->window_scaling;
    segment.window_scale = tcp->rcv_scale;
    segment.sack_permitted = !answers || tcp->sack;
    segment.has_timestamps = !answers || tcp->timestamps;
    segment.timestamp_value = tp_tcp_timestamp_now(tcp, now_ns);
    segment.timestamp_echo = answers ? tcp->ts_recent : 0;
    tcp->pending &= ~(uint32_t)(TP_TCP_PENDING_SYN | TP_TCP_PENDING_ACK);
    tcp->last_ack_sent = tcp->rcv_nxt;
    tcp->rtt_timing = tcp->snd_max == tcp->iss; /* the first one is timed */
    tcp->rtt_started_ns = now_ns;
    tcp->rtt_sequence = tcp->iss + 1;
    if (tcp->snd_max != tcp->iss) {
        tcp->counters.retransmits++;
    }
    tcp->snd_nxt = tcp->snd_max = tcp->iss + 1;
    if (tcp->retransmit_timer == TP_TCP_TIMER_NONE) {
        tp_tcp_timer_rearm(tcp, now_ns);
    }
    return segment_finish(tcp, out, tp_tcp_segment_write_header(&segment, out));
}

static uint32_t ack_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out)
{
    uint32_t sequence = tp_tcp_acceptable_sequence(tcp);
    if (tcp->pending & TP_TCP_PENDING_KEEPALIVE) {
        tcp->pending &= ~(uint32_t)TP_TCP_PENDING_KEEPALIVE;
        sequence = tcp->snd_nxt - 1; /* RFC 9293 3.8.4: below the window, so it must be answered */
    }
    struct tp_tcp_segment segment = segment_with_ack(tcp, sequence, 0, now_ns, true);
    return segment_finish(tcp, out, tp_tcp_segment_write_header(&segment, out));
}

/* At most one of these is due, and not before anything else that is. */
static uint32_t repair_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out, uint32_t capacity)
{
    uint32_t size = 0;
    if (tcp->pending & TP_TCP_PENDING_RETRANSMIT) {
        size = retransmit_output(tcp, now_ns, out, capacity);
    }
    if (size == 0 && (tcp->pending & TP_TCP_PENDING_TAIL_PROBE)) {
        size = tail_probe_output(tcp, now_ns, out, capacity);
    }
    if (size == 0 && (tcp->pending & TP_TCP_PENDING_WINDOW_PROBE)) {
        size = window_probe_output(tcp, now_ns, out, capacity);
    }
    return size;
}

uint32_t tp_tcp_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out, uint32_t capacity)
{
    assert(capacity > TP_TCP_HEADER_SIZE_MAX);
    tp_tcp_timers_run(tcp, now_ns);
    if (tcp->pending & TP_TCP_PENDING_RESET) {
        return reset_output(tcp, out);
    }
    if (tcp->state == TP_TCP_CLOSED) {
        return 0;
    }
    if (tcp->pending & TP_TCP_PENDING_SYN) {
        return syn_output(tcp, now_ns, out);
    }
    uint32_t size = repair_output(tcp, now_ns, out, capacity);
    if (size == 0) {
        size = data_output(tcp, now_ns, out, capacity);
    }
    if (size == 0 && (tcp->pending & (TP_TCP_PENDING_ACK | TP_TCP_PENDING_KEEPALIVE))) {
        size = ack_output(tcp, now_ns, out);
    }
    return size;
}
