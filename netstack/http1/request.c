/* HTTP/1.1 request heads (RFC 9112 3). What the caller gives is checked, so that no value that came
 * from a configuration or a user can add a header line or a second request.
 *
 * Called by netstack/session_ws.c and netstack/ws/opening_handshake.c; nothing is called. */
#include "netstack/http1/http1.h"

#include <stdio.h>
#include <string.h>

#include "netstack/http1/characters.h"

struct writer {
    uint8_t *out;
    size_t capacity, size;
    bool full;
};

static void append(struct writer *writer, const char *text)
{
    size_t size = strlen(text);
    if (writer->full || size > writer->capacity - writer->size) {
        writer->full = true;
        return;
    }
    memcpy(writer->out + writer->size, text, size);
    writer->size += size;
}

static bool token_valid(const char *text)
{
    const char *at = text;
    while (tp_http1_is_token((uint8_t)*at))
        at++;
    return at != text && *at == '\0';
}

/* Visible ASCII without the characters that would end the part early. */
static bool visible_without(const char *text, const char *forbidden)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at <= ' ' || *at >= 0x7f || strchr(forbidden, *at) != NULL)
            return false;
    }
    return true;
}

/* These decide where a message ends or whom it is for: only we write them. */
static bool name_reserved(struct tp_span name)
{
    return tp_http1_equals(name, "host") || tp_http1_equals(name, "content-length") ||
           tp_http1_equals(name, "transfer-encoding");
}

/* "Name: value\r\n" lines, none of them blank or folded. */
static bool extra_headers_valid(const char *lines)
{
    while (*lines != '\0') {
        const char *end = strstr(lines, "\r\n");
        if (end == NULL)
            return false;
        const char *at = lines;
        while (tp_http1_is_token((uint8_t)*at))
            at++;
        struct tp_span name = {(const uint8_t *)lines, (size_t)(at - lines)};
        if (name.size == 0 || *at != ':' || name_reserved(name))
            return false;
        for (at++; at < end; at++) {
            if (!tp_http1_is_value((uint8_t)*at))
                return false;
        }
        lines = end + 2;
    }
    return true;
}

size_t tp_http1_request_write(uint8_t *out, size_t capacity, const struct tp_http1_request *request)
{
    bool valid = token_valid(request->method) && *request->host != '\0' &&
                 visible_without(request->host, "/?#@\\") && *request->target == '/' &&
                 visible_without(request->target, "#") &&
                 extra_headers_valid(request->extra_headers);
    if (!valid)
        return 0;
    struct writer writer = {.out = out, .capacity = capacity};
    append(&writer, request->method);
    append(&writer, " ");
    append(&writer, request->target);
    append(&writer, " HTTP/1.1\r\nHost: ");
    append(&writer, request->host);
    append(&writer, "\r\n");
    append(&writer, request->extra_headers);
    if (request->has_body) {
        char line[48];
        snprintf(line, sizeof line, "Content-Length: %llu\r\n",
                 (unsigned long long)request->body_size);
        append(&writer, line);
    }
    append(&writer, "\r\n");
    return writer.full ? 0 : writer.size;
}
