/* One order book of absolute levels: per side a window of ticks around the touch, the rest sorted.
 *
 * A side keeps the quantities of window_ticks consecutive ticks in a circular array with a
 * two-level occupancy bitmap, so that an update near the touch and the search for the next best
 * level cost a few nanoseconds and touch a few cache lines however deep the book is. The window
 * moves when the touch leaves its first half; levels behind it stand in a sorted overflow array of
 * fixed size.
 *
 * What is promised. Every level nearer to the touch than the nearest dropped one is exact. A level
 * is dropped only when more than overflow_max levels stand behind the window: the farthest goes,
 * and from then until tp_book_clear all levels as far as it are left out (never half known). The
 * same holds beyond tp_book_limit, where a base ended that did not show the whole side.
 * tp_book_shallow says when what is left no longer reaches the depth that is wanted: get a
 * base. A price that is no multiple of the tick size is not lost either: the book changes to the
 * largest step that divides both, and counts it.
 *
 * Prices and quantities are mantissas as in proto/records.h. Called by engine/feed; one thread.
 * Memory is fixed at init and belongs to the caller. */
#ifndef TP_ENGINE_BOOK_H
#define TP_ENGINE_BOOK_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/records.h"

enum {
    TP_BOOK_WINDOW_TICKS_MIN = 256,  /* the window moves in steps of 64 ticks and keeps its half */
    TP_BOOK_WINDOW_TICKS_MAX = 4096, /* 64 words of 64 bits: one summary word */
    TP_BOOK_WINDOW_TICKS_DEFAULT = 1024,
    TP_BOOK_OVERFLOW_LEVELS_DEFAULT = 2048,
    TP_BOOK_OVERFLOW_LEVELS_MAX = 1 << 16,
    TP_BOOK_MEMORY_ALIGNMENT = 64,
};
/* Leaves room for the window's arithmetic on both sides of the largest tick. */
static const int64_t TP_BOOK_PRICE_MAX = INT64_MAX / 2;

struct tp_book_config {
    int64_t tick_size;        /* price mantissa of one tick, >= 1 */
    uint32_t window_ticks;    /* per side, a power of two; 0: default */
    uint32_t overflow_levels; /* per side; 0: default */
};

struct tp_book_counters {
    uint64_t absent;    /* removals of a level that is not there */
    uint64_t dropped;   /* levels left out because the overflow array was full */
    uint64_t refused;   /* price or quantity out of range */
    uint64_t recentred; /* moves of a window */
    uint64_t regridded; /* changes of the step because of a price off the tick grid */
};

struct tp_book;
/* Bytes for one book, an odd number of cache lines so that neighbouring books do not share cache
 * sets. 0: the configuration is out of range. */
size_t tp_book_memory_size(const struct tp_book_config *config);
/* memory: tp_book_memory_size bytes, aligned to TP_BOOK_MEMORY_ALIGNMENT. The book is empty. */
struct tp_book *tp_book_init(void *memory, const struct tp_book_config *config);
/* Forgets all levels; the step and the counters stay. */
void tp_book_clear(struct tp_book *book);

enum tp_book_set {
    TP_BOOK_SET_DONE,
    TP_BOOK_SET_ABSENT,  /* quantity 0 for a level that is not there: nothing to do */
    TP_BOOK_SET_DROPPED, /* too far away to be kept */
    TP_BOOK_SET_REFUSED, /* price not in [1, TP_BOOK_PRICE_MAX] or quantity < 0: nothing changed */
};
/* quantity is absolute; 0 removes the level. */
enum tp_book_set tp_book_set_level(struct tp_book *book, enum tp_side side, int64_t price,
                                   int64_t quantity);
/* All levels of one side of one message, in order. False: at least one was refused. */
bool tp_book_apply(struct tp_book *book, enum tp_side side, const struct tp_level *levels,
                   uint32_t count);
/* Replaces one side by levels that are sorted best first without repetition, each quantity > 0: one
 * pass, whatever their number. False, and the side is empty: order, price or quantity broken. */
bool tp_book_load(struct tp_book *book, enum tp_side side, const struct tp_level *levels,
                  uint32_t count);

/* Beyond `price`, which no level of the side is, nothing is known: what comes there is left out. */
void tp_book_limit(struct tp_book *book, enum tp_side side, int64_t price);
/* The farthest price up to which all levels of the side are known; 0: the side is whole. */
int64_t tp_book_extent(const struct tp_book *book, enum tp_side side);

/* The best level; quantity 0: the side is empty. */
struct tp_level tp_book_best(const struct tp_book *book, enum tp_side side);
/* Copies up to count_max levels, best first, and returns how many. */
uint32_t tp_book_top(const struct tp_book *book, enum tp_side side, struct tp_level *levels,
                     uint32_t count_max);
/* The same into memory that other processes read meanwhile: two words a level, relaxed stores. */
uint32_t tp_book_top_share(const struct tp_book *book, enum tp_side side, _Atomic uint64_t *words,
                           uint32_t count_max);
uint32_t tp_book_level_count(const struct tp_book *book, enum tp_side side);
/* Both sides have levels and the best bid is not below the best ask. */
bool tp_book_crossed(const struct tp_book *book);
/* A side is not whole and has fewer than depth known levels. */
bool tp_book_shallow(const struct tp_book *book, uint32_t depth);
int64_t tp_book_step(const struct tp_book *book);
const struct tp_book_counters *tp_book_counters(const struct tp_book *book);
/* Brings the lines that an update near the touch reads into the cache; call it before decoding. */
void tp_book_prefetch(const struct tp_book *book);
/* Then those that depend on them: the bitmap and the quantities at the touch; call it a little
 * later.
 */
void tp_book_prefetch_touch(const struct tp_book *book);
/* Tests: every invariant of the structure; false names nothing, a debugger does. */
bool tp_book_check(const struct tp_book *book);
#endif
