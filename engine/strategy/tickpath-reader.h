/* Read a tickpath feed from C: events, books, and what became of the writer.
 *
 *     cc -std=c11 strategy.c $(python3 -P -m tickpath.engine.strategy.c_reader)
 *     c++ -std=c++17 strategy.cc $(python3 -P -m tickpath.engine.strategy.c_reader)
 *
 * shm/segment_reader.h has the rules (joining, laps, registering, waiting), shm/reader_set.h polls
 * several feeds; this header gives its words the
 * types of proto/records.h. examples/top_of_book.c is a program to copy. Link libtickpath-reader.a.
 * One thread per reader, any may close it; nothing is allocated after tp_reader_init. */
#ifndef TICKPATH_READER_H
#define TICKPATH_READER_H
#include <string.h>

#ifdef __cplusplus
/* All that the headers below include: outside of extern "C", where C++ has overloads in it. */
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* flexible arrays: no C++, and each compiler's */
extern "C" {
#endif
#include "proto/records.h"
#include "shm/reader_set.h"
#include "shm/segment_reader.h"
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif

/* tp_segment_schema_hash of the schema that this header was built for: give it to tp_reader_init,
 * so that a feed of another layout is refused. */
#define TP_FEED_SCHEMA_HASH UINT64_C(0x2DAFA98293F958B7)

/* Words of a book in a feed's snapshot: give it to tp_reader_require_words. */
#define TP_FEED_BOOK_WORDS ((uint32_t)(sizeof(struct tp_book_record) / sizeof(uint64_t)))

/* The event of the last TP_READER_EVENT; its ring index is reader->event[0]. */
static inline struct tp_event tp_feed_event(const struct tp_reader *reader)
{
    struct tp_event event;
    memcpy(&event, &reader->event[1], sizeof event);
    return event;
}

/* Instruments of the segment; more may be added while it is read. 0 where the reader is closed. */
static inline uint32_t tp_feed_instrument_count(struct tp_reader *reader)
{
    return tp_reader_row_count(reader);
}

/* How often an instrument was added or changed: read them anew where it is another number than
 * before. An INSTRUMENT event says the same. */
static inline uint64_t tp_feed_instrument_changes(struct tp_reader *reader)
{
    return tp_reader_row_changes(reader);
}

/* The instrument as it is now. *generation (may be NULL): how often its row was written, from 1;
 * with 0 the record is all zeroes: no such row, a row that is not whole, or the reader is closed.
 */
static inline struct tp_instrument_record
tp_feed_instrument(struct tp_reader *reader, uint32_t instrument, uint64_t *generation)
{
    uint64_t words[sizeof(struct tp_instrument_record) / sizeof(uint64_t)];
    struct tp_instrument_record record;
    memset(&record, 0, sizeof record);
    const uint64_t found =
        tp_reader_row(reader, instrument, words, (uint32_t)(sizeof words / sizeof words[0]));
    if (found != 0)
        memcpy(&record, words, sizeof record);
    if (generation != NULL)
        *generation = found;
    record.venue[sizeof record.venue - 1] = '\0';
    record.symbol[sizeof record.symbol - 1] = '\0';
    record.base[sizeof record.base - 1] = '\0';
    record.quote[sizeof record.quote - 1] = '\0';
    record.settle[sizeof record.settle - 1] = '\0';
    record.strike[sizeof record.strike - 1] = '\0';
    record.right[sizeof record.right - 1] = '\0';
    return record;
}

/* Reads the latest consistent book and returns the state to act on: STALE where the writer fell
 * silent, ended or was replaced, whatever the record says; SYNCING where it was never published.
 * *ring_index (may be NULL): the first event that the book does not contain. */
static inline enum tp_book_state tp_feed_book(struct tp_reader *reader, uint32_t instrument,
                                              struct tp_book_record *book, uint64_t *ring_index)
{
    static_assert(sizeof(struct tp_book_record) <=
                      sizeof(uint64_t) * TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX,
                  "a book fits the reader's snapshot");
    memset(book, 0, sizeof *book);
    book->instrument = (uint16_t)instrument;
    book->reason = TP_SYNC_REASON_STARTING;
    const bool is_published = tp_reader_snapshot(reader, instrument) != 0 &&
                              reader->snapshots.word_count >= sizeof *book / sizeof(uint64_t);
    if (ring_index != NULL)
        *ring_index = reader->snapshot[TP_READER_SNAPSHOT_RING_INDEX];
    if (is_published)
        memcpy(book, &reader->snapshot[TP_READER_SNAPSHOT_HEAD_WORDS], sizeof *book);
    if (book->bid_count > TP_BOOK_DEPTH_MAX)
        book->bid_count = TP_BOOK_DEPTH_MAX;
    if (book->ask_count > TP_BOOK_DEPTH_MAX)
        book->ask_count = TP_BOOK_DEPTH_MAX;
    if (reader->snapshot[TP_READER_SNAPSHOT_ENDED] != 0)
        book->reason = TP_SYNC_REASON_DISCONNECTED;
    else if (reader->snapshot[TP_READER_SNAPSHOT_SILENT_NS] != 0)
        book->reason = TP_SYNC_REASON_SILENT;
    else
        return (enum tp_book_state)book->state;
    book->state = TP_BOOK_STALE;
    return TP_BOOK_STALE;
}
#ifdef __cplusplus
}
#endif
#include "shm/atomic_end.h"
#endif
