/* Incremental UTF-8 validation (RFC 3629), for text that arrives in pieces.
 *
 * Called by netstack/ws/message.c. */
#ifndef TP_NETSTACK_WS_UTF8_H
#define TP_NETSTACK_WS_UTF8_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

/* All zero between characters. */
struct tp_ws_utf8 {
    uint8_t pending_count; /* continuation bytes that the open character still needs */
    uint8_t lower, upper;  /* bounds of the next one */
};

/* False at the first byte that no valid text can have there. */
bool tp_ws_utf8_input(struct tp_ws_utf8 *utf8, struct tp_span text);
static inline bool tp_ws_utf8_complete(const struct tp_ws_utf8 *utf8)
{
    return utf8->pending_count == 0;
}
#endif
