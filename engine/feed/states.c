/* The table of states.h. */
#include "engine/feed/states.h"

#include <assert.h>

#define STAY TP_MOVE_STAY
#define SYNC TP_MOVE_SYNCING
#define STALE TP_MOVE_STALE
#define LEVELS TP_MOVE_BY_LEVELS

/* clang-format off */ /* it aligns no columns, and this is a table */
static const uint8_t NEXT[TP_PLACE_COUNT][TP_FEED_EVENT_COUNT] = {
    /* on:                up    down   refused silence speech  base    unseen waiting lost  halted */
    [TP_PLACE_SYNCING] = {SYNC, STALE, STALE,  STAY,   STAY,   LEVELS, STALE, SYNC,   SYNC, STALE},
    [TP_PLACE_LIVE]    = {SYNC, STALE, STALE,  STALE,  STAY,   LEVELS, STALE, STAY,   SYNC, STALE},
    [TP_PLACE_CROSSED] = {SYNC, STALE, STALE,  STALE,  STAY,   LEVELS, STALE, STAY,   SYNC, STALE},
    [TP_PLACE_SILENT]  = {SYNC, STALE, STALE,  STAY,   LEVELS, LEVELS, STALE, STAY,   SYNC, STALE},
    [TP_PLACE_RETIRED] = {SYNC, STALE, STALE,  STAY,   STAY,   STAY,   STAY,  STAY,   STAY, STALE},
    [TP_PLACE_REFUSED] = {SYNC, STALE, STAY,   STAY,   STAY,   STAY,   STAY,  SYNC,   STAY, STALE},
    [TP_PLACE_HALTED]  = {SYNC, STALE, STAY,   STAY,   STAY,   STAY,   STAY,  STAY,   STAY, STAY},
};
/* clang-format on */

enum tp_feed_move tp_feed_next(enum tp_feed_place from, enum tp_feed_event on)
{
    assert(from < TP_PLACE_COUNT && on < TP_FEED_EVENT_COUNT);
    return (enum tp_feed_move)NEXT[from][on];
}
