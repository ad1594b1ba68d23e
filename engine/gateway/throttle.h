/* How many requests may still be sent: a venue's rules, each a word of time (GCRA, the "theoretical
 * arrival time" of ITU-T I.371), as shm/budget.h has them for all processes of a host.
 *
 * A rule never lets more than `count` through in any window of its length, wherever the window
 * begins: `burst` at once, the rest evenly. New orders leave `kept` of the burst for cancels. What
 * would exceed any rule takes nothing of the others, and learns when it would pass.
 *
 * Called by: the gateway, before a request is written. One thread; no clock is read. */
#ifndef TP_ENGINE_THROTTLE_H
#define TP_ENGINE_THROTTLE_H
#include <stdbool.h>
#include <stdint.h>

enum { TP_THROTTLE_RULES_MAX = 8, TP_THROTTLE_COUNT_MAX = 1 << 20 };

struct tp_throttle {
    uint64_t whole_ns;    /* when all that was spent will have been earned again */
    uint64_t interval_ns; /* that earns one */
    uint64_t burst_ns;    /* debt that one more may be added to */
    uint64_t kept_ns;     /* of it, for cancels alone */
};

/* count in any window at most; 1 <= burst < count, kept < burst. False: a number that cannot be, or
 * a burst that takes more than 146 years to earn. */
struct tp_throttle_rule {
    uint64_t window_ns;
    uint32_t count, burst, kept;
};
bool tp_throttle_init(struct tp_throttle *throttle, const struct tp_throttle_rule *rule);

/* How long until one more may be sent; 0: now. Nothing is taken. */
static inline uint64_t tp_throttle_wait_ns(const struct tp_throttle *throttle, bool is_cancel,
                                           uint64_t now_ns)
{
    const uint64_t debt = throttle->whole_ns > now_ns ? throttle->whole_ns - now_ns : 0;
    const uint64_t room = throttle->burst_ns - (is_cancel ? 0 : throttle->kept_ns);
    return debt > room ? debt - room : 0;
}

static inline void tp_throttle_spend(struct tp_throttle *throttle, uint64_t now_ns)
{
    const uint64_t from = throttle->whole_ns > now_ns ? throttle->whole_ns : now_ns;
    throttle->whole_ns = from + throttle->interval_ns;
}

struct tp_throttle_set {
    uint32_t count;
    struct tp_throttle rule[TP_THROTTLE_RULES_MAX];
};
/* Takes one of each: 0; else how long to wait, and nothing is taken. */
uint64_t tp_throttle_take(struct tp_throttle_set *set, bool is_cancel, uint64_t now_ns);
#endif
