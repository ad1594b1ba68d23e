/* The head of an HTTP/1.1 response: status line and field lines, in place (RFC 9112 2 to 5).
 *
 * Called by netstack/session_ws.c and netstack/http1/http1.py; nothing is called. Every call parses
 * from the start, line by line, and judges only whole lines inside the size limit: so what is an
 * error in a longer input is the same error, or "need more", in each of its prefixes. */
#include "netstack/http1/http1.h"

#include <string.h>

#include "netstack/http1/characters.h"

/* One line without its CR LF. TP_NEED_MORE: no line end yet. RFC 9112 2.2 lets us take a bare LF
 * for a line end; we refuse it, because hops that disagree on it can be made to smuggle. */
static enum tp_status line_next(struct tp_span *rest, struct tp_span *line, const char **error)
{
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
    if (end == NULL)
        return TP_NEED_MORE;
    size_t size = (size_t)(end - rest->data);
    if (size == 0 || rest->data[size - 1] != '\r') {
        *error = "line ends in a bare LF";
        return TP_ERROR;
    }
    *line = (struct tp_span){rest->data, size - 1};
    *rest = (struct tp_span){rest->data + size + 1, rest->size - size - 1};
    return TP_OK;
}

static bool all_value_characters(struct tp_span text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!tp_http1_is_value(text.data[i]))
            return false;
    }
    return true;
}

/* "HTTP/1.1 101 Switching Protocols". The reason, and with it the space before it, may be absent:
 * servers that send "HTTP/1.1 101" exist. */
static bool status_line_parse(struct tp_span line, struct tp_http1_head *out, const char **error)
{
    const uint8_t *at = line.data;
    if (line.size < 8 || memcmp(at, "HTTP/1.", 7) != 0 || !tp_http1_is_digit(at[7])) {
        *error = "status line does not start with HTTP/1.";
        return false;
    }
    bool three_digits = line.size >= 12 && at[8] == ' ' && tp_http1_is_digit(at[9]) &&
                        tp_http1_is_digit(at[10]) && tp_http1_is_digit(at[11]);
    if (!three_digits || at[9] == '0' || (line.size > 12 && at[12] != ' ')) {
        *error = "status code is not a number from 100 to 999";
        return false;
    }
    out->version_minor = (uint8_t)(at[7] - '0');
    out->status = (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
    size_t before_reason = line.size > 12 ? 13 : 12;
    out->reason = (struct tp_span){at + before_reason, line.size - before_reason};
    if (!all_value_characters(out->reason)) {
        *error = "control character in the reason phrase";
        return false;
    }
    return true;
}

static bool field_line_parse(struct tp_span line, struct tp_http1_header *out, const char **error)
{
    size_t name_size = 0;
    while (name_size < line.size && tp_http1_is_token(line.data[name_size]))
        name_size++;
    /* White space before the colon is refused too (RFC 9112 5.1). */
    if (name_size == 0 || name_size == line.size || line.data[name_size] != ':') {
        *error = "header name is not a token followed by a colon";
        return false;
    }
    out->name = (struct tp_span){line.data, name_size};
    out->value =
        tp_http1_trim((struct tp_span){line.data + name_size + 1, line.size - name_size - 1});
    if (!all_value_characters(out->value)) {
        *error = "control character in a header value";
        return false;
    }
    return true;
}

/* RFC 9112 5.2: a response's field may go on in the next line. The value then has a CR LF inside,
 * which counts as white space: no other value can have one. */
static bool fold(struct tp_span line, struct tp_http1_head *out, const char **error)
{
    if (out->header_count == 0) {
        *error = "folded line before the first header field";
        return false;
    }
    if (!all_value_characters(line)) {
        *error = "control character in a header value";
        return false;
    }
    struct tp_span *value = &out->header[out->header_count - 1].value;
    const struct tp_span more = tp_http1_trim(line);
    if (value->size == 0)
        *value = more;
    else if (more.size > 0)
        value->size = (size_t)(more.data + more.size - value->data);
    return true;
}

/* Field lines up to and with the blank one. */
static enum tp_status fields_parse(struct tp_span *rest, struct tp_http1_head *out,
                                   const char **error)
{
    out->header_count = 0;
    for (;;) { /* each turn takes a line, within the head's size limit */
        struct tp_span line;
        enum tp_status status = line_next(rest, &line, error);
        if (status != TP_OK)
            return status;
        if (line.size == 0)
            return TP_OK;
        if (tp_http1_is_space(line.data[0])) {
            if (!fold(line, out, error))
                return TP_ERROR;
            continue;
        }
        if (out->header_count == TP_HTTP1_HEADER_COUNT_MAX) {
            *error = "more than 100 header fields";
            return TP_ERROR;
        }
        if (!field_line_parse(line, &out->header[out->header_count], error))
            return TP_ERROR;
        out->header_count++;
    }
}

/* A peer that does not speak HTTP is told so by its first bytes, not after 64 KiB without a line.
 */
static bool starts_like_http(struct tp_span bytes)
{
    size_t size = bytes.size < 7 ? bytes.size : 7;
    return size == 0 || memcmp(bytes.data, "HTTP/1.", size) == 0;
}

static enum tp_status head_parse(struct tp_span *rest, struct tp_http1_head *out,
                                 const char **error)
{
    struct tp_span line;
    if (!starts_like_http(*rest)) {
        *error = "status line does not start with HTTP/1.";
        return TP_ERROR;
    }
    enum tp_status status = line_next(rest, &line, error);
    if (status != TP_OK)
        return status;
    if (!status_line_parse(line, out, error))
        return TP_ERROR;
    return fields_parse(rest, out, error);
}

/* Parses within the size limit: what lies behind it cannot change the verdict. */
static enum tp_status limited_parse(struct tp_span bytes, bool skip_interim,
                                    struct tp_http1_head *out, size_t *head_size,
                                    const char **error)
{
    struct tp_span rest = bytes;
    if (rest.size > TP_HTTP1_HEAD_SIZE_MAX)
        rest.size = TP_HTTP1_HEAD_SIZE_MAX;
    const uint8_t *start = rest.data;
    enum tp_status status;
    do { /* each pass takes at least a status line, so the size limit bounds them */
        status = head_parse(&rest, out, error);
    } while (status == TP_OK && skip_interim && tp_http1_head_is_interim(out));
    if (status == TP_OK)
        *head_size = (size_t)(rest.data - start);
    if (status == TP_NEED_MORE && bytes.size >= TP_HTTP1_HEAD_SIZE_MAX) {
        *error = "head is larger than 65536 bytes";
        return TP_ERROR;
    }
    return status;
}

enum tp_status tp_http1_head_parse(struct tp_span bytes, struct tp_http1_head *out,
                                   size_t *head_size, const char **error)
{
    return limited_parse(bytes, false, out, head_size, error);
}

enum tp_status tp_http1_final_head_parse(struct tp_span bytes, struct tp_http1_head *out,
                                         size_t *head_size, const char **error)
{
    return limited_parse(bytes, true, out, head_size, error);
}

bool tp_http1_head_is_interim(const struct tp_http1_head *head)
{
    return head->status < 200 && head->status != 101;
}

struct tp_span tp_http1_header_find(const struct tp_http1_head *head, const char *name,
                                    uint32_t *count)
{
    struct tp_span value = {NULL, 0};
    uint32_t found = 0;
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (!tp_http1_equals(head->header[i].name, name))
            continue;
        if (found++ == 0)
            value = head->header[i].value;
    }
    if (count != NULL)
        *count = found;
    return value;
}
