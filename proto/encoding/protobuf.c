/* Varints of protobuf.h that do not fit into one register, or end too near to the message's end. */
#include "proto/encoding/protobuf.h"

enum tp_decode_status tp_protobuf_varint_long(struct tp_protobuf *in, size_t size_max,
                                              uint64_t *out)
{
    uint64_t value = 0;
    const uint8_t *at = in->at;
    for (size_t i = 0; i < size_max; i++) {
        if (at == in->end)
            return TP_DECODE_TRUNCATED;
        const uint8_t byte = *at++;
        if (i == TP_PROTOBUF_VARINT_SIZE_MAX - 1 && byte > 1)
            return TP_DECODE_MALFORMED; /* more than 64 bits */
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            in->at = at;
            *out = value;
            return TP_DECODE_OK;
        }
    }
    return TP_DECODE_MALFORMED;
}
