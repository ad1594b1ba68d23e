/* The order book of book.h.
 *
 * Both sides run through the same code on keys: key = tick for asks and -tick for bids, so that the
 * best level always has the smallest key. The window of a side holds the keys
 * [base, base + window_ticks), key k in slot k & mask; base is a multiple of 64, so that one bitmap
 * word is one run of 64 keys. No level has a key below base; the overflow array holds the keys from
 * base + window_ticks up, farthest first, so that growth and loss happen at its cheap end. */
#include "engine/book/book.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

static_assert(TP_SIDE_BID == 0 && TP_SIDE_ASK == 1, "mirrored() counts on it");

struct far_level {
    int64_t key, quantity;
};

static const int64_t KEY_NONE = INT64_MAX; /* best of an empty side; horizon of a complete one */
enum { WORD_BITS = 64 };
/* Off the path of an update near the touch: kept out of line, so that the path stays short. */
#define COLD __attribute__((cold, noinline))

/* One cache line: all that an update near the touch needs besides the bitmap word and the quantity.
 */
struct book_side {
    int64_t base;
    int64_t best;    /* smallest key with a level; always inside the window; KEY_NONE: empty */
    int64_t horizon; /* smallest key that is not known since clear: from there on nothing is kept */
    uint64_t summary; /* bit w: occupied[w] != 0 */
    uint64_t *occupied;
    int64_t *quantity; /* window_ticks of them, then the overflow array */
    uint32_t window_count;
    uint32_t overflow_count;
    uint64_t
        extent; /* keys [base, base + extent) are served from the window: min(window, horizon) */
};
static_assert(sizeof(struct book_side) == 64, "one cache line");

struct tp_book {
    /* Exact division of a price by the step: rotate_right(price * inverse, shift) is the quotient,
     * and at most quotient_max, exactly when the step divides the price (Granlund and Montgomery
     * 1994, section 9). */
    uint64_t inverse, quotient_max;
    uint32_t shift;
    uint32_t window_ticks;
    int64_t step;
    uint32_t overflow_max;
    _Alignas(64) struct book_side side[2];
    struct tp_book_counters counters;
};

static uint32_t word_count(const struct tp_book *book)
{
    return book->window_ticks / WORD_BITS;
}

static struct far_level *overflow_of(const struct tp_book *book, const struct book_side *side)
{
    return (struct far_level *)(void *)(side->quantity + book->window_ticks);
}

static uint32_t slot_of(const struct tp_book *book, int64_t key)
{
    return (uint32_t)((uint64_t)key & (book->window_ticks - 1));
}

/* -x for bids, x for asks. Without a branch: sides come at random, and a wrong guess costs more
 * than the rest of an update. */
static inline int64_t mirrored(enum tp_side side, int64_t x)
{
    const int64_t mask = (int64_t)side - TP_SIDE_ASK;
    return (x ^ mask) - mask;
}

static int64_t price_of(const struct tp_book *book, enum tp_side side, int64_t key)
{
    return mirrored(side, key) * book->step;
}

static void set_step(struct tp_book *book, int64_t step)
{
    const uint64_t odd = (uint64_t)step >> __builtin_ctzll((uint64_t)step);
    uint64_t inverse = odd; /* right in its 3 lowest bits; each step of Newton's doubles them */
    for (int i = 0; i < 5; i++)
        inverse *= 2 - odd * inverse;
    book->step = step;
    book->shift = (uint32_t)__builtin_ctzll((uint64_t)step);
    book->inverse = inverse;
    book->quotient_max = UINT64_MAX / (uint64_t)step;
}

static inline bool divide(const struct tp_book *book, int64_t price, int64_t *tick)
{
    const uint64_t product = (uint64_t)price * book->inverse;
    const uint64_t quotient = product >> book->shift | product << ((64 - book->shift) & 63);
    *tick = (int64_t)quotient;
    return quotient <= book->quotient_max;
}

static struct tp_book_config completed(const struct tp_book_config *config)
{
    struct tp_book_config full = *config;
    if (full.window_ticks == 0)
        full.window_ticks = TP_BOOK_WINDOW_TICKS_DEFAULT;
    if (full.overflow_levels == 0)
        full.overflow_levels = TP_BOOK_OVERFLOW_LEVELS_DEFAULT;
    return full;
}

static bool in_range(const struct tp_book_config *full)
{
    return full->tick_size >= 1 && full->tick_size <= TP_BOOK_PRICE_MAX &&
           full->window_ticks >= TP_BOOK_WINDOW_TICKS_MIN &&
           full->window_ticks <= TP_BOOK_WINDOW_TICKS_MAX &&
           (full->window_ticks & (full->window_ticks - 1)) == 0 &&
           full->overflow_levels <= TP_BOOK_OVERFLOW_LEVELS_MAX;
}

/* Memory: the book, both bitmaps, then per side quantities and overflow. */
static size_t side_size(const struct tp_book_config *full)
{
    return full->window_ticks * sizeof(int64_t) + full->overflow_levels * sizeof(struct far_level);
}

size_t tp_book_memory_size(const struct tp_book_config *config)
{
    const struct tp_book_config full = completed(config);
    if (!in_range(&full))
        return 0;
    const size_t size = sizeof(struct tp_book) + 2 * (full.window_ticks / 8 + side_size(&full));
    const size_t lines = (size + 63) / 64;
    return (lines | 1) * 64;
}

static void side_clear(struct tp_book *book, struct book_side *side)
{
    memset(side->occupied, 0, word_count(book) * sizeof(uint64_t));
    side->summary = 0;
    side->best = KEY_NONE;
    side->horizon = KEY_NONE;
    side->extent = book->window_ticks;
    side->window_count = 0;
    side->overflow_count = 0;
}

struct tp_book *tp_book_init(void *memory, const struct tp_book_config *config)
{
    const struct tp_book_config full = completed(config);
    assert(in_range(&full));
    assert(((uintptr_t)memory & (TP_BOOK_MEMORY_ALIGNMENT - 1)) == 0);
    struct tp_book *book = memory;
    memset(book, 0, sizeof *book);
    book->window_ticks = full.window_ticks;
    book->overflow_max = full.overflow_levels;
    set_step(book, full.tick_size);
    uint8_t *next = (uint8_t *)(book + 1);
    for (int i = 0; i < 2; i++, next += full.window_ticks / 8)
        book->side[i].occupied = (uint64_t *)(void *)next;
    for (int i = 0; i < 2; i++, next += side_size(&full))
        book->side[i].quantity = (int64_t *)(void *)next;
    tp_book_clear(book);
    return book;
}

void tp_book_clear(struct tp_book *book)
{
    side_clear(book, &book->side[TP_SIDE_BID]);
    side_clear(book, &book->side[TP_SIDE_ASK]);
}

/* The farthest level that the overflow array cannot keep: from its key on the side is unknown. */
static void drop_at(struct tp_book *book, struct book_side *side, int64_t key)
{
    book->counters.dropped++;
    if (key < side->horizon)
        side->horizon = key;
}

/* Drops the farthest levels until `count` more fit, or all. */
static void overflow_make_room(struct tp_book *book, struct book_side *side, uint32_t count)
{
    if (side->overflow_count + count <= book->overflow_max)
        return;
    const uint32_t excess = side->overflow_count + count - book->overflow_max;
    const uint32_t gone = excess < side->overflow_count ? excess : side->overflow_count;
    struct far_level *far = overflow_of(book, side);
    for (uint32_t i = 0; i < gone; i++)
        drop_at(book, side, far[i].key);
    side->overflow_count -= gone;
    memmove(far, far + gone, side->overflow_count * sizeof *far);
}

static void window_put(struct tp_book *book, struct book_side *side, int64_t key, int64_t quantity)
{
    const uint32_t slot = slot_of(book, key);
    side->quantity[slot] = quantity;
    side->occupied[slot / WORD_BITS] |= 1ull << (slot % WORD_BITS);
    side->summary |= 1ull << (slot / WORD_BITS);
    side->window_count++;
}

/* Moves one bitmap word's levels behind the window, farthest first, but drops the first `surplus`
 * of them; returns how many are still to be dropped. */
static uint32_t evict_run(struct tp_book *book, struct book_side *side, int64_t run,
                          uint32_t surplus)
{
    const uint32_t word = slot_of(book, run) / WORD_BITS;
    struct far_level *far = overflow_of(book, side);
    for (uint64_t bits = side->occupied[word]; bits != 0;) {
        const int top = 63 - __builtin_clzll(bits);
        bits ^= 1ull << top;
        const int64_t key = run + top;
        side->window_count--;
        if (surplus > 0) {
            surplus--;
            drop_at(book, side, key);
            continue;
        }
        assert(side->overflow_count < book->overflow_max);
        far[side->overflow_count++] = (struct far_level){key, side->quantity[slot_of(book, key)]};
    }
    side->occupied[word] = 0;
    side->summary &= ~(1ull << word);
    return surplus;
}

/* Moves the keys from `from` up, a multiple of 64, out of the window. What does not fit goes by
 * distance: first the overflow array's own far end, then the farthest of the window. */
static void evict(struct tp_book *book, struct book_side *side, int64_t from)
{
    const int64_t last = side->base + book->window_ticks - WORD_BITS;
    uint32_t count = 0;
    for (int64_t run = last; run >= from; run -= WORD_BITS)
        count += (uint32_t)__builtin_popcountll(side->occupied[slot_of(book, run) / WORD_BITS]);
    overflow_make_room(book, side, count);
    uint32_t surplus = count > book->overflow_max ? count - book->overflow_max : 0;
    for (int64_t run = last; run >= from; run -= WORD_BITS)
        surplus = evict_run(book, side, run, surplus);
}

static void set_extent(const struct tp_book *book, struct book_side *side)
{
    side->extent = book->window_ticks;
    if (side->horizon < side->base + (int64_t)book->window_ticks)
        side->extent = side->horizon > side->base ? (uint64_t)(side->horizon - side->base) : 0;
}

/* Places the window so that `touch`, the best key of the side, has a quarter of it in front for
 * improvement and the rest behind for depth; levels change between window and overflow. */
static COLD void recentre(struct tp_book *book, struct book_side *side, int64_t touch)
{
    const int64_t ticks = book->window_ticks;
    const int64_t base = (touch - ticks / 4) & ~(int64_t)(WORD_BITS - 1);
    if (base < side->base)
        evict(book, side, base + ticks > side->base ? base + ticks : side->base);
    side->base = base;
    struct far_level *far = overflow_of(book, side);
    while (side->overflow_count > 0 && far[side->overflow_count - 1].key < base + ticks) {
        side->overflow_count--;
        window_put(book, side, far[side->overflow_count].key, far[side->overflow_count].quantity);
    }
    set_extent(book, side);
    book->counters.recentred++;
}

/* The best level has gone: the next one is the next set bit in circular order, as no key of the
 * window is smaller than the old best. */
static void find_best(struct tp_book *book, struct book_side *side)
{
    if (side->window_count == 0) {
        if (side->overflow_count == 0) {
            side->best = KEY_NONE;
            return;
        }
        side->best = overflow_of(book, side)[side->overflow_count - 1].key;
        recentre(book, side, side->best);
        return;
    }
    const uint32_t slot = slot_of(book, side->best);
    uint32_t word = slot / WORD_BITS;
    uint64_t bits = side->occupied[word] & (~0ull << (slot % WORD_BITS));
    if (bits == 0) {
        const uint64_t behind = side->summary & (~1ull << word);
        word = (uint32_t)__builtin_ctzll(behind != 0 ? behind : side->summary);
        bits = side->occupied[word];
    }
    const uint32_t found = word * WORD_BITS + (uint32_t)__builtin_ctzll(bits);
    side->best = side->base + slot_of(book, (int64_t)found - side->base);
    if (side->best - side->base >= book->window_ticks / 2)
        recentre(book, side, side->best);
}

/* Index of the first overflow level with a key <= key: they stand in falling order. */
static uint32_t overflow_find(const struct far_level *far, uint32_t count, int64_t key)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (far[middle].key > key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum tp_book_set overflow_set(struct tp_book *book, struct book_side *side, int64_t key,
                                     int64_t quantity)
{
    struct far_level *far = overflow_of(book, side);
    const uint32_t index = overflow_find(far, side->overflow_count, key);
    const bool present = index < side->overflow_count && far[index].key == key;
    if (quantity == 0) {
        if (!present) {
            book->counters.absent++;
            return TP_BOOK_SET_ABSENT;
        }
        side->overflow_count--;
        memmove(far + index, far + index + 1, (side->overflow_count - index) * sizeof *far);
        return TP_BOOK_SET_DONE;
    }
    if (present) {
        far[index].quantity = quantity;
        return TP_BOOK_SET_DONE;
    }
    if (side->overflow_count < book->overflow_max) {
        memmove(far + index + 1, far + index, (side->overflow_count - index) * sizeof *far);
        side->overflow_count++;
        far[index] = (struct far_level){key, quantity};
        return TP_BOOK_SET_DONE;
    }
    if (index == 0) {
        drop_at(book, side, key);
        return TP_BOOK_SET_DROPPED;
    }
    drop_at(book, side, far[0].key);
    memmove(far, far + 1, (index - 1) * sizeof *far);
    far[index - 1] = (struct far_level){key, quantity};
    return TP_BOOK_SET_DONE;
}

/* A key outside the window's extent. */
static COLD enum tp_book_set set_outside(struct tp_book *book, struct book_side *side, int64_t key,
                                         int64_t quantity)
{
    if (key >= side->horizon) {
        book->counters.dropped += quantity != 0;
        return quantity != 0 ? TP_BOOK_SET_DROPPED : TP_BOOK_SET_ABSENT;
    }
    const bool empty = side->best == KEY_NONE;
    if (key >= side->base && !empty)
        return overflow_set(book, side, key, quantity);
    if (quantity == 0) {
        book->counters.absent++;
        return TP_BOOK_SET_ABSENT;
    }
    /* First of its side, or better than the window reaches. */
    recentre(book, side, key);
    side->best = key;
    window_put(book, side, key, quantity);
    return TP_BOOK_SET_DONE;
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    for (int i = 0; i < 92 && b != 0; i++) { /* Fibonacci(92) is the last one below 2^63 */
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A price off the grid: the step becomes the largest that divides both, at least halved. */
static COLD void regrid(struct tp_book *book, int64_t price)
{
    const int64_t step = common_divisor(book->step, price), factor = book->step / step;
    for (int i = 0; i < 2; i++) {
        struct book_side *side = &book->side[i];
        evict(book, side, side->base);
        struct far_level *far = overflow_of(book, side);
        for (uint32_t n = 0; n < side->overflow_count; n++)
            far[n].key *= factor;
        if (side->horizon != KEY_NONE) /* what stands between the old ticks there is not known */
            side->horizon = (side->horizon - 1) * factor + 1;
        side->best = side->overflow_count > 0 ? far[side->overflow_count - 1].key : KEY_NONE;
    }
    set_step(book, step);
    for (int i = 0; i < 2; i++) {
        if (book->side[i].best != KEY_NONE)
            recentre(book, &book->side[i], book->side[i].best);
        else
            set_extent(book, &book->side[i]);
    }
    book->counters.regridded++;
}

static inline enum tp_book_set set_key(struct tp_book *book, struct book_side *side, int64_t key,
                                       int64_t quantity)
{
    const uint64_t offset = (uint64_t)key - (uint64_t)side->base;
    if (offset >= side->extent)
        return set_outside(book, side, key, quantity);
    const uint32_t slot = slot_of(book, key);
    uint64_t *word = &side->occupied[slot / WORD_BITS];
    const uint64_t bit = 1ull << (slot % WORD_BITS);
    if (quantity != 0) {
        side->quantity[slot] = quantity;
        side->window_count += (*word & bit) == 0;
        *word |= bit;
        side->summary |= 1ull << (slot / WORD_BITS);
        if (key < side->best) {
            side->best = key;
            if (offset >= book->window_ticks / 2)
                recentre(book, side, key);
        }
        return TP_BOOK_SET_DONE;
    }
    if ((*word & bit) == 0) {
        book->counters.absent++;
        return TP_BOOK_SET_ABSENT;
    }
    *word ^= bit;
    side->summary &= ~((uint64_t)(*word == 0) << (slot / WORD_BITS));
    side->window_count--;
    if (key == side->best)
        find_best(book, side);
    return TP_BOOK_SET_DONE;
}

static inline enum tp_book_set set_level(struct tp_book *book, enum tp_side side, int64_t price,
                                         int64_t quantity)
{
    if ((uint64_t)price - 1 >= (uint64_t)TP_BOOK_PRICE_MAX || quantity < 0) {
        book->counters.refused++;
        return TP_BOOK_SET_REFUSED;
    }
    int64_t tick;
    if (!divide(book, price, &tick)) {
        regrid(book, price);
        (void)divide(book, price, &tick);
    }
    return set_key(book, &book->side[side], mirrored(side, tick), quantity);
}

enum tp_book_set tp_book_set_level(struct tp_book *book, enum tp_side side, int64_t price,
                                   int64_t quantity)
{
    return set_level(book, side, price, quantity);
}

bool tp_book_apply(struct tp_book *book, enum tp_side side, const struct tp_level *levels,
                   uint32_t count)
{
    bool good = true;
    for (uint32_t i = 0; i < count; i++)
        good &= set_level(book, side, levels[i].price, levels[i].quantity) != TP_BOOK_SET_REFUSED;
    return good;
}

/* Checks what tp_book_load asks of its input and finds the step for all of it. */
static bool load_prepare(struct tp_book *book, enum tp_side side, const struct tp_level *levels,
                         uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tp_level level = levels[i];
        if (level.price < 1 || level.price > TP_BOOK_PRICE_MAX || level.quantity < 1)
            return false;
        if (i > 0 && (side == TP_SIDE_ASK ? level.price <= levels[i - 1].price
                                          : level.price >= levels[i - 1].price))
            return false;
        int64_t tick;
        if (!divide(book, level.price, &tick))
            regrid(book, level.price);
    }
    return true;
}

static int64_t key_of(const struct tp_book *book, enum tp_side side, int64_t price)
{
    int64_t tick;
    (void)divide(book, price, &tick);
    return mirrored(side, tick);
}

bool tp_book_load(struct tp_book *book, enum tp_side which, const struct tp_level *levels,
                  uint32_t count)
{
    struct book_side *side = &book->side[which];
    side_clear(book, side);
    if (!load_prepare(book, which, levels, count)) {
        book->counters.refused++;
        return false;
    }
    if (count == 0)
        return true;
    side->best = key_of(book, which, levels[0].price);
    recentre(book, side, side->best);
    uint32_t next = 0;
    for (; next < count; next++) {
        const int64_t key = key_of(book, which, levels[next].price);
        if (key >= side->base + (int64_t)book->window_ticks)
            break;
        window_put(book, side, key, levels[next].quantity);
    }
    const uint32_t behind = count - next;
    const uint32_t kept = behind < book->overflow_max ? behind : book->overflow_max;
    struct far_level *far = overflow_of(book, side);
    for (uint32_t i = 0; i < kept; i++)
        far[kept - 1 - i] = (struct far_level){key_of(book, which, levels[next + i].price),
                                               levels[next + i].quantity};
    side->overflow_count = kept;
    if (kept < behind) {
        drop_at(book, side, key_of(book, which, levels[next + kept].price));
        book->counters.dropped += behind - kept - 1;
    }
    return true;
}

void tp_book_limit(struct tp_book *book, enum tp_side which, int64_t price)
{
    int64_t tick;
    if (!divide(book, price, &tick))
        regrid(book, price);
    struct book_side *side = &book->side[which];
    const int64_t key = key_of(book, which, price);
    if (key < side->horizon)
        side->horizon = key + 1;
    set_extent(book, side);
}

int64_t tp_book_extent(const struct tp_book *book, enum tp_side side)
{
    const int64_t horizon = book->side[side].horizon;
    return horizon == KEY_NONE ? 0 : price_of(book, side, horizon - 1);
}

struct tp_level tp_book_best(const struct tp_book *book, enum tp_side side)
{
    const struct book_side *of = &book->side[side];
    if (of->best == KEY_NONE)
        return (struct tp_level){0, 0};
    return (struct tp_level){price_of(book, side, of->best), of->quantity[slot_of(book, of->best)]};
}

/* Where level number n of a copy goes; inlined with its one caller's. */
typedef void level_put(void *out, uint32_t n, struct tp_level level);

static inline uint32_t top_copy(const struct tp_book *book, enum tp_side which, uint32_t count_max,
                                level_put *put, void *out)
{
    const struct book_side *side = &book->side[which];
    if (side->best == KEY_NONE)
        return 0;
    const int64_t signed_step = mirrored(which, book->step);
    const uint32_t in_window = side->window_count < count_max ? side->window_count : count_max;
    uint32_t count = 0;
    /* From the run of the best key on, each run once: nothing is in front of it. */
    int64_t run = side->best & ~(int64_t)(WORD_BITS - 1);
    const int64_t end = side->base + (int64_t)book->window_ticks;
    for (; count < in_window && run < end; run += WORD_BITS) {
        const uint32_t first = slot_of(book, run);
        uint64_t bits = side->occupied[first / WORD_BITS];
        for (; bits != 0 && count < in_window; bits &= bits - 1, count++) {
            const uint32_t bit = (uint32_t)__builtin_ctzll(bits);
            put(out, count,
                (struct tp_level){(run + bit) * signed_step, side->quantity[first + bit]});
        }
    }
    const struct far_level *far = overflow_of(book, side);
    for (uint32_t i = side->overflow_count; i > 0 && count < count_max; i--, count++)
        put(out, count, (struct tp_level){far[i - 1].key * signed_step, far[i - 1].quantity});
    return count;
}

static inline void put_plain(void *out, uint32_t n, struct tp_level level)
{
    ((struct tp_level *)out)[n] = level;
}

static inline void put_atomic(void *out, uint32_t n, struct tp_level level)
{
    _Atomic uint64_t *words = out;
    atomic_store_explicit(&words[2 * n], (uint64_t)level.price, memory_order_relaxed);
    atomic_store_explicit(&words[2 * n + 1], (uint64_t)level.quantity, memory_order_relaxed);
}

uint32_t tp_book_top(const struct tp_book *book, enum tp_side side, struct tp_level *levels,
                     uint32_t count_max)
{
    return top_copy(book, side, count_max, put_plain, levels);
}

uint32_t tp_book_top_share(const struct tp_book *book, enum tp_side side, _Atomic uint64_t *words,
                           uint32_t count_max)
{
    return top_copy(book, side, count_max, put_atomic, words);
}

uint32_t tp_book_level_count(const struct tp_book *book, enum tp_side side)
{
    return book->side[side].window_count + book->side[side].overflow_count;
}

bool tp_book_crossed(const struct tp_book *book)
{
    const int64_t bid = book->side[TP_SIDE_BID].best, ask = book->side[TP_SIDE_ASK].best;
    return bid != KEY_NONE && ask != KEY_NONE && -bid >= ask;
}

bool tp_book_shallow(const struct tp_book *book, uint32_t depth)
{
    for (int i = 0; i < 2; i++)
        if (tp_book_level_count(book, (enum tp_side)i) < depth && book->side[i].horizon != KEY_NONE)
            return true;
    return false;
}

int64_t tp_book_step(const struct tp_book *book)
{
    return book->step;
}

const struct tp_book_counters *tp_book_counters(const struct tp_book *book)
{
    return &book->counters;
}

void tp_book_prefetch(const struct tp_book *book)
{
    __builtin_prefetch(book);
    __builtin_prefetch(&book->side[TP_SIDE_BID], 1);
    __builtin_prefetch(&book->side[TP_SIDE_ASK], 1);
}

void tp_book_prefetch_touch(const struct tp_book *book)
{
    for (int i = 0; i < 2; i++) {
        const struct book_side *side = &book->side[i];
        const uint32_t slot = slot_of(book, side->best);
        __builtin_prefetch(&side->occupied[slot / WORD_BITS], 1);
        __builtin_prefetch(&side->quantity[slot], 1);
        __builtin_prefetch(&side->quantity[(slot + 8) & (book->window_ticks - 1)], 1);
        __builtin_prefetch(&side->quantity[(slot + 16) & (book->window_ticks - 1)], 1);
    }
}

static bool check_side(const struct tp_book *book, const struct book_side *side)
{
    uint32_t count = 0;
    int64_t best = KEY_NONE;
    for (int64_t key = side->base; key < side->base + (int64_t)book->window_ticks; key++) {
        const uint32_t slot = slot_of(book, key);
        if ((side->occupied[slot / WORD_BITS] >> (slot % WORD_BITS) & 1) == 0)
            continue;
        if (side->quantity[slot] <= 0 || key >= side->horizon)
            return false;
        best = key < best ? key : best;
        count++;
    }
    for (uint32_t word = 0; word < word_count(book); word++)
        if ((side->occupied[word] != 0) != (side->summary >> word & 1))
            return false;
    const struct far_level *far = overflow_of(book, side);
    for (uint32_t i = 0; i < side->overflow_count; i++) {
        const int64_t nearer = i + 1 < side->overflow_count
                                   ? far[i + 1].key
                                   : side->base + (int64_t)book->window_ticks - 1;
        if (far[i].quantity <= 0 || far[i].key <= nearer || far[i].key >= side->horizon)
            return false;
    }
    return count == side->window_count && best == side->best &&
           side->overflow_count <= book->overflow_max &&
           (best == KEY_NONE ? side->overflow_count == 0
                             : best - side->base < book->window_ticks / 2);
}

bool tp_book_check(const struct tp_book *book)
{
    return check_side(book, &book->side[TP_SIDE_BID]) && check_side(book, &book->side[TP_SIDE_ASK]);
}
