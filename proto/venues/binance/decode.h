/* Binance spot's market data, as JSON of combined streams, to fixed point.
 *
 * Called by venue.c; tests and the fuzzer call the two readers of depth one by one. Calls
 * proto/encoding. Any thread. */
#ifndef TP_PROTO_BINANCE_DECODE_H
#define TP_PROTO_BINANCE_DECODE_H
#include "proto/venue.h"

/* The body is the value of "data". */
enum tp_decode_status tp_binance_decode_depth(const struct tp_body *body,
                                              struct tp_depth_update *out);
/* The same by the scanner alone, keys in any order: what every other shape than the usual goes
 * through. */
enum tp_decode_status tp_binance_decode_any(const struct tp_body *body,
                                            struct tp_depth_update *out);
/* versions.c: read_versions of the seam. */
bool tp_binance_read_versions(const struct tp_body *body, struct tp_depth_update *out);
enum tp_decode_status tp_binance_decode_trades(const struct tp_body *body,
                                               struct tp_trade_update *out);
#endif
