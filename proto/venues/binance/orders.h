/* Orders of Binance spot as messages of its WebSocket API: place, cancel, ask.
 *
 * A session that logged on by Ed25519 signs nothing more: a request is text alone. Without one each
 * request is signed by HMAC over its parameters in the order of their names, raw UTF-8; apiKey
 * comes first, so more than a block is absorbed once. The request's own id is the verb's letter and
 * the last eight digits of the client order id: the answer says which order, and what was asked. A
 * template is of one instrument, one gateway epoch and one verb. Source: Binance spot API
 * documents, web-socket-api.md, "Request security"; README.md has dates.
 *
 * Called by: the gateway. Any thread; templates are only read once made. */
#ifndef TP_PROTO_BINANCE_ORDERS_H
#define TP_PROTO_BINANCE_ORDERS_H
#include "proto/signing/hmac_sha256.h"
#include "proto/signing/order_text.h"

enum { TP_BINANCE_TEXT_MAX = 256, TP_BINANCE_REQUEST_MAX = 1024 };

enum tp_binance_verb { TP_BINANCE_PLACE, TP_BINANCE_CANCEL, TP_BINANCE_ASK };

/* Spans end with their sizes. key_size 0: a session that logged on, nothing is signed. */
struct tp_binance_account {
    const char *key, *symbol;
    const char *id_prefix; /* TP_ORDER_ID_PREFIX_SIZE characters */
    uint32_t key_size, symbol_size;
    uint32_t recv_window_ms;
};

struct tp_binance_template {
    enum tp_binance_verb verb;
    bool is_signed;
    uint32_t recv_window_ms;
    uint32_t head_size, signed_size, symbol_size;
    struct tp_sha256 state;
    char head[TP_BINANCE_TEXT_MAX];    /* of the message, behind its id, to the id's last digits */
    char signed_[TP_BINANCE_TEXT_MAX]; /* of what is signed, up to the same place */
    char symbol[TP_BINANCE_TEXT_MAX];
};

/* False: the window is none that the venue takes; a name is empty, or too long for a template; or
 * holds what JSON would escape. */
bool tp_binance_template_init(struct tp_binance_template *template_, enum tp_binance_verb verb,
                              const struct tp_binance_account *account,
                              const struct tp_hmac_key *key);
/* The whole message into out; returns its size, 0: no room, or a type that the venue has not. key:
 * NULL for a session that logged on. */
uint32_t tp_binance_request(const struct tp_binance_template *template_,
                            const struct tp_hmac_key *key, const struct tp_order_wire *order,
                            char *out, uint32_t out_size);
#endif
