/* The table of states.h. */
#include "engine/feed/states.h"

#include <assert.h>

#define AT(place) [TP_PLACE_##place]
#define STAY TP_MOVE_STAY
#define SYNC TP_MOVE_SYNCING
#define STALE TP_MOVE_STALE
#define LEVEL TP_MOVE_BY_LEVELS

/* clang-format off */ /* it aligns no columns, and this is a table */
static const uint8_t NEXT[TP_PLACE_COUNT][TP_FEED_EVENT_COUNT] = {
    /* on:         up    down   refuse silent speech base   unseen wait  lost  halted unprvd prvd */
    AT(SYNCING) = {SYNC, STALE, STALE, STAY,  STAY,  LEVEL, STALE, SYNC, SYNC, STALE, STAY,  STAY},
    AT(LIVE)    = {SYNC, STALE, STALE, STALE, STAY,  LEVEL, STALE, STAY, SYNC, STALE, STALE, STAY},
    AT(CROSSED) = {SYNC, STALE, STALE, STALE, STAY,  LEVEL, STALE, STAY, SYNC, STALE, STALE, STAY},
    AT(SILENT)  = {SYNC, STALE, STALE, STAY,  LEVEL, LEVEL, STALE, STAY, SYNC, STALE, STALE, STAY},
    AT(RETIRED) = {SYNC, STALE, STALE, STAY,  STAY,  STAY,  STAY,  STAY, STAY, STALE, STAY,  STAY},
    AT(REFUSED) = {SYNC, STALE, STAY,  STAY,  STAY,  STAY,  STAY,  SYNC, STAY, STALE, STAY,  STAY},
    AT(HALTED)  = {SYNC, STALE, STAY,  STAY,  STAY,  STAY,  STAY,  STAY, STAY, STAY,  STAY,  STAY},
    AT(QUIET)   = {SYNC, STALE, STALE, STAY,  STAY,  LEVEL, STALE, STAY, SYNC, STALE, STAY,  LEVEL},
};
/* clang-format on */

enum tp_feed_move tp_feed_next(enum tp_feed_place from, enum tp_feed_event on)
{
    assert(from < TP_PLACE_COUNT && on < TP_FEED_EVENT_COUNT);
    return (enum tp_feed_move)NEXT[from][on];
}
