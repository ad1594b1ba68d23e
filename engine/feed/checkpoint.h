/* Whole books into a recording, and back: what a replay needs to begin in the middle.
 *
 * engine/feed_handler/hot_path.c calls tp_feed_checkpoint now and then while a tap is open;
 * engine/recording/replayer.c calls the other two. Hot path's thread, or the one that replays. */
#ifndef TP_ENGINE_CHECKPOINT_H
#define TP_ENGINE_CHECKPOINT_H
#include "engine/feed/feed.h"
#include "engine/recording/tap.h"

/* Writes the instrument's whole book into the tap if it is LIVE. A few microseconds a thousand
 * levels. */
void tp_feed_checkpoint(struct tp_feed *feed, uint32_t instrument, uint64_t now_ns);

enum tp_feed_restore {
    TP_FEED_RESTORED,
    TP_FEED_RESTORE_KNOWN,    /* the book stands at this very version: nothing to do */
    TP_FEED_RESTORE_DIVERGED, /* the book is LIVE at another version: it was left alone */
    TP_FEED_RESTORE_REFUSED,  /* levels out of order or range, or no such instrument */
};
/* Puts a checkpoint in the place of a book that waits for a base; its connection must be up.
 * sides: as struct tp_record_book tells. */
enum tp_feed_restore tp_feed_restore(struct tp_feed *feed, const struct tp_record_book *book,
                                     const struct tp_level *const sides[2], uint64_t now_ns);
/* As if the base had been asked for, fetched and taken in this very tick. False: the book does
 * not wait for one, or the levels are broken. */
bool tp_feed_base_take(struct tp_feed *feed, const struct tp_feed_base *base, uint64_t now_ns);
#endif
