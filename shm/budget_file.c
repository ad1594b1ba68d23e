/* The file of budget.h: opened where it is sound, built anew beside and renamed over where it is
 * not.
 *
 * Whoever builds holds a lock of the directory's for that time, which the kernel frees however the
 * process ends; who finds a sound file takes no lock at all. What an older boot left, or what we
 * may not write, is carried over: pauses, and the buckets where the clock is still the same.
 * Python's side lets no child be forked meanwhile (ownership.py), and looks whether the name still
 * means the file that it has mapped. Called by: see the header. Cold. */
#include "shm/budget.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/mapping_guard.h"
#include "shm/segment_file.h"

enum {
    LOCK_TRIES_MAX = 100, /* one that was stopped while it built must not stop us: 0.5 s */
    FILE_MODE = 0644,     /* who may read it may see who waits; only its user and root spend */
    WRITTEN_BY_OTHERS = 0022,
};
static const long LOCK_PAUSE_NS = 5 * 1000 * 1000;
static const char FILE_NAME[] = "budget-1"; /* TP_BUDGET_LAYOUT_VERSION */
static const char NEW_NAME[] = "budget-1.new";
static const char LOCK_NAME[] = "budget.lock";

/* A directory and who may be believed there. */
struct place {
    int directory;
    struct stat of_directory;
    const uint8_t *boot_id;
    const uint64_t *now;
};

enum tp_segment_status tp_budget_header_check(const struct tp_budget_header *header,
                                              uint64_t file_size, struct tp_segment_error *error)
{
    if (file_size < sizeof(struct tp_budget_memory))
        return tp_segment_fail(error, TP_SEGMENT_TRUNCATED, "budget size", file_size,
                               sizeof(struct tp_budget_memory));
    if (header->magic != TP_BUDGET_MAGIC)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_MAGIC, "magic", header->magic,
                               TP_BUDGET_MAGIC);
    if (header->byte_order != TP_SEGMENT_BYTE_ORDER)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_BYTE_ORDER, "byte order", header->byte_order,
                               TP_SEGMENT_BYTE_ORDER);
    if (header->layout_version != TP_BUDGET_LAYOUT_VERSION)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_VERSION, "layout version",
                               header->layout_version, TP_BUDGET_LAYOUT_VERSION);
    if (header->entry_count != TP_BUDGET_ENTRY_COUNT ||
        header->total_size != sizeof(struct tp_budget_memory))
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "entry count", header->entry_count,
                               TP_BUDGET_ENTRY_COUNT);
    return TP_SEGMENT_OK;
}

/* Ours, root's, or that of the directory's user: others must not be able to hold us back. */
static enum tp_segment_status file_check(const struct place *place, int file, struct stat *found,
                                         struct tp_budget_header *header,
                                         struct tp_segment_error *error)
{
    if (fstat(file, found) != 0 || !S_ISREG(found->st_mode))
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fstat (a regular file?)", (uint64_t)errno,
                               0);
    if ((found->st_uid != 0 && found->st_uid != geteuid() &&
         found->st_uid != place->of_directory.st_uid) ||
        (found->st_mode & WRITTEN_BY_OTHERS) != 0)
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "owner of the budget", found->st_uid,
                               geteuid());
    if (pread(file, header, sizeof *header, 0) != (ssize_t)sizeof *header)
        return tp_segment_fail(error, TP_SEGMENT_TRUNCATED, "budget size", (uint64_t)found->st_size,
                               sizeof(struct tp_budget_memory));
    return tp_budget_header_check(header, (uint64_t)found->st_size, error);
}

static enum tp_segment_status memory_map(struct tp_budget *budget, int file, bool is_private,
                                         struct tp_segment_error *error)
{
    const int flags = is_private ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *base = mmap(NULL, sizeof *budget->memory, PROT_READ | PROT_WRITE, flags,
                      is_private ? -1 : file, 0);
    if (base == MAP_FAILED)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "mmap of the budget", (uint64_t)errno, 0);
    budget->memory = base;
    if (!is_private)
        budget->is_guarded =
            tp_mapping_guard_add(base, sizeof *budget->memory, PROT_READ | PROT_WRITE);
    return TP_SEGMENT_OK;
}

/* TP_SEGMENT_ABSENT: no sound file of this boot that we may write is there. */
static enum tp_segment_status file_open(struct tp_budget *budget, const struct place *place,
                                        struct tp_segment_error *error)
{
    struct tp_budget_header header;
    struct stat found;
    const int file =
        openat(place->directory, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return tp_segment_fail(error, TP_SEGMENT_ABSENT, "open of the budget", (uint64_t)errno, 0);
    enum tp_segment_status status = file_check(place, file, &found, &header, error);
    if (status == TP_SEGMENT_OK && memcmp(header.boot_id, place->boot_id, 16) != 0)
        status = tp_segment_fail(error, TP_SEGMENT_ABSENT, "boot", 0, 0);
    if (status == TP_SEGMENT_OK)
        status = memory_map(budget, file, false, error);
    if (status == TP_SEGMENT_OK) {
        budget->inode = found.st_ino;
        budget->device = found.st_dev;
    }
    close(file);
    return status;
}

/* ---- building it anew ---- */

static void entry_carry(struct tp_budget_entry *to, const struct tp_budget_entry *from,
                        const struct place *place, bool is_same_boot)
{
    const uint64_t unix_ns = atomic_load_explicit(&from->pause_until_unix_ns, memory_order_relaxed);
    const uint64_t length = atomic_load_explicit(&from->pause_length_ns, memory_order_relaxed);
    uint64_t left = tp_budget_pause_left_ns(from, place->now[0]);
    if (!is_same_boot) {
        left = unix_ns > place->now[1] ? unix_ns - place->now[1] : 0;
        left = left < length ? left : length; /* the time of day may have been set back */
        left = left <= TP_BUDGET_PAUSE_MAX_NS ? left : 0;
    }
    memcpy(to, from, sizeof *to); /* of a copy that nobody else has, to one that nobody sees yet */
    to->pause_until_ns = left != 0 ? place->now[0] + left : 0;
    for (int kind = 0; kind < TP_BUDGET_KIND_COUNT && !is_same_boot; kind++)
        to->bucket[kind] = (struct tp_budget_bucket){0};
}

/* What an older file knows; nothing of one that is not to be believed. */
static void file_carry(struct tp_budget_memory *to, const struct place *place)
{
    struct tp_segment_error error;
    struct tp_budget_header header;
    struct stat found;
    const int file =
        openat(place->directory, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct tp_budget_memory *from = malloc(sizeof *from);
    if (file >= 0 && from != NULL &&
        file_check(place, file, &found, &header, &error) == TP_SEGMENT_OK &&
        pread(file, from, sizeof *from, 0) == (ssize_t)sizeof *from) {
        const bool is_same = memcmp(header.boot_id, place->boot_id, 16) == 0;
        for (int i = 0; i < TP_BUDGET_ENTRY_COUNT; i++)
            entry_carry(&to->entry[i], &from->entry[i], place, is_same);
    }
    free(from);
    if (file >= 0)
        close(file);
}

static int lock_take(const struct place *place)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    const int lock =
        openat(place->directory, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return -1;
    /* By root: for the user whose directory it is. */
    if (geteuid() != place->of_directory.st_uid &&
        fchown(lock, place->of_directory.st_uid, (gid_t)-1) != 0)
        errno = 0;
    for (int tries = 0; tries < LOCK_TRIES_MAX; tries++) {
        if (flock(lock, LOCK_EX | LOCK_NB) == 0)
            return lock;
        nanosleep(&pause, NULL);
    }
    close(lock);
    errno = EWOULDBLOCK;
    return -1;
}

static enum tp_segment_status file_build(struct tp_budget *budget, const struct place *place,
                                         struct tp_segment_error *error)
{
    struct stat built;
    unlinkat(place->directory, NEW_NAME, 0); /* of one that died here: we hold the lock */
    const int file = openat(place->directory, NEW_NAME,
                            O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open of the budget", (uint64_t)errno, 0);
    enum tp_segment_status status = TP_SEGMENT_OK;
    const int reason = posix_fallocate(file, 0, sizeof(struct tp_budget_memory));
    if (reason != 0)
        status = tp_segment_fail(error, TP_SEGMENT_SYSTEM, "posix_fallocate of the budget",
                                 (uint64_t)reason, 0);
    if (status == TP_SEGMENT_OK)
        status = memory_map(budget, file, false, error);
    if (status == TP_SEGMENT_OK) {
        budget->memory->header = (struct tp_budget_header){
            .magic = TP_BUDGET_MAGIC,
            .byte_order = TP_SEGMENT_BYTE_ORDER,
            .layout_version = TP_BUDGET_LAYOUT_VERSION,
            .entry_count = TP_BUDGET_ENTRY_COUNT,
            .total_size = sizeof(struct tp_budget_memory),
        };
        memcpy(budget->memory->header.boot_id, place->boot_id, 16);
        file_carry(budget->memory, place);
        if (geteuid() == 0 && fchown(file, place->of_directory.st_uid, (gid_t)-1) != 0)
            errno = 0; /* a service may be forbidden the call: then it is root's */
        if (fchmod(file, FILE_MODE) != 0 || fstat(file, &built) != 0 ||
            renameat(place->directory, NEW_NAME, place->directory, FILE_NAME) != 0)
            status = tp_segment_fail(error, TP_SEGMENT_SYSTEM, "rename of the budget",
                                     (uint64_t)errno, 0);
    }
    close(file);
    if (status != TP_SEGMENT_OK) {
        unlinkat(place->directory, NEW_NAME, 0);
        return status;
    }
    budget->inode = built.st_ino;
    budget->device = built.st_dev;
    return TP_SEGMENT_OK;
}

static enum tp_segment_status place_open(struct tp_budget *budget, const struct place *place,
                                         struct tp_segment_error *error)
{
    if (file_open(budget, place, error) == TP_SEGMENT_OK)
        return TP_SEGMENT_OK;
    const int lock = lock_take(place);
    if (lock < 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "lock of the budget", (uint64_t)errno, 0);
    enum tp_segment_status status = file_open(budget, place, error); /* another one built it */
    if (status != TP_SEGMENT_OK)
        status = file_build(budget, place, error);
    close(lock);
    return status;
}

enum tp_segment_status tp_budget_open(struct tp_budget **out, const char *directory,
                                      const uint8_t boot_id[16], const uint64_t now[2],
                                      struct tp_segment_error *error)
{
    struct place place = {.boot_id = boot_id, .now = now};
    enum tp_segment_status status;
    *out = NULL;
    struct tp_budget *budget = calloc(1, sizeof *budget);
    if (budget == NULL)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "calloc", ENOMEM, 0);
    if (directory == NULL) {
        status = memory_map(budget, -1, true, error);
    } else {
        place.directory = tp_segment_directory_open(directory);
        status = place.directory < 0 || fstat(place.directory, &place.of_directory) != 0
                     ? tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open of the run directory",
                                       (uint64_t)errno, 0)
                     : place_open(budget, &place, error);
        if (place.directory >= 0)
            close(place.directory);
    }
    if (status != TP_SEGMENT_OK) {
        tp_budget_close(budget);
        return status;
    }
    *out = budget;
    return TP_SEGMENT_OK;
}

void tp_budget_close(struct tp_budget *budget)
{
    if (budget == NULL)
        return;
    if (budget->is_guarded)
        tp_mapping_guard_remove(budget->memory);
    if (budget->memory != NULL)
        munmap(budget->memory, sizeof *budget->memory);
    free(budget);
}
