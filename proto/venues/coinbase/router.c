/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/coinbase/router.h"

#include <string.h>

#include "proto/encoding/json.h"

#define HOT_PART static inline __attribute__((always_inline))

/* A subscription begins with the whole book; updates have no numbers of their own, all messages of
 * a connection are counted from 0, whatever they carry: a hole may have been any book's change. */
static const struct tp_sync_rule level2_rule = {
    .chain = TP_CHAIN_NONE,
    .base = TP_BASE_IN_BAND,
    .in_band_base = true,
    .counts_connection = true,
};

/* What is subscribed to of a product; a bit of entry.channels each. */
enum kind_index { BOOK, TRADES, TICKER, KIND_COUNT };
enum { BOOK_BITS = 1 << BOOK, OTHER_BITS = 1 << TRADES | 1 << TICKER };
static const struct kind {
    const char *name; /* ours, and that of requests and answers */
    size_t size;
    const char *sent; /* in the messages themselves */
    struct tp_channel channel;
} kinds[KIND_COUNT] = {
    [BOOK] = {"level2", 6, "l2_data", {TP_MEANING_DELTA, &level2_rule}},
    [TRADES] = {"market_trades", 13, "market_trades", {TP_MEANING_TRADES, NULL}},
    [TICKER] = {"ticker", 6, "ticker", {TP_MEANING_TOP, NULL}},
};

/* ---- the table */

static bool is_product(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '"' || text.at[i] == '\\' || text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a channel's name of ours; KIND_COUNT: it is none. */
static unsigned split(const char *channel, struct tp_text *product)
{
    const char *const colon = strchr(channel, ':');
    if (colon == NULL)
        return KIND_COUNT;
    *product = (struct tp_text){(const uint8_t *)colon + 1, strlen(colon + 1)};
    const size_t size = (size_t)(colon - channel);
    unsigned kind = 0;
    while (kind < KIND_COUNT &&
           (size != kinds[kind].size || memcmp(channel, kinds[kind].name, size) != 0))
        kind++;
    return is_product(*product) ? kind : (unsigned)KIND_COUNT;
}

const struct tp_channel *tp_coinbase_describe(const char *channel)
{
    struct tp_text product;
    const unsigned kind = split(channel, &product);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_coinbase_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_text product;
    const unsigned kind = split(channel, &product);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, product, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOK_BITS, OTHER_BITS}, instrument);
}

/* UNKNOWN: no subscription of ours. */
HOT_PART void find(const struct tp_symbol_table *router, unsigned kind, struct tp_text product,
                   struct tp_route *out)
{
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, product);
    out->instrument = entry->instrument;
    if ((entry->channels >> kind & 1) == 0)
        out->meaning = TP_MEANING_UNKNOWN;
}

/* ---- an event */

/* What an event says of itself; product: the first that is named in it. */
struct event {
    struct tp_text type, product;
    bool is_doubtful; /* it says one of them twice: which holds? */
};

static void take_string(struct tp_json *in, struct tp_text *out, bool *is_doubtful)
{
    const struct tp_text before = *out;
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
    *is_doubtful |= before.size != 0 &&
                    (before.size != out->size || memcmp(before.at, out->at, out->size) != 0);
}

/* The first item's of a list of trades or tickers; the rest is skipped. */
static void take_first_product(struct tp_json *in, struct tp_text *out, bool *is_doubtful)
{
    struct tp_json look = *in;
    struct tp_text key;
    (void)tp_json_skip(in);
    if (tp_json_peek(&look) != TP_JSON_ARRAY || !tp_json_array(&look) || !tp_json_item(&look) ||
        tp_json_peek(&look) != TP_JSON_OBJECT)
        return;
    (void)tp_json_object(&look);
    while (tp_json_key(&look, &key))
        if (tp_text_is(key, "product_id"))
            take_string(&look, out, is_doubtful);
        else
            (void)tp_json_skip(&look);
}

static void read_event(struct tp_json *in, struct event *event)
{
    struct tp_text key;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        if (tp_text_is(key, "type"))
            take_string(in, &event->type, &event->is_doubtful);
        else if (tp_text_is(key, "product_id"))
            take_string(in, &event->product, &event->is_doubtful);
        else if (tp_text_is(key, "trades") || tp_text_is(key, "tickers"))
            take_first_product(in, &event->product, &event->is_doubtful);
        else
            (void)tp_json_skip(in);
    }
}

/* What events of a kind and type mean. Trades of a snapshot are history: they were news when they
 * happened. A book's event of any other type may be a change, which the decoder does not read: no
 * number of the book's own would show that it is missing. */
static enum tp_meaning event_meaning(unsigned kind, struct tp_text type)
{
    const bool is_base = tp_text_is(type, "snapshot");
    if (kind == BOOK)
        return is_base ? TP_MEANING_BASE : TP_MEANING_DELTA;
    if (!is_base && !tp_text_is(type, "update"))
        return TP_MEANING_UNKNOWN;
    return kind == TRADES && is_base ? TP_MEANING_UNKNOWN : kinds[kind].channel.meaning;
}

bool tp_coinbase_route_event(const struct tp_symbol_table *router,
                             const struct tp_venue_message *message, struct tp_text channel,
                             const uint8_t *at, struct tp_route *out)
{
    struct event event = {{(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}, false};
    struct tp_json in;
    unsigned kind = 0;
    while (kind < KIND_COUNT && !tp_text_is(channel, kinds[kind].sent))
        kind++;
    tp_json_init(&in, message->data, message->size);
    in.at = at;
    in.is_first = true;
    if (tp_json_peek(&in) != TP_JSON_OBJECT)
        return false;
    const uint8_t *const begin = in.at;
    read_event(&in, &event);
    const bool is_nobodys = kind == BOOK && event.product.size == 0;
    if (in.status != TP_DECODE_OK || event.is_doubtful || is_nobodys)
        return false;
    out->meaning = kind == KIND_COUNT ? TP_MEANING_UNKNOWN : event_meaning(kind, event.type);
    if (out->meaning != TP_MEANING_UNKNOWN)
        find(router, kind, event.product, out);
    (void)tp_json_peek(&in); /* takes white space */
    const bool has_next = in.at < in.end && *in.at == ',';
    out->next_offset = has_next ? (uint32_t)(in.at + 1 - message->data) : 0;
    /* The comma says that another one follows, and that this body is whole. */
    const uint8_t *const end = has_next ? in.at + 1 : message->data + message->size;
    out->body_offset = (uint32_t)(begin - message->data);
    out->body_size = (uint32_t)(end - begin);
    return true;
}

/* ---- an update of a book in the usual shape, without a space:
 * {"channel":"l2_data","client_id":"","timestamp":"…","sequence_num":7,"events":[{"type":"update",
 * "product_id":"BTC-USD","updates":[…]}]} ; client_id is not always there */

#define IS(at, literal) (memcmp(at, literal, sizeof(literal) - 1) == 0)
enum {
    TIME_SIZE_MAX = 32,
    DIGITS_MAX = TP_JSON_BLOCK,
    /* So much of every message that is looked at here may be loaded: all literals with their
     * longest fields between, and a block behind. */
    SIZE_MIN = 160 + TIME_SIZE_MAX + DIGITS_MAX + TP_SYMBOL_SIZE_MAX,
};

/* Where the number begins; NULL: it stands elsewhere. */
HOT_PART const uint8_t *behind_time(const uint8_t *data)
{
    static const char head[] = "{\"channel\":\"l2_data\",";
    if (!IS(data, head))
        return NULL;
    const uint8_t *at = data + sizeof head - 1;
    if (IS(at, "\"client_id\":\"\","))
        at += sizeof "\"client_id\":\"\"," - 1;
    if (!IS(at, "\"timestamp\":\""))
        return NULL;
    at += sizeof "\"timestamp\":\"" - 1;
    at += tp_symbol_size(at, '"', TIME_SIZE_MAX);
    return IS(at, "\",\"sequence_num\":") ? at + sizeof "\",\"sequence_num\":" - 1 : NULL;
}

HOT_PART bool route(const struct tp_symbol_table *router, const struct tp_venue_message *message,
                    struct tp_route *out)
{
    static const char middle[] = ",\"events\":[{\"type\":\"update\",\"product_id\":\"";
    static const char updates[] = "\",\"updates\":[", ends[] = "]}]}";
    const uint8_t *const data = message->data, *const end = data + message->size;
    const uint8_t *at = message->size < SIZE_MIN ? NULL : behind_time(data);
    if (at == NULL)
        return false;
    const size_t digits = tp_json_digits_size(at);
    /* Behind the updates the event and the message end: nothing names another product. */
    if (digits == 0 || digits == DIGITS_MAX || (digits > 1 && *at == '0') ||
        !IS(end - (sizeof ends - 1), ends) || !IS(at + digits, middle))
        return false;
    const uint8_t *const event = at + digits + sizeof ",\"events\":[" - 1;
    const uint8_t *const symbol = at + digits + sizeof middle - 1;
    const struct tp_text product = {symbol, tp_symbol_size(symbol, '"', TP_SYMBOL_SIZE_MAX)};
    const uint8_t *const behind = symbol + product.size;
    if (!IS(behind, updates))
        return false;
    const uint8_t *const changes = behind + sizeof updates - 1;
    /* An update has no bracket of its own: another one begins another event. */
    if (memchr(changes, '[', (size_t)(end - changes)) != NULL)
        return false;
    out->sequence = tp_json_digits_value(at, digits);
    out->meaning = TP_MEANING_DELTA;
    out->body_offset = (uint32_t)(event - data);
    out->body_size = (uint32_t)(end - event);
    find(router, BOOK, product, out);
    return true;
}

void tp_coinbase_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                       struct tp_route *out)
{
    out->next_offset = 0;
    if (from != 0 || !route(memory, message, out))
        tp_coinbase_route_other(memory, message, from, out);
}
