/* Poll over many rings, one per producer: no shared ring, whose producers would have to wait for
 * each other.
 *
 * TP_READER_SET_ROUND_ROBIN: one look at each reader in turn, whoever has something. Nobody
 * starves.
 * TP_READER_SET_ARRIVAL: the earliest event of all that are visible now, by the stamp in word
 * stamp_word of the events (nanoseconds; the clocks of all segments of a machine are the same
 * CLOCK_MONOTONIC). An earlier event of another ring that becomes visible only after that is told
 * after it: waiting for it would have no end.
 *
 * After EVENT, `found` says whose it is, and its words are in that reader's event[] until the next
 * call. Everything else that a reader tells (LAPPED, SILENT, ...) is passed on with `found` too,
 * before that reader's next event.
 *
 * Called by: shm/reader_set.py, C strategies. One thread per set; readers in a set are polled by
 * the set only. Any thread may close one meanwhile: of that one MOVED is told, once. */
#ifndef TP_SHM_READER_SET_H
#define TP_SHM_READER_SET_H
#include "shm/segment_reader.h"

enum { TP_READER_SET_COUNT_MAX = 64 };

enum tp_reader_set_order { TP_READER_SET_ROUND_ROBIN = 0, TP_READER_SET_ARRIVAL = 1 };

struct tp_reader_set {
    struct tp_reader *reader[TP_READER_SET_COUNT_MAX]; /* borrowed */
    uint32_t count;
    uint32_t found; /* of the last call that told something */
    uint32_t next;  /* whose turn it is */
    enum tp_reader_set_order order;
    uint32_t stamp_word;                      /* of event[]: 1 to 7 */
    uint64_t spin_ns, sleep_ns, wait_ns;      /* of tp_reader_set_spin */
    bool is_taken[TP_READER_SET_COUNT_MAX];   /* its event[] holds an event not yet told */
    bool is_parked[TP_READER_SET_COUNT_MAX];  /* MOVED was told */
    bool is_entered[TP_READER_SET_COUNT_MAX]; /* its lease is held, in a sleep */
};

/* Clears; then add readers. */
void tp_reader_set_init(struct tp_reader_set *set, enum tp_reader_set_order order,
                        uint32_t stamp_word);
/* False: the set is full. */
bool tp_reader_set_add(struct tp_reader_set *set, struct tp_reader *reader);
/* One look: EVENT, LAPPED, EVICTED or EMPTY; no system call, no clock. */
enum tp_reader_result tp_reader_set_poll(struct tp_reader_set *set);
/* Waits at most wait_ns, spinning for spin_ns of it; where sleep_ns is not 0 it sleeps then, until
 * the waker of one of the readers wakes it if all are registered, else sleep_ns between looks. A
 * signal, or tp_reader_interrupt of a reader in the set, ends it early with EMPTY. Tells SILENT,
 * ALIVE and MOVED of every reader, each once. */
enum tp_reader_result tp_reader_set_spin(struct tp_reader_set *set);
/* After a reopen of that reader, or a jump of it: forgets the event that was read ahead, and that
 * it had moved. */
void tp_reader_set_renew(struct tp_reader_set *set, uint32_t number);
#endif
