/* The levels of a depth body in the layout that MEXC sends, sixteen characters at a time.
 *
 * An accelerator and nothing more: it consumes the leading levels that it understands and stops at
 * anything else (the last field, an odd layout, a long number, a fault), which decode.c then reads
 * the long way and judges. Both ways give the same levels; a test compares them.
 * Called by decode.c. Any thread. */
#ifndef TP_PROTO_MEXC_LEVELS_H
#define TP_PROTO_MEXC_LEVELS_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/venue.h"

/* Where decoded levels go, and the digits that their mantissas keep. */
struct tp_mexc_levels {
    uint32_t price_digits, quantity_digits; /* of the fraction: -exponent */
    const uint8_t *message_end; /* loads may reach so far beyond a text, never further */
    struct tp_depth_update *out;
    const struct tp_body *body;
};

/* Whether this processor has what it takes; without, tp_mexc_levels_decode consumes nothing. */
bool tp_mexc_levels_supported(void);
/* Asks, then bids, as they come. Returns where it stopped: at, or the end of the last level that it
 * appended. */
const uint8_t *tp_mexc_levels_decode(const struct tp_mexc_levels *levels, const uint8_t *at,
                                     const uint8_t *end);
#endif
