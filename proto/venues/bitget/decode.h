/* Bitget's public market data (JSON), of both generations of its WebSocket, to fixed point, without
 * allocation.
 *
 * A body begins at the array that is the value of "data" and ends with the message: what may stand
 * behind the array is read over. The classic generation names sides "asks" and "bids", the unified
 * one "a" and "b"; all else of a book is the same. Facts and their sources: README.md here. Called
 * by venue.c of this folder and of bitget_usdt, which speaks the same. Calls proto/encoding. Any
 * thread; the output belongs to the caller. */
#ifndef TP_PROTO_BITGET_DECODE_H
#define TP_PROTO_BITGET_DECODE_H
#include "proto/encoding/status.h"
#include "proto/venue.h"

/* decode_depth of the seam. TP_DECODE_UNKNOWN: a change that does not name the number before it, as
 * the venue sent them until 2026 with a checksum instead. */
enum tp_decode_status tp_bitget_decode_depth(const struct tp_body *body,
                                             struct tp_depth_update *out);
/* decode_trades of the seam. The venue writes the newest first; out has the oldest first. */
enum tp_decode_status tp_bitget_decode_trades(const struct tp_body *body,
                                              struct tp_trade_update *out);
#endif
