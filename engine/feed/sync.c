/* The sync rule of sync.h as a table. */
#include "engine/feed/sync.h"

/* Where the message begins, seen from the book's version. */
enum { BEGINS_BEFORE, BEGINS_NEXT, BEGINS_AFTER };

/* [phase][begins], for messages that end after the version; those that do not are dropped. */
static const uint8_t VERDICT[3][3] = {
    [TP_SYNC_BUFFERING] = {TP_SYNC_BUFFER, TP_SYNC_BUFFER, TP_SYNC_BUFFER},
    /* The snapshot was taken in the middle of the range: absolute levels, so all of it holds. */
    [TP_SYNC_FIRST] = {TP_SYNC_APPLY, TP_SYNC_APPLY, TP_SYNC_GAP},
    /* A range that overlaps the last one is not a chain that we know. */
    [TP_SYNC_FOLLOWING] = {TP_SYNC_GAP, TP_SYNC_APPLY, TP_SYNC_GAP},
};

enum tp_sync_verdict tp_sync_judge(enum tp_sync_phase phase, uint64_t version,
                                   uint64_t first_version, uint64_t last_version)
{
    if (phase != TP_SYNC_BUFFERING && last_version <= version)
        return TP_SYNC_DROP;
    const unsigned begins = first_version <= version       ? BEGINS_BEFORE
                            : first_version - 1 == version ? BEGINS_NEXT
                                                           : BEGINS_AFTER;
    return (enum tp_sync_verdict)VERDICT[phase][begins];
}
