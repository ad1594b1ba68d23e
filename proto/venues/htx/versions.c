/* The numbers of a change whose levels were refused. Called by venue.c; calls proto/encoding. Any
 * thread. */
#include "proto/venues/htx/decode.h"

enum { SEEN_LAST = 0x1, SEEN_PREVIOUS = 0x2, SEEN_ALL = SEEN_LAST | SEEN_PREVIOUS };

static unsigned take_field(struct tp_json *in, struct tp_text key, struct tp_depth_update *out)
{
    if (tp_text_is(key, "seqNum"))
        return tp_json_unsigned(in, &out->last_version) ? SEEN_LAST : 0;
    if (tp_text_is(key, "prevSeqNum"))
        return tp_json_unsigned(in, &out->previous_version) ? SEEN_PREVIOUS : 0;
    (void)tp_json_skip(in);
    return 0;
}

/* Returns what it has, as far as it is sure: a number that ends where the message was cut could go
 * on. */
static unsigned take_tick(struct tp_json *in, struct tp_depth_update *out)
{
    struct tp_text key;
    unsigned seen = 0, sure = 0;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        sure = seen;
        seen |= take_field(in, key, out);
    }
    return in->status == TP_DECODE_OK ? seen : sure;
}

bool tp_htx_read_versions(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "tick"))
            seen = take_tick(&in, out);
        else
            (void)tp_json_skip(&in);
    if (seen != SEEN_ALL || out->previous_version > out->last_version)
        return false;
    out->first_version =
        out->previous_version < out->last_version ? out->previous_version + 1 : out->last_version;
    return true;
}
