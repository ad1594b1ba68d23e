/* Coinbase Advanced Trade's messages (JSON) to fixed point, without allocation.
 *
 * A body is an event of a message, and what stands behind it: a comma, or the message's rest, which
 * is read over. Facts and their sources: README.md here. Called by venue.c, which is what the
 * engine sees. Any thread; the output belongs to the caller. */
#ifndef TP_PROTO_COINBASE_DECODE_H
#define TP_PROTO_COINBASE_DECODE_H
#include "proto/encoding/status.h"
#include "proto/venue.h"

/* decode_depth of the seam: of `l2_data` and `ticker`. Of a snapshot the best levels are kept, as
 * many as there is room for. */
enum tp_decode_status tp_coinbase_decode_depth(const struct tp_body *body,
                                               struct tp_depth_update *out);
/* decode_trades of the seam. TP_DECODE_UNKNOWN: of two products. */
enum tp_decode_status tp_coinbase_decode_trades(const struct tp_body *body,
                                                struct tp_trade_update *out);
#endif
