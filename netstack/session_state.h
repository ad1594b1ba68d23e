/* What session.c and the two applications on top of it share: session_ws.c (WebSocket) and
 * session_http.c (plain bytes), and understudy.c. Nobody else includes this. */
#ifndef TP_NETSTACK_SESSION_STATE_H
#define TP_NETSTACK_SESSION_STATE_H
#include "netstack/session.h"

enum {
    TP_SESSION_FRAGMENT_SIZE = 16000, /* more leaves in fragments that fit one TLS record each */
    TP_SESSION_SCRATCH_SIZE = TP_SESSION_FRAGMENT_SIZE + TP_WS_FRAME_HEADER_SIZE_MAX,
    TP_SESSION_SEALED_SIZE = TP_SESSION_SCRATCH_SIZE + 1024,
    TP_SESSION_ENTROPY_SIZE = 1024,   /* masks are drawn in blocks: one RAND_bytes costs 400 ns */
    TP_SESSION_RETRY_AFTER_SIZE = 64, /* an HTTP date has 29 bytes */
    TP_SESSION_TEXT_SIZE = 480,       /* a verdict: reason, where it points to, start of its body */
    TP_SESSION_CLOSE_REASON_SIZE = TP_WS_CONTROL_PAYLOAD_SIZE_MAX - 2,
    TP_SESSION_CLOSE_CODE_NONE = 1006, /* RFC 6455 7.1.5: there was no close frame */
};

/* What runs on top of the stream and TLS. */
struct tp_session_application {
    /* Before anything else; false with the reason in error[]. */
    bool (*init)(struct tp_session *session, const struct tp_session_config *config, char *error,
                 size_t error_size);
    /* Bytes can be sent now: opens the session, or begins to (UPGRADING). */
    void (*start)(struct tp_session *session, uint64_t now_ns);
    /* UPGRADING, and bytes came. NULL: start opens. */
    void (*upgrade)(struct tp_session *session, uint64_t now_ns);
    /* Queues what it owes the peer, before each output. */
    void (*output)(struct tp_session *session);
    /* OPEN: begins a closing handshake of its own. NULL: the end of the stream is all. */
    void (*close)(struct tp_session *session, uint16_t code);
    /* The input ended: by the application's rules? */
    bool (*ended_cleanly)(const struct tp_session *session);
    const char *truncated; /* what to say where it did not */
};
extern const struct tp_session_application tp_session_websocket, tp_session_bytes;

struct tp_session {
    struct tp_stream stream;
    struct tp_tls *tls; /* NULL: none */
    const struct tp_session_application *application;
    struct tp_ws ws;
    struct tp_buffer buffer;
    uint8_t *usual; /* its own, also while the buffer is a large one */
    bool has_large;
    enum tp_session_phase phase;
    enum tp_session_error error;
    const char *error_text;
    struct tp_session_config config;
    size_t read_size; /* bytes that tp_session_read handed out last; the request's before OPEN */
    bool input_ended; /* the peer will send nothing more */
    bool input_clean; /* ... and said so by the protocol's rules */
    uint64_t deadline_ns; /* of the handshakes, or of the close */
    struct tp_session_times times;
    struct tp_session_counters counters;
    char text[TP_SESSION_TEXT_SIZE]; /* of an error whose words are not static */
    /* session_ws.c */
    uint16_t http_status; /* of an upgrade that was refused; 0: none was. Until it ends the session,
                           * it waits for the start of its body */
    char retry_after[TP_SESSION_RETRY_AFTER_SIZE];
    char key[TP_WS_KEY_SIZE + 1];
    bool close_sent, pong_pending;
    uint16_t close_code_sent; /* or to be sent, as soon as there is room (CLOSING) */
    uint16_t close_code;
    uint8_t pong[TP_WS_CONTROL_PAYLOAD_SIZE_MAX];
    size_t pong_size;
    uint8_t close_reason[TP_SESSION_CLOSE_REASON_SIZE];
    size_t close_reason_size;
    uint8_t entropy[TP_SESSION_ENTROPY_SIZE];
    size_t entropy_used;
    uint8_t scratch[TP_SESSION_SCRATCH_SIZE], sealed[TP_SESSION_SEALED_SIZE];
};

/* In session.c, for the applications. */
void tp_session_set_phase(struct tp_session *session, enum tp_session_phase phase, uint64_t now_ns);
/* The first error wins; what was read before it stays readable. */
void tp_session_fail(struct tp_session *session, enum tp_session_error error, const char *text);
bool tp_session_room_for(const struct tp_session *session, size_t plain_size);
/* Seals and queues plain; the caller made sure that it fits. */
void tp_session_queue(struct tp_session *session, struct tp_span plain);
/* Moves what is unread into a large buffer. False: none is free. */
bool tp_session_borrow(struct tp_session *session);
/* Nothing whole is left in the buffer: makes room, and says whether more can come. */
enum tp_status tp_session_at_end(struct tp_session *session);
#endif
