/* What the cold threads of the process ask a feed and give it: each venue's end of its mailbox,
 * and whether they are to be woken for it. */
#include <assert.h>

#include "engine/feed/feed_parts.h"

static const uint64_t NS_PER_MS = 1000000;

bool tp_feed_take_wanted(struct tp_feed *feed)
{
    bool has_wanted = false;
    for (uint32_t i = 0; i < feed->venue_count; i++)
        has_wanted |= tp_mailbox_take_wanted(&feed->venues[i].mailbox);
    return has_wanted;
}

uint32_t tp_feed_base_wanted(struct tp_feed *feed, uint32_t venue, uint32_t *wanted,
                             uint32_t count_max)
{
    assert(venue < feed->venue_count);
    return tp_mailbox_wanted(&feed->venues[venue].mailbox, TP_REQUEST_BASE, wanted, count_max);
}

uint32_t tp_feed_check_wanted(struct tp_feed *feed, uint32_t venue, uint32_t *wanted,
                              uint32_t count_max)
{
    assert(venue < feed->venue_count);
    return tp_mailbox_wanted(&feed->venues[venue].mailbox, TP_REQUEST_CHECK, wanted, count_max);
}

uint32_t tp_feed_anew_wanted(struct tp_feed *feed, uint32_t venue, uint32_t *wanted,
                             uint32_t count_max)
{
    assert(venue < feed->venue_count);
    return tp_mailbox_wanted(&feed->venues[venue].mailbox, TP_REQUEST_ANEW, wanted, count_max);
}

bool tp_feed_base_offer(struct tp_feed *feed, uint32_t venue, const struct tp_feed_base *base)
{
    assert(venue < feed->venue_count);
    return tp_mailbox_offer(&feed->venues[venue].mailbox, base);
}

void tp_feed_base_failed(struct tp_feed *feed, uint32_t venue, uint32_t instrument)
{
    assert(venue < feed->venue_count);
    tp_mailbox_failed(&feed->venues[venue].mailbox, instrument);
}

void tp_feed_verify_within(struct tp_feed *feed, uint32_t venue, uint64_t limit_ns)
{
    assert(venue < feed->venue_count);
    atomic_store_explicit(&feed->venues[venue].verify_limit_ns, limit_ns, memory_order_relaxed);
    uint64_t longest_ns = 0;
    for (uint32_t i = 0; i < feed->venue_count; i++) {
        const uint64_t of_ns =
            atomic_load_explicit(&feed->venues[i].verify_limit_ns, memory_order_relaxed);
        longest_ns = of_ns > longest_ns ? of_ns : longest_ns;
    }
    feed->counters.verify_within_ms = longest_ns / NS_PER_MS;
}

uint32_t tp_feed_doubled(const struct tp_feed *feed)
{
    uint32_t doubled = 0;
    for (uint32_t i = 0; i < feed->venue_count && doubled == 0; i++)
        doubled = atomic_load_explicit(&feed->venues[i].mailbox.doubled_of, memory_order_relaxed);
    return doubled;
}
