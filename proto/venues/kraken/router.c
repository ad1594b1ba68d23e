/* Which of our subscriptions each item of a message belongs to, and what answers mean.
 *
 * The venue writes channel, type and data in this order, and an item's symbol first: that is
 * compared as it stands; every other order goes the long way, with the same answers.
 * Called by venue.c. Any thread; the memory belongs to the caller. */
#include <assert.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"
#include "proto/venues/kraken/decode.h"

enum { CACHE_LINE = 64, WORD = 8 };
static const char UPDATE_HEAD[] = "{\"channel\":\"book\",\"type\":\"update\",\"data\":[";
static const char SYMBOL_HEAD[] = "{\"symbol\":\"";

/* ---- the table */

struct entry {
    uint32_t instrument;
    uint8_t kind; /* enum tp_kraken_kind; 0: the entry is free */
    uint8_t size; /* of the symbol */
    uint8_t symbol[TP_KRAKEN_SYMBOL_SIZE_MAX];
};
static_assert(sizeof(struct entry) == CACHE_LINE, "one line each");

struct tp_kraken_router {
    uint32_t count, count_max;
    uint32_t mask; /* entries - 1; twice the channels or more, so that a free one ends each probe */
    struct entry *entries;
};

static uint32_t entry_count_for(uint32_t channel_count_max)
{
    assert(channel_count_max > 0 && channel_count_max <= 1u << 20);
    uint32_t count = 2;
    while (count < 2 * channel_count_max)
        count *= 2;
    return count;
}

size_t tp_kraken_router_size(uint32_t channel_count_max)
{
    return sizeof(struct tp_kraken_router) + CACHE_LINE +
           entry_count_for(channel_count_max) * sizeof(struct entry);
}

void tp_kraken_router_init(void *memory, uint32_t channel_count_max)
{
    memset(memory, 0, tp_kraken_router_size(channel_count_max));
    struct tp_kraken_router *router = memory;
    const uintptr_t behind = (uintptr_t)(router + 1);
    router->entries = (struct entry *)((behind + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    router->count_max = channel_count_max;
    router->mask = entry_count_for(channel_count_max) - 1;
}

/* Multiplicative hashing of the first 16 bytes; what differs behind them is compared. The
 * multipliers are 2^64 over the golden ratio and over its square, made odd. */
static inline uint32_t symbol_hash(enum tp_kraken_kind kind, struct tp_text symbol)
{
    uint64_t word[2] = {0, 0};
    memcpy(word, symbol.at, symbol.size < sizeof word ? symbol.size : sizeof word);
    const uint64_t mixed =
        (word[0] * 0x61c8864680b583eb) ^ (word[1] * 0x9e3779b97f4a7c15) ^ (uint64_t)kind;
    return (uint32_t)((mixed ^ (mixed >> 29)) * 0x9e3779b97f4a7c15 >> 32);
}

/* The entry that holds the symbol, or the free one where it would go. Ends: at most half of the
 * entries are in use. */
static inline struct entry *entry_find(const struct tp_kraken_router *router,
                                       enum tp_kraken_kind kind, struct tp_text symbol)
{
    uint32_t at = symbol_hash(kind, symbol) & router->mask;
    struct entry *entry = &router->entries[at];
    while (entry->kind != 0 && (entry->kind != kind || entry->size != symbol.size ||
                                memcmp(entry->symbol, symbol.at, symbol.size) != 0)) {
        at = (at + 1) & router->mask;
        entry = &router->entries[at];
    }
    return entry;
}

bool tp_kraken_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_kraken_router *router = memory;
    enum tp_kraken_kind kind;
    struct tp_text symbol;
    if (tp_kraken_describe(channel, &kind, &symbol) == NULL || router->count == router->count_max)
        return false;
    struct entry *entry = entry_find(router, kind, symbol);
    if (entry->kind != 0)
        return false;
    *entry = (struct entry){
        .instrument = instrument, .kind = (uint8_t)kind, .size = (uint8_t)symbol.size};
    memcpy(entry->symbol, symbol.at, symbol.size);
    router->count++;
    return true;
}

/* ---- the message's head */

struct head {
    struct tp_text channel, type, method;
    bool has_success, success, has_error;
    bool is_ordered; /* channel and type came before the data */
    bool is_sound;   /* as far as it was read */
    size_t data;     /* where the value of "data" begins; 0: there is none */
};

static void take_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

static void take_success(struct tp_json *in, struct head *head)
{
    const enum tp_json_kind kind = tp_json_peek(in);
    head->has_success = kind == TP_JSON_TRUE || kind == TP_JSON_FALSE;
    if (head->has_success)
        (void)tp_json_bool(in, &head->success);
    else
        (void)tp_json_skip(in);
}

/* Reads up to the data where the head stands before them, else all. */
static struct head read_head(const struct tp_venue_message *message)
{
    struct head head = {.is_sound = true};
    struct tp_text key;
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "channel"))
            take_string(&in, &head.channel);
        else if (tp_text_is(key, "type"))
            take_string(&in, &head.type);
        else if (tp_text_is(key, "method"))
            take_string(&in, &head.method);
        else if (tp_text_is(key, "success"))
            take_success(&in, &head);
        else if (tp_text_is(key, "data")) {
            (void)tp_json_peek(&in);
            head.data = (size_t)(in.at - message->data);
            head.is_ordered = head.channel.at != NULL && head.type.at != NULL;
            if (head.is_ordered)
                return head;
            (void)tp_json_skip(&in);
        } else {
            head.has_error = head.has_error || tp_text_is(key, "error");
            (void)tp_json_skip(&in);
        }
    }
    head.is_sound = tp_json_finish(&in) == TP_DECODE_OK;
    return head;
}

/* Of a message that is no item of a channel of ours. */
static enum tp_meaning meaning_of_head(const struct head *head)
{
    if (head->channel.at != NULL) {
        if (tp_text_is(head->channel, "heartbeat"))
            return TP_MEANING_HEARTBEAT;
        return tp_text_is(head->channel, "status") ? TP_MEANING_NOTICE : TP_MEANING_UNKNOWN;
    }
    if (head->method.at == NULL)
        return head->has_error ? TP_MEANING_NOTICE : TP_MEANING_UNKNOWN;
    if (tp_text_is(head->method, "pong"))
        return TP_MEANING_HEARTBEAT;
    const bool subscribes = tp_text_is(head->method, "subscribe");
    if (head->has_success && !head->success)
        return subscribes ? TP_MEANING_REFUSAL : TP_MEANING_NOTICE;
    if (head->has_success && (subscribes || tp_text_is(head->method, "unsubscribe")))
        return TP_MEANING_ACKNOWLEDGEMENT;
    return TP_MEANING_NOTICE;
}

/* ---- items */

/* What items of a channel and type mean; UNKNOWN: nobody asked for them. Trades of a snapshot are
 * history: they were published when they happened. */
static enum tp_meaning meaning_of_items(const struct head *head, enum tp_kraken_kind *kind)
{
    const bool is_update = tp_text_is(head->type, "update");
    *kind = 0;
    if (!is_update && !tp_text_is(head->type, "snapshot"))
        return TP_MEANING_UNKNOWN;
    if (tp_text_is(head->channel, "book")) {
        *kind = TP_KRAKEN_BOOK;
        return is_update ? TP_MEANING_DELTA : TP_MEANING_BASE;
    }
    if (tp_text_is(head->channel, "ticker")) {
        *kind = TP_KRAKEN_TICKER;
        return TP_MEANING_TOP;
    }
    if (!is_update || !tp_text_is(head->channel, "trade"))
        return TP_MEANING_UNKNOWN;
    *kind = TP_KRAKEN_TRADE;
    return TP_MEANING_TRADES;
}

static bool item_symbol(const uint8_t *at, const uint8_t *end, struct tp_text *symbol)
{
    struct tp_json in;
    struct tp_text key;
    tp_json_init(&in, at, (size_t)(end - at));
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "symbol"))
            return tp_json_string(&in, symbol);
        else
            (void)tp_json_skip(&in);
    return false;
}

/* A symbol that stands first, without an escape; else the long way. */
static inline bool find_symbol(const uint8_t *at, const uint8_t *end, struct tp_text *symbol)
{
    const size_t head = sizeof SYMBOL_HEAD - 1;
    if ((size_t)(end - at) > head && memcmp(at, SYMBOL_HEAD, head) == 0) {
        const uint8_t *begin = at + head, *quote = begin;
        const uint8_t *stop = end - begin > TP_KRAKEN_SYMBOL_SIZE_MAX + 1
                                  ? begin + TP_KRAKEN_SYMBOL_SIZE_MAX + 1
                                  : end;
        while (quote < stop && *quote != '"' && *quote != '\\' && *quote >= ' ')
            quote++;
        if (quote < stop && *quote == '"') {
            *symbol = (struct tp_text){begin, (size_t)(quote - begin)};
            return true;
        }
    }
    return item_symbol(at, end, symbol);
}

/* Where the item behind this one begins; NULL: this is the last, or cannot be read to its end. */
static const uint8_t *next_item(const uint8_t *at, const uint8_t *end)
{
    struct tp_json in;
    tp_json_init(&in, at, (size_t)(end - at));
    if (!tp_json_skip(&in))
        return NULL;
    (void)tp_json_peek(&in); /* takes white space */
    return in.at < end && *in.at == ',' ? in.at + 1 : NULL;
}

/* at: the item. Of a book's keys `symbol` alone has an l: where none follows, no other item does
 * that could name whose it is. */
static void route_item(const struct tp_kraken_router *router,
                       const struct tp_venue_message *message, enum tp_kraken_kind kind,
                       const uint8_t *at, struct tp_route *out)
{
    const uint8_t *const end = message->data + message->size;
    struct tp_text symbol;
    if (!find_symbol(at, end, &symbol)) {
        out->meaning = TP_MEANING_BROKEN;
        return;
    }
    const uint8_t *behind = symbol.at + symbol.size, *next = NULL;
    if (kind != TP_KRAKEN_BOOK || memchr(behind, 'l', (size_t)(end - behind)) != NULL)
        next = next_item(at, end);
    out->body_offset = (uint32_t)(at - message->data);
    /* The comma behind an item that another follows is a part's end, never a message's. */
    const uint8_t *const last = end[-1] == ',' ? end - 1 : end;
    out->body_size = (uint32_t)((next != NULL ? next : last) - at);
    if (next != NULL)
        out->next_offset = (uint32_t)(next - message->data);
    const struct entry *entry = entry_find(router, kind, symbol);
    if (entry->kind == 0 && kind != TP_KRAKEN_BOOK) /* its instrument's book may be ours */
        entry = entry_find(router, TP_KRAKEN_BOOK, symbol);
    if (entry->kind != 0)
        out->instrument = entry->instrument;
    else
        out->meaning = TP_MEANING_UNKNOWN;
}

/* The first item of the data; NULL: there is none. */
static const uint8_t *first_item(const struct tp_venue_message *message, size_t data)
{
    struct tp_json in;
    tp_json_init(&in, message->data + data, message->size - data);
    if (tp_json_peek(&in) != TP_JSON_ARRAY || !tp_json_array(&in) || !tp_json_item(&in))
        return NULL;
    (void)tp_json_peek(&in);
    return in.at;
}

/* Any message but an update of a book as the venue writes it. */
__attribute__((noinline, cold)) static void route_other(const struct tp_kraken_router *router,
                                                        const struct tp_venue_message *message,
                                                        uint32_t from, struct tp_route *out)
{
    const struct head head = read_head(message);
    out->meaning = TP_MEANING_BROKEN;
    if (!head.is_sound)
        return;
    enum tp_kraken_kind kind = 0;
    out->meaning = head.channel.at != NULL && head.data != 0 ? meaning_of_items(&head, &kind)
                                                             : TP_MEANING_UNKNOWN;
    if (kind == 0) {
        out->meaning = meaning_of_head(&head);
        return;
    }
    const uint8_t *at = from != 0 ? message->data + from : first_item(message, head.data);
    if (at == NULL) {
        out->meaning = TP_MEANING_BROKEN;
        return;
    }
    route_item(router, message, kind, at, out);
    /* The head would be read anew, behind all items, for each of them. */
    if (out->next_offset != 0 && !head.is_ordered) {
        out->next_offset = 0;
        out->meaning = TP_MEANING_BROKEN;
    }
}

void tp_kraken_route(void *router, const struct tp_venue_message *message, uint32_t from,
                     struct tp_route *out)
{
    const size_t head = sizeof UPDATE_HEAD - 1;
    out->next_offset = 0;
    if (message->size <= head || memcmp(message->data, UPDATE_HEAD, head) != 0 ||
        message->data[head] != '{') {
        route_other(router, message, from, out);
        return;
    }
    out->meaning = TP_MEANING_DELTA;
    route_item(router, message, TP_KRAKEN_BOOK, message->data + (from != 0 ? from : head), out);
}
