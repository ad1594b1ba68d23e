/* Binance's SBE streams to fixed point.
 *
 * Called by router.c and venue.c. Calls proto/encoding. Any thread. Source: README.md here. */
#ifndef TP_PROTO_BINANCE_SBE_DECODE_H
#define TP_PROTO_BINANCE_SBE_DECODE_H
#include "proto/encoding/sbe.h"
#include "proto/venue.h"
#include "proto/venues/binance_sbe/schema.h"

/* What is streamed of a symbol; a bit each of what is subscribed to. */
enum tp_binance_sbe_kind {
    TP_BINANCE_SBE_DEPTH,
    TP_BINANCE_SBE_DEPTH20,
    TP_BINANCE_SBE_TRADE,
    TP_BINANCE_SBE_BEST,
    TP_BINANCE_SBE_KIND_COUNT, /* none of ours */
};

/* A message in its parts, none of which reaches beyond it. */
struct tp_binance_sbe_parts {
    const uint8_t *block;
    struct tp_sbe_group groups[2]; /* of a book bids and asks; the first is that of trades */
    struct tp_text symbol;
};

/* The message has a header. */
static inline enum tp_binance_sbe_kind tp_binance_sbe_kind(uint16_t template_id)
{
    switch (template_id) {
    case TP_BINANCE_SBE_DEPTH_DIFF_ID:
        return TP_BINANCE_SBE_DEPTH;
    case TP_BINANCE_SBE_DEPTH_SNAPSHOT_ID:
        return TP_BINANCE_SBE_DEPTH20;
    case TP_BINANCE_SBE_TRADES_ID:
        return TP_BINANCE_SBE_TRADE;
    case TP_BINANCE_SBE_BEST_BID_ASK_ID:
        return TP_BINANCE_SBE_BEST;
    default:
        return TP_BINANCE_SBE_KIND_COUNT;
    }
}

static inline bool tp_binance_sbe_sides(struct tp_sbe *in, struct tp_binance_sbe_parts *out)
{
    return tp_sbe_group(in, TP_BINANCE_SBE_DEPTH_DIFF_BIDS_COUNT_SIZE,
                        TP_BINANCE_SBE_DEPTH_DIFF_BIDS_SIZE, &out->groups[0]) &&
           tp_sbe_group(in, TP_BINANCE_SBE_DEPTH_DIFF_ASKS_COUNT_SIZE,
                        TP_BINANCE_SBE_DEPTH_DIFF_ASKS_SIZE, &out->groups[1]);
}

/* Parts a message of a kind of ours; in: behind its header. False: it is cut, a block of it is
 * shorter than the schema's, or something stands behind it that our version does not have. */
static inline __attribute__((always_inline)) bool
tp_binance_sbe_part(struct tp_sbe in, const struct tp_sbe_header *header,
                    enum tp_binance_sbe_kind kind, struct tp_binance_sbe_parts *out)
{
    static const uint32_t sizes[TP_BINANCE_SBE_KIND_COUNT] = {
        [TP_BINANCE_SBE_DEPTH] = TP_BINANCE_SBE_DEPTH_DIFF_SIZE,
        [TP_BINANCE_SBE_DEPTH20] = TP_BINANCE_SBE_DEPTH_SNAPSHOT_SIZE,
        [TP_BINANCE_SBE_TRADE] = TP_BINANCE_SBE_TRADES_SIZE,
        [TP_BINANCE_SBE_BEST] = TP_BINANCE_SBE_BEST_BID_ASK_SIZE,
    };
    if (!tp_sbe_block(&in, header->block_length, sizes[kind], &out->block))
        return false;
    if (kind <= TP_BINANCE_SBE_DEPTH20) {
        if (!tp_binance_sbe_sides(&in, out))
            return false;
    } else if (kind == TP_BINANCE_SBE_TRADE &&
               !tp_sbe_group(&in, TP_BINANCE_SBE_TRADES_TRADES_COUNT_SIZE,
                             TP_BINANCE_SBE_TRADES_TRADES_SIZE, &out->groups[0]))
        return false;
    return tp_sbe_text(&in, &out->symbol) &&
           (in.at == in.end || header->version > TP_BINANCE_SBE_SCHEMA_VERSION);
}

/* The body is the whole message. */
enum tp_decode_status tp_binance_sbe_decode_depth(const struct tp_body *body,
                                                  struct tp_depth_update *out);
bool tp_binance_sbe_read_versions(const struct tp_body *body, struct tp_depth_update *out);
enum tp_decode_status tp_binance_sbe_decode_trades(const struct tp_body *body,
                                                   struct tp_trade_update *out);
#endif
