/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/gate/router.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/symbol_table.h"
#include "proto/venues/gate/decode.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2025-11-30: the subscription begins with a whole book (full:true) of u; from then on a
 * message's U is the last u + 1, else the channel is to be subscribed to anew; another whole book
 * may come at any time. Levels that leave the window are sent as removed, as 51 captured messages
 * of 2026-10-03 show. */
#define OBU_RULE(levels)                                                                           \
    {                                                                                              \
        .chain = TP_CHAIN_RANGE, .base = TP_BASE_IN_BAND, .meeting = TP_MEETING_CHAINS,            \
        .in_band_base = true, .copies = TP_COPIES_BY_NUMBER, .depth = (levels)                     \
    }
static const struct tp_sync_rule obu_50_rule = OBU_RULE(50), obu_400_rule = OBU_RULE(400);
/* The same documents: keep messages until the REST book is there; drop those with u below its
 * id + 1; the first has U <= id + 1 <= u; from then on U > book's number + 1 says that one was
 * lost; full:true replaces the book. */
static const struct tp_sync_rule update_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .may_overlap = true,
    .in_band_base = true,
    .copies = TP_COPIES_BY_NUMBER,
};

/* What is subscribed to of an instrument; a bit of entry.channels each, futures' above spot's. */
enum kind_index { OBU_50, OBU_400, UPDATE_20, UPDATE_100, TRADES, TICKER, KIND_COUNT };
enum {
    BOOKS = 1 << OBU_50 | 1 << OBU_400 | 1 << UPDATE_20 | 1 << UPDATE_100,
    OTHERS = 1 << TRADES | 1 << TICKER,
    MARKET_BITS = 8,
};
static const struct kind {
    const char *name;
    size_t size;
    struct tp_channel channel;
} kinds[KIND_COUNT] = {
    [OBU_50] = {"obu.50", 6, {TP_MEANING_DELTA, &obu_50_rule}},
    [OBU_400] = {"obu.400", 7, {TP_MEANING_DELTA, &obu_400_rule}},
    [UPDATE_20] = {"order_book_update.20", 20, {TP_MEANING_DELTA, &update_rule}},
    [UPDATE_100] = {"order_book_update.100", 21, {TP_MEANING_DELTA, &update_rule}},
    [TRADES] = {"trades", 6, {TP_MEANING_TRADES, NULL}},
    [TICKER] = {"book_ticker", 11, {TP_MEANING_TOP, NULL}},
};
static_assert((int)KIND_COUNT <= (int)MARKET_BITS, "a market's bits");

/* The venue's own channels: the name of obu says which of two it is. */
static const uint16_t obu_bits = 1 << OBU_50 | 1 << OBU_400;
static const uint16_t update_bits = 1 << UPDATE_20 | 1 << UPDATE_100;

HOT_PART bool is(struct tp_text text, const char *name, size_t size)
{
    return text.size == size && memcmp(text.at, name, size) == 0;
}

/* The bits of a channel without its market, which may be several; 0: none of ours. */
HOT_PART uint16_t wire_bits(struct tp_text name)
{
    if (is(name, "obu", 3))
        return obu_bits;
    if (is(name, "order_book_update", 17))
        return update_bits;
    if (is(name, "book_ticker", 11))
        return 1 << TICKER;
    return is(name, "trades", 6) ? 1 << TRADES : 0;
}

static const char SPOT[] = "spot.", FUTURES[] = "futures.";
enum { SPOT_SIZE = sizeof SPOT - 1, FUTURES_SIZE = sizeof FUTURES - 1 };

/* Takes the market off a channel's name and returns how far up its bits are; -1: no market here. */
HOT_PART int take_market(struct tp_text *name)
{
    const bool is_spot = name->size > SPOT_SIZE && memcmp(name->at, SPOT, SPOT_SIZE) == 0;
    if (!is_spot && (name->size <= FUTURES_SIZE || memcmp(name->at, FUTURES, FUTURES_SIZE) != 0))
        return -1;
    const size_t size = is_spot ? SPOT_SIZE : FUTURES_SIZE;
    *name = (struct tp_text){name->at + size, name->size - size};
    return is_spot ? 0 : MARKET_BITS;
}

/* ---- the table */

static bool is_symbol(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '"' || text.at[i] == '\\' || text.at[i] == ':' || text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a channel's name of ours: its kind, and how far up its market's bits are. KIND_COUNT: it is
 * none. */
static unsigned split(const char *channel, struct tp_text *symbol, int *shift)
{
    const char *const colon = strchr(channel, ':');
    if (colon == NULL)
        return KIND_COUNT;
    struct tp_text name = {(const uint8_t *)channel, (size_t)(colon - channel)};
    *shift = take_market(&name);
    *symbol = (struct tp_text){(const uint8_t *)colon + 1, strlen(colon + 1)};
    unsigned kind = *shift >= 0 && is_symbol(*symbol) ? 0 : (unsigned)KIND_COUNT;
    while (kind < KIND_COUNT && (name.size != kinds[kind].size ||
                                 memcmp(name.at, kinds[kind].name, kinds[kind].size) != 0))
        kind++;
    return kind;
}

const struct tp_channel *tp_gate_describe(const char *channel)
{
    struct tp_text symbol;
    int shift;
    const unsigned kind = split(channel, &symbol, &shift);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_gate_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_text symbol;
    int shift;
    const unsigned kind = split(channel, &symbol, &shift);
    if (kind == KIND_COUNT)
        return false;
    const struct tp_symbol_channels all = {(uint16_t)(BOOKS << shift), (uint16_t)(OTHERS << shift)};
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind << shift), all, instrument);
}

/* ob.BTC_USDT.50: which of the two it is of, and of what; 0: neither. */
HOT_PART uint16_t split_obu(struct tp_text name, struct tp_text *symbol)
{
    enum { HEAD_SIZE = 3, TAIL_MAX = 4 };
    if (name.size < HEAD_SIZE + TAIL_MAX || memcmp(name.at, "ob.", HEAD_SIZE) != 0)
        return 0;
    const uint8_t *const end = name.at + name.size;
    const bool is_50 = memcmp(end - TAIL_MAX + 1, ".50", TAIL_MAX - 1) == 0;
    if (!is_50 && memcmp(end - TAIL_MAX, ".400", TAIL_MAX) != 0)
        return 0;
    const size_t around = HEAD_SIZE + TAIL_MAX - is_50;
    *symbol = (struct tp_text){name.at + HEAD_SIZE, name.size - around};
    return (uint16_t)(1 << (is_50 ? OBU_50 : OBU_400));
}

HOT_PART enum tp_meaning meaning_of(uint16_t bits)
{
    if (bits == 1 << TRADES)
        return TP_MEANING_TRADES;
    return bits == 1 << TICKER ? TP_MEANING_TOP : TP_MEANING_DELTA;
}

HOT_PART bool find(const struct tp_symbol_table *router, struct tp_text channel,
                   struct tp_text name, struct tp_route *out)
{
    const int shift = take_market(&channel);
    uint16_t bits = wire_bits(channel);
    struct tp_text symbol = name;
    if (bits == obu_bits)
        bits = split_obu(name, &symbol);
    if (shift < 0 || bits == 0 || symbol.size == 0 || symbol.size > TP_SYMBOL_SIZE_MAX)
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    out->meaning = meaning_of(bits);
    out->instrument = entry->instrument;
    return (entry->channels & (unsigned)bits << shift) != 0;
}

bool tp_gate_router_find(const struct tp_symbol_table *router, struct tp_text channel,
                         struct tp_text name, struct tp_route *out)
{
    return find(router, channel, name, out);
}

/* ---- a message: {"time":S,"time_ms":MS,"channel":"NAME","event":"update","result":BODY} without a
 * space, S of ten digits, MS of thirteen */

static const char TIME[] = "{\"time\":", TIME_MS[] = ",\"time_ms\":", CHANNEL[] = ",\"channel\":\"";
static const char UPDATED[] = "\",\"event\":\"update\",\"result\":";
enum {
    TIME_SIZE = sizeof TIME - 1,
    S_DIGITS = 10,
    MS_AT = TIME_SIZE + S_DIGITS + sizeof TIME_MS - 1,
    MS_DIGITS = 13,
    CHANNEL_AT = MS_AT + MS_DIGITS + sizeof CHANNEL - 1,
    CHANNEL_SIZE_MAX = 32,
    UPDATED_SIZE = sizeof UPDATED - 1,
    /* So much of every message that is looked at here may be loaded. */
    SIZE_MIN = CHANNEL_AT + CHANNEL_SIZE_MAX + UPDATED_SIZE + 1,
};

HOT_PART bool is_number(const uint8_t *at, size_t digits)
{
    return *at != '0' && tp_json_digits_size(at) == digits;
}

HOT_PART bool is_usual(const uint8_t *data)
{
    return memcmp(data, TIME, TIME_SIZE) == 0 && is_number(data + TIME_SIZE, S_DIGITS) &&
           memcmp(data + TIME_SIZE + S_DIGITS, TIME_MS, sizeof TIME_MS - 1) == 0 &&
           is_number(data + MS_AT, MS_DIGITS) &&
           memcmp(data + MS_AT + MS_DIGITS, CHANNEL, sizeof CHANNEL - 1) == 0;
}

/* The name of a message of obu that is no whole book: {"t":MS,"s":"NAME". */
HOT_PART bool is_name_next(struct tp_json *in)
{
    static const char T[] = "{\"t\":", S[] = ",\"s\":";
    enum { T_SIZE = sizeof T - 1, S_SIZE = sizeof S - 1, NEXT = T_SIZE + MS_DIGITS + S_SIZE };
    if (in->end - in->at < NEXT + TP_JSON_BLOCK || memcmp(in->at, T, T_SIZE) != 0 ||
        !is_number(in->at + T_SIZE, MS_DIGITS) ||
        memcmp(in->at + T_SIZE + MS_DIGITS, S, S_SIZE) != 0)
        return false;
    in->at += NEXT;
    return true;
}

/* What the object that begins here names as "s". */
HOT_PART bool find_name(struct tp_json *in, struct tp_text *name)
{
    if (is_name_next(in))
        return tp_gate_string(in, name);
    struct tp_text key;
    uint64_t number;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        switch (key.size == 1 ? key.at[0] : 0) {
        case 's':
            return tp_gate_string(in, name);
        case 't':
        case 'U':
        case 'u':
            (void)tp_json_unsigned(in, &number);
            break;
        default:
            (void)tp_json_skip(in);
        }
    return false;
}

HOT_PART bool route(const struct tp_symbol_table *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN || data[size - 1] != '}' || !is_usual(data))
        return false;
    const struct tp_text channel = {data + CHANNEL_AT,
                                    tp_symbol_size(data + CHANNEL_AT, '"', CHANNEL_SIZE_MAX)};
    const uint8_t *const body = channel.at + channel.size + UPDATED_SIZE;
    if (memcmp(channel.at + channel.size, UPDATED, UPDATED_SIZE) != 0 || *body != '{')
        return false;
    struct tp_json in;
    struct tp_text name;
    tp_json_init(&in, data, size);
    in.at = body;
    if (!find_name(&in, &name) || !find(router, channel, name, out))
        return false;
    out->body_offset = (uint32_t)(body - data);
    out->body_size = (uint32_t)(data + size - 1 - body);
    return true;
}

void tp_gate_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                   struct tp_route *out)
{
    out->next_offset = 0;
    if (from != 0)
        tp_gate_route_trade(memory, message, from, out);
    else if (!route(memory, message->data, message->size, out))
        tp_gate_route_other(memory, message, out);
}
