/* sources: netstack/http1/response.c netstack/http1/body.c ; libs: */
/* An HTTP/1.1 response: each prefix of a head says "need more" or the same verdict; spans lie
 * inside the input; the body is the same however the bytes were cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/http1/http1.h"

struct outcome {
    uint64_t hash; /* of the body bytes */
    size_t body_size, taken_size;
    enum tp_status end, at_close;
    const char *error;
};

static void require(int condition)
{
    if (!condition)
        abort();
}

static void require_inside(struct tp_span inner, struct tp_span outer)
{
    require(inner.data >= outer.data && inner.size <= outer.size);
    require(inner.data + inner.size <= outer.data + outer.size);
}

static struct outcome play(const struct tp_http1_head *head, struct tp_span bytes, size_t piece_max)
{
    struct outcome outcome = {.end = TP_NEED_MORE};
    struct tp_http1_body *body = tp_http1_body_new();
    require(body != NULL);
    outcome.end = tp_http1_body_init(body, head, false, &outcome.error);
    if (outcome.end == TP_OK)
        outcome.end = TP_NEED_MORE;
    for (size_t at = 0; at < bytes.size && outcome.end == TP_NEED_MORE;) {
        size_t piece = 1 + (at * 2654435761U >> 7) % piece_max;
        piece = piece < bytes.size - at ? piece : bytes.size - at;
        struct tp_span in = {bytes.data + at, piece}, out;
        while ((outcome.end = tp_http1_body_input(body, &in, &out, &outcome.error)) == TP_OK) {
            require(out.size > 0);
            require_inside(out, (struct tp_span){bytes.data + at, piece});
            for (size_t i = 0; i < out.size; i++)
                outcome.hash = (outcome.hash ^ out.data[i]) * UINT64_C(0x100000001b3);
            outcome.body_size += out.size;
        }
        require(outcome.end != TP_NEED_MORE || in.size == 0);
        at += piece - in.size;
        outcome.taken_size = at;
    }
    require(outcome.end != TP_ERROR || outcome.error != NULL);
    outcome.at_close = tp_http1_body_end_of_input(body);
    tp_http1_body_free(body);
    return outcome;
}

static void check_prefixes(const uint8_t *data, size_t size, enum tp_status whole,
                           const char *whole_error, size_t whole_size)
{
    struct tp_http1_head head;
    size_t step = 1 + size / 64;
    for (size_t prefix = 0; prefix < size; prefix += step) {
        size_t head_size = 0;
        const char *error = NULL;
        enum tp_status status =
            tp_http1_head_parse((struct tp_span){data, prefix}, &head, &head_size, &error);
        require(status == TP_NEED_MORE || status == whole);
        require(status != TP_ERROR || error == whole_error);
        require(status != TP_OK || head_size == whole_size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tp_span all = {data, size};
    struct tp_http1_head head, final_head;
    size_t head_size = 0, final_size = 0;
    const char *error = NULL, *final_error = NULL;
    enum tp_status status = tp_http1_head_parse(all, &head, &head_size, &error);
    require((status == TP_ERROR) == (error != NULL));
    require(status == TP_OK || status == TP_NEED_MORE || status == TP_ERROR);
    check_prefixes(data, size, status, error, head_size);
    if (tp_http1_final_head_parse(all, &final_head, &final_size, &final_error) == TP_OK)
        require(status == TP_OK && final_size >= head_size && final_head.status >= 101);
    if (status != TP_OK)
        return 0;
    require(head_size <= size && head_size <= TP_HTTP1_HEAD_SIZE_MAX);
    struct tp_span head_bytes = {data, head_size};
    for (uint32_t i = 0; i < head.header_count; i++) {
        require_inside(head.header[i].name, head_bytes);
        require_inside(head.header[i].value, head_bytes);
    }
    struct tp_span rest = {data + head_size, size - head_size};
    struct outcome whole = play(&head, rest, SIZE_MAX / 2);
    require(whole.body_size <= rest.size);
    for (size_t piece_max = 1; piece_max <= 9; piece_max += 4) {
        struct outcome split = play(&head, rest, piece_max);
        require(split.hash == whole.hash && split.body_size == whole.body_size);
        require(split.end == whole.end && split.error == whole.error);
        require(split.at_close == whole.at_close);
        require(whole.end != TP_CLOSED || split.taken_size == whole.taken_size);
    }
    return 0;
}
