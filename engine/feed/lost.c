/* Messages of a book that were refused, or could not be kept: what a base must show then.
 *
 * Each may have been the next change. Where its number can be read, a base must reach it. Where it
 * cannot, the next message says what came before it: until one is kept no base is wanted, and from
 * then on a base must meet it. A base of the stream itself is newer than what came before it; one
 * that is not is not believed.
 * Called by feed.c and feed_state.c, of few messages. Hot path's thread. */
#include "engine/feed/feed_parts.h"

bool feed_read_versions(struct tp_feed *feed, uint32_t index, struct tp_span body)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct tp_venue *venue = feed->connections[instrument->connection].venue;
    const struct tp_body what = {.data = body.data,
                                 .size = body.size,
                                 .meaning = TP_MEANING_DELTA,
                                 .scale = {.price_exponent = instrument->price_exponent,
                                           .quantity_exponent = instrument->quantity_exponent}};
    return venue->read_versions != NULL && venue->read_versions(&what, feed->update);
}

/* Whether a base could be older than a message: it has a number, and does not come in-band. */
static bool can_miss(const struct tp_sync_rule *rule)
{
    return rule->chain != TP_CHAIN_NONE && rule->base != TP_BASE_IN_BAND;
}

void feed_lose_version(struct tp_feed *feed, uint32_t index, uint64_t version)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    if (can_miss(instrument->rule) && version > instrument->version)
        instrument->version = version;
}

void feed_lose(struct tp_feed *feed, uint32_t index, struct tp_span body)
{
    if (!can_miss(feed->instruments[index].rule))
        return;
    if (feed_read_versions(feed, index, body)) {
        feed_lose_version(feed, index, feed->update->last_version);
        return;
    }
    feed->histories[index].is_lost = true;
    feed_want_nothing(feed, index); /* one that is under way may be from before it */
}

void feed_lose_kept(struct tp_feed *feed, uint32_t index)
{
    if (!can_miss(feed->instruments[index].rule) || feed->backlogs[index].message_count == 0)
        return;
    if (tp_backlog_peek_newest(&feed->pool, &feed->backlogs[index], &feed->staging) &&
        feed_read_versions(feed, index, tp_buffer_unread(&feed->staging)))
        feed_lose_version(feed, index, feed->update->last_version);
    else
        feed->histories[index].is_lost = true;
}

bool feed_must_hear(const struct tp_feed *feed, uint32_t index)
{
    return feed->histories[index].is_lost && feed->backlogs[index].message_count == 0;
}

bool feed_shows(struct tp_feed *feed, uint32_t index, struct tp_span body)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    return can_miss(instrument->rule) && feed_read_versions(feed, index, body) &&
           tp_sync_judge(instrument->rule, (enum tp_sync_phase)instrument->phase,
                         instrument->version, feed->update) == TP_SYNC_DROP;
}

void feed_keep_unread(struct tp_feed *feed, uint32_t index, struct tp_span body,
                      uint64_t received_ns)
{
    const struct tp_sync_rule *rule = feed->instruments[index].rule;
    if (!rule->in_band_base)
        feed_keep(feed, index, body, received_ns);
    else /* it may be a base, which is not kept */
        feed_lose(feed, index, body);
}

/* Times of a venue's servers differ by less. */
static const uint64_t NS_PER_S = 1000000000;

/* Where a message of the stream stands in it; 0: it does not say. */
static uint64_t place_in_stream(const struct tp_sync_rule *rule,
                                const struct tp_depth_update *update)
{
    if (rule->chain != TP_CHAIN_NONE)
        return update->last_version;
    return update->exchange_ns > NS_PER_S ? update->exchange_ns / NS_PER_S : 0;
}

void feed_skip(struct tp_feed *feed, uint32_t index)
{
    const uint64_t place = place_in_stream(feed->instruments[index].rule, feed->update);
    if (place > feed->histories[index].skipped)
        feed->histories[index].skipped = place;
}

/* Whether each message is a book of its own, so that all their times are of one clock. */
static bool is_whole(const struct tp_sync_rule *rule)
{
    return rule->chain == TP_CHAIN_NONE && rule->checksum == TP_CHECKSUM_NONE &&
           !rule->counts_connection;
}

/* A base of before the book that is followed. A numbering that begins anew is newer by its time. */
static bool is_of_before(const struct feed_instrument *instrument,
                         const struct tp_depth_update *update)
{
    if (update->exchange_ns == 0)
        return false;
    if (is_whole(instrument->rule))
        return update->exchange_ns < instrument->exchange_ns;
    if (instrument->rule->chain == TP_CHAIN_NONE)
        return update->exchange_ns + NS_PER_S < instrument->exchange_ns;
    /* 0: the book is one of REST, which has no time. */
    return update->last_version < instrument->version &&
           (update->exchange_ns <= instrument->exchange_ns || instrument->exchange_ns == 0);
}

/* The same of a book that was given up: right behind its last message, what is older begins no
 * numbering anew, but is a base of before once more. */
static bool is_of_before_again(const struct feed_instrument *instrument,
                               const struct tp_depth_update *update, uint64_t received_ns)
{
    const bool is_asked = instrument->rule->chain == TP_CHAIN_NONE && !is_whole(instrument->rule);
    return !is_asked && received_ns - instrument->received_ns <= FEED_OLD_NS_MAX &&
           update->exchange_ns < instrument->exchange_ns && is_of_before(instrument, update);
}

bool feed_is_overtaken(const struct tp_feed *feed, uint32_t index, uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (instrument->phase != TP_SYNC_BUFFERING)
        return is_of_before(instrument, feed->update);
    if (is_of_before_again(instrument, feed->update, received_ns))
        return true;
    const bool is_by_time = instrument->rule->chain == TP_CHAIN_NONE;
    if (is_by_time && feed->histories[index].overtaken >= FEED_OVERTAKEN_MAX)
        return false;
    const uint64_t place = place_in_stream(instrument->rule, feed->update);
    const uint64_t slack = is_by_time; /* a second */
    return place != 0 && place + slack < feed->histories[index].skipped;
}
