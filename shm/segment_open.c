/* The reader's half: map read-only, believe nothing.
 *
 * Every length is checked against the file's size and every offset against the length, on a private
 * copy of the header, so that no segment, however broken, leads to a SIGBUS or an endless wait. One
 * that is truncated later reads as zeroes (shm/mapping_guard.h).
 *
 * Called by: shm/segment_reader.c, shm/segment.py. Cold. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/mapping_guard.h"
#include "shm/segment_file.h"

enum {
    TP_SEGMENT_CELL_ALIGNMENT = 64,
    TP_SEGMENT_LIVE_ALIGNMENT = 4096,
    TP_SEGMENT_STATIC_SIZE_MAX = 1 << 20, /* schema and names: its checksum takes milliseconds */
};

#define TP_FIELDS(name)                                                                            \
    {                                                                                              \
        name ", count", name ", entry size", name ", offset", name ", size"                        \
    }

/* What a section must be like: 0 in entry_size leaves it open. */
struct section_rule {
    const char *fields[4]; /* count, entry size, offset, size */
    const struct tp_segment_section *section;
    uint32_t count_max, entry_size, alignment;
    uint64_t end_max;
};

/* Tells the number that is wrong, and the one that it had to be, or could be at most. */
static bool section_fits(const struct section_rule *rule, struct tp_segment_error *error)
{
    const struct tp_segment_section *section = rule->section;
    const uint64_t size = (uint64_t)section->count * section->entry_size; /* 32 x 32 bits */
    if (section->count > rule->count_max)
        *error = (struct tp_segment_error){section->count, rule->count_max, rule->fields[0]};
    else if (rule->entry_size != 0 && section->entry_size != rule->entry_size)
        *error = (struct tp_segment_error){section->entry_size, rule->entry_size, rule->fields[1]};
    else if (section->offset % rule->alignment != 0 ||
             section->offset < sizeof(struct tp_segment_header) || section->offset > rule->end_max)
        *error = (struct tp_segment_error){section->offset, rule->end_max, rule->fields[2]};
    else if (size > rule->end_max - section->offset)
        *error = (struct tp_segment_error){size, rule->end_max - section->offset, rule->fields[3]};
    else
        return true;
    return false;
}

/* A size that others decide, or a bound. */
struct size_rule {
    const char *field;
    bool is_well;
    uint64_t found, expected;
};

static enum tp_segment_status sizes_check(const struct tp_segment_header *header,
                                          struct tp_segment_error *error)
{
    const uint64_t ring = header->ring.count, cell = header->snapshot_cells.entry_size;
    const uint64_t words = header->snapshot_word_count, row = header->table.entry_size;
    const uint64_t row_max = TP_SEGMENT_TABLE_ROW_SIZE_MAX + TP_SEGMENT_TABLE_ROW_ALIGNMENT;
    const uint64_t cell_min = sizeof(struct tp_snapshot_cell) + 8u * words;
    const uint64_t cells = (uint64_t)header->snapshot_index.count * TP_SNAPSHOT_VERSIONS;
    const struct size_rule rules[] = {
        {"live lines, count", header->live.count == 1, header->live.count, 1},
        {"schema, count", header->schema.count != 0, 0, 1},
        {"ring, count (a power of two)", (ring & (ring - 1)) == 0, ring,
         TP_SEGMENT_RING_CAPACITY_MAX},
        {"table, entry size",
         row % TP_SEGMENT_TABLE_ROW_ALIGNMENT == 0 && row <= row_max &&
             (row != 0 || header->table.count == 0),
         row, row_max},
        {"words of a snapshot", words <= TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX, words,
         TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX},
        {"snapshot cells, entry size", cell % TP_SEGMENT_CELL_ALIGNMENT == 0 && cell >= cell_min,
         cell,
         (cell_min + TP_SEGMENT_CELL_ALIGNMENT - 1) / TP_SEGMENT_CELL_ALIGNMENT *
             TP_SEGMENT_CELL_ALIGNMENT},
        {"snapshot cells, count", header->snapshot_cells.count == cells,
         header->snapshot_cells.count, cells},
        {"counters, count", header->counters.count == header->counter_names.count,
         header->counters.count, header->counter_names.count},
        {"histograms, count", header->histograms.count == header->histogram_names.count,
         header->histograms.count, header->histogram_names.count},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (!rules[i].is_well)
            return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, rules[i].field, rules[i].found,
                                   rules[i].expected);
    return TP_SEGMENT_OK;
}

/* What all else is measured by. */
static enum tp_segment_status bounds_check(const struct tp_segment_header *header,
                                           struct tp_segment_error *error)
{
    const uint64_t fixed = header->static_size, total = header->total_size;
    const struct size_rule rules[] = {
        {"header size", header->header_size >= sizeof *header, header->header_size, sizeof *header},
        {"static size", fixed >= sizeof *header && fixed <= total, fixed, total},
        {"static size", fixed <= TP_SEGMENT_STATIC_SIZE_MAX, fixed, TP_SEGMENT_STATIC_SIZE_MAX},
        {"live lines, offset", header->live.offset >= fixed, header->live.offset, fixed},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (!rules[i].is_well)
            return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, rules[i].field, rules[i].found,
                                   rules[i].expected);
    return TP_SEGMENT_OK;
}

enum tp_segment_status tp_segment_layout_check(const struct tp_segment_header *header,
                                               struct tp_segment_error *error)
{
    const uint64_t fixed = header->static_size, total = header->total_size;
    const struct section_rule rules[] = {
        {TP_FIELDS("schema"), &header->schema, TP_SEGMENT_SCHEMA_SIZE_MAX, 1, 1, fixed},
        {TP_FIELDS("table"), &header->table, TP_SEGMENT_TABLE_ROW_COUNT_MAX, 0,
         TP_SEGMENT_TABLE_ROW_ALIGNMENT, total},
        {TP_FIELDS("counter names"), &header->counter_names, TP_SEGMENT_COUNTER_COUNT_MAX,
         TP_SEGMENT_NAME_SIZE, 8, fixed},
        {TP_FIELDS("histogram names"), &header->histogram_names, TP_SEGMENT_HISTOGRAM_COUNT_MAX,
         TP_SEGMENT_NAME_SIZE, 8, fixed},
        {TP_FIELDS("live lines"), &header->live, 1, sizeof(struct tp_segment_live),
         TP_SEGMENT_LIVE_ALIGNMENT, total},
        {TP_FIELDS("counters"), &header->counters, TP_SEGMENT_COUNTER_COUNT_MAX, 8, 8, total},
        {TP_FIELDS("histograms"), &header->histograms, TP_SEGMENT_HISTOGRAM_COUNT_MAX,
         sizeof(struct tp_histogram), 64, total},
        {TP_FIELDS("snapshot index"), &header->snapshot_index, TP_SEGMENT_SNAPSHOT_SLOT_COUNT_MAX,
         8, 8, total},
        {TP_FIELDS("snapshot cells"), &header->snapshot_cells,
         TP_SEGMENT_SNAPSHOT_SLOT_COUNT_MAX * TP_SNAPSHOT_VERSIONS, 0, TP_SEGMENT_CELL_ALIGNMENT,
         total},
        {TP_FIELDS("ring"), &header->ring, TP_SEGMENT_RING_CAPACITY_MAX, TP_RING_SLOT_SIZE,
         TP_SEGMENT_CELL_ALIGNMENT, total},
    };
    enum tp_segment_status status = bounds_check(header, error);
    for (size_t i = 0; status == TP_SEGMENT_OK && i < sizeof rules / sizeof rules[0]; i++)
        if (!section_fits(&rules[i], error))
            status = TP_SEGMENT_BAD_LAYOUT;
    if (status == TP_SEGMENT_OK)
        status = sizes_check(header, error);
    if (status != TP_SEGMENT_OK)
        return status;
    if (memchr(header->instance, '\0', sizeof header->instance) == NULL)
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "instance", 0, 0);
    return TP_SEGMENT_OK;
}

/* Waits end by it: one that stands, or hardly runs, would make them endless. */
static bool clock_runs(const struct tp_clock *clock)
{
    static const uint64_t mult_min = (UINT64_C(1) << 32) / 100; /* a TSC of 100 GHz */
    static const uint64_t mult_max = (UINT64_C(1) << 32) * 100; /* of 10 MHz */
    if (clock->mult == 0)
        return clock->tsc_base != TP_CLOCK_VIRTUAL;
    return clock->mult >= mult_min && clock->mult <= mult_max;
}

static enum tp_segment_status header_check(const struct tp_segment_header *header,
                                           uint64_t file_size, uint64_t schema_hash,
                                           struct tp_segment_error *error)
{
    if (header->magic != TP_SEGMENT_MAGIC)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_MAGIC, "magic", header->magic,
                               TP_SEGMENT_MAGIC);
    if (header->byte_order != TP_SEGMENT_BYTE_ORDER)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_BYTE_ORDER, "byte order", header->byte_order,
                               TP_SEGMENT_BYTE_ORDER);
    if (header->layout_major != TP_SEGMENT_LAYOUT_MAJOR)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_VERSION, "layout version",
                               header->layout_major, TP_SEGMENT_LAYOUT_MAJOR);
    if (header->total_size > file_size)
        return tp_segment_fail(error, TP_SEGMENT_TRUNCATED, "file size", file_size,
                               header->total_size);
    const enum tp_segment_status status = tp_segment_layout_check(header, error);
    if (status != TP_SEGMENT_OK)
        return status;
    if (!clock_runs(&header->clock))
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "clock", header->clock.mult, 0);
    if (schema_hash != 0 && header->schema_hash != schema_hash)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_SCHEMA, "schema hash", header->schema_hash,
                               schema_hash);
    return TP_SEGMENT_OK;
}

static enum tp_segment_status live_check(const struct tp_segment *segment,
                                         struct tp_segment_error *error)
{
    /* Pairs with the release stores of state in tp_segment_ready and tp_segment_close. */
    const uint32_t state = atomic_load_explicit(&segment->live->state, memory_order_acquire);
    if (state == TP_SEGMENT_INIT)
        return tp_segment_fail(error, TP_SEGMENT_BUILDING, "state", state, TP_SEGMENT_READY);
    if (state == TP_SEGMENT_CLOSING)
        return tp_segment_fail(error, TP_SEGMENT_ENDED, "state", state, TP_SEGMENT_READY);
    if (state != TP_SEGMENT_READY)
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "state", state, TP_SEGMENT_READY);
    const uint32_t crc = tp_segment_crc32(segment->base, segment->header.static_size);
    if (crc != segment->live->crc32)
        return tp_segment_fail(error, TP_SEGMENT_CORRUPTED, "CRC-32", crc, segment->live->crc32);
    return TP_SEGMENT_OK;
}

static enum tp_segment_status file_open(struct tp_segment *segment, const char *instance,
                                        struct tp_segment_error *error)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    struct stat found;
    tp_segment_file_name(name, instance, ".new");
    const bool is_building = fstatat(segment->directory, name, &found, 0) == 0;
    tp_segment_file_name(name, instance, "");
    segment->file =
        openat(segment->directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (segment->file < 0)
        return errno != ENOENT
                   ? tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open", (uint64_t)errno, 0)
                   : tp_segment_fail(error, is_building ? TP_SEGMENT_BUILDING : TP_SEGMENT_ABSENT,
                                     "file", 0, 0);
    if (fstat(segment->file, &found) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fstat", (uint64_t)errno, 0);
    if (!S_ISREG(found.st_mode)) /* no errno says it: a directory, a FIFO, a device */
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "not a regular file", EINVAL, 0);
    segment->inode = found.st_ino;
    segment->device = found.st_dev;
    segment->size = (size_t)found.st_size;
    if (segment->size < sizeof segment->header)
        return tp_segment_fail(error, TP_SEGMENT_TRUNCATED, "file size", segment->size,
                               sizeof segment->header);
    if (pread(segment->file, &segment->header, sizeof segment->header, 0) !=
        (ssize_t)sizeof segment->header)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "pread", (uint64_t)errno, 0);
    return TP_SEGMENT_OK;
}

static enum tp_segment_status file_map(struct tp_segment *segment, struct tp_segment_error *error)
{
    segment->size = segment->header.total_size;
    void *base = mmap(NULL, segment->size, PROT_READ, MAP_SHARED | MAP_POPULATE, segment->file, 0);
    if (base == MAP_FAILED)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "mmap", (uint64_t)errno, 0);
    segment->base = base;
    /* Its file may yet be truncated: from here on that is an ended writer, not a SIGBUS. */
    segment->is_guarded = tp_mapping_guard_add(base, segment->size, PROT_READ);
    segment->live = (struct tp_segment_live *)(void *)(segment->base + segment->header.live.offset);
    segment->is_locked_in_memory = mlock(base, segment->size) == 0;
    segment->is_ready = true;
    return live_check(segment, error);
}

enum tp_segment_status tp_segment_open(struct tp_segment **out, const char *directory,
                                       const char *instance, uint64_t schema_hash,
                                       struct tp_segment_error *error)
{
    *out = NULL;
    if (!tp_segment_instance_is_valid(instance))
        return tp_segment_fail(error, TP_SEGMENT_BAD_CONFIG, "instance", strlen(instance),
                               TP_SEGMENT_INSTANCE_LENGTH_MAX);
    struct tp_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "calloc", ENOMEM, 0);
    enum tp_segment_status status = TP_SEGMENT_OK;
    segment->file = segment->lock = -1;
    segment->directory = tp_segment_directory_open(directory);
    if (segment->directory < 0)
        status = tp_segment_fail(error, errno == ENOENT ? TP_SEGMENT_ABSENT : TP_SEGMENT_SYSTEM,
                                 "open of the directory", (uint64_t)errno, 0);
    if (status == TP_SEGMENT_OK)
        status = file_open(segment, instance, error);
    if (status == TP_SEGMENT_OK)
        status = header_check(&segment->header, segment->size, schema_hash, error);
    if (status == TP_SEGMENT_OK)
        status = file_map(segment, error);
    if (status != TP_SEGMENT_OK) {
        tp_segment_close(segment);
        return status;
    }
    *out = segment;
    return TP_SEGMENT_OK;
}
