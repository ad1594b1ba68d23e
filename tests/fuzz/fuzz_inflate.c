/* sources: engine/feed_handler/inflate.c ; libs: -ldeflate -lz */
/* Any bytes as a message that is a gzip member, a raw DEFLATE stream in one, and a text of one.
 *
 * The judge is zlib. Invariants: what is inflated is zlib's text of the whole message, at most
 * SIZE_MAX bytes of it, and of a plain header; what is refused is unchanged; a sound member of a
 * text that fits is always taken. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "engine/feed_handler/inflate.h"

enum { SIZE_MAX_TEXT = 4096, HEAD_SIZE = 10, TAIL_SIZE = 8, GZIP = 16 + 15, RAW = -15 };

static void require(int condition)
{
    if (!condition)
        abort();
}

/* Inflates by zlib: returns the size of the text, -1 for none; *taken: bytes that it is of. */
static long judge(const uint8_t *data, size_t size, int window_bits, uint8_t *text, size_t *taken)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    require(inflateInit2(&stream, window_bits) == Z_OK);
    stream.next_in = (uint8_t *)(uintptr_t)data; /* zlib's field is not const; it only reads */
    stream.avail_in = (unsigned)size;
    stream.next_out = text;
    stream.avail_out = SIZE_MAX_TEXT;
    const int result = inflate(&stream, Z_FINISH);
    const long count = result == Z_STREAM_END ? (long)stream.total_out : -1;
    *taken = stream.total_in;
    require(inflateEnd(&stream) == Z_OK);
    return count;
}

static uint8_t expected[SIZE_MAX_TEXT];

static void check(struct tp_inflate *inflate, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size); /* alone, so that a read beyond it is seen */
    require(copy != NULL || size == 0);
    memcpy(copy, data, size);
    struct tp_span message = {copy, size};
    size_t taken;
    const enum tp_inflated result = tp_inflate_message(inflate, &message);
    const bool is_member = size >= 2 && copy[0] == 0x1f && copy[1] == 0x8b;
    require((result == TP_INFLATED_PLAIN) == !is_member);
    if (result != TP_INFLATED_DONE)
        require(message.data == copy && message.size == size);
    const long count = is_member ? judge(copy, size, GZIP, expected, &taken) : -1;
    const bool is_taken = count >= 0 && taken == size && copy[3] == 0;
    require(!is_member || (result == TP_INFLATED_DONE) == is_taken);
    if (is_taken)
        require(message.size == (size_t)count &&
                memcmp(message.data, expected, (size_t)count) == 0);
    free(copy);
}

static void put32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* A member around a stream that zlib reads: of whatever blocks, codes and distances. */
static void check_stream(struct tp_inflate *inflate, const uint8_t *data, size_t size)
{
    static uint8_t text[SIZE_MAX_TEXT];
    size_t taken;
    const long count = judge(data, size, RAW, text, &taken);
    if (count < 0)
        return;
    uint8_t *member = calloc(1, HEAD_SIZE + taken + TAIL_SIZE);
    require(member != NULL);
    memcpy(member, "\x1f\x8b\x08", 3);
    memcpy(member + HEAD_SIZE, data, taken);
    put32(member + HEAD_SIZE + taken, (uint32_t)crc32(0, text, (unsigned)count));
    put32(member + HEAD_SIZE + taken + 4, (uint32_t)count);
    check(inflate, member, HEAD_SIZE + taken + TAIL_SIZE);
    free(member);
}

static void check_text(struct tp_inflate *inflate, const uint8_t *data, size_t size)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    const int level = size == 0 ? 6 : data[0] % 10;
    require(deflateInit2(&stream, level, Z_DEFLATED, GZIP, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    const size_t room = deflateBound(&stream, size);
    uint8_t *member = malloc(room);
    require(member != NULL);
    stream.next_in = (uint8_t *)(uintptr_t)data; /* as above */
    stream.avail_in = (unsigned)size;
    stream.next_out = member;
    stream.avail_out = (unsigned)room;
    require(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    struct tp_span message = {member, stream.total_out};
    require((tp_inflate_message(inflate, &message) == TP_INFLATED_DONE) == (size <= SIZE_MAX_TEXT));
    check(inflate, member, stream.total_out);
    require(deflateEnd(&stream) == Z_OK);
    free(member);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tp_inflate *inflate = tp_inflate_new(SIZE_MAX_TEXT);
    require(inflate != NULL);
    check(inflate, data, size);
    check_stream(inflate, data, size);
    check_text(inflate, data, size);
    tp_inflate_free(inflate);
    return 0;
}
