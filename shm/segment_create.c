/* The writer's half: build beside, rename into place.
 *
 * Called by: engine at start, shm/segment.py. Cold, one thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/segment_file.h"

enum {
    TP_SEGMENT_PAGE_SIZE = 4096,
    TP_SEGMENT_LOCK_TRIES_MAX = 16,      /* a writer that leaves removes the lock file we opened */
    TP_SEGMENT_ALLOCATE_TRIES_MAX = 100, /* signals interrupt posix_fallocate */
};

static enum tp_segment_status names_check(const char *const *names, uint32_t count,
                                          const char *field, struct tp_segment_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]);
        if (length == 0 || length >= TP_SEGMENT_NAME_SIZE)
            return tp_segment_fail(error, TP_SEGMENT_BAD_CONFIG, field, length,
                                   TP_SEGMENT_NAME_SIZE - 1);
    }
    return TP_SEGMENT_OK;
}

static enum tp_segment_status config_check(const struct tp_segment_config *config,
                                           struct tp_segment_error *error)
{
    const struct {
        const char *field;
        uint64_t value, value_max;
    } limits[] = {
        {"ring_capacity", config->ring_capacity, TP_SEGMENT_RING_CAPACITY_MAX},
        {"snapshot_slot_count", config->snapshot_slot_count, TP_SEGMENT_SNAPSHOT_SLOT_COUNT_MAX},
        {"snapshot_word_count", config->snapshot_word_count, TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX},
        {"table_row_count", config->table_row_count, TP_SEGMENT_TABLE_ROW_COUNT_MAX},
        {"table_row_size", config->table_row_size, TP_SEGMENT_TABLE_ROW_SIZE_MAX},
        {"counter_count", config->counter_count, TP_SEGMENT_COUNTER_COUNT_MAX},
        {"histogram_count", config->histogram_count, TP_SEGMENT_HISTOGRAM_COUNT_MAX},
        {"schema size", strlen(config->schema), TP_SEGMENT_SCHEMA_SIZE_MAX - 1},
        {"ring_capacity (a power of two)", config->ring_capacity & (config->ring_capacity - 1), 0},
        {"table_row_size (a multiple of 8)", config->table_row_size % 8, 0},
        {"table_row_count without a size",
         config->table_row_size == 0 ? config->table_row_count : 0, 0},
        {"snapshot_slot_count without words",
         config->snapshot_word_count == 0 ? config->snapshot_slot_count : 0, 0},
    };
    if (!tp_segment_instance_is_valid(config->instance))
        return tp_segment_fail(error, TP_SEGMENT_BAD_CONFIG, "instance", strlen(config->instance),
                               TP_SEGMENT_INSTANCE_LENGTH_MAX);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i].value > limits[i].value_max)
            return tp_segment_fail(error, TP_SEGMENT_BAD_CONFIG, limits[i].field, limits[i].value,
                                   limits[i].value_max);
    const enum tp_segment_status status =
        names_check(config->counter_names, config->counter_count, "counter name length", error);
    if (status != TP_SEGMENT_OK)
        return status;
    return names_check(config->histogram_names, config->histogram_count, "histogram name length",
                       error);
}

/* Appends a section at the next boundary; *end moves behind it. The limits above keep the sum of
 * all sections below 2^34. */
static struct tp_segment_section section_append(uint64_t *end, uint64_t boundary, uint32_t count,
                                                uint32_t entry_size)
{
    const uint64_t offset = (*end + boundary - 1) / boundary * boundary;
    *end = offset + (uint64_t)count * entry_size;
    return (struct tp_segment_section){offset, count, entry_size};
}

static void layout_set(struct tp_segment_header *header, const struct tp_segment_config *config)
{
    uint64_t end = sizeof *header;
    const uint32_t cell_size =
        (16 + config->snapshot_word_count * 8 + 63) / 64 * 64; /* sequence, ring_index, words */
    const uint32_t row_size =
        config->table_row_size == 0
            ? 0
            : (8 + config->table_row_size + TP_SEGMENT_TABLE_ROW_ALIGNMENT - 1) /
                  TP_SEGMENT_TABLE_ROW_ALIGNMENT * TP_SEGMENT_TABLE_ROW_ALIGNMENT;
    header->schema = section_append(&end, 8, (uint32_t)strlen(config->schema) + 1, 1);
    header->counter_names = section_append(&end, 8, config->counter_count, TP_SEGMENT_NAME_SIZE);
    header->histogram_names =
        section_append(&end, 8, config->histogram_count, TP_SEGMENT_NAME_SIZE);
    header->static_size = end;
    header->live =
        section_append(&end, TP_SEGMENT_PAGE_SIZE, 1, (uint32_t)sizeof(struct tp_segment_live));
    header->table = section_append(&end, TP_SEGMENT_LINE_SIZE, config->table_row_count, row_size);
    header->counters = section_append(&end, TP_SEGMENT_LINE_SIZE, config->counter_count, 8);
    header->histograms = section_append(&end, TP_SEGMENT_LINE_SIZE, config->histogram_count,
                                        (uint32_t)sizeof(struct tp_histogram));
    header->snapshot_index =
        section_append(&end, TP_SEGMENT_LINE_SIZE, config->snapshot_slot_count, 8);
    header->snapshot_cells = section_append(
        &end, TP_SEGMENT_LINE_SIZE, config->snapshot_slot_count * TP_SNAPSHOT_VERSIONS, cell_size);
    header->ring =
        section_append(&end, TP_SEGMENT_PAGE_SIZE, config->ring_capacity, TP_RING_SLOT_SIZE);
    header->total_size =
        (end + TP_SEGMENT_PAGE_SIZE - 1) / TP_SEGMENT_PAGE_SIZE * TP_SEGMENT_PAGE_SIZE;
    header->snapshot_word_count = config->snapshot_word_count;
}

static enum tp_segment_status header_set(struct tp_segment_header *header,
                                         const struct tp_segment_config *config,
                                         struct tp_segment_error *error)
{
    memset(header, 0, sizeof *header);
    header->magic = TP_SEGMENT_MAGIC;
    header->byte_order = TP_SEGMENT_BYTE_ORDER;
    header->layout_major = TP_SEGMENT_LAYOUT_MAJOR;
    header->layout_minor = TP_SEGMENT_LAYOUT_MINOR;
    header->header_size = (uint32_t)sizeof *header;
    header->schema_hash = tp_segment_schema_hash(config->schema);
    if (getrandom(&header->instance_id, sizeof header->instance_id, 0) !=
        (ssize_t)sizeof header->instance_id)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "getrandom", (uint64_t)errno, 0);
    header->instance_id |= 1; /* 0 means "none" in superseded_by */
    header->writer_pid = (uint32_t)getpid();
    header->writer_start_time = tp_segment_process_start(header->writer_pid);
    tp_segment_boot_id(header->boot_id);
    strcpy(header->instance, config->instance);
    if (config->clock != NULL)
        header->clock = *config->clock;
    else
        tp_clock_calibrate(&header->clock);
    layout_set(header, config);
    return tp_segment_layout_check(header, error);
}

uint64_t tp_segment_size(const struct tp_segment_config *config)
{
    struct tp_segment_header header = {0};
    struct tp_segment_error error;
    if (config_check(config, &error) != TP_SEGMENT_OK)
        return 0;
    layout_set(&header, config);
    return header.total_size;
}

static uint64_t lock_owner(int lock)
{
    char text[16] = "";
    const ssize_t length = pread(lock, text, sizeof text - 1, 0);
    return length > 0 ? strtoull(text, NULL, 10) : 0;
}

static bool lock_is_current(const struct tp_segment *segment, const char *name)
{
    struct stat ours, named;
    return fstat(segment->lock, &ours) == 0 && fstatat(segment->directory, name, &named, 0) == 0 &&
           ours.st_ino == named.st_ino;
}

/* Without O_CREAT first: in a sticky directory the kernel denies that even to root where the file
 * is somebody else's (proc_sys_fs(5), protected_regular). */
static int lock_open(const struct tp_segment *segment, const char *name)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
    const int lock = openat(segment->directory, name, flags);
    if (lock >= 0 || errno != ENOENT)
        return lock;
    return openat(segment->directory, name, flags | O_CREAT, TP_SEGMENT_MODE_DEFAULT);
}

/* flock belongs to the open file: the kernel frees it when the last descriptor closes, however the
 * process ends. A child forked without exec shares it and would keep it: shm/bystander.h. */
static enum tp_segment_status lock_take(struct tp_segment *segment, struct tp_segment_error *error)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE], text[16];
    tp_segment_file_name(name, segment->header.instance, ".lock");
    for (int tries = 0; tries < TP_SEGMENT_LOCK_TRIES_MAX; tries++) {
        const int lock = lock_open(segment, name);
        if (lock < 0)
            return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open of the lock file",
                                   (uint64_t)errno, 0);
        if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
            const uint64_t owner = lock_owner(lock);
            close(lock);
            return tp_segment_fail(error, TP_SEGMENT_LOCKED, "lock", owner, 0);
        }
        segment->lock = lock;
        if (lock_is_current(segment, name)) {
            const int length = snprintf(text, sizeof text, "%u\n", (unsigned)getpid());
            /* Only for the message that a second writer prints: a failure harms nothing. */
            if (ftruncate(lock, 0) != 0 || pwrite(lock, text, (size_t)length, 0) != length)
                errno = 0;
            return TP_SEGMENT_OK;
        }
        segment->lock = -1;
        close(lock);
    }
    return tp_segment_fail(error, TP_SEGMENT_LOCKED, "lock", 0, 0);
}

static enum tp_segment_status file_allocate(struct tp_segment *segment,
                                            struct tp_segment_error *error)
{
    int reason = EINTR;
    for (int i = 0; i < TP_SEGMENT_ALLOCATE_TRIES_MAX && reason == EINTR; i++)
        reason = posix_fallocate(segment->file, 0, (off_t)segment->header.total_size);
    if (reason == ENOSPC || reason == ENOMEM)
        return tp_segment_fail(error, TP_SEGMENT_NO_SPACE, "posix_fallocate", 0,
                               segment->header.total_size);
    if (reason != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "posix_fallocate", (uint64_t)reason, 0);
    return TP_SEGMENT_OK;
}

/* Maps the segment that stands under our name now; NULL where there is none, or it is none that we
 * could mark. An older layout has its live lines and the mark in the same places. */
static struct tp_segment_live *predecessor_map(const struct tp_segment *segment, const char *name)
{
    struct tp_segment_live *live = NULL;
    struct tp_segment_header old;
    struct tp_segment_error error;
    struct stat size;
    const int file = openat(segment->directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return NULL;
    if (pread(file, &old, sizeof old, 0) == (ssize_t)sizeof old && fstat(file, &size) == 0 &&
        old.magic == TP_SEGMENT_MAGIC && old.layout_major <= TP_SEGMENT_LAYOUT_MAJOR &&
        old.total_size == (uint64_t)size.st_size &&
        tp_segment_layout_check(&old, &error) == TP_SEGMENT_OK) {
        void *page = mmap(NULL, sizeof *live, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                          (off_t)old.live.offset);
        live = page == MAP_FAILED ? NULL : page;
    }
    close(file);
    return live;
}

/* Gives back what a dead writer left under our name, whose lock we hold: there may be no room for
 * both. Who still reads it keeps its memory, and is told to let go. False: there is none. */
static bool predecessor_release(const struct tp_segment *segment)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    tp_segment_file_name(name, segment->header.instance, "");
    struct tp_segment_live *old = predecessor_map(segment, name);
    if (old != NULL) {
        atomic_store_explicit(&old->superseded_by, segment->header.instance_id,
                              memory_order_release);
        munmap(old, sizeof *old);
    }
    return unlinkat(segment->directory, name, 0) == 0;
}

/* Who may open it: the mode first taken away, so that nobody slips in between. */
static enum tp_segment_status file_give(struct tp_segment *segment,
                                        const struct tp_segment_config *config,
                                        struct tp_segment_error *error)
{
    struct stat built;
    const mode_t mode = (config->mode != 0 ? config->mode : TP_SEGMENT_MODE_DEFAULT) & 0644;
    if (config->has_group && fchown(segment->file, (uid_t)-1, config->group) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fchown to the group", (uint64_t)errno, 0);
    if (fchmod(segment->file, mode) != 0 || fstat(segment->file, &built) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fchmod", (uint64_t)errno, 0);
    segment->inode = built.st_ino;
    segment->device = built.st_dev;
    segment->mode = mode;
    segment->group = built.st_gid;
    return TP_SEGMENT_OK;
}

static enum tp_segment_status file_build(struct tp_segment *segment,
                                         const struct tp_segment_config *config,
                                         struct tp_segment_error *error)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    tp_segment_file_name(name, segment->header.instance, ".new");
    unlinkat(segment->directory, name, 0); /* of a writer that died here: we hold the lock */
    segment->file =
        openat(segment->directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (segment->file < 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open of the new file", (uint64_t)errno,
                               0);
    struct flock whole = tp_segment_owner_range(F_WRLCK);
    if (fcntl(segment->file, F_OFD_SETLK, &whole) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "lock of the new file (F_OFD_SETLK)",
                               (uint64_t)errno, 0);
    enum tp_segment_status status = file_give(segment, config, error);
    if (status == TP_SEGMENT_OK)
        status = file_allocate(segment, error);
    if (status == TP_SEGMENT_NO_SPACE && predecessor_release(segment))
        status = file_allocate(segment, error);
    if (status != TP_SEGMENT_OK)
        return status;
    segment->size = segment->header.total_size;
    void *base = mmap(NULL, segment->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      segment->file, 0);
    if (base == MAP_FAILED)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "mmap", (uint64_t)errno, 0);
    segment->base = base;
    segment->is_locked_in_memory = mlock(base, segment->size) == 0;
    return TP_SEGMENT_OK;
}

static void contents_set(struct tp_segment *segment, const struct tp_segment_config *config)
{
    struct tp_segment_header *header = &segment->header;
    memcpy(segment->base, header, sizeof *header);
    memcpy(segment->base + header->schema.offset, config->schema, header->schema.count);
    for (uint32_t i = 0; i < config->counter_count; i++)
        strcpy((char *)segment->base + header->counter_names.offset +
                   (size_t)i * TP_SEGMENT_NAME_SIZE,
               config->counter_names[i]);
    for (uint32_t i = 0; i < config->histogram_count; i++)
        strcpy((char *)segment->base + header->histogram_names.offset +
                   (size_t)i * TP_SEGMENT_NAME_SIZE,
               config->histogram_names[i]);
    segment->live = (struct tp_segment_live *)(void *)(segment->base + header->live.offset);
    segment->ring = (struct tp_ring_writer){
        .slots = (struct tp_ring_slot *)(void *)(segment->base + header->ring.offset),
        .mask = (uint64_t)header->ring.count - 1,
        .head = &segment->live->head,
    };
    segment->snapshots = (struct tp_snapshot_writer){
        .cells = segment->base + header->snapshot_cells.offset,
        .index = (_Atomic uint64_t *)(void *)(segment->base + header->snapshot_index.offset),
        .slot_count = header->snapshot_index.count,
        .cell_size = header->snapshot_cells.entry_size,
        .word_count = header->snapshot_word_count,
    };
}

enum tp_segment_status tp_segment_create(struct tp_segment **out,
                                         const struct tp_segment_config *config,
                                         struct tp_segment_error *error)
{
    *out = NULL;
    enum tp_segment_status status = config_check(config, error);
    if (status != TP_SEGMENT_OK)
        return status;
    struct tp_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "calloc", ENOMEM, 0);
    segment->file = segment->lock = -1;
    segment->directory = tp_segment_directory_open(config->directory);
    if (segment->directory < 0)
        status =
            tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open of the directory", (uint64_t)errno, 0);
    if (status == TP_SEGMENT_OK)
        status = header_set(&segment->header, config, error);
    if (status == TP_SEGMENT_OK)
        status = lock_take(segment, error);
    if (status == TP_SEGMENT_OK)
        status = file_build(segment, config, error);
    if (status != TP_SEGMENT_OK) {
        tp_segment_close(segment);
        return status;
    }
    contents_set(segment, config);
    *out = segment;
    return TP_SEGMENT_OK;
}

enum tp_segment_status tp_segment_ready(struct tp_segment *segment, struct tp_segment_error *error)
{
    char new_name[TP_SEGMENT_FILE_NAME_SIZE], name[TP_SEGMENT_FILE_NAME_SIZE];
    assert(segment->lock >= 0 && !segment->is_ready);
    tp_segment_file_name(new_name, segment->header.instance, ".new");
    tp_segment_file_name(name, segment->header.instance, "");
    segment->live->crc32 = tp_segment_crc32(segment->base, segment->header.static_size);
    segment->heartbeat_ns = tp_clock_now_ns(&segment->header.clock);
    atomic_store_explicit(&segment->live->heartbeat_ns, segment->heartbeat_ns,
                          memory_order_relaxed);
    /* Pairs with the acquire load in tp_segment_open: who sees READY sees all of the above. */
    atomic_store_explicit(&segment->live->state, TP_SEGMENT_READY, memory_order_release);
    struct tp_segment_live *old = predecessor_map(segment, name);
    const bool is_renamed = renameat(segment->directory, new_name, segment->directory, name) == 0;
    const int reason = errno;
    if (old != NULL) {
        if (is_renamed)
            /* After the rename: a reader that sees it finds us under the name. */
            atomic_store_explicit(&old->superseded_by, segment->header.instance_id,
                                  memory_order_release);
        munmap(old, sizeof *old);
    }
    if (!is_renamed)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "rename", (uint64_t)reason, 0);
    segment->is_ready = true;
    return TP_SEGMENT_OK;
}
