/* HTTP/1.1 client messages (RFC 9112): request writer and response parser, in place, strict.
 * Called by netstack/session_ws.c and netstack/ws/opening_handshake.c. */
#ifndef TP_NETSTACK_HTTP1_H
#define TP_NETSTACK_HTTP1_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

enum { TP_HTTP1_HEAD_SIZE_MAX = 65536, TP_HTTP1_HEADER_COUNT_MAX = 100 };

struct tp_http1_header {
    struct tp_span name, value; /* value without surrounding white space; where the field was folded
                                 * (RFC 9112 5.2), its CR LF stand inside */
};

/* A response head; spans point into the buffer that was parsed and die with it. */
struct tp_http1_head {
    uint16_t status;
    uint8_t version_minor; /* HTTP/1.x */
    struct tp_span reason;
    uint32_t header_count;
    struct tp_http1_header header[TP_HTTP1_HEADER_COUNT_MAX];
};

/* Parses a head at the start of bytes. TP_OK: *head_size bytes belong to it. TP_NEED_MORE: no blank
 * line yet (and fewer than TP_HTTP1_HEAD_SIZE_MAX bytes). TP_ERROR: malformed; *error says what. */
enum tp_status tp_http1_head_parse(struct tp_span bytes, struct tp_http1_head *out,
                                   size_t *head_size, const char **error);
/* The same, but interim responses (1xx except 101) that stand before the final one are passed over:
 * *head_size counts them, and TP_HTTP1_HEAD_SIZE_MAX holds for all of it. */
enum tp_status tp_http1_final_head_parse(struct tp_span bytes, struct tp_http1_head *out,
                                         size_t *head_size, const char **error);
bool tp_http1_head_is_interim(const struct tp_http1_head *head);
/* Case-insensitive; data NULL when absent. *count (if given) says how often the header stands. */
struct tp_span tp_http1_header_find(const struct tp_http1_head *head, const char *name,
                                    uint32_t *count);

/* The body that follows a head: Content-Length, chunked, or until close (RFC 9112 6.3). */
struct tp_http1_body;
struct tp_http1_body *tp_http1_body_new(void);
void tp_http1_body_free(struct tp_http1_body *body);
/* TP_ERROR for conflicting or malformed framing (request smuggling: RFC 9112 6.1). */
enum tp_status tp_http1_body_init(struct tp_http1_body *body, const struct tp_http1_head *head,
                                  bool head_request, const char **error);
/* Takes from *in (advancing it); *out is the next run of body bytes inside *in. TP_OK: out->size >
 * 0, call again. TP_NEED_MORE. TP_CLOSED: the body is complete. TP_ERROR. */
enum tp_status tp_http1_body_input(struct tp_http1_body *body, struct tp_span *in,
                                   struct tp_span *out, const char **error);
/* The transport ended: TP_CLOSED if the body may end so, else TP_ERROR. */
enum tp_status tp_http1_body_end_of_input(struct tp_http1_body *body);

struct tp_http1_request {
    const char *method, *host;
    const char *target;        /* origin-form: "/path?query" */
    const char *extra_headers; /* "Name: value\r\n" lines or "" */
    bool has_body;             /* the caller sends body_size bytes behind the head */
    uint64_t body_size;
};

/* Writes a request head. Returns its size, 0 when capacity is too small or an
 * argument has CR, LF or another character that does not belong there, or extra_headers has Host,
 * Content-Length or Transfer-Encoding. */
size_t tp_http1_request_write(uint8_t *out, size_t capacity,
                              const struct tp_http1_request *request);
#endif
