/* What the fuzzers of venues check of whatever venue: included by fuzz_NAME.c beside it alone. */
#ifndef TP_FUZZ_VENUE_CHECKS_H
#define TP_FUZZ_VENUE_CHECKS_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/venue.h"

enum { SLACK = 128 };

static inline void require(int condition)
{
    if (!condition)
        abort();
}

/* The same bytes with others behind them, and `before` in front. */
static inline uint8_t *longer_copy(const char *before, const uint8_t *data, size_t size)
{
    const size_t head = strlen(before);
    uint8_t *longer = malloc(head + size + SLACK);
    require(longer != NULL);
    memcpy(longer, before, head);
    if (size > 0)
        memcpy(longer + head, data, size);
    memset(longer + head + size, '1', SLACK);
    return longer;
}

static inline void check_levels(const struct tp_level *levels, uint32_t count)
{
    require(count <= TP_DEPTH_LEVEL_COUNT_MAX);
    for (uint32_t i = 0; i < count; i++)
        require(levels[i].price >= 0 && levels[i].quantity >= 0);
}

static inline void check_misfit(const struct tp_body *body, const struct tp_misfit *misfit,
                                enum tp_decode_status status)
{
    const int32_t exponent = misfit->kind == TP_NUMBER_PRICE ? body->scale.price_exponent
                                                             : body->scale.quantity_exponent;
    require(misfit->kind != TP_NUMBER_UNKNOWN && misfit->text.at >= body->data);
    require(misfit->text.at + misfit->text.size <= body->data + body->size);
    uint8_t space[TP_DECIMAL_SPACE];
    require(tp_decimal_refusal(tp_misfit_text(misfit, space), exponent, true) == status);
}
#endif
