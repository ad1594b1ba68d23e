/* One WebSocket frame header (RFC 6455 5.2) as a server may send it: checked once, then plain.
 *
 * Called by netstack/ws/message.c. */
#ifndef TP_NETSTACK_WS_FRAME_H
#define TP_NETSTACK_WS_FRAME_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

struct tp_ws_frame {
    uint8_t opcode;
    bool fin;
    uint8_t header_size;
    uint64_t payload_size; /* below 2^63 */
};

static inline bool tp_ws_opcode_is_control(uint8_t opcode)
{
    return (opcode & 0x8) != 0;
}

/* TP_OK, TP_NEED_MORE, or TP_ERROR with the broken rule; every such error is close code 1002. A
 * rule is applied as soon as its bytes are there. */
enum tp_status tp_ws_frame_parse(struct tp_span bytes, struct tp_ws_frame *out, const char **error);
#endif
