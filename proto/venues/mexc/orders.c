/* See orders.h. */
#include "proto/venues/mexc/orders.h"

#include "proto/orders.h"
#include "proto/records.h"

static struct tp_piece line_of(enum tp_mexc_verb verb)
{
    switch (verb) {
    case TP_MEXC_PLACE:
        return TP_PIECE("POST /api/v3/order?");
    case TP_MEXC_CANCEL:
        return TP_PIECE("DELETE /api/v3/order?");
    case TP_MEXC_ASK:
        return TP_PIECE("GET /api/v3/order?");
    case TP_MEXC_TEST:
        return TP_PIECE("POST /api/v3/order/test?");
    }
    return TP_PIECE("");
}

static bool places(enum tp_mexc_verb verb)
{
    return verb == TP_MEXC_PLACE || verb == TP_MEXC_TEST;
}

bool tp_mexc_template_init(struct tp_mexc_template *template_, enum tp_mexc_verb verb,
                           const struct tp_mexc_account *account, const struct tp_hmac_key *key)
{
    memset(template_, 0, sizeof *template_);
    struct tp_order_text head = {.at = template_->head, .room = TP_MEXC_HEAD_MAX};
    struct tp_order_text tail = {.at = template_->tail, .room = TP_MEXC_TAIL_MAX};
    template_->verb = verb;
    tp_text_put(&head, line_of(verb));
    template_->signed_from = head.size;
    tp_text_put(&head, TP_PIECE("recvWindow="));
    tp_text_add_unsigned(&head, account->recv_window_ms);
    tp_text_put(&head, TP_PIECE("&symbol="));
    tp_text_add(&head, account->symbol, account->symbol_size);
    tp_text_put(&head,
                places(verb) ? TP_PIECE("&newClientOrderId=") : TP_PIECE("&origClientOrderId="));
    tp_text_add(&head, account->id_prefix, TP_ORDER_ID_PREFIX_SIZE);
    tp_text_put(&tail, TP_PIECE(" HTTP/1.1\r\nHost: "));
    tp_text_add(&tail, account->host, account->host_size);
    tp_text_put(&tail, TP_PIECE("\r\nX-MEXC-APIKEY: "));
    tp_text_add(&tail, account->key, account->key_size);
    tp_text_put(&tail, TP_PIECE("\r\nContent-Type: application/json\r\n"));
    if (verb != TP_MEXC_ASK)
        tp_text_put(&tail, TP_PIECE("Content-Length: 0\r\n"));
    tp_text_put(&tail, TP_PIECE("\r\n"));
    template_->head_size = head.size;
    template_->tail_size = tail.size;
    template_->state = key->inner;
    tp_hmac_absorb(&template_->state, head.at + template_->signed_from,
                   head.size - template_->signed_from);
    if (account->recv_window_ms == 0 || account->recv_window_ms > TP_RECV_WINDOW_MAX_MS)
        return false;
    return !head.is_overfull && !tail.is_overfull && account->host_size != 0 &&
           account->key_size != 0 && account->symbol_size != 0 &&
           tp_text_is_plain(account->host, account->host_size) &&
           tp_text_is_plain(account->key, account->key_size) &&
           tp_text_is_plain(account->symbol, account->symbol_size);
}

static struct tp_piece type_of(uint8_t type)
{
    switch ((enum tp_order_type)type) {
    case TP_ORDER_LIMIT:
        return TP_PIECE("LIMIT");
    case TP_ORDER_MARKET:
        return TP_PIECE("MARKET");
    case TP_ORDER_IOC:
        return TP_PIECE("IMMEDIATE_OR_CANCEL");
    case TP_ORDER_FOK:
        return TP_PIECE("FILL_OR_KILL");
    case TP_ORDER_POST_ONLY:
        return TP_PIECE("LIMIT_MAKER");
    case TP_ORDER_TYPE_COUNT:
        break;
    }
    return TP_PIECE("");
}

uint32_t tp_mexc_request(const struct tp_mexc_template *template_, const struct tp_hmac_key *key,
                         const struct tp_order_wire *order, char *out, uint32_t out_size)
{
    struct tp_order_text text = {.at = out, .room = out_size};
    char hex[TP_SHA256_HEX_SIZE];
    tp_text_add(&text, template_->head, template_->head_size);
    tp_text_add_number(&text, order->number);
    if (places(template_->verb)) {
        const struct tp_piece type = type_of(order->type);
        if (type.size == 0)
            return 0;
        tp_text_put(&text, order->side == TP_SIDE_BID ? TP_PIECE("&side=BUY&type=")
                                                      : TP_PIECE("&side=SELL&type="));
        tp_text_put(&text, type);
        tp_text_put(&text, TP_PIECE("&quantity="));
        tp_text_add_decimal(&text, order->quantity, order->quantity_exponent);
        if (order->type != TP_ORDER_MARKET) {
            tp_text_put(&text, TP_PIECE("&price="));
            tp_text_add_decimal(&text, order->price, order->price_exponent);
        }
    }
    tp_text_put(&text, TP_PIECE("&timestamp="));
    tp_text_add_unsigned(&text, order->timestamp_ms);
    if (text.is_overfull)
        return 0;
    tp_hmac_sign(key, &template_->state, out + template_->head_size,
                 text.size - template_->head_size, hex);
    tp_text_put(&text, TP_PIECE("&signature="));
    tp_text_add(&text, hex, sizeof hex);
    tp_text_add(&text, template_->tail, template_->tail_size);
    return text.is_overfull ? 0 : text.size;
}
