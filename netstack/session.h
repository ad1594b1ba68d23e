/* One client connection, all layers together: stream > TLS > HTTP/1.1 upgrade > WebSocket, or plain
 * bytes for HTTP. session.c composes stream > TLS > application; session_ws.c (WebSocket) and
 * session_http.c (plain bytes) are the applications, session_state.h is what the three share.
 *
 * Called by engine/loop/connection_loop.c (many sessions, its own loop) and netstack/session.py
 * (one session, tp_session_wait). One thread. For each burst:
 *
 *   tp_session_segment | tp_session_receive   bytes climb: TCP > TLS > the message buffer
 *   tp_session_next | tp_session_read         what the application sees, in place
 *   tp_session_output                         ACKs, answers and data descend, after that */
#ifndef TP_NETSTACK_SESSION_H
#define TP_NETSTACK_SESSION_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/netif.h"
#include "netstack/session_memory.h"
#include "netstack/stream/stream.h"
#include "netstack/tls/handshake_worker.h"
#include "netstack/tls/tls.h"
#include "netstack/ws/ws.h"

enum tp_session_phase {
    TP_SESSION_CONNECTING,
    TP_SESSION_TLS_HANDSHAKE,
    TP_SESSION_UPGRADING,
    TP_SESSION_OPEN,
    TP_SESSION_CLOSING, /* close frame sent or received; waiting for the peer to end the stream */
    TP_SESSION_CLOSED,
};

enum tp_session_error {
    TP_SESSION_ERROR_NONE,
    TP_SESSION_ERROR_CONNECT, /* refused, unreachable or timed out before it was established */
    TP_SESSION_ERROR_STREAM,  /* reset or timed out later */
    TP_SESSION_ERROR_TLS,
    TP_SESSION_ERROR_HTTP,      /* the upgrade was refused or malformed */
    TP_SESSION_ERROR_WEBSOCKET, /* the peer broke RFC 6455 */
    TP_SESSION_ERROR_TIMEOUT,   /* handshakes took longer than handshake_timeout_ns */
    TP_SESSION_ERROR_TRUNCATED, /* the stream ended without the protocol's own end */
    TP_SESSION_ERROR_OVERFLOW,  /* the peer sent more than the buffer that was promised holds */
    TP_SESSION_ERROR_MEMORY,    /* no large buffer was free for a message */
};

struct tp_session_config {
    struct tp_tls_context *tls; /* NULL: no TLS */
    const char *server_name;
    /* Who does the TLS handshake: a thread of its own, so that the session's thread does not wait
     * for public-key work. NULL: the session, within its calls. */
    struct tp_tls_handshake_worker *handshake_worker;
    bool websocket;
    const char *host, *target, *extra_headers; /* of the upgrade request; copied */
    /* Where its buffers are; borrowed until the session is freed. NULL: one of its own, by the two
     * that follow; with a memory it says them. */
    struct tp_session_memory *memory;
    size_t message_size_max; /* largest WebSocket message */
    uint32_t receive_window; /* what TCP may have in flight to us */
    uint64_t handshake_timeout_ns;
};

struct tp_session_times { /* ns of the caller's clock; 0: not reached */
    uint64_t started, connected, tls_done, open, first_byte;
};

struct tp_session_counters {
    uint64_t messages, pings, pongs, bytes_in, bytes_out;
};

struct tp_session;
struct tp_fault_injector;

/* Takes the stream (tp_stream_deinit is called by free). NULL with the reason in error[]. */
struct tp_session *tp_session_new(const struct tp_session_config *config,
                                  struct tp_stream *take_stream, char *error, size_t error_size);
void tp_session_free(struct tp_session *session);
/* User-space TCP only, before connect: where its segments leave. */
void tp_session_set_flow(struct tp_session *session, struct tp_netif_flow *flow);

void tp_session_connect(struct tp_session *session, uint64_t now_ns);
/* One TCP segment of ours, as tp_netif_input returned it. Payloads handed out before die. */
void tp_session_segment(struct tp_session *session, const struct tp_tcp_segment *segment,
                        uint64_t now_ns);
/* Kernel socket: one recv. False when nothing was there. Payloads handed out before die. */
bool tp_session_receive(struct tp_session *session, uint64_t now_ns);

/* WebSocket: the next message or control frame; pings and closes are already answered. TP_OK,
 * TP_NEED_MORE, TP_CLOSED (ended by the protocol's rules), TP_ERROR (see tp_session_error). */
enum tp_status tp_session_next(struct tp_session *session, struct tp_ws_message *out);
/* Bytes: all that is unread; drops what the previous call returned. Same statuses. */
enum tp_status tp_session_read(struct tp_session *session, struct tp_span *out);

/* Queues a WebSocket message (in fragments when it is larger than 16,000 bytes). TP_FULL: call
 * again with the same arguments after output; *taken says how far it got (0 at first). TP_CLOSED:
 * not open. */
enum tp_status tp_session_send(struct tp_session *session, enum tp_ws_opcode opcode,
                               struct tp_span payload, size_t *taken);
enum tp_status tp_session_send_bytes(struct tp_session *session, struct tp_span data,
                                     size_t *taken);
/* WebSocket: sends a close frame; bytes: close_notify and FIN. */
void tp_session_close(struct tp_session *session, uint16_t code, uint64_t now_ns);
void tp_session_abort(struct tp_session *session);
/* The caller waited long enough: aborts, with text (static) as the error's. */
void tp_session_give_up(struct tp_session *session, const char *text);

/* Answers pings that come next, for a sender that waits for room and reads no messages meanwhile.
 * Payloads handed out before die. */
void tp_session_answer_pings(struct tp_session *session);

/* Lets time pass: timeouts. */
void tp_session_tick(struct tp_session *session, uint64_t now_ns);
/* Commits what is due to the link (netif) or the socket (netif NULL). Returns frames committed; for
 * a socket 1 when the kernel took all that was queued, 0 when it did not or there was nothing. */
uint32_t tp_session_output(struct tp_session *session, struct tp_netif *netif, uint64_t now_ns);
/* The latest time for the next tp_session_tick and tp_session_output. With a handshake worker it
 * may come to be 0 without any input: look at it a few thousand times a second meanwhile. */
uint64_t tp_session_deadline(const struct tp_session *session);
/* Nothing left to send or to wait for: may be freed. */
bool tp_session_finished(const struct tp_session *session);

/* For a program with one session: input, output and timers until there is something to read, the
 * phase changes, want_space bytes can be sent (0: do not care), the link fails, or timeout_ns
 * passed. Spins for spin_ns, then sleeps in poll(). Reads CLOCK_MONOTONIC. */
struct tp_session_wait {
    uint64_t timeout_ns, spin_ns;
    size_t want_space;
    struct tp_fault_injector *faults; /* whose link netif has, for its time; NULL: none */
};
void tp_session_wait(struct tp_session *session, struct tp_netif *netif,
                     const struct tp_session_wait *wait);

enum tp_session_phase tp_session_phase(const struct tp_session *session);
enum tp_session_error tp_session_error(const struct tp_session *session);
/* "tls: bad_record_mac", "websocket: masked frame from the server (1002)", ... */
void tp_session_error_text(const struct tp_session *session, char *out, size_t capacity);
/* ERROR_HTTP: the status of an upgrade that was refused, 0 where it was none; and its Retry-After
 * (RFC 9110 10.2.3) as it came, "" where there was none. The text lives as long as the session. */
uint16_t tp_session_http_status(const struct tp_session *session);
const char *tp_session_retry_after(const struct tp_session *session);
const char *tp_session_phase_name(enum tp_session_phase phase);
/* What the peer's close frame said: code 1006 when there was none (RFC 6455 7.1.5). */
uint16_t tp_session_close_code(const struct tp_session *session);
struct tp_span tp_session_close_reason(const struct tp_session *session);
const struct tp_session_times *tp_session_times(const struct tp_session *session);
const struct tp_session_counters *tp_session_counters(const struct tp_session *session);
/* False: plain bytes, as tp_session_read gives them. */
bool tp_session_is_websocket(const struct tp_session *session);
const struct tp_tls *tp_session_tls(const struct tp_session *session);
struct tp_stream *tp_session_stream(struct tp_session *session);
size_t tp_session_send_space(const struct tp_session *session);
#endif
