/* OKX's WebSocket v5 messages (JSON) to fixed point, without allocation.
 *
 * A body begins at the array that is the value of "data" and ends with the message: what may stand
 * behind the array is read over. Facts and their sources: README.md here. Called by venue.c, which
 * is what the engine sees. Any thread; the output belongs to the caller. */
#ifndef TP_PROTO_OKX_DECODE_H
#define TP_PROTO_OKX_DECODE_H
#include "proto/encoding/status.h"
#include "proto/venue.h"

/* decode_depth of the seam: of `books`, `books5` and `bbo-tbt`. TP_DECODE_UNKNOWN: a book without a
 * sequence id, as the venue sent them in 2022, and levels under a number that nothing changed. */
enum tp_decode_status tp_okx_decode_depth(const struct tp_body *body, struct tp_depth_update *out);
/* decode_trades of the seam. */
enum tp_decode_status tp_okx_decode_trades(const struct tp_body *body, struct tp_trade_update *out);
#endif
