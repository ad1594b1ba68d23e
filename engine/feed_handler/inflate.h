/* Messages that are gzip members (RFC 1952), each whole: undone before anybody reads them.
 *
 * What comes out is what the feed, the tap and the cold side see, so that nobody behind this stage
 * knows of compression, and a recording replays without it. A message that does not begin as a
 * member passes as it is, and so does one that is refused: no venue's text begins with a member's
 * first byte, so its router calls that broken. Refused is all that this venue's members never are:
 * one that is cut, altered, longer than size_max, followed by anything, or with a name, a comment
 * or other fields in its header.
 *
 * Called by: hot_path.c, and inflate.py for what the cold side reads itself. Calls: libdeflate.
 * Any thread; one has one owner. Memory at the start; no message allocates. */
#ifndef TP_ENGINE_INFLATE_H
#define TP_ENGINE_INFLATE_H
#include <stddef.h>

#include "netstack/span.h"

struct tp_inflate;

enum tp_inflated {
    TP_INFLATED_PLAIN,   /* it is no member: unchanged */
    TP_INFLATED_DONE,    /* the message is the text now, until the next call */
    TP_INFLATED_REFUSED, /* unchanged */
};

/* size_max: bytes of a text. NULL: no memory. */
struct tp_inflate *tp_inflate_new(size_t size_max);
void tp_inflate_free(struct tp_inflate *inflate);
enum tp_inflated tp_inflate_message(struct tp_inflate *inflate, struct tp_span *message);
#endif
