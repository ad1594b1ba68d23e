/* The stage of inflate.h. */
#include "engine/feed_handler/inflate.h"

#include <libdeflate.h>
#include <stdint.h>
#include <stdlib.h>

struct tp_inflate {
    struct libdeflate_decompressor *decompressor;
    size_t size_max;
    uint8_t text[];
};

/* RFC 1952 section 2.3.1. */
enum { ID1 = 0x1f, ID2 = 0x8b, FLAGS = 3, HEAD_SIZE = 10 };

struct tp_inflate *tp_inflate_new(size_t size_max)
{
    struct tp_inflate *inflate = malloc(sizeof *inflate + size_max);
    if (inflate == NULL)
        return NULL;
    inflate->size_max = size_max;
    inflate->decompressor = libdeflate_alloc_decompressor();
    if (inflate->decompressor == NULL) {
        free(inflate);
        return NULL;
    }
    return inflate;
}

void tp_inflate_free(struct tp_inflate *inflate)
{
    if (inflate == NULL)
        return;
    libdeflate_free_decompressor(inflate->decompressor);
    free(inflate);
}

enum tp_inflated tp_inflate_message(struct tp_inflate *inflate, struct tp_span *message)
{
    if (message->size < 2 || message->data[0] != ID1 || message->data[1] != ID2)
        return TP_INFLATED_PLAIN;
    /* libdeflate reads over a name and other fields: what no venue sends may hide anything. */
    if (message->size < HEAD_SIZE || message->data[FLAGS] != 0)
        return TP_INFLATED_REFUSED;
    size_t taken, size;
    const enum libdeflate_result result =
        libdeflate_gzip_decompress_ex(inflate->decompressor, message->data, message->size,
                                      inflate->text, inflate->size_max, &taken, &size);
    if (result != LIBDEFLATE_SUCCESS || taken != message->size)
        return TP_INFLATED_REFUSED;
    *message = (struct tp_span){inflate->text, size};
    return TP_INFLATED_DONE;
}
