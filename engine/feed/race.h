/* Races: the same stream over several connections, of which the first copy of each update counts.
 *
 * The members of a race are connections numbered one after another that subscribe to the same. A
 * book in a race belongs to one of them at any time, its carrier (an instrument's `connection`): as
 * long as it has no base it is the carrier's alone, exactly as a book without a race. Once it is
 * followed, every member's messages count, by the venue's own numbers (rule->copies): what is not
 * newer than the book is a copy; what follows it is applied, whoever brought it; what leaves
 * something out is held until another member brings that, for TP_RACE_HOLD_NS at most. What is
 * applied is therefore a stream that one connection could have sent, and all that is demanded of a
 * LIVE book is demanded of it. A member that ends or falls silent costs no book anything while
 * another one met it: brought a number that the book has. docs/adr/0014 goes through the lines.
 *
 * Trades, best prices and status come from the carrier alone: most venues do not number them.
 * Hot path's thread, but for the last two. */
#ifndef TP_ENGINE_RACE_H
#define TP_ENGINE_RACE_H
#include <stdbool.h>
#include <stdint.h>

struct tp_feed;
struct tp_histogram;

enum { TP_RACE_COUNT_MAX = 8 };
/* Longer than addresses of one name differ, shorter than a retransmission. */
static const uint64_t TP_RACE_HOLD_NS = 100000000;

/* Lets connections [first, first + count) be one race; before the instruments of it are added, to
 * its first connection, and again with a row that comes later. False: out of range, or the feed was
 * made without config.races. */
bool tp_feed_race(struct tp_feed *feed, uint32_t first, uint32_t count);
/* As tp_feed_confirmed, tp_feed_refused and tp_feed_is_unconfirmed, of one connection. */
void tp_feed_confirmed_on(struct tp_feed *feed, uint32_t connection, uint32_t instrument,
                          uint64_t now_ns);
void tp_feed_refused_on(struct tp_feed *feed, uint32_t connection, uint32_t instrument,
                        uint64_t now_ns);
bool tp_feed_is_unconfirmed_on(const struct tp_feed *feed, uint32_t connection,
                               uint32_t instrument);
/* Changes of which a connection's copy was the first, and copies that it brought later. */
void tp_feed_race_score(const struct tp_feed *feed, uint32_t connection, uint64_t *won,
                        uint64_t *copied);

/* How long after the first copy a connection's copies came; before the hot thread runs. */
void tp_feed_race_measure(struct tp_feed *feed, uint32_t connection, struct tp_histogram *behind);

/* Whether each book that is followed on a connection could go on by another one now, which has all
 * that the book has: the connection may end, and no book leaves LIVE by that. */
bool tp_feed_may_leave(struct tp_feed *feed, uint32_t connection, uint64_t now_ns);

/* Any thread: whether something of the instrument's channel came on the connection since that
 * opened; and the connection that the book is on now. */
bool tp_feed_hears(const struct tp_feed *feed, uint32_t connection, uint32_t instrument);
uint32_t tp_feed_carrier(const struct tp_feed *feed, uint32_t instrument);
#endif
