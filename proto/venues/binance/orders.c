/* See orders.h. Parameters stand in the order of their names in the message as well, so that each
 * is written next to what is signed. */
#include "proto/venues/binance/orders.h"

#include "proto/orders.h"
#include "proto/records.h"

struct piece {
    const char *at;
    uint32_t size;
};
#define PIECE(text) ((struct piece){(text), sizeof(text) - 1})

static void add(struct tp_order_text *text, struct piece piece)
{
    tp_text_add(text, piece.at, piece.size);
}

static struct piece method_of(enum tp_binance_verb verb)
{
    switch (verb) {
    case TP_BINANCE_PLACE:
        return PIECE("order.place");
    case TP_BINANCE_CANCEL:
        return PIECE("order.cancel");
    case TP_BINANCE_ASK:
        return PIECE("order.status");
    }
    return PIECE("");
}

bool tp_binance_template_init(struct tp_binance_template *template_, enum tp_binance_verb verb,
                              const struct tp_binance_account *account,
                              const struct tp_hmac_key *key)
{
    memset(template_, 0, sizeof *template_);
    struct tp_order_text head = {.at = template_->head, .room = TP_BINANCE_TEXT_MAX};
    struct tp_order_text text = {.at = template_->signed_, .room = TP_BINANCE_TEXT_MAX};
    template_->verb = verb;
    template_->is_signed = account->key_size != 0;
    template_->recv_window_ms = account->recv_window_ms;
    add(&head, PIECE("\",\"method\":\""));
    add(&head, method_of(verb));
    add(&head, PIECE("\",\"params\":{"));
    if (template_->is_signed) {
        add(&head, PIECE("\"apiKey\":\""));
        tp_text_add(&head, account->key, account->key_size);
        add(&head, PIECE("\","));
        add(&text, PIECE("apiKey="));
        tp_text_add(&text, account->key, account->key_size);
        add(&text, PIECE("&"));
    }
    add(&head, verb == TP_BINANCE_PLACE ? PIECE("\"newClientOrderId\":\"")
                                        : PIECE("\"origClientOrderId\":\""));
    add(&text, verb == TP_BINANCE_PLACE ? PIECE("newClientOrderId=") : PIECE("origClientOrderId="));
    tp_text_add(&head, account->id_prefix, TP_ORDER_ID_PREFIX_SIZE);
    tp_text_add(&text, account->id_prefix, TP_ORDER_ID_PREFIX_SIZE);
    template_->head_size = head.size;
    template_->signed_size = text.size;
    if (account->recv_window_ms == 0 || account->recv_window_ms > TP_RECV_WINDOW_MAX_MS)
        return false;
    if (account->symbol_size == 0 || account->symbol_size > TP_BINANCE_TEXT_MAX ||
        head.is_overfull || text.is_overfull ||
        !tp_text_is_plain(account->key, account->key_size) ||
        !tp_text_is_plain(account->symbol, account->symbol_size))
        return false;
    memcpy(template_->symbol, account->symbol, account->symbol_size);
    template_->symbol_size = account->symbol_size;
    if (template_->is_signed) {
        template_->state = key->inner;
        tp_hmac_absorb(&template_->state, text.at, text.size);
    }
    return true;
}

struct way {
    struct piece type, time_in_force;
};

static struct way way_of(uint8_t type)
{
    switch ((enum tp_order_type)type) {
    case TP_ORDER_LIMIT:
        return (struct way){PIECE("LIMIT"), PIECE("GTC")};
    case TP_ORDER_MARKET:
        return (struct way){PIECE("MARKET"), PIECE("")};
    case TP_ORDER_IOC:
        return (struct way){PIECE("LIMIT"), PIECE("IOC")};
    case TP_ORDER_FOK:
        return (struct way){PIECE("LIMIT"), PIECE("FOK")};
    case TP_ORDER_POST_ONLY:
        return (struct way){PIECE("LIMIT_MAKER"), PIECE("")};
    case TP_ORDER_TYPE_COUNT:
        break;
    }
    return (struct way){PIECE(""), PIECE("")};
}

/* The message, and what is signed of it; a session's needs no second text. */
struct both {
    struct tp_order_text out, text;
    bool is_signed;
};

static void add_name(struct both *both, struct piece name, bool is_text)
{
    add(&both->out, PIECE(",\""));
    add(&both->out, name);
    add(&both->out, is_text ? PIECE("\":\"") : PIECE("\":"));
    if (!both->is_signed)
        return;
    add(&both->text, PIECE("&"));
    add(&both->text, name);
    add(&both->text, PIECE("="));
}

/* What was written from `from` on is the value: it is signed as it stands in the message. */
static void end_value(struct both *both, uint32_t from, bool is_text)
{
    if (both->is_signed)
        tp_text_add(&both->text, both->out.at + from, both->out.size - from);
    if (is_text)
        add(&both->out, PIECE("\""));
}

static void add_word(struct both *both, struct piece name, struct piece value)
{
    add_name(both, name, true);
    const uint32_t from = both->out.size;
    add(&both->out, value);
    end_value(both, from, true);
}

static void add_decimal(struct both *both, struct piece name, int64_t mantissa, int exponent)
{
    add_name(both, name, true);
    const uint32_t from = both->out.size;
    tp_text_add_decimal(&both->out, mantissa, exponent);
    end_value(both, from, true);
}

static void add_integer(struct both *both, struct piece name, uint64_t number)
{
    add_name(both, name, false);
    const uint32_t from = both->out.size;
    tp_text_add_unsigned(&both->out, number);
    end_value(both, from, false);
}

/* In the order of their names; a cancel has the window, the symbol and the time. */
static void add_parameters(struct both *both, const struct tp_binance_template *template_,
                           const struct tp_order_wire *order)
{
    const bool places = template_->verb == TP_BINANCE_PLACE;
    const struct way way = way_of(order->type);
    if (places) {
        add_word(both, PIECE("newOrderRespType"), PIECE("ACK"));
        if (order->type != TP_ORDER_MARKET)
            add_decimal(both, PIECE("price"), order->price, order->price_exponent);
        add_decimal(both, PIECE("quantity"), order->quantity, order->quantity_exponent);
    }
    add_integer(both, PIECE("recvWindow"), template_->recv_window_ms);
    if (places)
        add_word(both, PIECE("side"), order->side == TP_SIDE_BID ? PIECE("BUY") : PIECE("SELL"));
    add_word(both, PIECE("symbol"), (struct piece){template_->symbol, template_->symbol_size});
    if (places && way.time_in_force.size != 0)
        add_word(both, PIECE("timeInForce"), way.time_in_force);
    add_integer(both, PIECE("timestamp"), order->timestamp_ms);
    if (places)
        add_word(both, PIECE("type"), way.type);
}

uint32_t tp_binance_request(const struct tp_binance_template *template_,
                            const struct tp_hmac_key *key, const struct tp_order_wire *order,
                            char *out, uint32_t out_size)
{
    char rest[TP_BINANCE_REQUEST_MAX], hex[TP_SHA256_HEX_SIZE];
    struct both both = {
        .out = {.at = out, .room = out_size},
        .text = {.at = rest, .room = sizeof rest},
        .is_signed = template_->is_signed,
    };
    if (template_->verb == TP_BINANCE_PLACE && way_of(order->type).type.size == 0)
        return 0;
    add(&both.out, PIECE("{\"id\":\""));
    tp_text_add(&both.out, &"pca"[template_->verb], 1);
    tp_text_add_number(&both.out, order->number);
    tp_text_add(&both.out, template_->head, template_->head_size);
    const uint32_t from = both.out.size;
    tp_text_add_number(&both.out, order->number);
    end_value(&both, from, true);
    add_parameters(&both, template_, order);
    if (both.is_signed) {
        if (both.text.is_overfull || both.out.is_overfull)
            return 0;
        tp_hmac_sign(key, &template_->state, rest, both.text.size, hex);
        add(&both.out, PIECE(",\"signature\":\""));
        tp_text_add(&both.out, hex, sizeof hex);
        add(&both.out, PIECE("\""));
    }
    add(&both.out, PIECE("}}"));
    return both.out.is_overfull ? 0 : both.out.size;
}
