/* Entries, buckets and pauses of budget.h; the file they are in is budget_file.c's.
 *
 * Orders are relaxed but where an entry changes its name (entry_is_kept, entry_give): no other word
 * is read on the strength of another one. What a reader may miss is a text for people. Called by:
 * see the header. Any thread, no system call. */
#include "shm/budget.h"

#include <assert.h>
#include <string.h>

enum {
    TRIES_MAX = 64, /* of a compare-and-swap that others win: then "in a moment" */
    SCARCE = 20,    /* less than one in so many is left to all: wait for the next window */
    WINDOW_COUNT_BITS = 32,
};
/* The bit of a key whose entry is about to be given to another name. */
static const uint64_t LEAVING = 1;
static const uint64_t MOMENT_NS = 1000;
static const uint64_t NS_PER_MS = 1000 * 1000;

/* ---- names ---- */

uint64_t tp_budget_key(const char *name)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a, draft-eastlake-fnv */
    for (const char *c = name; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001B3);
    return hash > LEAVING ? hash & ~LEAVING : 2;
}

/* Cut to one byte less, so that a NUL ends it. */
static void text_set(_Atomic uint64_t *to, size_t size, const char *text)
{
    const size_t whole = strlen(text), length = whole < size ? whole : size - 1;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = 0;
        if (at < length)
            memcpy(&word, text + at, length - at < 8 ? length - at : 8);
        atomic_store_explicit(&to[at / 8], word, memory_order_relaxed);
    }
}

static void text_get(const _Atomic uint64_t *from, size_t from_size, char *to, size_t size)
{
    size_t at = 0;
    for (; at < from_size && at + 8 < size; at += 8) {
        const uint64_t word = atomic_load_explicit(&from[at / 8], memory_order_relaxed);
        memcpy(to + at, &word, 8);
    }
    to[at] = '\0';
}

void tp_budget_text(const struct tp_budget_entry *entry, enum tp_budget_text text, char *to,
                    size_t size)
{
    switch (text) {
    case TP_BUDGET_TEXT_NAME:
        text_get(entry->name, TP_BUDGET_NAME_SIZE, to, size);
        break;
    case TP_BUDGET_TEXT_VENUE:
        text_get(entry->venue, TP_BUDGET_VENUE_SIZE, to, size);
        break;
    case TP_BUDGET_TEXT_REASON:
        text_get(entry->reason, TP_BUDGET_REASON_SIZE, to, size);
        break;
    }
}

/* The row of a key is the table from its place on. */
static struct tp_budget_entry *entry_at(struct tp_budget *budget, uint64_t key, uint64_t number)
{
    return &budget->memory->entry[((key >> 1) + number) % TP_BUDGET_ENTRY_COUNT];
}

/* The name's own look at its entry's key: true while it is still its own. Whoever was about to give
 * it away then finds that it may not. */
static bool entry_is_kept(struct tp_budget_entry *entry, uint64_t key)
{
    uint64_t found = key | LEAVING;
    /* Pairs with the marking in entry_give: after it, either we see the mark or it sees what we
     * spent before. */
    if (atomic_load_explicit(&entry->key, memory_order_seq_cst) == key)
        return true;
    return atomic_compare_exchange_strong_explicit(&entry->key, &found, key, memory_order_seq_cst,
                                                   memory_order_seq_cst) ||
           found == key;
}

static bool entry_is_idle(const struct tp_budget_entry *entry, uint64_t now_ns)
{
    if (tp_budget_pause_left_ns(entry, now_ns) != 0)
        return false;
    for (int kind = 0; kind < TP_BUDGET_KIND_COUNT; kind++)
        if (atomic_load_explicit(&entry->bucket[kind].whole_ns, memory_order_seq_cst) > now_ns)
            return false;
    return true;
}

/* Gives an idle entry to another name: marks it, looks whether it is idle still, and swaps. */
static bool entry_give(struct tp_budget_entry *entry, uint64_t key, uint64_t now_ns)
{
    uint64_t was = atomic_load_explicit(&entry->key, memory_order_seq_cst);
    if (!entry_is_idle(entry, now_ns))
        return false;
    if ((was & LEAVING) != 0) { /* of one that died here: nobody else gives now */
        if (!entry_is_kept(entry, was & ~LEAVING))
            return false;
        was &= ~LEAVING;
    }
    uint64_t marked = was | LEAVING;
    /* Pairs with the look in entry_is_kept. */
    if (!atomic_compare_exchange_strong_explicit(&entry->key, &was, marked, memory_order_seq_cst,
                                                 memory_order_seq_cst))
        return false;
    if (!entry_is_idle(entry, now_ns)) {
        entry_is_kept(entry, was);
        return false;
    }
    return atomic_compare_exchange_strong_explicit(&entry->key, &marked, key, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

static void word_raise(_Atomic uint64_t *word, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX && seen < value; tries++)
        if (atomic_compare_exchange_weak_explicit(word, &seen, value, memory_order_seq_cst,
                                                  memory_order_relaxed))
            return;
}

static void entry_name(struct tp_budget_entry *entry, const char *name, const char *venue)
{
    text_set(entry->name, TP_BUDGET_NAME_SIZE, name);
    text_set(entry->venue, TP_BUDGET_VENUE_SIZE, venue);
    text_set(entry->reason, TP_BUDGET_REASON_SIZE, "");
    for (int kind = 0; kind < TP_BUDGET_KIND_COUNT; kind++)
        atomic_store_explicit(&entry->bucket[kind].limit, 0, memory_order_relaxed);
}

/* A free entry ends a row: none behind it was ever used by this key, since no entry becomes free
 * again. */
static struct tp_budget_entry *row_find(struct tp_budget *budget, uint64_t key,
                                        struct tp_budget_entry **end)
{
    *end = NULL;
    for (uint64_t i = 0; i < TP_BUDGET_ENTRY_COUNT; i++) {
        struct tp_budget_entry *entry = entry_at(budget, key, i);
        const uint64_t found = atomic_load_explicit(&entry->key, memory_order_acquire);
        if (found == key || (found == (key | LEAVING) && entry_is_kept(entry, key)))
            return entry;
        if (found == 0) {
            *end = entry;
            return NULL;
        }
    }
    return NULL;
}

struct tp_budget_entry *tp_budget_look(struct tp_budget *budget, const char *name)
{
    struct tp_budget_entry *end;
    return row_find(budget, tp_budget_key(name), &end);
}

struct tp_budget_entry *tp_budget_find(struct tp_budget *budget, const char *name,
                                       const char *venue)
{
    const uint64_t key = tp_budget_key(name);
    struct tp_budget_entry *end;
    for (int tries = 0; tries < TP_BUDGET_ENTRY_COUNT; tries++) {
        struct tp_budget_entry *found = row_find(budget, key, &end);
        uint64_t was = 0;
        if (found != NULL)
            return found;
        if (end == NULL)
            break;
        if (atomic_compare_exchange_strong_explicit(&end->key, &was, key, memory_order_acq_rel,
                                                    memory_order_acquire)) {
            entry_name(end, name, venue);
            return end;
        } /* else another one took it, for this name or for another: look again */
    }
    return NULL;
}

struct tp_budget_entry *tp_budget_make_room(struct tp_budget *budget, const char *name,
                                            const char *venue, uint64_t now_ns)
{
    const uint64_t key = tp_budget_key(name);
    struct tp_budget_entry *found = tp_budget_find(budget, name, venue);
    for (uint64_t i = 0; i < TP_BUDGET_ENTRY_COUNT && found == NULL; i++) {
        struct tp_budget_entry *entry = entry_at(budget, key, i);
        if (entry_give(entry, key, now_ns)) {
            entry_name(entry, name, venue);
            found = entry;
        }
    }
    return found;
}

/* ---- buckets ---- */

/* What one of weight costs, rounded up: in any window no more than burst and what is earned in it,
 * count - burst, are spent. */
static uint64_t interval_ns(const struct tp_budget_rate *rate)
{
    assert(rate->burst > 0 && rate->burst < rate->count && rate->count <= TP_BUDGET_COUNT_MAX);
    assert(rate->window_ns >= rate->count && rate->window_ns <= TP_BUDGET_WINDOW_MAX_NS);
    const uint64_t earned = rate->count - rate->burst;
    return (rate->window_ns + earned - 1) / earned;
}

/* The most that honest spenders of this rate can leave: all at once, and a window that the venue
 * called used up. */
static uint64_t most_owed_ns(const struct tp_budget_rate *rate, uint64_t interval)
{
    return rate->burst * interval + rate->window_ns;
}

static uint64_t owed_ns(uint64_t whole_ns, uint64_t now_ns, uint64_t most)
{
    const uint64_t owed = whole_ns > now_ns ? whole_ns - now_ns : 0;
    return owed < most ? owed : most;
}

/* A hostile word costs two windows once: whoever spends puts it right. Not whoever only looks,
 * whose rate may be another one's. *whole_ns: what stands there now. */
static uint64_t put_right(struct tp_budget_bucket *bucket, uint64_t *whole_ns, uint64_t now_ns,
                          uint64_t most)
{
    if (*whole_ns > now_ns && *whole_ns - now_ns > most &&
        atomic_compare_exchange_strong_explicit(&bucket->whole_ns, whole_ns, now_ns + most,
                                                memory_order_relaxed, memory_order_relaxed))
        *whole_ns = now_ns + most;
    return owed_ns(*whole_ns, now_ns, most);
}

/* What is owed once so much more is spent. */
static uint64_t owed_then_ns(uint64_t owed, uint64_t spent, uint64_t interval, uint64_t most)
{
    return owed + spent * interval < most ? owed + spent * interval : most;
}

static uint64_t wait_of(uint64_t owed, const struct tp_budget_rate *rate, uint64_t interval,
                        uint32_t weight)
{
    const uint64_t room = rate->burst * interval;
    /* What weighs more than may be spent at once goes when all is whole. */
    const uint64_t cost = (weight < rate->burst ? weight : rate->burst) * interval;
    return owed + cost > room ? owed + cost - room : 0;
}

uint64_t tp_budget_wait_ns(struct tp_budget_entry *entry, const struct tp_budget_rate *rate,
                           uint32_t weight, uint64_t now_ns)
{
    const uint64_t interval = interval_ns(rate);
    const uint64_t whole_ns =
        atomic_load_explicit(&entry->bucket[rate->kind].whole_ns, memory_order_relaxed);
    const uint64_t owed = owed_ns(whole_ns, now_ns, most_owed_ns(rate, interval));
    return wait_of(owed, rate, interval, weight);
}

/* For people: may miss one where many spend at once. */
static void window_count(struct tp_budget_bucket *bucket, const struct tp_budget_rate *rate,
                         uint32_t weight, uint64_t now_ns)
{
    const uint64_t number = now_ns / rate->window_ns << WINDOW_COUNT_BITS;
    uint64_t seen = atomic_load_explicit(&bucket->window, memory_order_relaxed);
    atomic_store_explicit(&bucket->limit,
                          (uint64_t)rate->count << WINDOW_COUNT_BITS |
                              (rate->window_ns / NS_PER_MS & UINT32_MAX),
                          memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        const uint64_t spent = (seen ^ number) >> WINDOW_COUNT_BITS == 0 ? seen & UINT32_MAX : 0;
        if (atomic_compare_exchange_weak_explicit(&bucket->window, &seen,
                                                  number | ((spent + weight) & UINT32_MAX),
                                                  memory_order_relaxed, memory_order_relaxed))
            return;
    }
}

uint64_t tp_budget_take(struct tp_budget_entry *entry, uint64_t key,
                        const struct tp_budget_rate *rate, uint32_t weight, uint64_t now_ns)
{
    struct tp_budget_bucket *bucket = &entry->bucket[rate->kind];
    const uint64_t interval = interval_ns(rate), most = most_owed_ns(rate, interval);
    uint64_t whole_ns = atomic_load_explicit(&bucket->whole_ns, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        const uint64_t owed = put_right(bucket, &whole_ns, now_ns, most);
        const uint64_t wait_ns = wait_of(owed, rate, interval, weight);
        if (wait_ns != 0)
            return wait_ns;
        const uint32_t spent = weight < rate->count ? weight : rate->count;
        const uint64_t then_ns = now_ns + owed_then_ns(owed, spent, interval, most);
        if (!atomic_compare_exchange_weak_explicit(&bucket->whole_ns, &whole_ns, then_ns,
                                                   memory_order_seq_cst, memory_order_relaxed))
            continue;
        /* Given to another name meanwhile: spent there, where it harms little, and once more. */
        if (!entry_is_kept(entry, key))
            return TP_BUDGET_LOST;
        window_count(bucket, rate, weight, now_ns);
        return 0;
    }
    return MOMENT_NS;
}

void tp_budget_spend(struct tp_budget_entry *entry, const struct tp_budget_rate *rate,
                     uint32_t weight, uint64_t now_ns)
{
    struct tp_budget_bucket *bucket = &entry->bucket[rate->kind];
    const uint64_t interval = interval_ns(rate), most = most_owed_ns(rate, interval);
    const uint32_t spent = weight < rate->count ? weight : rate->count;
    uint64_t whole_ns = atomic_load_explicit(&bucket->whole_ns, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        const uint64_t owed = put_right(bucket, &whole_ns, now_ns, most);
        const uint64_t then_ns = now_ns + owed_then_ns(owed, spent, interval, most);
        if (atomic_compare_exchange_weak_explicit(&bucket->whole_ns, &whole_ns, then_ns,
                                                  memory_order_relaxed, memory_order_relaxed))
            break;
    }
    window_count(bucket, rate, weight, now_ns);
}

void tp_budget_correct(struct tp_budget_entry *entry, const struct tp_budget_rate *rate,
                       uint32_t used, const uint64_t at[2])
{
    const uint64_t interval = interval_ns(rate), now_ns = at[0];
    const uint64_t left = rate->count > used ? rate->count - used : 0;
    const uint64_t ends_ns = at[1] != 0 && at[1] < rate->window_ns ? at[1] : rate->window_ns;
    uint64_t owed = 0;
    if (left * SCARCE < rate->count) /* what is earned meanwhile is not there */
        owed = rate->burst * interval + ends_ns - interval;
    else if (left < rate->burst)
        owed = (rate->burst - left) * interval;
    if (owed != 0)
        word_raise(&entry->bucket[rate->kind].whole_ns, now_ns + owed);
}

/* ---- pauses ---- */

static uint64_t pause_left_ns(uint64_t until_ns, uint64_t now_ns)
{
    const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    return left_ns <= TP_BUDGET_PAUSE_MAX_NS ? left_ns : 0; /* longer: no pause of ours */
}

/* Only ever from a shorter pause, or none, to a longer one. False: a longer one stands there. */
static bool pause_raise(_Atomic uint64_t *until_ns, uint64_t length_ns, uint64_t now_ns)
{
    uint64_t seen = atomic_load_explicit(until_ns, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX && pause_left_ns(seen, now_ns) < length_ns; tries++)
        if (atomic_compare_exchange_weak_explicit(until_ns, &seen, now_ns + length_ns,
                                                  memory_order_seq_cst, memory_order_relaxed))
            return true;
    return false;
}

bool tp_budget_pause(struct tp_budget_entry *entry, uint64_t key, uint64_t length_ns,
                     const char *reason, const uint64_t now[2])
{
    const uint64_t length = length_ns < TP_BUDGET_PAUSE_MAX_NS ? length_ns : TP_BUDGET_PAUSE_MAX_NS;
    if (!pause_raise(&entry->pause_until_ns, length, now[0]))
        return entry_is_kept(entry, key);
    if (pause_raise(&entry->pause_until_unix_ns, length, now[1]))
        atomic_store_explicit(&entry->pause_length_ns, length, memory_order_relaxed);
    text_set(entry->reason, TP_BUDGET_REASON_SIZE, reason);
    return entry_is_kept(entry, key);
}

uint64_t tp_budget_pause_left_ns(const struct tp_budget_entry *entry, uint64_t now_ns)
{
    return pause_left_ns(atomic_load_explicit(&entry->pause_until_ns, memory_order_seq_cst),
                         now_ns);
}
