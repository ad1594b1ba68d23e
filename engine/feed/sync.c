/* The judge of sync.h: where a message stands to the book by its venue's chain, then a table. */
#include "engine/feed/sync.h"

/* Where a message stands, seen from the book's number. */
enum relation {
    OLD,       /* ends at it or before */
    NEXT,      /* follows it */
    OVERLAP,   /* begins at it or before, ends after it */
    AFTER,     /* leaves something out */
    SAME,      /* names it as the one before and as its own */
    BACK,      /* follows it with a lower number of its own */
    FROM_ZERO, /* names 0 as the one before */
    RELATION_COUNT,
};

/* What each relation means; OVERLAP and the last three only where the rule knows them. */
static const uint8_t VERDICT[RELATION_COUNT] = {
    [OLD] = TP_SYNC_DROP,          [NEXT] = TP_SYNC_APPLY,     [OVERLAP] = TP_SYNC_APPLY,
    [AFTER] = TP_SYNC_GAP,         [SAME] = TP_SYNC_UNCHANGED, [BACK] = TP_SYNC_APPLY,
    [FROM_ZERO] = TP_SYNC_RESTART,
};

static inline enum relation range_relation(uint64_t version, const struct tp_depth_update *update)
{
    if (update->last_version <= version)
        return OLD;
    if (update->first_version <= version)
        return OVERLAP;
    return update->first_version - 1 == version ? NEXT : AFTER;
}

static enum relation previous_relation(const struct tp_sync_rule *rule, uint64_t version,
                                       const struct tp_depth_update *update)
{
    if (update->previous_version == version) {
        if (update->last_version > version)
            return NEXT;
        if (update->last_version == version)
            return rule->unchanged ? SAME : OLD;
        /* Nothing old names our own number: the venue counts anew, or is no venue that we know. */
        return rule->restart == TP_RESTART_CHAINED ? BACK : AFTER;
    }
    if (update->previous_version == 0 && rule->restart == TP_RESTART_ZERO)
        return FROM_ZERO;
    if (update->last_version <= version)
        return OLD;
    return update->first_version <= version ? OVERLAP : AFTER;
}

static inline enum relation relate(const struct tp_sync_rule *rule, uint64_t version,
                                   const struct tp_depth_update *update)
{
    if (rule->chain == TP_CHAIN_RANGE || rule->chain == TP_CHAIN_PLUS_ONE) /* a range of one */
        return range_relation(version, update);
    return rule->chain == TP_CHAIN_PREVIOUS ? previous_relation(rule, version, update) : NEXT;
}

enum tp_sync_verdict tp_sync_judge(const struct tp_sync_rule *rule, enum tp_sync_phase phase,
                                   uint64_t version, const struct tp_depth_update *update)
{
    if (phase == TP_SYNC_BUFFERING)
        return TP_SYNC_BUFFER;
    const enum relation relation = relate(rule, version, update);
    /* Absolute levels: a range that begins before the book's number does no harm. But later on a
     * venue that numbers without holes does not send one: not a chain that we know. */
    if (relation == OVERLAP &&
        !(phase == TP_SYNC_FIRST ? rule->meeting == TP_MEETING_COVERS : rule->may_overlap))
        return TP_SYNC_GAP;
    return (enum tp_sync_verdict)VERDICT[relation];
}
