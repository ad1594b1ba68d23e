/* Orders of MEXC spot as HTTPS requests, signed: place, cancel, ask.
 *
 *   POST /api/v3/order?recvWindow=5000&symbol=BTCUSDT&newClientOrderId=tp...&side=...&signature=...
 *
 * The venue takes parameters in any order, so what never changes stands in front: the request line,
 * and of what is signed the window, the symbol and the client order id less its last eight digits,
 * more than a block of SHA-256 that is absorbed once. A template is of one instrument, one gateway
 * epoch and one verb. Source: MEXC spot v3, "Signed"; README.md has the vectors and dates.
 *
 * Called by: the gateway. Any thread; templates are only read once made. */
#ifndef TP_PROTO_MEXC_ORDERS_H
#define TP_PROTO_MEXC_ORDERS_H
#include "proto/signing/hmac_sha256.h"
#include "proto/signing/order_text.h"

enum { TP_MEXC_HEAD_MAX = 256, TP_MEXC_TAIL_MAX = 256, TP_MEXC_REQUEST_MAX = 1024 };

enum tp_mexc_verb { TP_MEXC_PLACE, TP_MEXC_CANCEL, TP_MEXC_ASK, TP_MEXC_TEST };

/* Spans end with their sizes. symbol: as the venue spells it, percent-encoded. */
struct tp_mexc_account {
    const char *host, *key, *symbol;
    const char *id_prefix; /* TP_ORDER_ID_PREFIX_SIZE characters */
    uint32_t host_size, key_size, symbol_size;
    uint32_t recv_window_ms;
};

struct tp_mexc_template {
    enum tp_mexc_verb verb;
    uint32_t head_size, tail_size;
    uint32_t signed_from; /* where in the head what is signed begins */
    struct tp_sha256 state;
    char head[TP_MEXC_HEAD_MAX]; /* up to the client order id's last digits */
    char tail[TP_MEXC_TAIL_MAX]; /* behind the signature */
};

/* False: the window is none that the venue takes; a name is empty, or too long for a template. */
bool tp_mexc_template_init(struct tp_mexc_template *template_, enum tp_mexc_verb verb,
                           const struct tp_mexc_account *account, const struct tp_hmac_key *key);
/* The whole request into out; returns its size, 0: no room, or a type that the venue has not. Of
 * CANCEL and ASK the number and the time alone are used. */
uint32_t tp_mexc_request(const struct tp_mexc_template *template_, const struct tp_hmac_key *key,
                         const struct tp_order_wire *order, char *out, uint32_t out_size);
#endif
