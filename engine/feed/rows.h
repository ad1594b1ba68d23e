/* Instruments that come, go and change while the feed runs.
 *
 * The cold thread writes the row into the segment's table (shm/segment_rows.c), then hands the same
 * to the hot thread, which does what it says and publishes INSTRUMENT: row, event, then all that
 * depends on it (docs/adr/0010). A place is one instrument's for as long as the segment lives: one
 * that was removed leaves its place, and its channel in the venue's router, to nobody but itself.
 *
 * Called by engine/feed_handler/hot_path.c and engine/recording/replayer.c. Hot path's thread. */
#ifndef TP_ENGINE_FEED_ROWS_H
#define TP_ENGINE_FEED_ROWS_H
#include "engine/feed/feed.h"

enum { TP_CHANNEL_SIZE_MAX = 111 }; /* bytes of a subscription string, less the NUL */

/* Also the payload of a recording's ROW record: a change here is a new version of it. */
struct tp_feed_row {
    struct tp_instrument_record record; /* status REMOVED: it leaves */
    uint64_t generation;                /* of the row in the segment's table */
    uint32_t instrument;
    uint16_t connection, race; /* over so many, of which it is the first; 0 and 1: no race */
    char channel[TP_CHANNEL_SIZE_MAX + 1]; /* of its book */
};
static_assert(sizeof(struct tp_feed_row) == 376, "recording version 2");

/* Whether a book can be made of such a row: its scale and its channel are known. Any thread. */
bool tp_feed_row_is_sound(const struct tp_venue *venue, const struct tp_instrument_record *record,
                          const char *channel);
/* Does what the row says. A new one, or one that comes back, joins its connection: on one that is
 * up it is subscribed to already, and goes SYNCING as after connection_up. One that leaves is STALE
 * (REMOVED), and what still comes of it does not count. False: it is not sound, or its place is
 * another's; nothing was done. */
bool tp_feed_row_take(struct tp_feed *feed, const struct tp_feed_row *row, uint64_t now_ns);
#endif
