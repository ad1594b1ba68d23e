/* Names, checksums, identities and the end of a segment: what both halves need.
 *
 * Called by: shm/segment_create.c, shm/segment_open.c, shm/segment_reader.c. Cold. */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/mapping_guard.h"
#include "shm/segment_file.h"

enum { TP_PROC_STAT_SIZE_MAX = 1024, TP_PROC_STAT_START_FIELD = 22 };

uint64_t tp_segment_schema_hash(const char *schema)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = schema; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    return hash;
}

uint32_t tp_segment_crc32(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (UINT32_C(0xEDB88320) & (0u - (crc & 1u)));
    }
    return ~crc;
}

const char *tp_segment_status_name(enum tp_segment_status status)
{
    switch (status) {
    case TP_SEGMENT_OK:
        return "ok";
    case TP_SEGMENT_BAD_CONFIG:
        return "bad config";
    case TP_SEGMENT_ABSENT:
        return "absent";
    case TP_SEGMENT_BUILDING:
        return "being built";
    case TP_SEGMENT_ENDED:
        return "closed by its writer";
    case TP_SEGMENT_WRONG_MAGIC:
        return "wrong magic";
    case TP_SEGMENT_WRONG_BYTE_ORDER:
        return "wrong byte order";
    case TP_SEGMENT_WRONG_VERSION:
        return "wrong layout version";
    case TP_SEGMENT_WRONG_SCHEMA:
        return "wrong schema";
    case TP_SEGMENT_TRUNCATED:
        return "truncated";
    case TP_SEGMENT_BAD_LAYOUT:
        return "impossible layout";
    case TP_SEGMENT_CORRUPTED:
        return "corrupted header";
    case TP_SEGMENT_LOCKED:
        return "in use by another writer";
    case TP_SEGMENT_NO_SPACE:
        return "no space";
    case TP_SEGMENT_SYSTEM:
        return "system call failed";
    case TP_SEGMENT_FULL:
        return "no free slot";
    case TP_SEGMENT_DEAD:
        return "left by a dead writer";
    case TP_SEGMENT_REFUSED:
        return "refused by its writer";
    }
    return "unknown";
}

enum tp_segment_status tp_segment_fail(struct tp_segment_error *error,
                                       enum tp_segment_status status, const char *field,
                                       uint64_t found, uint64_t expected)
{
    *error = (struct tp_segment_error){found, expected, field};
    return status;
}

/* Files of other kinds end so: an instance of such a name would be taken for one. */
static bool has_reserved_ending(const char *instance)
{
    static const char *const endings[] = {".lock", ".new", ".ctl"};
    const size_t length = strlen(instance);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t size = strlen(endings[i]);
        if (length >= size && strcmp(instance + length - size, endings[i]) == 0)
            return true;
    }
    return false;
}

bool tp_segment_instance_is_valid(const char *instance)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const size_t length = strlen(instance);
    return length != 0 && length <= TP_SEGMENT_INSTANCE_LENGTH_MAX && instance[0] != '.' &&
           strspn(instance, allowed) == length && !has_reserved_ending(instance);
}

void tp_segment_file_name(char name[TP_SEGMENT_FILE_NAME_SIZE], const char *instance,
                          const char *suffix)
{
    const int length = snprintf(name, TP_SEGMENT_FILE_NAME_SIZE, "tickpath.%s%s", instance, suffix);
    assert(length > 0 && length < TP_SEGMENT_FILE_NAME_SIZE);
}

int tp_segment_directory_open(const char *directory)
{
    return open(directory != NULL ? directory : "/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Reads a small file of /proc whole; returns its length, NUL-terminated, or 0. */
static size_t proc_read(const char *path, char *text, size_t size)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    const ssize_t length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = '\0';
    return length > 0 ? (size_t)length : 0;
}

void tp_segment_boot_id(uint8_t boot_id[16])
{
    char text[64];
    memset(boot_id, 0, 16);
    proc_read("/proc/sys/kernel/random/boot_id", text, sizeof text);
    unsigned nibbles = 0;
    for (const char *c = text; *c != '\0' && nibbles < 32; c++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = strchr(digits, *c);
        if (digit == NULL)
            continue;
        const unsigned value = (unsigned)(digit - digits) << (nibbles % 2 == 0 ? 4 : 0);
        boot_id[nibbles / 2] = (uint8_t)(boot_id[nibbles / 2] | value);
        nibbles++;
    }
}

/* proc(5): field 2 is the command in parentheses and may hold anything, so count from the last
 * one; state 'Z' and 'X' mean that the process has ended. */
uint64_t tp_segment_process_start(uint32_t pid)
{
    char path[32] = "/proc/self/stat", text[TP_PROC_STAT_SIZE_MAX];
    /* Ourselves by that name: a /proc of another PID namespace has another number for us. */
    if (pid != (uint32_t)getpid())
        snprintf(path, sizeof path, "/proc/%u/stat", pid);
    if (proc_read(path, text, sizeof text) == 0)
        return 0;
    const char *c = strrchr(text, ')');
    if (c == NULL || c[1] != ' ' || c[2] == 'Z' || c[2] == 'X')
        return 0;
    c += 2; /* field 3 */
    for (int field = 3; field < TP_PROC_STAT_START_FIELD; field++) {
        c = strchr(c, ' ');
        if (c == NULL)
            return 0;
        c++;
    }
    return strtoull(c, NULL, 10);
}

struct flock tp_segment_owner_range(short type)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_len = sizeof(struct tp_segment_header)};
}

/* fcntl(2): a lock of an open file description ends with its last descriptor, however the process
 * ends; asking for it takes nothing, and needs no more than a descriptor of the file. */
bool tp_segment_file_is_held(int file)
{
    struct flock range = tp_segment_owner_range(F_WRLCK);
    return fcntl(file, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

bool tp_segment_writer_lives(const struct tp_segment *segment)
{
    return segment->lock >= 0 || tp_segment_file_is_held(segment->file);
}

bool tp_segment_writer_is_in_sight(const struct tp_segment *segment)
{
    const struct tp_segment_header *header = &segment->header;
    return header->writer_start_time != 0 &&
           tp_segment_process_start(header->writer_pid) == header->writer_start_time;
}

bool tp_segment_is_broken(const struct tp_segment *segment)
{
    return segment->is_guarded && tp_mapping_guard_is_broken(segment->base);
}

bool tp_segment_name_is_ours(const struct tp_segment *segment, const char *name)
{
    struct stat found;
    return fstatat(segment->directory, name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
           found.st_ino == segment->inode && found.st_dev == segment->device;
}

static void writer_leave(struct tp_segment *segment)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    if (segment->live != NULL)
        /* Pairs with the acquire load in tp_reader_poll's idle check and tp_segment_open. */
        atomic_store_explicit(&segment->live->state, TP_SEGMENT_CLOSING, memory_order_release);
    tp_segment_file_name(name, segment->header.instance, segment->is_ready ? "" : ".new");
    if (segment->file >= 0 && tp_segment_name_is_ours(segment, name))
        unlinkat(segment->directory, name, 0);
    /* Last, while the lock is still held: a new writer that took the old lock file notices by
     * its inode that the name has moved on. */
    tp_segment_file_name(name, segment->header.instance, ".lock");
    unlinkat(segment->directory, name, 0);
    close(segment->lock);
    segment->lock = -1;
}

void tp_segment_close(struct tp_segment *segment)
{
    if (segment == NULL)
        return;
    if (segment->lock >= 0)
        writer_leave(segment);
    tp_segment_release(segment);
}

void tp_segment_hold(struct tp_segment *segment)
{
    atomic_fetch_add_explicit(&segment->holders, 1, memory_order_relaxed);
}

void tp_segment_release(struct tp_segment *segment)
{
    /* Release and acquire: what the others did with the mapping comes before its end. */
    if (atomic_fetch_sub_explicit(&segment->holders, 1, memory_order_acq_rel) != 0)
        return;
    if (segment->is_guarded)
        tp_mapping_guard_remove(segment->base);
    if (segment->base != NULL)
        munmap(segment->base, segment->size);
    if (segment->file >= 0)
        close(segment->file);
    if (segment->directory >= 0)
        close(segment->directory);
    free(segment);
}
