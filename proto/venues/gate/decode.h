/* Gate's public market data (WebSocket v4, JSON) to fixed point, without allocation.
 *
 * A body begins at an object: the value of "result", or one trade of its array. It may go on up to
 * the message's last brace; what stands behind the object is read over. Both markets speak the
 * same: levels are pairs (`obu`, spot) or objects (order_book_update of futures), numbers are
 * strings or bare. Facts and their sources: README.md here. Called by venue.c of this folder and of
 * gate_usdt. Calls proto/encoding. Any thread. */
#ifndef TP_PROTO_GATE_DECODE_H
#define TP_PROTO_GATE_DECODE_H
#include "proto/encoding/json.h"
#include "proto/venue.h"

/* A string; quickly, where it is no longer than two blocks: "ob.1000PEPE_USDT.50". */
static inline bool tp_gate_string(struct tp_json *in, struct tp_text *out)
{
    enum { BLOCKS = 2 * TP_JSON_BLOCK };
    if (in->end - in->at < BLOCKS + 2 || *in->at != '"')
        return tp_json_string(in, out);
    const uint8_t *const at = in->at + 1;
    size_t size = tp_json_plain_size(at);
    if (size == TP_JSON_BLOCK)
        size += tp_json_plain_size(at + TP_JSON_BLOCK);
    if (size == BLOCKS || at[size] != '"')
        return tp_json_string(in, out);
    *out = (struct tp_text){at, size};
    in->at = at + size + 1;
    return true;
}

/* decode_depth of the seam: of obu, order_book_update and book_ticker. */
enum tp_decode_status tp_gate_decode_depth(const struct tp_body *body, struct tp_depth_update *out);
/* read_versions of the seam. */
bool tp_gate_read_versions(const struct tp_body *body, struct tp_depth_update *out);
/* decode_trades of the seam: one trade. */
enum tp_decode_status tp_gate_decode_trades(const struct tp_body *body,
                                            struct tp_trade_update *out);
#endif
