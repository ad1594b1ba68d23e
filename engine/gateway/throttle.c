/* See throttle.h. */
#include "engine/gateway/throttle.h"

#include <assert.h>

static const uint64_t WINDOW_MAX_NS = UINT64_C(48) * 3600 * 1000000000;
/* Of a whole burst: with the time of now all sums stay below 2^63. */
static const uint64_t BURST_MAX_NS = UINT64_C(1) << 62;

bool tp_throttle_init(struct tp_throttle *throttle, const struct tp_throttle_rule *rule)
{
    if (rule->count > TP_THROTTLE_COUNT_MAX || rule->burst < 1 || rule->burst >= rule->count ||
        rule->kept >= rule->burst || rule->window_ns < rule->count ||
        rule->window_ns > WINDOW_MAX_NS)
        return false;
    /* A window that begins anywhere has the burst, and what is earned within it. */
    const uint64_t evenly = rule->count - rule->burst;
    throttle->interval_ns = (rule->window_ns + evenly - 1) / evenly;
    if (rule->burst > BURST_MAX_NS / throttle->interval_ns)
        return false;
    throttle->burst_ns = (rule->burst - 1) * throttle->interval_ns;
    throttle->kept_ns = rule->kept * throttle->interval_ns;
    throttle->whole_ns = 0;
    return true;
}

uint64_t tp_throttle_take(struct tp_throttle_set *set, bool is_cancel, uint64_t now_ns)
{
    assert(set->count <= TP_THROTTLE_RULES_MAX);
    uint64_t wait = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        const uint64_t one = tp_throttle_wait_ns(&set->rule[i], is_cancel, now_ns);
        wait = one > wait ? one : wait;
    }
    if (wait != 0)
        return wait;
    for (uint32_t i = 0; i < set->count; i++)
        tp_throttle_spend(&set->rule[i], now_ns);
    return 0;
}
