/* The verdicts of verify.h. */
#include "engine/feed/verify.h"

#include <assert.h>
#include <string.h>

#include "engine/feed/publish.h"
#include "engine/feed/states.h"
#include "engine/recording/tap.h"

enum { LOOKS_A_TICK = 2 };                   /* each of two cache lines */
static const uint64_t GRACE_NS = 2000000000; /* for messages of what the base shows already */
static const uint64_t AGAIN_NS =
    1000000000; /* between an answer that said nothing and a question */
static const uint64_t STRANGE_NS = 1000000000; /* the first time, then twice as long each time */
enum { SUSPICIONS_MAX = 16 };

void feed_verify_forget(struct tp_feed *feed, uint32_t index)
{
    struct feed_history *history = &feed->histories[index];
    history->asked_ns = history->ahead_ns = 0;
}

/* For how long a book is LIVE without a proof; 0: forever. */
static uint64_t limit_ns_of(const struct feed_venue *venue)
{
    return atomic_load_explicit(&venue->verify_limit_ns, memory_order_relaxed);
}

/* ---- comparing */

/* The base's levels and the book's, as far as both are known. */
static bool side_is_equal(struct tp_feed *feed, const struct feed_instrument *instrument,
                          enum tp_side side, const struct tp_feed_base *base)
{
    const struct tp_level *levels = side == TP_SIDE_BID ? base->bids : base->asks;
    uint32_t shown = side == TP_SIDE_BID ? base->bid_count : base->ask_count;
    const uint32_t known = tp_book_level_count(instrument->book, side);
    const uint32_t depth = instrument->rule->depth;
    bool base_ends = (base->truncated >> side & 1) != 0;
    if (depth != 0 && shown >= depth) { /* the channel shows no more */
        shown = depth;
        base_ends = true;
    }
    if (known < shown && tp_book_extent(instrument->book, side) == 0)
        return false;
    if (known > shown && !base_ends)
        return false;
    struct tp_level *own = feed->own_levels;
    const uint32_t count = tp_book_top(instrument->book, side, own, shown < known ? shown : known);
    return memcmp(own, levels, count * sizeof *own) == 0;
}

static bool is_equal(struct tp_feed *feed, const struct tp_feed_base *base)
{
    const struct feed_instrument *instrument = &feed->instruments[base->instrument];
    return side_is_equal(feed, instrument, TP_SIDE_BID, base) &&
           side_is_equal(feed, instrument, TP_SIDE_ASK, base);
}

void feed_verify_answer(struct tp_feed *feed, const struct tp_feed_base *base, uint64_t now_ns)
{
    const uint32_t index = base->instrument;
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_history *history = &feed->histories[index];
    const uint64_t asked_ns = history->asked_ns;
    feed_verify_forget(feed, index);
    if (asked_ns == 0 || instrument->phase == TP_SYNC_BUFFERING)
        return;
    feed->counters.checks++;
    if (instrument->received_ns > asked_ns)
        return; /* a message of its own proved more meanwhile */
    const bool is_numbered = instrument->rule->chain != TP_CHAIN_NONE;
    if (is_numbered && base->version < instrument->version) {
        history->not_before_ns = now_ns + AGAIN_NS;
    } else if (is_equal(feed, base)) {
        if (now_ns - asked_ns <= limit_ns_of(feed_venue(feed, index))) /* else too old already */
            tp_feed_conclude(feed, index, TP_VERDICT_EQUAL, asked_ns, now_ns);
    } else if (is_numbered && base->version == instrument->version) {
        tp_feed_conclude(feed, index, TP_VERDICT_DIFFERENT, 0, now_ns);
    } else {
        history->ahead_ns = now_ns;
    }
}

/* ---- what follows */

static void publish_verdict(struct tp_feed *feed, uint32_t index, bool equal, bool changed,
                            uint64_t now_ns)
{
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .state_changed = changed,
                                             .compared = true,
                                             .equal = equal,
                                             .received_ns = now_ns,
                                             .decoded_ns = now_ns});
}

void feed_prove(struct tp_feed *feed, uint32_t index, uint64_t proved_ns, uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    feed->counters.verified++;
    instrument->verified_ns = proved_ns;
    bool changed = false;
    if (instrument->reason == TP_SYNC_REASON_UNVERIFIED &&
        !feed->connections[instrument->connection].silent) {
        const enum tp_book_state state = feed_book_state(instrument);
        changed = feed_enter(feed, index, state, feed_book_reason(state), now_ns);
    }
    publish_verdict(feed, index, true, changed, now_ns);
}

/* No acknowledgement counts from now on, only a message: the venue takes the subscription and
 * serves it not. It is subscribed to anew meanwhile. */
static void turn_deaf(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    feed->instruments[index].flags |= FEED_UNCONFIRMED;
    feed->histories[index].deaf = true;
    if (feed->races != NULL)
        feed_race_deafen(feed, index);
    feed_resync(feed, index, TP_SYNC_REASON_SILENT, now_ns);
    tp_mailbox_want(feed_mailbox(feed, index), index, TP_REQUEST_ANEW);
}

static void tap_verdict(struct tp_feed *feed, uint32_t index, enum tp_verdict verdict,
                        uint64_t proved_ns, uint64_t now_ns)
{
    const uint64_t words[2] = {index, proved_ns};
    const struct tp_span payload = {(const uint8_t *)words, sizeof words};
    tp_tap_message(
        feed->config.tap,
        tp_tap_tag(TP_RECORD_VERDICT, (uint8_t)verdict, feed->instruments[index].connection),
        payload, now_ns);
}

void tp_feed_conclude(struct tp_feed *feed, uint32_t instrument, enum tp_verdict verdict,
                      uint64_t proved_ns, uint64_t now_ns)
{
    assert(instrument < feed->config.instrument_count);
    if (feed->instruments[instrument].phase == TP_SYNC_BUFFERING)
        return; /* a replay that lost records */
    tap_verdict(feed, instrument, verdict, proved_ns, now_ns);
    if (verdict != TP_VERDICT_UNANSWERED) /* what was asked may yet be answered */
        feed_verify_forget(feed, instrument);
    switch (verdict) {
    case TP_VERDICT_EQUAL:
        feed_prove(feed, instrument, proved_ns, now_ns);
        if (feed->races != NULL)
            feed_race_proved(feed, instrument, proved_ns, now_ns);
        break;
    case TP_VERDICT_DIFFERENT:
        feed->counters.checks_different++;
        publish_verdict(feed, instrument, false, false, now_ns);
        feed_resync(feed, instrument, TP_SYNC_REASON_GAP, now_ns);
        break;
    case TP_VERDICT_DEAF:
        feed->counters.checks_deaf++;
        publish_verdict(feed, instrument, false, false, now_ns);
        turn_deaf(feed, instrument, now_ns);
        break;
    case TP_VERDICT_UNANSWERED:
        feed->counters.checks_unanswered++;
        feed_move(feed, instrument, TP_FEED_EVENT_UNPROVED, TP_SYNC_REASON_UNVERIFIED, now_ns);
        break;
    }
}

/* ---- whom to ask about */

/* Since when it is not proved. */
static uint64_t age_ns_of(const struct feed_instrument *instrument, uint64_t now_ns)
{
    const uint64_t proved_ns = instrument->verified_ns > instrument->received_ns
                                   ? instrument->verified_ns
                                   : instrument->received_ns;
    return now_ns > proved_ns ? now_ns - proved_ns : 0;
}

bool feed_is_unproved(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const uint64_t limit_ns = limit_ns_of(feed_venue(feed, index));
    const struct feed_instrument *instrument = &feed->instruments[index];
    return limit_ns != 0 && instrument->phase != TP_SYNC_BUFFERING &&
           age_ns_of(instrument, now_ns) > limit_ns;
}

/* How long a book is quiet until it is asked about. A strange message on its connection may have
 * been its own, under another channel's name or cut: then soon, but ever less so. */
static uint64_t quiet_ns_of(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const uint64_t usual_ns = feed_venue(feed, index)->verify_after_ns;
    const uint64_t soon_ns = STRANGE_NS << feed->histories[index].suspicions;
    const uint64_t strange_ns = feed->connections[instrument->connection].strange_ns;
    const bool is_suspect = strange_ns > now_ns - age_ns_of(instrument, now_ns);
    return is_suspect && soon_ns < usual_ns ? soon_ns : usual_ns;
}

static void look(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_venue *venue = feed_venue(feed, index);
    struct feed_history *history = &feed->histories[index];
    const uint64_t limit_ns = limit_ns_of(venue);
    if (limit_ns == 0 || instrument->phase == TP_SYNC_BUFFERING ||
        (instrument->flags & FEED_ACTIVE) == 0)
        return;
    if (history->ahead_ns != 0 && instrument->received_ns >= history->ahead_ns)
        history->ahead_ns = 0; /* here they come */
    if (history->ahead_ns != 0 && now_ns > history->ahead_ns + GRACE_NS) {
        tp_feed_conclude(feed, index, TP_VERDICT_DEAF, 0, now_ns);
        return;
    }
    const uint64_t age_ns = age_ns_of(instrument, now_ns);
    if (age_ns > limit_ns &&
        (instrument->state == TP_BOOK_LIVE || instrument->state == TP_BOOK_CROSSED))
        tp_feed_conclude(feed, index, TP_VERDICT_UNANSWERED, 0, now_ns);
    /* A book that is to have a deeper base is proved by that. */
    if (venue->verify_after_ns == 0 || age_ns <= quiet_ns_of(feed, index, now_ns) ||
        (history->asked_ns | history->ahead_ns) != 0 || now_ns < history->not_before_ns ||
        (instrument->flags & FEED_KEEPING) != 0)
        return;
    if (age_ns <= venue->verify_after_ns && history->suspicions < SUSPICIONS_MAX)
        history->suspicions++;
    history->asked_ns = now_ns;
    tp_mailbox_want(feed_mailbox(feed, index), index, TP_REQUEST_CHECK);
}

void feed_verify_tick(struct tp_feed *feed, uint64_t now_ns)
{
    if (!feed->verifies)
        return;
    for (uint32_t i = 0; i < LOOKS_A_TICK; i++) {
        const uint32_t index = feed->next_look;
        feed->next_look = index + 1 < feed->config.instrument_count ? index + 1 : 0;
        look(feed, index, now_ns);
    }
}
