/* Bases that answer a request on the socket, where a venue's come so: what they are good for.
 *
 * Such an answer is no message of the channel: it proves no subscription, and it is made when the
 * request arrives, so that it may stand before or behind the changes that come around it. To a book
 * that waits it is what a base of REST is: it must reach what was seen and meet what was kept
 * (feed_state.c). A book that is followed is compared with it, where that was asked, and keeps its
 * place: only its own messages move it.
 * Called by feed.c and feed_state.c, of few messages. Hot path's thread. */
#include "engine/feed/feed_parts.h"
#include "engine/feed/verify.h"

static bool takes_deeper(const struct tp_feed *feed, uint32_t index)
{
    return (feed->instruments[index].flags & FEED_KEEPING) != 0 &&
           feed->update->last_version >= feed->histories[index].kept_from;
}

static bool compare(struct tp_feed *feed, uint32_t index, uint64_t received_ns)
{
    const struct tp_depth_update *update = feed->update;
    const struct tp_feed_base base = {
        .instrument = index,
        .version = update->last_version,
        .bids = update->bids,
        .bid_count = update->bid_count,
        .asks = update->asks,
        .ask_count = update->ask_count,
        .truncated = feed_cut_sides(update->flags),
    };
    tp_mailbox_cancel(feed_mailbox(feed, index), index); /* it is answered, whatever follows */
    feed_verify_answer(feed, &base, received_ns);
    return feed->instruments[index].phase == TP_SYNC_BUFFERING; /* it differs: it is the base */
}

bool feed_takes_answer(struct tp_feed *feed, uint32_t index, uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    bool takes;
    if (instrument->phase == TP_SYNC_BUFFERING)
        takes = (instrument->flags & (FEED_ACTIVE | FEED_UNCONFIRMED)) == FEED_ACTIVE &&
                !feed->histories[index].is_misscaled && !feed_must_hear(feed, index);
    else if (feed->histories[index].asked_ns != 0)
        return compare(feed, index, received_ns);
    else
        takes = takes_deeper(feed, index);
    feed->counters.bases_unasked += !takes;
    return takes;
}

enum tp_feed_result feed_refuse_answer(struct tp_feed *feed, uint32_t index,
                                       enum tp_decode_status status, uint64_t received_ns)
{
    if (feed_is_misfit(feed, status)) {
        feed_misfit(feed, index, status, received_ns);
        return TP_FEED_BROKEN;
    }
    /* No change was lost by it; who asked does so again when his time is over. */
    feed->counters.unknown_body += status == TP_DECODE_UNKNOWN;
    feed->counters.broken += status != TP_DECODE_UNKNOWN;
    return TP_FEED_BROKEN;
}
