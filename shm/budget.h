/* What an address of ours may still ask of a venue: one file, shared by all processes of the host.
 *
 *   line 0        header, written before the file has its name; checked by whoever opens it
 *   then          TP_BUDGET_ENTRY_COUNT entries of four lines, one a host and own address
 *
 * An entry has a bucket for each kind of request, and a pause: until when the venue wants nothing.
 * A bucket is one word, the time at which all that was spent will have been earned again (GCRA, the
 * "theoretical arrival time" of ITU-T I.371): spending is one compare-and-swap, so a process that
 * is killed at any instruction holds nothing, and what it spent counts. Debts are time, so that
 * processes whose requests weigh differently share one word. Whatever stands in the file, a wait is
 * bounded by the caller's own rate.
 *
 * Each word is a fact by itself, and the names are for people. Entries are found by a hash of their
 * name, which is even and never 0; one whose buckets are whole and whose pause is over is as good
 * as new, and is given to another name where the table is full. A spender looks once more whether
 * the entry is still its own.
 *
 * Called by: shm/budget.py. Any process, any thread. Layout: docs/shared-memory.md. Proofs:
 * tests/unit/test_shm_budget_model.py. */
#ifndef TP_SHM_BUDGET_H
#define TP_SHM_BUDGET_H
#include "shm/segment.h"

/* "TICKBDGT" as the bytes of a little-endian word. */
#define TP_BUDGET_MAGIC UINT64_C(0x544744424B434954)
/* Longer than any venue's ban: 31 days. */
#define TP_BUDGET_PAUSE_MAX_NS (UINT64_C(31) * 24 * 3600 * 1000000000)
/* Two days. With TP_BUDGET_COUNT_MAX it keeps all sums of time far below 2^63. */
#define TP_BUDGET_WINDOW_MAX_NS (UINT64_C(48) * 3600 * 1000000000)
/* tp_budget_take: the entry is another name's by now. */
#define TP_BUDGET_LOST UINT64_MAX

enum {
    TP_BUDGET_LAYOUT_VERSION = 1, /* in the file's name too: two versions never share one */
    TP_BUDGET_ENTRY_COUNT = 256,
    TP_BUDGET_NAME_SIZE = 96,
    TP_BUDGET_VENUE_SIZE = 24,
    TP_BUDGET_REASON_SIZE = 208,
    TP_BUDGET_COUNT_MAX = 1 << 14, /* of weight in a window */
};

enum tp_budget_kind {
    TP_BUDGET_REST,     /* requests, by their weight */
    TP_BUDGET_CONNECTS, /* WebSockets that are opened */
    TP_BUDGET_MESSAGES, /* of ours, on all WebSockets together */
    TP_BUDGET_ORDERS,   /* kept for the gateway */
    TP_BUDGET_KIND_COUNT,
};

enum tp_budget_text {
    TP_BUDGET_TEXT_NAME,
    TP_BUDGET_TEXT_VENUE,
    TP_BUDGET_TEXT_REASON,
};

struct tp_budget_header {
    uint64_t magic, byte_order;
    uint32_t layout_version, entry_count;
    uint64_t total_size;
    uint8_t boot_id[16]; /* whose CLOCK_MONOTONIC its times are of */
    uint8_t reserved[TP_SEGMENT_LINE_SIZE - 48];
};
static_assert(sizeof(struct tp_budget_header) == TP_SEGMENT_LINE_SIZE, "layout 1");

struct tp_budget_bucket {
    _Atomic uint64_t whole_ns; /* when it is whole again: the only word that decides */
    _Atomic uint64_t window;   /* for people: number of the window << 32 | spent in it */
    _Atomic uint64_t limit;    /* for people: so many << 32 | milliseconds of a window */
};

struct tp_budget_entry {
    _Atomic uint64_t key; /* 0: free, and the rest of the row was never used; odd: it leaves */
    _Atomic uint64_t pause_until_ns;
    /* The same for whoever finds it after a reboot. */
    _Atomic uint64_t pause_until_unix_ns, pause_length_ns;
    struct tp_budget_bucket bucket[TP_BUDGET_KIND_COUNT];
    /* Text of any bytes, NUL-padded, written word by word: never cut by a reader's fault. */
    _Atomic uint64_t name[TP_BUDGET_NAME_SIZE / 8];
    _Atomic uint64_t venue[TP_BUDGET_VENUE_SIZE / 8];
    _Atomic uint64_t reason[TP_BUDGET_REASON_SIZE / 8];
    uint8_t reserved[4 * TP_SEGMENT_LINE_SIZE - 456];
};
static_assert(sizeof(struct tp_budget_entry) == 4 * TP_SEGMENT_LINE_SIZE, "layout 1");

struct tp_budget_memory {
    struct tp_budget_header header;
    struct tp_budget_entry entry[TP_BUDGET_ENTRY_COUNT];
};

struct tp_budget {
    struct tp_budget_memory *memory;
    uint64_t inode, device; /* 0: private memory of this process */
    bool is_guarded;
};

/* The caller's own knowledge: no number of the file is used in its place. All who spend of one kind
 * of an entry have one rate, or the smaller one forgives debts of the larger one. */
struct tp_budget_rate {
    enum tp_budget_kind kind;
    uint32_t count, burst; /* in any window at most; of that at once, 1 to count - 1 */
    uint64_t window_ns;    /* count to TP_BUDGET_WINDOW_MAX_NS */
};

/* Maps the file of a directory, or builds it: where there is none, where what stands there is not
 * ours or broken, or where it is of another boot (its pauses are carried over, by unix_ns).
 * NULL for the directory: private memory. */
enum tp_segment_status tp_budget_open(struct tp_budget **budget, const char *directory,
                                      const uint8_t boot_id[16], const uint64_t now[2],
                                      struct tp_segment_error *error);
void tp_budget_close(struct tp_budget *budget);
/* TP_SEGMENT_OK, or what is wrong with a file of so many bytes. */
enum tp_segment_status tp_budget_header_check(const struct tp_budget_header *header,
                                              uint64_t file_size, struct tp_segment_error *error);

/* The entry of a name ("host:port address"), claimed if it is new. NULL: the table is full. venue:
 * for people. */
struct tp_budget_entry *tp_budget_find(struct tp_budget *budget, const char *name,
                                       const char *venue);
/* The same where the table is full: takes an idle entry of another name. By one caller at a time,
 * whoever holds the lock of the directory. NULL: all are in use. */
struct tp_budget_entry *tp_budget_make_room(struct tp_budget *budget, const char *name,
                                            const char *venue, uint64_t now_ns);
/* The entry that has this name, or NULL. */
struct tp_budget_entry *tp_budget_look(struct tp_budget *budget, const char *name);
uint64_t tp_budget_key(const char *name);

/* How long until so much weight may be spent; 0: now. Spends nothing. */
uint64_t tp_budget_wait_ns(struct tp_budget_entry *entry, const struct tp_budget_rate *rate,
                           uint32_t weight, uint64_t now_ns);
/* Spends it, if that may be now: 0; else how long to wait, and nothing is spent. TP_BUDGET_LOST:
 * the entry is another name's by now, find it again. key: tp_budget_key of the name. */
uint64_t tp_budget_take(struct tp_budget_entry *entry, uint64_t key,
                        const struct tp_budget_rate *rate, uint32_t weight, uint64_t now_ns);
/* Spends what was spent already, whatever is left. */
void tp_budget_spend(struct tp_budget_entry *entry, const struct tp_budget_rate *rate,
                     uint32_t weight, uint64_t now_ns);
/* The venue says how much of this window is used, by whomever. at: now, and for how long the window
 * goes on, 0 where it does not say. Only ever makes the bucket emptier. */
void tp_budget_correct(struct tp_budget_entry *entry, const struct tp_budget_rate *rate,
                       uint32_t used, const uint64_t at[2]);
/* now: of both clocks, CLOCK_MONOTONIC first. Only ever makes a pause longer. False: the entry is
 * another name's by now, find it again. */
bool tp_budget_pause(struct tp_budget_entry *entry, uint64_t key, uint64_t length_ns,
                     const char *reason, const uint64_t now[2]);
/* How much of its pause is left; 0: it is over. */
uint64_t tp_budget_pause_left_ns(const struct tp_budget_entry *entry, uint64_t now_ns);
/* Copies a text out, NUL-terminated, of as many whole words as fit. */
void tp_budget_text(const struct tp_budget_entry *entry, enum tp_budget_text text, char *to,
                    size_t size);
#endif
