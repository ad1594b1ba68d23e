/* The mailbox of mailbox.h. */
#include "engine/feed/mailbox.h"

#include <string.h>

#include "engine/book/book.h"

/* Life of a request: NONE > WANTED (hot) > ASKED (cold took it) > OFFERED (cold put the answer in
 * a cell) > NONE or a new WANTED (hot). Only the hot thread raises the generation, by a plain store
 * that ends whatever the cold thread was doing; the cold thread only ever compares and exchanges
 * within one generation. */
enum request_state { REQUEST_NONE, REQUEST_WANTED, REQUEST_ASKED, REQUEST_OFFERED };
enum { STATE_MASK = 3, REQUEST_SHIFT = 2, REQUEST_MASK = 3, GENERATION_STEP = 16 };

void tp_mailbox_init(struct tp_mailbox *mailbox, _Atomic uint32_t *requests,
                     uint32_t instrument_count, struct tp_mailbox_cell *cells)
{
    mailbox->cells = cells;
    mailbox->requests = requests;
    mailbox->instrument_count = instrument_count;
    static_assert(sizeof mailbox->next_wanted == TP_REQUEST_COUNT * sizeof(uint32_t), "one each");
    memset(mailbox->next_wanted, 0, sizeof mailbox->next_wanted);
    mailbox->has_wanted = false;
    atomic_init(&mailbox->tail, 0);
    atomic_init(&mailbox->head, 0);
    atomic_init(&mailbox->refused, 0);
    atomic_init(&mailbox->doubled, 0);
    atomic_init(&mailbox->doubled_of, 0);
    for (uint32_t i = 0; i < instrument_count; i++)
        atomic_init(&requests[i], REQUEST_NONE);
}

static void request_renew(struct tp_mailbox *mailbox, uint32_t instrument, uint32_t state)
{
    _Atomic uint32_t *request = &mailbox->requests[instrument];
    const uint32_t word = atomic_load_explicit(request, memory_order_relaxed);
    /* Carries no data: relaxed would do; release costs nothing on this cold path and pairs with
     * the acquire in request_change, so that a reader of logs sees causes before effects. */
    const uint32_t generation = word / GENERATION_STEP + 1;
    atomic_store_explicit(request, generation * GENERATION_STEP | state, memory_order_release);
}

void tp_mailbox_want(struct tp_mailbox *mailbox, uint32_t instrument, enum tp_request request)
{
    request_renew(mailbox, instrument, (uint32_t)request << REQUEST_SHIFT | REQUEST_WANTED);
    mailbox->has_wanted = true;
}

void tp_mailbox_cancel(struct tp_mailbox *mailbox, uint32_t instrument)
{
    request_renew(mailbox, instrument, REQUEST_NONE);
}

const struct tp_mailbox_cell *tp_mailbox_peek(struct tp_mailbox *mailbox, bool *fresh)
{
    const uint32_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    /* Pairs with the release of tail in tp_mailbox_offer: the cell's content is visible. */
    if (atomic_load_explicit(&mailbox->tail, memory_order_acquire) == head)
        return NULL;
    const struct tp_mailbox_cell *cell = &mailbox->cells[head & (TP_MAILBOX_CELL_COUNT - 1)];
    *fresh = cell->request ==
             atomic_load_explicit(&mailbox->requests[cell->instrument], memory_order_relaxed);
    return cell;
}

void tp_mailbox_release(struct tp_mailbox *mailbox)
{
    const uint32_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    /* Pairs with the acquire of head in tp_mailbox_offer: we have read the cell before it is
     * overwritten. */
    atomic_store_explicit(&mailbox->head, head + 1, memory_order_release);
}

/* False: the hot thread renewed the request, or it was not in this state. */
static bool request_change(struct tp_mailbox *mailbox, uint32_t instrument, uint32_t *word,
                           uint32_t from, uint32_t to)
{
    _Atomic uint32_t *request = &mailbox->requests[instrument];
    uint32_t seen = atomic_load_explicit(request, memory_order_acquire);
    if ((seen & STATE_MASK) != from)
        return false;
    *word = (seen & ~(uint32_t)STATE_MASK) | to;
    return atomic_compare_exchange_strong_explicit(request, &seen, *word, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

bool tp_mailbox_ask(struct tp_mailbox *mailbox, uint32_t instrument)
{
    uint32_t word;
    return request_change(mailbox, instrument, &word, REQUEST_WANTED, REQUEST_ASKED);
}

static enum tp_request request_of(const struct tp_mailbox *mailbox, uint32_t instrument)
{
    const uint32_t word =
        atomic_load_explicit(&mailbox->requests[instrument], memory_order_relaxed);
    return (enum tp_request)(word >> REQUEST_SHIFT & REQUEST_MASK);
}

uint32_t tp_mailbox_wanted(struct tp_mailbox *mailbox, enum tp_request request, uint32_t *wanted,
                           uint32_t count_max)
{
    uint32_t count = 0, word;
    uint32_t *const next = &mailbox->next_wanted[request];
    /* Begins where the last scan ended, so that a small count_max starves nobody. */
    for (uint32_t i = 0; i < mailbox->instrument_count && count < count_max; i++) {
        const uint32_t instrument = *next;
        *next = instrument + 1 < mailbox->instrument_count ? instrument + 1 : 0;
        if (request_of(mailbox, instrument) == request &&
            request_change(mailbox, instrument, &word, REQUEST_WANTED, REQUEST_ASKED))
            wanted[count++] = instrument;
    }
    return count;
}

void tp_mailbox_failed(struct tp_mailbox *mailbox, uint32_t instrument)
{
    uint32_t word;
    if (instrument < mailbox->instrument_count)
        (void)request_change(mailbox, instrument, &word, REQUEST_ASKED, REQUEST_WANTED);
}

void tp_mailbox_note_doubled(struct tp_mailbox *mailbox, uint32_t instrument, uint32_t count)
{
    if (count == 0)
        return;
    atomic_store_explicit(&mailbox->doubled_of, instrument + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&mailbox->doubled, count, memory_order_relaxed);
}

/* Whether a price comes before another one on this side, best first. */
static bool is_better(enum tp_side side, int64_t price, int64_t than)
{
    return side == TP_SIDE_ASK ? price < than : price > than;
}

/* Puts a level in its place among those that are sorted; one of the same price replaces it. True:
 * it did. Stable, in place, and one comparison a level of what venues send: sorted. */
static bool insert(enum tp_side side, struct tp_level level, struct tp_level *out, uint32_t *count)
{
    uint32_t low = 0, high = *count;
    if (high > 0 && is_better(side, out[high - 1].price, level.price))
        low = high;
    while (low < high) { /* halves each round */
        const uint32_t middle = low + (high - low) / 2;
        if (is_better(side, out[middle].price, level.price))
            low = middle + 1;
        else
            high = middle;
    }
    if (low < *count && out[low].price == level.price) {
        out[low] = level;
        return true;
    }
    memmove(out + low + 1, out + low, (*count - low) * sizeof *out);
    out[low] = level;
    (*count)++;
    return false;
}

/* Copies levels best first without those of quantity 0; of a price that comes twice the last one
 * counts. False: a price or quantity out of range. *doubled: prices that came again. */
static bool copy_sorted(enum tp_side side, const struct tp_level *levels, uint32_t count,
                        struct tp_level *out, uint32_t *out_count, uint32_t *doubled)
{
    uint32_t sorted = 0, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (levels[i].price < 1 || levels[i].price > TP_BOOK_PRICE_MAX || levels[i].quantity < 0)
            return false;
        *doubled += insert(side, levels[i], out, &sorted);
    }
    for (uint32_t i = 0; i < sorted; i++)
        if (out[i].quantity != 0)
            out[kept++] = out[i];
    *out_count = kept;
    return true;
}

static bool cell_fill(struct tp_mailbox *mailbox, struct tp_mailbox_cell *cell,
                      const struct tp_feed_base *offer)
{
    if (offer->bid_count > TP_DEPTH_LEVEL_COUNT_MAX || offer->ask_count > TP_DEPTH_LEVEL_COUNT_MAX)
        return false;
    cell->instrument = offer->instrument;
    cell->version = offer->version;
    cell->truncated = offer->truncated;
    cell->scale = offer->scale;
    uint32_t doubled = 0;
    if (!copy_sorted(TP_SIDE_BID, offer->bids, offer->bid_count, cell->bids, &cell->bid_count,
                     &doubled) ||
        !copy_sorted(TP_SIDE_ASK, offer->asks, offer->ask_count, cell->asks, &cell->ask_count,
                     &doubled))
        return false;
    tp_mailbox_note_doubled(mailbox, offer->instrument, doubled);
    return true;
}

bool tp_mailbox_offer(struct tp_mailbox *mailbox, const struct tp_feed_base *offer)
{
    if (offer->instrument >= mailbox->instrument_count)
        return true;
    const uint32_t tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed);
    /* Pairs with the release of head in tp_mailbox_release. */
    if (tail - atomic_load_explicit(&mailbox->head, memory_order_acquire) == TP_MAILBOX_CELL_COUNT)
        return false;
    struct tp_mailbox_cell *cell = &mailbox->cells[tail & (TP_MAILBOX_CELL_COUNT - 1)];
    if (!cell_fill(mailbox, cell, offer)) {
        atomic_fetch_add_explicit(&mailbox->refused, 1, memory_order_relaxed);
        tp_mailbox_failed(mailbox, offer->instrument);
        return true;
    }
    if (!request_change(mailbox, offer->instrument, &cell->request, REQUEST_ASKED, REQUEST_OFFERED))
        return true;
    /* Pairs with the acquire of tail in tp_mailbox_peek. */
    atomic_store_explicit(&mailbox->tail, tail + 1, memory_order_release);
    return true;
}
