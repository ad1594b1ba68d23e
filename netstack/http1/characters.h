/* Character classes of HTTP field lines (RFC 9110 5.5, 5.6.2) and their decimal numbers.
 *
 * Called by netstack/http1/{request,response,body}.c and netstack/ws/opening_handshake.c. */
#ifndef TP_NETSTACK_HTTP1_CHARACTERS_H
#define TP_NETSTACK_HTTP1_CHARACTERS_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

static inline bool tp_http1_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static inline bool tp_http1_is_alpha(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'z';
}

/* tchar: what a method or a field name is made of (RFC 9110 5.6.2). One bit a character, a word for
 * each 32: ! # $ % & ' * + - . 0-9 | A-Z ^ _ | ` a-z | ~ */
static inline bool tp_http1_is_token(uint8_t c)
{
    static const uint32_t words[4] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};
    return c < 128 && (words[c >> 5] >> (c & 31) & 1) != 0;
}

static inline bool tp_http1_is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* field-vchar, space and tab; bytes above 127 are obs-text, which a client must tolerate. */
static inline bool tp_http1_is_value(uint8_t c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static inline uint8_t tp_http1_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static inline struct tp_span tp_http1_trim(struct tp_span text)
{
    while (text.size > 0 && tp_http1_is_space(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && tp_http1_is_space(text.data[text.size - 1]))
        text.size--;
    return text;
}

/* A value may have the CR LF of an obs-fold inside (RFC 9112 5.2), and nothing else of that kind.
 */
static inline struct tp_span tp_http1_trim_folded(struct tp_span text)
{
    while (text.size > 0 &&
           (tp_http1_is_space(text.data[0]) || text.data[0] == '\r' || text.data[0] == '\n')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (tp_http1_is_space(text.data[text.size - 1]) ||
                             text.data[text.size - 1] == '\r' || text.data[text.size - 1] == '\n'))
        text.size--;
    return text;
}

/* Is text equal to the lower-case literal, without regard to ASCII case? */
static inline bool tp_http1_equals(struct tp_span text, const char *lower)
{
    size_t i = 0;
    for (; i < text.size && lower[i] != '\0'; i++) {
        if (tp_http1_lower(text.data[i]) != tp_http1_lower((uint8_t)lower[i]))
            return false;
    }
    return i == text.size && lower[i] == '\0';
}

/* Cuts the first element off a comma-separated list, trimmed; false when nothing is left. */
static inline bool tp_http1_list_next(struct tp_span *list, struct tp_span *element)
{
    if (list->data == NULL)
        return false;
    size_t size = 0;
    while (size < list->size && list->data[size] != ',')
        size++;
    *element = tp_http1_trim_folded((struct tp_span){list->data, size});
    if (size == list->size)
        *list = (struct tp_span){NULL, 0};
    else
        *list = (struct tp_span){list->data + size + 1, list->size - size - 1};
    return true;
}
#endif
