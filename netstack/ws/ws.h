/* WebSocket client (RFC 6455): opening handshake, frames, messages; no extensions are offered.
 *
 * Called by netstack/session_ws.c. Payloads are used in place in the connection's buffer: nothing
 * is copied for an unfragmented message; fragments are moved together. One thread, no I/O. */
#ifndef TP_NETSTACK_WS_H
#define TP_NETSTACK_WS_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/http1/http1.h"
#include "netstack/span.h"
#include "netstack/ws/utf8.h"

enum tp_ws_opcode { /* RFC 6455 5.2 */
                    TP_WS_CONTINUATION = 0x0,
                    TP_WS_TEXT = 0x1,
                    TP_WS_BINARY = 0x2,
                    TP_WS_CLOSE = 0x8,
                    TP_WS_PING = 0x9,
                    TP_WS_PONG = 0xA,
};

enum {
    TP_WS_KEY_SIZE = 24,
    TP_WS_FRAME_HEADER_SIZE_MAX = 14,
    TP_WS_CONTROL_PAYLOAD_SIZE_MAX = 125
};

/* A complete message or control frame. payload lies in the buffer and dies at the next tp_ws_input
 * or tp_buffer change. For CLOSE: close_code (1005 when the frame was empty), payload = reason. */
struct tp_ws_message {
    enum tp_ws_opcode opcode;
    uint16_t close_code;
    struct tp_span payload;
};

struct tp_ws_config {
    size_t message_size_max; /* larger: close code 1009 */
    uint32_t
        fragment_count_max; /* more in one message: 1008; stops floods of empty continuations */
    /* Largest that the buffer at hand is for, where larger ones go elsewhere: TP_FULL, and nothing
     * is taken until the caller has moved the buffer and set this anew. 0: message_size_max. */
    size_t message_size_here;
};

struct tp_ws {
    struct tp_ws_config config;
    uint16_t close_code; /* what to close with after TP_ERROR */
    const char *error;   /* static text: which rule was broken */
    /* private from here */
    size_t consumed;     /* offset of the next frame from the buffer's head */
    size_t message_size; /* fragments joined so far, standing at the buffer's head */
    size_t awaited;      /* at TP_NEED_MORE: the open message as far as its size is known */
    uint32_t fragment_count;
    size_t text_checked; /* bytes of the unfinished text frame that were already validated */
    struct tp_ws_utf8 utf8;
    uint8_t message_opcode; /* 0: no fragmented message is open */
    bool closed;
};

void tp_ws_init(struct tp_ws *ws, const struct tp_ws_config *config);
/* Reads the next message or control frame from the buffer's head. Before that it drops the bytes of
 * the previous one. TP_OK: *out. TP_NEED_MORE. TP_FULL: see message_size_here. TP_ERROR:
 * ws->close_code, ws->error. Control frames between fragments are returned as they come, without
 * disturbing the message. After a CLOSE: TP_CLOSED for ever, whatever follows is ignored. Moves
 * bytes down inside the buffer when free space runs short; a message larger than the buffer's
 * capacity is 1009. */
enum tp_status tp_ws_input(struct tp_ws *ws, struct tp_buffer *buffer, struct tp_ws_message *out);

/* Writes one masked client frame. Returns its size, 0 when capacity is too small. mask: 4 bytes
 * from a strong source of entropy, a fresh one each frame (RFC 6455 10.3). */
size_t tp_ws_frame_write(uint8_t *out, size_t capacity, enum tp_ws_opcode opcode, bool fin,
                         const uint8_t mask[4], struct tp_span payload);
/* May this code stand in a close frame on the wire (RFC 6455 7.4)? */
bool tp_ws_close_code_valid(uint16_t code);

/* The opening handshake (RFC 6455 4.1). key: base64 of 16 random bytes. extra_headers: "Name:
 * value\r\n" lines or "". Returns the request's size, 0 when capacity is too small or an argument
 * has CR, LF or NUL. */
size_t tp_ws_handshake_request(uint8_t *out, size_t capacity, const char *host, const char *target,
                               const char *extra_headers, const char key[TP_WS_KEY_SIZE + 1]);
/* Is this head the right answer to key? On false *error says why ("status 403",
 * "Sec-WebSocket-Accept ..."). */
bool tp_ws_handshake_accepted(const struct tp_http1_head *head, const char key[TP_WS_KEY_SIZE + 1],
                              const char **error);
#endif
