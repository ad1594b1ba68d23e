/* Building, opening, slots and futexes of control_segment.h.
 *
 * Called by: see the header. Cold, except the sleep and wake functions, which are system calls. */
#include "shm/control_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/mapping_guard.h"
#include "shm/segment_file.h"

static const uint64_t NS_PER_S = 1000000000;

/* ---- the file ---- */

static enum tp_segment_status memory_map(struct tp_control *control, int file,
                                         struct tp_segment_error *error)
{
    void *base = mmap(NULL, sizeof *control->memory, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_POPULATE, file, 0);
    if (base == MAP_FAILED)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "mmap of the control segment",
                               (uint64_t)errno, 0);
    control->memory = base;
    control->is_guarded =
        tp_mapping_guard_add(base, sizeof *control->memory, PROT_READ | PROT_WRITE);
    /* Without it a page may fault under memory pressure; nothing else depends on it. */
    (void)mlock(base, sizeof *control->memory);
    return TP_SEGMENT_OK;
}

/* The pid is for people; what tells owners apart is the rest. Where the kernel has no bytes yet,
 * the clock: no two owners that are judged by the word live at the same time in the same slot. */
static uint64_t owner_new(void)
{
    struct timespec now;
    uint32_t nonce;
    if (getrandom(&nonce, sizeof nonce, GRND_NONBLOCK) != (ssize_t)sizeof nonce) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        nonce = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 20;
    }
    return (uint64_t)getpid() << 32 | nonce | 1;
}

static struct tp_control *control_new(const struct tp_segment *segment)
{
    struct tp_control *control = calloc(1, sizeof *control);
    if (control != NULL) {
        control->directory = control->file = -1;
        control->clock = segment->header.clock;
        control->owner = owner_new();
    }
    return control;
}

/* A group that may read the data may register: who has r gets w, others are left out. */
static enum tp_segment_status file_give(int file, const struct tp_segment *segment,
                                        struct tp_segment_error *error)
{
    const mode_t mode = 0600 | ((segment->mode & 0040) != 0 ? 0060 : 0);
    struct stat made;
    if (fstat(file, &made) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fstat of the control segment",
                               (uint64_t)errno, 0);
    /* Asked only where it is needed: a service may be forbidden the call. */
    if (made.st_gid != segment->group && fchown(file, (uid_t)-1, segment->group) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fchown of the control segment",
                               (uint64_t)errno, 0);
    if (fchmod(file, mode) != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fchmod of the control segment",
                               (uint64_t)errno, 0);
    const int reason = posix_fallocate(file, 0, sizeof(struct tp_control_memory));
    if (reason == ENOSPC || reason == ENOMEM)
        return tp_segment_fail(error, TP_SEGMENT_NO_SPACE, "posix_fallocate", 0,
                               sizeof(struct tp_control_memory));
    if (reason != 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "posix_fallocate", (uint64_t)reason, 0);
    return TP_SEGMENT_OK;
}

static enum tp_segment_status file_build(struct tp_control *control,
                                         const struct tp_segment *segment, const char *new_name,
                                         struct tp_segment_error *error)
{
    struct stat built;
    unlinkat(control->directory, new_name, 0); /* of a writer that died here: we hold the lock */
    const int file = openat(control->directory, new_name,
                            O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "open of the control segment",
                               (uint64_t)errno, 0);
    enum tp_segment_status status = file_give(file, segment, error);
    if (status == TP_SEGMENT_OK)
        status = memory_map(control, file, error);
    if (status == TP_SEGMENT_OK) {
        control->memory->header = control->header;
        if (fstat(file, &built) != 0 ||
            renameat(control->directory, new_name, control->directory, control->name) != 0)
            status = tp_segment_fail(error, TP_SEGMENT_SYSTEM, "rename of the control segment",
                                     (uint64_t)errno, 0);
    }
    control->file = file;
    if (status != TP_SEGMENT_OK) {
        unlinkat(control->directory, new_name, 0);
        control->name[0] = '\0';
        return status;
    }
    control->inode = built.st_ino;
    control->device = built.st_dev;
    return TP_SEGMENT_OK;
}

enum tp_segment_status tp_control_create(struct tp_control **out, const struct tp_segment *segment,
                                         uint64_t lossless_deadline_ns,
                                         struct tp_segment_error *error)
{
    char new_name[TP_SEGMENT_FILE_NAME_SIZE];
    *out = NULL;
    struct tp_control *control = control_new(segment);
    if (control == NULL)
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "calloc", ENOMEM, 0);
    control->header = (struct tp_control_header){
        .magic = TP_CONTROL_MAGIC,
        .byte_order = TP_SEGMENT_BYTE_ORDER,
        .layout_version = TP_CONTROL_LAYOUT_VERSION,
        .slot_count = TP_CONTROL_SLOT_COUNT,
        .total_size = sizeof(struct tp_control_memory),
        .instance_id = segment->header.instance_id,
        .lossless_deadline_ns = lossless_deadline_ns,
    };
    tp_segment_file_name(new_name, segment->header.instance, ".ctl.new");
    tp_segment_file_name(control->name, segment->header.instance, ".ctl");
    control->directory = fcntl(segment->directory, F_DUPFD_CLOEXEC, 0);
    const enum tp_segment_status status =
        control->directory < 0
            ? tp_segment_fail(error, TP_SEGMENT_SYSTEM, "dup of the directory", (uint64_t)errno, 0)
            : file_build(control, segment, new_name, error);
    if (status != TP_SEGMENT_OK) {
        tp_control_close(control);
        return status;
    }
    *out = control;
    return TP_SEGMENT_OK;
}

static enum tp_segment_status header_check(const struct tp_control_header *header,
                                           const struct tp_segment *segment,
                                           struct tp_segment_error *error)
{
    if (header->magic != TP_CONTROL_MAGIC)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_MAGIC, "magic", header->magic,
                               TP_CONTROL_MAGIC);
    if (header->byte_order != TP_SEGMENT_BYTE_ORDER)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_BYTE_ORDER, "byte order", header->byte_order,
                               TP_SEGMENT_BYTE_ORDER);
    if (header->layout_version != TP_CONTROL_LAYOUT_VERSION)
        return tp_segment_fail(error, TP_SEGMENT_WRONG_VERSION, "layout version",
                               header->layout_version, TP_CONTROL_LAYOUT_VERSION);
    if (header->slot_count != TP_CONTROL_SLOT_COUNT ||
        header->total_size != sizeof(struct tp_control_memory))
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "slot count", header->slot_count,
                               TP_CONTROL_SLOT_COUNT);
    if (header->instance_id != segment->header.instance_id)
        return tp_segment_fail(error, TP_SEGMENT_BUILDING, "instance id", header->instance_id,
                               segment->header.instance_id);
    return TP_SEGMENT_OK;
}

/* It must be its writer's: anybody may put files into /dev/shm. */
static enum tp_segment_status file_check(struct tp_control *control, int file,
                                         const struct tp_segment *segment,
                                         struct tp_segment_error *error)
{
    struct stat found, data;
    if (fstat(file, &found) != 0 || fstat(segment->file, &data) != 0 || !S_ISREG(found.st_mode))
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "fstat (a regular file?)", (uint64_t)errno,
                               0);
    if (found.st_uid != data.st_uid)
        return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "owner of the control segment",
                               found.st_uid, data.st_uid);
    if ((uint64_t)found.st_size < sizeof(struct tp_control_memory) ||
        pread(file, &control->header, sizeof control->header, 0) != (ssize_t)sizeof control->header)
        return tp_segment_fail(error, TP_SEGMENT_TRUNCATED, "control segment size",
                               (uint64_t)found.st_size, sizeof(struct tp_control_memory));
    return header_check(&control->header, segment, error);
}

enum tp_segment_status tp_control_open(struct tp_control **out, const struct tp_segment *segment,
                                       struct tp_segment_error *error)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    *out = NULL;
    tp_segment_file_name(name, segment->header.instance, ".ctl");
    const int file = openat(segment->directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return tp_segment_fail(error, errno == ENOENT ? TP_SEGMENT_ABSENT : TP_SEGMENT_SYSTEM,
                               "open of the control segment", (uint64_t)errno, 0);
    struct tp_control *control = control_new(segment);
    if (control == NULL) {
        close(file);
        return tp_segment_fail(error, TP_SEGMENT_SYSTEM, "calloc", ENOMEM, 0);
    }
    control->file = file;
    enum tp_segment_status status = file_check(control, file, segment, error);
    if (status == TP_SEGMENT_OK)
        status = memory_map(control, file, error);
    if (status != TP_SEGMENT_OK) {
        tp_control_close(control);
        return status;
    }
    *out = control;
    return TP_SEGMENT_OK;
}

void tp_control_close(struct tp_control *control)
{
    struct stat found;
    if (control == NULL)
        return;
    if (control->name[0] != '\0' &&
        fstatat(control->directory, control->name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        found.st_ino == control->inode && found.st_dev == control->device)
        unlinkat(control->directory, control->name, 0);
    tp_control_release_hold(control);
}

void tp_control_hold(struct tp_control *control)
{
    atomic_fetch_add_explicit(&control->holders, 1, memory_order_relaxed);
}

void tp_control_release_hold(struct tp_control *control)
{
    if (atomic_fetch_sub_explicit(&control->holders, 1, memory_order_acq_rel) != 0)
        return;
    if (control->is_guarded)
        tp_mapping_guard_remove(control->memory);
    if (control->memory != NULL)
        munmap(control->memory, sizeof *control->memory);
    if (control->file >= 0)
        close(control->file); /* a consumer's lock goes with it */
    if (control->directory >= 0)
        close(control->directory);
    free(control);
}

/* ---- slots ---- */

static struct flock slot_range(uint32_t number, short type)
{
    return (struct flock){
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(offsetof(struct tp_control_memory, slot) +
                           number * sizeof(struct tp_control_slot)),
        .l_len = sizeof(struct tp_control_slot),
    };
}

bool tp_control_slot_is_held(int file, uint32_t number)
{
    struct flock range = slot_range(number, F_WRLCK);
    /* Where it cannot be told nobody may be called dead. */
    return fcntl(file, F_OFD_GETLK, &range) != 0 || range.l_type != F_UNLCK;
}

/* Our own locks do not conflict with each other, hence the mask; another's do. */
static int slot_lock(struct tp_control *control, uint32_t number)
{
    const uint64_t bit = UINT64_C(1) << number;
    struct flock range = slot_range(number, F_WRLCK);
    if ((atomic_fetch_or_explicit(&control->locked, bit, memory_order_acquire) & bit) != 0)
        return EAGAIN;
    if (fcntl(control->file, F_OFD_SETLK, &range) == 0)
        return 0;
    const int reason = errno;
    atomic_fetch_and_explicit(&control->locked, ~bit, memory_order_relaxed);
    return reason == EACCES ? EAGAIN : reason;
}

static void slot_unlock(struct tp_control *control, uint32_t number)
{
    struct flock range = slot_range(number, F_UNLCK);
    if (control->file >= 0)
        (void)fcntl(control->file, F_OFD_SETLK, &range);
    /* Release: pairs with the acquire in slot_lock, whose lock must not go before ours did. */
    atomic_fetch_and_explicit(&control->locked, ~(UINT64_C(1) << number), memory_order_release);
}

static bool slot_is_held(const struct tp_control *control, uint32_t number)
{
    return (atomic_load_explicit(&control->locked, memory_order_relaxed) >> number & 1) != 0 ||
           tp_control_slot_is_held(control->file, number);
}

static void registrations_move(struct tp_control *control)
{
    /* Pairs with the acquire load in tp_ring_gate_tick: it finds the slot as it is now. */
    atomic_fetch_add_explicit(&control->memory->line.registrations, 1, memory_order_release);
}

static void slot_fill(struct tp_control *control, struct tp_control_slot *slot,
                      const struct tp_control_claimant *claim)
{
    /* What is left of the owner before must not be taken for ours. */
    atomic_store_explicit(&slot->flags, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->is_gated, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->is_evicted, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->wants_wake, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->sleep_at, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->lapped_count, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->lost_count, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->cursor, claim->cursor, memory_order_relaxed);
    atomic_store_explicit(&slot->last_seen_ns, tp_clock_now_ns(&control->clock),
                          memory_order_relaxed);
    struct stat space;
    slot->pid_namespace = stat("/proc/self/ns/pid", &space) == 0 ? (uint64_t)space.st_ino : 0;
    memset(slot->name, 0, sizeof slot->name);
    if (claim->name != NULL)
        memcpy(slot->name, claim->name, strnlen(claim->name, sizeof slot->name - 1));
    /* Pairs with the acquire loads of flags: who sees ACTIVE sees the rest. */
    atomic_store_explicit(&slot->flags,
                          TP_CONTROL_ACTIVE | (claim->is_lossless ? TP_CONTROL_LOSSLESS : 0u),
                          memory_order_release);
    registrations_move(control);
}

enum tp_segment_status tp_control_claim(struct tp_control *control,
                                        const struct tp_control_claimant *claim,
                                        struct tp_control_slot **out,
                                        struct tp_segment_error *error)
{
    *out = NULL;
    for (int may_reclaim = 0; may_reclaim < 2; may_reclaim++) /* those that nobody names first */
        for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++) {
            struct tp_control_slot *slot = &control->memory->slot[i];
            if (may_reclaim == 0 && atomic_load_explicit(&slot->owner, memory_order_relaxed) != 0)
                continue;
            const int reason = slot_lock(control, i);
            if (reason == EAGAIN)
                continue;
            if (reason != 0)
                return tp_segment_fail(error, TP_SEGMENT_SYSTEM,
                                       "lock of a consumer's slot (F_OFD_SETLK)", (uint64_t)reason,
                                       0);
            /* Whoever is named there is dead: it would hold the lock. Acquire: the fields that are
             * reset come after. */
            (void)atomic_exchange_explicit(&slot->owner, control->owner, memory_order_acquire);
            slot_fill(control, slot, claim);
            *out = slot;
            return TP_SEGMENT_OK;
        }
    return tp_segment_fail(error, TP_SEGMENT_FULL, "slots", TP_CONTROL_SLOT_COUNT,
                           TP_CONTROL_SLOT_COUNT);
}

void tp_control_release(struct tp_control *control, struct tp_control_slot *slot)
{
    uint64_t own = control->owner;
    if (slot == NULL)
        return;
    if (atomic_load_explicit(&slot->owner, memory_order_relaxed) == own)
        atomic_store_explicit(&slot->flags, 0, memory_order_relaxed);
    /* Release: who claims it next writes after us. */
    if (atomic_compare_exchange_strong_explicit(&slot->owner, &own, 0, memory_order_release,
                                                memory_order_relaxed))
        registrations_move(control);
    slot_unlock(control, (uint32_t)(slot - control->memory->slot));
}

uint64_t tp_control_slowest(const struct tp_control *control, uint64_t next, bool only_lossless,
                            uint32_t *count)
{
    const uint32_t wanted = TP_CONTROL_ACTIVE | (only_lossless ? TP_CONTROL_LOSSLESS : 0u);
    uint64_t slowest = next;
    *count = 0;
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++) {
        const struct tp_control_slot *slot = &control->memory->slot[i];
        /* Pairs with the release store in slot_fill: its cursor is of this registration. */
        const uint32_t flags = atomic_load_explicit(&slot->flags, memory_order_acquire);
        if (atomic_load_explicit(&slot->owner, memory_order_relaxed) == 0 ||
            (flags & wanted) != wanted)
            continue;
        /* Pairs with the release store in the reader: it has copied all before its cursor. */
        const uint64_t cursor = atomic_load_explicit(&slot->cursor, memory_order_acquire);
        ++*count;
        if (cursor < slowest) /* one ahead of the ring cannot be, and holds nobody */
            slowest = cursor;
    }
    return slowest;
}

uint32_t tp_control_reap(struct tp_control *control)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++) {
        struct tp_control_slot *slot = &control->memory->slot[i];
        uint64_t owner = atomic_load_explicit(&slot->owner, memory_order_relaxed);
        if (owner == 0 || slot_is_held(control, i))
            continue;
        /* One that is claimed over meanwhile has another word by now, and stays. */
        if (atomic_compare_exchange_strong_explicit(&slot->owner, &owner, 0, memory_order_release,
                                                    memory_order_relaxed))
            count++;
    }
    if (count != 0)
        registrations_move(control);
    return count;
}

/* ---- sleep and wake ---- */

/* Not FUTEX_PRIVATE: the word is in a file that several processes map. An address that is no more
 * (truncated) is EFAULT, not a signal. */
int tp_control_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    const struct timespec timeout = {(time_t)(timeout_ns / NS_PER_S),
                                     (long)(timeout_ns % NS_PER_S)};
    return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) == 0 ? 0 : errno;
}

static void futex_wake(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void tp_control_ring_doorbell(struct tp_control *control)
{
    /* Release: pairs with the acquire load in tp_waker_run. Who sees this ring sees what was
     * announced before it; who does not is woken, or finds another value when it would sleep. */
    atomic_fetch_add_explicit(&control->memory->line.doorbell, 1, memory_order_release);
    futex_wake(&control->memory->line.doorbell);
}

void tp_control_announce_sleep(struct tp_control *control, struct tp_control_slot *slot,
                               uint64_t cursor)
{
    atomic_store_explicit(&slot->sleep_at, cursor, memory_order_relaxed);
    /* Release: pairs with the acquire load in the waker, which then reads sleep_at. */
    atomic_store_explicit(&slot->wants_wake, 1, memory_order_release);
    tp_control_ring_doorbell(control);
}

bool tp_control_sleep(struct tp_control_slot *slot, uint64_t timeout_ns)
{
    const int reason =
        timeout_ns != 0 ? tp_control_futex_wait(&slot->wants_wake, 1, timeout_ns) : ETIMEDOUT;
    atomic_store_explicit(&slot->wants_wake, 0, memory_order_relaxed);
    return reason != EINTR;
}

/* futex_waitv(2) takes an absolute time. */
static int futex_wait_on_many(struct tp_control_slot *const *slots, uint32_t count,
                              uint64_t timeout_ns)
{
    struct futex_waitv waits[TP_CONTROL_SLOT_COUNT] = {0};
    struct timespec now;
    for (uint32_t i = 0; i < count; i++) {
        waits[i].uaddr = (uintptr_t)&slots[i]->wants_wake;
        waits[i].val = 1;
        waits[i].flags = FUTEX_32;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t end = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec + timeout_ns;
    const struct timespec timeout = {(time_t)(end / NS_PER_S), (long)(end % NS_PER_S)};
    return syscall(SYS_futex_waitv, waits, count, 0, &timeout, CLOCK_MONOTONIC) >= 0 ? 0 : errno;
}

bool tp_control_sleep_on_many(struct tp_control_slot *const *slots, uint32_t count,
                              uint64_t timeout_ns)
{
    assert(count <= TP_CONTROL_SLOT_COUNT);
    const int reason = timeout_ns != 0 ? futex_wait_on_many(slots, count, timeout_ns) : ETIMEDOUT;
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&slots[i]->wants_wake, 0, memory_order_relaxed);
    return reason != EINTR && reason != ENOSYS;
}

bool tp_control_wake(struct tp_control_slot *slot)
{
    uint32_t wants = 1;
    /* The word first, then the call: a sleeper that is only about to sleep finds 0 and does not.
     * The other way round it would sleep with nobody left to wake it. */
    if (!atomic_compare_exchange_strong_explicit(&slot->wants_wake, &wants, 0, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    futex_wake(&slot->wants_wake);
    return true;
}
