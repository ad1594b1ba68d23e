/* WebSocket frame headers in, masked client frames out (RFC 6455 5.2, 5.3).
 *
 * tp_ws_frame_parse is called by netstack/ws/message.c, tp_ws_frame_write by netstack/session_ws.c.
 * No state, no allocation. */
#include "netstack/ws/frame.h"

#include <string.h>

#include "netstack/ws/ws.h"

enum {
    BIT_FIN = 0x80,
    BITS_RSV = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_MASK = 0x80,
    BITS_LENGTH = 0x7f,
    LENGTH_16 = 126, /* a 16-bit length follows */
    LENGTH_64 = 127
};

/* 0-2 and 8-10; the rest are reserved. */
static bool opcode_known(unsigned opcode)
{
    return (0x0707U >> opcode & 1) != 0;
}

static const char *first_byte_error(uint8_t byte)
{
    unsigned opcode = byte & BITS_OPCODE;
    if ((byte & BITS_RSV) != 0)
        return "RSV bit set without an extension";
    if (!opcode_known(opcode))
        return "reserved opcode";
    if ((byte & BIT_FIN) == 0 && tp_ws_opcode_is_control((uint8_t)opcode))
        return "fragmented control frame";
    return NULL;
}

static const char *second_byte_error(uint8_t opcode, uint8_t byte)
{
    if ((byte & BIT_MASK) != 0)
        return "masked frame from the server";
    if (tp_ws_opcode_is_control(opcode) && byte > TP_WS_CONTROL_PAYLOAD_SIZE_MAX)
        return "control frame payload over 125 bytes";
    return NULL;
}

static uint64_t big_endian(const uint8_t *data, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | data[i];
    return value;
}

/* 16- or 64-bit lengths, which must not have fitted a shorter form. */
static enum tp_status long_length_parse(struct tp_span bytes, struct tp_ws_frame *out,
                                        const char **error)
{
    bool wide = bytes.data[1] == LENGTH_64;
    if (wide && bytes.size >= 3 && (bytes.data[2] & 0x80) != 0) {
        *error = "64-bit length with its top bit set";
        return TP_ERROR;
    }
    out->header_size = wide ? 10 : 4;
    if (bytes.size < out->header_size)
        return TP_NEED_MORE;
    out->payload_size = big_endian(bytes.data + 2, wide ? 8 : 2);
    if (out->payload_size < (wide ? 65536U : 126U)) {
        *error = "length not in its shortest form";
        return TP_ERROR;
    }
    return TP_OK;
}

enum tp_status tp_ws_frame_parse(struct tp_span bytes, struct tp_ws_frame *out, const char **error)
{
    if (bytes.size == 0)
        return TP_NEED_MORE;
    const char *broken = first_byte_error(bytes.data[0]);
    out->fin = (bytes.data[0] & BIT_FIN) != 0;
    out->opcode = bytes.data[0] & BITS_OPCODE;
    if (broken == NULL && bytes.size < 2)
        return TP_NEED_MORE;
    if (broken == NULL)
        broken = second_byte_error(out->opcode, bytes.data[1]);
    if (broken != NULL) {
        *error = broken;
        return TP_ERROR;
    }
    out->payload_size = bytes.data[1];
    out->header_size = 2;
    return out->payload_size < LENGTH_16 ? TP_OK : long_length_parse(bytes, out, error);
}

bool tp_ws_close_code_valid(uint16_t code)
{
    /* 1004-1006 and 1015 never stand on the wire; 1012-1014 are in IANA's registry since. */
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static size_t header_write(uint8_t *out, uint8_t first, const uint8_t mask[4],
                           uint64_t payload_size)
{
    size_t length_size = payload_size < LENGTH_16 ? 0 : payload_size < 65536 ? 2 : 8;
    out[0] = first;
    out[1] = (uint8_t)(BIT_MASK | (length_size == 0   ? payload_size
                                   : length_size == 2 ? (uint64_t)LENGTH_16
                                                      : (uint64_t)LENGTH_64));
    for (size_t i = 0; i < length_size; i++)
        out[2 + i] = (uint8_t)(payload_size >> 8 * (length_size - 1 - i));
    memcpy(out + 2 + length_size, mask, 4);
    return 2 + length_size + 4;
}

static void mask_copy(uint8_t *out, const uint8_t mask[4], struct tp_span payload)
{
    uint64_t mask_word, word;
    memcpy(&mask_word, mask, 4);
    memcpy((uint8_t *)&mask_word + 4, mask, 4);
    size_t i = 0;
    for (; payload.size - i >= sizeof word; i += sizeof word) {
        memcpy(&word, payload.data + i, sizeof word);
        word ^= mask_word;
        memcpy(out + i, &word, sizeof word);
    }
    for (; i < payload.size; i++)
        out[i] = payload.data[i] ^ mask[i & 3];
}

size_t tp_ws_frame_write(uint8_t *out, size_t capacity, enum tp_ws_opcode opcode, bool fin,
                         const uint8_t mask[4], struct tp_span payload)
{
    bool control = tp_ws_opcode_is_control((uint8_t)opcode);
    if ((unsigned)opcode > BITS_OPCODE || !opcode_known(opcode) ||
        (control && (!fin || payload.size > TP_WS_CONTROL_PAYLOAD_SIZE_MAX)))
        return 0;
    size_t header_size = payload.size < LENGTH_16 ? 6U : payload.size < 65536 ? 8U : 14U;
    if (capacity < header_size || capacity - header_size < payload.size)
        return 0;
    header_write(out, (uint8_t)((fin ? BIT_FIN : 0) | (int)opcode), mask, payload.size);
    mask_copy(out + header_size, mask, payload);
    return header_size + payload.size;
}
