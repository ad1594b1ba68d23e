/* Numbers that an instrument's scale does not hold, and its move to another one.
 *
 * A decoder that refuses a number as too fine or too large takes the book's word away: SYNCING
 * (SCALE); it and what follows it are kept as bytes until tp_feed_rescale. The cold thread learns
 * the number by tp_feed_misfit_take, finds a scale that holds it (engine/feed_handler/scales.py),
 * writes the instrument's row and has the hot thread call tp_feed_rescale, after which a new base
 * is wanted.
 *
 * One slot an instrument between the threads: the hot one fills it and says so, the cold one copies
 * and frees it. A number that took the book's word away while the slot is full waits beside it, and
 * is told by the tick that finds it free: nothing more of that book is decoded, so no later one
 * would be. Any other number is dropped then. tests/unit/feed/test_misfit_model.py explores the
 * orderings.
 */
#ifndef TP_ENGINE_RESCALE_H
#define TP_ENGINE_RESCALE_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/feed/feed.h"

enum { TP_FEED_MISFIT_TEXT_MAX = 44 }; /* TP_DECIMAL_TEXT_MAX: of a misfit it is whole */

struct tp_feed_misfit {
    uint32_t instrument;
    int8_t price_exponent, quantity_exponent; /* the scale that did not hold it */
    uint8_t status;                           /* enum tp_decode_status */
    uint8_t kind;                             /* enum tp_number */
    uint8_t text_size;                        /* of the whole text, or 255 */
    char text[TP_FEED_MISFIT_TEXT_MAX];       /* as much of it as there is room for */
};

/* Cold thread: the next one that nobody took; false: none. Told too: a number of no scale at all
 * (TP_DECODE_BAD_NUMBER), whose message was refused and whose book goes on by a new base; and a
 * base without its checksum (TP_DECODE_OK, no text), which is made of digits as the venue writes
 * them. */
bool tp_feed_misfit_take(struct tp_feed *feed, struct tp_feed_misfit *out);

struct tp_feed_scale {
    int64_t tick_size;
    uint64_t generation; /* of the row that was written with it */
    int8_t price_exponent, quantity_exponent;
    uint8_t reserved[6];
};
static_assert(sizeof(struct tp_feed_scale) == 24, "stands in recordings as it is");

/* Hot-path thread: the book is emptied, its numbers are of this scale from now on, readers are told
 * (INSTRUMENT, CLEAR), a base is wanted. False: no such instrument or scale; nothing changed. */
bool tp_feed_rescale(struct tp_feed *feed, uint32_t instrument, const struct tp_feed_scale *scale,
                     uint64_t now_ns);
/* Hot-path thread, tests. */
struct tp_scale tp_feed_scale(const struct tp_feed *feed, uint32_t instrument);
#endif
