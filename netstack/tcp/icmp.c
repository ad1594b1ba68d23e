/* ICMP errors about our segments: RFC 5927 (only those that quote what is in flight are believed),
 * RFC 1191 (path MTU), RFC 9293 3.9.2.2 (hard and soft errors). Called by the parent, between
 * tp_tcp_input and tp_tcp_output. */
#include "netstack/tcp/state.h"

enum { /* RFC 792, RFC 1122 3.2.2.1 */
       TYPE_UNREACHABLE = 3,
       CODE_PROTOCOL_UNREACHABLE = 2,
       CODE_PORT_UNREACHABLE = 3,
       CODE_FRAGMENTATION_NEEDED = 4,
       CODE_NET_PROHIBITED = 9,
       CODE_HOST_PROHIBITED = 10,
       CODE_COMMUNICATION_PROHIBITED = 13,
};

enum { IPV4_AND_TCP_HEADER_SIZE = 40 };

static bool is_hard(uint8_t code)
{
    return code == CODE_PROTOCOL_UNREACHABLE || code == CODE_PORT_UNREACHABLE ||
           code == CODE_NET_PROHIBITED || code == CODE_HOST_PROHIBITED ||
           code == CODE_COMMUNICATION_PROHIBITED;
}

static void path_mtu_lower(struct tp_tcp *tcp, uint16_t mtu)
{
    if (mtu < TP_TCP_PMTU_MIN) { /* a lie, or a router older than RFC 1191 that says 0 */
        mtu = TP_TCP_PMTU_MIN;
    }
    uint32_t mss =
        (uint32_t)mtu - IPV4_AND_TCP_HEADER_SIZE - (tcp->timestamps ? TP_TCP_TIMESTAMPS_SIZE : 0);
    if (mss >= tcp->snd_mss) {
        return;
    }
    tcp->snd_mss = mss;
    tcp->snd_nxt = tcp->snd_una; /* what is in flight did not fit: send it again, no back-off */
    tcp->rtt_timing = false;
}

void tp_tcp_icmp_input(struct tp_tcp *tcp, uint32_t quoted_sequence, uint8_t type, uint8_t code,
                       uint16_t mtu)
{
    bool in_flight = !tp_sequence_before(quoted_sequence, tcp->snd_una) &&
                     tp_sequence_before(quoted_sequence, tcp->snd_max);
    if (type != TYPE_UNREACHABLE || !in_flight || tcp->state == TP_TCP_CLOSED) {
        return;
    }
    if (tcp->state == TP_TCP_SYN_SENT) {
        if (is_hard(code)) {
            tp_tcp_end(tcp, TP_TCP_ERROR_UNREACHABLE);
        }
        return;
    }
    if (code == CODE_FRAGMENTATION_NEEDED && tp_tcp_is_synchronized(tcp->state)) {
        path_mtu_lower(tcp, mtu);
    }
}
