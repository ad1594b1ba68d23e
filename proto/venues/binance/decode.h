/* Binance spot's market data, as JSON of combined streams, to fixed point.
 *
 * Called by venue.c and, through cffi, by tests. Calls proto/encoding. Any thread. */
#ifndef TP_PROTO_BINANCE_DECODE_H
#define TP_PROTO_BINANCE_DECODE_H
#include "proto/encoding/json.h"
#include "proto/venue.h"

/* The body is the value of "data" and what stands behind it: one character, or all up to the
 * message's end. */
enum tp_decode_status tp_binance_decode_depth(const struct tp_body *body,
                                              struct tp_depth_update *out);
/* Ends the reading of a body: what stands behind the data says nothing of them. */
enum tp_decode_status tp_binance_finish(struct tp_json *in);
/* versions.c: read_versions of the seam. */
bool tp_binance_read_versions(const struct tp_body *body, struct tp_depth_update *out);
enum tp_decode_status tp_binance_decode_trades(const struct tp_body *body,
                                               struct tp_trade_update *out);
#endif
