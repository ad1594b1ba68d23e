/* The rule that keeps a book contiguous: versions in, verdict out, no state of its own.
 *
 * MEXC spot (docs read 2026-06-17): levels are absolute; keep messages until the REST snapshot of
 * version v is there; drop those with last_version <= v; the first that is used must reach back to
 * v + 1 or before; from then on each first_version is the previous last_version + 1. The documents'
 * rule 6, read literally (first_version > v: start again), would refuse the contiguous case
 * first_version == v + 1. Called by feed.c; any thread. */
#ifndef TP_ENGINE_SYNC_H
#define TP_ENGINE_SYNC_H
#include <stdint.h>

enum tp_sync_phase {
    TP_SYNC_BUFFERING = 0, /* no snapshot yet */
    TP_SYNC_FIRST = 1,     /* a snapshot of `version`, no message on top of it yet */
    TP_SYNC_FOLLOWING = 2, /* `version` is the last message's last_version */
};

enum tp_sync_verdict {
    TP_SYNC_APPLY = 0,
    TP_SYNC_BUFFER = 1,
    TP_SYNC_DROP = 2, /* holds nothing newer than the book */
    TP_SYNC_GAP = 3,  /* something is missing in between: a newer snapshot is needed */
};

/* first_version <= last_version is the caller's to check. */
enum tp_sync_verdict tp_sync_judge(enum tp_sync_phase phase, uint64_t version,
                                   uint64_t first_version, uint64_t last_version);
#endif
