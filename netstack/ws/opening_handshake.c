/* The WebSocket opening handshake of a client (RFC 6455 4.1), without extensions or subprotocols.
 *
 * Called by netstack/session_ws.c; calls netstack/http1/request.c, and libcrypto for SHA-1 and
 * base64 (RFC 6455 uses SHA-1 against confused caches, not for secrecy). */
#include <openssl/evp.h>
#include <string.h>

#include "netstack/http1/characters.h"
#include "netstack/ws/ws.h"

enum { SHA1_SIZE = 20, ACCEPT_SIZE = 28 /* base64 of it */ };

/* Headers that only the handshake itself may write, beside those of tp_http1_request_write. */
static bool headers_free_of_ours(const char *lines)
{
    static const char *const ours[] = {"connection:", "upgrade:", "sec-websocket-"};
    for (const char *line = lines; line != NULL && *line != '\0';) {
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
            struct tp_span start = {(const uint8_t *)line, strnlen(line, strlen(ours[i]))};
            if (tp_http1_equals(start, ours[i]))
                return false;
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return true;
}

static bool key_valid(const char *key)
{
    for (size_t i = 0; i < TP_WS_KEY_SIZE - 2; i++) {
        uint8_t c = (uint8_t)key[i];
        if (!tp_http1_is_alpha(c) && !tp_http1_is_digit(c) && c != '+' && c != '/')
            return false;
    }
    return strcmp(key + TP_WS_KEY_SIZE - 2, "==") == 0;
}

static size_t text_write(uint8_t *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return size;
}

size_t tp_ws_handshake_request(uint8_t *out, size_t capacity, const char *host, const char *target,
                               const char *extra_headers, const char key[TP_WS_KEY_SIZE + 1])
{
    static const char upgrade[] = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ";
    static const char end[] = "\r\n\r\n";
    if (!key_valid(key) || !headers_free_of_ours(extra_headers))
        return 0;
    const struct tp_http1_request request = {
        .method = "GET", .host = host, .target = target, .extra_headers = extra_headers};
    size_t size = tp_http1_request_write(out, capacity, &request);
    if (size == 0)
        return 0;
    size -= 2; /* the blank line, written again behind our own headers */
    if (capacity - size < sizeof upgrade - 1 + TP_WS_KEY_SIZE + sizeof end - 1)
        return 0;
    size += text_write(out + size, upgrade);
    size += text_write(out + size, key);
    size += text_write(out + size, end);
    return size;
}

static bool accept_value(const char *key, char out[ACCEPT_SIZE + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
    char text[TP_WS_KEY_SIZE + sizeof guid];
    uint8_t digest[SHA1_SIZE];
    memcpy(text, key, TP_WS_KEY_SIZE);
    memcpy(text + TP_WS_KEY_SIZE, guid, sizeof guid);
    return EVP_Digest(text, sizeof text - 1, digest, NULL, EVP_sha1(), NULL) == 1 &&
           EVP_EncodeBlock((uint8_t *)out, digest, SHA1_SIZE) == ACCEPT_SIZE;
}

/* Does one of the fields of this name list the token? They may be several lines and lists. */
static bool list_has(const struct tp_http1_head *head, const char *name, const char *token)
{
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (!tp_http1_equals(head->header[i].name, name))
            continue;
        struct tp_span list = head->header[i].value, element;
        while (tp_http1_list_next(&list, &element)) {
            if (tp_http1_equals(element, token))
                return true;
        }
    }
    return false;
}

#define TEN(tens)                                                                                  \
    "status " #tens "0", "status " #tens "1", "status " #tens "2", "status " #tens "3",            \
        "status " #tens "4", "status " #tens "5", "status " #tens "6", "status " #tens "7",        \
        "status " #tens "8", "status " #tens "9"
#define HUNDRED(hundreds)                                                                          \
    TEN(hundreds##0), TEN(hundreds##1), TEN(hundreds##2), TEN(hundreds##3), TEN(hundreds##4),      \
        TEN(hundreds##5), TEN(hundreds##6), TEN(hundreds##7), TEN(hundreds##8), TEN(hundreds##9)

/* Error texts are static, and so each status has one. */
static const char *const status_texts[900] = {HUNDRED(1), HUNDRED(2), HUNDRED(3),
                                              HUNDRED(4), HUNDRED(5), HUNDRED(6),
                                              HUNDRED(7), HUNDRED(8), HUNDRED(9)};

static const char *status_error(uint16_t status)
{
    return status >= 100 && status < 1000 ? status_texts[status - 100] : "status out of range";
}

static const char *refusal(const struct tp_http1_head *head, const char *key)
{
    char wanted[ACCEPT_SIZE + 1];
    uint32_t count, extension_count, subprotocol_count;
    if (head->status != 101)
        return status_error(head->status);
    if (head->version_minor == 0)
        return "101 in HTTP/1.0";
    if (!list_has(head, "upgrade", "websocket"))
        return "Upgrade header does not say websocket";
    if (!list_has(head, "connection", "upgrade"))
        return "Connection header does not say Upgrade";
    struct tp_span accept = tp_http1_header_find(head, "sec-websocket-accept", &count);
    if (count != 1)
        return count == 0 ? "Sec-WebSocket-Accept is missing" : "Sec-WebSocket-Accept is repeated";
    if (!accept_value(key, wanted))
        return "libcrypto could not compute SHA-1";
    if (accept.size != ACCEPT_SIZE || memcmp(accept.data, wanted, ACCEPT_SIZE) != 0)
        return "Sec-WebSocket-Accept does not answer our key";
    tp_http1_header_find(head, "sec-websocket-extensions", &extension_count);
    if (extension_count > 0)
        return "Sec-WebSocket-Extensions was not asked for";
    tp_http1_header_find(head, "sec-websocket-protocol", &subprotocol_count);
    return subprotocol_count > 0 ? "Sec-WebSocket-Protocol was not asked for" : NULL;
}

bool tp_ws_handshake_accepted(const struct tp_http1_head *head, const char key[TP_WS_KEY_SIZE + 1],
                              const char **error)
{
    const char *why = refusal(head, key);
    if (why != NULL)
        *error = why;
    return why == NULL;
}
