/* One TCP client connection: RFC 9293 with injected time, no I/O, no allocation after init.
 *
 * The parent (netstack/stream) calls, in this order, all on one thread:
 *   tp_tcp_connect, then for every received segment tp_tcp_input, then - after the delivered bytes
 *   were used and published - tp_tcp_output until it returns 0. tp_tcp_deadline says when
 *   tp_tcp_output has something to do without any input. Nothing here calls another layer. */
#ifndef TP_NETSTACK_TCP_CONNECTION_H
#define TP_NETSTACK_TCP_CONNECTION_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"
#include "netstack/wire/tcp_header.h"

enum tp_tcp_state { /* RFC 9293 3.3.2; a client never listens */
                    TP_TCP_CLOSED,
                    TP_TCP_SYN_SENT,
                    TP_TCP_SYN_RECEIVED,
                    TP_TCP_ESTABLISHED,
                    TP_TCP_FIN_WAIT_1,
                    TP_TCP_FIN_WAIT_2,
                    TP_TCP_CLOSE_WAIT,
                    TP_TCP_CLOSING,
                    TP_TCP_LAST_ACK,
                    TP_TCP_TIME_WAIT,
};

enum tp_tcp_error {
    TP_TCP_ERROR_NONE,
    TP_TCP_ERROR_REFUSED,     /* RST in answer to our SYN */
    TP_TCP_ERROR_RESET,       /* valid RST later on */
    TP_TCP_ERROR_TIMEOUT,     /* retransmissions, probes or keep-alives went unanswered */
    TP_TCP_ERROR_UNREACHABLE, /* ICMP hard error while SYN-SENT */
    TP_TCP_ERROR_ABORTED,     /* tp_tcp_abort */
};

struct tp_tcp_config {
    uint32_t local_address, remote_address; /* host byte order */
    uint16_t local_port, remote_port;
    uint16_t mss;                 /* largest segment we accept and send: MTU - 40 */
    uint32_t receive_buffer_size; /* the window, and the cap on out-of-order bytes; power of two */
    uint32_t send_buffer_size;    /* power of two */
    uint64_t rto_min_ns, rto_max_ns;
    uint64_t connect_timeout_ns,
        user_timeout_ns;     /* give up: SYN unanswered; data unacknowledged (RFC 5482) */
    uint64_t keepalive_ns;   /* idle time before the first keep-alive probe; 0: none */
    uint64_t delayed_ack_ns; /* RFC 9293 3.8.6.3: below 500 ms */
    uint8_t isn_secret[16];  /* RFC 6528 */
};

/* In-order bytes that one segment released: the segment's own payload first, then what
 * reassembly held behind it (two spans where its ring wraps). Valid until the next call. */
struct tp_tcp_delivery {
    struct tp_span span[3];
    uint32_t count;
};

struct tp_tcp_counters {
    uint64_t segments_in, segments_out, bytes_in,
        bytes_out; /* bytes: payload, delivered / first sent */
    uint64_t retransmits, fast_retransmits, timeouts, tail_loss_probes;
    uint64_t out_of_order, duplicates, reassembly_dropped, paws_rejected, window_rejected;
    uint64_t challenge_acks, resets_ignored, bad_acks;
};

struct tp_tcp;

/* Fills *config with the defaults: mss 1460, 4 MiB window, 1 MiB send buffer, RTO 200 ms .. 60 s,
 * connect timeout 10 s, user timeout 30 s, keep-alive 15 s, delayed ACK 40 ms. */
void tp_tcp_config_init(struct tp_tcp_config *config);
/* Bytes that tp_tcp_init needs, aligned to 64. 0 when a value of config is out of range. */
size_t tp_tcp_memory_size(const struct tp_tcp_config *config);
/* memory is borrowed for the life of the connection. */
struct tp_tcp *tp_tcp_init(void *memory, const struct tp_tcp_config *config);

void tp_tcp_connect(struct tp_tcp *tcp, uint64_t now_ns);
/* TP_OK: out->count > 0 spans. TP_NEED_MORE: nothing to deliver. TP_CLOSED: the peer's FIN was
 * reached (spans may come with it). TP_ERROR: the connection ended, see tp_tcp_error(). */
enum tp_status tp_tcp_input(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                            uint64_t now_ns, struct tp_tcp_delivery *out);
/* An ICMP error that quoted our segment (RFC 5927: sequence checked against what is in flight).
 * mtu is 0 but for "fragmentation needed". */
void tp_tcp_icmp_input(struct tp_tcp *tcp, uint32_t quoted_sequence, uint8_t type, uint8_t code,
                       uint16_t mtu);
/* Builds the next segment that is due (timers, data, retransmission, ACK, probe, FIN, RST), TCP
 * header to payload with a complete checksum, into out. Returns its size, 0 when nothing is due. */
uint32_t tp_tcp_output(struct tp_tcp *tcp, uint64_t now_ns, uint8_t *out, uint32_t capacity);
/* When tp_tcp_output must be called at the latest; UINT64_MAX: no timer runs. */
uint64_t tp_tcp_deadline(const struct tp_tcp *tcp);

/* Copies what fits into the send buffer and returns how much that was; it leaves at tp_tcp_output.
 */
size_t tp_tcp_send(struct tp_tcp *tcp, struct tp_span data);
/* Free bytes of the send buffer. */
size_t tp_tcp_send_space(const struct tp_tcp *tcp);
/* How many more bytes the application can take: bounds the advertised window; a right edge once
 * advertised is kept. Starts at receive_buffer_size. */
void tp_tcp_receive_space(struct tp_tcp *tcp, uint32_t bytes);
/* FIN after all that was queued. */
void tp_tcp_close(struct tp_tcp *tcp);
/* RST now: the next tp_tcp_output builds it. */
void tp_tcp_abort(struct tp_tcp *tcp);

/* Prefetches what the next in-order segment reads. */
void tp_tcp_touch(const struct tp_tcp *tcp);

enum tp_tcp_state tp_tcp_state(const struct tp_tcp *tcp);
enum tp_tcp_error tp_tcp_error(const struct tp_tcp *tcp);
const struct tp_tcp_counters *tp_tcp_counters(const struct tp_tcp *tcp);
const char *tp_tcp_state_name(enum tp_tcp_state state);
const char *tp_tcp_error_name(enum tp_tcp_error error);
#endif
