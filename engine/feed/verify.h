/* Whether a book that is quiet is still the venue's: what makes LIVE more than the absence of news.
 *
 * A book is proved by each message of its own. One that has had none for verify_after_ns is asked
 * about: the cold side fetches a base, which is compared here, on the hot thread, between two
 * messages; so is one that answers a request on the socket, and one of the stream itself replaces
 * the book. What is not proved for
 * verify_limit_ns is not LIVE, whatever the cold side does: the deadline is the hot thread's.
 *
 *   equal          proved as of when it was asked
 *   same number, other levels    DIFFERENT: built anew
 *   newer, other levels, and no message within a grace time    DEAF: the venue has a book that its
 *                  stream does not bring. Built anew once a message of its own shows that it does
 *   older          says nothing: asked again
 *
 * A newer number with equal levels is equal: venues count changes that they do not send. Called by
 * feed_state.c each tick, engine/recording/replayer.c (tp_feed_conclude). Hot path's thread. */
#ifndef TP_ENGINE_VERIFY_H
#define TP_ENGINE_VERIFY_H
#include <stdbool.h>
#include <stdint.h>

struct tp_feed;
struct tp_feed_base;

enum tp_verdict {
    TP_VERDICT_EQUAL = 1,
    TP_VERDICT_DIFFERENT = 2,
    TP_VERDICT_DEAF = 3,
    TP_VERDICT_UNANSWERED = 4, /* the deadline passed */
};

/* What a verdict means for the book; it is tapped, so that a replay needs no clock and no base.
 * proved_ns: of EQUAL, when it was so. */
void tp_feed_conclude(struct tp_feed *feed, uint32_t instrument, enum tp_verdict verdict,
                      uint64_t proved_ns, uint64_t now_ns);
/* Looks at a few books. */
void feed_verify_tick(struct tp_feed *feed, uint64_t now_ns);
/* A base that was asked for to compare, each side best first. */
void feed_verify_answer(struct tp_feed *feed, const struct tp_feed_base *base, uint64_t now_ns);
/* The venue says that nothing changed, on the book's own channel. */
void feed_prove(struct tp_feed *feed, uint32_t index, uint64_t proved_ns, uint64_t now_ns);
/* Whether it was not proved for as long as it may be. */
bool feed_is_unproved(struct tp_feed *feed, uint32_t index, uint64_t now_ns);
/* What was asked is of no use any more: another base is on its way. */
void feed_verify_forget(struct tp_feed *feed, uint32_t index);
#endif
