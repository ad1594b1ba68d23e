/* The readers of decode.h: fields at fixed places, mantissas to the instrument's exponents. */
#include "proto/venues/binance_sbe/decode.h"

#include <assert.h>

#define HOT_PART static inline __attribute__((always_inline))

static const int64_t NS_PER_US = 1000;

/* Changes and whole books have the same levels on both sides, and they are as ours are. */
static_assert((int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_PRICE_AT == offsetof(struct tp_level, price) &&
                  (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_QTY_AT ==
                      offsetof(struct tp_level, quantity) &&
                  (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_SIZE == sizeof(struct tp_level),
              "levels that need no scale are copied as they are");
static_assert((int)TP_BINANCE_SBE_DEPTH_DIFF_ASKS_PRICE_AT ==
                      (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_PRICE_AT &&
                  (int)TP_BINANCE_SBE_DEPTH_DIFF_ASKS_QTY_AT ==
                      (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_QTY_AT &&
                  (int)TP_BINANCE_SBE_DEPTH_SNAPSHOT_BIDS_PRICE_AT ==
                      (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_PRICE_AT &&
                  (int)TP_BINANCE_SBE_DEPTH_SNAPSHOT_BIDS_QTY_AT ==
                      (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_QTY_AT &&
                  (int)TP_BINANCE_SBE_DEPTH_SNAPSHOT_ASKS_PRICE_AT ==
                      (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_PRICE_AT &&
                  (int)TP_BINANCE_SBE_DEPTH_SNAPSHOT_ASKS_QTY_AT ==
                      (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_QTY_AT,
              "one reader for all sides");

/* A message's exponents, and the way from them to the instrument's. */
struct decimals {
    const struct tp_sbe_scale *price, *quantity;
    int32_t price_exponent, quantity_exponent;
};

HOT_PART struct decimals decimals_of(const struct tp_body *body, int8_t price, int8_t quantity)
{
    return (struct decimals){
        .price = tp_sbe_scale(price, body->scale.price_exponent),
        .quantity = tp_sbe_scale(quantity, body->scale.quantity_exponent),
        .price_exponent = price,
        .quantity_exponent = quantity,
    };
}

/* Parts a body; what is left of `kind` is none. */
HOT_PART bool parts_of(const struct tp_body *body, enum tp_binance_sbe_kind *kind,
                       struct tp_binance_sbe_parts *out)
{
    struct tp_sbe in = {body->data, body->data + body->size};
    *kind = TP_BINANCE_SBE_KIND_COUNT;
    if (body->size < TP_SBE_HEADER_SIZE)
        return false;
    const struct tp_sbe_header header = tp_sbe_header(in);
    in.at += TP_SBE_HEADER_SIZE;
    *kind = header.schema_id == TP_BINANCE_SBE_SCHEMA_ID ? tp_binance_sbe_kind(header.template_id)
                                                         : TP_BINANCE_SBE_KIND_COUNT;
    return *kind != TP_BINANCE_SBE_KIND_COUNT && tp_binance_sbe_part(in, &header, *kind, out);
}

/* ---- why a number was refused; not of the hot path */

/* at: of a mantissa. TP_DECODE_OK: it fits. */
static enum tp_decode_status judge(const struct tp_body *body, const struct decimals *decimals,
                                   const uint8_t *at, enum tp_number kind)
{
    const bool is_price = kind == TP_NUMBER_PRICE;
    const int32_t from = is_price ? decimals->price_exponent : decimals->quantity_exponent;
    const int32_t to = is_price ? body->scale.price_exponent : body->scale.quantity_exponent;
    int64_t scaled;
    if (tp_sbe_scaled(is_price ? decimals->price : decimals->quantity, tp_sbe_i64(at), &scaled))
        return TP_DECODE_OK;
    tp_body_misfit(body, (struct tp_misfit){.text = {at, sizeof(int64_t)},
                                            .kind = kind,
                                            .is_mantissa = true,
                                            .exponent = (int8_t)from});
    return tp_sbe_refusal(tp_sbe_i64(at), from, to);
}

/* Of entries of which one was refused: the first one's. price_at: its quantity stands behind. */
__attribute__((noinline)) static enum tp_decode_status refuse(const struct tp_body *body,
                                                              const struct decimals *decimals,
                                                              const struct tp_sbe_group *group,
                                                              uint32_t price_at)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const uint8_t *const price = group->entries + (size_t)i * group->stride + price_at;
        enum tp_decode_status status = judge(body, decimals, price, TP_NUMBER_PRICE);
        if (status == TP_DECODE_OK)
            status = judge(body, decimals, price + sizeof(int64_t), TP_NUMBER_QUANTITY);
        if (status != TP_DECODE_OK)
            return status;
    }
    return TP_DECODE_BAD_NUMBER; /* not reached */
}

/* ---- books */

HOT_PART bool scale_entry(const uint8_t *entry, const struct decimals *decimals,
                          struct tp_level *out)
{
    return tp_sbe_scaled(decimals->price, tp_binance_sbe_depth_diff_bids_price(entry),
                         &out->price) &
           tp_sbe_scaled(decimals->quantity, tp_binance_sbe_depth_diff_bids_qty(entry),
                         &out->quantity);
}

static enum tp_decode_status take_side(const struct tp_body *body, const struct decimals *decimals,
                                       const struct tp_sbe_group *group, struct tp_level *levels)
{
    bool is_sound = true;
    for (uint32_t i = 0; i < group->count; i++)
        is_sound &= scale_entry(group->entries + (size_t)i * group->stride, decimals, &levels[i]);
    return is_sound ? TP_DECODE_OK
                    : refuse(body, decimals, group, TP_BINANCE_SBE_DEPTH_DIFF_BIDS_PRICE_AT);
}

/* Where the usual way is not sure of all numbers, or there is none: each is judged. */
__attribute__((noinline)) static enum tp_decode_status
take_sides(const struct tp_body *body, const struct decimals *decimals,
           const struct tp_binance_sbe_parts *parts, struct tp_depth_update *out)
{
    const enum tp_decode_status status = take_side(body, decimals, &parts->groups[0], out->bids);
    return status == TP_DECODE_OK ? take_side(body, decimals, &parts->groups[1], out->asks)
                                  : status;
}

HOT_PART bool take_time(int64_t time_us, uint64_t *out_ns)
{
    *out_ns = (uint64_t)time_us * (uint64_t)NS_PER_US;
    return time_us >= 0 && time_us <= INT64_MAX / NS_PER_US;
}

HOT_PART bool take_versions(int64_t first, int64_t last, struct tp_depth_update *out)
{
    out->first_version = (uint64_t)first;
    out->last_version = (uint64_t)last;
    out->previous_version = 0; /* its messages name none */
    return first >= 0 && first <= last;
}

HOT_PART enum tp_decode_status take_book(const struct tp_body *body,
                                         const struct decimals *decimals,
                                         const struct tp_binance_sbe_parts *parts,
                                         struct tp_depth_update *out)
{
    const struct tp_sbe_group *const groups = parts->groups;
    if (groups[0].count > TP_DEPTH_LEVEL_COUNT_MAX || groups[1].count > TP_DEPTH_LEVEL_COUNT_MAX)
        return TP_DECODE_TOO_MANY;
    out->checksum = 0;
    out->bid_count = groups[0].count;
    out->ask_count = groups[1].count;
    if (tp_sbe_levels(decimals->price, decimals->quantity, groups, out->bids, out->asks))
        return TP_DECODE_OK;
    return take_sides(body, decimals, parts, out);
}

static enum tp_decode_status take_diff(const struct tp_body *body,
                                       const struct tp_binance_sbe_parts *parts,
                                       struct tp_depth_update *out)
{
    const uint8_t *const block = parts->block;
    if (!take_time(tp_binance_sbe_depth_diff_event_time(block), &out->exchange_ns) ||
        !take_versions(tp_binance_sbe_depth_diff_first_book_update_id(block),
                       tp_binance_sbe_depth_diff_last_book_update_id(block), out))
        return TP_DECODE_BAD_NUMBER;
    const struct decimals decimals =
        decimals_of(body, tp_binance_sbe_depth_diff_price_exponent(block),
                    tp_binance_sbe_depth_diff_qty_exponent(block));
    out->flags = 0;
    return take_book(body, &decimals, parts, out);
}

static enum tp_decode_status take_snapshot(const struct tp_body *body,
                                           const struct tp_binance_sbe_parts *parts,
                                           struct tp_depth_update *out)
{
    const uint8_t *const block = parts->block;
    const int64_t version = tp_binance_sbe_depth_snapshot_book_update_id(block);
    if (!take_time(tp_binance_sbe_depth_snapshot_event_time(block), &out->exchange_ns) ||
        !take_versions(version, version, out))
        return TP_DECODE_BAD_NUMBER;
    const struct decimals decimals =
        decimals_of(body, tp_binance_sbe_depth_snapshot_price_exponent(block),
                    tp_binance_sbe_depth_snapshot_qty_exponent(block));
    out->flags = TP_DEPTH_BASE;
    return take_book(body, &decimals, parts, out);
}

static_assert((int)TP_BINANCE_SBE_BEST_BID_ASK_BID_QTY_AT ==
                      (int)TP_BINANCE_SBE_BEST_BID_ASK_BID_PRICE_AT + (int)sizeof(int64_t) &&
                  (int)TP_BINANCE_SBE_BEST_BID_ASK_ASK_PRICE_AT ==
                      (int)TP_BINANCE_SBE_BEST_BID_ASK_BID_PRICE_AT +
                          (int)TP_BINANCE_SBE_DEPTH_DIFF_BIDS_SIZE &&
                  (int)TP_BINANCE_SBE_BEST_BID_ASK_ASK_QTY_AT ==
                      (int)TP_BINANCE_SBE_BEST_BID_ASK_ASK_PRICE_AT + (int)sizeof(int64_t),
              "a level a side, one behind the other");

static enum tp_decode_status take_best(const struct tp_body *body,
                                       const struct tp_binance_sbe_parts *parts,
                                       struct tp_depth_update *out)
{
    const uint8_t *const block = parts->block;
    const int64_t version = tp_binance_sbe_best_bid_ask_book_update_id(block);
    if (!take_time(tp_binance_sbe_best_bid_ask_event_time(block), &out->exchange_ns) ||
        !take_versions(version, version, out))
        return TP_DECODE_BAD_NUMBER;
    const struct decimals decimals =
        decimals_of(body, tp_binance_sbe_best_bid_ask_price_exponent(block),
                    tp_binance_sbe_best_bid_ask_qty_exponent(block));
    const struct tp_sbe_group sides = {block + TP_BINANCE_SBE_BEST_BID_ASK_BID_PRICE_AT, 2,
                                       TP_BINANCE_SBE_DEPTH_DIFF_BIDS_SIZE};
    if (!(scale_entry(sides.entries, &decimals, &out->bids[0]) &
          scale_entry(sides.entries + sides.stride, &decimals, &out->asks[0])))
        return refuse(body, &decimals, &sides, 0);
    out->flags = TP_DEPTH_TOP;
    out->checksum = 0;
    out->bid_count = out->bids[0].quantity != 0; /* an empty side is written as zeros */
    out->ask_count = out->asks[0].quantity != 0;
    return TP_DECODE_OK;
}

enum tp_decode_status tp_binance_sbe_decode_depth(const struct tp_body *body,
                                                  struct tp_depth_update *out)
{
    struct tp_binance_sbe_parts parts;
    enum tp_binance_sbe_kind kind;
    if (!parts_of(body, &kind, &parts))
        return kind == TP_BINANCE_SBE_KIND_COUNT ? TP_DECODE_UNKNOWN : TP_DECODE_TRUNCATED;
    if (kind == TP_BINANCE_SBE_DEPTH && body->meaning == TP_MEANING_DELTA)
        return take_diff(body, &parts, out);
    if (kind == TP_BINANCE_SBE_DEPTH20 && body->meaning == TP_MEANING_BASE)
        return take_snapshot(body, &parts, out);
    if (kind == TP_BINANCE_SBE_BEST && body->meaning == TP_MEANING_TOP)
        return take_best(body, &parts, out);
    return TP_DECODE_UNKNOWN; /* not what the channel promised */
}

bool tp_binance_sbe_read_versions(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_sbe in = {body->data, body->data + body->size};
    const uint8_t *block;
    if (body->size < TP_SBE_HEADER_SIZE)
        return false;
    const struct tp_sbe_header header = tp_sbe_header(in);
    in.at += TP_SBE_HEADER_SIZE;
    return header.schema_id == TP_BINANCE_SBE_SCHEMA_ID &&
           header.template_id == TP_BINANCE_SBE_DEPTH_DIFF_ID &&
           tp_sbe_block(&in, header.block_length, TP_BINANCE_SBE_DEPTH_DIFF_SIZE, &block) &&
           take_versions(tp_binance_sbe_depth_diff_first_book_update_id(block),
                         tp_binance_sbe_depth_diff_last_book_update_id(block), out);
}

/* ---- trades */

static_assert((int)TP_BINANCE_SBE_TRADES_TRADES_QTY_AT ==
                  (int)TP_BINANCE_SBE_TRADES_TRADES_PRICE_AT + (int)sizeof(int64_t),
              "refuse finds the quantity behind the price");

/* boolEnum: 0, 1, or 255 where there is no value. */
static bool take_maker(uint8_t is_buyer_maker, uint32_t *flags)
{
    enum { NO_VALUE = 255 };
    *flags = is_buyer_maker == NO_VALUE ? TP_TRADE_SIDELESS : is_buyer_maker ? TP_TRADE_SELL : 0;
    return is_buyer_maker <= 1 || is_buyer_maker == NO_VALUE;
}

static bool take_trade(const uint8_t *entry, const struct decimals *decimals, struct tp_trade *out)
{
    return tp_sbe_scaled(decimals->price, tp_binance_sbe_trades_trades_price(entry), &out->price) &
           tp_sbe_scaled(decimals->quantity, tp_binance_sbe_trades_trades_qty(entry),
                         &out->quantity);
}

enum tp_decode_status tp_binance_sbe_decode_trades(const struct tp_body *body,
                                                   struct tp_trade_update *out)
{
    struct tp_binance_sbe_parts parts;
    enum tp_binance_sbe_kind kind;
    uint64_t traded_ns;
    if (!parts_of(body, &kind, &parts))
        return kind == TP_BINANCE_SBE_KIND_COUNT ? TP_DECODE_UNKNOWN : TP_DECODE_TRUNCATED;
    if (kind != TP_BINANCE_SBE_TRADE)
        return TP_DECODE_UNKNOWN;
    const struct tp_sbe_group *const group = &parts.groups[0];
    if (group->count > TP_TRADE_COUNT_MAX)
        return TP_DECODE_TOO_MANY;
    if (!take_time(tp_binance_sbe_trades_event_time(parts.block), &out->exchange_ns) ||
        !take_time(tp_binance_sbe_trades_transact_time(parts.block), &traded_ns))
        return TP_DECODE_BAD_NUMBER;
    const struct decimals decimals =
        decimals_of(body, tp_binance_sbe_trades_price_exponent(parts.block),
                    tp_binance_sbe_trades_qty_exponent(parts.block));
    for (uint32_t i = 0; i < group->count; i++) {
        const uint8_t *const entry = group->entries + (size_t)i * group->stride;
        const int64_t id = tp_binance_sbe_trades_trades_id(entry);
        struct tp_trade *const trade = &out->trades[i];
        *trade = (struct tp_trade){.exchange_ns = traded_ns, .id = (uint64_t)id};
        if (!take_trade(entry, &decimals, trade))
            return refuse(body, &decimals, group, TP_BINANCE_SBE_TRADES_TRADES_PRICE_AT);
        if (id < 0 ||
            !take_maker(tp_binance_sbe_trades_trades_is_buyer_maker(entry), &trade->flags))
            return TP_DECODE_BAD_NUMBER;
    }
    out->count = group->count;
    out->reserved = 0;
    return TP_DECODE_OK;
}
