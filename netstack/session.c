#include "netstack/session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/session_state.h"

enum {
    RECORD_ROOM = TP_SESSION_RECORD_ROOM,
    COMPACT_HEAD_MIN = 32768,  /* move a short rest down to the cache-hot start of the buffer ... */
    COMPACT_UNREAD_MAX = 4096, /* ... when it is this short */
};
static const uint64_t CLOSE_TIMEOUT_NS = 2000000000u;

void tp_session_set_phase(struct tp_session *s, enum tp_session_phase phase, uint64_t now_ns)
{
    s->phase = phase;
    if (phase == TP_SESSION_OPEN) {
        s->times.open = now_ns;
        s->deadline_ns = UINT64_MAX;
    }
}

void tp_session_set_flow(struct tp_session *s, struct tp_netif_flow *flow)
{
    s->stream.flow = flow;
}

static void take_buffer(struct tp_session *s)
{
    struct tp_session_memory *memory = s->config.memory;
    if (memory != NULL) {
        s->config.message_size_max = memory->config.message_size_max;
        s->config.receive_window = memory->config.receive_window;
        s->buffer.capacity = memory->usual.size;
        s->usual = tp_session_buffer_take(&memory->usual);
    } else {
        s->buffer.capacity =
            tp_session_buffer_size(s->config.message_size_max, s->config.receive_window);
        s->usual = malloc(s->buffer.capacity);
    }
    s->buffer.data = s->usual;
}

static void give_buffers(struct tp_session *s)
{
    struct tp_session_memory *memory = s->config.memory;
    if (memory == NULL) {
        free(s->usual);
        return;
    }
    if (s->has_large)
        tp_session_buffer_give(&memory->large, s->buffer.data);
    if (s->usual != NULL)
        tp_session_buffer_give(&memory->usual, s->usual);
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
    s->application = config->websocket ? &tp_session_websocket : &tp_session_bytes;
    s->close_code = TP_SESSION_CLOSE_CODE_NONE;
    s->deadline_ns = UINT64_MAX;
    take_buffer(s);
    if (config->tls != NULL)
        s->tls = tp_tls_new(config->tls, config->server_name);
    if (s->buffer.data == NULL || (config->tls != NULL && s->tls == NULL)) {
        snprintf(error, error_size,
                 "cannot set up a session with a %zu byte buffer and TLS name '%s'",
                 s->buffer.capacity, config->tls != NULL ? config->server_name : "");
        goto free_session;
    }
    if (s->tls != NULL && config->handshake_worker != NULL &&
        !tp_tls_delegate(s->tls, config->handshake_worker)) {
        snprintf(error, error_size, "more than %d TLS handshakes at once",
                 TP_TLS_HANDSHAKE_WORKER_MAX);
        goto free_session;
    }
    if (s->application->init(s, config, error, error_size))
        return s;
free_session:
    tp_tls_free(s->tls);
    give_buffers(s);
    free(s); /* the stream stays the caller's */
    return NULL;
}

void tp_session_free(struct tp_session *session)
{
    if (session == NULL)
        return;
    tp_tls_free(session->tls);
    tp_stream_deinit(&session->stream);
    give_buffers(session);
    free(session);
}

/* ---- descending ---- */

/* Out of line: nothing is there for nearly all records that come. */
__attribute__((noinline, cold)) static void move_tls_output(struct tp_session *s)
{
    size_t space;
    while ((space = tp_stream_space(&s->stream)) > 0) {
        const size_t size = tp_tls_output(
            s->tls, s->sealed, space < TP_SESSION_SEALED_SIZE ? space : TP_SESSION_SEALED_SIZE);
        if (size == 0)
            return;
        tp_stream_send(&s->stream, (struct tp_span){s->sealed, size});
    }
}

static void flush_tls(struct tp_session *s)
{
    if (s->tls != NULL && tp_tls_may_output(s->tls))
        move_tls_output(s);
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

void tp_session_fail(struct tp_session *s, enum tp_session_error error, const char *text)
{
    if (s->error != TP_SESSION_ERROR_NONE || s->phase == TP_SESSION_CLOSED)
        return;
    s->error = error;
    s->error_text = text;
    end_stream(s);
}

void tp_session_queue(struct tp_session *s, struct tp_span plain)
{
    s->counters.bytes_out += plain.size;
    if (s->tls == NULL) {
        tp_stream_send(&s->stream, plain);
        return;
    }
    flush_tls(s);
    const size_t size = tp_tls_seal(s->tls, plain, s->sealed, TP_SESSION_SEALED_SIZE);
    assert(size > 0);
    tp_stream_send(&s->stream, (struct tp_span){s->sealed, size});
}

bool tp_session_room_for(const struct tp_session *s, size_t plain_size)
{
    const size_t size = s->tls != NULL ? tp_tls_sealed_size(s->tls, plain_size) : plain_size;
    return tp_stream_space(&s->stream) >=
           size + 256; /* 256: an alert or a KeyUpdate may go first */
}

void tp_session_close(struct tp_session *s, uint16_t code, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_OPEN && s->application->close != NULL) {
        s->application->close(s, code);
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

/* ---- climbing ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

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

static void move_to(struct tp_session *s, uint8_t *data, size_t capacity)
{
    const struct tp_span unread = tp_buffer_unread(&s->buffer);
    memcpy(data, unread.data, unread.size);
    s->buffer = (struct tp_buffer){data, capacity, 0, unread.size};
    if (s->tls != NULL)
        tp_tls_moved(s->tls, &s->buffer);
}

bool tp_session_borrow(struct tp_session *s)
{
    struct tp_session_memory *memory = s->config.memory;
    uint8_t *large = tp_session_buffer_take(&memory->large);
    if (large == NULL) {
        atomic_fetch_add_explicit(&memory->refused, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&memory->borrowed, 1, memory_order_relaxed);
    move_to(s, large, memory->large.size);
    s->has_large = true;
    s->ws.config.message_size_here = memory->config.message_size_max;
    return true;
}

/* What is promised stays true: of the window nothing is in flight that the usual buffer could not
 * hold beside a message of the usual size, and more is not unread. */
__attribute__((noinline, cold)) static void give_large_back(struct tp_session *s)
{
    struct tp_session_memory *memory = s->config.memory;
    const size_t usual = memory->config.usual_message_size;
    if (s->buffer.tail - s->buffer.head > usual || s->ws.awaited > usual)
        return;
    const uint8_t *large = s->buffer.data;
    move_to(s, s->usual, memory->usual.size);
    s->has_large = false;
    s->ws.config.message_size_here = usual;
    tp_session_buffer_give(&memory->large, large);
}

/* Promises the peer what the buffer can still hold, or the worker that does the handshake. */
static void update_window(struct tp_session *s)
{
    const size_t unread = s->buffer.tail - s->buffer.head, kept = unread + 4 * RECORD_ROOM;
    size_t room = s->buffer.capacity > kept ? s->buffer.capacity - kept : 0;
    if (s->phase <= TP_SESSION_TLS_HANDSHAKE && s->tls != NULL)
        room = smaller(room, tp_tls_input_room(s->tls));
    tp_stream_promise(&s->stream, room);
}

static void take_plain(struct tp_session *s, struct tp_span in)
{
    if (tp_buffer_space(&s->buffer) < in.size)
        compact(&s->buffer);
    if (tp_buffer_space(&s->buffer) < in.size) {
        tp_session_fail(s, TP_SESSION_ERROR_OVERFLOW, "the peer sent beyond the advertised window");
        return;
    }
    memcpy(s->buffer.data + s->buffer.tail, in.data, in.size);
    s->buffer.tail += in.size;
}

static void take_tls(struct tp_session *s, struct tp_span in)
{
    for (;;) { /* each turn takes bytes of in, or has made room, or leaves */
        const enum tp_status status = tp_tls_input(s->tls, &in, &s->buffer);
        flush_tls(s);
        switch (status) {
        case TP_OK:
            if (in.size == 0)
                return;
            break;
        case TP_NEED_MORE:
            return;
        case TP_FULL:
            if (s->buffer.head == 0) {
                tp_session_fail(s, TP_SESSION_ERROR_OVERFLOW,
                                "the peer sent beyond the advertised window");
                return;
            }
            compact(&s->buffer);
            break;
        case TP_CLOSED:
            s->input_ended = s->input_clean = true;
            return;
        case TP_ERROR:
            tp_session_fail(s, TP_SESSION_ERROR_TLS, NULL);
            return;
        }
    }
}

/* Moves the phase on as far as what is there allows. */
static void advance(struct tp_session *s, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_CONNECTING && tp_stream_connected(&s->stream)) {
        s->times.connected = now_ns;
        if (s->tls == NULL) {
            s->application->start(s, now_ns);
        } else {
            s->phase = TP_SESSION_TLS_HANDSHAKE;
            flush_tls(s);
        }
    }
    if (s->phase == TP_SESSION_TLS_HANDSHAKE && tp_tls_connected(s->tls)) {
        s->times.tls_done = now_ns;
        s->application->start(s, now_ns);
    }
    if (s->phase == TP_SESSION_UPGRADING && s->buffer.tail > s->buffer.head)
        s->application->upgrade(s, now_ns);
}

/* A worker has bytes of the handshake that say more than the end behind them: an alert perhaps.
 * Whatever ends the stream waits for it, at most until the handshake's deadline. */
static bool is_judging(const struct tp_session *s)
{
    return s->phase == TP_SESSION_TLS_HANDSHAKE && tp_tls_is_judging(s->tls);
}

/* The upgrade was refused, and no more of what the server says about it will come. */
static bool fail_by_verdict(struct tp_session *s)
{
    if (s->phase == TP_SESSION_UPGRADING && s->http_status != 0)
        tp_session_fail(s, TP_SESSION_ERROR_HTTP, s->text);
    return s->error == TP_SESSION_ERROR_HTTP;
}

/* Nothing more will come: too early, or all that a close was waiting for. What is unread stays for
 * tp_session_next and tp_session_read, which say how it ended. */
static void judge_end(struct tp_session *s)
{
    if (is_judging(s))
        return;
    if (fail_by_verdict(s))
        return;
    if (s->phase < TP_SESSION_OPEN)
        tp_session_fail(s,
                        s->phase == TP_SESSION_CONNECTING ? TP_SESSION_ERROR_CONNECT
                                                          : TP_SESSION_ERROR_TRUNCATED,
                        "the peer closed the connection during the handshake");
    else if (s->phase == TP_SESSION_CLOSING && s->application->ended_cleanly(s))
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

/* Behind a verdict, or a close that both said, the end of the transport is no news, however it
 * comes: servers reset what they have closed. */
static void fail_by_stream(struct tp_session *s)
{
    if (fail_by_verdict(s))
        return;
    if (s->phase == TP_SESSION_CLOSING && s->application->ended_cleanly(s)) {
        end_stream(s);
        return;
    }
    tp_session_fail(
        s, s->phase == TP_SESSION_CONNECTING ? TP_SESSION_ERROR_CONNECT : TP_SESSION_ERROR_STREAM,
        tp_stream_failure(&s->stream));
}

/* The transport died: refused, reset, timed out. Behind an orderly end that is no news. */
static void take_failure(struct tp_session *s)
{
    if (!s->input_ended && !is_judging(s))
        fail_by_stream(s);
    s->input_ended = true;
}

void tp_session_segment(struct tp_session *s, const struct tp_tcp_segment *segment, uint64_t now_ns)
{
    struct tp_tcp_delivery delivery;
    const enum tp_status status = tp_tcp_input(s->stream.tcp, segment, now_ns, &delivery);
    if (status == TP_ERROR) {
        take_failure(s);
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
}

bool tp_session_receive(struct tp_session *s, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_CONNECTING) {
        advance(s, now_ns);
        if (tp_stream_failure(&s->stream) != NULL)
            take_failure(s);
        if (s->phase == TP_SESSION_CONNECTING)
            return false;
    }
    /* After an error or close_notify what comes is only drained, up to the end of the stream. */
    const bool taken = s->phase != TP_SESSION_CLOSED && !s->input_ended;
    const size_t space = tp_buffer_space(&s->buffer) + s->buffer.head;
    if (taken && space < 3 * RECORD_ROOM)
        return false;
    struct tp_span in;
    /* Two records beside it: one lies half opened behind the tail, one may begin at the end. */
    size_t size_max = taken ? space - 2 * RECORD_ROOM : TP_STREAM_SOCKET_BUFFER_SIZE;
    if (taken && s->phase == TP_SESSION_TLS_HANDSHAKE)
        size_max = smaller(size_max, tp_tls_input_room(s->tls));
    if (size_max == 0)
        return false;
    const enum tp_status status = tp_stream_receive(&s->stream, size_max, &in);
    if (status == TP_OK && taken)
        take_bytes(s, in, now_ns);
    else if (status == TP_CLOSED)
        take_end(s);
    else if (status == TP_ERROR)
        take_failure(s);
    return status != TP_NEED_MORE;
}

enum tp_status tp_session_at_end(struct tp_session *s)
{
    settle(&s->buffer);
    if (s->has_large)
        give_large_back(s);
    update_window(s);
    if (s->error != TP_SESSION_ERROR_NONE)
        return TP_ERROR;
    if (s->phase == TP_SESSION_CLOSED)
        return TP_CLOSED;
    if (!s->input_ended || s->phase < TP_SESSION_OPEN) /* before it is open judge_end judges */
        return TP_NEED_MORE;
    if (!s->application->ended_cleanly(s)) {
        tp_session_fail(s, TP_SESSION_ERROR_TRUNCATED, s->application->truncated);
        return TP_ERROR;
    }
    end_stream(s);
    return TP_CLOSED;
}

/* ---- time and output ---- */

void tp_session_connect(struct tp_session *s, uint64_t now_ns)
{
    s->times.started = now_ns;
    s->deadline_ns = now_ns + s->config.handshake_timeout_ns;
    tp_stream_connect(&s->stream, now_ns);
    update_window(s);
}

/* Dead by a timer, within output, or by an ICMP error: no input will say so. */
static bool ended_unseen(const struct tp_session *s)
{
    return s->phase != TP_SESSION_CLOSED && tp_stream_failure(&s->stream) != NULL && !is_judging(s);
}

/* The worker that does the handshake has something for us, or nothing more to say at the end. */
static bool handshake_has_news(const struct tp_session *s)
{
    return s->phase == TP_SESSION_TLS_HANDSHAKE &&
           (tp_tls_has_news(s->tls) || (s->input_ended && !tp_tls_is_judging(s->tls)));
}

/* Takes it: bytes to send, the end of the handshake, and what came behind that. */
static void take_news(struct tp_session *s, uint64_t now_ns)
{
    take_tls(s, (struct tp_span){NULL, 0});
    advance(s, now_ns);
    update_window(s);
    if (s->input_ended && tp_stream_failure(&s->stream) == NULL)
        judge_end(s);
}

void tp_session_tick(struct tp_session *s, uint64_t now_ns)
{
    if (s->phase == TP_SESSION_CLOSING && s->deadline_ns == 0)
        s->deadline_ns = now_ns + CLOSE_TIMEOUT_NS;
    if (handshake_has_news(s))
        take_news(s, now_ns);
    if (ended_unseen(s))
        fail_by_stream(s);
    if (now_ns < s->deadline_ns || s->phase == TP_SESSION_CLOSED)
        return;
    if (s->phase == TP_SESSION_CLOSING) {
        end_stream(s); /* the peer had its chance to close first (RFC 6455 7.1.1) */
        return;
    }
    if (fail_by_verdict(s))
        return;
    static const char *const waited_for[] = {"TCP connection", "TLS handshake",
                                             "WebSocket upgrade"};
    snprintf(s->text, sizeof s->text, "no %s within %llu ms",
             s->phase < TP_SESSION_OPEN ? waited_for[s->phase] : "answer",
             (unsigned long long)(s->config.handshake_timeout_ns / 1000000));
    tp_session_fail(s, TP_SESSION_ERROR_TIMEOUT, s->text);
    tp_stream_abort(&s->stream);
}

uint32_t tp_session_output(struct tp_session *s, struct tp_netif *netif, uint64_t now_ns)
{
    s->application->output(s);
    flush_tls(s);
    update_window(s); /* what came since and was not read: before anything says how much may come */
    return tp_stream_output(&s->stream, netif, now_ns);
}

uint64_t tp_session_deadline(const struct tp_session *s)
{
    if (ended_unseen(s))
        return 0; /* the next tick takes note of it */
    if (handshake_has_news(s))
        return 0;
    const uint64_t own_ns = s->phase == TP_SESSION_CLOSED ? UINT64_MAX : s->deadline_ns;
    const uint64_t stream_ns = tp_stream_deadline(&s->stream);
    return own_ns < stream_ns ? own_ns : stream_ns;
}

bool tp_session_finished(const struct tp_session *s)
{
    return s->phase == TP_SESSION_CLOSED && tp_stream_finished(&s->stream);
}

/* ---- what it is ---- */

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
bool tp_session_is_websocket(const struct tp_session *s)
{
    return s->application == &tp_session_websocket;
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

uint16_t tp_session_http_status(const struct tp_session *s)
{
    return s->http_status;
}

const char *tp_session_retry_after(const struct tp_session *s)
{
    return s->retry_after;
}

void tp_session_error_text(const struct tp_session *s, char *out, size_t capacity)
{
    static const char *const layers[] = {"no error",  "connect", "tcp",       "tls",      "http",
                                         "websocket", "timeout", "truncated", "overflow", "memory"};
    if (s->error == TP_SESSION_ERROR_TLS)
        snprintf(out, capacity, "tls: %s: %s", tp_tls_error_name(tp_tls_error(s->tls)),
                 tp_tls_error_text(s->tls));
    else if (s->error == TP_SESSION_ERROR_WEBSOCKET)
        snprintf(out, capacity, "websocket: %s (%u)", s->error_text, s->ws.close_code);
    else
        snprintf(out, capacity, "%s: %s", layers[s->error],
                 s->error_text != NULL ? s->error_text : "");
}
