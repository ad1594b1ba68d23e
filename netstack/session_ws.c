/* WebSocket on top of a session: the upgrade, messages both ways, pings, the closing handshake. See
 * session.h. Source: RFC 6455. */
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "netstack/http1/characters.h"
#include "netstack/session_state.h"

enum {
    FRAGMENT_COUNT_MAX =
        131072,           /* 8 MiB in 64-byte fragments is somebody's habit, more is a flood */
    CLOSE_TOO_BIG = 1009, /* RFC 6455 7.4.1: too big to process */
    REASON_SIZE_MAX = 80, /* of what a refused upgrade shows */
    LOCATION_SIZE_MAX = 120,
    BODY_SHOWN_MAX = 160,
};
static const uint64_t BODY_WAIT_NS = 300000000u; /* for the start of a refusal's body */

/* ---- the upgrade ---- */

static bool websocket_init(struct tp_session *s, const struct tp_session_config *config,
                           char *error, size_t error_size)
{
    s->close_code = TP_SESSION_CLOSE_CODE_NONE;
    s->entropy_used = TP_SESSION_ENTROPY_SIZE;
    tp_ws_init(&s->ws, &(struct tp_ws_config){
                           .message_size_max = s->config.message_size_max,
                           .fragment_count_max = FRAGMENT_COUNT_MAX,
                           .message_size_here = s->config.memory != NULL
                                                    ? s->config.memory->config.usual_message_size
                                                    : s->config.message_size_max,
                       });
    uint8_t nonce[16];
    if (RAND_bytes(nonce, sizeof nonce) != 1) {
        snprintf(error, error_size, "no entropy for Sec-WebSocket-Key");
        return false;
    }
    EVP_EncodeBlock((uint8_t *)s->key, nonce, sizeof nonce);
    /* The request waits in scratch until the stream is up; nothing else uses scratch before. */
    s->read_size = tp_ws_handshake_request(s->scratch, sizeof s->scratch, config->host,
                                           config->target, config->extra_headers, s->key);
    if (s->read_size == 0)
        snprintf(error, error_size,
                 "the upgrade request for host '%s' cannot be written: expected at most %d bytes "
                 "without CR, LF or NUL",
                 config->host, TP_SESSION_SCRATCH_SIZE);
    return s->read_size != 0;
}

static void websocket_start(struct tp_session *s, uint64_t now_ns)
{
    tp_session_queue(s, (struct tp_span){s->scratch, s->read_size});
    s->read_size = 0;
    tp_session_set_phase(s, TP_SESSION_UPGRADING, now_ns);
}

/* The head dies with the buffer. A field that is too long to be one is none. */
static void keep_refusal(struct tp_session *s, const struct tp_http1_head *head)
{
    uint32_t count = 0;
    const struct tp_span after = tp_http1_header_find(head, "retry-after", &count);
    s->http_status = head->status;
    if (count == 1 && after.size < sizeof s->retry_after)
        snprintf(s->retry_after, sizeof s->retry_after, "%.*s", (int)after.size,
                 (const char *)after.data);
}

/* Appends what people read, at most size_max bytes of it, with a space for all else. */
static size_t append(struct tp_session *s, size_t at, struct tp_span text, size_t size_max)
{
    const size_t room = sizeof s->text - 1 - at,
                 wanted = text.size < size_max ? text.size : size_max;
    const size_t size = wanted < room ? wanted : room;
    for (size_t i = 0; i < size; i++) {
        const uint8_t c = text.data[i];
        s->text[at + i] = c >= 0x20 && c < 0x7F ? (char)c : ' ';
    }
    s->text[at + size] = '\0';
    return at + size;
}

static size_t append_words(struct tp_session *s, size_t at, const char *words)
{
    return append(s, at, (struct tp_span){(const uint8_t *)words, strlen(words)}, SIZE_MAX);
}

/* The body as it stands there, behind the size of its first chunk if it has one. */
static struct tp_span body_start(const struct tp_http1_head *head, struct tp_span body)
{
    if (tp_http1_header_find(head, "transfer-encoding", NULL).size > 0 && body.size > 0) {
        const uint8_t *end = memchr(body.data, '\n', body.size);
        const size_t skipped = end != NULL ? (size_t)(end + 1 - body.data) : body.size;
        return (struct tp_span){body.data + skipped, body.size - skipped};
    }
    return body;
}

/* Is this all of the body, as far as its framing says so? */
static bool is_whole(const struct tp_http1_head *head, struct tp_span body)
{
    static const char last_chunk[] = "0\r\n\r\n";
    const size_t tail = sizeof last_chunk - 1;
    char size[24];
    snprintf(size, sizeof size, "%zu", body.size);
    return head->status == 204 || head->status == 304 ||
           tp_http1_equals(tp_http1_header_find(head, "content-length", NULL), size) ||
           (tp_http1_header_find(head, "transfer-encoding", NULL).size > 0 && body.size >= tail &&
            memcmp(body.data + body.size - tail, last_chunk, tail) == 0);
}

/* An answer to the upgrade that is a verdict: by its status, where a redirect points to, how long
 * it asks to wait, and the start of its body, which says why. That is waited for shortly, or until
 * the peer ends. */
static void refuse(struct tp_session *s, const struct tp_http1_head *head, struct tp_span body,
                   uint64_t now_ns)
{
    const struct tp_span location = tp_http1_header_find(head, "location", NULL);
    const bool is_first = s->http_status == 0;
    keep_refusal(s, head);
    snprintf(s->text, sizeof s->text, "the server answered %u%s", head->status,
             head->reason.size > 0 ? " " : "");
    size_t at = append(s, strlen(s->text), head->reason, REASON_SIZE_MAX);
    at = append_words(s, at, ", expected 101");
    if (head->status >= 300 && head->status < 400 && location.size > 0) {
        at = append_words(s, at, "; redirects are not followed, this one points to ");
        at = append(s, at, location, LOCATION_SIZE_MAX);
    }
    if (s->retry_after[0] != '\0') {
        at = append_words(s, at, "; Retry-After: ");
        at = append_words(s, at, s->retry_after);
    }
    const struct tp_span start = body_start(head, body);
    if (start.size > 0) {
        at = append_words(s, at, "; it says \"");
        at = append(s, at, start, BODY_SHOWN_MAX);
        (void)append_words(s, at, start.size > BODY_SHOWN_MAX ? "...\"" : "\"");
    }
    if (start.size >= BODY_SHOWN_MAX || is_whole(head, body))
        tp_session_fail(s, TP_SESSION_ERROR_HTTP, s->text);
    else if (is_first && now_ns + BODY_WAIT_NS < s->deadline_ns)
        s->deadline_ns = now_ns + BODY_WAIT_NS;
}

static void websocket_upgrade(struct tp_session *s, uint64_t now_ns)
{
    struct tp_http1_head head;
    size_t head_size = 0;
    const char *error = NULL;
    const enum tp_status status =
        tp_http1_final_head_parse(tp_buffer_unread(&s->buffer), &head, &head_size, &error);
    if (status == TP_NEED_MORE)
        return;
    if (status == TP_OK && head.status != 101) {
        struct tp_span body = tp_buffer_unread(&s->buffer);
        body.data += head_size;
        body.size -= head_size;
        refuse(s, &head, body, now_ns);
        return;
    }
    if (status != TP_OK || !tp_ws_handshake_accepted(&head, s->key, &error)) {
        snprintf(s->text, sizeof s->text, "%s", error);
        tp_session_fail(s, TP_SESSION_ERROR_HTTP, s->text);
        return;
    }
    s->buffer.head += head_size; /* bytes glued to the head are the first frames */
    tp_session_set_phase(s, TP_SESSION_OPEN, now_ns);
}

/* ---- descending ---- */

static const uint8_t *next_mask(struct tp_session *s)
{
    if (s->entropy_used + 4 > TP_SESSION_ENTROPY_SIZE) {
        const int filled = RAND_bytes(s->entropy, TP_SESSION_ENTROPY_SIZE);
        assert(filled == 1); /* the generator was seeded at tp_session_new */
        s->entropy_used = 0;
    }
    s->entropy_used += 4;
    return s->entropy + s->entropy_used - 4;
}

static bool queue_frame(struct tp_session *s, enum tp_ws_opcode opcode, bool fin,
                        struct tp_span payload)
{
    if (!tp_session_room_for(s, payload.size + TP_WS_FRAME_HEADER_SIZE_MAX))
        return false;
    const size_t size =
        tp_ws_frame_write(s->scratch, TP_SESSION_SCRATCH_SIZE, opcode, fin, next_mask(s), payload);
    assert(size > 0);
    tp_session_queue(s, (struct tp_span){s->scratch, size});
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
                     size = rest < TP_SESSION_FRAGMENT_SIZE ? rest : TP_SESSION_FRAGMENT_SIZE;
        const enum tp_ws_opcode frame_opcode = *taken == 0 ? opcode : TP_WS_CONTINUATION;
        if (!queue_frame(s, frame_opcode, size == rest,
                         (struct tp_span){payload.data + *taken, size}))
            return TP_FULL;
        *taken += size;
    } while (*taken < payload.size);
    return TP_OK;
}

/* ---- climbing ---- */

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

static void take_close(struct tp_session *s, const struct tp_ws_message *message)
{
    s->close_code = message->close_code;
    s->close_reason_size = message->payload.size < TP_SESSION_CLOSE_REASON_SIZE
                               ? message->payload.size
                               : TP_SESSION_CLOSE_REASON_SIZE;
    memcpy(s->close_reason, message->payload.data, s->close_reason_size);
    if (s->phase == TP_SESSION_CLOSED) { /* ended before this frame was read */
        if (s->error == TP_SESSION_ERROR_STREAM)
            s->error = TP_SESSION_ERROR_NONE; /* the peer said the end, and then ended */
        return;
    }
    close_websocket(s, s->close_code);
    s->deadline_ns = 0; /* set by the next tick, which knows the time */
}

/* Ends a session whose next message needs a large buffer while none is free. */
__attribute__((noinline, cold)) static void fail_without_memory(struct tp_session *s)
{
    const struct tp_session_memory_config *memory = &s->config.memory->config;
    if (s->phase == TP_SESSION_OPEN)
        close_websocket(s, CLOSE_TOO_BIG);
    snprintf(s->text, sizeof s->text,
             "a message of more than %zu bytes came while all %u large buffers were in use",
             memory->usual_message_size, memory->large_count);
    tp_session_fail(s, TP_SESSION_ERROR_MEMORY, s->text);
}

static enum tp_status take_message(struct tp_session *s, const struct tp_ws_message *message)
{
    s->counters.messages++;
    if (message->opcode == TP_WS_PING)
        take_ping(s, message->payload);
    else if (message->opcode == TP_WS_CLOSE)
        take_close(s, message);
    return TP_OK;
}

enum tp_status tp_session_next(struct tp_session *s, struct tp_ws_message *out)
{
    if (s->times.open == 0)
        return tp_session_at_end(s);
    for (;;) { /* twice where the message needs a large buffer */
        switch (tp_ws_input(&s->ws, &s->buffer, out)) {
        case TP_OK:
            return take_message(s, out);
        case TP_ERROR:
            if (s->phase == TP_SESSION_OPEN)
                close_websocket(s, s->ws.close_code);
            tp_session_fail(s, TP_SESSION_ERROR_WEBSOCKET, s->ws.error);
            return TP_ERROR;
        case TP_FULL:
            if (tp_session_borrow(s))
                continue;
            fail_without_memory(s);
            return tp_session_at_end(s);
        case TP_NEED_MORE:
        case TP_CLOSED:
            return tp_session_at_end(s);
        }
    }
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
    while (s->application == &tp_session_websocket && s->phase == TP_SESSION_OPEN &&
           s->ws.error == NULL && is_ping_next(s))
        (void)tp_session_next(s, &message);
}

/* ---- the table ---- */

static void websocket_output(struct tp_session *s)
{
    answer_pong(s);
    if (s->phase == TP_SESSION_CLOSING)
        queue_close_frame(s);
}

static bool websocket_ended_cleanly(const struct tp_session *s)
{
    return s->close_code != TP_SESSION_CLOSE_CODE_NONE;
}

const struct tp_session_application tp_session_websocket = {
    .init = websocket_init,
    .start = websocket_start,
    .upgrade = websocket_upgrade,
    .output = websocket_output,
    .close = close_websocket,
    .ended_cleanly = websocket_ended_cleanly,
    .truncated = "the stream ended without a close frame",
};
