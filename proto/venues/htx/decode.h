/* HTX's spot messages (JSON, inflated) to fixed point, without allocation.
 *
 * A body is a whole message: the time stands in front of what it is of. Facts and their sources:
 * README.md here. Called by venue.c, which is what the engine sees. Any thread; the output belongs
 * to the caller. */
#ifndef TP_PROTO_HTX_DECODE_H
#define TP_PROTO_HTX_DECODE_H
#include "proto/encoding/json.h"
#include "proto/encoding/status.h"
#include "proto/venue.h"

/* decode_depth of the seam: of changes, whole books, answers to `req`, and `bbo`. UNKNOWN: one
 * without its numbers, and levels under a number that nothing changed. */
enum tp_decode_status tp_htx_decode_depth(const struct tp_body *body, struct tp_depth_update *out);
/* decode_trades of the seam. */
enum tp_decode_status tp_htx_decode_trades(const struct tp_body *body, struct tp_trade_update *out);
/* versions.c: read_versions of the seam. */
bool tp_htx_read_versions(const struct tp_body *body, struct tp_depth_update *out);
#endif
