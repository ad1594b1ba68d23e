/* A time as venues write it in text, to nanoseconds since 1970: RFC 3339 in UTC.
 *
 * Called by the decoders of venues that write such times. Any thread. */
#ifndef TP_PROTO_TIMESTAMP_H
#define TP_PROTO_TIMESTAMP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "2026-08-16T23:37:05.376419Z": up to nine digits behind the second, or none; years 1970 to 2553,
 * which 64 bits hold; a leap second is the second behind it, as in CLOCK_REALTIME. Other offsets
 * than Z are refused. */
bool tp_timestamp_parse(const uint8_t *text, size_t size, uint64_t *out_ns);
#endif
