/* A feed that exists only to be rehearsed on: tp_feed_message on it does all that it does on the
 * feed whose understudy it is, and nobody sees it.
 *
 * It has instruments, a book, a ring and a snapshot table of its own, in private memory, and no
 * mailbox, gate, tap or histogram that anybody reads. Two things of the feed's it reads, and the
 * feed's messages change neither: the routers, and the instruments' rules. Its instruments share
 * one small book: before each message tp_feed_understudy_dress makes it that instrument's touch.
 *
 * tp_feed_touch only prefetches: what the next message of an instrument will read of the real one.
 *
 * Called by engine/feed_handler/rehearsal.c: made by the cold thread, used by the hot one. */
#ifndef TP_ENGINE_FEED_UNDERSTUDY_H
#define TP_ENGINE_FEED_UNDERSTUDY_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/feed/feed.h"
#include "netstack/span.h"

/* What of a message says whom it is for, and which number the book had before it. */
struct tp_feed_part {
    uint32_t connection, instrument;
    uint64_t version;
};

struct tp_feed_understudy;

/* Of a feed whose instruments may still come. NULL: no memory. */
struct tp_feed_understudy *tp_feed_understudy_new(const struct tp_feed *feed);
void tp_feed_understudy_free(struct tp_feed_understudy *understudy);
struct tp_feed *tp_feed_understudy_feed(struct tp_feed_understudy *understudy);
/* Bytes of one for so many instruments and connections, nearly. */
size_t tp_feed_understudy_size(const struct tp_feed_config *config);

/* The feed has just applied and published this message, whole: false where it is none that can be
 * rehearsed, since it has several parts. */
bool tp_feed_understudy_note(const struct tp_feed *feed, uint32_t connection, uint8_t opcode,
                             struct tp_span text, struct tp_feed_part *out);
/* Makes the understudy ready for that message again, its book the instrument's of now. False: it is
 * not LIVE, or not as it was. */
bool tp_feed_understudy_dress(struct tp_feed_understudy *understudy, const struct tp_feed *feed,
                              const struct tp_feed_part *part);
/* Messages that it has published. */
uint64_t tp_feed_understudy_published(const struct tp_feed_understudy *understudy);

void tp_feed_touch(const struct tp_feed *feed, const struct tp_feed_part *part);
#endif
