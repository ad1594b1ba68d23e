/* The table of router.h, and what messages mean that are no data of ours. Source: README.md. */
#include "proto/venues/bybit/router.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/symbol_table.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2026-07-24: the subscription begins with a whole book; another may come at any time and
 * replaces it, as does one whose u is 1. They do not promise that u is one more each time; captures
 * show it, and what is not is taken for a loss. Levels that leave the depth are sent as removed. */
#define BOOK_RULE(levels)                                                                          \
    {                                                                                              \
        .chain = TP_CHAIN_PLUS_ONE, .base = TP_BASE_IN_BAND, .meeting = TP_MEETING_CHAINS,         \
        .in_band_base = true, .copies = TP_COPIES_BY_NUMBER, .depth = (levels)                     \
    }
static const struct tp_sync_rule rules[] = {BOOK_RULE(50), BOOK_RULE(200), BOOK_RULE(1000)};

/* A bit of entry.streams each. The usual one first. */
static const struct kind {
    const char *prefix;
    size_t size;
    struct tp_channel channel;
} kinds[] = {
    {"orderbook.50.", 13, {TP_MEANING_DELTA, &rules[0]}},
    {"orderbook.200.", 14, {TP_MEANING_DELTA, &rules[1]}},
    {"orderbook.1000.", 15, {TP_MEANING_DELTA, &rules[2]}},
    {"publicTrade.", 12, {TP_MEANING_TRADES, NULL}},
    {"orderbook.1.", 12, {TP_MEANING_TOP, NULL}},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds, BOOKS = 0x7, ALL = (1 << KIND_COUNT) - 1 };

enum { WORD = sizeof(uint64_t) };

/* Parts a topic; KIND_COUNT: none of ours. */
HOT_PART unsigned split(struct tp_text topic, struct tp_text *symbol)
{
    unsigned kind = 0;
    while (kind < KIND_COUNT && (topic.size <= kinds[kind].size ||
                                 memcmp(topic.at, kinds[kind].prefix, kinds[kind].size) != 0))
        kind++;
    if (kind == KIND_COUNT)
        return KIND_COUNT;
    *symbol = (struct tp_text){topic.at + kinds[kind].size, topic.size - kinds[kind].size};
    return symbol->size <= TP_SYMBOL_SIZE_MAX ? kind : (unsigned)KIND_COUNT;
}

/* ---- the table */

static bool is_symbol(struct tp_text text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '"' || text.at[i] == '\\' || text.at[i] <= ' ')
            return false;
    return true;
}

static unsigned split_name(const char *channel, struct tp_text *symbol)
{
    const unsigned kind =
        split((struct tp_text){(const uint8_t *)channel, strlen(channel)}, symbol);
    return kind != KIND_COUNT && is_symbol(*symbol) ? kind : (unsigned)KIND_COUNT;
}

const struct tp_channel *tp_bybit_describe(const char *channel)
{
    struct tp_text symbol;
    const unsigned kind = split_name(channel, &symbol);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_bybit_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_text symbol;
    const unsigned kind = split_name(channel, &symbol);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOKS, ALL & ~BOOKS}, instrument);
}

HOT_PART bool find(const struct tp_symbol_table *router, struct tp_text topic, struct tp_route *out)
{
    struct tp_text symbol;
    const unsigned kind = split(topic, &symbol);
    if (kind == KIND_COUNT)
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    return (entry->channels >> kind & 1) != 0;
}

/* ---- other messages */

/* What a message says of itself. */
struct said {
    struct tp_text topic, op, word; /* word: ret_msg */
    enum tp_json_kind success;      /* NONE: no such key */
};

static void said_field(struct tp_json *in, struct tp_text key, struct said *said)
{
    const enum tp_json_kind kind = tp_json_peek(in);
    if (kind == TP_JSON_STRING && tp_text_is(key, "topic") && said->topic.at == NULL)
        (void)tp_json_string(in, &said->topic); /* the first, as where it stands first */
    else if (kind == TP_JSON_STRING && tp_text_is(key, "op"))
        (void)tp_json_string(in, &said->op);
    else if (kind == TP_JSON_STRING && tp_text_is(key, "ret_msg"))
        (void)tp_json_string(in, &said->word);
    else {
        if (tp_text_is(key, "success"))
            said->success = kind;
        (void)tp_json_skip(in);
    }
}

static bool is(struct tp_text text, const char *word)
{
    return text.at != NULL && tp_text_is(text, word);
}

static bool is_already(struct tp_text text)
{
    static const char words[] = "error:already subscribed";
    const size_t size = sizeof words - 1;
    return text.at != NULL && text.size >= size && memcmp(text.at, words, size) == 0;
}

/* A pong comes in three shapes: "op":"pong" with arguments or with success, and "op":"ping" with
 * success and the word "pong". */
static enum tp_meaning answer_meaning(const struct said *said)
{
    const bool says_no = said->success == TP_JSON_FALSE;
    if (!says_no && (is(said->op, "pong") || is(said->word, "pong")))
        return TP_MEANING_HEARTBEAT;
    if (says_no) { /* a refusal may have an empty op */
        if (said->op.at != NULL && said->op.size != 0 && !is(said->op, "subscribe"))
            return TP_MEANING_NOTICE;
        return is_already(said->word) ? TP_MEANING_ACKNOWLEDGEMENT : TP_MEANING_REFUSAL;
    }
    if (said->success == TP_JSON_TRUE && (is(said->op, "subscribe") || is(said->op, "unsubscribe")))
        return TP_MEANING_ACKNOWLEDGEMENT;
    return TP_MEANING_UNKNOWN;
}

__attribute__((noinline, cold)) static void route_other(const struct tp_symbol_table *router,
                                                        const struct tp_venue_message *message,
                                                        struct tp_route *out)
{
    struct said said = {.success = TP_JSON_NONE};
    struct tp_text key;
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        said_field(&in, key, &said);
    out->meaning = TP_MEANING_BROKEN;
    if (tp_json_finish(&in) != TP_DECODE_OK)
        return;
    if (said.topic.at == NULL)
        out->meaning = answer_meaning(&said);
    else if (!find(router, said.topic, out))
        out->meaning = TP_MEANING_UNKNOWN;
}

/* ---- data: {"topic":"NAME", without a space */

static const char HEAD[] = "{\"topic\":\"";
enum { HEAD_SIZE = sizeof HEAD - 1, TOPIC_SIZE_MAX = 15 + TP_SYMBOL_SIZE_MAX };

HOT_PART bool find_topic(const struct tp_venue_message *message, struct tp_text *topic)
{
    if (message->size < HEAD_SIZE || memcmp(message->data, HEAD, HEAD_SIZE) != 0)
        return false;
    const uint8_t *const at = message->data + HEAD_SIZE;
    const size_t left = message->size - HEAD_SIZE;
    const uint8_t *quote = memchr(at, '"', left < TOPIC_SIZE_MAX + 1 ? left : TOPIC_SIZE_MAX + 1);
    if (quote == NULL)
        return false;
    *topic = (struct tp_text){at, (size_t)(quote - at)};
    return true;
}

void tp_bybit_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                    struct tp_route *out)
{
    (void)from; /* a message has one part */
    struct tp_text topic;
    out->next_offset = 0;
    out->body_offset = 0;
    out->body_size = (uint32_t)message->size;
    if (!find_topic(message, &topic) || !find(memory, topic, out))
        route_other(memory, message, out);
}
