/* Messages of JSON with escapes, which are rewritten before anybody reads them (json_plain.h).
 *
 * A name that is written with escapes is none of ours, and its message would be left out without a
 * word, so that a book stayed LIVE without its changes. Called by feed.c, of few messages. */
#include <string.h>

#include "engine/feed/feed_parts.h"
#include "proto/encoding/json_plain.h"

bool feed_make_plain(struct tp_feed *feed, struct tp_span *text)
{
    if (text->size == 0 || text->size > FEED_PLAIN_SIZE_MAX ||
        (text->data[0] != '{' && text->data[0] != '[') ||
        memchr(text->data, '\\', text->size) == NULL)
        return false;
    const size_t size = tp_json_plain(text->data, text->size, feed->plain);
    const bool is_other = size != text->size;
    *text = (struct tp_span){feed->plain, size};
    feed->counters.escaped += is_other;
    return is_other;
}

enum tp_decode_status feed_decode_plain(struct tp_feed *feed, const struct tp_venue *venue,
                                        const struct tp_body *body, enum tp_decode_status status)
{
    struct tp_span text = {body->data, body->size};
    if (!feed_make_plain(feed, &text))
        return status;
    struct tp_body plain = *body;
    plain.data = text.data;
    plain.size = text.size;
    feed->misfit.text.at = NULL;
    return venue->decode_depth(&plain, feed->update);
}
