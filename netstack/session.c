#include "netstack/session.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRAGMENT_SIZE = 16000, /* a larger message leaves in fragments that fit one TLS record each */
    RECORD_ROOM = 16384 + 512, /* free buffer that TLS may ask for before it opens a record */
    SCRATCH_SIZE = FRAGMENT_SIZE + TP_WS_FRAME_HEADER_SIZE_MAX,
    SEALED_SIZE = SCRATCH_SIZE + 1024,
    ENTROPY_SIZE = 1024, /* masks are drawn in blocks: one RAND_bytes a frame costs 400 ns */
    CLOSE_REASON_SIZE = TP_WS_CONTROL_PAYLOAD_SIZE_MAX - 2,
    COMPACT_HEAD_MIN = 32768,  /* move a short rest down to the cache-hot start of the buffer ... */
    COMPACT_UNREAD_MAX = 4096, /* ... when it is this short */
    FRAGMENT_COUNT_MAX =
        131072, /* 8 MiB in 64-byte fragments is somebody's habit, more is a flood */
    OUTPUT_BUDGET = 256,
};
static const uint64_t CLOSE_TIMEOUT_NS = 2000000000u;

struct tp_session {
    struct tp_stream stream;
    struct tp_netif_flow *flow;
    struct tp_tls *tls;
    struct tp_ws ws;
    struct tp_buffer buffer;
    enum tp_session_phase phase;
    enum tp_session_error error;
    const char *error_text;
    struct tp_session_config config;
    char key[TP_WS_KEY_SIZE + 1];
    size_t read_size; /* bytes that tp_session_read handed out last */
    bool input_ended; /* the peer will send nothing more */
    bool input_clean; /* ... and said so by the protocol's rules */
    bool close_sent, pong_pending;
    uint16_t close_code_sent; /* or to be sent, as soon as there is room (CLOSING) */
    uint8_t pong[TP_WS_CONTROL_PAYLOAD_SIZE_MAX];
    size_t pong_size;
    uint16_t close_code;
    uint8_t close_reason[CLOSE_REASON_SIZE];
    size_t close_reason_size;
    uint64_t deadline_ns; /* of the handshakes, or of the close */
    struct tp_session_times times;
    struct tp_session_counters counters;
    uint8_t entropy[ENTROPY_SIZE];
    size_t entropy_used;
    char head_error[160]; /* what the upgrade's answer said, kept beyond its buffer */
    uint8_t scratch[SCRATCH_SIZE], sealed[SEALED_SIZE];
};

static void set_phase(struct tp_session *s, enum tp_session_phase phase, uint64_t now_ns)
{
    s->phase = phase;
    if (phase == TP_SESSION_OPEN) {
        s->times.open = now_ns;
        s->deadline_ns = UINT64_MAX;
    }
}

void tp_session_set_flow(struct tp_session *s, struct tp_netif_flow *flow)
{
    s->flow = flow;
}

struct tp_session *tp_session_new(const struct tp_session_config *config,
                                  struct tp_stream *take_stream, char *error, size_t error_size)
{
    struct tp_session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    s->stream = *take_stream;
    s->config = *config;
    s->config.host = s->config.target = s->config.extra_headers = NULL;
    s->close_code = 1006;
    s->deadline_ns = UINT64_MAX;
    s->entropy_used = ENTROPY_SIZE;
    s->buffer.capacity = config->message_size_max + config->receive_window + 4 * RECORD_ROOM;
    s->buffer.data = malloc(s->buffer.capacity);
    if (config->tls != NULL)
        s->tls = tp_tls_new(config->tls, config->server_name);
    if (s->buffer.data == NULL || (config->tls != NULL && s->tls == NULL)) {
        snprintf(error, error_size,
                 "cannot set up a session with a %zu byte buffer and TLS name '%s'",
                 s->buffer.capacity, config->tls != NULL ? config->server_name : "");
        goto free_session;
    }
    if (!config->websocket)
        return s;
    tp_ws_init(&s->ws, &(struct tp_ws_config){config->message_size_max, FRAGMENT_COUNT_MAX});
    uint8_t nonce[16];
    if (RAND_bytes(nonce, sizeof nonce) != 1) {
        snprintf(error, error_size, "no entropy for Sec-WebSocket-Key");
        goto free_session;
    }
    EVP_EncodeBlock((uint8_t *)s->key, nonce, sizeof nonce);
    /* The request waits in scratch until the stream is up; nothing else uses scratch before. */
    s->read_size = tp_ws_handshake_request(s->scratch, sizeof s->scratch, config->host,
                                           config->target, config->extra_headers, s->key);
    if (s->read_size == 0) {
        snprintf(error, error_size,
                 "the upgrade request for host '%s' cannot be written: expected at most %d bytes "
                 "without CR, LF or NUL",
                 config->host, SCRATCH_SIZE);
        goto free_session;
    }
    return s;
free_session:
    tp_tls_free(s->tls);
    free(s->buffer.data);
    free(s); /* the stream stays the caller's */
    return NULL;
}

void tp_session_free(struct tp_session *session)
{
    if (session == NULL)
        return;
    tp_tls_free(session->tls);
    tp_stream_deinit(&session->stream);
    free(session->buffer.data);
    free(session);
}

/* ---- descending
 * ---------------------------------------------------------------------------------- */

static void flush_tls(struct tp_session *s)
{
    size_t space;
    while (s->tls != NULL && (space = tp_stream_space(&s->stream)) > 0) {
        const size_t size =
            tp_tls_output(s->tls, s->sealed, space < SEALED_SIZE ? space : SEALED_SIZE);
        if (size == 0)
            return;
        tp_stream_send(&s->stream, (struct tp_span){s->sealed, size});
    }
}

/* The orderly end: close_notify, then FIN behind all that is queued. */
static void end_stream(struct tp_session *s)
{
    if (s->tls != NULL)
        tp_tls_close(s->tls);
    flush_tls(s);
    s->phase = TP_SESSION_CLOSED;
    tp_stream_close(&s->stream);
}

/* The first error wins; what was read before it stays readable. */
static void fail(struct tp_session *s, enum tp_session_error error, const char *text)
{
    if (s->error != TP_SESSION_ERROR_NONE || s->phase == TP_SESSION_CLOSED)
        return;
    s->error = error;
    s->error_text = text;
    end_stream(s);
}

/* Seals scratch[0, size) and queues it; the caller made sure that it fits. */
static void queue(struct tp_session *s, struct tp_span plain)
{
    s->counters.bytes_out += plain.size;
    if (s->tls == NULL) {
        tp_stream_send(&s->stream, plain);
        return;
    }
    flush_tls(s);
    const size_t size = tp_tls_seal(s->tls, plain, s->sealed, SEALED_SIZE);
    assert(size > 0);
    tp_stream_send(&s->stream, (struct tp_span){s->sealed, size});
}

static bool room_for(const struct tp_session *s, size_t plain_size)
{
    const size_t size = s->tls != NULL ? tp_tls_sealed_size(s->tls, plain_size) : plain_size;
    return tp_stream_space(&s->stream) >=
           size + 256; /* 256: an alert or a KeyUpdate may go first */
}

static const uint8_t *next_mask(struct tp_session *s)
{
    if (s->entropy_used + 4 > ENTROPY_SIZE) {
        const int filled = RAND_bytes(s->entropy, ENTROPY_SIZE);
        assert(filled == 1); /* the generator was seeded at tp_session_new */
        s->entropy_used = 0;
    }
    s->entropy_used += 4;
    return s->entropy + s->entropy_used - 4;
}

static bool queue_frame(struct tp_session *s, enum tp_ws_opcode opcode, bool fin,
                        struct tp_span payload)
{
    if (!room_for(s, payload.size + TP_WS_FRAME_HEADER_SIZE_MAX))
        return false;
    const size_t size =
        tp_ws_frame_write(s->scratch, SCRATCH_SIZE, opcode, fin, next_mask(s), payload);
    assert(size > 0);
    queue(s, (struct tp_span){s->scratch, size});
    return true;
}

static void queue_close_frame(struct tp_session *s)
{
    const uint16_t code = s->close_code_sent;
    const uint8_t payload[] = {(uint8_t)(code >> 8), (uint8_t)code};
    const size_t size = code == 1005 ? 0 : sizeof payload; /* 1005 never stands on the wire */
    if (!s->close_sent && queue_frame(s, TP_WS_CLOSE, true, (struct tp_span){payload, size}))
        s->close_sent = true;
}

/* Begins the closing handshake, or answers it; the frame waits for room where there is none. */
static void close_websocket(struct tp_session *s, uint16_t code)
{
    if (s->phase == TP_SESSION_OPEN)
        s->close_code_sent = code;
    s->phase = TP_SESSION_CLOSING;
    queue_close_frame(s);
}

enum tp_status tp_session_send(struct tp_session *s, enum tp_ws_opcode opcode,
                               struct tp_span payload, size_t *taken)
{
    if (s->phase != TP_SESSION_OPEN || s->close_sent)
        return TP_CLOSED;
    do {
        const size_t rest = payload.size - *taken,
                     size = rest < FRAGMENT_SIZE ? rest : FRAGMENT_SIZE;
        const enum tp_ws_opcode frame_opcode = *taken == 0 ? opcode : TP_WS_CONTINUATION;
        if (!queue_frame(s, frame_opcode, size == rest,
                         (struct tp_span){payload.data + *taken, size}))
            return TP_FULL;
        *taken += size;
    } while (*taken < payload.size);
    return TP_OK;
}

enum tp_status tp_session_send_bytes(struct tp_session *s, struct tp_span data, size_t *taken)
{
    if (s->phase != TP_SESSION_OPEN)
        return TP_CLOSED;
    while (*taken < data.size) {
        const size_t rest = data.size - *taken, size = rest < FRAGMENT_SIZE ? rest : FRAGMENT_SIZE;
        if (!room_for(s, size))
            return TP_FULL;
        queue(s, (struct tp_span){data.data + *taken, size});
        *taken += size;
    }
    return TP_OK;
}

void tp_session_close(struct tp_session *s, uint16_t code, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_OPEN && s->config.websocket) {
        close_websocket(s, code);
        s->deadline_ns = now_ns + CLOSE_TIMEOUT_NS;
        return;
    }
    end_stream(s);
}

void tp_session_abort(struct tp_session *s)
{
    s->phase = TP_SESSION_CLOSED;
    tp_stream_abort(&s->stream);
}

void tp_session_give_up(struct tp_session *s, const char *text)
{
    if (s->phase == TP_SESSION_CLOSED)
        return;
    s->error = TP_SESSION_ERROR_TIMEOUT;
    s->error_text = text;
    tp_session_abort(s);
}

/* ---- climbing
 * ------------------------------------------------------------------------------------ */

static void compact(struct tp_buffer *buffer)
{
    memmove(buffer->data, buffer->data + buffer->head, buffer->tail - buffer->head);
    buffer->tail -= buffer->head;
    buffer->head = 0;
}

/* Keeps the working set at the start of the buffer: an empty or nearly empty one starts over. */
static void settle(struct tp_buffer *buffer)
{
    const size_t unread = buffer->tail - buffer->head;
    if (unread == 0)
        buffer->head = buffer->tail = 0;
    else if (buffer->head >= COMPACT_HEAD_MIN && unread <= COMPACT_UNREAD_MAX)
        compact(buffer);
}

/* Promises the peer what the buffer can still hold. */
static void update_window(struct tp_session *s)
{
    if (s->stream.kind != TP_STREAM_TCP)
        return;
    const size_t unread = s->buffer.tail - s->buffer.head, kept = unread + 4 * RECORD_ROOM;
    const size_t space = s->buffer.capacity > kept ? s->buffer.capacity - kept : 0;
    tp_tcp_receive_space(s->stream.tcp, space < UINT32_MAX ? (uint32_t)space : UINT32_MAX);
}

static void take_plain(struct tp_session *s, struct tp_span in)
{
    if (tp_buffer_space(&s->buffer) < in.size)
        compact(&s->buffer);
    if (tp_buffer_space(&s->buffer) < in.size) {
        fail(s, TP_SESSION_ERROR_OVERFLOW, "the peer sent beyond the advertised window");
        return;
    }
    memcpy(s->buffer.data + s->buffer.tail, in.data, in.size);
    s->buffer.tail += in.size;
}

static void take_tls(struct tp_session *s, struct tp_span in)
{
    while (in.size > 0 && !s->input_ended) {
        const enum tp_status status = tp_tls_input(s->tls, &in, &s->buffer);
        flush_tls(s);
        switch (status) {
        case TP_OK:
            break;
        case TP_NEED_MORE:
            return;
        case TP_FULL:
            if (s->buffer.head == 0) {
                fail(s, TP_SESSION_ERROR_OVERFLOW, "the peer sent beyond the advertised window");
                return;
            }
            compact(&s->buffer);
            break;
        case TP_CLOSED:
            s->input_ended = s->input_clean = true;
            break;
        case TP_ERROR:
            fail(s, TP_SESSION_ERROR_TLS, NULL);
            return;
        }
    }
}

static void start_upgrade(struct tp_session *s, uint64_t now_ns)
{
    if (!s->config.websocket) {
        set_phase(s, TP_SESSION_OPEN, now_ns);
        return;
    }
    queue(s, (struct tp_span){s->scratch, s->read_size});
    s->read_size = 0;
    set_phase(s, TP_SESSION_UPGRADING, now_ns);
}

static void finish_upgrade(struct tp_session *s, uint64_t now_ns)
{
    struct tp_http1_head head;
    size_t head_size = 0;
    const char *error = NULL;
    const enum tp_status status =
        tp_http1_final_head_parse(tp_buffer_unread(&s->buffer), &head, &head_size, &error);
    if (status == TP_NEED_MORE)
        return;
    if (status != TP_OK || !tp_ws_handshake_accepted(&head, s->key, &error)) {
        snprintf(s->head_error, sizeof s->head_error, "%s", error);
        if (status == TP_OK && head.status != 101)
            snprintf(s->head_error, sizeof s->head_error,
                     "the server answered %u %.*s, expected 101", head.status,
                     (int)(head.reason.size < 80 ? head.reason.size : 80),
                     (const char *)head.reason.data);
        fail(s, TP_SESSION_ERROR_HTTP, s->head_error);
        return;
    }
    s->buffer.head += head_size; /* bytes glued to the head are the first frames */
    set_phase(s, TP_SESSION_OPEN, now_ns);
}

/* Moves the phase on as far as what is there allows. */
static void advance(struct tp_session *s, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_CONNECTING && tp_stream_connected(&s->stream)) {
        s->times.connected = now_ns;
        if (s->tls == NULL) {
            start_upgrade(s, now_ns);
        } else {
            s->phase = TP_SESSION_TLS_HANDSHAKE;
            flush_tls(s);
        }
    }
    if (s->phase == TP_SESSION_TLS_HANDSHAKE && tp_tls_connected(s->tls)) {
        s->times.tls_done = now_ns;
        start_upgrade(s, now_ns);
    }
    if (s->phase == TP_SESSION_UPGRADING && s->buffer.tail > s->buffer.head)
        finish_upgrade(s, now_ns);
}

/* Nothing more will come: too early, or all that a close was waiting for. What is unread stays for
 * tp_session_next and tp_session_read, which say how it ended. */
static void judge_end(struct tp_session *s)
{
    if (s->phase < TP_SESSION_OPEN)
        fail(s,
             s->phase == TP_SESSION_CONNECTING ? TP_SESSION_ERROR_CONNECT
                                               : TP_SESSION_ERROR_TRUNCATED,
             "the peer closed the connection during the handshake");
    else if (s->phase == TP_SESSION_CLOSING && s->close_code != 1006)
        end_stream(s);
}

static void take_bytes(struct tp_session *s, struct tp_span in, uint64_t now_ns)
{
    if (s->times.first_byte == 0 && s->phase >= TP_SESSION_UPGRADING)
        s->times.first_byte = now_ns;
    s->counters.bytes_in += in.size;
    settle(&s->buffer);
    if (s->tls != NULL)
        take_tls(s, in);
    else
        take_plain(s, in);
    advance(s, now_ns);
    if (s->input_ended) /* by close_notify */
        judge_end(s);
}

/* The transport delivered its end. */
static void take_end(struct tp_session *s)
{
    if (s->input_ended)
        return;
    s->input_ended = true;
    s->input_clean = s->tls == NULL; /* close_notify would have ended the input before */
    judge_end(s);
}

void tp_session_segment(struct tp_session *s, const struct tp_tcp_segment *segment, uint64_t now_ns)
{
    struct tp_tcp_delivery delivery;
    const enum tp_status status = tp_tcp_input(s->stream.tcp, segment, now_ns, &delivery);
    if (status == TP_ERROR) {
        if (!s->input_ended)
            fail(s,
                 s->phase == TP_SESSION_CONNECTING ? TP_SESSION_ERROR_CONNECT
                                                   : TP_SESSION_ERROR_STREAM,
                 tp_tcp_error_name(tp_tcp_error(s->stream.tcp)));
        s->input_ended = true;
        return;
    }
    if (s->phase == TP_SESSION_CONNECTING)
        advance(s, now_ns);
    if (status == TP_NEED_MORE)
        return;
    for (uint32_t i = 0; i < delivery.count && !s->input_ended && s->phase != TP_SESSION_CLOSED;
         i++)
        take_bytes(s, delivery.span[i], now_ns);
    if (status == TP_CLOSED)
        take_end(s);
    update_window(s);
}

bool tp_session_receive(struct tp_session *s, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_CONNECTING) {
        advance(s, now_ns);
        if (s->stream.error != 0)
            fail(s, TP_SESSION_ERROR_CONNECT, strerrordesc_np(s->stream.error));
        if (s->phase == TP_SESSION_CONNECTING)
            return false;
    }
    if (s->stream.ended || s->stream.error != 0)
        return false;
    /* After an error or close_notify what comes is only drained, up to the end of the stream. */
    const bool taken = s->phase != TP_SESSION_CLOSED && !s->input_ended;
    const size_t space = tp_buffer_space(&s->buffer) + s->buffer.head;
    if (taken && space < 3 * RECORD_ROOM)
        return false;
    struct tp_span in;
    /* Two records beside it: one lies half opened behind the tail, one may begin at the end. */
    const size_t size_max = taken ? space - 2 * RECORD_ROOM : TP_STREAM_SOCKET_BUFFER_SIZE;
    const enum tp_status status = tp_stream_receive(&s->stream, size_max, &in);
    if (status == TP_OK && taken)
        take_bytes(s, in, now_ns);
    else if (status == TP_CLOSED)
        take_end(s);
    else if (status == TP_ERROR) {
        fail(s, TP_SESSION_ERROR_STREAM, strerrordesc_np(s->stream.error));
        s->input_ended = true;
    }
    return status != TP_NEED_MORE;
}

static void answer_pong(struct tp_session *s)
{
    if (s->pong_pending && s->phase == TP_SESSION_OPEN &&
        queue_frame(s, TP_WS_PONG, true, (struct tp_span){s->pong, s->pong_size})) {
        s->pong_pending = false;
        s->counters.pongs++;
    }
}

static void take_ping(struct tp_session *s, struct tp_span payload)
{
    /* RFC 6455 5.5.3: of several unanswered pings only the latest needs an answer. */
    memcpy(s->pong, payload.data, payload.size);
    s->pong_size = payload.size;
    s->pong_pending = true;
    s->counters.pings++;
    answer_pong(s);
}

/* Is a whole ping or pong next, so that reading it cannot return data? */
static bool is_ping_next(const struct tp_session *s)
{
    const size_t start = s->buffer.head + s->ws.consumed;
    if (s->buffer.tail < start + 2)
        return false;
    const uint8_t *frame = s->buffer.data + start; /* RFC 6455 5.2: FIN and opcode, then size */
    return (frame[0] == (0x80 | TP_WS_PING) || frame[0] == (0x80 | TP_WS_PONG)) &&
           frame[1] <= TP_WS_CONTROL_PAYLOAD_SIZE_MAX && s->buffer.tail - start - 2 >= frame[1];
}

void tp_session_answer_pings(struct tp_session *s)
{
    struct tp_ws_message message;
    while (s->config.websocket && s->phase == TP_SESSION_OPEN && s->ws.error == NULL &&
           is_ping_next(s))
        (void)tp_session_next(s, &message);
}

static void take_close(struct tp_session *s, const struct tp_ws_message *message)
{
    s->close_code = message->close_code;
    s->close_reason_size =
        message->payload.size < CLOSE_REASON_SIZE ? message->payload.size : CLOSE_REASON_SIZE;
    memcpy(s->close_reason, message->payload.data, s->close_reason_size);
    if (s->phase == TP_SESSION_CLOSED)
        return; /* an error ended it before this frame was read */
    close_websocket(s, s->close_code);
    s->deadline_ns = 0; /* set by the next tick, which knows the time */
}

static enum tp_status at_end(struct tp_session *s)
{
    if (s->error != TP_SESSION_ERROR_NONE)
        return TP_ERROR;
    if (s->phase == TP_SESSION_CLOSED)
        return TP_CLOSED;
    if (!s->input_ended)
        return TP_NEED_MORE;
    const bool clean = s->config.websocket ? s->close_code != 1006 : s->input_clean;
    if (!clean) {
        fail(s, TP_SESSION_ERROR_TRUNCATED,
             s->config.websocket ? "the stream ended without a close frame"
                                 : "the stream ended without close_notify");
        return TP_ERROR;
    }
    end_stream(s);
    return TP_CLOSED;
}

enum tp_status tp_session_next(struct tp_session *s, struct tp_ws_message *out)
{
    if (s->times.open == 0)
        return at_end(s);
    const enum tp_status status = tp_ws_input(&s->ws, &s->buffer, out);
    switch (status) {
    case TP_OK:
        s->counters.messages++;
        if (out->opcode == TP_WS_PING)
            take_ping(s, out->payload);
        else if (out->opcode == TP_WS_CLOSE)
            take_close(s, out);
        return TP_OK;
    case TP_ERROR:
        if (s->phase == TP_SESSION_OPEN)
            close_websocket(s, s->ws.close_code);
        fail(s, TP_SESSION_ERROR_WEBSOCKET, s->ws.error);
        return TP_ERROR;
    case TP_FULL:
    case TP_NEED_MORE:
    case TP_CLOSED:
        break;
    }
    settle(&s->buffer);
    update_window(s);
    return at_end(s);
}

enum tp_status tp_session_read(struct tp_session *s, struct tp_span *out)
{
    s->buffer.head += s->read_size;
    s->read_size = 0;
    if (s->times.open != 0 && s->buffer.tail > s->buffer.head) {
        *out = tp_buffer_unread(&s->buffer);
        s->read_size = out->size;
        return TP_OK;
    }
    settle(&s->buffer);
    update_window(s);
    return at_end(s);
}

/* ---- time and output
 * ----------------------------------------------------------------------------- */

void tp_session_connect(struct tp_session *s, uint64_t now_ns)
{
    s->times.started = now_ns;
    s->deadline_ns = now_ns + s->config.handshake_timeout_ns;
    if (s->stream.kind == TP_STREAM_TCP)
        tp_tcp_connect(s->stream.tcp, now_ns);
    update_window(s);
}

/* TCP ended by a timer, within tp_tcp_output, or by an ICMP error: no segment will tell. */
static bool tcp_ended_unseen(const struct tp_session *s)
{
    return s->stream.kind == TP_STREAM_TCP && s->phase != TP_SESSION_CLOSED &&
           tp_tcp_state(s->stream.tcp) == TP_TCP_CLOSED;
}

void tp_session_tick(struct tp_session *s, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_CLOSING && s->deadline_ns == 0)
        s->deadline_ns = now_ns + CLOSE_TIMEOUT_NS;
    if (tcp_ended_unseen(s))
        fail(s,
             s->phase == TP_SESSION_CONNECTING ? TP_SESSION_ERROR_CONNECT : TP_SESSION_ERROR_STREAM,
             tp_tcp_error_name(tp_tcp_error(s->stream.tcp)));
    if (now_ns < s->deadline_ns || s->phase == TP_SESSION_CLOSED)
        return;
    if (s->phase ==
        TP_SESSION_CLOSING) { /* the peer had its chance to close first (RFC 6455 7.1.1) */
        end_stream(s);
        return;
    }
    static const char *const waited_for[] = {"TCP connection", "TLS handshake",
                                             "WebSocket upgrade"};
    snprintf(s->head_error, sizeof s->head_error, "no %s within %llu ms",
             s->phase < TP_SESSION_OPEN ? waited_for[s->phase] : "answer",
             (unsigned long long)(s->config.handshake_timeout_ns / 1000000));
    fail(s, TP_SESSION_ERROR_TIMEOUT, s->head_error);
    tp_stream_abort(&s->stream);
}

uint32_t tp_session_output(struct tp_session *s, struct tp_netif *netif, uint64_t now_ns)
{
    answer_pong(s);
    if (s->phase == TP_SESSION_CLOSING)
        queue_close_frame(s);
    flush_tls(s);
    if (s->stream.kind == TP_STREAM_SOCKET) {
        if (!tp_stream_pending(&s->stream) || !s->stream.connected)
            return 0;
        const enum tp_status status = tp_stream_flush(&s->stream);
        if (status == TP_ERROR)
            fail(s, TP_SESSION_ERROR_STREAM, strerrordesc_np(s->stream.error));
        return status == TP_OK ? 1 : 0;
    }
    return tp_netif_output(netif, s->flow, now_ns, OUTPUT_BUDGET);
}

uint64_t tp_session_deadline(const struct tp_session *s)
{
    if (tcp_ended_unseen(s))
        return 0; /* the next tick takes note of it */
    uint64_t deadline = s->phase == TP_SESSION_CLOSED ? UINT64_MAX : s->deadline_ns;
    if (s->stream.kind == TP_STREAM_TCP && tp_tcp_deadline(s->stream.tcp) < deadline)
        deadline = tp_tcp_deadline(s->stream.tcp);
    return deadline;
}

bool tp_session_finished(const struct tp_session *s)
{
    if (s->phase != TP_SESSION_CLOSED)
        return false;
    /* Closing a socket with unread bytes makes the kernel send RST, which overtakes our last
     * frames: wait for the peer's end. The owner bounds that time. */
    if (s->stream.kind == TP_STREAM_SOCKET)
        return s->stream.error != 0 || s->stream.ended;
    const enum tp_tcp_state state = tp_tcp_state(s->stream.tcp);
    return (state == TP_TCP_CLOSED || state == TP_TCP_TIME_WAIT) &&
           tp_tcp_deadline(s->stream.tcp) != 0;
}

/* ---- what it is
 * ---------------------------------------------------------------------------------- */

enum tp_session_phase tp_session_phase(const struct tp_session *s)
{
    return s->phase;
}
enum tp_session_error tp_session_error(const struct tp_session *s)
{
    return s->error;
}
uint16_t tp_session_close_code(const struct tp_session *s)
{
    return s->close_code;
}
const struct tp_session_times *tp_session_times(const struct tp_session *s)
{
    return &s->times;
}
const struct tp_session_counters *tp_session_counters(const struct tp_session *s)
{
    return &s->counters;
}
const struct tp_tls *tp_session_tls(const struct tp_session *s)
{
    return s->tls;
}
struct tp_stream *tp_session_stream(struct tp_session *s)
{
    return &s->stream;
}
size_t tp_session_send_space(const struct tp_session *s)
{
    return tp_stream_space(&s->stream);
}

struct tp_span tp_session_close_reason(const struct tp_session *s)
{
    return (struct tp_span){s->close_reason, s->close_reason_size};
}

const char *tp_session_phase_name(enum tp_session_phase phase)
{
    static const char *const names[] = {"connecting", "TLS handshake", "upgrading",
                                        "open",       "closing",       "closed"};
    return names[phase];
}

void tp_session_error_text(const struct tp_session *s, char *out, size_t capacity)
{
    static const char *const layers[] = {"no error",  "connect", "tcp",       "tls",     "http",
                                         "websocket", "timeout", "truncated", "overflow"};
    if (s->error == TP_SESSION_ERROR_TLS)
        snprintf(out, capacity, "tls: %s: %s", tp_tls_error_name(tp_tls_error(s->tls)),
                 tp_tls_error_text(s->tls));
    else if (s->error == TP_SESSION_ERROR_WEBSOCKET)
        snprintf(out, capacity, "websocket: %s (%u)", s->error_text, s->ws.close_code);
    else
        snprintf(out, capacity, "%s: %s", layers[s->error],
                 s->error_text != NULL ? s->error_text : "");
}
