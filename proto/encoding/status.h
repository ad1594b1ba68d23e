/* How a decoding ended: the one enum of all scanners and of every venue's decoders. */
#ifndef TP_PROTO_STATUS_H
#define TP_PROTO_STATUS_H

enum tp_decode_status {
    TP_DECODE_OK,
    TP_DECODE_UNKNOWN, /* well-formed, but none of what the caller asked to decode */
    TP_DECODE_TRUNCATED,
    TP_DECODE_MALFORMED,  /* breaks the encoding's own rules */
    TP_DECODE_BAD_NUMBER, /* not a decimal, more digits than the exponent holds, or beyond int64 */
    TP_DECODE_TOO_MANY,   /* levels, trades or nesting beyond the limit */
};

const char *tp_decode_status_name(enum tp_decode_status status);
#endif
