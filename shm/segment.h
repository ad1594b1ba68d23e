/* The self-describing data segment: a file in /dev/shm that one writer builds and any number of
 * readers map read-only. Its contents are the caller's: shm knows sizes and names, no payload.
 *
 *   page 0..   static part: header, schema text, counter and histogram names (CRC-32)
 *   live part: control line, heartbeat line, head line (128 bytes each), table rows, counters,
 *              histograms, snapshot index and cells, ring slots
 *
 * Writer: tp_segment_create (locks tickpath.<instance>.lock, builds tickpath.<instance>.new),
 * write rows of the table, tp_segment_ready (checksums, renames into place, marks the segment that
 * stood there as superseded), then the hot path, tp_segment_close. Reader: tp_segment_open,
 * tp_segment_close; shm/segment_reader.h stands above it.
 *
 * Called by: engine (writer), shm/segment_reader.c (readers), shm/segment.py. Create, ready, open
 * and close are cold; the inline functions are for the one writer thread. */
#ifndef TP_SHM_SEGMENT_H
#define TP_SHM_SEGMENT_H
#include "shm/atomic.h"
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/broadcast_ring.h"
#include "shm/clock.h"
#include "shm/histogram.h"
#include "shm/snapshot_table.h"

/* "TICKPATH" as the bytes of a little-endian word. */
#define TP_SEGMENT_MAGIC UINT64_C(0x485441504B434954)
#define TP_SEGMENT_BYTE_ORDER UINT64_C(0x0102030405060708)

enum {
    TP_SEGMENT_LAYOUT_MAJOR = 2, /* readers refuse another one */
    TP_SEGMENT_LAYOUT_MINOR = 0, /* grows with compatible additions */
    TP_SEGMENT_LINE_SIZE = 128,  /* two cache lines: the prefetcher pulls pairs */
    TP_SEGMENT_INSTANCE_LENGTH_MAX = 95,
    TP_SEGMENT_NAME_SIZE = 48, /* of a counter or histogram, NUL-padded */
    TP_SEGMENT_SCHEMA_SIZE_MAX = 64 * 1024,
    TP_SEGMENT_RING_CAPACITY_MAX = 1 << 24, /* 1 GiB of slots */
    TP_SEGMENT_SNAPSHOT_SLOT_COUNT_MAX = 1 << 16,
    TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX = 4096,
    TP_SEGMENT_TABLE_ROW_COUNT_MAX = 1 << 16,
    TP_SEGMENT_TABLE_ROW_SIZE_MAX = 4096, /* without its sequence word */
    TP_SEGMENT_TABLE_ROW_ALIGNMENT = 64,
    TP_SEGMENT_COUNTER_COUNT_MAX = 1024,
    TP_SEGMENT_HISTOGRAM_COUNT_MAX = 64,
    TP_SEGMENT_HEARTBEAT_INTERVAL_NS = 1000 * 1000,
    TP_SEGMENT_MODE_DEFAULT = 0640,
};

enum tp_segment_state {
    TP_SEGMENT_INIT = 0,
    TP_SEGMENT_READY = 1,
    TP_SEGMENT_CLOSING = 2,
};

/* Where a section lies: offset from the start of the file, count entries of entry_size bytes. */
struct tp_segment_section {
    uint64_t offset;
    uint32_t count;
    uint32_t entry_size;
};

struct tp_segment_header {
    uint64_t magic;
    uint64_t byte_order;
    uint16_t layout_major, layout_minor;
    uint32_t header_size; /* sizeof(struct tp_segment_header) of the writer */
    uint64_t static_size; /* bytes under the CRC, from the start of the file */
    uint64_t total_size;
    uint64_t schema_hash;       /* tp_segment_schema_hash of the schema text */
    uint64_t instance_id;       /* random, never 0 */
    uint64_t writer_start_time; /* clock ticks since boot: /proc/<pid>/stat, field 22 */
    uint32_t writer_pid;
    uint32_t snapshot_word_count;
    uint8_t boot_id[16];
    char instance[TP_SEGMENT_INSTANCE_LENGTH_MAX + 1];
    struct tp_clock clock;
    struct tp_segment_section schema, table, counter_names, histogram_names;
    struct tp_segment_section live, counters, histograms, snapshot_index, snapshot_cells, ring;
};
static_assert(sizeof(struct tp_segment_header) == 376, "layout 2.0");

/* Three lines that different threads read and write. */
struct tp_segment_live {
    _Atomic uint32_t state;         /* enum tp_segment_state; stored last, with release */
    uint32_t crc32;                 /* of the static part, as zlib.crc32 */
    _Atomic uint64_t superseded_by; /* instance id of the next segment of this name; 0: none */
    _Atomic uint32_t row_count;     /* rows of the table that were written: the first so many */
    uint32_t reserved_count;
    _Atomic uint64_t row_changes; /* writes to rows so far: readers look here for news */
    uint8_t reserved_control[TP_SEGMENT_LINE_SIZE - 32];
    _Atomic uint64_t heartbeat_ns; /* of the segment's clock */
    _Atomic uint64_t loop_count;
    uint8_t reserved_heartbeat[TP_SEGMENT_LINE_SIZE - 16];
    _Atomic uint64_t head; /* events published so far */
    uint8_t reserved_head[TP_SEGMENT_LINE_SIZE - 8];
};
static_assert(sizeof(struct tp_segment_live) == 3 * TP_SEGMENT_LINE_SIZE, "layout 2.0");
static_assert(offsetof(struct tp_segment_live, row_count) == 16, "layout 2.0");
static_assert(offsetof(struct tp_segment_live, row_changes) == 24, "layout 2.0");
static_assert(offsetof(struct tp_segment_live, heartbeat_ns) == 128, "layout 2.0");
static_assert(offsetof(struct tp_segment_live, head) == 256, "layout 2.0");

enum tp_segment_status {
    TP_SEGMENT_OK = 0,
    TP_SEGMENT_BAD_CONFIG,       /* found: the value, expected: its limit; field says which */
    TP_SEGMENT_ABSENT,           /* no file of that name */
    TP_SEGMENT_BUILDING,         /* not ready yet: try again */
    TP_SEGMENT_ENDED,            /* its writer closed it */
    TP_SEGMENT_WRONG_MAGIC,      /* found, expected */
    TP_SEGMENT_WRONG_BYTE_ORDER, /* found, expected */
    TP_SEGMENT_WRONG_VERSION,    /* found, expected: the major version */
    TP_SEGMENT_WRONG_SCHEMA,     /* found, expected: the hash */
    TP_SEGMENT_TRUNCATED,        /* found: bytes in the file, expected: bytes its header tells of */
    TP_SEGMENT_BAD_LAYOUT,       /* a length or offset that cannot be; field says which */
    TP_SEGMENT_CORRUPTED,        /* found, expected: the CRC-32 */
    TP_SEGMENT_LOCKED,           /* another live writer has this name; found: its pid if known */
    TP_SEGMENT_NO_SPACE,         /* expected: the bytes asked for */
    TP_SEGMENT_SYSTEM,           /* found: errno; field: the call */
    TP_SEGMENT_FULL,             /* control segment: found slots are all taken */
    TP_SEGMENT_DEAD,             /* its writer died and left it; found: the writer's pid */
    TP_SEGMENT_REFUSED,          /* control segment: the writer does not do it; field says what */
};

struct tp_segment_error {
    uint64_t found, expected;
    const char *field; /* static text */
};

struct tp_segment_config {
    const char *directory;  /* NULL: /dev/shm */
    const char *instance;   /* [A-Za-z0-9._-], no dot first, not ending in .lock .new .ctl */
    const char *schema;     /* text: one "<record> <field> <offset> <type>" a line */
    uint32_t ring_capacity; /* a power of two, or 0: no ring */
    uint32_t snapshot_slot_count, snapshot_word_count;
    uint32_t table_row_count, table_row_size;
    uint32_t counter_count, histogram_count;
    const char *const *counter_names; /* shorter than TP_SEGMENT_NAME_SIZE */
    const char *const *histogram_names;
    const struct tp_clock *clock; /* NULL: calibrated now (20 ms) */
    uint32_t mode;                /* 0: TP_SEGMENT_MODE_DEFAULT; of the rest readable bits count */
    bool has_group;               /* give the file to `group`, whose members may read it */
    uint32_t group;
};

struct tp_segment {
    uint8_t *base; /* writable for the writer only */
    size_t size;
    struct tp_segment_header header; /* private, validated copy: use this, never the mapped one */
    struct tp_segment_live *live;
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    uint64_t heartbeat_ns, loop_count; /* the writer's own copies */
    uint64_t inode, device;
    int file, directory, lock; /* lock: -1 for a reader */
    uint32_t mode, group;      /* of the file as it is */
    bool is_locked_in_memory;
    bool is_ready;
    bool is_guarded;          /* a reader's mapping: see shm/mapping_guard.h */
    _Atomic uint32_t holders; /* who needs the mapping beside the one who closes it */
};

/* FNV-1a, 64 bits, over the text. */
uint64_t tp_segment_schema_hash(const char *schema);
uint32_t tp_segment_crc32(const void *data, size_t size);
const char *tp_segment_status_name(enum tp_segment_status status);

/* Bytes of the file that create makes; 0: the configuration is out of range. */
uint64_t tp_segment_size(const struct tp_segment_config *config);

/* All return TP_SEGMENT_OK, or the reason with *error filled and *segment NULL. Where there is no
 * room for another file, create removes first what a dead writer left under the name. */
enum tp_segment_status tp_segment_create(struct tp_segment **segment,
                                         const struct tp_segment_config *config,
                                         struct tp_segment_error *error);
enum tp_segment_status tp_segment_ready(struct tp_segment *segment, struct tp_segment_error *error);
/* schema_hash 0: any schema. */
enum tp_segment_status tp_segment_open(struct tp_segment **segment, const char *directory,
                                       const char *instance, uint64_t schema_hash,
                                       struct tp_segment_error *error);
/* True once the file is shorter than it was when it was opened: all reads as zeroes now. */
bool tp_segment_is_broken(const struct tp_segment *segment);
/* A writer's: state CLOSING, the file removed if it is still ours, the lock freed. NULL is fine. */
void tp_segment_close(struct tp_segment *segment);
/* Keeps the mapping over a close, until tp_segment_release: for what shows it, and for calls that
 * another thread may overtake with a close. Any thread that holds it or may close it. */
void tp_segment_hold(struct tp_segment *segment);
void tp_segment_release(struct tp_segment *segment);

/* The process that wrote the file still has it open. Each writer holds a lock on its header (an
 * open file description's, F_OFD_SETLK), which says so in every namespace; a pid does not. */
bool tp_segment_file_is_held(int file);
/* The same of the writer of a segment; true of our own. */
bool tp_segment_writer_lives(const struct tp_segment *segment);
/* Its pid means that process here too: /proc shows one that started then. Else it is in another PID
 * namespace, hidden or gone. */
bool tp_segment_writer_is_in_sight(const struct tp_segment *segment);

static inline const void *tp_segment_at(const struct tp_segment *segment,
                                        const struct tp_segment_section *section)
{
    return segment->base + section->offset;
}

static inline struct tp_ring_writer *tp_segment_ring_writer(struct tp_segment *segment)
{
    return &segment->ring;
}

static inline struct tp_snapshot_writer *tp_segment_snapshot_writer(struct tp_segment *segment)
{
    return &segment->snapshots;
}

/* A row of the table: its generation and words that may change while readers read
 * (shm/segment_rows.c has the protocol). */
struct tp_segment_row {
    _Atomic uint64_t sequence; /* 2g - 1 while generation g is written, 2g once it is whole */
    _Atomic uint64_t word[];
};

/* 64-bit words of a row, without its sequence; 0: no table. */
static inline uint32_t tp_segment_row_word_count(const struct tp_segment *segment)
{
    const uint32_t size = segment->header.table.entry_size;
    return segment->header.table.count == 0 ? 0 : size / (uint32_t)sizeof(uint64_t) - 1;
}

/* One writer thread, the ring's or another. row: an existing one, or the next (below the table's
 * count). Copies tp_segment_row_word_count words. Returns the row's new generation. */
uint64_t tp_segment_row_write(struct tp_segment *segment, uint32_t row, const uint64_t *words);
/* Copies a consistent row into words and returns its generation, from 1. 0: there is no such row,
 * or it is being written all the time (bounded tries): what one had before still holds. */
uint64_t tp_segment_row_read(const struct tp_segment *segment, uint32_t row, uint64_t *words);
/* Rows that can be read; never more than the table has, whatever the segment claims. */
uint32_t tp_segment_row_count(const struct tp_segment *segment);
/* Look at it before the rows: what changes after is found at the next look. */
uint64_t tp_segment_row_changes(const struct tp_segment *segment);

static inline _Atomic uint64_t *tp_segment_counter(const struct tp_segment *segment, uint32_t index)
{
    assert(index < segment->header.counters.count);
    return (_Atomic uint64_t *)(void *)(segment->base + segment->header.counters.offset) + index;
}

/* One counter of a single writer thread. */
static inline void tp_segment_counter_store(const struct tp_segment *segment, uint32_t index,
                                            uint64_t value)
{
    atomic_store_explicit(tp_segment_counter(segment, index), value, memory_order_relaxed);
}

static inline struct tp_histogram *tp_segment_histogram(const struct tp_segment *segment,
                                                        uint32_t index)
{
    assert(index < segment->header.histograms.count);
    return (struct tp_histogram *)(void *)(segment->base + segment->header.histograms.offset) +
           index;
}

/* Once every turn of the writer's loop. Stores at most once a millisecond, so that readers that
 * watch the line do not take it from the writer at every turn. */
static inline void tp_segment_heartbeat(struct tp_segment *segment, uint64_t now_ns)
{
    segment->loop_count++;
    if (now_ns - segment->heartbeat_ns < TP_SEGMENT_HEARTBEAT_INTERVAL_NS)
        return;
    segment->heartbeat_ns = now_ns;
    atomic_store_explicit(&segment->live->loop_count, segment->loop_count, memory_order_relaxed);
    atomic_store_explicit(&segment->live->heartbeat_ns, now_ns, memory_order_relaxed);
}
#endif
