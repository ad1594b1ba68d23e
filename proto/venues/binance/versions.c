/* The numbers of a depth message whose levels were refused. Called by venue.c; calls
 * proto/encoding. Any thread. */
#include "proto/encoding/json.h"
#include "proto/venues/binance/decode.h"

enum { SEEN_FIRST = 0x1, SEEN_LAST = 0x2, SEEN_PREVIOUS = 0x4 };

static unsigned take_field(struct tp_json *in, struct tp_text key, struct tp_depth_update *out)
{
    if (tp_text_is(key, "pu"))
        return tp_json_unsigned(in, &out->previous_version) ? SEEN_PREVIOUS : 0;
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'U':
        return tp_json_unsigned(in, &out->first_version) ? SEEN_FIRST : 0;
    case 'u':
        return tp_json_unsigned(in, &out->last_version) ? SEEN_LAST : 0;
    default:
        (void)tp_json_skip(in);
        return 0;
    }
}

/* wanted: of SEEN. */
static bool read_versions(const struct tp_body *body, unsigned wanted, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0, sure = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    out->previous_version = 0;
    while (tp_json_key(&in, &key)) {
        sure = seen; /* a number that ends where the message was cut could go on */
        seen |= take_field(&in, key, out);
    }
    if (tp_binance_finish(&in) == TP_DECODE_OK)
        sure = seen;
    return (sure & wanted) == wanted && out->first_version <= out->last_version;
}

bool tp_binance_read_versions(const struct tp_body *body, struct tp_depth_update *out)
{
    const bool is_read = read_versions(body, SEEN_FIRST | SEEN_LAST, out);
    out->previous_version = 0; /* spot's messages name none */
    return is_read;
}

bool tp_binance_usdm_read_versions(const struct tp_body *body, struct tp_depth_update *out)
{
    return read_versions(body, SEEN_FIRST | SEEN_LAST | SEEN_PREVIOUS, out);
}
