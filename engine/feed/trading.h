/* Whether the venue trades an instrument: what it does not trade is not LIVE.
 *
 * Two sources say so: the venue's list, which the cold thread reads now and then, and its stream.
 * Open is what both call open, or say nothing of. What the stream said is of its connection: one
 * that opens anew knows nothing yet. The row that readers see has the graver of both: the cold
 * thread writes it as it finds a status that is new (engine/feed_handler/trading.py).
 *
 * Called by feed.c (the stream), engine/feed_handler/hot_path.c and engine/recording/replayer.c
 * (the list). Hot path's thread. */
#ifndef TP_ENGINE_TRADING_H
#define TP_ENGINE_TRADING_H
#include "engine/feed/feed.h"

struct tp_feed_listing {
    uint32_t instrument;
    uint32_t status;     /* enum tp_instrument_status */
    uint64_t generation; /* of the row that was written with it */
};
static_assert(sizeof(struct tp_feed_listing) == 16, "stands in recordings as it is");

/* The venue's list has it so: STALE (HALTED) until it is open again, then SYNCING; readers are told
 * (INSTRUMENT, STATUS). False: no such instrument or status; nothing changed. */
bool tp_feed_list_status(struct tp_feed *feed, const struct tp_feed_listing *listing,
                         uint64_t now_ns);
/* Cold thread: the next instrument from `from` on whose status, by list and stream, is not the one
 * in known[instrument_count], which it becomes; the count of instruments: no more. */
uint32_t tp_feed_status_next(const struct tp_feed *feed, uint8_t *known, uint32_t from);
#endif
