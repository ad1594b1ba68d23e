/* What the gateway must not forget: every order before its first byte is sent, and each change.
 *
 *   page 0      header, written and synced before the file has its name
 *   then        records of 128 bytes: a check word, and a struct tp_order as it was then
 *
 * A file is one epoch, or a part of one, and is only ever appended to. A record is stored word by
 * word into the mapped file, its check word last: whoever is killed in between leaves a record that
 * is not there. The check is a hash of the record, its place and the file, so a word that is torn,
 * stale or another file's is seen. What was stored is the kernel's, and outlives the process; only
 * power takes it, unless tp_journal_sync was called.
 *
 * The reader believes nothing: what is broken in the midst is counted, and what stands behind it is
 * read. The last record of an id says what became of it.
 *
 * Called by: journal.py (files), the gateway (append). One thread. Proofs:
 * tests/unit/test_order_journal.py, tests/proofs/test_journal_kill.py, tests/fuzz/fuzz_journal.c.
 * docs/adr/0015-orders.md says what must stand here before what. */
#ifndef TP_ENGINE_JOURNAL_H
#define TP_ENGINE_JOURNAL_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/orders.h"

/* "TICKJRNL" as the bytes of a little-endian word. */
#define TP_JOURNAL_MAGIC UINT64_C(0x4C4E524A4B434954)

enum {
    TP_JOURNAL_VERSION = 1,
    TP_JOURNAL_HEADER_SIZE = 4096, /* so that no record spans two pages */
    TP_JOURNAL_RECORD_SIZE = 128,
    TP_JOURNAL_RECORDS_MAX = 1 << 24,
    TP_JOURNAL_ACCOUNT_SIZE = 48,
    TP_ORDER_ID_TEXT_SIZE = 26, /* "tp" and three times eight hexadecimal digits */
};

struct tp_journal_header {
    uint64_t magic, byte_order;
    uint32_t version, orders_version;
    uint32_t tag;   /* drawn when the account's first journal was made, never 0 */
    uint32_t epoch; /* of the ids that are given out here */
    uint32_t part;  /* of the epoch, from 1 */
    uint32_t capacity;
    uint64_t made_ns; /* CLOCK_REALTIME */
    char account[TP_JOURNAL_ACCOUNT_SIZE];
    uint64_t check; /* of all above */
};
static_assert(sizeof(struct tp_journal_header) == 104, "version 1");

enum tp_journal_status {
    TP_JOURNAL_OK,
    TP_JOURNAL_NOT_OURS, /* too small, or another magic or byte order */
    TP_JOURNAL_OTHER_VERSION,
    TP_JOURNAL_DAMAGED, /* its check fails, or a number in it cannot be */
};

/* In header: what is to stand there, but for magic, byte order, versions and check. */
void tp_journal_header_write(uint8_t *file, const struct tp_journal_header *header);
enum tp_journal_status tp_journal_header_read(const uint8_t *file, uint64_t size,
                                              struct tp_journal_header *header);

enum tp_journal_record_status {
    TP_JOURNAL_RECORD_NONE,   /* nothing was ever written here */
    TP_JOURNAL_RECORD_BROKEN, /* a writer died within it, or the disk lost it */
    TP_JOURNAL_RECORD_ORDER,
};
/* The record at a position below capacity of a file whose header was read. */
enum tp_journal_record_status tp_journal_read(const uint8_t *file,
                                              const struct tp_journal_header *header,
                                              uint32_t position, struct tp_order *order);

struct tp_journal_scan {
    uint32_t count;  /* positions below */
    uint32_t broken; /* records that are none, less a last one that is torn */
    uint32_t torn;   /* 1: the last record is one within which its writer died */
};
/* Positions of the records that are sound, ascending; positions[] holds capacity of them. */
void tp_journal_scan(const uint8_t *file, const struct tp_journal_header *header,
                     uint32_t *positions, struct tp_journal_scan *scan);

/* A file that is appended to. */
struct tp_journal {
    uint8_t *file; /* mapped, shared, as long as this is used */
    uint64_t salt; /* of the file's checks */
    uint32_t tag, epoch;
    uint32_t number;   /* of the last id that was given out */
    uint32_t next;     /* position of the next record */
    uint32_t capacity; /* records */
    uint32_t kept;     /* records that new orders may not use: for what becomes of open ones */
};
/* Of a file whose header was written just now, and whose records are zero. */
void tp_journal_begin(struct tp_journal *journal, uint8_t *file, uint32_t kept);
/* Gives the order its id and begins it: NEW, in the journal. False: no room, nothing was written;
 * the order must not be sent. */
bool tp_journal_place(struct tp_journal *journal, struct tp_order *order, uint64_t now_ns);
/* The order as it is now. False: the file is full. */
bool tp_journal_append(struct tp_journal *journal, const struct tp_order *order);
/* Waits until the disk has all records from this position on: 0, or a negative errno. */
int tp_journal_sync(const struct tp_journal *journal, uint32_t from);

/* The client order id on the wire. */
void tp_order_id_write(uint32_t tag, uint64_t id, char text[TP_ORDER_ID_TEXT_SIZE]);
/* False: no id of ours. */
bool tp_order_id_read(const char *text, uint32_t size, uint32_t *tag, uint64_t *id);
#endif
