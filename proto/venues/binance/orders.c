/* See orders.h. Parameters stand in the order of their names in the message as well, so that each
 * is written next to what is signed. */
#include "proto/venues/binance/orders.h"

#include "proto/orders.h"
#include "proto/records.h"

static struct tp_piece method_of(enum tp_binance_verb verb)
{
    switch (verb) {
    case TP_BINANCE_PLACE:
        return TP_PIECE("order.place");
    case TP_BINANCE_CANCEL:
        return TP_PIECE("order.cancel");
    case TP_BINANCE_ASK:
        return TP_PIECE("order.status");
    }
    return TP_PIECE("");
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
    tp_text_put(&head, TP_PIECE("\",\"method\":\""));
    tp_text_put(&head, method_of(verb));
    tp_text_put(&head, TP_PIECE("\",\"params\":{"));
    if (template_->is_signed) {
        tp_text_put(&head, TP_PIECE("\"apiKey\":\""));
        tp_text_add(&head, account->key, account->key_size);
        tp_text_put(&head, TP_PIECE("\","));
        tp_text_put(&text, TP_PIECE("apiKey="));
        tp_text_add(&text, account->key, account->key_size);
        tp_text_put(&text, TP_PIECE("&"));
    }
    tp_text_put(&head, verb == TP_BINANCE_PLACE ? TP_PIECE("\"newClientOrderId\":\"")
                                                : TP_PIECE("\"origClientOrderId\":\""));
    tp_text_put(&text, verb == TP_BINANCE_PLACE ? TP_PIECE("newClientOrderId=")
                                                : TP_PIECE("origClientOrderId="));
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
    struct tp_piece type, time_in_force;
};

static struct way way_of(uint8_t type)
{
    switch ((enum tp_order_type)type) {
    case TP_ORDER_LIMIT:
        return (struct way){TP_PIECE("LIMIT"), TP_PIECE("GTC")};
    case TP_ORDER_MARKET:
        return (struct way){TP_PIECE("MARKET"), TP_PIECE("")};
    case TP_ORDER_IOC:
        return (struct way){TP_PIECE("LIMIT"), TP_PIECE("IOC")};
    case TP_ORDER_FOK:
        return (struct way){TP_PIECE("LIMIT"), TP_PIECE("FOK")};
    case TP_ORDER_POST_ONLY:
        return (struct way){TP_PIECE("LIMIT_MAKER"), TP_PIECE("")};
    case TP_ORDER_TYPE_COUNT:
        break;
    }
    return (struct way){TP_PIECE(""), TP_PIECE("")};
}

/* The message, and what is signed of it; a session's needs no second text. */
struct both {
    struct tp_order_text out, text;
    bool is_signed;
};

static void add_name(struct both *both, struct tp_piece name, bool is_text)
{
    tp_text_put(&both->out, TP_PIECE(",\""));
    tp_text_put(&both->out, name);
    tp_text_put(&both->out, is_text ? TP_PIECE("\":\"") : TP_PIECE("\":"));
    if (!both->is_signed)
        return;
    tp_text_put(&both->text, TP_PIECE("&"));
    tp_text_put(&both->text, name);
    tp_text_put(&both->text, TP_PIECE("="));
}

/* What was written from `from` on is the value: it is signed as it stands in the message. */
static void end_value(struct both *both, uint32_t from, bool is_text)
{
    if (both->is_signed)
        tp_text_add(&both->text, both->out.at + from, both->out.size - from);
    if (is_text)
        tp_text_put(&both->out, TP_PIECE("\""));
}

static void add_word(struct both *both, struct tp_piece name, struct tp_piece value)
{
    add_name(both, name, true);
    const uint32_t from = both->out.size;
    tp_text_put(&both->out, value);
    end_value(both, from, true);
}

static void add_decimal(struct both *both, struct tp_piece name, int64_t mantissa, int exponent)
{
    add_name(both, name, true);
    const uint32_t from = both->out.size;
    tp_text_add_decimal(&both->out, mantissa, exponent);
    end_value(both, from, true);
}

static void add_integer(struct both *both, struct tp_piece name, uint64_t number)
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
        add_word(both, TP_PIECE("newOrderRespType"), TP_PIECE("ACK"));
        if (order->type != TP_ORDER_MARKET)
            add_decimal(both, TP_PIECE("price"), order->price, order->price_exponent);
        add_decimal(both, TP_PIECE("quantity"), order->quantity, order->quantity_exponent);
    }
    add_integer(both, TP_PIECE("recvWindow"), template_->recv_window_ms);
    if (places)
        add_word(both, TP_PIECE("side"),
                 order->side == TP_SIDE_BID ? TP_PIECE("BUY") : TP_PIECE("SELL"));
    add_word(both, TP_PIECE("symbol"),
             (struct tp_piece){template_->symbol, template_->symbol_size});
    if (places && way.time_in_force.size != 0)
        add_word(both, TP_PIECE("timeInForce"), way.time_in_force);
    add_integer(both, TP_PIECE("timestamp"), order->timestamp_ms);
    if (places)
        add_word(both, TP_PIECE("type"), way.type);
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
    tp_text_put(&both.out, TP_PIECE("{\"id\":\""));
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
        tp_text_put(&both.out, TP_PIECE(",\"signature\":\""));
        tp_text_add(&both.out, hex, sizeof hex);
        tp_text_put(&both.out, TP_PIECE("\""));
    }
    tp_text_put(&both.out, TP_PIECE("}}"));
    return both.out.is_overfull ? 0 : both.out.size;
}
