/* MEXC spot v3 push messages (protobuf) to fixed point, without allocation.
 *
 * Source: MEXC's published PushDataV3ApiWrapper schema, fields as of 2026-06-17 (see README.md
 * here). Called by venue.c, which is what the engine sees. Any thread; the router and the output
 * belong to the caller. */
#ifndef TP_PROTO_MEXC_DECODE_H
#define TP_PROTO_MEXC_DECODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/encoding/status.h"
#include "proto/venue.h"

/* Subscriptions by channel: the message's first field (0a <len> <channel>) is compared with the
 * whole key of one subscription; a small open-addressing table, its hash over the symbol bytes at
 * the channel's end. Never a search through the message. Capacity is fixed at init. */
struct tp_mexc_router;
size_t tp_mexc_router_memory_size(uint32_t channel_count_max);
struct tp_mexc_router *tp_mexc_router_init(void *memory, uint32_t channel_count_max);
/* instrument: what tp_mexc_route finds. False: no channel of MEXC's, longer than 96 bytes, present
 * already, or full. */
bool tp_mexc_router_add(struct tp_mexc_router *router, const char *channel, uint32_t instrument);
/* Fills all but next_offset and sequence; the body is the wrapper's other fields. False: unknown
 * channel or not a wrapper at all. */
bool tp_mexc_route(const struct tp_mexc_router *router, const uint8_t *data, size_t size,
                   struct tp_route *out);
/* route of the seam. */
void tp_mexc_route_message(void *router, const struct tp_venue_message *message, uint32_t from,
                           struct tp_route *out);
/* What a message means that is no push of a channel of ours. */
enum tp_meaning tp_mexc_other_meaning(const struct tp_venue_message *message);
/* The channel's kind by its name; NULL: none of MEXC's. */
const struct tp_channel *tp_mexc_describe(const char *channel);
/* What a JSON text means: MEXC's answers to requests. */
enum tp_meaning tp_mexc_text_meaning(const uint8_t *data, size_t size);

/* decode_depth of the seam: as below, and the body must be of the kind that its meaning says,
 * unless that is TP_MEANING_UNKNOWN. */
enum tp_decode_status tp_mexc_decode_body(const struct tp_body *body, struct tp_depth_update *out);
/* read_versions of the seam. */
bool tp_mexc_read_versions(const struct tp_body *body, struct tp_depth_update *out);
/* Decodes a depth body: aggregated (tag 313), incremental (302) and batches of those (312), limited
 * (303) or book ticker (315, 305, batch 311: one level a side, TP_DEPTH_TOP). A limited depth is
 * the whole book, TP_DEPTH_BASE; a batch of depths is one change from the first item's number to
 * the last one's. data starts at body_offset; unknown fields are skipped; the last body wins, as in
 * proto3's oneof. out is undefined unless TP_DECODE_OK. */
enum tp_decode_status tp_mexc_decode_depth(const uint8_t *data, size_t size,
                                           const struct tp_scale *scale,
                                           struct tp_depth_update *out);
/* deals.c: decode_trades of the seam. */
enum tp_decode_status tp_mexc_decode_trades(const struct tp_body *body,
                                            struct tp_trade_update *out);
#endif
