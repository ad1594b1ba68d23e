/* How a decoding ended: the one enum of all scanners and of every venue's decoders. */
#ifndef TP_PROTO_STATUS_H
#define TP_PROTO_STATUS_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/encoding/text.h"

enum tp_decode_status {
    TP_DECODE_OK,
    TP_DECODE_UNKNOWN, /* well-formed, but none of what the caller asked to decode */
    TP_DECODE_TRUNCATED,
    TP_DECODE_MALFORMED,  /* breaks the encoding's own rules */
    TP_DECODE_BAD_NUMBER, /* not a decimal, or one that no scale holds in 64 bits */
    TP_DECODE_TOO_MANY,   /* levels, trades or nesting beyond the limit */
    /* Sound numbers that another scale holds, and the instrument's does not. */
    TP_DECODE_TOO_FINE,  /* a digit behind the last one that the exponent keeps */
    TP_DECODE_TOO_LARGE, /* beyond int64 at this exponent: a coarser one is needed */
};

enum tp_number { TP_NUMBER_UNKNOWN, TP_NUMBER_PRICE, TP_NUMBER_QUANTITY };

/* The number that a decoder refused: of TOO_FINE and TOO_LARGE always, of BAD_NUMBER where it has
 * one. */
struct tp_misfit {
    struct tp_text text; /* a piece of what was decoded: a decimal, or the bytes of a mantissa */
    enum tp_number kind;
    bool is_mantissa; /* int64, the lowest byte first; tp_misfit_text writes it as a decimal */
    int8_t exponent;  /* of the mantissa */
};

const char *tp_decode_status_name(enum tp_decode_status status);
#endif
