/* The rule that keeps a book contiguous: a venue's rule and numbers in, verdict out, no state of
 * its own. Called by feed.c; any thread. */
#ifndef TP_ENGINE_SYNC_H
#define TP_ENGINE_SYNC_H
#include <stdint.h>

#include "proto/sync_rule.h"
#include "proto/update.h"

enum tp_sync_phase {
    TP_SYNC_BUFFERING = 0, /* no base yet */
    TP_SYNC_FIRST = 1,     /* a base of `version`, no message on top of it yet */
    TP_SYNC_FOLLOWING = 2, /* `version` is the last message's last_version */
};

enum tp_sync_verdict {
    TP_SYNC_APPLY = 0,
    TP_SYNC_BUFFER = 1,
    TP_SYNC_DROP = 2,      /* holds nothing newer than the book */
    TP_SYNC_GAP = 3,       /* something is missing in between: a newer base is needed */
    TP_SYNC_UNCHANGED = 4, /* the venue says that the book is still what it was */
    TP_SYNC_RESTART = 5,   /* the venue numbers anew: a base with the new numbers is needed */
};

/* Of a message that is no base; its first_version <= last_version is the decoder's promise. */
enum tp_sync_verdict tp_sync_judge(const struct tp_sync_rule *rule, enum tp_sync_phase phase,
                                   uint64_t version, const struct tp_depth_update *update);
#endif
