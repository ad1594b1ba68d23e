/* Orders as text: bounded appending, and numbers without floating point.
 *
 * A text never grows beyond its room: what does not fit marks it as overfull, and an overfull text
 * is not sent. Called by: proto/venues/<venue>/orders.c. Any thread. */
#ifndef TP_PROTO_ORDER_TEXT_H
#define TP_PROTO_ORDER_TEXT_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { TP_ORDER_ID_PREFIX_SIZE = 18, TP_ORDER_NUMBER_SIZE = 8 }; /* of a client order id */
enum { TP_RECV_WINDOW_MAX_MS = 60000 };                          /* of both venues here */

struct tp_order_text {
    char *at;
    uint32_t size, room;
    bool is_overfull;
};

static inline void tp_text_add(struct tp_order_text *text, const char *from, uint32_t size)
{
    if (size > text->room - text->size) {
        text->is_overfull = true;
        return;
    }
    memcpy(text->at + text->size, from, size);
    text->size += size;
}

/* Words that are part of each request. */
struct tp_piece {
    const char *at;
    uint32_t size;
};
#define TP_PIECE(text) ((struct tp_piece){(text), sizeof(text) - 1})

static inline void tp_text_put(struct tp_order_text *text, struct tp_piece piece)
{
    tp_text_add(text, piece.at, piece.size);
}

/* mantissa * 10^exponent as a plain decimal, no trailing zeros behind the point: 11 and -1 are
 * "1.1", 1000 and -2 are "10". mantissa >= 0, -18 <= exponent <= 0. */
void tp_text_add_decimal(struct tp_order_text *text, int64_t mantissa, int exponent);
void tp_text_add_unsigned(struct tp_order_text *text, uint64_t number);
/* Whether a name may stand in a request as it is: no control character, no space, nothing that ends
 * a parameter or that JSON escapes. */
bool tp_text_is_plain(const char *name, uint32_t size);
/* The last eight digits of a client order id. */
void tp_text_add_number(struct tp_order_text *text, uint32_t number);

/* What differs from order to order of one instrument. */
struct tp_order_wire {
    uint32_t number; /* of its client order id */
    uint8_t side;    /* enum tp_side */
    uint8_t type;    /* enum tp_order_type */
    int8_t price_exponent, quantity_exponent;
    int64_t price, quantity; /* price: of MARKET not written */
    uint64_t timestamp_ms;   /* by the venue's clock */
};
#endif
