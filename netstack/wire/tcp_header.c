/* TCP header bytes <-> struct tp_tcp_segment. No state, no I/O.
 *
 * Called by netif and the tests (parse), tcp/tcp_out.c (write). Thread: any.
 * Source: RFC 9293 3.1 and 3.2, RFC 7323 2.2 and 3.2, RFC 2018 2 and 3. */
#include "netstack/wire/tcp_header.h"

#include <assert.h>
#include <string.h>

#include "netstack/wire/byte_order.h"
#include "netstack/wire/tcp_option.h"

enum {
    HEADER_SIZE_MIN = 20,
    /* NOP NOP TIMESTAMPS 10: how RFC 7323 appendix A lays out the option, and every peer does. */
    ALIGNED_TIMESTAMPS = 0x0101080a,
};

static uint8_t *write_u16(uint8_t *at, uint16_t value)
{
    tp_store_be16(at, value);
    return at + 2;
}

static uint8_t *write_u32(uint8_t *at, uint32_t value)
{
    tp_store_be32(at, value);
    return at + 4;
}

static void sack_blocks_read(const uint8_t *body, size_t size, struct tp_tcp_segment *out)
{
    if (size == 0 || size % 8 != 0 || size / 8 > TP_TCP_SACK_BLOCK_COUNT_MAX) {
        return;
    }
    out->sack_count = (uint8_t)(size / 8);
    for (size_t index = 0; index < size / 8; index++) {
        out->sack[index].left = tp_load_be32(body + 8 * index);
        out->sack[index].right = tp_load_be32(body + 8 * index + 4);
    }
}

/* One option whose length was checked against the header. A known kind with another length than
 * its RFC's is skipped, as an unknown kind is (RFC 9293 MUST-6). */
static void option_read(uint8_t kind, const uint8_t *body, size_t size, struct tp_tcp_segment *out)
{
    if (kind == TP_TCP_OPTION_MSS && size == 2) {
        out->has_mss = true;
        out->mss = tp_load_be16(body);
    } else if (kind == TP_TCP_OPTION_WINDOW_SCALE && size == 1) {
        out->has_window_scale = true;
        out->window_scale = body[0];
    } else if (kind == TP_TCP_OPTION_SACK_PERMITTED && size == 0) {
        out->sack_permitted = true;
    } else if (kind == TP_TCP_OPTION_SACK) {
        sack_blocks_read(body, size, out);
    } else if (kind == TP_TCP_OPTION_TIMESTAMPS && size == 8) {
        out->has_timestamps = true;
        out->timestamp_value = tp_load_be32(body);
        out->timestamp_echo = tp_load_be32(body + 4);
    }
}

/* Where an option cannot be read, its length is of no use and all behind it is left alone: the
 * segment stands, without them. Linux and FreeBSD do so, and middleboxes write such SYN-ACKs; RFC
 * 9293 MUST-7 only asks not to crash. */
static void options_read(const uint8_t *options, size_t size, struct tp_tcp_segment *out)
{
    size_t offset = 0;
    while (offset < size) { /* every turn consumes at least one byte */
        uint8_t kind = options[offset];
        if (kind == TP_TCP_OPTION_END) {
            return;
        }
        if (kind == TP_TCP_OPTION_NOP) {
            offset++;
            continue;
        }
        if (size - offset < 2) {
            return;
        }
        size_t option_size = options[offset + 1];
        if (option_size < 2 || option_size > size - offset) {
            return;
        }
        option_read(kind, options + offset + 2, option_size - 2, out);
        offset += option_size;
    }
}

bool tp_tcp_segment_parse(struct tp_span bytes, struct tp_tcp_segment *out)
{
    if (bytes.size < HEADER_SIZE_MIN) {
        return false;
    }
    const uint8_t *header = bytes.data;
    size_t header_size = (size_t)(header[12] >> 4) * 4;
    if (header_size < HEADER_SIZE_MIN || header_size > bytes.size) {
        return false;
    }
    memset(out, 0, sizeof *out);
    out->source_port = tp_load_be16(header);
    out->destination_port = tp_load_be16(header + 2);
    out->sequence = tp_load_be32(header + 4);
    out->acknowledgment = tp_load_be32(header + 8);
    out->flags = header[13];
    out->window = tp_load_be16(header + 14);
    out->payload = (struct tp_span){header + header_size, bytes.size - header_size};
    if (header_size == HEADER_SIZE_MIN) {
        return true;
    }
    if (header_size == HEADER_SIZE_MIN + 12 && tp_load_be32(header + 20) == ALIGNED_TIMESTAMPS) {
        out->has_timestamps = true;
        out->timestamp_value = tp_load_be32(header + 24);
        out->timestamp_echo = tp_load_be32(header + 28);
        return true;
    }
    options_read(header + HEADER_SIZE_MIN, header_size - HEADER_SIZE_MIN, out);
    return true;
}

/* Only SYN segments carry MSS, window scale and SACK-permitted: 4 + 4 + 4 bytes with padding. */
static uint8_t *syn_options_write(const struct tp_tcp_segment *segment, uint8_t *at)
{
    if (segment->has_mss) {
        *at++ = TP_TCP_OPTION_MSS;
        *at++ = 4;
        at = write_u16(at, segment->mss);
    }
    if (segment->sack_permitted) {
        *at++ = TP_TCP_OPTION_NOP;
        *at++ = TP_TCP_OPTION_NOP;
        *at++ = TP_TCP_OPTION_SACK_PERMITTED;
        *at++ = 2;
    }
    if (segment->has_window_scale) {
        *at++ = TP_TCP_OPTION_NOP;
        *at++ = TP_TCP_OPTION_WINDOW_SCALE;
        *at++ = 3;
        *at++ = segment->window_scale;
    }
    return at;
}

static uint8_t *sack_write(const struct tp_tcp_segment *segment, uint8_t *at)
{
    *at++ = TP_TCP_OPTION_NOP;
    *at++ = TP_TCP_OPTION_NOP;
    *at++ = TP_TCP_OPTION_SACK;
    *at++ = (uint8_t)(2 + 8 * segment->sack_count);
    for (uint8_t index = 0; index < segment->sack_count; index++) {
        at = write_u32(at, segment->sack[index].left);
        at = write_u32(at, segment->sack[index].right);
    }
    return at;
}

uint32_t tp_tcp_segment_write_header(const struct tp_tcp_segment *segment, uint8_t *out)
{
    uint8_t *at = write_u16(out, segment->source_port);
    at = write_u16(at, segment->destination_port);
    at = write_u32(at, segment->sequence);
    at = write_u32(at, segment->acknowledgment);
    uint8_t *data_offset = at++;
    *at++ = segment->flags;
    at = write_u16(at, segment->window);
    at = write_u32(at, 0); /* checksum, urgent pointer */
    if (segment->has_mss || segment->sack_permitted || segment->has_window_scale) {
        at = syn_options_write(segment, at);
    }
    if (segment->has_timestamps) {
        at = write_u32(at, ALIGNED_TIMESTAMPS);
        at = write_u32(at, segment->timestamp_value);
        at = write_u32(at, segment->timestamp_echo);
    }
    if (segment->sack_count > 0) {
        at = sack_write(segment, at);
    }
    uint32_t size = (uint32_t)(at - out);
    assert(size % 4 == 0 && size <= TP_TCP_HEADER_SIZE_MAX);
    *data_offset = (uint8_t)(size / 4 << 4);
    return size;
}
