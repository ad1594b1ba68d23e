/* The window we offer: RFC 9293 3.8.6.2.2 (silly window avoidance), RFC 7323 2.2 (scale).
 *
 * Two right edges are kept. rcv_adv is what the application has room for; it moves by at least one
 * segment at a time. rcv_edge is what the peer has read on the wire: rcv_adv rounded up by the
 * scale, and never moved left (RFC 9293 3.8.6, "shrinking the window"). Segments are accepted up
 * to rcv_edge. */
#include "netstack/tcp/state.h"

static uint32_t minimum(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* What may be offered now, before it is compared with what was offered already. */
static uint32_t window_limit(const struct tp_tcp *tcp)
{
    uint32_t rounding = (1u << tcp->rcv_scale) - 1; /* the edge is rounded up by at most this */
    uint32_t space = tcp->receive_space;
    if (space < tcp->config.receive_buffer_size) {
        space = space > rounding ? space - rounding : 0;
    }
    space = minimum(space, tcp->config.receive_buffer_size);
    return minimum(space, (uint32_t)UINT16_MAX << tcp->rcv_scale);
}

/* RFC 9293 3.8.6.2.2: the step below which the right edge stays where it is. */
static uint32_t window_step(const struct tp_tcp *tcp)
{
    return minimum(tcp->config.receive_buffer_size / 2, tcp->config.mss);
}

void tp_tcp_window_start(struct tp_tcp *tcp)
{
    uint32_t space = minimum(tcp->receive_space, tcp->config.receive_buffer_size);
    tcp->rcv_edge = tcp->rcv_adv = tcp->rcv_nxt + minimum(space, UINT16_MAX);
}

uint16_t tp_tcp_window_field(struct tp_tcp *tcp, bool syn)
{
    if (syn) { /* RFC 7323 2.2: never scaled in a SYN */
        uint32_t space = minimum(tcp->receive_space, tcp->config.receive_buffer_size);
        return (uint16_t)minimum(space, UINT16_MAX);
    }
    uint32_t edge = tcp->rcv_nxt + window_limit(tcp);
    if ((int32_t)(edge - tcp->rcv_adv) >= (int32_t)window_step(tcp)) {
        tcp->rcv_adv = edge;
    }
    uint32_t window =
        tp_sequence_after(tcp->rcv_adv, tcp->rcv_nxt) ? tcp->rcv_adv - tcp->rcv_nxt : 0;
    uint32_t rounding = (1u << tcp->rcv_scale) - 1;
    uint32_t field = minimum((window + rounding) >> tcp->rcv_scale, UINT16_MAX);
    tcp->rcv_edge = tp_sequence_max(tcp->rcv_edge, tcp->rcv_nxt + (field << tcp->rcv_scale));
    return (uint16_t)field;
}

void tp_tcp_receive_space(struct tp_tcp *tcp, uint32_t bytes)
{
    tcp->receive_space = bytes;
    if (tcp->state < TP_TCP_ESTABLISHED || tcp->peer_finished) {
        return;
    }
    uint32_t seen = tp_tcp_rcv_wnd(tcp);
    uint32_t opens = tcp->rcv_nxt + window_limit(tcp) - tcp->rcv_edge;
    uint32_t step = minimum(tcp->config.receive_buffer_size / 2, 2u * tcp->config.mss);
    if (seen < tcp->config.receive_buffer_size / 2 && (int32_t)opens >= (int32_t)step) {
        tcp->pending |= TP_TCP_PENDING_ACK;
    }
}
