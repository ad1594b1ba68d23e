/* Hyperliquid's WebSocket messages (JSON) to fixed point, without allocation.
 *
 * A body is the value of "data" and the rest of the message, which is read over. Facts and their
 * sources: README.md here. Called by venue.c, which is what the engine sees. Any thread; the output
 * belongs to the caller. */
#ifndef TP_PROTO_HYPERLIQUID_DECODE_H
#define TP_PROTO_HYPERLIQUID_DECODE_H
#include "proto/encoding/status.h"
#include "proto/venue.h"

/* decode_depth of the seam: of `l2Book` and `bbo`. TP_DECODE_UNKNOWN: another number of sides than
 * two, or no time. */
enum tp_decode_status tp_hyperliquid_decode_depth(const struct tp_body *body,
                                                  struct tp_depth_update *out);
/* decode_trades of the seam. TP_DECODE_UNKNOWN: trades of more than one coin in a message. */
enum tp_decode_status tp_hyperliquid_decode_trades(const struct tp_body *body,
                                                   struct tp_trade_update *out);
#endif
