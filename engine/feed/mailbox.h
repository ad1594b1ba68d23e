/* Bases from a cold thread to the hot path, and the requests the other way.
 *
 * One request word per instrument and a ring of preallocated cells: one cold thread, one hot
 * thread, neither waits. Each request has a generation, so that an answer to an older request (the
 * connection was lost in between) is never taken for one to the newer. */
#ifndef TP_ENGINE_MAILBOX_H
#define TP_ENGINE_MAILBOX_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/feed/feed.h"
#include "proto/update.h"

enum { TP_MAILBOX_CELL_COUNT = 4 }; /* a power of two; 160 KiB each */

struct tp_mailbox_cell {
    uint32_t instrument;
    uint32_t request; /* the request word that this answers */
    uint64_t version;
    uint32_t bid_count, ask_count;
    uint32_t truncated, scale;                      /* as in the offer */
    struct tp_level bids[TP_DEPTH_LEVEL_COUNT_MAX]; /* sorted best first */
    struct tp_level asks[TP_DEPTH_LEVEL_COUNT_MAX];
};

struct tp_mailbox {
    struct tp_mailbox_cell *cells;
    _Atomic uint32_t *requests; /* generation << 4 | enum tp_request << 2 | enum request_state */
    uint32_t instrument_count;
    uint32_t next_wanted[3]; /* cold thread: where its next scan for each enum tp_request begins */
    _Alignas(64) _Atomic uint32_t tail;    /* cells written; cold thread */
    _Alignas(64) _Atomic uint32_t head;    /* cells taken; hot thread */
    bool has_wanted;                       /* hot thread: since tp_mailbox_take_wanted */
    _Alignas(64) _Atomic uint64_t refused; /* offers with broken levels; cold thread */
    _Atomic uint64_t doubled;              /* prices that came twice in a base; both threads */
    _Atomic uint32_t doubled_of;           /* 1 + in whose base the last one did; 0: none did */
};

/* What is asked for: the base that a sync starts from; one to compare a quiet book with; nothing
 * but that the channel be subscribed to anew. */
enum tp_request { TP_REQUEST_BASE, TP_REQUEST_CHECK, TP_REQUEST_ANEW, TP_REQUEST_COUNT };

/* requests[instrument_count] and cells[TP_MAILBOX_CELL_COUNT] belong to the caller. */
void tp_mailbox_init(struct tp_mailbox *mailbox, _Atomic uint32_t *requests,
                     uint32_t instrument_count, struct tp_mailbox_cell *cells);

/* Replay, where one thread is both: takes a wanted request as the cold thread would. */
bool tp_mailbox_ask(struct tp_mailbox *mailbox, uint32_t instrument);

/* Any thread: a base of the instrument named so many prices twice. */
void tp_mailbox_note_doubled(struct tp_mailbox *mailbox, uint32_t instrument, uint32_t count);

/* Hot thread. */
void tp_mailbox_want(struct tp_mailbox *mailbox, uint32_t instrument, enum tp_request request);
void tp_mailbox_cancel(struct tp_mailbox *mailbox, uint32_t instrument);
/* Whether something was wanted since the last call: the cold thread is to be woken. */
static inline bool tp_mailbox_take_wanted(struct tp_mailbox *mailbox)
{
    const bool has_wanted = mailbox->has_wanted;
    mailbox->has_wanted = false;
    return has_wanted;
}
/* The oldest base, valid until tp_mailbox_release; NULL: none. *fresh: it answers its
 * instrument's latest request. */
const struct tp_mailbox_cell *tp_mailbox_peek(struct tp_mailbox *mailbox, bool *fresh);
void tp_mailbox_release(struct tp_mailbox *mailbox);
static inline enum tp_request tp_mailbox_request(const struct tp_mailbox_cell *cell)
{
    return (enum tp_request)(cell->request >> 2 & 3);
}

/* Cold thread. */
uint32_t tp_mailbox_wanted(struct tp_mailbox *mailbox, enum tp_request request, uint32_t *wanted,
                           uint32_t count_max);
/* False: full. An offer that nobody waits for any more is taken and forgotten; one with broken
 * levels is refused, counted and wanted again. */
bool tp_mailbox_offer(struct tp_mailbox *mailbox, const struct tp_feed_base *offer);
void tp_mailbox_failed(struct tp_mailbox *mailbox, uint32_t instrument);
#endif
