/* The consumers' control segment, tickpath.<instance>.ctl: who reads, how far behind, who sleeps.
 *
 *   line 0        header, written by the writer before the file has its name; checked by readers
 *   line 1        doorbell, registrations, the waker's beat
 *   lines 2..65   one slot a registered consumer, 128 bytes
 *
 * The writer of the data segment builds it anew at each start (tp_control_create, before
 * tp_segment_ready), so that nothing survives from earlier consumers. Consumers map it read-write
 * (0660, the data segment's group). All of it may be written by any consumer at any time: the
 * writer's process believes no value of it, uses none as an index or a length, and a truncated file
 * reads as zeroes (shm/mapping_guard.h).
 *
 * A slot belongs to whoever holds a lock on its bytes of the file (an open file description's,
 * fcntl(2), F_OFD_SETLK): the kernel frees it however its process ends, and shows it to every judge
 * whatever namespaces lie between, where a pid means another process or none, and /proc may hide
 * it. `owner` says the same to the hot thread, which makes no system call: a word that no other
 * owner has. Its upper half is a pid, for people, in the namespace that `pid_namespace` names.
 *
 * Called by: shm/segment_reader.c (consumers), shm/ring_gate.c and shm/waker.c (the writer's
 * process), shm/control_segment.py. Layout: docs/shared-memory.md. */
#ifndef TP_SHM_CONTROL_SEGMENT_H
#define TP_SHM_CONTROL_SEGMENT_H
#include "shm/segment.h"

/* "TICKCTRL" as the bytes of a little-endian word. */
#define TP_CONTROL_MAGIC UINT64_C(0x4C5254434B434954)

enum {
    TP_CONTROL_LAYOUT_VERSION = 2,
    TP_CONTROL_SLOT_COUNT = 64,
    TP_CONTROL_NAME_SIZE = 32,
    /* The waker looks at the doorbell at least ten times as often. */
    TP_CONTROL_WAKER_SILENT_NS = 1000 * 1000 * 1000,
};

/* Flags of a slot. */
enum {
    TP_CONTROL_ACTIVE = 1,   /* its fields are those of its owner */
    TP_CONTROL_LOSSLESS = 2, /* the writer is asked to wait for its cursor */
};

struct tp_control_header {
    uint64_t magic;
    uint64_t byte_order;
    uint32_t layout_version, slot_count;
    uint64_t total_size;
    uint64_t instance_id;          /* of the data segment that it belongs to */
    uint64_t lossless_deadline_ns; /* 0: the writer waits for nobody */
    uint8_t reserved[TP_SEGMENT_LINE_SIZE - 48];
};
static_assert(sizeof(struct tp_control_header) == TP_SEGMENT_LINE_SIZE, "layout 2");

struct tp_control_line {
    _Atomic uint32_t doorbell;      /* futex: a consumer that goes to sleep adds 1 and wakes */
    _Atomic uint32_t registrations; /* moves with each change of who is registered, and how */
    _Atomic uint64_t waker_beat_ns; /* of the segment's clock; 0: no waker yet */
    uint8_t reserved[TP_SEGMENT_LINE_SIZE - 16];
};
static_assert(sizeof(struct tp_control_line) == TP_SEGMENT_LINE_SIZE, "layout 2");

struct tp_control_slot {
    _Atomic uint64_t owner; /* pid << 32 | a random odd number; 0: free */
    _Atomic uint32_t flags;
    _Atomic uint32_t is_gated; /* the writer's answer to LOSSLESS: it waits from now on */
    _Atomic uint64_t cursor;   /* index of the event to read next, stored every so many events */
    _Atomic uint64_t lapped_count, lost_count; /* times and events */
    _Atomic uint64_t last_seen_ns;             /* of the segment's clock */
    _Atomic uint64_t sleep_at;                 /* the cursor of a consumer that sleeps */
    _Atomic uint32_t wants_wake;               /* futex: 1 while it sleeps or is about to */
    _Atomic uint32_t is_evicted;               /* the writer no longer waits for it */
    char name[TP_CONTROL_NAME_SIZE];           /* NUL-padded; for people */
    uint64_t pid_namespace;                    /* inode of /proc/self/ns/pid; 0: not known */
    uint8_t reserved[TP_SEGMENT_LINE_SIZE - 104];
};
static_assert(sizeof(struct tp_control_slot) == TP_SEGMENT_LINE_SIZE, "layout 2");
static_assert(offsetof(struct tp_control_slot, wants_wake) == 56, "layout 2");

struct tp_control_memory {
    struct tp_control_header header;
    struct tp_control_line line;
    struct tp_control_slot slot[TP_CONTROL_SLOT_COUNT];
};

struct tp_control {
    struct tp_control_memory *memory;
    struct tp_control_header header; /* private, validated copy: use this, never the mapped one */
    struct tp_clock clock;           /* of the data segment */
    char name[160];                  /* the writer's: to remove the file; else empty */
    uint64_t inode, device;
    int directory, file;
    uint64_t owner;          /* our word in each slot that we claim */
    _Atomic uint64_t locked; /* a bit for each slot whose lock is ours */
    bool is_guarded;
    _Atomic uint32_t holders; /* as in struct tp_segment */
};

/* Writer: builds the control segment of its data segment, before tp_segment_ready. The data
 * segment must outlive it. */
enum tp_segment_status tp_control_create(struct tp_control **control,
                                         const struct tp_segment *segment,
                                         uint64_t lossless_deadline_ns,
                                         struct tp_segment_error *error);
/* Consumer: maps the control segment of a data segment that it reads. TP_SEGMENT_ABSENT: its
 * writer has none; TP_SEGMENT_BUILDING: there is one, of another build of the data segment. */
enum tp_segment_status tp_control_open(struct tp_control **control,
                                       const struct tp_segment *segment,
                                       struct tp_segment_error *error);
/* A writer's: the file is removed if it is still ours. NULL is fine. */
void tp_control_close(struct tp_control *control);
/* As tp_segment_hold and tp_segment_release. */
void tp_control_hold(struct tp_control *control);
void tp_control_release_hold(struct tp_control *control);

struct tp_control_claimant {
    const char *name; /* cut to TP_CONTROL_NAME_SIZE - 1 */
    uint64_t cursor;
    bool is_lossless;
};

/* Claims a free slot, or one of a process that died. TP_SEGMENT_FULL: all are held; SYSTEM: the
 * file system of the segment has no such locks, so that nobody could see that we live. */
enum tp_segment_status tp_control_claim(struct tp_control *control,
                                        const struct tp_control_claimant *claim,
                                        struct tp_control_slot **slot,
                                        struct tp_segment_error *error);
/* Gives it back, if it is still ours. NULL is fine. */
void tp_control_release(struct tp_control *control, struct tp_control_slot *slot);
/* The cursor of the slowest registered consumer, `next` where there is none: what a writer that has
 * time keeps its ring for. Where only_lossless, of those that asked to be waited for. *count: how
 * many there are. Cold. */
uint64_t tp_control_slowest(const struct tp_control *control, uint64_t next, bool only_lossless,
                            uint32_t *count);
/* Frees the slots of processes that died; returns how many. Cold: a system call for each owner. */
uint32_t tp_control_reap(struct tp_control *control);
/* Somebody else than this open file holds the slot's lock: its owner lives. Cold. */
bool tp_control_slot_is_held(int file, uint32_t number);

/* True while the waker shows itself: a sleeper without one would only be woken by its timeout. */
static inline bool tp_control_waker_lives(const struct tp_control *control)
{
    const uint64_t beat =
        atomic_load_explicit(&control->memory->line.waker_beat_ns, memory_order_relaxed);
    const uint64_t now = tp_clock_now_ns(&control->clock);
    return beat != 0 && (now < beat || now - beat < TP_CONTROL_WAKER_SILENT_NS);
}

/* Announces, with the doorbell, that the slot's owner sleeps at this cursor. Look at the ring once
 * more, then tp_control_sleep. */
void tp_control_announce_sleep(struct tp_control *control, struct tp_control_slot *slot,
                               uint64_t cursor);
/* Sleeps until woken, a signal, or timeout_ns (0: not at all); withdraws the announcement. False:
 * it was a signal. */
bool tp_control_sleep(struct tp_control_slot *slot, uint64_t timeout_ns);
/* As tp_control_sleep, on many slots that were announced, until the first is woken; withdraws all.
 * False: a signal, or a kernel before 5.16, which cannot. */
bool tp_control_sleep_on_many(struct tp_control_slot *const *slots, uint32_t count,
                              uint64_t timeout_ns);
/* Wakes a sleeper, or one that announced itself and does not sleep yet. Returns false if it was
 * neither. */
bool tp_control_wake(struct tp_control_slot *slot);
/* Waits on a futex word of the file: 0, or errno: EAGAIN where it had another value already, EINTR,
 * ETIMEDOUT. */
int tp_control_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
void tp_control_ring_doorbell(struct tp_control *control);
#endif
