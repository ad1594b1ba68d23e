/* UTF-8 by its ranges (Unicode 15, table 3-7; RFC 3629 4): only the second byte of a character has
 * bounds of its own, and they keep out overlong forms, surrogates and code points over U+10FFFF.
 *
 * Called by netstack/ws/message.c; nothing is called. */
#include "netstack/ws/utf8.h"

#include <string.h>

/* Skips ASCII by 8 bytes at a time: market-data text is ASCII throughout. */
static size_t ascii_run(const uint8_t *data, size_t size)
{
    size_t i = 0;
    for (uint64_t word; size - i >= sizeof word; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    while (i < size && data[i] < 0x80)
        i++;
    return i;
}

static bool lead_byte(struct tp_ws_utf8 *utf8, uint8_t c)
{
    if (c < 0xc2 || c > 0xf4)
        return false;
    utf8->pending_count = (uint8_t)(1 + (c >= 0xe0) + (c >= 0xf0));
    utf8->lower = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    utf8->upper = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return true;
}

bool tp_ws_utf8_input(struct tp_ws_utf8 *utf8, struct tp_span text)
{
    struct tp_ws_utf8 now = *utf8;
    for (size_t i = 0; i < text.size;) {
        if (now.pending_count == 0) {
            i += ascii_run(text.data + i, text.size - i);
            if (i < text.size && !lead_byte(&now, text.data[i++]))
                return false;
            continue;
        }
        uint8_t c = text.data[i++];
        if (c < now.lower || c > now.upper)
            return false;
        now = (struct tp_ws_utf8){(uint8_t)(now.pending_count - 1), 0x80, 0xbf};
    }
    *utf8 = now;
    return true;
}
