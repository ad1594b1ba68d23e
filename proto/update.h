/* What a venue's decoder makes of one message. Nothing here stands in shared memory.
 *
 * Prices and quantities are int64 mantissas of the instrument's decimal exponent, as in
 * proto/records.h; exchange_ns is CLOCK_REALTIME as the venue stamped it, 0 where it does not.
 * Written by proto/venues/<venue>, read by engine/feed and engine/book. */
#ifndef TP_PROTO_UPDATE_H
#define TP_PROTO_UPDATE_H
#include <stdint.h>

#include "proto/records.h"

/* The decimal exponents that an instrument's mantissas have: -18..0. */
struct tp_scale {
    int32_t price_exponent, quantity_exponent;
};

enum tp_depth_flag {
    TP_DEPTH_BASE = 0x1,      /* the levels are the whole book: an in-band base, at any time */
    TP_DEPTH_TRUNCATED = 0x2, /* of a base: beyond its last level on a side nothing is known */
    TP_DEPTH_BIDS_CUT = 0x10, /* the same of one side alone */
    TP_DEPTH_ASKS_CUT = 0x20,
    TP_DEPTH_CHECKSUM = 0x4, /* `checksum` is what the book must give once this is applied */
    TP_DEPTH_TOP = 0x8,      /* of a ticker: at most one level a side, no change of a book */
};

/* One depth message. Levels are absolute quantities, 0 removes; their order does not matter. */
enum { TP_DEPTH_LEVEL_COUNT_MAX = 5000 };
struct tp_depth_update {
    /* The venue's numbers. first equals last where it numbers messages, not ranges. previous is the
     * last number before this message where the venue names it, else 0; where it names that one
     * alone, first is previous + 1. All 0 where nothing is numbered. */
    uint64_t first_version, last_version, previous_version;
    uint64_t exchange_ns;
    uint32_t bid_count, ask_count;
    uint32_t flags;    /* enum tp_depth_flag */
    uint32_t checksum; /* a venue that writes it signed means the same bits */
    struct tp_level bids[TP_DEPTH_LEVEL_COUNT_MAX], asks[TP_DEPTH_LEVEL_COUNT_MAX];
};

enum tp_trade_flag {
    TP_TRADE_SELL = 0x1,     /* who took liquidity sold; else bought */
    TP_TRADE_SIDELESS = 0x2, /* the venue does not say who took */
    TP_TRADE_HASHED = 0x4,   /* id: the 64-bit FNV-1a hash of an id that is no 64-bit number */
};

struct tp_trade {
    int64_t price, quantity;
    uint64_t exchange_ns;
    uint64_t id; /* 0: the venue gives none */
    uint32_t flags;
    uint32_t reserved;
};

/* All trades of one message, oldest first; 0 where the venue says by it that there was none. */
enum { TP_TRADE_COUNT_MAX = 1024 };
struct tp_trade_update {
    uint64_t exchange_ns; /* of the message */
    uint32_t count;
    uint32_t reserved;
    struct tp_trade trades[TP_TRADE_COUNT_MAX];
};

/* Whether the venue trades an instrument. */
enum tp_trading {
    TP_TRADING_UNKNOWN = 0, /* the venue does not say */
    TP_TRADING_OPEN = 1,
    TP_TRADING_CANCEL_ONLY = 2,
    TP_TRADING_HALTED = 3,
    TP_TRADING_DELISTED = 4,
};
struct tp_status_update {
    uint64_t exchange_ns;
    uint32_t trading; /* enum tp_trading */
    uint32_t reserved;
};
#endif
