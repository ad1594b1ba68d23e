/* The body behind a response head: how long it is (RFC 9112 6.3) and the chunked coding (7.1).
 *
 * Called by netstack/session_ws.c and netstack/http1/http1.py; nothing is called. Body bytes stay
 * where they are: the output is a span into the input. Framing that two hops could read in two ways
 * is refused (RFC 9112 6.1, 11.2). */
#include <stdlib.h>
#include <string.h>

#include "netstack/http1/characters.h"
#include "netstack/http1/http1.h"

enum {
    CHUNK_SIZE_DIGITS_MAX = 15,      /* 60 bits: no overflow */
    CHUNK_SIZE_ZEROS_MAX = 256,      /* in front of them: servers pad to a fixed width */
    CHUNK_EXTENSION_SIZE_MAX = 4096, /* of one chunk */
    TRAILER_SIZE_MAX = 16384,        /* of the whole trailer section */
};

enum state {
    BODY_DONE,
    BODY_LENGTH, /* `left` bytes to come */
    BODY_UNTIL_CLOSE,
    CHUNK_SIZE,
    CHUNK_SIZE_SPACE, /* BWS behind it (RFC 9112 7.1.1): servers pad with blanks */
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA, /* `left` bytes to come */
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_VALUE_LF,
    TRAILER_END_LF,
    BODY_BROKEN,
};

struct tp_http1_body {
    enum state state;
    uint64_t left;         /* body bytes of this body or chunk still to come */
    uint32_t digit_count;  /* of the chunk size at hand, leading zeros too */
    uint32_t skipped_size; /* of the extension or the trailer section at hand */
    const char *error;
};

struct tp_http1_body *tp_http1_body_new(void)
{
    return calloc(1, sizeof(struct tp_http1_body));
}

void tp_http1_body_free(struct tp_http1_body *body)
{
    free(body);
}

static enum tp_status fail(struct tp_http1_body *body, const char *why)
{
    body->state = BODY_BROKEN;
    body->error = why;
    return TP_ERROR;
}

/* 1*DIGIT below 2^63 (RFC 9110 8.6). */
static bool decimal_parse(struct tp_span text, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (!tp_http1_is_digit(text.data[i]) || *value > (INT64_MAX - 9) / 10)
            return false;
        *value = *value * 10 + (uint64_t)(text.data[i] - '0');
    }
    return text.size > 0;
}

/* One value from every Content-Length line and list element; repeats must agree. */
static bool content_length_parse(const struct tp_http1_head *head, uint64_t *length,
                                 const char **error)
{
    bool found = false;
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (!tp_http1_equals(head->header[i].name, "content-length"))
            continue;
        struct tp_span list = head->header[i].value, element;
        while (tp_http1_list_next(&list, &element)) {
            uint64_t value;
            if (!decimal_parse(element, &value)) {
                *error = "Content-Length is not a decimal number below 2^63";
                return false;
            }
            if (found && value != *length) {
                *error = "Content-Length fields disagree";
                return false;
            }
            found = true;
            *length = value;
        }
    }
    return true;
}

/* The only coding that we read is one "chunked". Empty list elements are ignored (RFC 9110 5.6.1).
 */
static bool transfer_encoding_is_chunked(const struct tp_http1_head *head)
{
    uint32_t chunked_count = 0;
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (!tp_http1_equals(head->header[i].name, "transfer-encoding"))
            continue;
        struct tp_span list = head->header[i].value, element;
        while (tp_http1_list_next(&list, &element)) {
            if (element.size == 0)
                continue;
            if (!tp_http1_equals(element, "chunked"))
                return false;
            chunked_count++;
        }
    }
    return chunked_count == 1;
}

static enum tp_status framing_decide(struct tp_http1_body *body, const struct tp_http1_head *head)
{
    uint32_t encoding_count, length_count;
    tp_http1_header_find(head, "transfer-encoding", &encoding_count);
    tp_http1_header_find(head, "content-length", &length_count);
    const char *error = NULL;
    if (encoding_count > 0) {
        if (length_count > 0)
            return fail(body, "both Transfer-Encoding and Content-Length");
        if (head->version_minor == 0)
            return fail(body, "Transfer-Encoding in an HTTP/1.0 response");
        if (!transfer_encoding_is_chunked(head))
            return fail(body, "Transfer-Encoding is not the one coding \"chunked\"");
        body->state = CHUNK_SIZE;
        return TP_OK;
    }
    if (length_count == 0) {
        body->state = BODY_UNTIL_CLOSE;
        return TP_OK;
    }
    if (!content_length_parse(head, &body->left, &error))
        return fail(body, error);
    body->state = body->left > 0 ? BODY_LENGTH : BODY_DONE;
    return TP_OK;
}

enum tp_status tp_http1_body_init(struct tp_http1_body *body, const struct tp_http1_head *head,
                                  bool head_request, const char **error)
{
    *body = (struct tp_http1_body){.state = BODY_DONE};
    /* These end at the blank line whatever their fields say (RFC 9112 6.3, items 1 and 2). */
    bool bodiless =
        head_request || head->status < 200 || head->status == 204 || head->status == 304;
    enum tp_status status = bodiless ? TP_OK : framing_decide(body, head);
    if (status == TP_ERROR)
        *error = body->error;
    return status;
}

static int hex_value(uint8_t c)
{
    if (tp_http1_is_digit(c))
        return c - '0';
    uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Behind the digits: blanks, then an extension or the end. Digits behind a blank are no size. */
static enum tp_status chunk_size_end(struct tp_http1_body *body, uint8_t c)
{
    if (c == ' ' || c == '\t') {
        if (++body->skipped_size > CHUNK_EXTENSION_SIZE_MAX)
            return fail(body, "chunk extension is larger than 4096 bytes");
        body->state = CHUNK_SIZE_SPACE;
        return TP_NEED_MORE;
    }
    if (c != '\r' && c != ';')
        return fail(body, "chunk size is not a hexadecimal number");
    body->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
    return TP_NEED_MORE;
}

static enum tp_status chunk_size_step(struct tp_http1_body *body, uint8_t c)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (body->left >> 4 * (CHUNK_SIZE_DIGITS_MAX - 1) != 0)
            return fail(body, "chunk size has more than 15 digits");
        if (body->left == 0 && body->digit_count == CHUNK_SIZE_ZEROS_MAX)
            return fail(body, "chunk size has more than 256 digits");
        body->digit_count++;
        body->left = body->left << 4 | (uint64_t)digit;
        return TP_NEED_MORE;
    }
    if (body->digit_count == 0)
        return fail(body, "chunk size is not a hexadecimal number");
    body->skipped_size = 0;
    return chunk_size_end(body, c);
}

/* Extensions and trailer values mean nothing to us, but what ends them must be unmistakable. */
static enum tp_status skip_step(struct tp_http1_body *body, uint8_t c, enum state after_cr)
{
    if (c == '\r') {
        body->state = after_cr;
        return TP_NEED_MORE;
    }
    if (!tp_http1_is_value(c))
        return fail(body, after_cr == CHUNK_SIZE_LF ? "control character in a chunk extension"
                                                    : "control character in a trailer");
    if (after_cr == CHUNK_SIZE_LF && ++body->skipped_size > CHUNK_EXTENSION_SIZE_MAX)
        return fail(body, "chunk extension is larger than 4096 bytes");
    return TP_NEED_MORE;
}

static enum tp_status expect(struct tp_http1_body *body, uint8_t c, uint8_t wanted, enum state next)
{
    if (c != wanted)
        return fail(body, "CR LF missing in the chunked coding");
    body->state = next;
    return TP_NEED_MORE;
}

static enum tp_status trailer_step(struct tp_http1_body *body, uint8_t c)
{
    if (++body->skipped_size > TRAILER_SIZE_MAX)
        return fail(body, "trailer section is larger than 16384 bytes");
    switch (body->state) {
    case TRAILER_START:
        if (c == '\r') {
            body->state = TRAILER_END_LF;
            return TP_NEED_MORE;
        }
        body->state = TRAILER_NAME;
        return tp_http1_is_token(c) ? TP_NEED_MORE : fail(body, "trailer name is not a token");
    case TRAILER_NAME:
        if (c == ':')
            body->state = TRAILER_VALUE;
        else if (!tp_http1_is_token(c))
            return fail(body, "trailer name is not a token");
        return TP_NEED_MORE;
    case TRAILER_VALUE:
        return skip_step(body, c, TRAILER_VALUE_LF);
    default:
        return expect(body, c, '\n', body->state == TRAILER_VALUE_LF ? TRAILER_START : BODY_DONE);
    }
}

static enum tp_status size_line_end(struct tp_http1_body *body, uint8_t c)
{
    enum state next = body->left > 0 ? CHUNK_DATA : TRAILER_START;
    body->skipped_size = 0;
    body->digit_count = 0;
    return expect(body, c, '\n', next);
}

/* One byte of the chunked coding's own syntax. */
static enum tp_status chunked_step(struct tp_http1_body *body, uint8_t c)
{
    switch (body->state) {
    case CHUNK_SIZE:
        return chunk_size_step(body, c);
    case CHUNK_SIZE_SPACE:
        return chunk_size_end(body, c);
    case CHUNK_EXTENSION:
        return skip_step(body, c, CHUNK_SIZE_LF);
    case CHUNK_SIZE_LF:
        return size_line_end(body, c);
    case CHUNK_DATA_CR:
        return expect(body, c, '\r', CHUNK_DATA_LF);
    case CHUNK_DATA_LF:
        return expect(body, c, '\n', CHUNK_SIZE);
    default:
        return trailer_step(body, c);
    }
}

static void take(struct tp_span *in, size_t size, struct tp_span *out)
{
    *out = (struct tp_span){in->data, size};
    *in = (struct tp_span){in->data + size, in->size - size};
}

/* The next run of a body or chunk of known size. */
static enum tp_status take_counted(struct tp_http1_body *body, struct tp_span *in,
                                   struct tp_span *out)
{
    size_t size = in->size < body->left ? in->size : (size_t)body->left;
    take(in, size, out);
    body->left -= size;
    if (body->left == 0)
        body->state = body->state == CHUNK_DATA ? CHUNK_DATA_CR : BODY_DONE;
    return TP_OK;
}

enum tp_status tp_http1_body_input(struct tp_http1_body *body, struct tp_span *in,
                                   struct tp_span *out, const char **error)
{
    *out = (struct tp_span){NULL, 0};
    while (in->size > 0 || body->state == BODY_DONE || body->state == BODY_BROKEN) {
        switch (body->state) {
        case BODY_DONE:
            return TP_CLOSED;
        case BODY_BROKEN:
            *error = body->error;
            return TP_ERROR;
        case BODY_UNTIL_CLOSE:
            take(in, in->size, out);
            return TP_OK;
        case BODY_LENGTH:
        case CHUNK_DATA:
            return take_counted(body, in, out);
        default: { /* every pass takes one byte */
            struct tp_span byte;
            take(in, 1, &byte);
            (void)chunked_step(body, byte.data[0]); /* an error shows as BODY_BROKEN */
        }
        }
    }
    return TP_NEED_MORE;
}

enum tp_status tp_http1_body_end_of_input(struct tp_http1_body *body)
{
    if (body->state == BODY_UNTIL_CLOSE)
        body->state = BODY_DONE;
    return body->state == BODY_DONE ? TP_CLOSED : fail(body, "the body was cut short");
}
