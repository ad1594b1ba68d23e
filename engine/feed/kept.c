/* Messages of a book that waits for a base: kept as bytes, applied once it is there.
 *
 * Called by feed.c (keeps) and feed_state.c (applies). Hot path's thread. */
#include "engine/feed/feed_parts.h"

static void drop_oldest(struct tp_feed *feed, struct tp_backlog *backlog, enum tp_backlog_cut why)
{
    tp_backlog_drop_first(&feed->pool, backlog);
    backlog->cut = (uint8_t)why;
}

/* What does not fit pushes out the oldest: a base that is not older than what is left is still met.
 * False: larger than all that may be kept. Nothing is left then: a base must show it. */
static bool append(struct tp_feed *feed, uint32_t index, struct tp_span body, uint64_t received_ns)
{
    struct tp_backlog *backlog = &feed->backlogs[index];
    const uint64_t keep_ns = feed->config.keep_ns;
    while (backlog->message_count > 0 && received_ns > keep_ns &&
           tp_backlog_first_ns(&feed->pool, backlog) < received_ns - keep_ns)
        drop_oldest(feed, backlog, TP_BACKLOG_CUT_BY_TIME);
    const uint32_t bytes_max = feed->config.buffered_bytes_max;
    const bool fits = body.size <= feed->staging.capacity;
    while (!fits || !tp_backlog_append(&feed->pool, backlog, body, received_ns, bytes_max)) {
        if (feed->instruments[index].reason != TP_SYNC_REASON_OVERFLOW) /* the first of a sync */
            feed->counters.overflows++;
        feed_move(feed, index, TP_FEED_EVENT_LOST, TP_SYNC_REASON_OVERFLOW, received_ns);
        if (!fits || backlog->message_count == 0) {
            tp_backlog_clear(&feed->pool, backlog);
            feed_lose(feed, index, body);
            return false;
        }
        drop_oldest(feed, backlog, TP_BACKLOG_CUT_BY_BYTES);
    }
    return true;
}

void feed_keep(struct tp_feed *feed, uint32_t index, struct tp_span body, uint64_t received_ns)
{
    feed->counters.buffered += append(feed, index, body, received_ns);
    if ((feed->instruments[index].flags & FEED_WANTED) == 0)
        feed_want(feed, index);
}

/* The kept message in feed->staging. MISFIT: it was said, and the message is to stay. */
static enum feed_apply apply_kept(struct tp_feed *feed, uint32_t index, uint64_t kept_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct tp_span body = tp_buffer_unread(&feed->staging);
    enum tp_decode_status status = feed_decode(feed, instrument, body, TP_MEANING_DELTA);
    if (status == TP_DECODE_OK) {
        const enum feed_apply applied = feed_apply(feed, index, feed->update);
        if (applied != FEED_APPLY_BROKEN)
            return applied;
        feed_lose_version(feed, index, feed->update->last_version);
        if (!feed_finds_misfit(feed, instrument))
            return applied;
        status = TP_DECODE_TOO_LARGE;
    } else if (feed_shows(feed, index, body)) {
        return FEED_APPLY_OLD;
    }
    if (feed_is_misfit(feed, status)) {
        feed_misfit(feed, index, status, kept_ns);
        return FEED_APPLY_MISFIT;
    }
    feed->counters.unknown_body += status == TP_DECODE_UNKNOWN;
    feed_lose(feed, index, body);
    return FEED_APPLY_BROKEN;
}

enum feed_apply feed_replay_kept(struct tp_feed *feed, uint32_t index, uint64_t *received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct tp_backlog *backlog = &feed->backlogs[index];
    uint64_t kept_ns;
    const uint32_t count = backlog->message_count;
    for (uint32_t i = 0; i < count; i++) {
        if (!tp_backlog_peek(&feed->pool, backlog, &feed->staging, &kept_ns))
            break;
        enum feed_apply applied = apply_kept(feed, index, kept_ns);
        if (applied == FEED_APPLY_MISFIT)
            return applied;
        if (applied == FEED_APPLY_OLD && !feed_is_duplicate(feed, index, instrument->received_ns))
            applied = FEED_APPLY_RESET;
        if (applied == FEED_APPLY_GAP || applied == FEED_APPLY_RESET)
            return applied;
        tp_backlog_drop_first(&feed->pool, backlog);
        if (applied == FEED_APPLY_DONE) {
            *received_ns = kept_ns;
            feed->arrived_ns = 0; /* of the message in hand, not of those that waited */
        } else if (applied != FEED_APPLY_OLD && applied != FEED_APPLY_SAME) {
            return applied;
        }
    }
    return FEED_APPLY_DONE;
}
