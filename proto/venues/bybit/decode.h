/* Bybit v5's public market data (JSON) to fixed point, without allocation.
 *
 * A message is {"topic":…,"type":…,"ts":…,"data":…,"cts":…}, the keys behind the topic in an order
 * that differs from market to market. Facts and their sources: README.md here. Called by venue.c of
 * this folder and of bybit_linear, which speaks the same. Calls proto/encoding. Any thread. */
#ifndef TP_PROTO_BYBIT_DECODE_H
#define TP_PROTO_BYBIT_DECODE_H
#include "proto/venue.h"

/* The body is the whole message: its kind and times stand beside the data. TOP is a book of one
 * level, of which only whole ones are read. */
enum tp_decode_status tp_bybit_decode_depth(const struct tp_body *body,
                                            struct tp_depth_update *out);
enum tp_decode_status tp_bybit_decode_trades(const struct tp_body *body,
                                             struct tp_trade_update *out);
#endif
