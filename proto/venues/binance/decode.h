/* Binance's market data, as JSON of combined streams, to fixed point: spot's, and that of its
 * contracts, whose messages of a book name the number before them as well.
 *
 * Called by venue.c of this folder and of binance_usdm and, through cffi, by tests. Calls
 * proto/encoding. Any thread. */
#ifndef TP_PROTO_BINANCE_DECODE_H
#define TP_PROTO_BINANCE_DECODE_H
#include "proto/encoding/json.h"
#include "proto/venue.h"

/* The body is the value of "data" and what stands behind it: one character, or all up to the
 * message's end. */
enum tp_decode_status tp_binance_decode_depth(const struct tp_body *body,
                                              struct tp_depth_update *out);
/* The same of contracts: TP_DECODE_UNKNOWN of a change that does not name the number before it. */
enum tp_decode_status tp_binance_usdm_decode_depth(const struct tp_body *body,
                                                   struct tp_depth_update *out);
/* Ends the reading of a body: what stands behind the data says nothing of them. */
enum tp_decode_status tp_binance_finish(struct tp_json *in);
/* versions.c: read_versions of the seam. */
bool tp_binance_read_versions(const struct tp_body *body, struct tp_depth_update *out);
bool tp_binance_usdm_read_versions(const struct tp_body *body, struct tp_depth_update *out);
/* What contracts' stream calls a trade and is none ("X":"NA") gives no trade. */
enum tp_decode_status tp_binance_decode_trades(const struct tp_body *body,
                                               struct tp_trade_update *out);
#endif
