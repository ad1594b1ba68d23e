/* JSON without the escapes that it need not have: "\u0073ymbol" and "BTC\/USD" become "symbol" and
 * "BTC/USD", the text means what it meant.
 *
 * No venue that we know of writes them, but whoever uses a library that escapes all but ASCII does,
 * where a symbol is of other letters. The scanner of json.h gives strings as they stand, so that a
 * message with a backslash comes here first, and to its decoder then.
 * Called by engine/feed (rare messages). Any thread. */
#ifndef TP_PROTO_JSON_PLAIN_H
#define TP_PROTO_JSON_PLAIN_H
#include <stddef.h>
#include <stdint.h>

/* Returns the size of what it wrote to out, never more than size; out may be data. Escapes that
 * must stay do (quotes, backslashes, control characters), and so do halves of surrogate pairs and
 * all from a broken one on. */
size_t tp_json_plain(const uint8_t *data, size_t size, uint8_t *out);
#endif
