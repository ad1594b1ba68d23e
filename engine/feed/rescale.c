/* The move of rescale.h. Hot path's thread, but for tp_feed_misfit_take. */
#include "engine/feed/rescale.h"

#include <assert.h>
#include <string.h>

#include "engine/feed/publish.h"
#include "engine/recording/tap.h"

/* ---- from the hot thread to the cold one */

/* feed->misfit, for the cold thread. */
static struct tp_feed_misfit describe(const struct tp_feed *feed, uint32_t index,
                                      enum tp_decode_status status)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    uint8_t space[TP_DECIMAL_SPACE];
    const struct tp_text text = tp_misfit_text(&feed->misfit, space);
    const size_t size = text.size < TP_FEED_MISFIT_TEXT_MAX ? text.size : TP_FEED_MISFIT_TEXT_MAX;
    struct tp_feed_misfit number = {
        .instrument = index,
        .price_exponent = instrument->price_exponent,
        .quantity_exponent = instrument->quantity_exponent,
        .status = (uint8_t)status,
        .kind = (uint8_t)feed->misfit.kind,
        .text_size = (uint8_t)(text.size < UINT8_MAX ? text.size : UINT8_MAX),
    };
    memcpy(number.text, text.at, size);
    return number;
}

/* False: the slot is full. */
static bool tell(struct tp_feed *feed, const struct tp_feed_misfit *number)
{
    struct feed_misfit_slot *slot = &feed->misfits[number->instrument];
    const uint32_t told = atomic_load_explicit(&slot->told, memory_order_relaxed);
    /* Pairs with the release in tp_feed_misfit_take: the slot was copied before it is filled. */
    if (atomic_load_explicit(&slot->taken, memory_order_acquire) != told)
        return false;
    slot->number = *number;
    /* Pairs with the acquire in tp_feed_misfit_take. */
    atomic_store_explicit(&slot->told, told + 1, memory_order_release);
    /* After the slot: whoever sees the count finds it. Pairs with the same acquire there. */
    atomic_store_explicit(&feed->misfits_told,
                          atomic_load_explicit(&feed->misfits_told, memory_order_relaxed) + 1,
                          memory_order_release);
    return true;
}

bool tp_feed_misfit_take(struct tp_feed *feed, struct tp_feed_misfit *out)
{
    /* Spares the scan: a slot that is filled while others are looked at moves the count again.
     * Pairs with the releases in tell. */
    const uint64_t count = atomic_load_explicit(&feed->misfits_told, memory_order_acquire);
    if (count == feed->misfits_seen)
        return false;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        struct feed_misfit_slot *slot = &feed->misfits[i];
        /* Pairs with the release in tell. */
        const uint32_t told = atomic_load_explicit(&slot->told, memory_order_acquire);
        if (atomic_load_explicit(&slot->taken, memory_order_relaxed) == told)
            continue;
        *out = slot->number;
        /* Pairs with the acquire in tell. */
        atomic_store_explicit(&slot->taken, told, memory_order_release);
        return true;
    }
    feed->misfits_seen = count;
    return false;
}

/* ---- a number that does not fit */

static struct tp_feed_misfit count(struct tp_feed *feed, uint32_t index,
                                   enum tp_decode_status status)
{
    feed->counters.too_fine += status == TP_DECODE_TOO_FINE;
    feed->counters.too_large += status == TP_DECODE_TOO_LARGE;
    return describe(feed, index, status);
}

void feed_tell_misfit(struct tp_feed *feed, uint32_t index, enum tp_decode_status status)
{
    const struct tp_feed_misfit number = count(feed, index, status);
    (void)tell(feed, &number); /* full: the next such number tells it */
}

/* Nothing more of the book is decoded: what took its word away is told whatever is in the slot. */
static void tell_surely(struct tp_feed *feed, const struct tp_feed_misfit *number)
{
    struct feed_misfit_slot *slot = &feed->misfits[number->instrument];
    if (tell(feed, number))
        return;
    feed->misfits_waiting += !slot->waits;
    slot->waits = true;
    slot->next = *number;
}

void feed_tell_waiting(struct tp_feed *feed)
{
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        struct feed_misfit_slot *slot = &feed->misfits[i];
        if (!slot->waits || !tell(feed, &slot->next))
            continue;
        slot->waits = false;
        feed->misfits_waiting--;
    }
}

void feed_forget_misfit(struct tp_feed *feed, uint32_t index)
{
    struct feed_misfit_slot *slot = &feed->misfits[index];
    feed->misfits_waiting -= slot->waits;
    slot->waits = false;
    feed->histories[index].is_misscaled = false;
}

void feed_misfit(struct tp_feed *feed, uint32_t index, enum tp_decode_status status,
                 uint64_t now_ns)
{
    const struct tp_feed_misfit number = count(feed, index, status);
    tell_surely(feed, &number);
    feed->histories[index].is_misscaled = true;
    feed_want_nothing(feed, index); /* a base that is under way is of this scale */
    feed_hold(feed, index, TP_SYNC_REASON_SCALE, now_ns);
}

static const struct tp_level *beyond_book(const struct tp_level *levels, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (levels[i].price > TP_BOOK_PRICE_MAX)
            return &levels[i];
    return NULL;
}

bool feed_finds_misfit(struct tp_feed *feed, const struct feed_instrument *instrument)
{
    const struct tp_depth_update *update = feed->update;
    const struct tp_level *level = beyond_book(update->bids, update->bid_count);
    if (level == NULL)
        level = beyond_book(update->asks, update->ask_count);
    if (level == NULL || !feed->config.moves_scale || instrument->price_exponent == 0)
        return false;
    feed->misfit = (struct tp_misfit){
        .text = tp_decimal_write(level->price, instrument->price_exponent, feed->misfit_text),
        .kind = TP_NUMBER_PRICE};
    return true;
}

void feed_tell_doubt(struct tp_feed *feed, uint32_t index)
{
    static const uint8_t nothing[1];
    feed->misfit = (struct tp_misfit){.text = {nothing, 0}};
    if (!feed->config.moves_scale)
        return;
    const struct tp_feed_misfit number = describe(feed, index, TP_DECODE_OK);
    (void)tell(feed, &number);
}

void feed_tell_garbage(struct tp_feed *feed, uint32_t index)
{
    if (!feed->config.moves_scale || feed->misfit.text.at == NULL)
        return;
    const struct tp_feed_misfit number = describe(feed, index, TP_DECODE_BAD_NUMBER);
    (void)tell(feed, &number);
}

/* ---- another scale */

static bool is_scale(const struct tp_feed_scale *scale)
{
    return scale->price_exponent <= 0 && scale->price_exponent >= -18 &&
           scale->quantity_exponent <= 0 && scale->quantity_exponent >= -18 &&
           scale->tick_size >= 1 && scale->tick_size <= TP_BOOK_PRICE_MAX;
}

bool tp_feed_rescale(struct tp_feed *feed, uint32_t index, const struct tp_feed_scale *scale,
                     uint64_t now_ns)
{
    if (index >= feed->config.instrument_count || !is_scale(scale) ||
        (feed->instruments[index].flags & FEED_ADDED) == 0)
        return false;
    struct feed_instrument *instrument = &feed->instruments[index];
    /* The subscription stands, so that a base that is fetched from now on misses nothing. */
    const bool stands = feed->connections[instrument->connection].settle_ns == 0 ||
                        instrument->rule->base == TP_BASE_IN_BAND ||
                        feed->backlogs[index].message_count > 0 ||
                        (instrument->flags & FEED_WANTED) != 0;
    feed->counters.rescaled++;
    /* No book is shown LIVE without its levels: its word goes first. */
    feed->histories[index].is_misscaled = true;
    if (!feed->histories[index].deaf) /* what it asks for, to be subscribed to anew, has no scale */
        feed_want_nothing(feed, index);
    feed_hold(feed, index, TP_SYNC_REASON_SCALE, now_ns);
    feed_forget_misfit(feed, index); /* one of the old scale says nothing of this one */
    instrument->price_exponent = scale->price_exponent;
    instrument->quantity_exponent = scale->quantity_exponent;
    instrument->generation = (uint32_t)scale->generation;
    feed_renew_book(feed, index, scale->tick_size);
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .row_change = TP_ROW_SCALED,
                                             .cleared = true,
                                             .received_ns = now_ns,
                                             .decoded_ns = now_ns});
    if ((instrument->flags & FEED_ACTIVE) != 0 && stands) /* else the first message wants one */
        feed_want(feed, index);
    return true;
}

uint32_t feed_scale_flags(const struct tp_feed *feed, uint32_t index)
{
    const struct tp_scale scale = tp_feed_scale(feed, index);
    return tp_record_scale_flags(scale.price_exponent, scale.quantity_exponent);
}

struct tp_scale tp_feed_scale(const struct tp_feed *feed, uint32_t index)
{
    assert(index < feed->config.instrument_count);
    const struct feed_instrument *instrument = &feed->instruments[index];
    return (struct tp_scale){instrument->price_exponent, instrument->quantity_exponent};
}
